"""Runs of queries: one execution for everybody who asks the same thing at the same time.

Whoever wants a query at a snapshot is given, in this order: a kept result that nothing has touched since, or up to,
that snapshot; the outcome of a run that is under way, if it proves to be right at that snapshot; a run of its own. A run
that did not look at the identity serves every identity, so as long as a query never does, callers of different
identities wait for one run instead of starting several.

Live results with subscribers stand in an interval map, so a commit finds those that it touches; all others are checked
against the change list when somebody asks for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from nbreactive.engine.applied import AppliedState
from nbreactive.engine.changes import Keys
from nbreactive.engine.clock import Clock
from nbreactive.engine.gate import Gate, Lost, Snapshot
from nbreactive.engine.interests import Interest, Interests, unrefined
from nbreactive.engine.intervals import ReadSetMap
from nbreactive.engine.query_cache import (
    Found,
    LiveResult,
    Query,
    QueryKey,
    ResultCache,
    Run,
    interests_of,
    is_transient,
    reads_of,
    result_of,
)
from nbreactive.engine.requests import QuerySpec
from nbreactive.engine.transactions import Outcome, Reads
from nbreactive.errors import Unavailable

if TYPE_CHECKING:
    from nbreactive.engine.subscriptions import Subscription

MAX_AGE = 10.0
"""Seconds for which a result that nobody is subscribed to is given to others: functions may read the time."""

MIN_PERIOD = 1000
"""Milliseconds between runs of a query that asks to be run on a period."""

Execute = Callable[[QuerySpec, Snapshot], Awaitable[tuple[Outcome, str]]]
"""Run a query at a snapshot: the outcome, and the id of the execution."""


class Runs:
    """Shares executions and results.

    Parameters
    ----------
    state, gate, clock
        What queries see, and what is lost.
    execute
        Runs a function.
    cache_bytes
        How much of the results is kept.
    """

    def __init__(self, state: AppliedState, gate: Gate, clock: Clock, execute: Execute, cache_bytes: int) -> None:
        self.on_invalid: Callable[[Iterable[Subscription]], None] = lambda _: None
        """Called with the subscriptions that must be run again."""
        self._state = state
        self._gate = gate
        self._clock = clock
        self._execute = execute
        self._cache = ResultCache(cache_bytes)
        self._queries: dict[QueryKey, Query] = {}
        self.hits: dict[str, int] = {}
        """Answers that needed no run of their own, by path."""
        self._map: ReadSetMap[LiveResult] = ReadSetMap()
        self._interests: Interests[LiveResult] = Interests(state)
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def use(self, spec: QuerySpec) -> Query:
        """Return the query of ``spec`` and keep it until :meth:`leave`."""
        key = (spec.path, spec.args, spec.reach, spec.journal)
        query = self._queries.get(key)
        if query is None:
            query = self._queries[key] = Query(key)
        query.users += 1
        return query

    def leave(self, query: Query) -> None:
        """Undo :meth:`use`."""
        query.users -= 1
        self._tidy(query)

    async def find(self, query: Query, spec: QuerySpec, identity_key: bytes, snapshot: Snapshot) -> Found:
        """Find out what a query gives at ``snapshot``; not released yet.

        Raises
        ------
        Lost
            The snapshot was rewound meanwhile.
        """
        while not self._closed:
            for key in (None, identity_key):
                live = query.results.get(key)
                if live is not None and self._right(live, snapshot):
                    kept = self._cache.get(live)
                    if kept is not None:
                        self._hit(query)
                        return Found(live, kept, live.reads, live.interests)
            run, own = query.runs.get(identity_key), False
            if run is None and query.runs and not query.identity_read:
                run = next(iter(query.runs.values()))
            if run is None:
                run, own = self._start(query, spec, identity_key, snapshot), True
            await run.done.wait()
            if self._gate.lost(snapshot):
                raise Lost("the snapshot was rewound; run it again", again=True)
            if run.error is not None and run.identity_key == identity_key:
                raise run.error
            found = run.found
            if (
                found is not None
                and (found.live.identity_key is None or found.live.identity_key == identity_key)
                and not self._gate.lost(run.snapshot)
                and self.unchanged(found.reads, run.snapshot.ts, snapshot.ts, found.interests)
            ):
                if not own:
                    self._hit(query)
                return found
        raise Unavailable("the backend is shutting down; try again in a moment")

    def _hit(self, query: Query) -> None:
        path = query.key[0]
        self.hits[path] = self.hits.get(path, 0) + 1

    def unchanged(self, reads: Reads, ts: int, other: int, interests: Sequence[Interest] = ()) -> bool:
        """Whether nothing between the two timestamps has touched ``reads``, or what concerns the ``interests``."""
        low, high = (ts, other) if ts <= other else (other, ts)
        if low == high:
            return True
        changes = self._state.changes
        if low < changes.start:
            return False
        if interests and not self._interests.untouched(interests, reads, low, high):
            return False
        touch = changes.first_touch(unrefined(reads, interests), low)
        return touch is None or touch.ts > high

    def attach(self, subscription: Subscription, live: LiveResult) -> None:
        """Let a subscription be told when ``live`` is touched."""
        if subscription.live is live:
            return
        self.detach(subscription)
        subscription.live = live
        live.subscribers[subscription] = None
        if len(live.subscribers) == 1:
            # Nobody was told while nobody was subscribed.
            live.touched = not self.unchanged(live.reads, live.checked, self._state.applied, live.interests)
            live.query.results.setdefault(live.identity_key, live)
            self._watch(live)
            self._arm(live)

    def detach(self, subscription: Subscription) -> None:
        """Undo :meth:`attach`."""
        live = subscription.live
        if live is None:
            return
        subscription.live = None
        del live.subscribers[subscription]
        if not live.subscribers:
            self._unwatch(live)
            live.checked = live.snapshot.ts if live.touched else self._state.applied
            self._arm(live)
            self._forget(live)

    def applied(self, ts: int, keys: Keys) -> None:
        """Take note of the keys that a commit has touched."""
        for live in self._map.touched(keys) | self._interests.touched(ts, keys):
            if not live.touched:
                live.touched = True
                self.on_invalid(live.subscribers)

    def rewound(self) -> None:
        """Forget what was computed from data that is lost."""
        durable = self._gate.durable
        for query in list(self._queries.values()):
            for live in list(query.results.values()):
                live.checked = min(live.checked, durable)
                live.touched = bool(live.subscribers) and not self.unchanged(
                    live.reads, live.snapshot.ts, durable, live.interests
                )
                if self._gate.lost(live.snapshot):
                    live.stale = True
                    self._cache.drop(live)
                    self.on_invalid(live.subscribers)
                    self._forget(live)

    def watched(self, path: str) -> dict[bytes, bool]:
        """Return the arguments of the live queries of a path: whether nothing has touched their results since."""
        watched: dict[bytes, bool] = {}
        for query in self._queries.values():
            if query.key[0] == path:
                for live in query.results.values():
                    if live.subscribers:
                        args = query.key[1]
                        watched[args] = watched.get(args, True) and not (live.touched or live.stale)
        return watched

    async def close(self) -> None:
        """Stop all runs and timers."""
        self._closed = True
        for query in self._queries.values():
            for live in query.results.values():
                if live.timer is not None:
                    live.timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ---- one run ---------------------------------------------------------------------------------------------

    def _start(self, query: Query, spec: QuerySpec, identity_key: bytes, snapshot: Snapshot) -> Run:
        loop = asyncio.get_running_loop()
        run = query.runs[identity_key] = Run(identity_key, snapshot)
        task = loop.create_task(self._run(query, spec, run))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return run

    async def _run(self, query: Query, spec: QuerySpec, run: Run) -> None:
        try:
            outcome, request_id = await self._execute(spec, run.snapshot)
            if outcome.failure is not None and outcome.journal != spec.journal:
                # Where pages ended must not be forgotten because a run of them failed.
                outcome = msgspec.structs.replace(outcome, journal=spec.journal)
            if not self._gate.lost(run.snapshot):
                run.found = self._store(query, run, outcome, request_id)
        except Exception as error:  # noqa: BLE001 - raised again for whoever waits
            run.error = error
        finally:
            del query.runs[run.identity_key]
            run.done.set()
            self._tidy(query)

    def _store(self, query: Query, run: Run, outcome: Outcome, request_id: str) -> Found:
        query.identity_read = outcome.identity_read
        key = run.identity_key if outcome.identity_read else None
        live = query.results.get(key)
        if live is None:
            live = query.results[key] = LiveResult(query, key)
        result = result_of(outcome, run.snapshot.ts, request_id)
        reads, interests = reads_of(outcome, live.reads), interests_of(outcome, live.interests)
        if live.stale or run.snapshot.ts >= live.snapshot.ts:
            touched = not self.unchanged(reads, run.snapshot.ts, self._state.applied, interests)
            moved = reads != live.reads or interests != live.interests
            if moved:
                if live.subscribers:
                    self._unwatch(live)
                live.reads, live.interests = reads, interests
                if live.subscribers:
                    self._watch(live)
            if live.subscribers and (touched or moved):
                self.on_invalid(live.subscribers)
            live.snapshot = run.snapshot
            live.touched = touched
            live.checked = run.snapshot.ts
            live.made = self._clock.monotonic()
            live.stale = False
            live.every = max(outcome.every, MIN_PERIOD) if outcome.every else 0
            self._arm(live)
            self._cache.drop(live)
            if is_transient(result):
                self._forget(live)
            else:
                for gone in self._cache.put(live, result):
                    self._forget(gone)
        return Found(live, result, reads, interests)

    def _right(self, live: LiveResult, snapshot: Snapshot) -> bool:
        """Whether a live result is what a run at ``snapshot`` would give."""
        if live.stale or live.snapshot.ts < 0 or self._gate.lost(live.snapshot):
            return False
        if live.subscribers:
            if not live.touched and snapshot.ts >= live.snapshot.ts:
                return True
        elif self._clock.monotonic() - live.made > MAX_AGE:
            return False
        elif live.snapshot.ts <= snapshot.ts:
            if snapshot.ts > live.checked and self.unchanged(
                live.reads, live.checked, self._state.applied, live.interests
            ):
                live.checked = self._state.applied
            if snapshot.ts <= live.checked:
                return True
        return self.unchanged(live.reads, live.snapshot.ts, snapshot.ts, live.interests)

    def _watch(self, live: LiveResult) -> None:
        self._map.add(unrefined(live.reads, live.interests), live)
        self._interests.add(live.interests, live)

    def _unwatch(self, live: LiveResult) -> None:
        self._map.remove(unrefined(live.reads, live.interests), live)
        self._interests.remove(live.interests, live)

    # ---- periods ---------------------------------------------------------------------------------------------

    def _arm(self, live: LiveResult) -> None:
        if live.timer is not None:
            live.timer.cancel()
            live.timer = None
        if live.every and live.subscribers:
            live.timer = asyncio.get_running_loop().call_later(live.every / 1000, self._expire, live)

    def _expire(self, live: LiveResult) -> None:
        live.timer = None
        live.stale = True
        self.on_invalid(live.subscribers)

    # ---- forgetting ------------------------------------------------------------------------------------------

    def _forget(self, live: LiveResult) -> None:
        """Let a live result go that nobody is subscribed to and whose encoded result is not kept."""
        query = live.query
        if not live.subscribers and live not in self._cache and query.results.get(live.identity_key) is live:
            del query.results[live.identity_key]
            self._tidy(query)

    def _tidy(self, query: Query) -> None:
        if not query.users and not query.results and not query.runs and self._queries.get(query.key) is query:
            del self._queries[query.key]
