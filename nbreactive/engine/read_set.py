"""Read sets: which ranges of which indexes a transaction has looked at.

A read set maps index ids to disjoint, sorted, half-open intervals of index keys. Everything that asks "does this write
concern that read" - validation of a commit, subscriptions, the query cache - asks it of these intervals. Workers build
them (:class:`ReadSetBuilder`), the backend tests keys against them; nothing here needs an event loop.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence

from nbreactive.engine.transactions import Interval, Reads
from nbreactive.errors import LimitExceeded
from nbreactive.values.limits import READ_INTERVALS

END = b"\xff" * 32
"""Greater than every index key: the high end of a range that is open upwards."""

WHOLE: Interval = (b"", END)
"""The interval of a whole index."""


def point(key: bytes) -> Interval:
    """Return the interval that holds exactly ``key``."""
    return key, key + b"\x00"


def merge(intervals: Iterable[Interval]) -> list[Interval]:
    """Sort intervals and join those that overlap or touch; empty ones vanish.

    Examples
    --------
    >>> merge([(b"c", b"e"), (b"a", b"b"), (b"d", b"f"), (b"x", b"x")])
    [(b'a', b'b'), (b'c', b'f')]
    """
    merged: list[Interval] = []
    for low, high in sorted(intervals):
        if low >= high:
            continue
        if merged and low <= merged[-1][1]:
            if high > merged[-1][1]:
                merged[-1] = (merged[-1][0], high)
        else:
            merged.append((low, high))
    return merged


class ReadSetBuilder:
    """Collects what a running transaction reads.

    Parameters
    ----------
    limit
        How many intervals may be left after merging.
    """

    __slots__ = ("_count", "_intervals", "_limit")

    def __init__(self, limit: int = READ_INTERVALS) -> None:
        self._intervals: dict[int, list[Interval]] = {}
        self._count = 0
        self._limit = limit

    def add(self, index_id: int, low: bytes, high: bytes) -> None:
        """Record a read of ``[low, high)``; raises :class:`~nbreactive.errors.LimitExceeded` when it was too many."""
        found = self._intervals.get(index_id)
        if found is None:
            found = self._intervals[index_id] = []
        elif found and found[-1] == (low, high):
            return
        found.append((low, high))
        self._count += 1
        if self._count > self._limit:
            self._compact()

    def add_point(self, index_id: int, key: bytes) -> None:
        """Record a read of exactly one key."""
        self.add(index_id, key, key + b"\x00")

    def add_all(self, reads: Reads) -> None:
        """Record everything that another read set holds (a nested call, say)."""
        for index_id, intervals in reads.items():
            for low, high in intervals:
                self.add(index_id, low, high)

    def build(self) -> Reads:
        """Return the read set: disjoint sorted intervals per index."""
        return {index_id: merged for index_id in self._intervals if (merged := merge(self._intervals[index_id]))}

    def _compact(self) -> None:
        self._intervals = self.build()
        self._count = sum(map(len, self._intervals.values()))
        if self._count > self._limit:
            raise LimitExceeded(
                f"a transaction may read at most {self._limit} separate index ranges, this one reads more; "
                "read one wider range with an index instead of many single documents"
            )


def covers(intervals: Sequence[Interval], key: bytes) -> bool:
    """Whether one of the disjoint sorted ``intervals`` holds ``key``."""
    at = bisect_right(intervals, key, key=_low)
    return at > 0 and key < intervals[at - 1][1]


def touches(reads: Reads, keys: Mapping[int, Sequence[bytes]]) -> bool:
    """Whether any of ``keys`` (index id -> keys written) lies in what ``reads`` looked at."""
    for index_id, written in keys.items():
        intervals = reads.get(index_id)
        if intervals is not None and any(covers(intervals, key) for key in written):
            return True
    return False


def union(*several: Reads) -> Reads:
    """Return everything that any of ``several`` read sets holds."""
    builder = ReadSetBuilder(limit=1 << 62)
    for reads in several:
        builder.add_all(reads)
    return builder.build()


def _low(interval: Interval) -> bytes:
    return interval[0]
