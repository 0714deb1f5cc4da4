"""Requests that deployed HTTP actions answer: everything below ``/http``, and everything on the port of ``--http-port``.

They are open to the world, as the web addresses of any service are: who may ask, from which pages (CORS), and what a
signature is worth, is the action's to decide. (Through a Jupyter server only its own users come here, and what they get
to see is put into a sandbox there.)
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote

import msgspec
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, stream_request_body

from nbreactive._uploads import ANY_SIZE, UploadHandler
from nbreactive.engine.transactions import Failure
from nbreactive.errors import NBReactiveError, Refused, Unavailable
from nbreactive.functions.http import METHODS, find_route
from nbreactive.runtime.exchange import Window
from nbreactive.runtime.frames import RequestHead
from nbreactive.server.calls import Answer
from nbreactive.server.failures import failure_text
from nbreactive.server.identity import IDENTITY_HEADER, PROXY_HEADER, Caller
from nbreactive.server.site import Site
from nbreactive.values.limits import HTTP_REQUEST

_NOT_OURS: Final = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "server", "date"}
)
"""Headers that concern one connection and not the message (RFC 9110, 7.6.1), and those of the server itself."""
_UPLOAD_SECONDS: Final = 3600
"""For a body that is read slowly; the time of the action ends sooner."""
_STATUS: Final = {"BadRequest": 400, "Unavailable": 503, "Overloaded": 503}
"""What the failure of an action is answered with, where it is not the fault of this server (500)."""


class _Exchange:
    """Between one request and the action that answers it."""

    def __init__(self, handler: HttpActionHandler, head: RequestHead) -> None:
        self.head = head
        self.window = Window()
        self.began = False
        self._whole = False
        self._gone = False
        self._deaf = False
        self._handler = handler
        self._send: Callable[[bytes, bool], None] | None = None
        self._took: Callable[[int], None] = lambda _size: None
        self._stop: Callable[[], None] = lambda: None
        self._out: asyncio.Queue[tuple[bytes, bool]] = asyncio.Queue()

    def opened(
        self, send: Callable[[bytes, bool], None], took: Callable[[int], None], stop: Callable[[], None]
    ) -> None:
        """See :class:`~nbreactive.runtime.action_pool.Exchange`."""
        self._send, self._took, self._stop = send, took, stop
        if self._gone:
            stop()

    def received_head(self, status: int, headers: list[tuple[str, str]]) -> None:
        """Begin the response."""
        self.began = True
        self._handler.begin(status, headers)

    def received(self, data: bytes, end: bool) -> None:
        """Keep a piece of it until the client takes it."""
        self._out.put_nowait((data, end))

    def taken(self, size: int) -> None:
        """The action has read so much."""
        self.window.taken(size)

    async def push(self, data: bytes, *, end: bool = False) -> None:
        """Send a piece of the request's body to the action, when it has read enough of what came before."""
        await self.window.use(len(data))
        if self._deaf:
            return
        self._whole = end
        if self._send is not None:
            self._send(data, end)

    def unwanted(self) -> None:
        """The action has answered: it gets no more of the request."""
        self._deaf = True
        self.window.taken(1 << 40)

    def gone(self) -> None:
        """The client is gone: nobody sends the rest of the request, or reads the rest of the response.

        An action that has the whole request and has not begun to answer ends as any other does.
        """
        self.window.taken(1 << 40)
        if self.began or not self._whole:
            self._gone = True
            self._stop()

    async def pump(self) -> None:
        """Write the response as fast as the client reads it."""
        while True:
            data, end = await self._out.get()
            if data:
                self._handler.write(data)
                await self._handler.flush()
                self._took(len(data))
            if end:
                return


@stream_request_body
class HttpActionHandler(UploadHandler):
    """Any request for an HTTP action."""

    SUPPORTED_METHODS = (*METHODS, "HEAD")

    def initialize(self, site: Site) -> None:
        """Take what all handlers share."""
        self.site = site
        self._exchange: _Exchange | None = None
        self._answer: asyncio.Task[None] | None = None
        self._size = 0

    def set_default_headers(self) -> None:
        """Say nothing of our own."""
        self.clear_header("Server")
        self.clear_header("Content-Type")

    def prepare(self) -> None:
        """Find the action and begin it: the body follows."""
        request = self.request
        self.http1.set_max_body_size(
            ANY_SIZE
        )  # one that is too large is refused here, in a way that reaches the client
        self.http1.set_body_timeout(_UPLOAD_SECONDS)
        path = unquote(self.path_args[0] or "/")
        route = find_route(self.site.routes(), request.method or "GET", path)
        if route is None:
            self.set_status(404)
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            self.finish(f"No HttpAction routed for {path[:1000]}")
            return
        length = request.headers.get("Content-Length", "")
        if length.isascii() and length.isdigit() and int(length) > HTTP_REQUEST:
            self._too_large()
            return
        hidden = {PROXY_HEADER.lower(), IDENTITY_HEADER.lower(), *_NOT_OURS}
        headers = [(name, value) for name, value in request.headers.get_all() if name.lower() not in hidden]
        head = RequestHead(request.method or "GET", request.full_url(), path, headers)
        self._exchange = _Exchange(self, head)
        self._answer = asyncio.ensure_future(self._answered(route.function, self._exchange))

    async def _caller(self) -> Caller:
        try:
            return await self.site.gate.admit(self.request.headers)
        except Refused:  # what is in Authorization is the action's to judge
            return self.site.gate.nobody()

    async def take(self, chunk: bytes) -> None:
        """Take a piece of the body."""
        if self._exchange is None:
            return
        self._size += len(chunk)
        if self._size <= HTTP_REQUEST:
            await self._exchange.push(chunk)
            return
        self._exchange.gone()
        if self._exchange.began:
            self.wire.close()
        else:
            self._too_large()

    def unwanted(self) -> None:
        """The answer has been given before the body was there."""
        if self._exchange is not None:
            self._exchange.unwanted()

    async def _respond(self, _path: str | None) -> None:
        if self._exchange is None or self._answer is None:
            return
        await self._exchange.push(b"", end=True)
        await self._answer

    async def _answered(self, function: str, exchange: _Exchange) -> None:
        """Answer, beginning while the request still comes in: an action may write what it reads."""
        answering = asyncio.ensure_future(self._run(function, exchange))
        pumping = asyncio.ensure_future(exchange.pump())
        try:
            await asyncio.wait({pumping, answering}, return_when=asyncio.FIRST_COMPLETED)
            answer = await answering
            if answer.failure is None:
                await pumping
                self.finish()
            elif exchange.began:
                self.wire.close()  # cut off: it is not whole
            else:
                self._failed(answer.failure, answer.request_id)
        except StreamClosedError:
            exchange.gone()
            await asyncio.wait({answering})
        except Unavailable as error:
            self._refuse(503, error)
        finally:
            pumping.cancel()

    async def _run(self, function: str, exchange: _Exchange) -> Answer:
        return await self.site.calls.respond(await self._caller(), function, exchange)

    get = head = post = put = delete = options = patch = _respond  # type: ignore[assignment]

    def begin(self, status: int, headers: list[tuple[str, str]]) -> None:
        """Set status and headers as the action says."""
        self.set_status(status)
        for name, value in headers:
            if name.lower() not in _NOT_OURS:
                self.add_header(name, value)

    def _failed(self, failure: Failure, request_id: str) -> None:
        mode = self.site.calls.mode
        payload: dict[str, Any] = {"code": failure_text(failure, request_id, mode)}
        if mode == "dev" and failure.trace:
            payload["trace"] = failure.trace
        self.set_status(_STATUS.get(failure.code, 500))
        self._json(payload, failure.data)

    def _too_large(self) -> None:
        self.set_status(413)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"The body of a request for an HTTP action has at most {HTTP_REQUEST} bytes.")

    def _refuse(self, status: int, error: NBReactiveError) -> None:
        self.set_status(status)
        self._json({"code": error.code, "message": error.message}, None)

    def _json(self, payload: dict[str, Any], data: bytes | None) -> None:
        self.set_header("Content-Type", "application/json")
        self.finish(msgspec.json.encode(payload | ({"data": msgspec.Raw(data)} if data is not None else {})))

    def on_connection_close(self) -> None:
        """The client has gone."""
        super().on_connection_close()
        if self._exchange is not None:
            self._exchange.gone()

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """A fault of ours goes into the log."""
        if not isinstance(value, HTTPError):
            trace = "".join(traceback.format_exception(typ, value, tb))
            self.site.logs.event("internal error", "error", door=self.request.path, trace=trace)

    def write_error(self, status_code: int, **_: Any) -> None:
        """Say no more than that something is wrong."""
        self.set_status(status_code)
        self._json(
            {"code": "InternalServerError" if status_code >= 500 else "BadRequest", "message": self._reason}, None
        )
