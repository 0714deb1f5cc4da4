"""Results of live statements, kept in the columns process from one question to the next.

Each is brought from the timestamp that it has to the one that is asked for: by the documents that have changed in between, which
come with the question, so neither the history nor the tables are looked at (:mod:`nbreactive.columns.live`). Where it
cannot be, it is made anew: nothing is kept, what is kept is of another moment, or the columns of a table are others.
"""

# pyarrow and duckdb have no stubs, or partial ones: what comes out of them is unknown to the checker
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportUnknownLambdaType=false

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import pyarrow as pa

from nbreactive.columns._live_frames import Explain, Explained, Live, LiveResult, RowChange
from nbreactive.columns._project import Projection, project
from nbreactive.columns.batches import batch_of, typed_rows
from nbreactive.columns.earlier import show
from nbreactive.columns.live import Live as State
from nbreactive.columns.live import Scratch, TableChange
from nbreactive.columns.readers import Readers, Reading
from nbreactive.columns.schema import REST, Layout
from nbreactive.columns.snapshots import Snapshot
from nbreactive.columns.writer import Writer
from nbreactive.engine.transactions import Condition
from nbreactive.values.arrow import array
from nbreactive.values.frames import window_json
from nbreactive.values.packing import unpack

if TYPE_CHECKING:
    import duckdb

    from nbreactive.columns.statements import Parsed

KEEP_SECONDS = 3600.0
"""A result that nobody has asked for is forgotten; somebody may watch it without there being anything to ask."""
KEEP_BYTES = 256 << 20
"""Of all results together; those that were not asked for for longest go first."""
_SWEEP_SECONDS = 10.0
MOST_ROWS = 50_000
"""New rows of a table in columns; to run the statement again takes less than to look at more of them."""

Tables = Sequence[tuple[str, Sequence[Condition]]]


class Understand(Protocol):
    """Takes a statement apart and checks its parameters."""

    def __call__(self, text: str, params: dict[str, Any], /) -> Parsed:
        """Return what the text is; raises what is wrong with it."""
        ...


Read = Callable[["Parsed", dict[str, Any], list[Layout]], Tables]
"""Tells which rows of its tables can matter to a statement."""


class _Kept:
    """One result."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.lock = threading.Lock()
        self.at: int | None = None
        self.layouts: dict[int, Layout] = {}
        self.used = self.made = time.monotonic()
        self.period = 0
        """Milliseconds after which it is to be made anew: it looks at the clock."""
        self.forgotten = False

    def forget(self) -> None:
        """Give back what it takes; the lock is held."""
        self.forgotten = True
        self.at = None
        self.state.close()


class LiveStatements:
    """Answers questions about live statements.

    Parameters
    ----------
    readers, writer
        Where transactions come from, and what they see.
    understand, read
        Know what a statement is.
    """

    def __init__(self, readers: Readers, writer: Writer, understand: Understand, read: Read) -> None:
        self._readers = readers
        self._writer = writer
        self._understand = understand
        self._read = read
        self._scratch = Scratch()
        self._one = threading.Lock()
        self._kept: dict[tuple[str, bytes], _Kept] = {}
        self._swept = time.monotonic()

    def result(self, reading: Reading, request: Live) -> LiveResult:
        """Bring a result to a timestamp; return a window of it."""
        params: dict[str, Any] = unpack(request.params)
        parsed = self._understand(request.text, params)
        while True:
            kept = self._find(request, parsed, params)
            with kept.lock:
                if not kept.forgotten:
                    return self._result(kept, reading, request, parsed, params)

    def _result(
        self, kept: _Kept, reading: Reading, request: Live, parsed: Parsed, params: dict[str, Any]
    ) -> LiveResult:
        kept.used = time.monotonic()
        if kept.at is not None and request.at < kept.at:
            return self._earlier(reading, request, parsed, params)
        tables: Tables | None = None
        if not self._update(kept, reading, request, parsed, params):
            tables = self._load(kept, reading, request.at, parsed, params)
        return LiveResult(_window(kept.state, request), tables, kept.period)

    def explain(self, reading: Reading, request: Explain) -> Explained:
        """Say how a statement is kept up to date."""
        params: dict[str, Any] = unpack(request.params)
        parsed = self._understand(request.text, params)
        kept = _Kept(State(parsed.text, parsed.values(params), self._scratch))
        try:
            tables = self._load(kept, reading, request.at, parsed, params)
            return Explained(msgspec.to_builtins(kept.state.explain()), tables)
        finally:
            kept.state.close()

    # ---- one result ------------------------------------------------------------------------------------------

    def _update(self, kept: _Kept, reading: Reading, request: Live, parsed: Parsed, params: dict[str, Any]) -> bool:
        """Bring a result forward; False: it has to be made anew."""
        if kept.at is None or kept.at != request.base:
            return False
        if kept.period and time.monotonic() > kept.made + kept.period / 2000:
            return False  # it looks at the clock
        if kept.at == request.at:
            return True
        layouts = self._writer.layouts()
        if any(layouts.get(number) != layout for number, layout in kept.layouts.items()):
            return False
        changes: dict[str, TableChange] = {}
        for change in request.changes:
            layout = layouts.get(change.table)
            rows = _rows(layout, change.rows, self._writer.folder) if layout is not None else None
            if rows is None or layout is None:
                return False
            changes[layout.name.casefold()] = rows
        with contextlib.ExitStack() as opened:
            kept.at = None

            def at() -> duckdb.DuckDBPyConnection:
                cursor, _ = opened.enter_context(
                    self._seen(reading, request.at, parsed, params, list(kept.layouts.values()))
                )
                return cursor

            with reading.interrupting(kept.state):
                kept.state.update(changes, at)
        kept.at = request.at
        return True

    def _load(self, kept: _Kept, reading: Reading, at: int, parsed: Parsed, params: dict[str, Any]) -> Tables:
        """Make a result anew."""
        kept.at = None
        with self._seen(reading, at, parsed, params) as (cursor, layouts):
            kept.state.load(cursor)
        kept.made = time.monotonic()
        kept.period = kept.state.explain().period_ms or 0
        kept.layouts = {layout.number: layout for layout in layouts}
        kept.at = at
        return self._read(parsed, params, layouts)

    def _earlier(self, reading: Reading, request: Live, parsed: Parsed, params: dict[str, Any]) -> LiveResult:
        """Answer a question about a moment before that of the result, which stays."""
        kept = _Kept(State(parsed.text, parsed.values(params), self._scratch))
        try:
            tables = self._load(kept, reading, request.at, parsed, params)
            return LiveResult(_window(kept.state, request), tables)
        finally:
            kept.state.close()

    @contextlib.contextmanager
    def _seen(
        self, reading: Reading, at: int, parsed: Parsed, params: dict[str, Any], layouts: list[Layout] | None = None
    ) -> Generator[tuple[duckdb.DuckDBPyConnection, list[Layout]]]:
        """Give a cursor that sees tables as of a timestamp."""
        self._writer.reach(at)
        with self._readers.transaction(reading) as cursor:
            snapshot = Snapshot(cursor, at, (), reading.check)
            layouts = parsed.tables(snapshot.tables) if layouts is None else layouts
            for layout in layouts:
                snapshot.use(layout)
            show(cursor, parsed.earlier, params, snapshot.at, reading.check)
            yield cursor, layouts

    # ---- all of them -----------------------------------------------------------------------------------------

    def _find(self, request: Live, parsed: Parsed, params: dict[str, Any]) -> _Kept:
        key = request.text, request.params
        with self._one:
            self._sweep()
            kept = self._kept.pop(key, None)
            if kept is None:
                kept = _Kept(State(parsed.text, parsed.values(params), self._scratch))
            self._kept[key] = kept  # behind all others
            return kept

    def _sweep(self) -> None:
        now = time.monotonic()
        if now < self._swept + _SWEEP_SECONDS:
            return
        self._swept = now
        total = sum(kept.state.memory for kept in self._kept.values())
        for key, kept in list(self._kept.items()):
            if now - kept.used < KEEP_SECONDS and total < KEEP_BYTES:
                break
            if kept.lock.acquire(blocking=False):
                total -= kept.state.memory
                kept.forget()
                del self._kept[key]
                kept.lock.release()


def _rows(layout: Layout, rows: Sequence[RowChange], folder: Path) -> TableChange | None:
    """Return what has changed in a table as rows of it; None: they do not fit into its columns, or are very many."""
    if layout.batches:
        named = [unpack(row.new) for row in rows if row.new is not None]
        if any(row.old is not None for row in rows) or sum(batch_of(doc).rows for doc in named) > MOST_ROWS:
            return None
        added = pa.concat_tables([typed_rows(folder, layout, doc) for doc in named])
        return TableChange(added.slice(0, 0), added)
    sides: list[pa.Table] = []
    for documents in ({row.id: row.old for row in rows}, {row.id: row.new for row in rows}):
        there = {id: unpack(packed) for id, packed in documents.items() if packed is not None}
        if not there:
            sides.append(_none(layout))
            continue
        projection = project(layout, there)
        if projection.layout is not layout and projection.layout != layout:
            return None
        sides.append(_whole(projection))
    return TableChange(*sides)


@lru_cache(256)
def _none(layout: Layout) -> pa.Table:
    """Return no rows, with the columns of a table."""
    return _whole(project(layout, {}))


def _whole(projection: Projection) -> pa.Table:
    """Return rows with all columns of their table."""
    batch = projection.batch()
    found: Mapping[str, Any] = dict(zip(batch.column_names, batch.columns, strict=True))
    columns = {
        column.name: found[column.name] if column.name in found else array(column.kind, [None] * projection.count)
        for column in projection.layout.columns
    }
    if projection.layout.rest:
        columns[REST] = found[REST] if REST in found else pa.nulls(projection.count, pa.string())
    return pa.table(columns)


def _window(state: State, request: Live) -> bytes:
    rows = state.window(request.offset, request.limit).combine_chunks()  # one for each row that has moved
    return window_json(rows, state.schema, total=state.total, offset=request.offset)
