"""Subscriptions: who is shown what, and what must be run again.

A listener (a session of the sync protocol) holds subscriptions. When a commit touches what one of them has read, the
listener is told once; it then asks for an :class:`Update`: all of its queries at ONE timestamp, those that were touched
run again, only those that came out differently listed. While an update is computed, further touches are only noted, so
a slow consumer falls back to the newest state by itself instead of queueing up old ones.

The runs of all listeners meet in :class:`~nbreactive.engine.runs.Runs`, which shares executions and results.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from nbreactive.engine.applied import AppliedState
from nbreactive.engine.changes import Keys
from nbreactive.engine.gate import Gate, Lost, Snapshot
from nbreactive.engine.query_cache import LiveResult, Query, QueryResult
from nbreactive.engine.requests import QuerySpec, identity_key
from nbreactive.engine.runs import Runs


class Listener(Protocol):
    """Whoever holds subscriptions."""

    def invalidated(self) -> None:
        """Something of what you hold has been touched: ask for an update. Called once until you do."""
        ...


class Subscription:
    """One query that a listener is subscribed to; made by :meth:`Subscriptions.add`."""

    __slots__ = ("hash", "identity_key", "live", "owner", "query", "spec")

    def __init__(self, spec: QuerySpec, owner: _Held) -> None:
        self.spec = spec
        self.owner = owner
        self.identity_key = identity_key(spec.identity)
        self.query: Query | None = None
        """None: it was removed."""
        self.live: LiveResult | None = None
        self.hash = b""
        """Of the result that the listener was given last."""


class Update(NamedTuple):
    """A listener's queries at one timestamp."""

    ts: int
    changes: list[tuple[Subscription, QueryResult]]
    """Those whose result differs from the one given last."""


class _Held:
    """What one listener holds."""

    __slots__ = ("dirty", "listener", "lock", "quiet", "subscriptions", "told", "ts")

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.subscriptions: dict[Subscription, None] = {}
        self.dirty: dict[Subscription, None] = {}
        self.lock = asyncio.Lock()
        self.quiet = False
        self.told = False
        self.ts = 0


class Subscriptions:
    """All subscriptions of the backend.

    Parameters
    ----------
    state, gate
        What queries see, and what may be shown.
    runs
        Runs them.
    """

    def __init__(self, state: AppliedState, gate: Gate, runs: Runs) -> None:
        self._state = state
        self._gate = gate
        self._runs = runs
        self._held: dict[Listener, _Held] = {}
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        runs.on_invalid = self._invalid

    def __len__(self) -> int:
        return sum(len(held.subscriptions) for held in self._held.values())

    def watched(self, path: str) -> dict[bytes, bool]:
        """Return the arguments of the live queries of a path: whether nothing has touched their results since."""
        return self._runs.watched(path)

    def add(self, listener: Listener, spec: QuerySpec) -> Subscription:
        """Subscribe; the first result comes with the next update."""
        held = self._held.get(listener)
        if held is None:
            held = self._held[listener] = _Held(listener)
        subscription = Subscription(spec, held)
        subscription.query = self._runs.use(spec)
        held.subscriptions[subscription] = held.dirty[subscription] = None
        return subscription

    def remove(self, subscription: Subscription) -> None:
        """Unsubscribe; twice is as good as once."""
        query, held = subscription.query, subscription.owner
        if query is None:
            return
        subscription.query = None
        held.subscriptions.pop(subscription, None)
        held.dirty.pop(subscription, None)
        self._runs.detach(subscription)
        self._runs.leave(query)

    def close(self, listener: Listener) -> None:
        """Remove everything that a listener holds, and what is remembered of it."""
        held = self._held.get(listener)
        if held is not None:
            for subscription in list(held.subscriptions):
                self.remove(subscription)
            self._held.pop(listener, None)

    def at_rest(self, listener: Listener, at_least: int = 0) -> Update | None:
        """Do what :meth:`update` does, if there is nothing to run and nothing to wait for."""
        held = self._held.get(listener)
        if held is None:
            held = self._held[listener] = _Held(listener)
        durable = self._gate.durable
        if held.dirty or max(at_least, held.ts) > durable or held.lock.locked():
            return None
        held.told = False
        held.ts = durable
        return Update(durable, [])

    async def update(self, listener: Listener, *, at_least: int = 0) -> Update:
        """Bring all queries of a listener to one timestamp, not before ``at_least`` nor before its last update's.

        Returns when that timestamp is durable. Updates of one listener follow one another.
        """
        update = self.at_rest(listener, at_least)
        if update is not None:
            return update
        held = self._held[listener]
        async with held.lock:
            await self._reach(max(at_least, held.ts))
            held.quiet = True
            try:
                return await self._update(held, at_least)
            finally:
                held.quiet = False
                held.told = False
                if held.dirty:
                    _tell(held)

    async def _update(self, held: _Held, at_least: int) -> Update:
        while True:
            taken, held.dirty = held.dirty, {}
            # With nothing to run, what is durable already will do: nobody has to wait for a flush.
            ts = self._state.applied if taken else max(self._gate.durable, at_least, held.ts)
            snapshot = self._gate.snapshot(ts)
            try:
                if len(taken) == 1:
                    found = [await self._refresh(subscription, snapshot) for subscription in taken]
                else:
                    found = await asyncio.gather(*(self._refresh(subscription, snapshot) for subscription in taken))
                await self._gate.release(snapshot)
            except Lost:
                held.dirty = {**taken, **held.dirty}
                await self._reach(max(at_least, held.ts))
                continue
            except BaseException:
                held.dirty = {**taken, **held.dirty}
                raise
            changes: list[tuple[Subscription, QueryResult]] = []
            for subscription, result in zip(taken, found, strict=True):
                if result is not None and subscription.query is not None and result.hash != subscription.hash:
                    subscription.hash = result.hash
                    changes.append((subscription, result))
            held.dirty = {s: None for s in held.dirty if s.query is not None}
            held.ts = ts
            return Update(ts, changes)

    async def _refresh(self, subscription: Subscription, snapshot: Snapshot) -> QueryResult | None:
        query = subscription.query
        if query is None:
            return None
        found = await self._runs.find(query, subscription.spec, subscription.identity_key, snapshot)
        if subscription.query is None:
            return None
        self._runs.attach(subscription, found.live)
        dirty = subscription.owner.dirty
        if (
            found.live.stale
            or found.live.touched
            or not self._runs.unchanged(found.reads, snapshot.ts, self._state.applied, found.interests)
        ):
            dirty[subscription] = None
        else:
            dirty.pop(subscription, None)
        if found.result.journal != subscription.spec.journal:
            self._continue(subscription, found.result.journal)
        return found.result

    def _continue(self, subscription: Subscription, journal: str | None) -> None:
        """Run it with the journal that it has written, from the next time on."""
        query, spec = subscription.query, subscription.spec
        assert query is not None
        subscription.spec = QuerySpec(spec.path, spec.args, spec.identity, spec.reach, journal)
        subscription.query = self._runs.use(subscription.spec)
        self._runs.leave(query)

    def applied(self, ts: int, keys: Keys) -> None:
        """Take note of a commit."""
        self._runs.applied(ts, keys)
        if self._waiting:
            for wanted, future in self._waiting:
                if wanted <= ts and not future.done():
                    future.set_result(None)
            self._waiting = [(wanted, future) for wanted, future in self._waiting if not future.done()]

    async def _reach(self, ts: int) -> None:
        if self._state.applied < ts:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((ts, future))
            await future

    def _invalid(self, subscriptions: Iterable[Subscription]) -> None:
        for subscription in list(subscriptions):
            held = subscription.owner
            held.dirty[subscription] = None
            _tell(held)


def _tell(held: _Held) -> None:
    if not held.told and not held.quiet:
        held.told = True
        held.listener.invalidated()
