"""Uploads and downloads of this process: streamed, and to where its deployment is reached.

Functions give the address that the backend has for itself or for the public. This process goes where it is connected to
(behind a Jupyter server: to that server's mount), and takes of the address only which file it names: credentials are sent
nowhere else.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import SplitResult, quote, urlsplit

import msgspec

from nbreactive.client.target import Target, http_error
from nbreactive.errors import ArgumentError, NotConnected

_PIECE = 1 << 20
_SECONDS = 120.0
"""Without a byte, after which the server counts as gone."""
_STORED = re.compile(r"/api/storage/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$")
_UPLOAD = "/api/storage/upload"

Progress = Callable[[int], object]
"""Told how many bytes have been sent so far; what it raises ends the upload."""


def own_address(target: Target, url: str) -> str:
    """Return where a stored file, or an upload, is to be found from here.

    Examples
    --------
    >>> own_address(Target("http://h/user/a/nbreactive", "jupyter"), "http://127.0.0.1:3/api/storage/upload?token=t")
    'http://h/user/a/nbreactive/api/storage/upload?upload_token=t'
    """
    parts = urlsplit(url)
    found = _STORED.search(parts.path)
    if found is not None:
        return f"{target.base}/api/storage/{found[1]}"
    if parts.path.endswith(_UPLOAD) and re.fullmatch(r"token=[A-Za-z0-9_-]+", parts.query):
        # A Jupyter server takes a `token` for one of its own
        query = f"upload_{parts.query}" if target.kind == "jupyter" else parts.query
        return f"{target.base}{_UPLOAD}?{query}"
    raise ArgumentError(
        f"{url!r:.200} is no address of a stored file or of an upload: functions return those of ctx.storage.get_url(id)"
        " and ctx.storage.generate_upload_url()"
    )


def place_of(target: Target) -> dict[str, str]:
    """Say where a page finds the deployment: below the mount of its own Jupyter server, or at the backend.

    The mount is always with its name: a page has one connection for each mount.
    """
    if target.kind == "jupyter":
        name = quote(target.health.get("deployment", "default"), safe="")
        return {"mount": f"nbreactive/{name}" if target.label == "your server" else "", "url": ""}
    return {"mount": "", "url": target.base}


def upload(target: Target, url: str, content: Any, content_type: str | None, progress: Progress | None = None) -> str:
    """Send a file to a signed address; return its id."""
    source, size = _opened(content)
    try:
        headers = {"Content-Type": content_type} if content_type else {}
        if size is not None:
            headers["Content-Length"] = str(size)
        with _Answer(target, "POST", own_address(target, url), headers, _pieces(source, progress)) as answer:
            said: Any = msgspec.json.decode(answer.read())
            return str(said["storageId"])
    finally:
        if source is not content:
            source.close()


def download(target: Target, url: str, to: str | Path | None = None) -> bytes | None:
    """Return a file's content; or write it to a path."""
    with _Answer(target, "GET", own_address(target, url), {}, None) as answer:
        if to is None:
            return answer.read()
        with Path(to).open("wb") as file:
            while data := answer.read(_PIECE):
                file.write(data)
    return None


def answer_to(target: Target, method: str, url: str, headers: dict[str, str], body: bytes) -> _Answer:
    """Send a request whose answer is long; a context that gives it, to be read as it comes."""
    return _Answer(target, method, url, headers, iter([body]))


class _Answer:
    """The answer to one request; a context."""

    def __init__(
        self, target: Target, method: str, url: str, headers: dict[str, str], body: Iterator[bytes] | None
    ) -> None:
        parts = urlsplit(url)
        self._connection = _connect(parts)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        try:
            sent = dict(target.request_headers()) | headers
            chunked = body is not None and "Content-Length" not in headers
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it was answered before its end
                self._connection.request(method, path, body, sent, encode_chunked=chunked)
            answer = self._connection.getresponse()
            if answer.status >= 300:
                raise http_error(answer.status, answer.read(), url.partition("?")[0])
        except (OSError, http.client.HTTPException) as failure:
            self._connection.close()
            if isinstance(failure, NotConnected | PermissionError):
                raise
            raise NotConnected(f"No answer from {url.partition('?')[0]}: {failure}") from None
        except BaseException:
            self._connection.close()
            raise
        self.answer = answer

    def __enter__(self) -> http.client.HTTPResponse:
        return self.answer

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def _connect(parts: SplitResult) -> http.client.HTTPConnection:
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname or "", parts.port, timeout=_SECONDS)


def _opened(content: Any) -> tuple[IO[bytes], int | None]:
    if isinstance(content, bytes | bytearray | memoryview):
        data = bytes(content)  # pyright: ignore[reportUnknownArgumentType] - of a memoryview
        return io.BytesIO(data), len(data)
    if isinstance(content, str | Path):
        file = Path(content).open("rb")  # noqa: SIM115 - closed by who asked
        return file, os.fstat(file.fileno()).st_size
    if callable(getattr(content, "read", None)):
        return content, None
    raise ArgumentError(f"a file to upload is bytes, a path, or a file open for reading bytes, not {content!r:.60}")


def _pieces(source: IO[bytes], progress: Progress | None) -> Iterator[bytes]:
    sent = 0
    while data := source.read(_PIECE):
        yield data
        sent += len(data)
        if progress is not None:
            progress(sent)
