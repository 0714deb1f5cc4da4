"""One execution's view of the database: a snapshot, the read set, and the writes on top of it.

Everything is read as of one timestamp through the worker's own LMDB reader, which is renewed at least every 5 ms, so
that no call pins pages: the index holds many versions, and a younger view of the file answers for the same timestamp.
Rows are therefore fetched in chunks, never through an iterator that outlives a chunk. The read set records what was
consumed, not what was fetched ahead.

Going over a limit of the transaction (or any other :meth:`Transaction.abort`) is final: the error is raised again by
every later use and at the end, so a function that catches it cannot commit. With its call a transaction ends: whatever
a function has kept of it (a ctx in a global, a query half read) raises NotAllowed in later calls.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from nbreactive.engine.catalog import (
    BY_ID,
    COUNTS,
    TABLES,
    Catalog,
    TableInfo,
    all_modules,
    count_key,
    index_id,
    table_document,
    table_of,
)
from nbreactive.engine.read_set import ReadSetBuilder
from nbreactive.engine.scheduled import BY_STATE, PENDING
from nbreactive.engine.transactions import Interval, Nearest, Reads, SqlInterest, Write
from nbreactive.errors import LimitExceeded, NBReactiveError, NotAllowed
from nbreactive.runtime.cursors import Pages
from nbreactive.runtime.determinism import real_monotonic
from nbreactive.runtime.output import ENDED, CallLog
from nbreactive.runtime.overlay import Pending, TableOverlay
from nbreactive.runtime.scan import Scan
from nbreactive.runtime.sql import Ask, SqlReads
from nbreactive.runtime.tables import SnapshotReader, Table, TableCache, all_read, name_read
from nbreactive.runtime.usage import Usage
from nbreactive.values.ids import new_internal
from nbreactive.values.limits import TransactionLimits
from nbreactive.values.packing import pack

if TYPE_CHECKING:
    from nbreactive.engine.vector_store import VectorView

_LIMITS: Final = TransactionLimits()
_RENEW_AFTER: Final = 0.005
_TICK: Final = 2.0**-10
"""Step of ``_creationTime`` (ms) between documents of one mutation: exact in a double until the year 2248."""


class Found(NamedTuple):
    """A document as this transaction sees it."""

    packed: bytes
    base: bytes | None
    """The stored document underneath; None if there was none at the snapshot."""
    version: int
    """The timestamp of that version; 0 if there was none."""


class Transaction:
    """State of one execution, nested calls included.

    Parameters
    ----------
    reader
        Reader of the row index.
    tables
        The worker's cache of tables.
    snapshot
        The timestamp (ns) that every read sees.
    now
        The instant of the call, ms.
    seed
        16 bytes that ids are made of.
    limits
        How much it may do.
    """

    pages: Pages
    """What its pages need to know; set by whoever runs the call."""
    log: CallLog | None = None
    """What is said beside the result; set by whoever runs the call."""
    select: Ask | None = None
    """Has SQL statements run; set by whoever runs the call."""
    told: set[tuple[str, bool]] | None = None
    """What has been said of tables that do not exist."""
    earlier: Callable[[Transaction, int], Transaction] | None = None
    """Finds this transaction's view of an earlier time; set by whoever runs the call."""

    def __init__(
        self,
        reader: SnapshotReader,
        tables: TableCache,
        snapshot: int,
        now: int,
        seed: bytes,
        limits: TransactionLimits = _LIMITS,
    ) -> None:
        self._reader = reader
        self._tables = tables
        self.snapshot = snapshot
        self._now = now
        self._seed = seed
        self.limits = limits
        self._reads = ReadSetBuilder(limits.ranges_read)
        self._reads.add(*_ALL_MODULES)
        self.interests: list[Nearest | SqlInterest] = []
        self.sql = SqlReads()
        self._scans: list[Scan] = []
        self._found: dict[str, Table | None] = {}
        self._scanned: set[int] = set()
        self._overlays: dict[int, TableOverlay] = {}
        self._undo: list[tuple[int, bytes, Pending | None]] = []
        self._renewed = real_monotonic()
        self._made = 0
        self._counter = 0
        # Later than every document that was there at the snapshot, even when the clock has not moved on or is behind:
        # no commit has a creation time above its timestamp. Divided as whole numbers, which rounds once.
        self._created = max(float(now), snapshot / 1_000_000)
        self._random = b""
        self.aborted: NBReactiveError | None = None
        self._ended = False
        self.used = Usage(limits)

    # ---- tables ------------------------------------------------------------------------------------------

    def table(self, name: str) -> Table | None:
        """The table called ``name``, with those that this transaction has created."""
        if name in self._found:
            return self._found[name]
        self._check()
        self._record(*name_read(name))
        table = self._found[name] = self._tables.find(self._reader, self.snapshot, name)
        return table

    def table_number(self, number: int) -> Table | None:
        """The table with that number."""
        for table in self._found.values():
            if table is not None and table.info.number == number:
                return table
        self._check()
        table = self._tables.find_number(self._reader, self.snapshot, number)
        if table is None:
            self._record(*all_read())
            return None
        return self.table(table.info.name)

    def all_tables(self) -> list[TableInfo]:
        """Every table of users, by name."""
        self._check()
        self._record(*all_read())
        names = set(self._tables.all(self._reader, self.snapshot).by_name) | set(self._found)
        found = (self.table(name) for name in sorted(names) if not name.startswith("_"))
        return [table.info for table in found if table is not None]

    def catalog(self) -> Catalog:
        """All tables of the snapshot, unrecorded: for what is said beside the result."""
        self._check()
        return self._tables.all(self._reader, self.snapshot)

    def create_table(self, name: str) -> Table:
        """Create a table without a schema, which is a write of ``_tables`` like any other."""
        self._record(*all_read())
        mine = [table.info.number for table in self._found.values() if table is not None]
        number = max(self._tables.all(self._reader, self.snapshot).next_number() - 1, *mine, 0) + 1
        id = self.new_id()
        doc = table_document(name, number, self.next_creation_time())
        system = self._tables.find(self._reader, self.snapshot, "_tables")
        assert system is not None
        self.write(system.info, id, pack(doc), None)
        table = self._found[name] = Table(table_of(doc, id), 0)
        return table

    # ---- reading -----------------------------------------------------------------------------------------

    def document(self, info: TableInfo, id: bytes) -> Found | None:
        """Read one document."""
        self._check()
        self._record(index_id(info.number, BY_ID), id, id + b"\x00")
        overlay = self._overlays.get(info.number)
        pending = overlay.docs.get(id) if overlay is not None else None
        if pending is not None:
            if pending.packed is None:
                return None
            self.count_read(len(pending.packed))
            return Found(pending.packed, pending.base, pending.previous)
        self._renew()
        stored = self._reader.document(info.number, id, self.snapshot)
        if stored is None:
            return None
        self.count_read(len(stored[0]))
        return Found(stored[0], stored[0], stored[1])

    def scan(self, info: TableInfo, index_id: int, low: bytes, high: bytes, reverse: bool, lazy: bool) -> Scan:
        """Begin to read ``[low, high)`` of an index; ``lazy`` when other code runs between the rows."""
        self._check()
        if len(self._scans) > self.limits.ranges_read // 8:
            self._flush_scans()
        self.used.queries += 1
        self._scanned.add(info.number)
        overlay = self._overlays.get(info.number)
        own = overlay.keys(index_id, low, high) if overlay is not None else []
        hidden: Mapping[bytes, Pending] = {}
        if overlay is not None:
            hidden = overlay.share() if lazy else overlay.docs
        scan = Scan(self, info.number, index_id, low, high, reverse, own, hidden)
        self._scans.append(scan)
        return scan

    def count(self, info: TableInfo, key: bytes) -> int:
        """Read a counter, own writes included."""
        self._check()
        self._renew()
        self.used.queries += 1
        self._record(COUNTS, key, key + b"\x00")
        overlay = self._overlays.get(info.number)
        return self._reader.count(key, self.snapshot) + (overlay.count(key) if overlay is not None else 0)

    def search(self, info: TableInfo) -> tuple[SnapshotReader, Mapping[bytes, Pending]]:
        """Begin to search a table: returns what there is, to be read at once, and the own writes."""
        self._check()
        self._renew()
        self.used.queries += 1
        self._scanned.add(info.number)
        overlay = self._overlays.get(info.number)
        return self._reader, overlay.share() if overlay is not None else {}

    def depend(self, index_id: int, intervals: Iterable[Interval]) -> None:
        """Note what a search depends on, beside the documents that it has found."""
        for low, high in intervals:
            self._record(index_id, low, high)

    def found(self, info: TableInfo, id: bytes, packed: bytes) -> None:
        """Note that a search has found a document."""
        self._record(index_id(info.number, BY_ID), id, id + b"\x00")
        self.count_read(len(packed))

    def look(self, index_id: int, low: bytes, high: bytes) -> SnapshotReader:
        """Note that a range of an index of the system's is read; returns what to read it with, at once."""
        self._check()
        self._renew()
        self._record(index_id, low, high)
        return self._reader

    def look_at_vectors(self, index_id: int, intervals: Sequence[Interval]) -> VectorView | None:
        """Note that those who touch ``intervals`` of a vector index concern this transaction; returns what there is of it."""
        self._check()
        self._renew()
        self.used.queries += 1
        for low, high in intervals:
            self._record(index_id, low, high)
        return self._reader.vectors(index_id)

    def note_interest(self, interest: Nearest, place: int | None = None) -> int:
        """Say which of the writes to an index concern this transaction, or say it more exactly than before at ``place``."""
        if place is None:
            self.interests.append(interest)
            return len(self.interests) - 1
        self.interests[place] = interest
        return place

    def pending(self, info: TableInfo) -> Mapping[bytes, Pending]:
        """Documents of a table that this transaction has written, by id."""
        overlay = self._overlays.get(info.number)
        return overlay.docs if overlay is not None else {}

    def fetch(self, index_id: int, low: bytes, high: bytes, reverse: bool, count: int) -> list[tuple[bytes, bytes]]:
        """Up to ``count`` stored keys of a range."""
        self._check()
        self._renew()
        return list(islice(self._reader.scan(index_id, low, high, self.snapshot, reverse), count))

    def stored(self, table: int, id: bytes) -> bytes:
        """A stored document that a scan has found."""
        found = self._reader.document(table, id, self.snapshot)
        if found is None:
            raise LookupError(f"the row index has a key without a document ({table}, {id.hex()})")
        self.count_read(len(found[0]))
        return found[0]

    def count_read(self, size: int) -> None:
        """Note that a document was read."""
        if self.aborted is not None:
            self._check()
        try:
            self.used.read(size)
        except LimitExceeded as error:
            self.abort(error)

    def _record(self, index_id: int, low: bytes, high: bytes) -> None:
        try:
            self._reads.add(index_id, low, high)
        except LimitExceeded as error:
            self.abort(error)

    def _flush_scans(self) -> None:
        for scan in self._scans:
            self._record(*scan.consumed())
        self._scans = [scan for scan in self._scans if not scan.finished]

    def _renew(self) -> None:
        now = real_monotonic()
        if now - self._renewed > _RENEW_AFTER:
            self.renew_now()

    def renew_now(self) -> None:
        """See what the row index has become, whatever was read a moment ago."""
        self._reader.renew()
        self._renewed = real_monotonic()

    @contextlib.contextmanager
    def away(self) -> Generator[None]:
        """Let go of the row index, while something takes long; reading goes on as of the same timestamp."""
        self._check()
        self.used.queries += 1
        self._reader.close()
        try:
            yield
        finally:
            self.renew_now()

    def only_table_scanned(self) -> Table | None:
        """The table, if queries have scanned exactly one."""
        if len(self._scanned) != 1:
            return None
        number = next(iter(self._scanned))
        return next(
            (table for table in self._found.values() if table is not None and table.info.number == number), None
        )

    def at(self, ts: int) -> Transaction:
        """Return what reads as of an earlier time, which nothing can change: it is not in the read set."""
        self._check()
        if self.earlier is None:
            raise NotAllowed("ctx.db.at(...) is not there: earlier times are kept by a backend")
        return self.earlier(self, ts)

    # ---- writing -----------------------------------------------------------------------------------------

    def new_id(self) -> bytes:
        """Internal bytes for a new document."""
        at = self._made * 8 % 160
        if at == 0:
            self._random = hashlib.shake_128(self._seed + self._made.to_bytes(8, "big")).digest(160)
        self._made += 1
        return new_internal(self._now, self._made & 0xFFFF, self._random[at : at + 8])

    def next_creation_time(self) -> float:
        """A ``_creationTime`` later than all others of this transaction and of its snapshot."""
        self._counter += 1
        return self._created + self._counter * _TICK

    def write(self, info: TableInfo, id: bytes, packed: bytes | None, replaced: Found | None) -> None:
        """Write a packed document, or delete it (None); ``replaced`` is what :meth:`document` returned, if anything."""
        self._check()
        self._put(info, id, packed, replaced)
        try:
            self.used.write(len(packed) if packed is not None else 0)
        except LimitExceeded as error:
            self.abort(error)

    def write_job(
        self, info: TableInfo, id: bytes, packed: bytes, replaced: Found | None, args_bytes: int | None = None
    ) -> None:
        """Write a scheduled function, a new one with arguments of ``args_bytes``; they have limits of their own."""
        self._check()
        if args_bytes is not None:
            # Not part of the read set, or mutations that schedule would all be in each other's way.
            self._renew()
            pending = self._reader.count(count_key(BY_STATE, PENDING), self.snapshot)
            try:
                self.used.schedule(args_bytes, pending)
            except LimitExceeded as error:
                self.abort(error)
        self._put(info, id, packed, replaced)

    def _put(self, info: TableInfo, id: bytes, packed: bytes | None, replaced: Found | None) -> None:
        overlay = self._overlays.get(info.number)
        if overlay is None:
            overlay = self._overlays[info.number] = TableOverlay(info)
        pending = Pending(packed, replaced.base, replaced.version) if replaced is not None else Pending(packed, None, 0)
        self._undo.append((info.number, id, overlay.put(id, pending)))

    def savepoint(self) -> int:
        """Mark the writes so far."""
        return len(self._undo)

    def rollback(self, savepoint: int) -> None:
        """Undo the writes since ``savepoint``; what was read stays read."""
        while len(self._undo) > savepoint:
            number, id, before = self._undo.pop()
            self._overlays[number].put(id, before)
            if number == TABLES and before is None:
                for name, table in list(self._found.items()):
                    if table is not None and table.info.id == id:
                        self._found[name] = None

    # ---- the end -----------------------------------------------------------------------------------------

    def abort(self, error: NBReactiveError) -> NoReturn:
        """Make sure that this transaction never commits, and raise ``error``."""
        self.aborted = self.aborted or error
        raise self.aborted

    def _check(self) -> None:
        if self.aborted is not None:
            self.check_running()
            raise self.aborted

    def check_running(self) -> None:
        """Raise if the call of this transaction has ended."""
        if self._ended:
            raise NotAllowed(ENDED)

    def end(self) -> None:
        """The call is over: whoever has kept something of it (a ctx in a global) reads and writes nothing with it."""
        self._ended = True
        self.aborted = self.aborted or NotAllowed(ENDED)

    def finish(self) -> None:
        """The function has returned: raise what it may have caught, and what only shows now."""
        self._flush_scans()
        self._check()

    def reads(self) -> Reads:
        """The read set; what loops that were left early have not consumed is not in it."""
        with contextlib.suppress(LimitExceeded):
            self._flush_scans()
        reads = self._reads.build()
        if self.sql.count:
            self.interests += self.sql.into(reads)
        return reads

    def writes(self) -> list[Write]:
        """Changed documents, tables first, each once."""
        return [
            Write(number, id, pending.packed, pending.previous)
            for number, overlay in sorted(self._overlays.items())
            for id, pending in overlay.docs.items()
            if pending.packed is not None or pending.previous
        ]


_ALL_MODULES: Final = (all_modules()[0], *all_modules()[1])
