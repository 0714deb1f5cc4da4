"""Bulk loads: rows from outside into a table, in commits of bounded size, each row exactly once.

A load has an id and its rows are numbered. A commit leaves the record that requests of sessions leave (who, load, number of its
first row), so whatever is sent again after a lost connection, a killed backend or a killed kernel is known to be there. Rows
are checked, and their index keys computed, by a process of its own (:mod:`nbreactive.services.load_process`); the backend commits what
it is given, so many rows at a time as keep its loop for a few milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from nbreactive.engine.bulk import Bulk, Plan, plan_of
from nbreactive.engine.catalog import BATCHES, CREATION_TIME, FIRST_USER_TABLE, Catalog, TableInfo
from nbreactive.engine.committer import Recorded
from nbreactive.engine.entries import By, Request
from nbreactive.engine.requests import owner_key
from nbreactive.engine.row_index import Reader, request_key
from nbreactive.engine.transactions import Write
from nbreactive.errors import FunctionNotFound, InvalidValue, Unavailable
from nbreactive.services.blobs import Blobs
from nbreactive.services.column_files import batches
from nbreactive.services.contents import Contents
from nbreactive.services.imports import Imports
from nbreactive.services.load_frames import BulkDone, ColumnsDone, DocumentsDone, Prepare, Reply, ids_from
from nbreactive.services.load_process import LoadProcess
from nbreactive.values.packing import pack

if TYPE_CHECKING:
    from nbreactive.engine.engine import Engine

_SECONDS, _SECONDS_ALONE = 8e-3, 40e-3
"""Of the processor that a commit may take, while functions run, and while none do."""
_FEWEST, _MOST = 100, 5000
_GLANCE: Final = 0.06
"""Seconds in which it shows whether functions run."""
_FEW: Final = 200
"""Rows of a commit whose keys the backend computes itself."""
_REMEMBERED: Final = 1000
_ATTEMPTS: Final = 5


class Part(msgspec.Struct, frozen=True):
    """Rows that one commit has added."""

    rows: int
    first: str
    """Internal id of the first one, base16; the others follow (:func:`nbreactive.services.load_frames.ids_from`)."""


class State(msgspec.Struct, frozen=True):
    """How far a load is."""

    rows: int
    """So many are in the table, durably."""
    table: int
    """Its number; 0: there is none yet."""
    storage: str
    parts: Sequence[Part]
    gone: bool = False
    """Its first and its last document have been deleted since."""


class Loads:
    """The bulk loads of one deployment.

    Parameters
    ----------
    engine
        Where tables are.
    folder
        Where files of columns go.
    """

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._engine = engine
        self._folder = folder
        self._process = LoadProcess()
        self._locks: OrderedDict[bytes, asyncio.Lock] = OrderedDict()
        self._row_seconds = 8e-6
        self._executed = 0
        self._looked = 0.0
        self._last = 0
        self._naming = asyncio.Lock()
        """Held while a file of columns is written and named by a commit: none may be deleted meanwhile."""
        self.blobs = Blobs(folder)
        """The files of columns."""
        self.blobs.clean()  # of what an earlier process has left half written
        self._contents = Contents(self.blobs, 0)

    async def close(self) -> None:
        """End the process."""
        await self._process.close()
        await self._contents.close()

    async def collect(self, keep: float) -> int:
        """Delete files of columns that no commit has named for ``keep`` seconds; return how many."""
        async with self._naming:
            return await self._contents.sweep(keep, self._named)

    async def _named(self) -> set[str]:
        await self._engine.release(self._engine.applied)
        reader = self._engine.reader()
        try:
            return {batch.hash for batch in batches(reader, self._engine.durable)}
        finally:
            reader.close()

    def state(self, table: str, load: str, identity: Any) -> State:
        """Tell how far a load is, and which ids its rows have."""
        info = self._engine.catalog().table(table)
        parts = self._parts(owner_key(identity), _session(table, load))
        rows = sum(part.rows for part in parts)
        if info is None:
            return State(rows, 0, "rows", parts)
        return State(rows, info.number, info.storage, parts, self._gone(info, parts))

    def _gone(self, info: TableInfo, parts: Sequence[Part]) -> bool:
        if not parts or info.storage == "columns":
            return False
        first, last = bytes.fromhex(parts[0].first), ids_from(bytes.fromhex(parts[-1].first), parts[-1].rows)[-1]
        reader = self._engine.reader()
        try:
            return all(reader.document(info.number, id, self._engine.applied) is None for id in (first, last))
        finally:
            reader.close()

    async def add(
        self, table: str, load: str, row: int, data: bytes, identity: Any, *, arrow: bool, who: str = ""
    ) -> int:
        """Add rows, of which the first has the number ``row`` in its load; return how many the load has now, durably.

        Parameters
        ----------
        table
            Where to; made if it is not there.
        load
            The id of the load.
        row
            What comes after it and is in the table already is left out.
        data
            An Arrow IPC stream, or packed documents.
        identity
            Who loads.
        arrow
            Which of the two.
        who
            Whom the log names.

        Raises
        ------
        InvalidValue, SchemaError
            Some row is not as the table wants it, or rows before these are missing. What came in commits before it stays.
        """
        session = _session(table, load)
        lock = self._locks.setdefault(session, asyncio.Lock())
        self._locks.move_to_end(session)
        while len(self._locks) > _REMEMBERED and not next(iter(self._locks.values())).locked():
            self._locks.popitem(last=False)
        async with lock:
            owner = owner_key(identity)
            for attempt in range(_ATTEMPTS):
                done = sum(part.rows for part in self._parts(owner, session))
                if row > done:
                    raise InvalidValue(
                        f"the load {load!r} has {done} rows here, so row {row} cannot be the next one; go on at {done}"
                    )
                info = self._engine.catalog().table(table)
                if info is None:
                    await Imports(self._engine).tables({table: 0})
                    continue
                try:
                    return await self._add(info, owner, session, row, done, data, arrow, By(f"load {table}", who))
                except _Changed:
                    if attempt == _ATTEMPTS - 1:
                        raise Unavailable(
                            f"the table {table!r} was changed while rows were loaded; load again"
                        ) from None
        raise AssertionError

    async def _add(
        self, info: TableInfo, owner: bytes, session: bytes, row: int, done: int, data: bytes, arrow: bool, by: By
    ) -> int:
        if info.number < FIRST_USER_TABLE:
            raise FunctionNotFound(f"there is no table {info.name!r} to load into")
        columns = info.storage == "columns"
        plan = _plan(info)
        begun = max(self._engine.clock.now_ns(), self._engine.applied)
        catalog = self._engine.catalog()
        first = self._first(begun)
        request = Prepare(
            data,
            arrow,
            row,
            done - row,
            await self._rows() if plan is not None else _FEW,
            first,
            begun / 1e6,
            plan,
            info.validator,
            {number: table.name for number, table in catalog.by_number.items()},
            str(self._folder) if columns else "",
        )
        async with self._naming if columns else contextlib.nullcontext():
            async for reply in self._process.prepare(request):
                done += await self._commit(reply, info, plan, owner, session, done, by, first, begun)
        return done

    async def _commit(
        self,
        reply: Reply,
        info: TableInfo,
        plan: Plan | None,
        owner: bytes,
        session: bytes,
        row: int,
        by: By,
        first: bytes,
        created: int,
    ) -> int:
        """Commit what was prepared, durably; return how many rows that are."""
        rows, begin, writes = _content(reply, info, first, created, self._engine)
        if not rows:
            return 0
        self._last = max(self._last, int.from_bytes(begin[:8], "big") + rows)
        record = Request(owner, session, row, msgspec.json.encode(Part(rows, begin.hex())))

        def write(reader: Reader, catalog: Catalog, _ts: int) -> Recorded:
            now = catalog.number(info.number)
            if now is None or now.validator != info.validator or now.storage != info.storage or _plan(now) != plan:
                raise _Changed
            if reader.request(request_key(owner, session, row)) is not None:
                raise InvalidValue("these rows are being loaded by somebody else with the same id of the load")
            if isinstance(writes, Bulk):  # told when the loop is free again
                asyncio.get_running_loop().call_soon(self._pace, rows, time.thread_time())
            return Recorded(writes, record, by)

        await self._engine.transact(write, remember=False)
        return rows

    async def _rows(self) -> int:
        """Choose how many rows a commit of the next request has."""
        if time.monotonic() > self._looked + 1.0:
            self._executed = sum(self._engine.executions.values())
            await asyncio.sleep(_GLANCE)
        executed = sum(self._engine.executions.values())
        seconds = _SECONDS_ALONE if executed == self._executed else _SECONDS
        self._executed, self._looked = executed, time.monotonic()
        return max(_FEWEST, min(_MOST, round(seconds / self._row_seconds)))

    def _pace(self, rows: int, begun: float) -> None:
        """Note what a commit took, in the moment in which the loop is free again."""
        if rows >= _FEWEST:  # what a commit takes by itself counts little then
            self._row_seconds += ((time.thread_time() - begun) / rows - self._row_seconds) / 4

    def _first(self, now_ns: int) -> bytes:
        """Make the first internal id of rows that follow each other."""
        begin = max((now_ns // 1_000_000) << 16, self._last + 1)
        return begin.to_bytes(8, "big") + secrets.token_bytes(8)

    def _parts(self, owner: bytes, session: bytes) -> list[Part]:
        parts: list[Part] = []
        row = 0
        reader = self._engine.reader()
        try:
            while (found := reader.request(request_key(owner, session, row))) is not None:
                part = msgspec.json.decode(found[1], type=Part)
                parts.append(part)
                row += part.rows
        finally:
            reader.close()
        return parts


class _Changed(Exception):  # noqa: N818 - never leaves this module
    """The table is not as it was when rows were prepared for it."""


def _plan(info: TableInfo) -> Plan | None:
    return None if info.storage == "columns" else plan_of(info)


def _session(table: str, load: str) -> bytes:
    if not 0 < len(load) <= 200:
        raise InvalidValue("the id of a load is a text of 1 to 200 characters")
    return blake2b(f"load\0{table}\0{load}".encode(), digest_size=16).digest()


def _content(
    reply: Reply, info: TableInfo, first: bytes, created: int, engine: Engine
) -> tuple[int, bytes, Bulk | list[Write]]:
    """Return how many rows there are, the first internal id, and what is to be written."""
    if isinstance(reply, BulkDone):
        return len(reply.bulk.ids), reply.bulk.ids[0], reply.bulk
    if isinstance(reply, ColumnsDone):
        batch = {
            "table": float(info.number),
            "hash": reply.hash,
            "rows": float(reply.rows),
            "bytes": float(reply.bytes),
            "first": first,
            CREATION_TIME: created / 1e6,
        }
        return reply.rows, first, [Write(BATCHES, engine.new_internal(), pack(batch))]
    assert isinstance(reply, DocumentsDone)
    writes = [Write(info.number, id, doc) for id, doc in reply.documents]
    return len(writes), writes[0].id if writes else b"", writes
