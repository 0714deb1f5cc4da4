"""The WebSocket door: carries sessions of the sync protocol over tornado."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Sequence

from tornado.websocket import WebSocketClosedError, WebSocketHandler

from nbreactive.errors import Refused, Unauthenticated, Unavailable
from nbreactive.server import messages as wire
from nbreactive.server._frames import SyncProtocol
from nbreactive.server.clients import identify
from nbreactive.server.identity import Caller
from nbreactive.server.site import Site
from nbreactive.server.sync import Session

_LONGEST_REASON = 123
_CUT_OFF_AFTER = 5.0
CLOSE_NOT_TEXT = 1003
CLOSE_RESTART = 1012


class Sockets:
    """All open connections of a server: counts them, ends them."""

    def __init__(self) -> None:
        self._open: set[SyncHandler] = set()
        self._per_caller: Counter[str] = Counter()
        self._draining = False
        self.last_open = 0.0
        """Monotonic time when the last connection ended."""

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, handler: SyncHandler) -> None:
        """Count a connection in, or refuse it."""
        limits = handler.site.limits
        if self._draining:
            raise Unavailable("this server is shutting down; connect again in a moment")
        if len(self._open) >= limits.sockets or self._per_caller[handler.party] >= limits.sockets_per_caller:
            raise Unavailable("TooManyConnections: close some connections first")
        self._open.add(handler)
        self._per_caller[handler.party] += 1

    def dismiss(self, handler: SyncHandler) -> None:
        """Count a connection out."""
        if handler in self._open:
            self._open.remove(handler)
            self._per_caller[handler.party] -= 1
            if not self._per_caller[handler.party]:
                del self._per_caller[handler.party]
            self.last_open = time.monotonic()

    def admit_again(self) -> None:
        """After :meth:`drain`: take connections again."""
        self._draining = False

    def recheck(self) -> None:
        """Let every connection look whether its caller may still be who they are."""
        for handler in list(self._open):
            if hasattr(handler, "session"):
                handler.session.recheck()

    def _busy(self) -> bool:
        return any(handler.session.busy for handler in self._open)

    async def drain(self, seconds: float) -> None:
        """Let running mutations be answered, then end every connection with a hint to come back."""
        self._draining = True
        for handler in self._open:
            handler.session.refuse_new_work()
        deadline = time.monotonic() + seconds
        while self._busy() and time.monotonic() < deadline:  # noqa: ASYNC110 - rare and short
            await asyncio.sleep(0.02)
        for handler in list(self._open):
            handler.session.end(CLOSE_RESTART, "ServiceRestart")


class SyncHandler(WebSocketHandler):
    """``/api/sync`` and ``/api/<version>/sync``."""

    session: Session
    party: str

    def initialize(self, site: Site) -> None:
        """Take what all handlers share."""
        self.site = site

    async def get(self, version: str | None = None) -> None:
        """Judge the request before the upgrade is granted."""
        try:
            headers = self.request.headers
            if not self.site.gate.is_proxy(headers):
                self.site.origins.check(headers, websocket=True)
            if self.get_query_argument("token", None) is not None:
                raise Refused("a token does not belong in a URL, where it ends up in logs; send it as a header")
            ip = self.request.remote_ip
            self.caller: Caller = await self.site.gate.admit(headers, ip, signs_in_later=True)
            anonymous = self.caller.identity is None
            self.party = f"{self.caller.label} {self.request.remote_ip}" if anonymous else self.caller.label
            self._client = identify(version, headers.get("Convex-Client"))
            self.site.sockets.admit(self)
        except Refused as error:
            self.site.logs.event("refused", "warning", door="sync", reason=error.message, ip=self.request.remote_ip)
            self._refuse(401 if isinstance(error, Unauthenticated) else 403, error.code, error.message)
            return
        except Unavailable as error:
            self._refuse(503, error.code, error.message)
            return
        try:
            await super().get()
        finally:
            if self.get_status() != 101:
                self.site.sockets.dismiss(self)

    def _refuse(self, status: int, code: str, message: str) -> None:
        self.set_status(status)
        self.finish({"code": code, "message": message})

    # ---- what tornado asks -------------------------------------------------------------------------------

    def check_origin(self, origin: str) -> bool:  # noqa: ARG002 - tornado's name
        """Already judged in :meth:`get`."""
        return True

    def get_websocket_protocol(self) -> SyncProtocol | None:
        """Use our protocol."""
        protocol = super().get_websocket_protocol()
        return SyncProtocol(self, False, protocol.params) if protocol is not None else None  # type: ignore[attr-defined]

    def get_compression_options(self) -> dict[str, int]:
        """Deflate, keeping the window between messages: resending a list costs what has changed in it."""
        return {"compression_level": 3, "mem_level": 8}

    def open(self, *_: str) -> None:
        """Start the session."""
        self.set_nodelay(True)
        socket = Socket(self)
        self.session = Session(self.site.calls, self.site.gate, socket, self.caller, self._client, self.site.limits)
        socket.keep_alive()

    def on_message(self, message: str | bytes) -> None:
        """Hand a message to the session."""
        if isinstance(message, bytes):
            self.session.end(CLOSE_NOT_TEXT, "BadMessage: this protocol is text only")
        else:
            self.session.receive(message)

    def on_close(self) -> None:
        """Forget the connection."""
        if hasattr(self, "session"):
            self.session.closed()
        self.site.sockets.dismiss(self)


class Socket:
    """A WebSocket as a session sees it."""

    def __init__(self, handler: SyncHandler) -> None:
        self._handler = handler
        self._limits = handler.site.limits
        self._loop = asyncio.get_running_loop()
        self._last_write = self._loop.time()

    @property
    def _protocol(self) -> SyncProtocol | None:
        protocol = self._handler.ws_connection
        return protocol if isinstance(protocol, SyncProtocol) and not protocol.is_closing() else None

    def write(self, messages: Sequence[bytes]) -> Awaitable[None] | None:
        """Send messages in one write."""
        protocol = self._protocol
        if protocol is None:
            raise ConnectionError("the connection is closed")
        if protocol.buffered() > self._limits.backlog_bytes:
            raise TimeoutError
        self._last_write = self._loop.time()
        try:
            written = protocol.write_texts(messages)
        except WebSocketClosedError as error:
            raise ConnectionError("the connection is closed") from error
        return _settled(written) if written is not None else None

    def send(self, messages: Sequence[bytes]) -> None:
        """Send messages that nobody waits for; a connection that ends meanwhile is found out elsewhere."""
        written = self.write(messages)
        if written is not None:
            asyncio.ensure_future(written).add_done_callback(_look)

    def close(self, code: int, reason: str) -> None:
        """End the connection; a peer that does not read is cut off."""
        protocol = self._protocol
        if protocol is None:
            return
        text = reason.encode("utf-8", "replace")[:_LONGEST_REASON].decode("utf-8", "ignore")
        stuck = protocol.buffered() > 0
        self._handler.close(code, text)
        if stuck:
            self._loop.call_later(_CUT_OFF_AFTER, protocol.stream.close)

    def keep_alive(self) -> None:
        """Send a Ping whenever nothing was sent for a while."""
        protocol = self._protocol
        if protocol is None:
            return
        due = self._last_write + self._limits.ping_after
        if due <= self._loop.time():
            due = self._loop.time() + self._limits.ping_after
            if protocol.buffered() == 0:
                self.send([wire.PING])
        self._loop.call_at(due, self.keep_alive)


async def _settled(written: asyncio.Future[None]) -> None:
    try:
        await written
    except OSError as error:
        raise ConnectionError("the connection is closed") from error


def _look(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()
