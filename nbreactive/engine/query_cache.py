"""Results of queries: who shares one, how long it is right, and how much of them is kept.

A query is a function with its arguments, reach and journal. What a run of it found is a :class:`LiveResult`: shared by
all callers if the run did not look at the identity, else for one identity. It stays right until something touches its
read set. The encoded result itself is only kept in a cache bounded in bytes; a live result remembers its hash.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from nbreactive.engine.catalog import all_modules
from nbreactive.engine.gate import Snapshot
from nbreactive.engine.read_set import union
from nbreactive.engine.transactions import Failure, LogLine, Nearest, Outcome, Reads, SqlInterest
from nbreactive.functions.specs import Visibility

if TYPE_CHECKING:
    from nbreactive.engine.subscriptions import Subscription

_encode = msgspec.msgpack.Encoder().encode


Interest = Nearest | SqlInterest

QueryKey = tuple[str, bytes, Visibility, str | None]
"""Path, arguments, reach, journal; the code's version is in the read set (``_modules``), so it need not be here."""


class QueryResult(msgspec.Struct, frozen=True):
    """What a query gave; the same object, and the same bytes, for everybody who shares it."""

    ts: int
    """The snapshot that it was computed at; it may have stayed right since."""
    value: bytes
    """Encoded JSON."""
    failure: Failure | None
    logs: Sequence[LogLine]
    journal: str | None
    columns: list[str] | None
    identity_read: bool
    hash: bytes
    """Of everything that a client is shown: two results with one hash need not be told apart."""
    request_id: str = ""


class LiveResult:
    """What the newest run of a query found, for everybody or for one identity."""

    __slots__ = (
        "checked", "every", "identity_key", "interests", "made", "query", "reads", "snapshot", "stale", "subscribers", "timer", "touched",
    )  # fmt: skip

    def __init__(self, query: Query, identity_key: bytes | None) -> None:
        self.query = query
        self.identity_key = identity_key
        """None: it is the same for everybody."""
        self.snapshot = Snapshot(-1, 0)
        self.reads: Reads = {}
        self.interests: Sequence[Interest] = ()
        self.made = 0.0
        """When, on the monotonic clock: what nobody is subscribed to also ages, since functions may read the time."""
        self.checked = -1
        """While nobody is subscribed: nothing has touched it up to this timestamp."""
        self.touched = False
        """While somebody is subscribed: something has touched it."""
        self.stale = False
        """Its time is over, or it was rewound, whatever has been touched."""
        self.every = 0
        self.subscribers: dict[Subscription, None] = {}
        self.timer: asyncio.TimerHandle | None = None


class Run:
    """An execution under way, which others may wait for."""

    __slots__ = ("done", "error", "found", "identity_key", "snapshot")

    def __init__(self, identity_key: bytes, snapshot: Snapshot) -> None:
        self.identity_key = identity_key
        self.snapshot = snapshot
        self.done = asyncio.Event()
        self.found: Found | None = None
        self.error: BaseException | None = None


class Found(NamedTuple):
    """A result, what it depends on, and the live result that will tell when it changes."""

    live: LiveResult
    result: QueryResult
    reads: Reads
    interests: Sequence[Interest] = ()


class Query:
    """All that is known about one query: its live results and its runs under way."""

    __slots__ = ("identity_read", "key", "results", "runs", "users")

    def __init__(self, key: QueryKey) -> None:
        self.key = key
        self.identity_read = False
        """Whether the last run looked at the identity."""
        self.results: dict[bytes | None, LiveResult] = {}
        self.runs: dict[bytes, Run] = {}
        self.users = 0


class _Kept(NamedTuple):
    result: QueryResult
    size: int
    """In bytes; what was counted when it came is what is given back when it goes."""


class ResultCache:
    """The encoded results used last, bounded in bytes: with what stays in memory on their account.

    Parameters
    ----------
    max_bytes
        Above it the result that was not used for longest goes.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._results: OrderedDict[LiveResult, _Kept] = OrderedDict()
        self.bytes = 0

    def get(self, live: LiveResult) -> QueryResult | None:
        """Return what is kept of ``live``."""
        found = self._results.get(live)
        if found is None:
            return None
        self._results.move_to_end(live)
        return found.result

    def put(self, live: LiveResult, result: QueryResult) -> list[LiveResult]:
        """Keep a result; return those that had to go."""
        self.drop(live)
        size = _bytes_of(live, result)
        self._results[live] = _Kept(result, size)
        self.bytes += size
        gone: list[LiveResult] = []
        while self.bytes > self._max_bytes:
            other, dropped = self._results.popitem(last=False)
            self.bytes -= dropped.size
            gone.append(other)
        return gone

    def drop(self, live: LiveResult) -> None:
        """Forget what is kept of ``live``."""
        old = self._results.pop(live, None)
        if old is not None:
            self.bytes -= old.size

    def __contains__(self, live: LiveResult) -> bool:
        return live in self._results


_OBJECTS = 2_500
"""Bytes of a result's objects, those of its query and of its read set included, whatever is in them."""
_CONDITION = 300
"""Bytes of a condition of a statement."""
_INTERVAL = 240
"""Bytes of an interval beside its keys: a tuple, two objects of bytes, a place in a list."""


def _bytes_of(live: LiveResult, result: QueryResult) -> int:
    """Return how much memory is held as long as a result is kept, roughly."""
    path, args, _, journal = live.query.key
    size = _OBJECTS + len(path) + len(args) + len(journal or "") + len(result.value) + len(result.journal or "")
    size += sum(120 + len(line.text) for line in result.logs)
    failure = result.failure
    if failure is not None:
        size += len(failure.message) + len(failure.data or b"") + len(failure.trace) + len(failure.detail)
    for interest in live.interests:
        size += _INTERVAL
        size += len(interest.vector) if isinstance(interest, Nearest) else _CONDITION * len(interest.conditions)
    for intervals in live.reads.values():
        size += sum(_INTERVAL + len(low) + len(high) for low, high in intervals)
    return size


_TRANSIENT = frozenset({"FunctionTimeout", "FunctionCrashed", "FunctionOutOfMemory", "Overloaded", "Unavailable"})


def result_of(outcome: Outcome, ts: int, request_id: str = "") -> QueryResult:
    """Turn an execution into what its callers get."""
    failure = outcome.failure
    if failure is not None and request_id:
        # Its text names the run, which is new each time: the same failure again is no change.
        failure = msgspec.structs.replace(failure, message=failure.message.replace(request_id, ""))
    shown = (outcome.value, failure, outcome.logs, outcome.columns, outcome.journal)
    return QueryResult(
        ts,
        outcome.value,
        outcome.failure,
        outcome.logs,
        outcome.journal,
        outcome.columns,
        outcome.identity_read,
        blake2b(_encode(shown), digest_size=16).digest(),
        request_id,
    )


def is_transient(result: QueryResult) -> bool:
    """Whether it says more about the worker than about the data, so that the next one who asks is not given it."""
    return result.failure is not None and result.failure.code in _TRANSIENT


def reads_of(outcome: Outcome, before: Reads) -> Reads:
    """Return what a run depends on; a killed one could not say, so what it read last time is taken, and the code."""
    if outcome.failure is None or outcome.failure.code not in _TRANSIENT:
        return outcome.reads
    index_id, interval = all_modules()
    return union(outcome.reads, before, {index_id: [interval]})


def interests_of(outcome: Outcome, before: Sequence[Interest]) -> Sequence[Interest]:
    """Return what of :func:`reads_of` is judged more exactly; for a killed run that is what it was last time."""
    if outcome.failure is None or outcome.failure.code not in _TRANSIENT:
        return outcome.interests
    return [*before, *outcome.interests]
