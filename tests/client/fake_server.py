"""A small sync server for the client's tests: one list of messages, three functions, and faults on demand."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from typing import Any

import tornado.web
import tornado.websocket
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from nbreactive.client.protocol import encode_ts

FUNCTIONS = [
    {"path": "chat:list_messages", "kind": "query", "visibility": "public", "args": {}, "doc": "All messages."},
    {"path": "chat:only", "kind": "query", "visibility": "public", "args": {}, "doc": ""},
    {"path": "chat:pages", "kind": "query", "visibility": "public", "args": {}, "doc": ""},
    {"path": "chat:fail_at", "kind": "query", "visibility": "public", "args": {}, "doc": ""},
    {"path": "chat:silent", "kind": "query", "visibility": "public", "args": {}, "doc": ""},
    {"path": "chat:send", "kind": "mutation", "visibility": "public", "args": {}, "doc": ""},
    {"path": "chat:refuse", "kind": "mutation", "visibility": "public", "args": {}, "doc": ""},
    {"path": "chat:work", "kind": "action", "visibility": "public", "args": {}, "doc": ""},
]


class FakeServer:
    """Runs in a thread of its own; everything public may be called from the test's thread."""

    def __init__(self, prefix: str = "") -> None:
        self.messages: list[dict[str, Any]] = []
        self.done: dict[tuple[str, int], tuple[int, Any]] = {}
        self.executed = 0
        self.deploys: list[dict[str, Any]] = []
        self.ts = 10
        self.sockets: set[Sync] = set()
        self.connects: list[dict[str, Any]] = []
        self.adds: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.refuse = False
        self.drop_before_answer = 0
        self.hold_answers = False
        self.hold_queries = False
        self.prefix = prefix
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def _run(self) -> None:
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.loop.call_soon(self.start)
        self.loop.run_forever()
        self.loop.close()

    def start(self, port: int = 0) -> None:
        p = self.prefix
        app = tornado.web.Application(
            [(f"{p}/api/sync", Sync, {"server": self}), (f"{p}/api/(.*)", Admin, {"server": self})]
        )
        sockets = bind_sockets(port, "127.0.0.1")
        self.port = sockets[0].getsockname()[1]
        self.http = HTTPServer(app)
        self.http.add_sockets(sockets)
        self._ready.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def call(self, work: Any, *args: Any) -> Any:
        async def run() -> Any:
            return work(*args)

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(10)

    def drop_all(self) -> None:
        """Cut every connection."""
        self.call(lambda: [socket.close() for socket in list(self.sockets)])

    def stop_listening(self) -> None:
        self.call(lambda: (self.http.stop(), [socket.close() for socket in list(self.sockets)]))

    def listen_again(self) -> None:
        self.call(self.start, self.port)

    def close(self) -> None:
        self.call(lambda: (self.http.stop(), [socket.close() for socket in list(self.sockets)]))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)

    def add(self, author: str, body: str) -> None:
        """What another client does."""
        self.call(self.insert, {"author": author, "body": body})

    def insert(self, document: dict[str, Any]) -> None:
        self.ts += 1
        self.messages.append(document)
        for socket in list(self.sockets):
            socket.push()

    def release_queries(self) -> None:
        """Answer what was held back."""

        def release() -> None:
            self.hold_queries = False
            for socket in list(self.sockets):
                socket.push()

        self.call(release)

    @property
    def query_count(self) -> int:
        return self.call(lambda: sum(len(socket.queries) for socket in self.sockets))

    def evaluate(self, path: str, args: dict[str, Any]) -> tuple[str, Any]:
        if path == "chat:list_messages":
            return "ok", self.messages[-int(args.get("limit", 100)) :]
        if path == "chat:only":
            return "ok", [m for m in self.messages if m["author"] == args["author"]]
        if path == "chat:pages":
            opts = args["paginationOpts"]
            start = int(opts["cursor"] or 0)
            page = self.messages[start : start + opts["numItems"]]
            end = start + len(page)
            return "ok", {"page": page, "isDone": end == len(self.messages), "continueCursor": str(end)}
        if path == "chat:fail_at" and len(self.messages) >= args["n"]:
            return "data", {"code": "TOO_MANY"}
        if path == "chat:fail_at":
            return "ok", len(self.messages)
        return "error", f"[Request ID: abc] Server Error\nUncaught ValueError: no {path}"


class Admin(tornado.web.RequestHandler):
    def initialize(self, server: FakeServer) -> None:
        self.server = server

    def prepare(self) -> None:
        self.server.headers.append(dict(self.request.headers))
        self.set_cookie("who", self.get_cookie("who") or f"user{len(self.server.headers)}")

    def get(self, what: str) -> None:
        if self.server.refuse:
            self.set_status(403)
            self.finish({"code": "Refused", "message": "not you"})
        elif what == "admin/functions":
            self.finish({"functions": FUNCTIONS})
        elif what == "health":
            self.finish({"ok": True, "version": "0.1.0", "deployment": "default", "shared_with": []})
        elif what == "admin/status":
            self.finish({"deployment": "default", "connections": len(self.server.sockets)})
        else:
            self.set_status(404)
            self.finish({"code": "NotFound", "message": what})

    def post(self, what: str) -> None:
        self.server.deploys.append(json.loads(self.request.body))
        self.finish({"version": 1, "unchanged": False, "modules": [], "rerun": 0})


class Sync(tornado.websocket.WebSocketHandler):
    def initialize(self, server: FakeServer) -> None:
        self.server = server

    def check_origin(self, origin: str) -> bool:
        return True

    async def get(self, *args: Any, **kwargs: Any) -> None:
        self.server.headers.append(dict(self.request.headers))
        if self.server.refuse:
            self.set_status(403)
            self.finish({})
            return
        await super().get(*args, **kwargs)

    def get_compression_options(self) -> dict[str, Any]:
        return {}

    def open(self) -> None:
        self.queries: dict[int, tuple[str, dict[str, Any], str | None]] = {}
        self.version = {"querySet": 0, "identity": 0, "ts": encode_ts(0)}
        self.query_set = 0
        self.set_nodelay(True)
        self.server.sockets.add(self)

    def on_close(self) -> None:
        self.server.sockets.discard(self)

    def on_message(self, text: str | bytes) -> None:
        message = json.loads(text)
        match message["type"]:
            case "Connect":
                self.session = message["sessionId"]
                self.server.connects.append(message)
            case "ModifyQuerySet":
                assert message["baseVersion"] == self.query_set
                for change in message["modifications"]:
                    if change["type"] == "Add":
                        assert change["queryId"] not in self.queries
                        self.server.adds.append(change["udfPath"])
                        self.queries[change["queryId"]] = (change["udfPath"], change["args"][0], None)
                    else:
                        self.queries.pop(change["queryId"])
                self.query_set = message["newVersion"]
                self.push()
            case "Mutation" | "Action":
                self.mutate(message)

    def mutate(self, message: dict[str, Any]) -> None:
        server, args, number = self.server, message["args"][0], message["requestId"]
        kind = "MutationResponse" if message["type"] == "Mutation" else "ActionResponse"
        answer: dict[str, Any] = {"type": kind, "requestId": number, "logLines": []}
        if message["udfPath"] == "chat:refuse":
            answer |= {
                "success": False,
                "result": "Server Error",
                "ts": None,
                "errorData": {"code": "NO"},
                "errorCode": "AppError",
            }
        elif message["udfPath"] == "chat:work":
            if server.hold_answers:
                return
            answer |= {"success": True, "result": "worked"}
        else:
            key = (self.session, number)
            if key not in server.done:
                server.executed += 1
                server.ts += 1
                server.messages.append(args)
                server.done[key] = (server.ts, len(server.messages))
            if server.drop_before_answer:
                server.drop_before_answer -= 1
                self.close()
                return
            ts, result = server.done[key]
            answer |= {"success": True, "result": result, "ts": encode_ts(ts), "logLines": ["[LOG] sent"]}
        self.write_message(json.dumps(answer))
        for socket in list(server.sockets):
            socket.push(always=socket is self)

    def push(self, always: bool = True) -> None:
        if self.server.hold_queries or self.ws_connection is None or self.ws_connection.is_closing():
            return
        changes: list[dict[str, Any]] = []
        for number, (path, args, last) in list(self.queries.items()):
            if path == "chat:silent":
                continue
            outcome, value = self.server.evaluate(path, args)
            shown = json.dumps([outcome, value])
            if shown == last:
                continue
            self.queries[number] = (path, args, shown)
            change: dict[str, Any] = {"queryId": number, "logLines": [], "journal": None}
            if outcome == "ok":
                change |= {"type": "QueryUpdated", "value": value, "columns": ["author", "body"]}
            elif outcome == "data":
                change |= {"type": "QueryFailed", "errorMessage": "Server Error", "errorData": value}
            else:
                change |= {"type": "QueryFailed", "errorMessage": value, "errorCode": "FunctionFailed"}
            changes.append(change)
        if not changes and not always:
            return
        end = {"querySet": self.query_set, "identity": 0, "ts": encode_ts(self.server.ts)}
        self.write_message(
            json.dumps(
                {"type": "Transition", "startVersion": self.version, "endVersion": end, "modifications": changes}
            )
        )
        self.version = end


def until(condition: Any, seconds: float = 10.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.005)
