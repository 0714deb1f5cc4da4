"""The applied state: the newest timestamp, what it is made of, and the one way to add to it.

Row index, change list and catalog move together: a :class:`Turn` collects commits, gives them their timestamps and puts
them into the row index in one LMDB transaction - or, when that fails, leaves no trace of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from nbreactive.engine.bulk import Bulk
from nbreactive.engine.catalog import BY_ID, FIRST_DECLARED, TABLES, Catalog, IndexInfo, TableInfo, index_id
from nbreactive.engine.changes import ChangeList, Keys
from nbreactive.engine.clock import Clock
from nbreactive.engine.entries import By, Entry, Request, encode_entry
from nbreactive.engine.postings import STATE_KEY, UNFINISHED, unfinished
from nbreactive.engine.prepare import Prepared, catalog_after, check_writes, index_entries, prepare
from nbreactive.engine.read_set import END
from nbreactive.engine.recent_documents import Changed, RecentDocuments
from nbreactive.engine.row_index import Applied, RowIndex, RowWrite, VectorState, request_key
from nbreactive.engine.transactions import NewFile, Write
from nbreactive.engine.vector_values import STATE, vector_row
from nbreactive.errors import InvalidValue
from nbreactive.functions.specs import Visibility
from nbreactive.values.limits import TransactionLimits
from nbreactive.values.packing import unpack

_AHEAD = 100_000_000
"""By how much (ns) the creation times of one transaction may be ahead of the clock: each document takes a microsecond."""
_ROUNDING = 1_000
"""More (ns) than a product of floats is off."""


class Pending(NamedTuple):
    """An applied commit that is not durable yet; ``data`` is its log entry, None for what is never logged."""

    entry: Entry
    data: bytes | None


class AppliedState:
    """Row index, change list and catalog at one timestamp, and what is applied but not durable.

    Parameters
    ----------
    index, changes, clock
        What the state is kept in; the row index must be open for writing.
    log_everything
        Give every timestamp a place in the log, also those of ephemeral writes: needed where engines share a log.
    """

    def __init__(self, index: RowIndex, changes: ChangeList, clock: Clock, *, log_everything: bool) -> None:
        self.index = index
        self.changes = changes
        self.documents = RecentDocuments()
        """What recent commits have changed in tables that live statements watch."""
        self.clock = clock
        self.log_everything = log_everything
        self.limits = TransactionLimits()
        """How much one transaction may write."""
        self.reader = index.reader()
        self.applied = index.applied
        self.highest = index.highest
        self.epoch = index.epoch
        self.log_position = index.log_position
        self.catalog = Catalog.load(self.reader, self.applied)
        self.pending: list[Pending] = []
        self._latest = 0
        self.filled: dict[int, bytes] = {}
        """Running backfills: index id -> last document id that they have passed."""
        self._fills: deque[tuple[int, int, bytes | None]] = deque()
        for table in self.catalog.by_number.values():
            for info in table.indexes[FIRST_DECLARED:]:
                if info.state != "ready":
                    self._resume(info)
                elif info.kind == "text" and unfinished(self.reader, info.id, self.applied):
                    self.filled[info.id] = index.filled(info.id) or b""

    def now_ns(self) -> int:
        """Return the wall clock, which may go back; calls take the time from here."""
        now = self.clock.now_ns()
        self._latest = max(self._latest, now)
        return now

    def next_ts(self, created: float = 0.0) -> int:
        """Return the timestamp of the next commit: above every one that ever was, close to the wall clock.

        It is not before ``created``, the commit's latest ``_creationTime``: whoever sees the commit creates documents
        after its timestamp, so creation times follow commits even while the clock stands still, or is behind where it
        once was. What no honest worker can have made, later than the clock ever was, is not followed.
        """
        ts = max(self.highest + 1, self.now_ns())
        if created * 1e6 > ts - _ROUNDING:
            latest = max(self.highest, self._latest) + _AHEAD
            whole, part = min(created, latest / 1_000_000).as_integer_ratio()
            ts = max(ts, -(-whole * 1_000_000 // part))
        return ts

    def remember_position(self) -> None:
        """Let the row index know how much of the log it holds: a start after a kill rewinds it to there."""
        if not self.pending and self.index.log_position < self.log_position:
            self.index.apply([], log_position=self.log_position)

    def rewind(self, to_ts: int) -> None:
        """Undo every commit after ``to_ts``."""
        self.pending.clear()
        self.index.rewind(to_ts)
        self.reader.renew()
        self.applied = to_ts
        self.epoch = self.index.epoch
        self.undo(Catalog.load(self.reader, to_ts))

    def undo(self, catalog: Catalog) -> None:
        """Forget, after :attr:`applied`, what is known beside the row index."""
        self.catalog = catalog
        self.changes.rewind(self.applied)
        self.documents.rewind(self.applied)
        while self._fills and self._fills[-1][0] > self.applied:
            _, index_id, previous = self._fills.pop()
            self._set_filled(index_id, previous)

    def document(self, table: int, id: bytes) -> tuple[bytes, int] | None:
        """Return the newest version of a document."""
        return self.reader.document(table, id, self.applied)

    def changed_since(self, table: int, ts: int) -> Iterable[tuple[bytes, bytes | None]]:
        """Return id and newest content (None: deleted) of the documents of a table that were written after ``ts``."""
        if ts < self.changes.start:
            raise InvalidValue(f"changes are only known since {self.changes.start}, not since {ts}; begin again")
        ids = dict.fromkeys(self.changes.keys_since(index_id(table, BY_ID), ts))
        documents = [(id, self.document(table, id)) for id in ids]
        return [(id, document[0] if document is not None else None) for id, document in documents]

    def request(self, identity_key: bytes, session: bytes, number: int) -> tuple[int, bytes] | None:
        """Return the timestamp and result of a request that was committed, or None."""
        return self.reader.request(request_key(identity_key, session, number))

    def fill(self, ts: int, index_id: int, upto: bytes | None) -> None:
        """Note that from ``ts`` on an index is maintained for documents up to ``upto``; None: it is not being filled."""
        self._fills.append((ts, index_id, self.filled.get(index_id)))
        self._set_filled(index_id, upto)

    def forget_fills(self, durable: int) -> None:
        """Forget what only a rewind to before ``durable`` would need."""
        while self._fills and self._fills[0][0] <= durable:
            self._fills.popleft()

    def _set_filled(self, index_id: int, upto: bytes | None) -> None:
        if upto is None:
            self.filled.pop(index_id, None)
        else:
            self.filled[index_id] = upto

    def _resume(self, index: IndexInfo) -> None:
        """Go on with a backfill that was interrupted by the end of the process."""
        upto = self.index.filled(index.id)
        if upto is None:  # it has not begun; or it has, in a row index of an earlier version, and went by ids, too
            upto = max((id for _, id in self.reader.scan(index.id, b"", END, self.applied)), default=None)
        if upto is not None:
            self.filled[index.id] = upto


class Turn:
    """Commits on their way into the applied state; all of them or none."""

    def __init__(self, state: AppliedState) -> None:
        self._state = state
        self._catalog = state.catalog
        self._batch: list[Applied] = []
        self._keys: list[tuple[int, Keys]] = []
        self._pending: list[Pending] = []
        self._newest: dict[tuple[int, bytes], tuple[bytes, int] | None] = {}
        self._counted: dict[bytes, int] = {}

    def __bool__(self) -> bool:
        return bool(self._batch)

    def add(
        self,
        writes: Sequence[Write],
        request: Request | None,
        reach: Visibility,
        *,
        own: Write | None = None,
        log: bool = False,
        trusted: bool = False,
        files: Sequence[NewFile] = (),
        by: By | None = None,
    ) -> int:
        """Check and add one transaction; return its timestamp, which stands in the log for sure with ``log``.

        ``own`` is a write of the backend's, which is not checked; ``trusted``: all are, and may be any number. ``files``
        are those of which the content is kept. ``by`` says where it comes from.
        """
        state = self._state
        after = catalog_after(writes, state.catalog, reach)
        check_writes(writes, after, reach, state.limits if not trusted else None, files)
        if own is not None:
            writes = [*(write for write in writes if (write.table, write.id) != (own.table, own.id)), own]
        prepared = prepare(writes, self._current, after, state.filled, self._count, state.documents.tables)
        ts = state.next_ts(prepared.created)
        entry = Entry(ts, state.epoch, prepared.logged, request, by)
        logged = bool(prepared.logged) or state.log_everything or log
        self._pending.append(Pending(entry, encode_entry(entry) if logged else None))
        self._assign(ts, prepared, request)
        return ts

    def add_logged(self, entry: Entry, *, gaps: bool = False) -> None:
        """Add a commit that stands in the log already: of another engine, or of this one before it was started.

        With ``gaps`` the versions that it replaces may be missing from the log.
        """
        state = self._state
        if gaps:
            entry = msgspec.structs.replace(entry, writes=[self._replacing(write) for write in entry.writes])
        after = catalog_after(entry.writes, state.catalog)
        prepared = prepare(entry.writes, self._current, after, state.filled, self._count, state.documents.tables)
        self._assign(entry.ts, prepared, entry.request)

    def add_bulk(self, bulk: Bulk, request: Request | None, by: By | None = None) -> int:
        """Add many new documents that a process of ours has prepared for the tables of now; return their timestamp."""
        state = self._state
        ts = state.next_ts(bulk.created)
        entry, data = bulk.entry(ts, state.epoch, request, by)
        self._pending.append(Pending(entry, data))
        changed = [(bulk.plan.table, id, None, doc) for id, doc in zip(bulk.ids, bulk.docs, strict=True)]
        watched = changed if bulk.plan.table in state.documents.tables else ()
        self._assign(ts, Prepared([], bulk.touched, state.catalog, [], changed=watched), request, bulk=bulk)
        return ts

    def add_touched(self, keys: Keys) -> None:
        """Add that whoever has read any of ``keys`` may look again, though nothing is written."""
        state = self._state
        ts = state.next_ts()
        entry = Entry(ts, state.epoch, [])
        self._pending.append(Pending(entry, encode_entry(entry) if state.log_everything else None))
        self._assign(ts, Prepared([], {index: list(some) for index, some in keys.items()}, state.catalog, []), None)

    def add_filled(self, index: IndexInfo, rows: Sequence[RowWrite], upto: bytes) -> None:
        """Add index entries of a backfill, which has thereby passed the documents up to ``upto``."""
        state = self._state
        ts = state.next_ts()
        entry = Entry(ts, state.epoch, [])
        self._pending.append(Pending(entry, encode_entry(entry) if state.log_everything else None))
        self._assign(ts, Prepared(list(rows), {}, state.catalog, []), None, (index.id, upto))

    def add_remade(self, index: IndexInfo) -> None:
        """Add that a search index which was made anew has every document now; all who searched it in vain may look."""
        state = self._state
        ts = state.next_ts()
        entry = Entry(ts, state.epoch, [])
        self._pending.append(Pending(entry, encode_entry(entry) if state.log_everything else None))
        row = RowWrite(0, b"", None, dels=[(index.id, UNFINISHED)])
        # How far it was filled stays known: this commit is in no log, so a start may take it back, and then do it again
        self._assign(ts, Prepared([row], {index.id: [STATE_KEY]}, state.catalog, []), None, (index.id, END))

    def add_complete(self, index: IndexInfo) -> None:
        """Add that a vector index which was made anew has every document now; all who searched it in vain may look."""
        state = self._state
        ts = state.next_ts()
        entry = Entry(ts, state.epoch, [])
        self._pending.append(Pending(entry, encode_entry(entry) if state.log_everything else None))
        complete = {index.id: VectorState(index.dimensions, len(index.filter_fields), complete=True)}
        self._assign(ts, Prepared([], {index.id: [STATE]}, state.catalog, []), None, vectors=complete)

    def finish(self, on_applied: Callable[[int, Keys], None]) -> None:
        """Put everything into the row index and tell ``on_applied``; if that fails nothing has happened."""
        state = self._state
        if not self._batch:
            return
        try:
            state.index.apply(self._batch, log_position=state.log_position)
        except BaseException:
            state.undo(self._catalog)
            raise
        state.reader.renew()
        state.pending += self._pending
        for ts, keys in self._keys:
            state.applied = ts
            on_applied(ts, keys)

    def _assign(
        self,
        ts: int,
        prepared: Prepared,
        request: Request | None,
        filling: tuple[int, bytes] | None = None,
        vectors: Mapping[int, VectorState] | None = None,
        bulk: Bulk | None = None,
    ) -> None:
        state = self._state
        built: list[RowWrite] = []
        vectors = vectors or {}
        filled: dict[int, bytes | None] = {}
        if prepared.catalog is not state.catalog:
            vectors = _vector_states(state, prepared.catalog)
            for table, index in _made_ready(state.catalog, prepared.catalog):
                if index.kind != "vector":
                    built += _build(state, table, index, state.filled.get(index.id, b""))
                filled[index.id] = None
        if filling is not None:
            filled[filling[0]] = filling[1]
        for number, upto in filled.items():
            state.fill(ts, number, upto)
        for row in prepared.rows:
            if row.table:
                self._newest[row.table, row.id] = (row.doc, ts) if row.doc is not None else None
        if prepared.counted:
            self._counted.update(prepared.counted)
        self._batch.append(Applied(ts, [*built, *prepared.rows], request, filled, vectors, bulk))
        self._keys.append((ts, prepared.touched))
        state.changes.add(ts, prepared.touched)
        if prepared.changed:
            state.documents.add([Changed(ts, *change) for change in prepared.changed])
        state.highest = max(state.highest, ts)
        state.catalog = prepared.catalog

    def _replacing(self, write: Write) -> Write:
        found = self._current(write.table, write.id)
        return msgspec.structs.replace(write, previous=found[1] if found is not None else 0)

    def _current(self, table: int, id: bytes) -> tuple[bytes, int] | None:
        key = (table, id)
        return self._newest[key] if key in self._newest else self._state.document(table, id)

    def _count(self, key: bytes) -> int:
        number = self._counted.get(key)
        return self._state.reader.count(key, self._state.applied) if number is None else number


def replay(
    state: AppliedState, entries: Iterable[Entry], on_applied: Callable[[int, Keys], None], *, horizon: int = 0
) -> None:
    """Apply entries that stand in the log; those that are applied already are left out.

    Up to ``horizon`` versions may be missing from the log.
    """
    turn = Turn(state)
    for entry in entries:
        if entry.ts <= state.applied:
            continue
        if any(write.table == TABLES for write in entry.writes):
            # A new index may have to be built from all documents, so they must be in the row index.
            turn.finish(on_applied)
            turn = Turn(state)
        turn.add_logged(entry, gaps=entry.ts <= horizon)
    turn.finish(on_applied)


def _build(state: AppliedState, table: TableInfo, index: IndexInfo, after: bytes) -> list[RowWrite]:
    """Make the entries of all documents after the id ``after`` at once."""
    rows: list[RowWrite] = []
    reader, ts = state.reader, state.applied
    for _, id in reader.scan(table.indexes[BY_ID].id, after + b"\x00", END, ts):
        found = reader.document(table.number, id, ts)
        if found is not None:
            rows.append(entry_row(index, found[0], id, found[1]))
    return rows


def entry_row(index: IndexInfo, packed: bytes, id: bytes, version: int) -> RowWrite:
    """Return the row that adds one document, of that version, to one index."""
    if index.kind == "vector":
        vector = vector_row(index, unpack(packed))
        return RowWrite(0, id, None, version, vectors=[vector] if vector is not None else ())
    entries, counts = index_entries(index, unpack(packed), id)
    return RowWrite(0, id, None, puts=entries, counts=[(key, 1) for key in counts])


def _made_ready(before: Catalog, after: Catalog) -> list[tuple[TableInfo, IndexInfo]]:
    """Indexes of tables that exist, which functions may use from now on."""
    made: list[tuple[TableInfo, IndexInfo]] = []
    for number, table in after.by_number.items():
        old = before.by_number.get(number)
        if old is None or old is table:
            continue
        ready = {index.id for index in old.indexes if index.state == "ready"}
        made += [
            (table, index)
            for index in table.indexes[FIRST_DECLARED:]
            if index.state == "ready" and index.id not in ready
        ]
    return made


def _vector_states(state: AppliedState, after: Catalog) -> dict[int, VectorState]:
    """What becomes of vector indexes with a change of the catalog: they begin, or a backfill has put everything into them.

    One that is ready and lacks documents (its backfill was not logged, so a replay does not see it) is left incomplete,
    and filled by :mod:`nbreactive.engine.vector_upkeep`.
    """
    states: dict[int, VectorState] = {}
    for number, table in after.by_number.items():
        old = state.catalog.number(number)
        if old is table or not table.vector:
            continue
        before = {index.id: index.state for index in old.vector} if old is not None else {}
        for index in table.vector:
            if before.get(index.id) not in (index.state, "ready"):
                left = state.filled.get(index.id, b"")
                complete = index.state == "ready" and not _any_after(state, table, left)
                new = index.id not in before
                states[index.id] = VectorState(index.dimensions, len(index.filter_fields), complete, new)
    return states


def _any_after(state: AppliedState, table: TableInfo, after: bytes) -> bool:
    """Whether there is a document with an id after ``after``."""
    rows = state.reader.scan(table.indexes[BY_ID].id, after and after + b"\x00", END, state.applied)
    return next(iter(rows), None) is not None
