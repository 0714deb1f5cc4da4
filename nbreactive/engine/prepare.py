"""From the writes of a transaction to the rows of the row index.

Index keys and counters are computed here, from the old and the new document, never taken from a worker; what a worker
sends is checked first, since it may have run anybody's code.

An index that is still being filled (state ``backfilling``) is maintained for the documents that the backfill has passed
(``filled``: index id -> last id passed) and left alone for the rest, which the backfill will read later. So no entry
and no counter is written twice or forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Mapping, Sequence
from typing import Any, NamedTuple, cast

from nbreactive.engine.catalog import (
    BY_ID,
    COUNTS,
    CREATION_TIME,
    FIRST_DECLARED,
    FIRST_USER_TABLE,
    SCHEDULED,
    STORAGE,
    TABLES,
    Catalog,
    IndexInfo,
    TableInfo,
    count_key,
    index_id,
    refuse_overflow,
    table_of,
)
from nbreactive.engine.postings import add_change, change_of, entries_of, touch_weights
from nbreactive.engine.row_index import RowWrite
from nbreactive.engine.scheduled import job_problem
from nbreactive.engine.stored_files import check_stored
from nbreactive.engine.transactions import NewFile, Write
from nbreactive.engine.vector_values import VectorRow, vector_change
from nbreactive.errors import Conflict, InvalidValue
from nbreactive.functions.specs import Visibility
from nbreactive.values.limits import (
    DOCUMENT_SIZE,
    SCHEDULED_ARGS,
    SCHEDULED_ARGS_TOTAL,
    SCHEDULED_FUNCTIONS,
    TransactionLimits,
    exceed,
)
from nbreactive.values.packing import unpack

Current = Callable[[int, bytes], tuple[bytes, int] | None]
"""The newest version of a document: packed bytes and timestamp."""

Counter = Callable[[bytes], int]
"""The newest value of a counter."""

Filled = Mapping[int, bytes]
"""Index id -> the last document id which its backfill has passed."""


class Prepared(NamedTuple):
    """What a transaction does to the row index and to those who watch it."""

    rows: list[RowWrite]
    touched: dict[int, list[bytes]]
    """Index id -> old and new keys, counters included."""
    catalog: Catalog
    """As it is after the transaction."""
    logged: list[Write]
    """The writes that the log keeps: those of ephemeral tables are left out."""
    created: float = 0.0
    """The latest ``_creationTime`` of its new documents."""
    counted: Mapping[bytes, int] = {}
    """What the counters of search indexes are afterwards."""
    changed: Sequence[tuple[int, bytes, bytes | None, bytes | None]] = ()
    """Table, id, old and new content of the documents of tables that are watched."""


class StaleVersion(Conflict):
    """A document is not at the version that the transaction replaces."""

    def __init__(self, table: int, id: bytes) -> None:
        super().__init__("a document was changed while it was being changed; run it again")
        self.index_id = index_id(table, BY_ID)
        self.key = id


_LIMITS = TransactionLimits()


def check_writes(
    writes: Sequence[Write],
    catalog: Catalog,
    reach: Visibility,
    limits: TransactionLimits | None = _LIMITS,
    files: Sequence[NewFile] = (),
) -> None:
    """Refuse what no honest worker sends: too much, too large, unknown tables, reserved ones, malformed ids.

    Without ``limits`` it may be as much as it is: what the backend itself writes is not bounded by what users may.
    """
    most = limits.documents_written if limits is not None else len(writes)
    if len(writes) > most + SCHEDULED_FUNCTIONS:
        exceed("documents written by one transaction", len(writes), most, "write in several mutations")
    total = scheduled = 0
    stored = False
    seen: set[tuple[int, bytes]] = set()
    for write in writes:
        if len(write.id) != 16 or (write.table, write.id) in seen:
            raise InvalidValue("a worker sent a malformed document id, or one document twice; nothing was written")
        seen.add((write.table, write.id))
        if write.table == SCHEDULED:
            scheduled += _check_job(write, reach)
            continue
        if write.table == STORAGE:
            stored = True
            continue
        if write.table < FIRST_USER_TABLE and reach != "system" and (write.table != TABLES or write.previous):
            raise InvalidValue(f"a function may not write the reserved table {write.table}; nothing was written")
        if catalog.number(write.table) is None:
            raise InvalidValue(f"there is no table number {write.table}; nothing was written")
        if write.doc is not None:
            total += len(write.doc)
            # Packed bytes are close to, not the same as, the size that the worker has checked.
            if len(write.doc) > 2 * DOCUMENT_SIZE:
                exceed("bytes of one document", len(write.doc), DOCUMENT_SIZE, "split it into several documents")
    if limits is None:
        return
    if stored:
        check_stored(writes, files)
    if total > 2 * limits.bytes_written:
        exceed("bytes written by one transaction", total, limits.bytes_written, "write in several mutations")
    if scheduled > 2 * SCHEDULED_ARGS_TOTAL:
        fix = "schedule in several mutations, or pass ids of documents instead of what they hold"
        exceed("bytes of scheduled functions", scheduled, SCHEDULED_ARGS_TOTAL, fix)


def _check_job(write: Write, reach: Visibility) -> int:
    """Look at one scheduled function, which functions may add and cancel; return its size."""
    size = len(write.doc) if write.doc is not None else 0
    if size > 2 * SCHEDULED_ARGS:
        exceed("bytes of arguments of a scheduled function", size, SCHEDULED_ARGS, "pass ids of documents instead")
    if reach != "system":
        problem = job_problem(unpack(write.doc), new=not write.previous) if write.doc is not None else "it is deleted"
        if problem:
            raise InvalidValue(f"a worker sent a malformed scheduled function ({problem}); nothing was written")
    return size


def catalog_after(writes: Sequence[Write], catalog: Catalog, reach: Visibility = "system") -> Catalog:
    """Return the catalog as the transaction leaves it."""
    described = [(write.id, write.doc) for write in writes if write.table == TABLES]
    if not described:
        return catalog
    for id, packed in described:
        if packed is not None:
            _check_table(packed, id, catalog, reach)
    return catalog.changed(described)


def prepare(
    writes: Sequence[Write],
    current: Current,
    after: Catalog,
    filled: Filled,
    counter: Counter | None = None,
    watched: Container[int] = (),
) -> Prepared:
    """Compute rows, touched keys and log writes of a transaction whose writes have been checked.

    Parameters
    ----------
    writes
        At most one per document.
    current
        Finds the newest version of a document.
    after
        The catalog as the transaction leaves it, see :func:`catalog_after`.
    filled
        How far each running backfill is.
    counter
        Finds the number that a counter has; without it every term that is counted counts as weighing something else.
    watched
        Numbers of the tables of which it is told what changes.

    Raises
    ------
    StaleVersion
        A document is not at the version that its write replaces.
    """
    rows: list[RowWrite] = []
    logged: list[Write] = []
    touched: dict[int, list[bytes]] = {}
    deltas: dict[bytes, int] = {}
    terms: dict[bytes, int] = {}
    changes: list[tuple[int, bytes, bytes | None, bytes | None]] = []
    created = 0.0
    for write in writes:
        table = after.number(write.table)
        if table is None:
            raise InvalidValue(f"there is no table number {write.table}; nothing was written")
        found = current(write.table, write.id)
        if (found[1] if found is not None else 0) != write.previous:
            raise StaleVersion(write.table, write.id)
        if not table.ephemeral:
            logged.append(write)
        if found is None and write.doc is None:
            continue
        if write.table in watched:
            changes.append((write.table, write.id, found[0] if found is not None else None, write.doc))
        skip = unfilled(table, write.id, filled)
        old: Mapping[str, Any] | None = unpack(found[0]) if found is not None else None
        old_keys, old_counts = table.entries(old, write.id, skip) if old is not None else ((), ())
        doc: Mapping[str, Any] | None = None
        new_keys, new_counts = (), ()
        if write.doc is not None:
            doc = _document(write.doc)
            new_keys, new_counts = table.entries(doc, write.id, skip)
            if found is None and doc[CREATION_TIME] > created:
                created = doc[CREATION_TIME]
        puts = [key for key in new_keys if key not in old_keys]
        dels = [key for key in old_keys if key not in new_keys]
        counts: list[tuple[bytes, int]] = []
        if old_counts != new_counts:
            counts = [(key, 1) for key in new_counts if key not in old_counts]
            counts += [(key, -1) for key in old_counts if key not in new_counts]
            for key, delta in counts:
                deltas[key] = deltas.get(key, 0) + delta
        touched.setdefault(table.indexes[BY_ID].id, []).append(write.id)
        for id, key in old_keys:
            touched.setdefault(id, []).append(key)
        for id, key in puts:
            touched.setdefault(id, []).append(key)
        for index in table.text:
            change = change_of(index, old, doc, write.id) if index.id not in skip else None
            if change is not None:
                add_change(change, index, puts, dels, counts, touched, terms)
        vectors = _vectors(table, old, doc, touched) if table.vector else ()
        rows.append(RowWrite(write.table, write.id, write.doc, write.previous, puts, dels, counts, vectors))
    changed = [key for key, delta in deltas.items() if delta]
    if changed:
        touched[COUNTS] = changed
    counted = touch_weights(terms, counter, touched) if terms else {}
    return Prepared(rows, touched, after, logged, created, counted, changes)


def _vectors(
    table: TableInfo, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None, touched: dict[int, list[bytes]]
) -> list[VectorRow]:
    """Return what changes in the vector indexes of a table; also of one that is being filled, which leaves it then."""
    rows: list[VectorRow] = []
    for index in table.vector:
        change = vector_change(index, old, new)
        if change is not None:
            rows.append(change[0])
            touched.setdefault(index.id, []).extend(change[1])
    return rows


def unfilled(table: TableInfo, id: bytes, filled: Filled) -> Collection[int]:
    """Indexes of a table that are not maintained for the document ``id`` yet."""
    return [
        index.id
        for index in table.indexes[FIRST_DECLARED:]
        if (index.state != "ready" or index.id in filled) and not (index.id in filled and id <= filled[index.id])
    ]


def index_entries(index: IndexInfo, doc: Mapping[str, Any], id: bytes) -> tuple[list[tuple[int, bytes]], list[bytes]]:
    """Return what one document adds to one declared index: its keys, and the counters it adds one to."""
    counts: list[bytes] = []
    if index.kind == "text":
        return entries_of(index, doc, id)
    prefix = b""
    for part in index.parts(doc):
        prefix += part
        counts.append(count_key(index.id, prefix))
    return [(index.id, index.key(doc, id))], counts


def _document(packed: bytes) -> Mapping[str, Any]:
    doc: Any = unpack(packed)
    fields = cast("dict[str, Any]", doc) if isinstance(doc, dict) else {}
    if not isinstance(fields.get(CREATION_TIME), float):
        raise InvalidValue("a worker sent something that is not a document; nothing was written")
    return fields


def _check_table(packed: bytes, id: bytes, catalog: Catalog, reach: Visibility) -> None:
    try:
        table = table_of(unpack(packed), id)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidValue(f"not a description of a table ({error!r}); nothing was written") from error
    named, numbered = catalog.table(table.name), catalog.number(table.number)
    if any(other is not None and other.id != id for other in (named, numbered)):
        raise InvalidValue(f"there is a table {table.name!r} or number {table.number} already; nothing was written")
    plain = len(table.indexes) == FIRST_DECLARED and not table.ephemeral and table.validator is None
    if reach != "system" and not plain:
        raise InvalidValue(f"a function may only create a plain table, not {table.name!r} as described")
    refuse_overflow(table)
    if table.number < FIRST_USER_TABLE or table.name.startswith("_"):
        raise InvalidValue(f"{table.name!r} (number {table.number}) cannot be a table's name and number")
