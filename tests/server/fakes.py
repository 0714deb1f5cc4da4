"""A small engine of the real one's interface, for tests of the doors: functions are Python callables over a dict."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import msgspec
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.testing import bind_unused_port
from tornado.websocket import WebSocketClientConnection, websocket_connect

from nbreactive.engine.query_cache import QueryResult, result_of
from nbreactive.engine.requests import Result
from nbreactive.engine.transactions import Failure, LogLine, Outcome
from nbreactive.errors import AppError, NBReactiveError
from nbreactive.functions.specs import FunctionSpec
from nbreactive.server import messages as wire
from nbreactive.server.app import make_application, make_server
from nbreactive.server.calls import Calls
from nbreactive.server.identity import Gatekeeper
from nbreactive.server.incoming import not_found
from nbreactive.server.limits import ServerLimits
from nbreactive.server.logs import Logs
from nbreactive.server.origins import OriginPolicy
from nbreactive.server.site import Site
from nbreactive.server.websocket import Sockets
from nbreactive.services.actions import ActionRequest
from nbreactive.values.json import encode_json
from nbreactive.values.packing import unpack

Body = Callable[[dict[str, Any], dict[str, Any], Any], Any]
ADMIN_KEY = "the admin key of the tests"
PROXY_SECRET = "the proxy secret of the tests"


@dataclass(eq=False)
class Handle:
    spec: Any
    listener: Any
    last: bytes = b""
    dirty: bool = True


class FakeSubscriptions:
    """Every write dirties every query."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.handles: list[Handle] = []
        self.updates = 0
        self.hold: asyncio.Event | None = None

    @property
    def count(self) -> int:
        return len(self.handles)

    def add(self, listener: Any, spec: Any) -> Handle:
        handle = Handle(spec, listener)
        self.handles.append(handle)
        return handle

    def __len__(self) -> int:
        return len(self.handles)

    def remove(self, handle: Handle) -> None:
        self.handles.remove(handle)

    def close(self, listener: Any) -> None:
        self.handles = [handle for handle in self.handles if handle.listener is not listener]

    def at_rest(self, listener: Any, at_least: int = 0) -> Any:
        if self.hold is not None or any(h.dirty for h in self.handles if h.listener is listener):
            return None
        assert at_least <= self.engine.durable
        return SimpleNamespace(ts=self.engine.durable, changes=[])

    async def update(self, listener: Any, at_least: int = 0) -> Any:
        self.updates += 1
        if self.hold is not None:
            await self.hold.wait()
        await asyncio.sleep(0)
        assert at_least <= self.engine.durable
        changes = []
        for handle in self.handles:
            if handle.listener is listener and handle.dirty:
                handle.dirty = False
                result = self.engine.execute(handle.spec.path, handle.spec.args, handle.spec.identity, "query")
                known = result.value + repr(result.failure).encode()
                if known != handle.last:
                    handle.last = known
                    changes.append((handle, _hashed(result)))
        return SimpleNamespace(ts=self.engine.durable, changes=changes)

    def touch(self) -> None:
        for listener in {id(h.listener): h.listener for h in self.handles}.values():
            listener.invalidated()
        for handle in self.handles:
            handle.dirty = True


@dataclass
class FakeEngine:
    functions: dict[str, tuple[str, Body]] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)
    durable: int = 1_000
    runs: int = 0

    def __post_init__(self) -> None:
        self.subscriptions = FakeSubscriptions(self)
        self.done: dict[tuple[Any, bytes, int], Result] = {}
        self.lanes: dict[bytes | None, asyncio.Lock] = {}
        self.clock = SimpleNamespace(now_ns=time.time_ns)
        self.executing = SimpleNamespace(on_live_run=None)
        self.error: Exception | None = None
        self.hold: asyncio.Event | None = None

    def specs(self) -> dict[str, FunctionSpec]:
        return {
            p: FunctionSpec(p, kind, "internal" if p.startswith("hidden") else "public", {"type": "any"})
            for p, (kind, _) in self.functions.items()
        }

    def execute(self, path: str, args: bytes, identity: Any, kind: str, reach: str = "public") -> Result:
        result = self._execute(path, args, identity, kind, reach)
        return msgspec.structs.replace(result, request_id="0123456789abcdef")

    def _execute(self, path: str, args: bytes, identity: Any, kind: str, reach: str) -> Result:
        found = self.functions.get(path)
        if found is None or (path.startswith("hidden") and reach == "public"):
            return Result(self.durable, failure=Failure("FunctionNotFound", not_found(path).message))
        lines: list[LogLine] = []
        try:
            value = found[1](
                self.state,
                unpack(args),
                SimpleNamespace(identity=identity, log=lambda text: lines.append(LogLine("LOG", text))),
            )
        except AppError as error:
            return Result(
                self.durable, failure=Failure("AppError", error.message, encode_json(error.data)), logs=tuple(lines)
            )
        except NBReactiveError as error:
            return Result(self.durable, failure=Failure(error.code, error.message), logs=tuple(lines))
        except Exception as error:  # noqa: BLE001 - what user code raises
            return Result(
                self.durable,
                failure=Failure("FunctionFailed", f"{type(error).__name__}: {error}", trace="  at user.py"),
                logs=tuple(lines),
            )
        return Result(self.durable, encode_json(value), logs=tuple(lines))

    async def query(self, request: Any, at: int | None = None) -> Result:
        await asyncio.sleep(0)
        return self.execute(request.path, request.args, request.identity, "query", request.reach)

    def begin(self, request: Any, ended: Callable[[Result | BaseException], None]) -> None:
        task = asyncio.ensure_future(self.mutate(request))
        task.add_done_callback(lambda done: ended(done.exception() or done.result()))

    async def mutate(self, request: Any) -> Result:
        async with self.lanes.setdefault(request.session, asyncio.Lock()):
            return await self._mutate(request)

    async def _mutate(self, request: Any) -> Result:
        await asyncio.sleep(0)
        if self.hold is not None:
            await self.hold.wait()
        if self.error is not None:
            raise self.error
        who = (request.identity or {}).get("tokenIdentifier")
        key = (who, request.session, request.request_number)
        if request.session is not None and key in self.done:
            return self.done[key]
        self.runs += 1
        before = dict(self.state)
        result = self.execute(request.path, request.args, request.identity, "mutation", request.reach)
        if result.failure is None:
            self.durable += 10
            result = msgspec.structs.replace(result, ts=self.durable)
            self.done[key] = result
            self.subscriptions.touch()
        else:
            self.state.clear()
            self.state.update(before)
        return result


def _hashed(result: Result) -> QueryResult:
    """The result of a live query, as the engine keeps it."""
    outcome = Outcome(value=result.value, failure=result.failure, logs=result.logs)
    return result_of(outcome, result.ts, result.request_id)


def add(state: dict[str, Any], args: dict[str, Any], ctx: Any) -> Any:
    state["total"] = state.get("total", 0) + args.get("by", 1)
    return state["total"]


def fail(state: dict[str, Any], args: dict[str, Any], ctx: Any) -> Any:
    raise AppError({"code": "NOPE", **args})


def crash(state: dict[str, Any], args: dict[str, Any], ctx: Any) -> Any:
    raise ValueError("secret /etc/path")


def chatty(state: dict[str, Any], args: dict[str, Any], ctx: Any) -> Any:
    ctx.log("hello")
    return 1


def standard_engine() -> FakeEngine:
    return FakeEngine(
        {
            "m:total": ("query", lambda state, args, ctx: state.get("total", 0)),
            "m:echo": ("query", lambda state, args, ctx: args.get("x")),
            "m:who": ("query", lambda state, args, ctx: ctx.identity),
            "m:large": ("query", lambda state, args, ctx: "x" * args["size"] + str(state.get("total", 0))),
            "m:noise": ("query", lambda state, args, ctx: _noise(args["size"], state.get("total", 0))),
            "m:add": ("mutation", add),
            "m:fail": ("mutation", fail),
            "m:crash": ("mutation", crash),
            "m:chatty": ("query", chatty),
            "hidden:f": ("query", lambda state, args, ctx: "hidden"),
        }
    )


def _noise(size: int, seed: int) -> str:
    import random

    return random.Random(seed).randbytes(size // 2).hex()


class Wire:
    """One WebSocket connection that speaks the sync protocol by hand."""

    _ids = itertools.count(1)

    def __init__(self, connection: WebSocketClientConnection) -> None:
        self.connection = connection
        self.ended = False

    def send(self, **message: Any) -> None:
        self.connection.write_message(msgspec.json.encode(message))

    async def receive(self) -> dict[str, Any] | None:
        async with asyncio.timeout(10):
            while True:
                data = await self.connection.read_message()
                if data is None:
                    self.ended = True
                    self.connection.close()
                    while self.connection.protocol is not None and not self.connection.protocol.stream.closed():
                        await asyncio.sleep(0.005)
                    return None
                message = msgspec.json.decode(data)
                if message["type"] != "Ping":
                    return message

    async def until(self, kind: str) -> dict[str, Any]:
        while True:
            message = await self.receive()
            assert message is not None, (self.connection.close_code, self.connection.close_reason)
            if message["type"] == kind:
                return message

    async def closed(self) -> tuple[int | None, str | None]:
        while await self.receive() is not None:
            pass
        return self.connection.close_code, self.connection.close_reason

    def hello(self, session: str = "00000000-0000-4000-8000-000000000001", **extra: Any) -> None:
        self.send(
            type="Connect", sessionId=session, connectionCount=0, lastCloseReason="InitialConnect", clientTs=0, **extra
        )

    def subscribe(self, base: int, *queries: tuple[int, str, dict[str, Any]]) -> None:
        modifications = [{"type": "Add", "queryId": n, "udfPath": path, "args": [args]} for n, path, args in queries]
        self.send(type="ModifyQuerySet", baseVersion=base, newVersion=base + 1, modifications=modifications)

    def mutate(self, number: int, path: str, **args: Any) -> None:
        self.send(type="Mutation", requestId=number, udfPath=path, args=[args])


@dataclass
class Served:
    url: str
    site: Site
    engine: Any
    wires: list[Wire] = field(default_factory=list)

    async def wire(self, path: str = "/api/1.48.0/sync", headers: dict[str, str] | None = None, **options: Any) -> Wire:
        request = HTTPRequest(self.url.replace("http", "ws") + path, headers=headers or {})
        found = Wire(await websocket_connect(request, compression_options={}, **options))
        self.wires.append(found)
        return found

    async def fetch(
        self, path: str, body: Any = None, headers: dict[str, str] | None = None, method: str | None = None
    ) -> Any:
        data = body if isinstance(body, bytes | None) else msgspec.json.encode(body)
        request = HTTPRequest(
            self.url + path,
            method=method or ("GET" if body is None else "POST"),
            body=data,
            headers=headers or {},
            allow_nonstandard_methods=True,
        )
        return await AsyncHTTPClient().fetch(request, raise_error=False)

    async def json(self, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        response = await self.fetch(path, body, headers)
        return msgspec.json.decode(response.body)


class NoActions:
    """What runs actions, where there are none."""

    async def run(self, request: ActionRequest) -> Outcome:
        return Outcome(failure=Failure("FunctionNotFound", f"there is no action {request.path}"), kind="action")


@asynccontextmanager
async def serving(
    engine: Any = None,
    *,
    limits: ServerLimits | None = None,
    mode: str = "dev",
    require_auth: bool = False,
    backend: Any = None,
    **options: Any,
):
    engine = engine or standard_engine()
    logs = options.pop("logs", None) or Logs(stream=options.pop("stream", None) or _Sink())
    site = Site(
        calls=Calls(engine, NoActions(), engine.specs, logs, mode),
        gate=Gatekeeper(ADMIN_KEY, PROXY_SECRET, require_auth),
        origins=OriginPolicy(options.pop("host", "127.0.0.1"), options.pop("allowed", ())),
        logs=logs,
        sockets=Sockets(),
        limits=limits or ServerLimits(),
    )
    server = make_server(make_application(site, backend), site)
    socket, port = bind_unused_port()
    server.add_socket(socket)
    try:
        served = Served(f"http://127.0.0.1:{port}", site, engine)
        yield served
    finally:
        await site.sockets.drain(0)
        for opened in served.wires:
            opened.connection.close()
        for opened in served.wires:
            if not opened.ended:
                await opened.closed()
        server.stop()
        await server.close_all_connections()


class _Sink:
    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass


async def handshake_status(url: str, path: str = "/api/sync", **headers: str) -> int:
    """What a WebSocket upgrade is answered with."""
    address = url.removeprefix("http://")
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        wanted = {"Host": address, "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        wanted |= {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", **headers}
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in wanted.items()), "", ""]
        writer.write("\r\n".join(lines).encode())
        return int((await reader.readline()).split()[1])
    finally:
        writer.close()
        await writer.wait_closed()


async def eventually(condition: Callable[[], Any], seconds: float = 10) -> Any:
    deadline = asyncio.get_running_loop().time() + seconds
    while not (found := condition()):
        assert asyncio.get_running_loop().time() < deadline, "the condition never came true"
        await asyncio.sleep(0.005)
    return found


__all__ = [
    "ADMIN_KEY",
    "PROXY_SECRET",
    "FakeEngine",
    "Served",
    "Wire",
    "eventually",
    "handshake_status",
    "serving",
    "standard_engine",
    "wire",
]
