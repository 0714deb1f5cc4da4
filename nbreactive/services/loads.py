"""Bulk loads: rows from outside into a table, in commits of bounded size, each row exactly once.

A load has an id and its rows are numbered. A commit leaves the record that requests of sessions leave (who, load, number of its
first row), so whatever is sent again after a lost connection, a killed backend or a killed kernel is known to be there. Rows
are checked, and their index keys computed, by a process of its own (:mod:`nbreactive.services.load_process`); the backend commits what
it is given, so many rows at a time as keep its loop for a few milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from nbreactive.columns.batches import Batch, document_of
from nbreactive.engine.bulk import Bulk, Plan, plan_of
from nbreactive.engine.catalog import BATCHES, FIRST_USER_TABLE, Catalog, TableInfo
from nbreactive.engine.committer import Recorded
from nbreactive.engine.entries import By, Request
from nbreactive.engine.requests import owner_key
from nbreactive.engine.row_index import Reader, request_key
from nbreactive.engine.transactions import Write
from nbreactive.errors import FunctionNotFound, InvalidValue, Unavailable
from nbreactive.services.blobs import Blobs
from nbreactive.services.column_files import batches, newest
from nbreactive.services.contents import Contents
from nbreactive.services.imports import Imports
from nbreactive.services.load_frames import BulkDone, ColumnsDone, DocumentsDone, Prepare, Reply, ids_from
from nbreactive.services.load_pace import Pace
from nbreactive.services.load_process import LoadProcess
from nbreactive.values.packing import pack

if TYPE_CHECKING:
    from nbreactive.engine.engine import Engine

_FEW: Final = 200
"""Rows of a commit whose keys the backend computes itself."""
_AHEAD: Final = 2
"""Commits of a load that are applied and not durable."""
_REMEMBERED: Final = 1000
_ATTEMPTS: Final = 5


class Part(msgspec.Struct, frozen=True):
    """Rows that one commit has added."""

    rows: int
    first: str
    """Internal id of the first one, base16; the others follow (:func:`nbreactive.services.load_frames.ids_from`)."""
    run: str = ""
    """Names the call that has loaded them: a load may take several."""


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
        self._pace = Pace(lambda: sum(engine.executions.values()), lambda: engine.busy)
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
            return {batch.hash for batch in batches(reader, self._engine.durable) if batch.hash}
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
        self, table: str, load: str, row: int, data: bytes, identity: Any, *, arrow: bool, who: str = "", run: str = ""
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
        run
            Noted with the rows that are new.

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
                parts = self._parts(owner, session)
                done = sum(part.rows for part in parts)
                if row > done:
                    raise InvalidValue(
                        f"the load {load!r} has {done} rows here, so row {row} cannot be the next one; go on at {done}"
                    )
                info = self._engine.catalog().table(table)
                if info is None:
                    await Imports(self._engine).tables({table: 0})
                    continue
                before = done - parts[-1].rows if parts else -1
                target = _Target(info, _plan(info), owner, session, By(f"load {table}", who), run)
                try:
                    return await self._add(target, row, done, before, data, arrow)
                except _Changed:
                    if attempt == _ATTEMPTS - 1:
                        raise Unavailable(
                            f"the table {table!r} was changed while rows were loaded; load again"
                        ) from None
        raise AssertionError

    async def _add(self, target: _Target, row: int, done: int, before: int, data: bytes, arrow: bool) -> int:
        """Prepare rows and commit them; ``before`` is the first row of the last commit so far, negative if there is none."""
        info, plan = target.info, target.plan
        if info.number < FIRST_USER_TABLE:
            raise FunctionNotFound(f"there is no table {info.name!r} to load into")
        columns = info.storage == "columns"
        begun = max(self._engine.clock.now_ns(), self._engine.applied)
        request = Prepare(
            data,
            arrow,
            row,
            done - row,
            await self._pace.rows(len(data), target.session) if plan is not None else _FEW,
            self._first(begun),
            begun / 1e6,
            plan,
            info.validator,
            {number: table.name for number, table in self._engine.catalog().by_number.items()},
            str(self._folder) if columns else "",
        )
        committing: deque[asyncio.Task[int]] = deque()
        try:
            async with (
                self._naming if columns else contextlib.nullcontext(),
                contextlib.aclosing(self._process.prepare(request)) as replies,
            ):
                async for reply in replies:
                    rows, first = _extent(reply, request.first)
                    if not rows:
                        continue
                    self._last = max(self._last, int.from_bytes(first[:8], "big") + rows)
                    applied: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    commit = self._commit(target, reply, Part(rows, first.hex(), target.run), done, before, applied)
                    committing.append(asyncio.create_task(commit))
                    before, done = done, done + rows
                    await asyncio.wait([applied, committing[-1]], return_when=asyncio.FIRST_COMPLETED)
                    await self._pace.rest()
                    while len(committing) > _AHEAD or (committing and committing[0].done()):
                        await committing.popleft()
                while committing:
                    await committing.popleft()
        finally:
            await asyncio.gather(*committing, return_exceptions=True)
        return done

    async def _commit(
        self, target: _Target, reply: Reply, part: Part, row: int, before: int, applied: asyncio.Future[None]
    ) -> int:
        """Commit what was prepared, durably; ``applied`` is told when the next commit may begin."""
        info, owner, session = target.info, target.owner, target.session
        record = Request(owner, session, row, msgspec.json.encode(part))

        def write(reader: Reader, catalog: Catalog, ts: int) -> Recorded:
            now = catalog.number(info.number)
            if (
                now is None
                or now.validator != info.validator
                or now.storage != info.storage
                or _plan(now) != target.plan
            ):
                raise _Changed
            if before >= 0 and reader.request(request_key(owner, session, before)) is None:
                raise Unavailable("the rows before these could not be written; load again")
            if reader.request(request_key(owner, session, row)) is not None:
                raise InvalidValue("these rows are being loaded by somebody else with the same id of the load")
            writes = self._writes(reply, part, info, reader, ts)
            if isinstance(writes, Bulk):  # told when the loop is free again
                asyncio.get_running_loop().call_soon(self._pace.note, len(writes.ids), time.thread_time())
            if not applied.done():
                applied.set_result(None)
            return Recorded(writes, record, target.by)

        return await self._engine.transact(write, remember=False)

    def _writes(self, reply: Reply, part: Part, info: TableInfo, reader: Reader, ts: int) -> Bulk | list[Write]:
        if isinstance(reply, BulkDone):
            return reply.bulk
        if isinstance(reply, DocumentsDone):
            return [Write(info.number, id, doc) for id, doc in reply.documents]
        assert isinstance(reply, ColumnsDone)
        last = newest(reader, info.number, ts)
        created = max(self._engine.clock.now_ns(), ts) / 1e6
        rows_before = size_before = 0
        if last is not None:
            created = max(created, math.nextafter(last.created, math.inf))
            rows_before, size_before = last.rows_before + last.rows, last.size_before + last.size
        first, before = bytes.fromhex(part.first), (rows_before, size_before)
        batch = Batch(info.number, reply.rows, reply.size, first, created, *before, reply.hash, reply.data)
        return [Write(BATCHES, self._engine.new_internal(), pack(document_of(batch)))]

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


class _Target(NamedTuple):
    """What rows are loaded into, and by whom."""

    info: TableInfo
    plan: Plan | None
    owner: bytes
    session: bytes
    by: By
    run: str


class _Changed(Exception):  # noqa: N818 - never leaves this module
    """The table is not as it was when rows were prepared for it."""


def _plan(info: TableInfo) -> Plan | None:
    return None if info.storage == "columns" else plan_of(info)


def _session(table: str, load: str) -> bytes:
    if not 0 < len(load) <= 200:
        raise InvalidValue("the id of a load is a text of 1 to 200 characters")
    return blake2b(f"load\0{table}\0{load}".encode(), digest_size=16).digest()


def _extent(reply: Reply, first: bytes) -> tuple[int, bytes]:
    """Return how many rows there are, and the internal id of the first one; ``first`` is that of the request."""
    if isinstance(reply, ColumnsDone):
        return reply.rows, first
    if isinstance(reply, BulkDone):
        return len(reply.bulk.ids), reply.bulk.ids[0]
    assert isinstance(reply, DocumentsDone)
    return len(reply.documents), reply.documents[0][0] if reply.documents else b""
