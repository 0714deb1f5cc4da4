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

from collections.abc import Callable, Collection, Iterator, Sequence
from heapq import heappop, heappush, heapreplace, merge
from itertools import islice
from typing import Final

_FIRST_BATCH: Final = 32
_LARGEST_BATCH: Final = 1024
POSTINGS_PER_READ: Final = 8
"""Postings that may be read instead of looking at one more document."""
MOST_POSTINGS: Final = 200_000
MOST_READ: Final = 16_384
"""Of one search; what it has not found by then it does not find."""
_POINTS: Final = (1 << 32) - 1

Posting = tuple[int, bytes, bytes]
"""Points as a negative number, inverted creation time, id: they sort as they come."""


def rank_of(points: int, time: bytes, id: bytes) -> bytes:
    """Return the rank of a document."""
    return (_POINTS - points).to_bytes(4, "big") + time + id


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
            points, self.time, _ = postings[-1]
            self.points = -points
        self._batch = min(2 * self._batch, _LARGEST_BATCH)
        return postings

    def close(self) -> None:
        """Read no more."""
        self._postings = iter(())
        self.points, self.time = 0, b""


class _Candidate:
    __slots__ = ("exact", "points", "seen", "time")

    def __init__(self, time: bytes) -> None:
        self.time = time
        self.points = 0
        self.seen = 0
        """Bits of the streams in which it has come by."""
        self.exact = True


def ranked(
    streams: Sequence[Stream],
    known: Collection[bytes],
    points_of: Callable[[bytes], int],
    among: Callable[[bytes], bool] | None = None,
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
    search = _Search(streams, among)
    heap = search.heap
    for rank in known:
        heappush(heap, rank)
    reads = 0
    while True:
        unseen = search.unseen()
        if not heap:
            if unseen is None:
                return
            search.pull()
            continue
        rank = heap[0]
        candidate = search.candidates.get(rank[12:])
        points, settled = search.most(candidate) if candidate is not None else (0, True)
        if candidate is not None and (best := rank_of(points, candidate.time, rank[12:])) != rank:
            heapreplace(heap, best)
        elif unseen is not None and rank[:12] >= unseen:
            search.pull()
        elif settled:
            yield heappop(heap)
        elif unseen is not None and search.pulled < POSTINGS_PER_READ * (reads + 1):
            search.pull()
        else:
            assert candidate is not None
            reads += 1
            if reads > MOST_READ:
                return
            del search.candidates[rank[12:]]
            search.looked.add(rank[12:])
            points = points_of(rank[12:])
            if points:
                heapreplace(heap, rank_of(points, candidate.time, rank[12:]))
            else:
                heappop(heap)


class _Search:
    def __init__(self, streams: Sequence[Stream], among: Callable[[bytes], bool] | None) -> None:
        self._streams = streams
        self._among = among
        self.candidates: dict[bytes, _Candidate] = {}
        self.looked: set[bytes] = set()
        self.heap: list[bytes] = []
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
        return rank_of(points, time, b"") if points else None

    def most(self, candidate: _Candidate) -> tuple[int, bool]:
        """Return the most points that a candidate may have, and whether it has them."""
        points, settled = candidate.points, candidate.exact
        for number, stream in enumerate(self._streams):
            if stream.points and not candidate.seen >> number & 1:
                points += stream.points
                settled = False
        return points, settled

    def pull(self) -> None:
        """Read on in the stream from which the most may come."""
        self._pull(max(self._streams, key=lambda stream: stream.points))
        if self.pulled > MOST_POSTINGS:
            for stream in self._streams:
                stream.close()

    def _pull(self, stream: Stream) -> None:
        postings = stream.pull()
        self.pulled += len(postings)
        candidates, looked, among = self.candidates, self.looked, self._among
        bit, exact = 1 << self._streams.index(stream), stream.exact
        others = sum(other.points for other in self._streams if other is not stream)
        for points, time, id in postings:
            candidate = candidates.get(id)
            if candidate is None:
                if id in looked or (among is not None and not among(id)):
                    continue
                candidate = candidates[id] = _Candidate(time)
                heappush(self.heap, rank_of(others - points, time, id))  # or less, by the time it is on top
            if not candidate.seen & bit:
                candidate.seen |= bit
                candidate.points -= points
                candidate.exact = candidate.exact and exact
