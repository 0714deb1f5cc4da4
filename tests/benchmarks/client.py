"""A lean sync client: real WebSockets, as little Python per message as possible."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from typing import Any

import msgspec
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect


class _Version(msgspec.Struct):
    ts: str


class _Modification(msgspec.Struct, rename="camel"):
    type: str
    query_id: int = 0
    error_message: str = ""


class _Message(msgspec.Struct, rename="camel"):
    type: str
    request_id: int = -1
    success: bool = True
    result: msgspec.Raw = msgspec.Raw(b"null")
    modifications: list[_Modification] = []
    end_version: _Version | None = None


_decode = msgspec.json.Decoder(_Message).decode
_encode = msgspec.json.encode


class LoadClient(WSListener):
    """One socket; its callbacks run when the frame arrives, so that latencies are the wire's."""

    def __init__(self) -> None:
        self.waiting: dict[int, asyncio.Future[float]] = {}
        self.on_update: Callable[[float, int], None] | None = None
        self.number = 0
        self.queries = 0
        self.version = 0
        self.failures = 0
        self.payload = 0
        self._buffer = bytearray()
        self.transport: WSTransport | None = None

    @classmethod
    async def connect(cls, url: str, headers: dict[str, str] | None = None) -> LoadClient:
        """Open a socket to the backend at ``url`` and say hello."""
        address = url.replace("http", "ws", 1) + "/api/sync"
        transport, listener = await ws_connect(cls, address, extra_headers=headers)
        listener.transport = transport
        listener.send(
            {
                "type": "Connect",
                "sessionId": str(uuid.uuid4()),
                "connectionCount": 0,
                "lastCloseReason": "InitialConnect",
                "clientTs": int(time.time() * 1000),
            }
        )
        listener.send({"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": []})
        listener.version = 1
        return listener

    def send(self, message: dict[str, Any]) -> None:
        """Send one message."""
        assert self.transport is not None
        self.transport.send(WSMsgType.TEXT, _encode(message))

    def subscribe(self, *queries: tuple[str, dict[str, Any]]) -> None:
        """Add live queries in one message."""
        added = []
        for path, args in queries:
            added.append({"type": "Add", "queryId": self.queries, "udfPath": path, "args": [args]})
            self.queries += 1
        self.send(
            {
                "type": "ModifyQuerySet",
                "baseVersion": self.version,
                "newVersion": self.version + 1,
                "modifications": added,
            }
        )
        self.version += 1

    def mutate(self, path: str, **args: Any) -> asyncio.Future[float]:
        """Send a mutation; the future has the time at which its response came."""
        number, self.number = self.number, self.number + 1
        future = self.waiting[number] = asyncio.get_running_loop().create_future()
        self.send({"type": "Mutation", "requestId": number, "udfPath": path, "args": [args]})
        return future

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Let nobody wait for an answer that will not come."""
        for future in self.waiting.values():
            if not future.done():
                future.set_exception(ConnectionError("the backend closed the socket"))

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take one frame apart."""
        if frame.msg_type == WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
            return
        if frame.msg_type not in (WSMsgType.TEXT, WSMsgType.CONTINUATION):
            return
        payload = frame.get_payload_as_bytes()
        if not frame.fin or self._buffer:
            self._buffer += payload
            if not frame.fin:
                return
            payload, self._buffer = bytes(self._buffer), bytearray()
        message = _decode(payload)
        now = time.perf_counter()
        if message.type == "MutationResponse":
            self.failures += not message.success
            future = self.waiting.pop(message.request_id, None)
            if future is not None and not future.done():
                future.set_result(now)
        elif message.type == "Transition" and message.modifications:
            self.payload = len(payload)
            self.failures += any(change.type == "QueryFailed" for change in message.modifications)
            if self.on_update is not None:
                self.on_update(now, len(message.modifications))

    async def updates(self, many: int) -> None:
        """Wait until ``many`` query results have arrived."""
        done = asyncio.get_running_loop().create_future()
        left = many

        def count(_now: float, modifications: int) -> None:
            nonlocal left
            left -= modifications
            if left <= 0 and not done.done():
                done.set_result(None)

        self.on_update = count
        await asyncio.wait_for(done, 120)
        self.on_update = None

    def close(self) -> None:
        """Close the socket."""
        if self.transport is not None:
            self.transport.disconnect()
