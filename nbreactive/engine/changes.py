"""The change list: which index keys each recent commit touched, by timestamp.

A commit is validated, and a result proven current, by asking whether anything after its snapshot touched its read set.
The list is kept per index, so most questions are answered by looking at the last timestamp that touched an index;
otherwise the few changes after the snapshot are looked up in the intervals by bisection.

The list is bounded in time and bytes. What is older than its :attr:`ChangeList.start` cannot be answered: such an
execution is run again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from nbreactive.engine.read_set import covers
from nbreactive.engine.transactions import Reads

_MANY = 16

Keys = Mapping[int, Sequence[bytes]]
"""Index id -> keys that a commit touched: old and new ones, counters included."""


class Touch(NamedTuple):
    """One key that was written inside a read set."""

    ts: int
    index_id: int
    key: bytes


class _Column:
    """What happened to one index: two parallel lists, the first ``start`` items of which are gone."""

    __slots__ = ("keys", "stamps", "start")

    def __init__(self) -> None:
        self.stamps: list[int] = []
        self.keys: list[bytes] = []
        self.start = 0


class ChangeList:
    """Keys touched by the commits after :attr:`start`.

    Parameters
    ----------
    start
        The timestamp before the first commit that will be added.
    max_bytes
        Older commits are dropped when the keys take more.
    """

    def __init__(self, start: int, max_bytes: int = 64 << 20) -> None:
        self.start = start
        self._max_bytes = max_bytes
        self._bytes = 0
        self._columns: dict[int, _Column] = {}
        self._commits: deque[tuple[int, int, tuple[int, ...]]] = deque()

    def add(self, ts: int, keys: Keys) -> None:
        """Append the keys that the commit at ``ts`` touched."""
        size = 64
        for index_id, written in keys.items():
            column = self._columns.get(index_id)
            if column is None:
                column = self._columns[index_id] = _Column()
            if len(written) > _MANY:
                column.stamps += [ts] * len(written)
                column.keys += written
                size += sum(map(len, written)) + 64 * len(written)
                continue
            for key in written:
                column.stamps.append(ts)
                column.keys.append(key)
                size += len(key) + 64
        self._commits.append((ts, size, tuple(keys)))
        self._bytes += size
        while self._bytes > self._max_bytes and len(self._commits) > 1:
            self._drop_first()

    def last(self, index_id: int) -> int:
        """Return the timestamp of the last change of an index; ``start`` if there was none since."""
        column = self._columns.get(index_id)
        return column.stamps[-1] if column is not None else self.start

    def keys_since(self, index_id: int, since: int) -> list[bytes]:
        """Return the keys of an index that were touched after ``since``, which must not be before :attr:`start`."""
        column = self._columns.get(index_id)
        if column is None:
            return []
        return column.keys[bisect_right(column.stamps, since, column.start) :]

    def first_touch(self, reads: Reads, since: int) -> Touch | None:
        """Find the earliest change after ``since`` that lies in ``reads``.

        ``since`` must not be before :attr:`start`: what happened earlier is forgotten.
        """
        first: Touch | None = None
        for index_id, intervals in reads.items():
            column = self._columns.get(index_id)
            if column is None or column.stamps[-1] <= since:
                continue
            at = bisect_right(column.stamps, since, column.start)
            while at < len(column.stamps):
                ts = column.stamps[at]
                if first is not None and ts >= first.ts:
                    break
                if covers(intervals, column.keys[at]):
                    first = Touch(ts, index_id, column.keys[at])
                    break
                at += 1
        return first

    def trim(self, before: int) -> None:
        """Forget the commits at or before ``before``."""
        while self._commits and self._commits[0][0] <= before:
            self._drop_first()

    def rewind(self, to_ts: int) -> None:
        """Forget the commits after ``to_ts``: they never happened."""
        while self._commits and self._commits[-1][0] > to_ts:
            ts, size, index_ids = self._commits.pop()
            self._bytes -= size
            for index_id in index_ids:
                column = self._columns.get(index_id)
                if column is None:
                    continue
                while len(column.stamps) > column.start and column.stamps[-1] >= ts:
                    column.stamps.pop()
                    column.keys.pop()
                self._forget_empty(index_id, column)
        self.start = min(self.start, to_ts)

    def _drop_first(self) -> None:
        ts, size, index_ids = self._commits.popleft()
        self._bytes -= size
        self.start = max(self.start, ts)
        for index_id in index_ids:
            column = self._columns.get(index_id)
            if column is None:
                continue
            column.start = bisect_right(column.stamps, ts, column.start)
            if column.start > 64 and column.start * 2 > len(column.stamps):
                del column.stamps[: column.start]
                del column.keys[: column.start]
                column.start = 0
            self._forget_empty(index_id, column)

    def _forget_empty(self, index_id: int, column: _Column) -> None:
        if column.start >= len(column.stamps):
            del self._columns[index_id]
