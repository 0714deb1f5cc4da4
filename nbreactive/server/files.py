"""Uploads and downloads of stored files: doors for whoever has been given an address.

The address is the permission, signed or unguessable, so nothing else is asked: no key, no cookie, no origin. What is
downloaded is never shown as a page: it is an attachment, in a sandbox, and of a content type that no browser runs.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import time
import traceback
from typing import Any, Final

import msgspec
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, RequestHandler

from nbreactive._uploads import ANY_SIZE, UploadHandler
from nbreactive.engine.stored_files import check_type
from nbreactive.engine.upload_tokens import UploadToken, fits_type
from nbreactive.errors import InvalidValue, LimitExceeded, NBReactiveError, Refused, Unavailable
from nbreactive.server.file_answers import STALL_SECONDS, send_file
from nbreactive.server.site import Site
from nbreactive.services.blobs import NoSpace
from nbreactive.services.files import Files
from nbreactive.services.receiving import Receiving

UPLOAD_SECONDS: Final = 12 * 3600
"""For a whole upload."""
_DIGEST: Final = re.compile(r"sha-256=([A-Za-z0-9+/]{43}=)", re.ASCII | re.IGNORECASE)


class FilesHandler(RequestHandler):
    """Base of both doors."""

    def initialize(self, site: Site) -> None:
        """Take what handlers share."""
        self.site = site

    @property
    def files(self) -> Files:
        """The deployment's files."""
        if self.site.files is None:
            raise HTTPError(404)
        return self.site.files()

    def set_default_headers(self) -> None:
        """Admit every page: it could not have the address if it was not given it."""
        self.clear_header("Server")
        self.clear_header("Content-Type")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cache-Control", "no-store")
        self.set_header(
            "Vary", "Origin"
        )  # or a page's fetch would get from its cache what an <img> got, which sent none
        origin = self.request.headers.get("Origin")
        if origin is not None:
            self.set_header("Access-Control-Allow-Origin", origin)
            self.set_header("Access-Control-Allow-Credentials", "true")
            self.set_header("Access-Control-Expose-Headers", "Digest, Content-Range, ETag")

    def options(self, *_: str) -> None:
        """Answer a CORS preflight."""
        self.set_header("Access-Control-Allow-Methods", "GET, POST, OPTIONS, PATCH, DELETE, PUT")
        self.set_header("Access-Control-Max-Age", "86400")
        asked = self.request.headers.get("Access-Control-Request-Headers")
        if asked:
            self.set_header("Access-Control-Allow-Headers", asked)
        self.set_status(204)
        self.finish()

    def refuse(self, status: int, error: NBReactiveError) -> None:
        """Say why not."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.finish(msgspec.json.encode({"code": error.code, "message": error.message}))

    def write_error(self, status_code: int, **_: Any) -> None:
        """Say no more than that something is wrong."""
        codes = {404: "NotFound", 405: "MethodNotAllowed"}
        code = codes.get(status_code, "InternalServerError" if status_code >= 500 else "BadRequest")
        self.set_header("Content-Type", "application/json")
        self.finish(msgspec.json.encode({"code": code, "message": self._reason}))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """A fault of ours goes into the log."""
        if not isinstance(value, HTTPError | StreamClosedError):
            trace = "".join(traceback.format_exception(typ, value, tb))
            self.site.logs.event("internal error", "error", door=self.request.path, trace=trace)


class UploadFileHandler(UploadHandler, FilesHandler):
    """``POST /api/storage/upload?token=``: the bytes of one file."""

    SUPPORTED_METHODS = ("POST", "OPTIONS")

    def initialize(self, site: Site) -> None:
        """Take what handlers share."""
        super().initialize(site)
        self._receiving: Receiving | None = None
        self._token: UploadToken | None = None
        self._heard = 0.0
        self._watching: asyncio.TimerHandle | None = None

    async def prepare(self) -> None:
        """Judge the request, before any of the body is read."""
        if self.request.method != "POST":
            return
        self.http1.set_max_body_size(ANY_SIZE)  # one that is too large is refused here, in words that reach the client
        self.http1.set_body_timeout(UPLOAD_SECONDS)
        try:
            self._token = token = self.files.opened(self.get_query_argument("token", ""))
            self._type = self._content_type(token)
            self._sha256 = self._digest()
            self._receiving = await self.files.receive(self._length(), token.max_size)
        except NBReactiveError as error:
            self._refused(error)
        else:
            self._heard = time.monotonic()
            self._watch()

    def _content_type(self, token: UploadToken) -> str | None:
        given = self.request.headers.get("Content-Type") or None
        if given is not None:
            check_type(given, "Content-Type")
        if not fits_type(token.content_type, given):
            raise WrongType(f"this upload address is for {token.content_type}, not for {given or 'an unknown type'}")
        return given

    def _length(self) -> int | None:
        text = self.request.headers.get("Content-Length", "")
        return int(text) if text.isascii() and text.isdigit() else None

    def _digest(self) -> str | None:
        text = self.request.headers.get("Digest")
        if text is None:
            return None
        found = _DIGEST.fullmatch(text.strip())
        try:
            return base64.b64decode(found[1], validate=True).hex() if found else _malformed(text)
        except binascii.Error:
            return _malformed(text)

    async def take(self, chunk: bytes) -> None:
        """Take a piece of the body."""
        self._heard = time.monotonic()
        if self._receiving is None:
            return
        try:
            await self._receiving.write(chunk)
        except NBReactiveError as error:
            self._refused(error)
        except OSError as error:
            self._refused(NoSpace(f"the file cannot be stored: {error.strerror}"))

    async def post(self) -> None:
        """Make a file of it."""
        receiving, token, self._receiving = self._receiving, self._token, None
        if receiving is None or token is None:
            return
        try:
            id = await self.files.add(receiving, self._type, sha256=self._sha256, id=token.id, once=True)
        except NBReactiveError as error:
            self._refused(error)
            return
        except OSError as error:
            self._refused(NoSpace(f"the file cannot be stored: {error.strerror or error}"))
            return
        self.set_header("Content-Type", "application/json")
        self.finish(msgspec.json.encode({"storageId": str(id)}))

    def _refused(self, error: NBReactiveError) -> None:
        self._discard()
        status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
        if status == 403:
            self.site.logs.event("refused", "warning", door="/api/storage/upload", reason=error.message)
        if not self.answered_early:
            self.refuse(status, error)

    def _discard(self) -> None:
        receiving, self._receiving = self._receiving, None
        if receiving is not None:
            discarding = asyncio.ensure_future(receiving.discard())
            _discarding.add(discarding)
            discarding.add_done_callback(_discarding.discard)

    def _watch(self) -> None:
        """Let go of a client that sends nothing any more."""
        if self._receiving is None:
            return
        left = self._heard + STALL_SECONDS - time.monotonic()
        if left <= 0:
            self.wire.close()
        else:
            self._watching = asyncio.get_running_loop().call_later(left, self._watch)

    def on_connection_close(self) -> None:
        """The client has gone: nothing is kept."""
        super().on_connection_close()
        self._discard()

    def on_finish(self) -> None:
        """It is over."""
        if self._watching is not None:
            self._watching.cancel()


class WrongType(InvalidValue):
    """The content type is not the one that was signed."""

    code = "UnsupportedMediaType"


_discarding: set[asyncio.Future[None]] = set()
_STATUS: Final[list[tuple[type[NBReactiveError], int]]] = [
    (Refused, 403),
    (NoSpace, 507),
    (LimitExceeded, 413),
    (WrongType, 415),
    (InvalidValue, 400),
    (Unavailable, 503),
]


def _malformed(text: str) -> str:
    raise InvalidValue(f"{text[:80]!a} is not sha-256= and 32 bytes in base64", "Digest")


class DownloadHandler(FilesHandler):
    """``GET /api/storage/{uuid}``: a file, or a part of it."""

    SUPPORTED_METHODS = ("GET", "HEAD", "OPTIONS")

    def compute_etag(self) -> None:
        """It is known already."""

    async def get(self, address: str | None = None) -> None:
        """Send it, as fast as the other side takes it."""
        found = self.files.at(address.replace("-", "")) if address else None
        if found is None:
            raise HTTPError(404, reason="there is no such file")
        await send_file(self, self.files, found.file)

    head = get


_UUID = "([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
ROUTES: list[tuple[str, type[FilesHandler]]] = [
    (r"/api/storage/upload", UploadFileHandler),
    (rf"/api/storage/{_UUID}", DownloadHandler),
    (r"/api/storage(?:/.*)?", DownloadHandler),
]
