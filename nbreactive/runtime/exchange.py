"""One HTTP request and its response, in the process that runs the action.

Both bodies are streams with a window: whoever sends has at most :data:`WINDOW` bytes under way that the other side has
not taken, so that neither a large upload nor an endless response fills anybody's memory.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import msgspec

from nbreactive.errors import BadRequest, InvalidValue, LimitExceeded, ReturnsError
from nbreactive.functions.http import Response
from nbreactive.runtime.action_context import Running
from nbreactive.runtime.frames import RequestHead
from nbreactive.values.limits import HTTP_RESPONSE, over

WINDOW: Final = 1 << 20
_PIECE: Final = 1 << 18


class Window:
    """What the sender of a stream may still send."""

    def __init__(self) -> None:
        self._free = WINDOW
        self._room = asyncio.Event()

    def taken(self, size: int) -> None:
        """Take note that the other side has taken so many bytes."""
        self._free += size
        self._room.set()

    async def use(self, size: int) -> None:
        """Wait until there is room, and use it."""
        while self._free <= 0:
            self._room.clear()
            await self._room.wait()
        self._free -= size


class Incoming:
    """The body of a request, as it comes in."""

    def __init__(self, taken: Callable[[int], None]) -> None:
        self._chunks: deque[bytes] = deque()
        self._more = asyncio.Event()
        self._ended = False
        self._taken = taken
        self.read = False

    def put(self, data: bytes, end: bool) -> None:
        """Take a piece."""
        if data:
            self._chunks.append(data)
        self._ended = self._ended or end
        self._more.set()

    async def next(self) -> bytes:
        """Return the next piece; empty at the end."""
        self.read = True
        while not self._chunks:
            if self._ended:
                return b""
            self._more.clear()
            await self._more.wait()
        data = self._chunks.popleft()
        self._taken(len(data))
        return data


class Headers(Mapping[str, str]):
    """Headers of a request, whatever the case of their names; several of one name are joined by commas."""

    __slots__ = ("_pairs", "_values")

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs
        self._values: dict[str, str] = {}
        for name, value in pairs:
            key = name.lower()
            self._values[key] = f"{self._values[key]}, {value}" if key in self._values else value

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def pairs(self) -> list[tuple[str, str]]:
        """All headers as they came."""
        return list(self._pairs)


class Request:
    """What an HTTP action is asked.

    Attributes
    ----------
    method, url, path
        ``path`` is what comes after ``/http``, without the query.
    query
        Parameters of the URL; of several with one name the last one (all: ``query_pairs``).
    headers
        Found whatever the case of their names.
    """

    def __init__(self, running: Running, head: RequestHead, body: Incoming) -> None:
        self._running = running
        self._body = body
        self.method = head.method
        self.url = head.url
        self.path = head.path
        self.query_pairs = parse_qsl(urlsplit(self.url).query, keep_blank_values=True)
        self.query = dict(self.query_pairs)
        self.headers = Headers(head.headers)

    def body(self) -> Any:
        """The whole body, as bytes."""
        return self._running.start(self._whole, "request.body")

    def text(self) -> Any:
        """The whole body, as text (UTF-8)."""

        async def text() -> str:
            try:
                return (await self._whole()).decode()
            except UnicodeDecodeError:
                raise BadRequest("the body of this request is no UTF-8 text; read request.body()") from None

        return self._running.start(text, "request.text")

    def json(self) -> Any:
        """The whole body, read as JSON."""

        async def json() -> Any:
            try:
                return msgspec.json.decode(await self._whole())
            except msgspec.DecodeError as error:
                raise BadRequest(f"the body of this request is no JSON: {error}") from None

        return self._running.start(json, "request.json")

    def stream(self) -> Any:
        """The body in pieces, as they come: ``async for piece in request.stream()``, or ``for`` in a ``def``."""
        return _BlockingPieces(self._running, self._body) if self._running.blocking else self._pieces()

    async def _pieces(self) -> AsyncIterator[bytes]:
        while piece := await self._body.next():
            yield piece

    async def _whole(self) -> bytes:
        if self._body.read:
            raise InvalidValue("the body of this request has been read already; keep what you read")
        return b"".join([piece async for piece in self._pieces()])

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.path}>"


class _BlockingPieces:
    def __init__(self, running: Running, body: Incoming) -> None:
        self._running = running
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        while piece := self._running.start(self._body.next, "request.stream"):
            yield piece


async def send_response(
    response: Any, send_head: Callable[[int, list[tuple[str, str]]], None], send: Callable[[bytes], Any]
) -> None:
    """Send a response: its head, then its body in pieces, each as soon as there is room."""
    if not isinstance(response, Response):
        raise ReturnsError(f"an HTTP action returns a Response, not {response!r:.60}; return Response(...)", "returns")
    total = 0

    async def piece(data: Any) -> None:
        nonlocal total
        data = data.encode() if isinstance(data, str) else bytes(data)
        total += len(data)
        if total > HTTP_RESPONSE:
            fix = "send large files as stored files"
            raise LimitExceeded(over("bytes in the response of an HTTP action", total, HTTP_RESPONSE, fix), "returns")
        for begin in range(0, len(data), _PIECE):
            await send(data[begin : begin + _PIECE])

    body = response.body
    if isinstance(body, bytes) and len(body) > HTTP_RESPONSE:
        await piece(body)
    headers = list(response.headers)
    if response.status in (204, 304):
        body = None
    elif body is None or isinstance(body, bytes):
        headers.append(("Content-Length", str(len(body or b""))))
    send_head(response.status, headers)
    if body is None:
        return
    if isinstance(body, bytes):
        await piece(body)
    elif isinstance(body, AsyncIterable):
        chunks = aiter(body)
        try:
            async for data in chunks:
                await piece(data)
        finally:  # at once, and not whenever it is collected: it may have to clean up
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()
    else:
        await _send_plainly(iter(body), piece)


async def _send_plainly(pieces: Iterator[Any], piece: Callable[[Any], Any]) -> None:
    """Send what a plain iterator gives; each step is run in a thread: it may wait, as a plain def may.

    Nothing reaches a thread from outside. So if the action is stopped it ends when the step does, and a host in which
    that takes long is retired (:mod:`nbreactive.runtime.action_pool`), with the thread.
    """
    step: asyncio.Future[Any] | None = None
    try:
        while True:
            step = asyncio.ensure_future(asyncio.to_thread(next, pieces, None))
            if (data := await asyncio.shield(step)) is None:
                return
            await piece(data)
    finally:
        if step is not None:
            await asyncio.wait([step])
        close = getattr(pieces, "close", None)
        if close is not None:  # at once, as above, and where it may wait
            await asyncio.to_thread(close)
