"""The best documents first: the threshold algorithm over postings.

Each word of a search is a stream of documents, those to which it gives the most points first. What a document has that
is not far enough down in any stream is at most the sum of what the streams have reached; whatever has more than that is
out with it, best first, without the rest of the streams ever being read. What a document has is known when it
has come by in every stream that is not at its end, or when it was looked at itself, which costs as much as
reading some postings does: so both are done in turns.

Ranks are bytes: inverted points, inverted creation time, id. So equal points go to the newest, and a rank is a place in the
order of results, as an index key is one in an index.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterator, Sequence
from heapq import heappop, heappush, merge
from itertools import islice
from typing import Final, NamedTuple

_FIRST_BATCH: Final = 32
_LARGEST_BATCH: Final = 1024
POSTINGS_PER_READ: Final = 8
"""Postings that may be read instead of looking at one more document."""
MOST_POSTINGS: Final = 200_000
MOST_READ: Final = 16_384
"""Of one search; what it has not found by then it does not find."""
TIME_BYTES: Final = 8
_ID: Final = 4 + TIME_BYTES
"""Where the id begins in a rank."""
_POINTS: Final = (1 << 32) - 1

_BITS: Final = 32
"""Of a candidate that say in which streams it has come by; its points stand above."""
_SEEN: Final = (1 << _BITS) - 1
_LOOKED_AT: Final = -1

Posting = tuple[int, bytes]
"""Points as a negative number; inverted creation time and id: they sort as they come."""


def rank_of(points: int, tail: bytes) -> bytes:
    """Return the rank of a document; ``tail`` is its inverted creation time and its id."""
    return (_POINTS - points).to_bytes(4, "big") + tail


class Stream:
    """The documents that have one word.

    Parameters
    ----------
    lists
        One for each term that will do.
    most
        No document gets more points.
    exact
        Whether the points are what a document gets, rather than the most that it may get.
    """

    __slots__ = ("_batch", "_postings", "exact", "points", "time")

    def __init__(self, lists: Sequence[Iterator[Posting]], most: int, *, exact: bool) -> None:
        self._postings = lists[0] if len(lists) == 1 else merge(*lists)
        self._batch = _FIRST_BATCH
        self.exact = exact
        self.points = most
        """What is still to come has no more; 0 at the end."""
        self.time = b""
        """What is still to come with as many points is not newer than that."""

    def pull(self) -> list[Posting]:
        """Read on."""
        postings = list(islice(self._postings, self._batch))
        if len(postings) < self._batch:
            self.close()
        else:
            points, tail = postings[-1]
            self.points, self.time = -points, tail[:TIME_BYTES]
        self._batch = min(2 * self._batch, _LARGEST_BATCH)
        return postings

    def close(self) -> None:
        """Read no more."""
        self._postings = iter(())
        self.points, self.time = 0, b""


def ranked(
    streams: Sequence[Stream],
    known: Collection[bytes],
    points_of: Callable[[bytes], int],
    among: Container[bytes] | None = None,
) -> Iterator[bytes]:
    """Yield the ranks of documents, the best first.

    Parameters
    ----------
    streams
        The words.
    known
        Ranks of documents that do not come from the streams.
    points_of
        Looks at a document and returns what it has; 0 if it is not to be found.
    among
        Which documents of the streams count.
    """
    search = _Search(streams, known, among)
    reads = 0
    while True:
        unseen = search.unseen()
        best = search.best()
        if best is None or (unseen is not None and best.rank[:_ID] >= unseen):
            if unseen is None:
                return
            search.pull()
        elif best.settled:
            heappop(best.heap)
            yield best.rank
        elif unseen is not None and search.pulled < POSTINGS_PER_READ * (reads + 1):
            search.pull()
        else:
            reads += 1
            if reads > MOST_READ:
                return
            search.look(best, points_of)


class _Best(NamedTuple):
    rank: bytes
    """The best that it may have."""
    settled: bool
    """It has that."""
    heap: list[bytes]
    """Where it is the first one."""


class _Search:
    def __init__(self, streams: Sequence[Stream], known: Collection[bytes], among: Container[bytes] | None) -> None:
        self._streams = streams
        self._among = among
        self._candidates: dict[bytes, int] = {}
        """By id; plain numbers, of which the garbage collector knows nothing."""
        self._settled = sorted(known)
        # By the streams in which they have come by: all that wait in one heap may get the same from the others, so
        # their order does not change, however far the streams are.
        self._waiting: dict[int, list[bytes]] = {}
        self.pulled = 0
        for stream in streams:
            self._pull(stream)

    def unseen(self) -> bytes | None:
        """Return what the ranks of documents that have not come by yet are above; None: there are none."""
        points, time = 0, b""
        for stream in self._streams:
            if stream.points:
                points += stream.points
                time = max(time, stream.time)
        return rank_of(points, time) if points else None

    def best(self) -> _Best | None:
        """Return which of those that have come by may be the best."""
        best = _Best(self._settled[0], True, self._settled) if self._settled else None
        for seen, heap in self._waiting.items():
            while heap and self._candidates[heap[0][_ID:]] & _SEEN != seen:
                heappop(heap)  # it waits elsewhere, or was looked at
            if not heap:
                continue
            more, settled = 0, True
            for number, stream in enumerate(self._streams):
                if not seen >> number & 1:
                    more += stream.points
                    settled = settled and not stream.points
                elif not stream.exact:
                    settled = False
            rank = heap[0]
            if more:
                rank = (int.from_bytes(rank[:4], "big") - more).to_bytes(4, "big") + rank[4:]
            if best is None or rank < best.rank:
                best = _Best(rank, settled, heap)
        return best

    def look(self, best: _Best, points_of: Callable[[bytes], int]) -> None:
        """Find out what it really has."""
        rank = heappop(best.heap)
        id = rank[_ID:]
        self._candidates[id] = _LOOKED_AT
        points = points_of(id)
        if points:
            heappush(self._settled, rank_of(points, rank[4:]))

    def pull(self) -> None:
        """Read on in the stream from which the most may come."""
        self._pull(max(self._streams, key=lambda stream: stream.points))
        if self.pulled > MOST_POSTINGS:
            for stream in self._streams:
                stream.close()

    def _pull(self, stream: Stream) -> None:
        postings = stream.pull()
        self.pulled += len(postings)
        candidates, waiting, among = self._candidates, self._waiting, self._among
        bit = 1 << self._streams.index(stream)
        for points, tail in postings:
            id = tail[TIME_BYTES:]
            candidate = candidates.get(id)
            if candidate is None:
                if among is not None and id not in among:
                    continue
                candidate = 0
            elif candidate & bit:
                continue
            candidate = candidates[id] = (candidate | bit) - (points << _BITS)
            heap = waiting.get(candidate & _SEEN)
            if heap is None:
                heap = waiting[candidate & _SEEN] = []
            heappush(heap, (_POINTS - (candidate >> _BITS)).to_bytes(4, "big") + tail)
