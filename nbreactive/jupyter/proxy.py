"""Passing requests on to the backend: what passes, and connections that stay.

A plain request is passed on by :mod:`nbreactive.jupyter.forward`. After the handshake of a WebSocket this process only
copies bytes both ways: frames, compression, pings and flow control are between client and backend.

Only named headers pass, in either direction. Cookies and tokens stay here; who is asking travels in a header of ours,
together with the secret that proves that it is from us.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from tornado.httputil import HTTPHeaders, HTTPInputError, parse_response_start_line
from tornado.iostream import IOStream, StreamClosedError
from tornado.tcpclient import TCPClient
from tornado.web import HTTPError, RequestHandler

from nbreactive.errors import Unavailable
from nbreactive.jupyter.identity import encode_identity
from nbreactive.jupyter.supervisor import Endpoint

PROXY_HEADER = "X-NBReactive-Proxy"
IDENTITY_HEADER = "X-NBReactive-Identity"

_REQUEST_HEADERS = (
    "Accept",
    "Accept-Encoding",
    "Content-Type",
    "Convex-Client",
    "Digest",
    "If-None-Match",
    "If-Range",
    "Range",
    "User-Agent",
)
_HANDSHAKE_HEADERS = (
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Extensions",
    "Sec-WebSocket-Protocol",
)
_RESPONSE_HEADERS = (
    "Accept-Ranges",
    "Cache-Control",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Length",
    "Content-Range",
    "Content-Type",
    "Digest",
    "ETag",
    "Last-Modified",
    "Retry-After",
    "Vary",
)
_NOT_PASSED = frozenset(
    {
        "authorization",
        "connection",
        "content-length",
        "cookie",
        "expect",
        "host",
        "keep-alive",
        "set-cookie",
        "te",
        "trailer",
    }
    | {"transfer-encoding", "upgrade", "x-xsrftoken", PROXY_HEADER.lower(), IDENTITY_HEADER.lower()}
)
"""What does not pass even where all other headers do, to and from HTTP actions: what concerns this server alone."""
_SWITCH_HEADERS = (
    "Upgrade",
    "Connection",
    "Sec-WebSocket-Accept",
    "Sec-WebSocket-Extensions",
    "Sec-WebSocket-Protocol",
)
MAX_HEAD = 64 * 1024
_TARGET = re.compile(r"[!-~]+")
PIECE = 64 * 1024


class Refusing(Unavailable):
    """Nothing listens where the backend was."""

    code = "Unavailable"


@dataclass(frozen=True, slots=True)
class Answer:
    """The head of the backend's answer; its body is still in ``stream``."""

    status: int
    reason: str
    headers: HTTPHeaders
    stream: IOStream


async def connect(endpoint: Endpoint, target: str) -> IOStream:
    """Open a connection for a request of ``target``.

    Raises
    ------
    Refusing
        Nothing listens at ``endpoint``.
    """
    if not _TARGET.fullmatch(target):  # it becomes part of a head that holds our secret
        raise HTTPError(400, "This address has characters that belong percent-encoded.")
    try:
        stream = await TCPClient().connect(endpoint.host, endpoint.port, max_buffer_size=4 * 1024 * 1024)
    except OSError as error:
        raise Refusing(f"The backend does not answer: {error}") from error
    stream.set_nodelay(True)
    return stream


async def ask(handler: RequestHandler, endpoint: Endpoint, target: str, identity: dict[str, object]) -> Answer:
    """Ask the backend for a connection that stays, as ``target``; return when the head of the answer is there.

    Raises
    ------
    Refusing
        Nothing listens at ``endpoint``.
    Unavailable
        The backend broke off.
    """
    lines = [f"GET {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in outgoing(handler, endpoint, identity, upgrade=True)]
    stream = await connect(endpoint, target)
    try:
        await stream.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        head = await stream.read_until(b"\r\n\r\n", max_bytes=MAX_HEAD)
        first, _, rest = head.decode("latin-1").partition("\r\n")
        start = parse_response_start_line(first)
        return Answer(start.code, start.reason, HTTPHeaders.parse(rest), stream)
    except (StreamClosedError, HTTPInputError) as error:
        stream.close()
        raise Unavailable("The backend ended while it answered; try again.") from error
    except BaseException:
        stream.close()
        raise


def target_of(handler: RequestHandler, path: str) -> str:
    """The request target for the backend: ``path``, and the query without Jupyter's own token."""
    query = [pair for pair in parse_qsl(handler.request.query, keep_blank_values=True) if pair[0] != "token"]
    return f"/{path}?{urlencode(query)}" if query else f"/{path}"


def pass_headers(handler: RequestHandler, headers: HTTPHeaders) -> None:
    """Give those headers of an answer to ``handler`` that pass."""
    if getattr(handler, "passes_headers", False):
        for name, value in headers.get_all():
            if name.lower() == "content-length" or name.lower() not in _NOT_PASSED:
                handler.add_header(name, value)
    else:
        for name in _RESPONSE_HEADERS:
            if name in headers:
                handler.set_header(name, headers[name])


async def send_refusal(handler: RequestHandler, answer: Answer) -> None:
    """Tell the client of ``handler`` why there is no connection."""
    try:
        handler.set_status(answer.status, answer.reason)
        pass_headers(handler, answer.headers)
        handler.clear_header("Content-Length")
        length = answer.headers.get("Content-Length", "0")
        handler.finish(await answer.stream.read_bytes(min(int(length), MAX_HEAD)) if length.isdecimal() else b"")
    except StreamClosedError:
        pass  # the backend or the client has gone
    finally:
        answer.stream.close()


async def splice(
    handler: RequestHandler,
    answer: Answer,
    active: Callable[[], None],
    watch: Coroutine[None, None, None] | None = None,
) -> None:
    """Switch the client of ``handler`` over to WebSocket, and copy bytes both ways until one side has gone.

    Parameters
    ----------
    handler
        What has answered the client so far.
    answer
        The backend's.
    active
        Called whenever something passes.
    watch
        Ends when the client may not go on.
    """
    watching = asyncio.ensure_future(watch) if watch is not None else None
    headers = [f"{name}: {answer.headers[name]}" for name in _SWITCH_HEADERS if name in answer.headers]
    client = handler.detach()
    client.set_nodelay(True)
    try:
        await client.write("\r\n".join(["HTTP/1.1 101 Switching Protocols", *headers, "", ""]).encode("latin-1"))
        copies = [
            asyncio.ensure_future(_copy(client, answer.stream, active)),
            asyncio.ensure_future(_copy(answer.stream, client, active)),
        ]
        await asyncio.wait([*copies, *([watching] if watching else [])], return_when=asyncio.FIRST_COMPLETED)
    except StreamClosedError:
        copies = []
    finally:
        if watching is not None:
            watching.cancel()
        client.close()
        answer.stream.close()
    await asyncio.gather(*copies)


async def _copy(source: IOStream, sink: IOStream, active: Callable[[], None]) -> None:
    # Awaiting each write is the back-pressure: a client that does not read stops the backend from sending.
    try:
        while True:
            chunk = await source.read_bytes(PIECE, partial=True)
            active()
            await sink.write(chunk)
    except StreamClosedError:
        return


def outgoing(
    handler: RequestHandler, endpoint: Endpoint, identity: dict[str, object], *, upgrade: bool
) -> list[tuple[str, str]]:
    """List the headers for the backend, but those that say where the body ends."""
    request = handler.request
    headers = [("Host", f"{endpoint.host}:{endpoint.port}")]
    if upgrade:
        headers += [("Upgrade", "websocket"), ("Connection", "Upgrade")]
    if getattr(handler, "passes_headers", False):
        headers += [pair for pair in request.headers.get_all() if pair[0].lower() not in _NOT_PASSED]
    else:
        names = _REQUEST_HEADERS + _HANDSHAKE_HEADERS if upgrade else _REQUEST_HEADERS
        headers += [(name, request.headers[name]) for name in names if name in request.headers]
    return [*headers, (PROXY_HEADER, endpoint.secret), (IDENTITY_HEADER, encode_identity(dict(identity)))]
