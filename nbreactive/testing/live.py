"""Live queries in tests: their values are up to date whenever the test looks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from nbreactive.client.protocol import wire_error
from nbreactive.engine.requests import QuerySpec
from nbreactive.engine.transactions import Failure
from nbreactive.values.json import decode_json

if TYPE_CHECKING:
    from nbreactive.engine.query_cache import QueryResult
    from nbreactive.engine.subscriptions import Subscription
    from nbreactive.testing.machine import Machine


def failed(failure: Failure) -> Exception:
    """Return what a client would raise."""
    return wire_error(failure.message, failure.code, failure.data or b"", trace=failure.trace)


class Live:
    """A live query; made by :meth:`~nbreactive.testing.Backend.live`.

    Attributes
    ----------
    values
        Every result that it had, the newest last: a result that a change left as it was is not repeated.
    error
        Why its last run failed, or None.
    """

    def __init__(self, queries: LiveQueries, spec: QuerySpec) -> None:
        self.values: list[Any] = []
        self.error: Exception | None = None
        self._queries = queries
        self._subscription = queries.add(self, spec)

    @property
    def value(self) -> Any:
        """The newest result; raises the error if the query has never had one."""
        if not self.values and self.error is not None:
            raise self.error
        return self.values[-1] if self.values else None

    def take(self, result: QueryResult) -> None:
        """Take a new result."""
        self.error = failed(result.failure) if result.failure is not None else None
        if self.error is None:
            self.values.append(decode_json(result.value))

    def close(self) -> None:
        """Unsubscribe; the last value stays."""
        self._queries.remove(self._subscription)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<live {self._subscription.spec.path}: {self.error or self.value!r}>"


class LiveQueries:
    """All live queries of a test: one session, which sees one moment at a time."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._live: dict[Subscription, Live] = {}
        self._dirty = False
        machine.settled = self.update

    def add(self, live: Live, spec: QuerySpec) -> Subscription:
        """Subscribe; the first result comes with the next update."""
        subscription = self._machine.engine.subscriptions.add(self, spec)
        self._live[subscription] = live
        self._dirty = True
        return subscription

    def remove(self, subscription: Subscription) -> None:
        """Unsubscribe."""
        self._live.pop(subscription, None)
        self._machine.engine.subscriptions.remove(subscription)

    def invalidated(self) -> None:
        """Note that something has to be run again."""
        self._dirty = True

    async def update(self) -> None:
        """Bring all to the newest moment."""
        while self._dirty and self._live:
            self._dirty = False
            update = await self._machine.engine.subscriptions.update(self)
            for subscription, result in update.changes:
                if subscription in self._live:
                    self._live[subscription].take(result)
