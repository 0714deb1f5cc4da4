"""One plain request on its way to the backend: its body goes up while the answer comes down.

Neither is kept here: each piece is passed on before the next one is read, so that an upload takes no memory of the
Jupyter server, and an action may answer what it has not read to the end. An answer that breaks off is broken off.
"""

from __future__ import annotations

import asyncio
import contextlib

from tornado.http1connection import HTTP1Connection, HTTP1ConnectionParameters
from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, RequestStartLine, ResponseStartLine
from tornado.iostream import IOStream, StreamClosedError

from nbreactive._uploads import ANY_SIZE, UploadHandler
from nbreactive.jupyter.proxy import MAX_HEAD, PIECE, connect, outgoing, pass_headers
from nbreactive.jupyter.supervisor import Endpoint

_ANSWER = HTTP1ConnectionParameters(
    no_keep_alive=True, chunk_size=PIECE, max_header_size=MAX_HEAD, max_body_size=ANY_SIZE
)


class Forwarding(HTTPMessageDelegate):
    """A request of which the head has been sent; made by :meth:`begin`."""

    def __init__(self, handler: UploadHandler, stream: IOStream, chunked: bool) -> None:
        self._handler = handler
        self._stream = stream
        self._connection = HTTP1Connection(stream, is_client=True, params=_ANSWER)
        self._chunked = chunked
        self._begun = False
        self._whole = False

    @classmethod
    async def begin(
        cls, handler: UploadHandler, endpoint: Endpoint, target: str, identity: dict[str, object]
    ) -> Forwarding:
        """Connect and send the head; raises Refusing if nothing listens at ``endpoint``."""
        request = handler.request
        headers = HTTPHeaders()
        for name, value in outgoing(handler, endpoint, identity, upgrade=False):
            headers.add(name, value)
        chunked = "Transfer-Encoding" in request.headers
        if chunked:
            headers["Transfer-Encoding"] = "chunked"
        elif "Content-Length" in request.headers:
            headers["Content-Length"] = request.headers["Content-Length"]
        elif request.method not in {"GET", "HEAD"}:
            headers["Content-Length"] = "0"
        stream = await connect(endpoint, target)
        forwarding = cls(handler, stream, chunked)
        start_line = RequestStartLine(request.method or "GET", target, "HTTP/1.1")
        forwarding._connection.write_headers(start_line, headers)
        return forwarding

    async def send(self, piece: bytes) -> None:
        """Pass a piece of the body on, when the backend has taken what came before."""
        if self._chunked:
            piece = b"%x\r\n%s\r\n" % (len(piece), piece)
        with contextlib.suppress(StreamClosedError):  # its answer says why
            await self._stream.write(piece)

    async def end(self) -> None:
        """The body has been sent."""
        if self._chunked:
            with contextlib.suppress(StreamClosedError):
                await self._stream.write(b"0\r\n\r\n")

    def close(self) -> None:
        """The client has gone, or wants no more: so may the backend's work for it."""
        self._stream.close()

    async def answer(self) -> bool:
        """Pass the answer down; tell whether there was any."""
        try:
            with contextlib.suppress(StreamClosedError):
                await self._connection.read_response(self)
        finally:
            self._stream.close()
        if self._whole:
            self._handler.finish()
        elif self._begun:
            self._handler.wire.close()
        return self._begun

    # ---- what tornado reads of the answer -----------------------------------------------------------------------

    async def headers_received(  # pyright: ignore[reportIncompatibleMethodOverride] - what it awaits, it may be
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> None:
        """Pass the head down."""
        assert isinstance(start_line, ResponseStartLine)
        if start_line.code < 200:
            return
        self._begun = True
        self._handler.set_status(start_line.code, start_line.reason)
        pass_headers(self._handler, headers)
        await self._flush()

    async def data_received(self, chunk: bytes) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Pass a piece of the body down, when the client has taken what came before."""
        self._handler.write(chunk)
        await self._flush()

    def finish(self) -> None:
        """All of it has come."""
        self._whole = True
        self._stream.close()

    async def _flush(self) -> None:
        try:
            await asyncio.ensure_future(self._handler.flush())
        except StreamClosedError:
            self._stream.close()
