"""Sharing of live queries: equal (function, arguments) of one client are one subscription.

Everything here happens on the client thread. A subscription holds its listeners weakly, so a live query that nobody
uses any more goes away by itself; when the last one is gone the subscription lingers for a moment, because a cell
that runs again drops a query and asks for the same one at once.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Protocol

from nbreactive.client.connection import Connection
from nbreactive.client.protocol import Outcome
from nbreactive.client.session import LiveEntry
from nbreactive.errors import NBReactiveError

LINGER = 0.5
Key = tuple[str, str]


class Listener(Protocol):
    """What a live query lets a subscription do; called on the client thread, must not wait."""

    def receive(self, outcome: Outcome | None, link: str, problem: NBReactiveError | None) -> None:
        """Take the newest outcome and the state of the connection."""
        ...


class Subscription:
    """One query in the session's set, and who listens."""

    def __init__(self, key: Key) -> None:
        self.key = key
        self.outcome: Outcome | None = None
        self.listeners: dict[int, weakref.ref[Listener]] = {}
        self.entry: LiveEntry | None = None
        self.ending: asyncio.TimerHandle | None = None

    def tell(self, connection: Connection) -> None:
        """Give every listener the newest outcome and the state of the connection."""
        for listener in list(self.listeners.values()):
            live = listener()
            if live is not None:
                live.receive(self.outcome, connection.state, connection.problem)


class Subscriptions:
    """All subscriptions of one client."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._by_key: dict[Key, Subscription] = {}
        self._by_token: dict[int, Subscription] = {}

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
            subscription = self._by_key[key] = Subscription(key)
            subscription.entry = self._connection.session.add(*key, self._changed(subscription))
            self._connection.flush()
        if subscription.ending is not None:
            subscription.ending.cancel()
            subscription.ending = None
        subscription.listeners[token] = listener
        self._by_token[token] = subscription
        live.receive(subscription.outcome, self._connection.state, self._connection.problem)

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
        for subscription in list(self._by_key.values()):
            subscription.tell(self._connection)

    def _changed(self, subscription: Subscription) -> Callable[[Outcome], None]:
        def changed(outcome: Outcome) -> None:
            subscription.outcome = outcome
            subscription.tell(self._connection)

        return changed

    def _end(self, subscription: Subscription) -> None:
        if subscription.listeners or self._by_key.get(subscription.key) is not subscription:
            return
        del self._by_key[subscription.key]
        if subscription.entry is not None:
            self._connection.session.remove(subscription.entry)
            self._connection.flush()
