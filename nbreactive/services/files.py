"""File storage of one deployment: documents of ``_storage``, and the contents that they name.

A content is durable before its document is committed, and stays as long as the history in which a document names it: a
deletion is a commit like any other, of which an earlier state can be restored. A round of retention (:meth:`Files.collect`)
notes which contents no document names any more, and deletes those that have been noted for as long as history is kept. So
nothing is ever counted, and whatever a crash leaves behind is collected in the same way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nbreactive.engine._row_changes import request_key
from nbreactive.engine.catalog import BY_ID, STORAGE, Catalog, index_id
from nbreactive.engine.committer import Recorded
from nbreactive.engine.entries import Request
from nbreactive.engine.row_index import Reader
from nbreactive.engine.stored_files import (
    ADDRESS,
    StoredFile,
    address_range,
    download_address,
    file_of,
    stored_document,
    upload_address,
)
from nbreactive.engine.transactions import Write
from nbreactive.engine.upload_tokens import UPLOAD_SECONDS, UploadToken, open_upload, sign_upload
from nbreactive.errors import InvalidId, InvalidValue, Refused
from nbreactive.services.blobs import Blobs, Reading
from nbreactive.services.contents import Contents
from nbreactive.services.receiving import Receiving
from nbreactive.values.ids import Id, decode_id, encode_id
from nbreactive.values.limits import FILE_BYTES
from nbreactive.values.packing import pack, unpack

if TYPE_CHECKING:
    from nbreactive.engine.engine import Engine

_UPLOADS: Final = blake2b(b"uploads", digest_size=16).digest()
"""In whose name uploads are recorded."""
_ROWS: Final = 1000


class Found(NamedTuple):
    """A file."""

    id: Id
    file: StoredFile


class Files(Contents):
    """Stores, finds and deletes files.

    Parameters
    ----------
    engine
        Has the documents.
    blobs
        Has the contents.
    key
        What upload addresses are signed with.
    deployment
        Its name.
    url
        Gives the address at which this deployment is reached from outside.
    most
        Bytes of the largest file.
    """

    def __init__(
        self,
        engine: Engine,
        blobs: Blobs,
        key: bytes,
        *,
        deployment: str = "default",
        url: Callable[[], str] = str,
        most: int = FILE_BYTES,
    ) -> None:
        super().__init__(blobs, most)
        self._engine = engine
        self._key = key
        self._deployment = deployment
        self._url = url

    # ---- addresses -------------------------------------------------------------------------------------------

    def upload_url(self, max_size: int | None = None, content_type: str | None = None) -> str:
        """Make an address to which one file can be uploaded within the hour."""
        expires = self._engine.clock.now_ns() // 1_000_000 + UPLOAD_SECONDS * 1000
        token = UploadToken(self._engine.new_internal(), expires, max_size, content_type)
        return upload_address(self._url(), sign_upload(self._key, self._deployment, token))

    def opened(self, text: str) -> UploadToken:
        """Return what a token allows; raises Refused if it allows nothing, or has been used."""
        token = open_upload(self._key, self._deployment, text, self._engine.clock.now_ns() // 1_000_000)
        with self._engine.reader() as reader:
            self._refuse_used(reader, token.id)
        return token

    def url(self, id: str) -> str | None:
        """Return the address of a file; None if there is no such file."""
        found = self.get(id)
        return download_address(self._url(), found.file.address) if found is not None else None

    # ---- finding ---------------------------------------------------------------------------------------------

    def get(self, id: str) -> Found | None:
        """Find a file by its id."""
        number, internal = decode_id(id)
        if number != STORAGE:
            raise InvalidId(f"{id!r} is not the id of a stored file")
        with self._engine.reader() as reader:
            found = reader.document(STORAGE, internal, self._engine.durable)
        return Found(Id(id), file_of(found[0])) if found is not None else None

    def at(self, address: str) -> Found | None:
        """Find a file by what its URL ends in."""
        ts = self._engine.durable
        with self._engine.reader() as reader:
            for _, internal in reader.scan(*address_range(address), ts):
                found = reader.document(STORAGE, internal, ts)
                if found is not None:
                    return Found(encode_id(STORAGE, internal), file_of(found[0]))
        return None

    def documents(self, after: str | None = None, limit: int = _ROWS) -> list[dict[str, Any]]:
        """List files by id, those behind ``after``."""
        low = decode_id(after)[1] + b"\0" if after else b""
        found: list[dict[str, Any]] = []
        ts = self._engine.durable
        with self._engine.reader() as reader:
            for _, id, packed, _ in reader.scan_documents(index_id(STORAGE, BY_ID), low, None, ts):
                document: dict[str, Any] = unpack(packed)
                document["url"] = download_address(self._url(), document.pop(ADDRESS))
                found.append(document | {"_id": str(encode_id(STORAGE, id))})
                if len(found) == limit:
                    break
        return found

    async def read(self, sha256: str) -> Reading:
        """Open a content; FileNotFoundError if it is not there."""
        return await self.run(self.blobs.open, sha256)

    # ---- storing ---------------------------------------------------------------------------------------------

    async def add(
        self,
        receiving: Receiving,
        content_type: str | None = None,
        *,
        sha256: str | None = None,
        id: bytes | None = None,
        once: bool = False,
        created: float | None = None,
        address: str | None = None,
    ) -> Id:
        """Make a file of what was received; return its id once it is durable.

        Parameters
        ----------
        receiving
            The content; it is gone afterwards, whatever happens.
        content_type
            For whoever downloads it.
        sha256
            What its checksum must be (base16).
        id, created, address
            Those that it has already.
        once
            Whether ``id`` may be used only once, even if the file is deleted again.
        """
        try:
            found = await receiving.done()
            if sha256 is not None and sha256 != found:
                raise InvalidValue(f"the checksum of what arrived is {found}, not {sha256}: it was changed on its way")
            internal = id or self._engine.new_internal()

            def write(reader: Reader, _catalog: Catalog, ts: int) -> Recorded:
                if once:
                    self._refuse_used(reader, internal)
                if reader.document(STORAGE, internal, ts) is not None:
                    raise InvalidValue(f"there is a file with the id {encode_id(STORAGE, internal)!r} already")
                at = created if created is not None else max(self._engine.clock.now_ns(), ts) / 1e6
                document = stored_document(found, receiving.size, content_type, at, address)
                record = Request(_UPLOADS, internal, 0, b"null") if once else None
                return Recorded([Write(STORAGE, internal, pack(document))], record)

            async with self.held([(found, receiving)]):
                await self._engine.transact(write)
        finally:
            await receiving.discard()
        return encode_id(STORAGE, internal)

    async def delete(self, id: str) -> None:
        """Delete a file; raises InvalidId if there is none."""
        number, internal = decode_id(id)

        def write(reader: Reader, _catalog: Catalog, ts: int) -> list[Write]:
            found = reader.document(STORAGE, internal, ts) if number == STORAGE else None
            if found is None:
                raise InvalidId(f"there is no stored file {id!r}")
            return [Write(STORAGE, internal, None, found[1])]

        await self._engine.transact(write)

    def _refuse_used(self, reader: Reader, id: bytes) -> None:
        used = reader.request(request_key(_UPLOADS, id, 0)) is not None
        if used or reader.document(STORAGE, id, self._engine.applied) is not None:
            raise Refused("this upload address has been used; each is good for one file: ask for a new one")

    async def collect(self, keep: float) -> int:
        """Delete contents that no document has named for ``keep`` seconds; return how many."""
        return await self.sweep(keep, self._named)

    async def _named(self) -> set[str]:
        """Return the checksums of the contents that documents name."""
        await self._engine.release(self._engine.applied)
        found: set[str] = set()
        reader = self._engine.reader()
        try:
            with self._engine.hold() as ts:
                low: bytes | None = b""
                while low is not None:
                    reader.renew()
                    rows = list(_some(reader.scan_documents(index_id(STORAGE, BY_ID), low, None, ts)))
                    found.update(unpack(packed)["sha256"] for _, _, packed, _ in rows)
                    low = rows[-1][1] + b"\0" if len(rows) == _ROWS else None
                    await asyncio.sleep(0)
        finally:
            reader.close()
        return found


def _some(rows: Iterator[Any]) -> Iterator[Any]:
    from itertools import islice

    return islice(rows, _ROWS)
