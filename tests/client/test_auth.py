"""``set_auth`` of our client, with an issuer and backends in processes of their own, one of them behind Jupyter."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import nbreactive
from nbreactive.client import Client
from nbreactive.client.credentials import Credentials, seconds_left
from nbreactive.errors import ArgumentError, NBReactiveError, Refused, Unauthenticated
from nbreactive.functions.references import reference
from nbreactive.notebook.status import report
from tests.issuer import Issuer
from tests.jupyter.servers import JupyterProcess
from tests.served import KEY, Served

APP = """
from nbreactive import query, mutation, rules

@query
def me(ctx):
    identity = ctx.auth.get_user_identity()
    return identity and [identity["subject"], identity.get("via")]
@query
def notes(ctx): return [doc["text"] for doc in ctx.db.query("notes")]
@mutation
def note(ctx, text: str):
    ctx.db.insert("notes", {"text": text, "by": ctx.auth.get_user_identity()["subject"]})

rules("notes", read=lambda ctx, doc: doc["by"] == (ctx.auth.get_user_identity() or {}).get("subject"), insert=True)
"""
ME, NOTES, NOTE = reference("app:me"), reference("app:notes"), reference("app:note")


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer() as running:
        yield running


@pytest.fixture(scope="module")
def modules(issuer: Issuer) -> dict[str, str]:
    return {"app": APP, "auth": f"auth_config = {{'providers': [{issuer.provider()!r}]}}\n"}


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory, modules: dict[str, str]) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("auth"), modules) as running:
        yield running


@pytest.fixture
def client(backend: Served) -> Iterator[Client]:
    with nbreactive.connect(backend.url) as connected:
        yield connected


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_who_calls_and_who_looks(client: Client, issuer: Issuer) -> None:
    live, notes = client.live(ME), client.live(NOTES)
    assert live.value is None and client.call(ME) is None
    client.set_auth(issuer.token("ada"))
    assert client.call(ME) == ["ada", None]
    client.call(NOTE, {"text": "hers"})
    until(lambda: live.value == ["ada", None] and notes.value == ["hers"])
    client.set_auth(lambda: issuer.token("bob"))
    until(lambda: live.value == ["bob", None] and notes.value == [])
    client.clear_auth()
    until(lambda: live.value is None)
    assert client.call(NOTES) == []
    with pytest.raises(NBReactiveError):
        client.call(NOTE, {"text": "nobody's"})


def test_a_token_that_is_not_accepted(client: Client, issuer: Issuer) -> None:
    for token in ("nonsense", issuer.token(seconds=-1)):
        with pytest.raises(Unauthenticated, match="not accepted"):
            client.set_auth(token)
        assert client.call(ME) is None  # it goes on without
        assert "nobody is signed in any more" in repr(client)
    asked: list[bool] = []

    def fetch(force_refresh: bool) -> str:
        asked.append(force_refresh)
        return issuer.token("ada") if force_refresh else "stale"

    client.set_auth(fetch)
    assert asked == [False, True] and client.call(ME) == ["ada", None]
    asked.clear()
    with pytest.raises(Unauthenticated):
        client.set_auth(lambda force_refresh: asked.append(force_refresh) or "never good")
    assert asked == [False, True, True]
    with pytest.raises(ArgumentError, match="a token, or a function"):
        client.set_auth(5)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="returns a token, or None"):
        client.set_auth(lambda: 5)  # type: ignore[arg-type, return-value]


def test_tokens_are_renewed_before_they_end(client: Client, issuer: Issuer) -> None:
    asked: list[bool] = []
    renewed = threading.Event()

    async def fetch(force_refresh: bool = False) -> str:
        asked.append(force_refresh)
        if len(asked) >= 4:
            renewed.set()
        now = time.time()
        return issuer.token("ada", iat=now, exp=now + 2)

    live = client.live(ME)
    client.set_auth(fetch)
    until(lambda: live.value == ["ada", None])
    seen: list[Any] = []
    live.observe(lambda change: seen.append(change["new"]), "value")
    assert renewed.wait(60)
    assert asked[0] is False and all(asked[1:]) and seen == []  # nobody has noticed
    client.clear_auth()


def test_a_token_that_ends_and_no_other(client: Client, issuer: Issuer) -> None:
    live = client.live(ME)
    client.set_auth(issuer.token("ada", seconds=2))
    until(lambda: live.value == ["ada", None])
    assert repr(client).endswith("· signed in as ada>")
    until(lambda: live.value is None)
    assert client.call(ME) is None
    client.set_auth(None)
    assert "signed in" not in repr(client)


def test_where_credentials_are_required(tmp_path: Path, modules: dict[str, str], issuer: Issuer) -> None:
    with Served(tmp_path, modules, "--require-auth") as strict:
        with pytest.raises(Refused):
            nbreactive.connect(strict.url)
        with pytest.raises(Refused):
            nbreactive.connect(strict.url, auth="nonsense")
        with nbreactive.connect(strict.url, auth=issuer.token("ada")) as client:
            assert client.call(ME) == ["ada", None]
            assert [each["path"] for each in client.functions()] == ["app:me", "app:note", "app:notes"]
            with pytest.raises(Refused, match="deploy"):
                client.admin("GET", "tables")
        with nbreactive.connect(strict.url, auth=lambda: issuer.token("bob"), admin_key=KEY) as client:
            assert client.call(ME) == ["bob", None]
            assert client.admin("GET", "tables")["tables"] is not None


@pytest.mark.slow
def test_behind_jupyter_one_is_its_user_until_one_signs_in(
    tmp_path: Path, modules: dict[str, str], issuer: Issuer
) -> None:
    reactive = tmp_path / "root" / "reactive"
    reactive.mkdir(parents=True)
    for name, source in modules.items():
        (reactive / f"{name}.py").write_text(source, "utf-8")
    with JupyterProcess(tmp_path) as server, nbreactive.connect(f"{server.url}?token=alice-token") as client:
        assert client.call(ME) == ["alice", "kernel"]
        client.set_auth(issuer.token("ada"))
        assert client.call(ME) == ["ada", None]
        assert client.admin("GET", "tables")["tables"] is not None  # the connection itself is still Alice's
        client.call(NOTE, {"text": "hers"})
        assert client.call(NOTES) == ["hers"]
        client.clear_auth()
        assert client.call(ME) == ["alice", "kernel"] and client.call(NOTES) == []
        with pytest.raises(Unauthenticated):
            client.set_auth("nonsense")
        assert client.call(ME) is None and client.who() is None  # not Alice, to whom nobody has asked to return
        client.clear_auth()
        assert client.call(ME) == ["alice", "kernel"]
        # A session that ends
        live = client.live(ME)
        client.set_auth(issuer.token("ada", seconds=2))
        assert client.who()["subject"] == "ada"
        until(lambda: live.value is None)
        assert "nobody is signed in any more" in report(client)
        with pytest.raises(NBReactiveError):
            client.call(NOTE, {"text": "would be Alice's"})
        client.set_auth(issuer.token("bob"))
        assert client.call(ME) == ["bob", None] and "signed in as bob" in report(client)
        client.set_auth(None)
        assert client.call(ME) == ["alice", "kernel"]


def test_what_tokens_say_of_their_time(issuer: Issuer) -> None:
    assert seconds_left(issuer.token(seconds=600)) == 590
    assert seconds_left(issuer.token(seconds=4)) == 3
    for token in ("opaque", "a.b.c", issuer.token(exp=None), issuer.token(iat=None), issuer.token(seconds=-5)):
        assert seconds_left(token) is None
    assert Credentials(lambda: None).renewable and not Credentials("x").renewable
