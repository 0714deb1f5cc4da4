"""Sharing of live queries: equal (function, arguments) of one client are one subscription.

Everything here happens on the client thread. A subscription holds its listeners weakly, so a live query that nobody
uses any more goes away by itself; when the last one is gone the subscription lingers for a moment, because a cell
that runs again drops a query and asks for the same one at once.

What the server says is shown at once, or, while mutations with optimistic updates are under way, with these on top
(:mod:`nbreactive.client.optimistic`). All that changed together is told together.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

from nbreactive.client.connection import Connection
from nbreactive.client.local_store import Key, Results
from nbreactive.client.optimistic import Layers
from nbreactive.client.protocol import Outcome
from nbreactive.client.session import Done, Effects, LiveEntry
from nbreactive.errors import NBReactiveError

__all__ = ["Key", "Listener", "Subscription", "Subscriptions"]

LINGER = 0.5


class Listener(Protocol):
    """What a live query lets a subscription do; called on the client thread, must not wait."""

    def receive(self, outcome: Outcome | None, link: str, problem: NBReactiveError | None) -> None:
        """Take the newest outcome and the state of the connection."""
        ...

    def settle(self) -> None:
        """All that changed together has been received."""
        ...


class Subscription:
    """One query in the session's set, and who listens."""

    def __init__(self, key: Key, outcome: Outcome | None) -> None:
        self.key = key
        self.server: Outcome | None = None
        """What the server has said last."""
        self.outcome = outcome
        """What is shown."""
        self.listeners: dict[int, weakref.ref[Listener]] = {}
        self.entry: LiveEntry | None = None
        self.ending: asyncio.TimerHandle | None = None

    def tell(self, connection: Connection) -> list[Listener]:
        """Give every listener the newest outcome and the state of the connection; they have to settle then."""
        told = [live for listener in list(self.listeners.values()) if (live := listener()) is not None]
        for live in told:
            live.receive(self.outcome, connection.state, connection.problem)
        return told


class Subscriptions:
    """All subscriptions of one client."""

    def __init__(self, connection: Connection, layers: Callable[..., Layers] = Layers) -> None:
        self._connection = connection
        self._by_key: dict[Key, Subscription] = {}
        self._by_token: dict[int, Subscription] = {}
        self._fresh: Results = {}
        self.layers = layers(self._show, self._said)
        connection.carry_out = self.carry_out

    def __len__(self) -> int:
        return len(self._by_key)

    def keys(self) -> list[tuple[Key, int]]:
        """Return the subscriptions and the number of their listeners."""
        return [(key, len(subscription.listeners)) for key, subscription in self._by_key.items()]

    def attach(self, token: int, key: Key, listener: weakref.ref[Listener]) -> None:
        """Let ``listener`` hear of ``key`` from now on, under ``token`` (which leaves what it heard of before)."""
        self.detach(token)
        live = listener()
        if live is None:
            return
        subscription = self._by_key.get(key)
        if subscription is None:
            subscription = self._by_key[key] = Subscription(key, self.layers.overlay.get(key))
            path, _, at = key[0].partition("@")
            subscription.entry = self._connection.session.add(path, key[1], self._changed(subscription), int(at or 0))
            self._connection.flush()
        if subscription.ending is not None:
            subscription.ending.cancel()
            subscription.ending = None
        subscription.listeners[token] = listener
        self._by_token[token] = subscription
        live.receive(subscription.outcome, self._connection.state, self._connection.problem)
        live.settle()

    def detach(self, token: int) -> None:
        """Forget what was attached under ``token``."""
        subscription = self._by_token.pop(token, None)
        if subscription is None:
            return
        subscription.listeners.pop(token, None)
        if not subscription.listeners:
            loop = asyncio.get_running_loop()
            subscription.ending = loop.call_later(LINGER, self._end, subscription)

    def tell_all(self) -> None:
        """The state of the connection changed."""
        self._tell(list(self._by_key.values()))

    def carry_out(self, effects: Effects) -> None:
        """Show new outcomes, then wake the callers whose mutations these contain."""
        for entry, outcome in effects.changed:
            entry.changed(outcome)
        fresh, self._fresh = self._fresh, {}
        if not self.layers.active:
            self._show(fresh)
            for request, outcome in effects.finished:
                request.done(outcome)
            return
        later: list[tuple[Done, Outcome]] = []
        for request, outcome in effects.finished:
            if request.layer is None and (request.kind == "Action" or outcome.error is not None):
                request.done(outcome)  # nothing that is shown has to do with it
            else:
                later.append((request.done, outcome))
        if fresh or later:
            dropped = [request.layer for request, _ in effects.finished if request.layer is not None]
            self.layers.ingest(fresh, partial(_wake, later), dropped=dropped)

    def _changed(self, subscription: Subscription) -> Callable[[Outcome], None]:
        def changed(outcome: Outcome) -> None:
            subscription.server = outcome
            self._fresh[subscription.key] = outcome

        return changed

    def _said(self) -> Results:
        return {key: subscription.server for key, subscription in self._by_key.items()}

    def _show(self, results: Results) -> None:
        changed: list[Subscription] = []
        for key, outcome in results.items():
            subscription = self._by_key.get(key)
            if subscription is not None:
                subscription.outcome = outcome
                changed.append(subscription)
        self._tell(changed)

    def _tell(self, subscriptions: Iterable[Subscription]) -> None:
        told: dict[int, Listener] = {}
        for subscription in subscriptions:
            told |= {id(live): live for live in subscription.tell(self._connection)}
        for live in told.values():
            live.settle()

    def _end(self, subscription: Subscription) -> None:
        if subscription.listeners or self._by_key.get(subscription.key) is not subscription:
            return
        del self._by_key[subscription.key]
        if self.layers.active:
            self.layers.ingest({}, partial(_wake, ()), gone=[subscription.key])
        if subscription.entry is not None:
            self._connection.session.remove(subscription.entry)
            self._connection.flush()


def _wake(callers: Iterable[tuple[Done, Outcome]]) -> None:
    for done, outcome in callers:
        done(outcome)
