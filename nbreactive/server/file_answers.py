"""What is sent of a stored file: all of it or a range, never as a page, and as fast as the other side takes it."""

from __future__ import annotations

import asyncio
import base64
import re
from typing import Final

from tornado.http1connection import HTTP1Connection
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, RequestHandler

from nbreactive.engine.stored_files import StoredFile
from nbreactive.services.blobs import Reading
from nbreactive.services.files import Files

STALL_SECONDS: Final = 120.0
"""Without a byte, after which the other side counts as gone."""
_PIECE: Final = 256 << 10
_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
_IMAGES: Final = ("png", "jpeg", "gif", "webp", "avif", "bmp", "x-icon", "vnd.microsoft.icon", "tiff")
_SOUNDS: Final = ("mpeg", "mp4", "ogg", "wav", "x-wav", "webm", "flac", "aac")
_MOVIES: Final = ("mp4", "mpeg", "ogg", "webm", "quicktime")
_TEXTS: Final = ("plain", "csv", "markdown")
_OTHERS: Final = ("pdf", "json", "zip", "gzip", "x-tar", "vnd.apache.parquet", "vnd.apache.arrow.stream")
_INERT: Final = frozenset(
    [f"image/{kind}" for kind in _IMAGES]
    + [f"audio/{kind}" for kind in _SOUNDS]
    + [f"video/{kind}" for kind in _MOVIES]
    + [f"application/{kind}" for kind in _OTHERS]
    + [f"text/{kind}" for kind in _TEXTS]
)
"""Content types that say nothing which a browser would run; all others are sent as ``application/octet-stream``."""


def safe_type(content_type: str | None) -> str:
    """Return the content type that a file is sent with.

    Examples
    --------
    >>> safe_type("image/png"), safe_type("text/html"), safe_type("text/plain; charset=utf-8")
    ('image/png', 'application/octet-stream', 'text/plain; charset=utf-8')
    """
    kind, _, parameters = (content_type or "").partition(";")
    kind = kind.strip().lower()
    if kind not in _INERT:
        return "application/octet-stream"
    charset = re.fullmatch(r"\s*charset=([A-Za-z0-9_-]{1,40})\s*", parameters, re.ASCII)
    return f"{kind}; charset={charset[1]}" if charset else kind


async def send_file(handler: RequestHandler, files: Files, file: StoredFile) -> None:
    """Answer a request for a file."""
    try:
        reading = await files.read(file.sha256)
    except FileNotFoundError:
        raise HTTPError(404, reason="the content of this file is missing") from None
    try:
        first, last = _head(handler, file)
        if handler.request.method != "HEAD" and handler.get_status() in (200, 206):
            await _body(handler, files, reading, first, last)
        else:
            handler.finish()
    except (StreamClosedError, TimeoutError):
        connection = handler.request.connection
        if isinstance(connection, HTTP1Connection) and connection.stream is not None:
            connection.stream.close()
    finally:
        await files.run(reading.close)


def _head(handler: RequestHandler, file: StoredFile) -> tuple[int, int]:
    """Write status and headers; return the first byte to send, and the one behind the last."""
    etag = f'"{file.sha256}"'
    handler.set_header("Content-Type", safe_type(file.content_type))
    handler.set_header("Content-Disposition", "attachment")
    handler.set_header("Content-Security-Policy", "sandbox")
    handler.set_header("X-Content-Type-Options", "nosniff")
    handler.set_header("Cross-Origin-Resource-Policy", "cross-origin")
    handler.set_header("Cache-Control", "private, max-age=2592000")
    handler.set_header("Accept-Ranges", "bytes")
    handler.set_header("ETag", etag)
    headers = handler.request.headers
    if etag in re.split(r"\s*,\s*", headers.get("If-None-Match", "")):
        handler.set_status(304)
        return 0, 0
    handler.set_header("Digest", f"sha-256={base64.b64encode(bytes.fromhex(file.sha256)).decode()}")
    first, last = 0, file.size
    if headers.get("If-Range", etag) == etag:
        wanted = _range(headers.get("Range", ""), file.size)
        if wanted is not None:
            first, last = wanted
            if first >= last:
                handler.set_status(416)
                handler.set_header("Content-Range", f"bytes */{file.size}")
                handler.set_header("Content-Length", "0")
                return 0, 0
            handler.set_status(206)
            handler.set_header("Content-Range", f"bytes {first}-{last - 1}/{file.size}")
    handler.set_header("Content-Length", str(last - first))
    return first, last


def _range(text: str, size: int) -> tuple[int, int] | None:
    """Return what a Range names: empty if it has nothing of the file, None if it is to be ignored (RFC 9110, 14.2)."""
    found = _RANGE.fullmatch(text.strip())
    if found is None or found[1] == found[2] == "":
        return None
    if not found[1]:
        return max(0, size - int(found[2])), size
    first = int(found[1])
    last = min(size, int(found[2]) + 1) if found[2] else size
    if found[2] and int(found[2]) < first:
        return None
    return first, max(first, last) if first < size else first


async def _body(handler: RequestHandler, files: Files, reading: Reading, first: int, last: int) -> None:
    at = first
    while at < last:
        data = await files.run(reading.read, at, min(_PIECE, last - at))
        if not data:
            raise StreamClosedError  # it is shorter than it should be: so must be the answer
        handler.write(data)
        async with asyncio.timeout(STALL_SECONDS):
            await handler.flush()
        at += len(data)
    handler.finish()
