"""Requests whose bodies are taken as they come, and which may be answered before their end.

A server that answers early and closes the connection with the rest of the body unread has its answer thrown away: the
operating system resets the connection, and the client sees that instead. So the rest is read and dropped for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Awaitable
from typing import Any, Final

from tornado.http1connection import HTTP1Connection
from tornado.iostream import IOStream, StreamClosedError
from tornado.web import RequestHandler, stream_request_body

LINGER_SECONDS: Final = 30.0
"""For how long the rest of a body is read after an early answer."""
STALL_SECONDS: Final = 5.0
"""After how long without any of it the client is taken to have stopped."""
ANY_SIZE: Final = 1 << 60
_END: Final = b"0\r\n\r\n"


@stream_request_body
class UploadHandler(RequestHandler, ABC):
    """Base of handlers that take the body of a request as it comes."""

    _ending: asyncio.Future[None] | None = None
    _received = 0

    @property
    def http1(self) -> HTTP1Connection:
        """The connection, as what it is behind tornado's server."""
        assert isinstance(self.request.connection, HTTP1Connection)
        return self.request.connection

    @property
    def wire(self) -> IOStream:
        """Its bytes; closing them is how a client sees that an answer is not whole."""
        assert self.http1.stream is not None
        return self.http1.stream

    @property
    def answered_early(self) -> bool:
        """Whether all has been said, though the body still comes in."""
        return self._ending is not None

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Take a piece of the body, or drop it if nobody wants it any more."""
        self._received += len(chunk)
        return None if self._ending is not None else self.take(chunk)

    @abstractmethod
    async def take(self, chunk: bytes) -> None:
        """Take a piece of the body; the next one is read when this is done."""

    def unwanted(self) -> None:
        """The rest of the body is not wanted: a :meth:`take` that still waits has to end."""

    def finish(self, chunk: Any = None, **options: Any) -> asyncio.Future[None]:
        """End the answer; before the body's end, the rest of that is dropped first."""
        if self._ending is not None:
            return self._ending
        if self._body_ended.done():
            return super().finish(chunk, **options)
        if chunk is not None:
            self.write(chunk)
        if not self._headers_written and self.get_status() not in (204, 304):
            self.set_header("Content-Length", str(sum(map(len, self._write_buffer))))
        with contextlib.suppress(KeyError):  # tornado would ask for the body after the answer
            del self.request.headers["Expect"]
        chunked = self._say_all()
        self._ending = asyncio.ensure_future(self._linger(chunked))
        self.unwanted()
        return self._ending

    @property
    def _body_ended(self) -> asyncio.Future[None]:
        return self.request._body_future  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - told nowhere else

    def _say_all(self) -> bool:
        flushed = self.flush()
        flushed.add_done_callback(lambda done: done.cancelled() or done.exception())
        chunked = self._headers.get("Transfer-Encoding") == "chunked"
        if chunked and not self.wire.closed():
            said = self.wire.write(_END)
            said.add_done_callback(lambda done: done.cancelled() or done.exception())
        return chunked

    async def _linger(self, chunked: bool) -> None:
        whole = await self._dropped()
        if whole and not chunked and not self.wire.closed():
            with contextlib.suppress(StreamClosedError):
                await super().finish()
        else:
            self.wire.close()

    async def _dropped(self) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                seen = -1
                while seen != self._received and not self._body_ended.done():
                    seen = self._received
                    await asyncio.wait({self._body_ended}, timeout=STALL_SECONDS)
        return self._body_ended.done() and self._body_ended.exception() is None
