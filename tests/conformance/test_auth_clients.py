"""The official clients sign in with an issuer's tokens: npm's, which gets new ones by itself, and PyPI's, which does not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from convex.http_client import ConvexHttpClient

from tests.conformance.packages import needs_node, provide
from tests.conformance.programs import Program, program
from tests.issuer import Issuer
from tests.served import KEY, Served

HERE = Path(__file__).parent
NPM = HERE / "npm"
APP = """
from nbreactive import query, mutation, internal_mutation, rules

def me(ctx): return (ctx.auth.get_user_identity() or {}).get("subject")

@query
def who(ctx): return me(ctx)
@query
def notes(ctx): return [doc["text"] for doc in ctx.db.query("notes")]
@mutation
def note(ctx, text: str): ctx.db.insert("notes", {"text": text, "by": me(ctx)})

rules("notes", read=lambda ctx, doc: doc["by"] == me(ctx), insert=lambda ctx, doc: me(ctx) is not None)
"""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer() as running:
        yield running


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[Served]:
    modules = {"app": APP, "auth_config": f"auth_config = {{'providers': [{issuer.provider()!r}]}}\n"}
    with Served(tmp_path_factory.mktemp("auth"), modules) as running:
        yield running


def until(client: Program, number: int, value: Any) -> None:
    client.until(number, lambda said: said.get("value", "nothing") == value)


@needs_node
def test_npm_signs_in_renews_and_leaves(backend: Served, issuer: Issuer) -> None:
    provide(NPM)
    claims = {"iss": issuer.url, "aud": "app", "sub": "nina"}
    with program(["node", "live.mjs", backend.url], NPM) as client:
        who, notes = client.send("subscribe", "app:who"), client.send("subscribe", "app:notes")
        until(client, who, None)
        until(client, notes, [])
        auth = client.send("setAuthFrom", args={"issuer": issuer.url, "claims": claims, "seconds": 12})
        until(client, auth, True)
        until(client, who, "nina")
        client.ask("mutation", "app:note", {"text": "hers"})
        until(client, notes, ["hers"])
        for _ in range(3):  # new tokens, in time: nothing else is said of it
            assert client.until(auth, lambda said: "forced" in said)["forced"] is True
        client.ask("clearAuth")
        until(client, who, None)
        until(client, notes, [])


@needs_node
def test_npm_tries_again_when_a_token_is_refused(backend: Served, issuer: Issuer) -> None:
    provide(NPM)
    claims = {"iss": issuer.url, "aud": "app", "sub": "nora"}
    with program(["node", "live.mjs", backend.url], NPM) as client:
        who = client.send("subscribe", "app:who")
        given = {"issuer": issuer.url, "claims": claims, "seconds": 600, "stale": True}
        auth = client.send("setAuthFrom", args=given)
        assert client.next(auth) == {"id": auth, "forced": False}
        assert client.next(auth) == {"id": auth, "forced": True}
        until(client, auth, True)
        until(client, who, "nora")
        refused = client.send("setAuth", args={"token": "never.good.x"})
        until(client, refused, False)
        until(client, who, None)


def test_pypi_signs_in_and_leaves(backend: Served, issuer: Issuer) -> None:
    with program([sys.executable, str(HERE / "python_live.py"), backend.url], HERE, "@") as client:
        who = client.send("subscribe", "app:who")
        until(client, who, None)
        client.ask("set_auth", args={"token": issuer.token("pia")})
        until(client, who, "pia")
        client.ask("mutation", "app:note", {"text": "Pia's"})
        assert client.ask("query", "app:notes")["value"] == ["Pia's"]
        client.ask("clear_auth")
        until(client, who, None)


def test_http_clients(backend: Served, issuer: Issuer) -> None:
    client = ConvexHttpClient(backend.url)
    client.set_auth(issuer.token("hedy"))
    client.mutation("app:note", {"text": "Hedy's"})
    assert client.query("app:who") == "hedy" and client.query("app:notes") == ["Hedy's"]
    client.set_auth(issuer.token("hedy", seconds=-1))
    with pytest.raises(Exception, match="Unauthenticated"):
        client.query("app:who")
    client.clear_auth()
    assert client.query("app:who") is None
    client.set_admin_auth(KEY)  # the holder of the admin key is above the rules
    assert set(client.query("app:notes")) >= {"Hedy's"}
