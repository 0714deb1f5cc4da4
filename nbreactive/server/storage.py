"""The admin API of stored data: backup, documents for an export, import, doctor, retention."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, Literal, Protocol

import msgspec
from tornado.http1connection import HTTP1Connection
from tornado.iostream import StreamClosedError

from nbreactive.engine.catalog import BY_ID, FIRST_USER_TABLE, STORAGE, index_id
from nbreactive.engine.entries import decode_entry
from nbreactive.engine.feed import first_batch
from nbreactive.errors import InvalidValue, ProtocolError
from nbreactive.server._handler import SiteHandler
from nbreactive.server.admin import no_table
from nbreactive.server.data_folder import cursor_key
from nbreactive.server.parts import Parts
from nbreactive.server.site import Site
from nbreactive.services.doctor import examine_running
from nbreactive.services.file_copies import pieces_of
from nbreactive.services.imports import Imports
from nbreactive.services.retention import seconds_of
from nbreactive.services.streams import record
from nbreactive.values.packing import decoder_of

_DOCUMENTS = 256
"""That are read before others get their turn."""
_PIECE = 1 << 18
"""Bytes of which the other side has to take some more in a while."""


class Storage(Protocol):
    """What these doors ask of the backend."""

    @property
    def parts(self) -> Parts:
        """The running deployment."""
        ...


class StorageHandler(SiteHandler):
    """Base: a caller with the role ``admin``."""

    def initialize(self, site: Site, backend: Storage) -> None:  # type: ignore[override]
        """Take what handlers share."""
        super().initialize(site)
        self.backend = backend

    async def prepare(self) -> None:
        """Judge the request, and the caller."""
        await super().prepare()
        if self.request.method != "OPTIONS":
            self.caller.require("admin")

    async def send(self, kind: bytes, content: Any) -> None:
        """Send one record, as fast as the other side takes it; one that stops for long is left, as it holds things up.

        Raises
        ------
        StreamClosedError
            It has gone, or was left.
        """
        data = memoryview(record(kind, content))
        for begin in range(0, len(data), _PIECE):
            self.write(bytes(data[begin : begin + _PIECE]))
            try:
                async with asyncio.timeout(self.site.limits.send_timeout):
                    await self.flush()
            except TimeoutError:
                connection = self.request.connection
                assert isinstance(connection, HTTP1Connection)
                connection.close()
                self.site.logs.event("a download was left: nobody reads it", "warning", door=self.request.path)
                raise StreamClosedError from None

    def begin_stream(self) -> None:
        """Say that records follow."""
        self.set_header("Content-Type", "application/octet-stream")
        self.set_header("Content-Disposition", "attachment")


class BackupHandler(StorageHandler):
    """``GET /api/admin/backup``: the log up to now, as a stream."""

    async def get(self) -> None:
        """Send it."""
        parts = self.backend.parts
        self.begin_stream()
        try:
            async with parts.retention.busy:  # all of it, as it is now
                tail = await parts.log.tail()
                last = await first_batch(parts.log, tail - 1) if tail else None
                ts = decode_entry(last.entries[-1]).ts if last is not None else 0
                head = {"deployment": self.site.deployment, "timestamp": ts, "horizon": parts.log.horizon}
                head["cursor_key"] = cursor_key(parts.log.folder.parent)
                await self.send(b"h", head | {"bytes": parts.log.size()})
                entries = 0
                async for batch in parts.log.read():
                    if batch.position > tail:
                        break
                    entries += len(batch.entries)
                    await self.send(b"b", batch.entries)
                # Whatever a version in this log names is there, for contents are deleted under the same lock
                files = chain(pieces_of(parts.files.blobs), pieces_of(parts.loads.blobs))
                while (piece := await parts.files.run(next, files, None)) is not None:
                    await self.send(b"f", piece)
                await self.send(b"e", {"entries": entries})
        except StreamClosedError:
            return
        self.site.logs.event("backed up", timestamp=str(ts), entries=entries)


class DocumentsHandler(StorageHandler):
    """``GET /api/admin/documents?table=``: all documents of users' tables at one timestamp, as a stream."""

    async def get(self) -> None:
        """Send them, table by table, in the order of their ids."""
        engine = self.backend.parts.engine
        name = self.get_query_argument("table", None)
        self.begin_stream()
        reader = engine.reader()
        try:
            with engine.hold() as ts:
                catalog = engine.catalog(ts).by_number.values()
                tables = [t for t in catalog if t.number >= FIRST_USER_TABLE or t.number == STORAGE]
                tables = [table for table in tables if name in (None, table.name)]
                if name is not None and not tables:
                    raise no_table(name)
                named = {table.name: table.number for table in sorted(tables, key=lambda table: table.number)}
                await self.send(b"h", {"timestamp": ts, "tables": named})
                total = 0
                for table in named.values():
                    low: bytes | None = b""
                    while low is not None:
                        reader.renew()
                        rows = reader.scan_documents(index_id(table, BY_ID), low, None, ts)
                        found = [(id, doc) for _, id, doc, _ in _some(rows)]
                        low = found[-1][0] + b"\0" if len(found) == _DOCUMENTS else None
                        total += len(found)
                        await self.send(b"b", (table, found))
                        await asyncio.sleep(0)
                await self.send(b"e", {"documents": total})
        except StreamClosedError:
            return
        finally:
            reader.close()


class ImportBody(msgspec.Struct):
    """One step of an import."""

    tables: dict[str, int] | None = None
    """Make these tables; the answer names the numbers that they have."""
    table: str = ""
    clear: bool = False
    """Delete some documents of the table."""
    documents: list[dict[str, Any]] | None = None
    """Insert these."""
    cleared: bool = False
    """The table was cleared for them."""
    check: Literal["", "append", "replace"] = ""
    """Only look whether they could be inserted: beside what is there, or in its place."""


_decode_body = decoder_of(ImportBody)


class ImportHandler(StorageHandler):
    """``POST /api/admin/import``: one step, in msgpack."""

    async def post(self) -> None:
        """Do it."""
        try:
            body = _decode_body(self.request.body)
        except (msgspec.MsgspecError, InvalidValue) as error:
            raise ProtocolError(f"this is not a step of an import: {error}") from None
        imports = Imports(self.backend.parts.engine)
        if body.tables is not None:
            self.answer({"tables": await imports.tables(body.tables)})
        elif body.clear:
            self.answer({"deleted": await imports.clear(body.table)})
        elif body.check:
            replacing = body.check == "replace"
            self.answer({"checked": imports.check(body.table, body.documents or [], replacing=replacing)})
        else:
            done = await imports.insert(body.table, body.documents or [], cleared=body.cleared)
            self.answer({"inserted": done})


class DoctorHandler(StorageHandler):
    """``GET /api/admin/doctor``."""

    async def get(self) -> None:
        """Compare log, row index and store.duckdb, and say what was found."""
        self.answer(await examine_running(self.backend.parts))


class RetentionBody(msgspec.Struct):
    """For how long history shall be kept, this once."""

    keep: str | None = None


class RetentionHandler(StorageHandler):
    """``POST /api/admin/retention``: drop old history now."""

    async def post(self) -> None:
        """Do one round."""
        body = self.body(RetentionBody)
        keep = None if body.keep is None else seconds_of(body.keep)
        report = await self.backend.parts.retention.round(keep, thorough=True)
        self.site.logs.event("history trimmed", **msgspec.to_builtins(report))
        self.answer(report)


def _some(rows: Iterator[Any]) -> Iterator[Any]:
    return islice(rows, _DOCUMENTS)


ROUTES: list[tuple[str, type[StorageHandler]]] = [
    (r"/api/admin/backup", BackupHandler),
    (r"/api/admin/documents", DocumentsHandler),
    (r"/api/admin/import", ImportHandler),
    (r"/api/admin/doctor", DoctorHandler),
    (r"/api/admin/retention", RetentionHandler),
]
