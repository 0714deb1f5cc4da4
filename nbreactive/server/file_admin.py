"""The admin API of stored files: list, download, upload, delete."""

from __future__ import annotations

import re
from typing import Any, Protocol

from tornado.web import HTTPError

from nbreactive._uploads import ANY_SIZE, UploadHandler
from nbreactive.engine.catalog import STORAGE
from nbreactive.engine.stored_files import StoredFile, check_type
from nbreactive.errors import InvalidId, InvalidValue
from nbreactive.server._handler import SiteHandler
from nbreactive.server.file_answers import send_file
from nbreactive.server.files import UPLOAD_SECONDS
from nbreactive.server.site import Site
from nbreactive.services.creation_times import creation_time
from nbreactive.services.files import Files
from nbreactive.services.receiving import Receiving
from nbreactive.values.ids import decode_id

_MOST = 1000


class HasFiles(Protocol):
    """What these doors ask of the backend."""

    @property
    def files(self) -> Files:
        """The stored files."""
        ...


class FileAdminHandler(UploadHandler, SiteHandler):
    """Base: a caller with the role ``admin``."""

    def initialize(self, site: Site, backend: HasFiles) -> None:  # type: ignore[override]
        """Take what handlers share."""
        super().initialize(site)
        self.backend = backend

    async def prepare(self) -> None:
        """Judge the request, and the caller."""
        judging: Any = super().prepare()
        if judging is not None:
            await judging
        if self.request.method != "OPTIONS":
            self.caller.require("admin")

    async def take(self, chunk: bytes) -> None:
        """Take a piece of a body that nobody wants."""


class FileListHandler(FileAdminHandler):
    """``/api/admin/files``."""

    _receiving: Receiving | None = None

    async def prepare(self) -> None:
        """Judge the request before its body is read."""
        await super().prepare()
        if self.request.method == "POST":
            self.http1.set_max_body_size(ANY_SIZE)
            self.http1.set_body_timeout(UPLOAD_SECONDS)
            length = self.request.headers.get("Content-Length", "")
            self._receiving = await self.backend.files.receive(int(length) if length.isdecimal() else None)

    def get(self) -> None:
        """List files by id: ``?after=<id>&limit=``."""
        limit = self.get_query_argument("limit", str(_MOST))
        if not (limit.isascii() and limit.isdigit() and 0 < int(limit) <= _MOST):
            raise HTTPError(400, f"limit is a number from 1 to {_MOST}")
        self.answer({"files": self.backend.files.documents(self.get_query_argument("after", None), int(limit))})

    async def take(self, chunk: bytes) -> None:
        """Take a piece of the body."""
        if self._receiving is not None:
            try:
                await self._receiving.write(chunk)
            except InvalidValue as error:
                self.set_status(413)
                self.answer({"code": error.code, "message": error.message}, 413)

    async def post(self) -> None:
        """Store a file: its bytes are the body; ``?id=&created=&address=&sha256=`` are those that it has already."""
        receiving, self._receiving = self._receiving, None
        if receiving is None or self.answered_early:
            return
        given = self.get_query_argument
        content_type = self.request.headers.get("Content-Type") or None
        try:
            id = given("id", None)
            number, internal = decode_id(id) if id is not None else (STORAGE, None)
            if number != STORAGE:
                raise InvalidId(f"{id!r} is not the id of a stored file")
            created = _created(given("created", None))
            address = (given("address", None) or "").replace("-", "") or None
            if address is not None and re.fullmatch("[0-9a-f]{32}", address) is None:
                raise InvalidValue(
                    f"{address!a:.50} is no address of a file: 32 hexadecimal digits; leave it out", "address"
                )
            if address is not None and self.backend.files.at(address) is not None:
                address = None  # it is another file's: this one gets a new one
            stored = await self.backend.files.add(
                receiving,
                check_type(content_type, "Content-Type") if content_type is not None else None,
                sha256=given("sha256", None),
                id=internal,
                created=created,
                address=address,
            )
        finally:
            await receiving.discard()
        self.answer({"storageId": str(stored)})


def _created(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        moment = float(text)
    except ValueError:
        raise InvalidValue(
            f"{text!a:.50} is no time; write milliseconds since 1970, or leave it out", "created"
        ) from None
    return creation_time(moment, "created")


class ContentHandler(FileAdminHandler):
    """``/api/admin/contents/<sha256>``."""

    async def get(self, sha256: str) -> None:
        """Send a content, also one of a file that was deleted a moment ago."""
        size = await self.backend.files.run(self.backend.files.blobs.size, sha256)
        if size is None:
            raise HTTPError(404, "there is no such content")
        await send_file(self, self.backend.files, StoredFile(sha256, size, "0" * 32, 0.0))


class FileHandler(FileAdminHandler):
    """``/api/admin/files/<id>``."""

    async def get(self, id: str) -> None:
        """Send the content."""
        found = self.backend.files.get(id)
        if found is None:
            raise HTTPError(404, "there is no such file")
        await send_file(self, self.backend.files, found.file)

    async def delete(self, id: str) -> None:
        """Delete the file."""
        await self.backend.files.delete(id)
        self.site.logs.event("file deleted", "warning", id=id)
        self.answer({"deleted": id})


ROUTES: list[tuple[str, type[FileAdminHandler]]] = [
    (r"/api/admin/files", FileListHandler),
    (r"/api/admin/files/([0-9a-z]{1,40})", FileHandler),
    (r"/api/admin/contents/([0-9a-f]{64})", ContentHandler),
]
