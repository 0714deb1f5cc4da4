"""Signing in for real: a backend, its functions, an issuer in a process of its own, HTTP and the sync protocol."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import websocket_connect

from nbreactive.functions.specs import ModuleSource, Origin
from nbreactive.server.backend import Backend
from nbreactive.server.config import BackendConfig
from nbreactive.services.deploys import DeployRequest
from tests.issuer import Issuer

KEY = "the admin key of these tests"
APP = """
from nbreactive import define_schema, define_table, internal_query, mutation, query, http_action, http_router, Response, internal_mutation, v

schema = define_schema({"sessions": define_table({"token": v.string(), "name": v.string()}).index("by_token", ["token"])})
runs = []

@query
def me(ctx):
    identity = ctx.auth.get_user_identity()
    return identity and identity["subject"]
@query
def everything(ctx): return ctx.auth.get_user_identity()
@query
def anyone(ctx):
    print("ran")
    return ctx.db.query("notes").count()
@mutation
def note(ctx):
    ctx.db.insert("notes", {"by": (ctx.auth.get_user_identity() or {}).get("subject")})
    return me.handler(ctx)
@internal_query
def session(ctx, token: str):
    found = ctx.db.query("sessions").with_index("by_token", lambda q: q.eq("token", token)).unique()
    if found is None: return None
    return {"subject": found["_id"], "name": found["name"]}
@internal_mutation
def sign_in(ctx, token: str, name: str): ctx.db.insert("sessions", {"token": token, "name": name})
@internal_mutation
def rename(ctx, token: str, name: str):
    found = ctx.db.query("sessions").with_index("by_token", lambda q: q.eq("token", token)).unique()
    ctx.db.patch(found["_id"], {"name": name})
@internal_mutation
def sign_out(ctx, token: str):
    ctx.db.delete(ctx.db.query("sessions").with_index("by_token", lambda q: q.eq("token", token)).unique()["_id"])
@http_action
async def hook(ctx, request):
    identity = await ctx.auth.get_user_identity()
    return Response(identity["subject"] if identity else "nobody")
http = http_router()
http.route(path="/hook", method="GET", handler=hook)
"""


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer() as running:
        yield running


def source(*providers: dict[str, Any]) -> str:
    return f"auth_config = {{'providers': {list(providers)!r}}}\n"


class House:
    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.url = backend.url

    async def deploy(self, **modules: str) -> None:
        sources = [ModuleSource(name, text, Origin("api")) for name, text in modules.items()]
        await self.backend.deployer.deploy(DeployRequest(modules=sources, force=True), "tests")

    async def call(
        self, path: str, token: str = "", args: Any = None, *, kind: str = "query", authorization: str = ""
    ) -> Any:
        headers = {"Content-Type": "application/json"}
        if token or authorization:
            headers["Authorization"] = authorization or f"Bearer {token}"
        body = json.dumps({"path": path, "args": args or {}, "format": "json"})
        request = HTTPRequest(f"{self.url}/api/{kind}", "POST", headers, body)
        answer = await AsyncHTTPClient(force_instance=True).fetch(request, raise_error=False)
        found = json.loads(answer.body)
        return found["value"] if "value" in found else (answer.code, found.get("code") or found["errorMessage"])

    async def get(self, path: str, token: str) -> str:
        request = HTTPRequest(self.url + path, headers={"Authorization": f"Bearer {token}"} if token else {})
        return (await AsyncHTTPClient(force_instance=True).fetch(request)).body.decode()

    async def internal(self, path: str, **args: Any) -> Any:
        return await self.call(path, kind="function", authorization=f"Convex {KEY}", args=args)


@asynccontextmanager
async def house(folder: Path, *providers: dict[str, Any], **options: Any) -> AsyncIterator[House]:
    config = BackendConfig(folder / "data", port=0, admin_key=KEY, workers=1, **options)
    backend = await Backend.open(config)
    try:
        found = House(backend)
        await found.deploy(app=APP, auth=source(*providers))
        yield found
    finally:
        await backend.close()


class Line:
    """A connection of the sync protocol, spoken by hand."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.values: dict[int, Any] = {}
        self.transitions: list[dict[str, Any]] = []

    @classmethod
    async def open(cls, url: str, **headers: str) -> Line:
        request = HTTPRequest(url.replace("http", "ws", 1) + "/api/sync", headers=headers)
        line = cls(await websocket_connect(request))
        line.say("Connect", sessionId=str(uuid.uuid4()), connectionCount=0, lastCloseReason=None, clientTs=0)
        return line

    def say(self, kind: str, **fields: Any) -> None:
        self.socket.write_message(json.dumps({"type": kind, **fields}))

    def sign_in(self, token: str, base: int = 0) -> None:
        self.say("Authenticate", baseVersion=base, tokenType="User", value=token)

    def ask(self, *paths: str, base: int = 0) -> None:
        added = [
            {"type": "Add", "queryId": base * 10 + n, "udfPath": path, "args": [{}]} for n, path in enumerate(paths)
        ]
        self.say("ModifyQuerySet", baseVersion=base, newVersion=base + 1, modifications=added)

    async def hear(self) -> dict[str, Any]:
        while True:
            text = await asyncio.wait_for(self.socket.read_message(), 30)
            if text is None:
                self.socket.close()
                return {"type": "Closed", "code": self.socket.close_code, "reason": self.socket.close_reason}
            message = json.loads(text)
            if message["type"] == "Transition":
                self.transitions.append(message)
                for change in message["modifications"]:
                    self.values[change["queryId"]] = change.get("value", change.get("errorMessage"))
            if message["type"] != "Ping":
                return message

    async def until(self, **values: Any) -> None:
        wanted = {int(name[1:]): value for name, value in values.items()}
        while any(self.values.get(n, "nothing") != value for n, value in wanted.items()):
            message = await self.hear()
            assert message["type"] == "Transition", message

    async def end(self) -> list[dict[str, Any]]:
        heard = [await self.hear()]
        while heard[-1]["type"] != "Closed":
            heard.append(await self.hear())
        return heard


def test_over_http(tmp_path: Path, issuer: Issuer) -> None:
    async def main() -> None:
        async with house(tmp_path, issuer.provider()) as at:
            token = issuer.token()
            assert await at.call("app:me") is None
            assert await at.call("app:me", token) == "ada"
            assert await at.call("app:note", token, kind="mutation") == "ada"
            assert await at.call("app:me", token[:-4] + "AAAA") == (401, "Unauthenticated")
            assert await at.call("app:me", issuer.token(seconds=-5)) == (401, "Unauthenticated")
            assert await at.call("app:me", "opaque") == (401, "Unauthenticated")
            # What is internal stays so, and roles are those of the public.
            _, said = await at.call("app:session", token, {"token": "x"})
            assert "Could not find public function for 'app:session'" in said and "app:sign" not in said
            for address, body in (("/api/admin/deploy", "{}"), ("/api/admin/keys", None), ("/api/admin/tables", None)):
                request = HTTPRequest(
                    at.url + address, "POST" if body else "GET", {"Authorization": f"Bearer {token}"}, body
                )
                answer = await AsyncHTTPClient(force_instance=True).fetch(request, raise_error=False)
                assert answer.code == 403 and b"Refused" in answer.body
            # HTTP actions are told who it is; what they do about others is theirs.
            assert await at.get("/http/hook", token) == "ada"
            assert (
                await at.get("/http/hook", "") == await at.get("/http/hook", "a secret of the hook's own") == "nobody"
            )

    asyncio.run(main())


def test_a_live_connection_signs_in_and_out(tmp_path: Path, issuer: Issuer) -> None:
    async def main() -> None:
        async with house(tmp_path, issuer.provider()) as at:
            line = await Line.open(at.url)
            line.ask("app:me", "app:anyone")
            await line.until(q0=None, q1=0)
            line.sign_in(issuer.token("ada"))
            # What is said at once afterwards is said by her already.
            line.say("Mutation", requestId=0, udfPath="app:note", args=[{}])
            answer: dict[str, Any] = {}
            while answer.get("type") != "MutationResponse":
                answer = await line.hear()
            assert answer["result"] == "ada"
            await line.until(q0="ada", q1=1)
            assert line.transitions[-1]["endVersion"]["identity"] == 1
            line.sign_in(issuer.token("bob"), 1)
            await line.until(q0="bob")
            line.say("Authenticate", baseVersion=2, tokenType="None")
            await line.until(q0=None)
            # A fresh token of the same person: a new version, and nothing to run again.
            line.sign_in(issuer.token("ada"), 3)
            await line.until(q0="ada")
            runs = at.backend.parts.engine.executions["queries"]
            line.sign_in(issuer.token("ada", seconds=1200), 4)
            while line.transitions[-1]["endVersion"]["identity"] < 5:
                await line.hear()
            assert at.backend.parts.engine.executions["queries"] == runs
            line.socket.close()

    asyncio.run(main())


def test_a_token_that_is_refused_ends_the_connection(tmp_path: Path, issuer: Issuer) -> None:
    async def main() -> None:
        async with house(tmp_path, issuer.provider()) as at:
            line = await Line.open(at.url)
            line.sign_in("not.a.token")
            line.ask("app:me")
            error, end = (await line.end())[-2:]
            assert error["type"] == "AuthError" and "not accepted" in error["error"]
            assert (error["baseVersion"], error["authUpdateAttempted"]) == (0, True)
            assert (end["code"], end["reason"]) == (1008, "AuthError")
            assert not line.values

    asyncio.run(main())


def test_a_token_that_expires_ends_what_is_live(tmp_path: Path, issuer: Issuer) -> None:
    async def main() -> None:
        async with house(tmp_path, issuer.provider()) as at:
            line = await Line.open(at.url)
            line.sign_in(issuer.token("ada", seconds=2))
            line.ask("app:me")
            await line.until(q0="ada")
            error, end = (await line.end())[-2:]
            assert (error["type"], error["baseVersion"], error["authUpdateAttempted"]) == ("AuthError", 1, False)
            assert "expired" in error["error"] and end["reason"] == "AuthError"
            assert len(at.backend.parts.engine.subscriptions) == 0

    asyncio.run(main())


def test_only_what_reads_the_identity_depends_on_it(tmp_path: Path, issuer: Issuer) -> None:
    async def main() -> None:
        async with house(tmp_path, issuer.provider()) as at:
            counts = at.backend.parts.engine.executions
            lines = []
            for name in ("ada", "bob", "eve"):
                line = await Line.open(at.url)
                line.sign_in(issuer.token(name))
                line.ask("app:anyone")
                await line.until(q0=0)
                lines.append(line)
            before = counts["queries"]
            for line, name in zip(lines, ("ada", "bob", "eve"), strict=True):
                line.ask("app:me", "app:anyone", base=1)
                await line.until(q10=name, q11=0)
            assert counts["queries"] == before + 3  # each their own `me`; `anyone` has been run once for all
            await at.call("app:note", kind="mutation")
            for line in lines:
                await line.until(q0=1, q11=1)
            assert counts["queries"] == before + 4
            for line in lines:
                line.socket.close()

    asyncio.run(main())


def test_providers_change_with_a_deploy(tmp_path: Path, issuer: Issuer) -> None:
    async def main() -> None:
        async with house(tmp_path) as at:
            token = issuer.token()
            assert await at.call("app:me", token) == (401, "Unauthenticated")
            await at.deploy(auth=source(issuer.provider()))
            assert await at.call("app:me", token) == "ada"
            line = await Line.open(at.url)
            line.sign_in(token)
            line.ask("app:me")
            await line.until(q0="ada")
            await at.deploy(auth=f"# moved a line\n{source(issuer.provider())}")
            line.ask("app:anyone", base=1)
            await line.until(q10=0)
            await at.deploy(auth=source(issuer.provider(application_id="another")))
            error, end = (await line.end())[-2:]
            assert error["type"] == "AuthError" and "no provider of this deployment any more" in error["error"]
            assert end["reason"] == "AuthError"
            assert await at.call("app:me", token) == (401, "Unauthenticated")

    asyncio.run(main())


def test_sessions_of_one_s_own_end_at_once(tmp_path: Path) -> None:
    provider = {"type": "session", "issuer": "accounts", "function": "app:session"}

    async def main() -> None:
        async with house(tmp_path, provider) as at:
            assert await at.call("app:me", "secret-1") == (401, "Unauthenticated")
            await at.internal("app:sign_in", token="secret-1", name="Ada")
            who = await at.call("app:everything", "secret-1")
            assert who["tokenIdentifier"] == f"accounts|{who['subject']}" and who["name"] == "Ada"
            line = await Line.open(at.url)
            line.sign_in("secret-1")
            line.ask("app:everything")
            await line.until(q0=who)
            await at.internal("app:rename", token="secret-1", name="Countess")
            await line.until(q0=who | {"name": "Countess"})
            await at.internal("app:sign_out", token="secret-1")
            error, _ = (await line.end())[-2:]
            assert (error["type"], error["authUpdateAttempted"]) == ("AuthError", False)
            assert await at.call("app:me", "secret-1") == (401, "Unauthenticated")
            # Also where the token came with the connection itself.
            await at.internal("app:sign_in", token="secret-2", name="Bob")
            door = await Line.open(at.url, Authorization="Bearer secret-2")
            door.ask("app:me")
            while not door.values:
                await door.hear()
            await at.internal("app:sign_out", token="secret-2")
            assert (await door.end())[-2]["type"] == "AuthError"
            again = await Line.open(at.url)
            again.sign_in("secret-1")
            assert (await again.end())[-2]["authUpdateAttempted"] is True

    asyncio.run(main())


def test_where_credentials_are_required_browsers_sign_in_by_message(tmp_path: Path, issuer: Issuer) -> None:
    async def main() -> None:
        async with house(tmp_path, issuer.provider(), require_auth=True) as at:
            assert await at.call("app:anyone") == (403, "Refused")
            assert await at.call("app:anyone", issuer.token()) == 0
            line = await Line.open(at.url)
            line.ask("app:me", "app:anyone")
            line.say("Mutation", requestId=0, udfPath="app:note", args=[{}])
            heard = await line.hear()
            while not (heard["type"] == "MutationResponse" and line.values):
                heard = await line.hear() if heard["type"] != "MutationResponse" else heard | await line.hear() | heard
            assert heard["success"] is False and "sign in first" in heard["result"]
            assert "sign in first" in line.values[0] and "sign in first" in line.values[1]
            line.sign_in(issuer.token())
            await line.until(q0="ada", q1=0)  # what was refused is asked again
            line.socket.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("auth_config = {'providers': [{'domain': 'https://a'}]}", "'application_id' is missing"),
        ("auth_config = []", "a dict with a list of providers"),
        (
            "auth_config = {'providers': [{'type': 'session', 'issuer': 'a', 'function': 'app:me'}]}",
            "no internal query",
        ),
        (
            "auth_config = {'providers': [{'type': 'session', 'issuer': 'a', 'function': 'no:such'}]}",
            "no internal query",
        ),
    ],
)
def test_what_is_no_configuration_is_refused_at_deploy(tmp_path: Path, config: str, reason: str) -> None:
    async def main() -> None:
        async with house(tmp_path) as at:
            with pytest.raises(Exception, match=reason) as caught:
                await at.deploy(auth=config)
            assert "reactive/auth.py:1" in str(caught.value)
            with pytest.raises(Exception, match="two auth_config"):
                await at.deploy(other="auth_config = {'providers': []}")

    asyncio.run(main())


@pytest.mark.parametrize(
    "path", ["//evil.example", "/?next=//evil.example", "/login?next=%5C%5Cevil", "/api/query?next=//evil"]
)
def test_no_door_sends_anybody_elsewhere_case_40(tmp_path: Path, path: str) -> None:
    async def main() -> None:
        async with house(tmp_path) as at:
            request = HTTPRequest(at.url + path, follow_redirects=False)
            answer = await AsyncHTTPClient(force_instance=True).fetch(request, raise_error=False)
            assert answer.code in (200, 400, 404) and "Location" not in answer.headers

    asyncio.run(main())


def test_much_that_comes_while_a_token_is_judged_is_bounded(tmp_path: Path, issuer: Issuer) -> None:
    """An issuer that is slow does not let a connection pile up messages."""
    from nbreactive.server.limits import ServerLimits

    with Issuer() as slow:
        slow.control(mode="slow")

        async def main() -> None:
            limits = ServerLimits(message_bytes=10_000)
            async with house(tmp_path, slow.provider(), limits=limits) as at:
                line = await Line.open(at.url)
                line.sign_in(slow.token())
                for number in range(200):
                    line.say("Action", requestId=number, udfPath="app:note", args=[{}])
                end = (await line.end())[-1]
                assert end["code"] == 1013 and "while a token is being judged" in end["reason"]
                began = time.monotonic()
                assert await at.call("app:anyone") == 0
                assert time.monotonic() - began < 4  # the others do not wait for the issuer

        asyncio.run(main())
