"""File storage of one deployment: documents of ``_storage``, and the contents that they name.

A content is durable before its document is committed, and stays as long as the history in which a document names it: a
deletion is a commit like any other, of which an earlier state can be restored. A round of retention (:meth:`Files.sweep`)
notes which contents no document names any more, and deletes those that have been noted for as long as history is kept. So
nothing is ever counted, and whatever a crash leaves behind is collected in the same way.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

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
from nbreactive.engine.transactions import NewFile, Write
from nbreactive.engine.upload_tokens import UPLOAD_SECONDS, UploadToken, open_upload, sign_upload
from nbreactive.errors import InvalidId, InvalidValue, LimitExceeded, Refused
from nbreactive.services.blobs import Blobs, Incoming, Reading
from nbreactive.values.ids import Id, decode_id, encode_id
from nbreactive.values.limits import FILE_BYTES, over
from nbreactive.values.packing import pack, unpack

if TYPE_CHECKING:
    from nbreactive.engine.engine import Engine

T = TypeVar("T")
PIECE: Final = 1 << 20
"""Bytes that are written and read at a time."""
_THREADS: Final = 8
_UPLOADS: Final = blake2b(b"uploads", digest_size=16).digest()
"""In whose name uploads are recorded."""
_NOTES: Final = "unreferenced.json"
_ROWS: Final = 1000


class Found(NamedTuple):
    """A file."""

    id: Id
    file: StoredFile


class _Pin:
    """A content that somebody is about to name in a document."""

    __slots__ = ("count", "lock", "made", "named")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.count = 0
        self.made = False
        """Whether it was not there before."""
        self.named = False
        """Whether a document names it now."""


class Files:
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
        self._engine = engine
        self.blobs = blobs
        self._key = key
        self._deployment = deployment
        self._url = url
        self.most = most
        self._threads = ThreadPoolExecutor(_THREADS, "files")
        self._pins: dict[str, _Pin] = {}
        self._fresh: set[str] | None = None
        """Contents that were named since a sweep has begun to look."""

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do what blocks, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    async def open(self) -> None:
        """Delete what an earlier process has left half written."""
        await self.run(self.blobs.clean)

    async def close(self) -> None:
        """End."""
        await asyncio.to_thread(self._threads.shutdown)

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

    async def receive(self, size: int | None = None, most: int | None = None) -> Receiving:
        """Begin to take a content; at most ``most`` bytes, and no more than the largest file has."""
        most = self.most if most is None else min(most, self.most)
        if size is not None and size > most:
            raise too_large(size, most)
        return Receiving(self, await self.run(self.blobs.receive, size or 0), most)

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

            async with self._kept([(found, receiving)]):
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

    @asynccontextmanager
    async def keep(self, files: Sequence[NewFile]) -> AsyncGenerator[None]:
        """Keep what a mutation stores, while it is committed."""
        coming: list[tuple[str, Receiving]] = []
        try:
            for file in files:
                receiving = await self.receive(len(file.data))
                coming.append((file.sha256, receiving))
                await receiving.write(file.data)
                if await receiving.done() != file.sha256:
                    raise InvalidValue("a worker sent a file with the checksum of another; nothing was written")
            async with self._kept(coming):
                yield
        finally:
            for _, receiving in coming:
                await receiving.discard()

    @asynccontextmanager
    async def _kept(self, coming: Sequence[tuple[str, Receiving]]) -> AsyncGenerator[None]:
        pinned: list[str] = []
        named = False
        try:
            for sha256, receiving in coming:
                pin = self._pins.setdefault(sha256, _Pin())
                pin.count += 1
                pinned.append(sha256)
                async with pin.lock:
                    pin.made |= await self.run(self.blobs.keep, receiving.taken(), sha256)
            yield
            named = True
            if self._fresh is not None:
                self._fresh.update(pinned)
        finally:
            for sha256 in pinned:
                await self._unpin(sha256, named=named)

    async def _unpin(self, sha256: str, *, named: bool) -> None:
        pin = self._pins[sha256]
        pin.named |= named
        async with pin.lock:
            if pin.count == 1 and pin.made and not pin.named:
                await self.run(self.blobs.remove, sha256)
                pin.made = False
        pin.count -= 1
        if not pin.count:
            del self._pins[sha256]

    def _refuse_used(self, reader: Reader, id: bytes) -> None:
        used = reader.request(request_key(_UPLOADS, id, 0)) is not None
        if used or reader.document(STORAGE, id, self._engine.applied) is not None:
            raise Refused("this upload address has been used; each is good for one file: ask for a new one")

    # ---- collecting ------------------------------------------------------------------------------------------

    async def named(self) -> set[str]:
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

    async def sweep(self, keep: float) -> int:
        """Delete contents that no document has named for ``keep`` seconds; return how many."""
        self._fresh = set()
        try:
            there = {sha256 for sha256, _ in await self.run(lambda: list(self.blobs.names()))}
            unnamed = there - await self.named()
            now = time.time()
            noted = await self.run(self._notes)
            since = {sha256: min(noted.get(sha256, now), now) for sha256 in unnamed}
            gone = 0
            for sha256 in [sha256 for sha256, at in since.items() if now - at >= keep]:
                if sha256 in self._pins or sha256 in self._fresh:
                    continue
                pin = self._pins.setdefault(sha256, _Pin())
                pin.count += 1
                try:
                    async with pin.lock:
                        if pin.count == 1 and sha256 not in self._fresh:
                            await self.run(self.blobs.remove, sha256)
                            del since[sha256]
                            gone += 1
                finally:
                    pin.count -= 1
                    if not pin.count:
                        self._pins.pop(sha256, None)
            if since != noted:
                await self.run(self._note, since)
            return gone
        finally:
            self._fresh = None

    def _notes(self) -> dict[str, float]:
        try:
            noted: Any = json.loads((self.blobs.folder / _NOTES).read_bytes())
            return {str(sha256): float(at) for sha256, at in noted.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}  # the time begins anew

    def _note(self, since: Mapping[str, float]) -> None:
        file = self.blobs.folder / _NOTES
        draft = file.with_suffix(f".{os.getpid()}.new")
        draft.write_text(json.dumps(since))
        draft.replace(file)


class Receiving:
    """A content on its way in, a piece at a time; made by :meth:`Files.receive`."""

    def __init__(self, files: Files, incoming: Incoming, most: int) -> None:
        self._files = files
        self._incoming: Incoming | None = incoming
        self._most = most
        self._piece = bytearray()
        self._sha256: str | None = None
        self._lock = asyncio.Lock()
        self.size = 0

    async def write(self, data: bytes) -> None:
        """Add a piece; LimitExceeded if it is too much."""
        self.size += len(data)
        if self.size > self._most:
            raise too_large(self.size, self._most)
        self._piece += data
        if len(self._piece) >= PIECE:
            async with self._lock:
                await self._flush()

    async def _flush(self) -> None:
        piece, self._piece = self._piece, bytearray()
        await self._files.run(self._held().write, piece)

    async def done(self) -> str:
        """Make it durable; return its checksum."""
        async with self._lock:
            if self._sha256 is None:
                await self._flush()
                self._sha256 = await self._files.run(self._held().close)
        return self._sha256

    def taken(self) -> Incoming:
        """Give it away."""
        incoming, self._incoming = self._held(), None
        return incoming

    async def discard(self) -> None:
        """Delete it, unless it was given away."""
        async with self._lock:
            if self._incoming is not None:
                with contextlib.suppress(RuntimeError):  # at the end of the process; the next one cleans up
                    await self._files.run(self.taken().discard)

    def _held(self) -> Incoming:
        if self._incoming is None:
            raise InvalidValue("this file is not being stored any more")
        return self._incoming


def too_large(size: int, most: int) -> LimitExceeded:
    """The error for a file that is too large."""
    return LimitExceeded(over("bytes in a file", size, most, "store it in parts, or raise the limit file_bytes"))


def _some(rows: Iterator[Any]) -> Iterator[Any]:
    from itertools import islice

    return islice(rows, _ROWS)
