"""Results that the columns process has, as the backend knows of them: at which timestamp, and of what.

Whoever asks for the same statement at a later timestamp sends the documents along that have changed since: old and new,
each once, and of those only the ones that the statement's conditions let through.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

from nbreactive.columns._live_frames import LiveResult, RowChange, TableChange
from nbreactive.columns.batches import batch_of
from nbreactive.engine.catalog import BATCHES, BY_ID, BY_TABLE, STATEMENTS, Catalog, TableInfo, index_id, table_name
from nbreactive.engine.read_set import WHOLE, ReadSetBuilder
from nbreactive.engine.recent_documents import Changed, RecentDocuments
from nbreactive.engine.sql_interests import Filter, document_of
from nbreactive.engine.transactions import Condition, SqlInterest
from nbreactive.values.keys import encode_key, successor
from nbreactive.values.packing import unpack

MOST_CHANGES = 4096
"""Documents; to run the statement again takes less than to send more of them."""


_SHOWN = 8
_SHOWN_BYTES = 256 << 10


class _Table(NamedTuple):
    name: str
    info: TableInfo | None
    """As the catalog had it; None: there was no such table."""
    filters: Sequence[Filter]
    """Of a document that can matter one lets it through; none: any can matter."""


class KnownResult:
    """What the columns process has of one statement with its parameters.

    Parameters
    ----------
    documents
        Keeps what commits change.
    """

    def __init__(self, documents: RecentDocuments) -> None:
        self.lock = asyncio.Lock()
        """Held by whoever asks: one after the other."""
        self.at: int | None = None
        """The timestamp of the result; None: there is none."""
        self.used = time.monotonic()
        self.asked: set[bytes] = set()
        """Arguments of the calls that have asked for it: of its windows."""
        self._unchanged = 0
        self.interests: list[SqlInterest] = []
        self.shown: dict[tuple[int, int], LiveResult] = {}
        """Windows of the result that were given to somebody, for others who ask from elsewhere."""
        self._documents = documents
        self._tables: list[_Table] = []
        self._watched: set[int] = set()

    def name(self, tables: Sequence[tuple[str, Sequence[Condition]]], catalog: Catalog, applied: int) -> None:
        """Take note of the tables that the statement reads, with the conditions of rows that can matter."""
        named: dict[str, list[Sequence[Condition]]] = {}
        for name, conditions in tables:
            named.setdefault(name, []).append(conditions)
        self._tables, self.interests, self._unchanged = [], [], 0
        for name, several in named.items():
            info = catalog.table(name)
            known = several if all(several) else []
            self._tables.append(_Table(name, info, [Filter(conditions) for conditions in known]))
            if info is not None and info.storage == "rows":
                index = index_id(info.number, BY_ID)
                self.interests += [SqlInterest(index, conditions) for conditions in known]
        self._watch({_watched(table.info) for table in self._tables if table.info is not None}, applied)

    def read(self, reads: ReadSetBuilder) -> None:
        """Add all that the result depends on."""
        for table in self._tables:
            index, interval = table_name(table.name)
            reads.add(index, *interval)
            if table.info is not None:
                if table.info.storage == "columns":  # its rows come with documents that name them
                    prefix = encode_key(float(table.info.number))
                    reads.add(index_id(BATCHES, BY_TABLE), prefix, successor(prefix))
                else:
                    reads.add(index_id(table.info.number, BY_ID), *WHOLE)
                reads.add_point(*columns_of(table.info.number))

    def changes(self, upto: int, catalog: Catalog) -> list[TableChange] | None:
        """Return what has changed between the result and a timestamp; None: it has to be made anew."""
        if self.at is None or upto < self.at:
            return None
        changes: list[TableChange] = []
        for table in self._tables:
            if catalog.table(table.name) is not table.info:
                return None
            if table.info is None or upto == self.at:
                continue
            number = table.info.number
            found = self._documents.between(_watched(table.info), max(self.at, self._unchanged), upto)
            if found is None or len(found) > MOST_CHANGES:
                return None
            if table.info.storage == "columns":
                rows = [row for row in _net(found, ()) if _brings(row, number)]
            else:
                rows = _net(found, table.filters)
            if rows:
                changes.append(TableChange(number, rows))
        return changes

    def show(self, at: int, window: tuple[int, int], result: LiveResult) -> None:
        """Take note of the result at a timestamp, and of a window of it."""
        if self.at is None or at > self.at:
            self.at = at
            self.shown.clear()
        if at == self.at and not result.every and len(result.value) <= _SHOWN_BYTES and len(self.shown) < _SHOWN:
            self.shown[window] = result

    def unchanged(self, upto: int) -> None:
        """Take note that nothing has concerned it up to a timestamp: what has changed until then may be forgotten."""
        if self.at is not None:
            self._unchanged = max(self._unchanged, upto)

    def close(self) -> None:
        """Keep nothing more for it."""
        self._watch(set(), 0)

    def _watch(self, tables: set[int], applied: int) -> None:
        for table in tables - self._watched:
            self._documents.watch(table, applied)
        for table in self._watched - tables:
            self._documents.unwatch(table)
        self._watched = tables


def columns_of(table: int) -> tuple[int, bytes]:
    """Return index id and key that are touched, but never stored, when the columns of a table become others."""
    return index_id(STATEMENTS, BY_ID), table.to_bytes(4, "big")


def _watched(table: TableInfo) -> int:
    """Return the number of the table whose documents tell what changes in a table."""
    return BATCHES if table.storage == "columns" else table.number


def _brings(row: RowChange, table: int) -> bool:
    """Whether a document of ``_batches`` is about a table."""
    return any(packed is not None and batch_of(unpack(packed)).table == table for packed in (row.old, row.new))


def _net(changes: Sequence[Changed], filters: Sequence[Filter]) -> list[RowChange]:
    """Return what several changes come to, of the documents that can matter."""
    ends: dict[bytes, tuple[bytes | None, bytes | None]] = {}
    for change in changes:
        before = ends.get(change.id)
        ends[change.id] = (change.old if before is None else before[0], change.new)
    table = changes[0].table if changes else 0
    return [
        RowChange(id, old, new)
        for id, (old, new) in ends.items()
        if old != new and (not filters or _matters(table, id, (old, new), filters))
    ]


def _matters(table: int, id: bytes, ends: Sequence[bytes | None], filters: Sequence[Filter]) -> bool:
    documents = [document_of(table, id, packed) for packed in ends if packed is not None]
    return any(lets(document) for document in documents for lets in filters)
