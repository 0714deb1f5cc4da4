"""The documents that recent commits changed, old and new, of those tables that somebody watches.

The change list says which keys a commit has touched; whether a change matters to a statement with conditions, only the
documents tell. They are kept as long as the change list goes back, and within a bound of bytes, for the tables in
:attr:`RecentDocuments.tables` alone: a commit to another table costs one look into a dict.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple

_OVERHEAD = 200


class Changed(NamedTuple):
    """One document that a commit changed."""

    ts: int
    table: int
    id: bytes
    old: bytes | None
    """Packed; None: it is new."""
    new: bytes | None
    """Packed; None: it was deleted."""


class _Watched:
    """What happened to one table after :attr:`start`."""

    __slots__ = ("changes", "start", "watchers")

    def __init__(self, start: int) -> None:
        self.start = start
        self.watchers = 0
        self.changes: list[Changed] = []


class RecentDocuments:
    """Changes of the tables that are watched.

    Parameters
    ----------
    max_bytes
        Of each table the older half is dropped when it takes more.
    """

    def __init__(self, max_bytes: int = 16 << 20) -> None:
        self.tables: dict[int, _Watched] = {}
        """By number: those that are watched."""
        self._max_bytes = max_bytes
        self._bytes: dict[int, int] = {}

    def watch(self, table: int, applied: int) -> None:
        """Keep what changes in a table after ``applied``, until :meth:`unwatch`."""
        watched = self.tables.get(table)
        if watched is None:
            watched = self.tables[table] = _Watched(applied)
            self._bytes[table] = 0
        watched.watchers += 1

    def unwatch(self, table: int) -> None:
        """Undo :meth:`watch`."""
        watched = self.tables[table]
        watched.watchers -= 1
        if not watched.watchers:
            del self.tables[table], self._bytes[table]

    def add(self, changes: Sequence[Changed]) -> None:
        """Append what a commit has changed in tables that are watched."""
        for change in changes:
            watched = self.tables.get(change.table)
            if watched is None:
                continue
            watched.changes.append(change)
            size = self._bytes[change.table] = self._bytes[change.table] + _size(change)
            if size > self._max_bytes:
                self._drop(change.table, watched, max(len(watched.changes) // 2, 1))

    def between(self, table: int, low: int, high: int) -> Sequence[Changed] | None:
        """Return the changes after ``low`` and up to ``high``; None: they are not all known."""
        watched = self.tables.get(table)
        if watched is None or low < watched.start:
            return None
        changes = watched.changes
        end = bisect_right(changes, high, key=_ts) if changes and changes[-1].ts > high else len(changes)
        begin = end
        while begin and changes[begin - 1].ts > low:  # nearly always few
            begin -= 1
        return changes[begin:end]

    def trim(self, before: int) -> None:
        """Forget the commits at or before ``before``."""
        for table, watched in self.tables.items():
            many = bisect_right(watched.changes, before, key=_ts)
            if many:
                self._drop(table, watched, many)

    def rewind(self, to_ts: int) -> None:
        """Forget the commits after ``to_ts``: they never happened."""
        for table, watched in self.tables.items():
            while watched.changes and watched.changes[-1].ts > to_ts:
                self._bytes[table] -= _size(watched.changes.pop())
            watched.start = min(watched.start, to_ts)

    def _drop(self, table: int, watched: _Watched, many: int) -> None:
        """Drop the oldest, and what else their last commit has changed."""
        last = watched.changes[many - 1].ts
        many = bisect_right(watched.changes, last, key=_ts)
        self._bytes[table] -= sum(_size(change) for change in watched.changes[:many])
        del watched.changes[:many]
        watched.start = max(watched.start, last)


_ts = attrgetter("ts")


def _size(change: Changed) -> int:
    return _OVERHEAD + len(change.old or b"") + len(change.new or b"")
