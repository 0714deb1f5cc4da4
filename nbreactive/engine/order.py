"""The order of a session's mutations: each starts when those before it are applied.

Applied, not durable: so a session's mutations share flushes. If an applied one is rewound it is no longer applied, and
those behind it, which have read what it wrote, wait for it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

from nbreactive.engine.gate import Gate, Snapshot


class Ticket:
    """One mutation's place in its session; made by :meth:`Order.take`."""

    __slots__ = ("_key", "_order", "_wake", "snapshot")

    def __init__(self, order: Order, key: Hashable) -> None:
        self._order = order
        self._key = key
        self._wake: asyncio.Future[None] | None = None
        self.snapshot: Snapshot | None = None

    @property
    def blocked(self) -> bool:
        """Whether one before it is not applied."""
        return self._order.blocks(self._key, self)

    @property
    def followed(self) -> bool:
        """Whether others of its session come after it."""
        return self._order.followed(self._key, self)

    async def turn(self) -> None:
        """Wait until everything before it is applied."""
        self.snapshot = None
        while self.blocked:
            self._wake = asyncio.get_running_loop().create_future()
            try:
                await self._wake
            finally:
                self._wake = None

    def applied(self, snapshot: Snapshot) -> None:
        """It is applied, in the state ``snapshot``."""
        self.snapshot = snapshot
        self._order.wake(self._key)

    def done(self) -> None:
        """It is over, however it ended."""
        self._order.drop(self._key, self)

    def look(self) -> None:
        """Look again whether it is this one's turn."""
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


class Order:
    """The tickets of all sessions."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._tickets: dict[Hashable, list[Ticket]] = {}

    def take(self, key: Hashable) -> Ticket:
        """Queue up in the session ``key``."""
        ticket = Ticket(self, key)
        self._tickets.setdefault(key, []).append(ticket)
        return ticket

    def blocks(self, key: Hashable, ticket: Ticket) -> bool:
        """Whether one before ``ticket`` is not applied."""
        for other in self._tickets[key]:
            if other is ticket:
                return False
            if other.snapshot is None or self._gate.lost(other.snapshot):
                return True
        return False

    def followed(self, key: Hashable, ticket: Ticket) -> bool:
        """Whether there are any behind ``ticket``."""
        return self._tickets[key][-1] is not ticket

    def wake(self, key: Hashable) -> None:
        """Let those that wait look again."""
        for ticket in self._tickets[key]:
            ticket.look()

    def drop(self, key: Hashable, ticket: Ticket) -> None:
        """Leave the queue."""
        tickets = self._tickets[key]
        tickets.remove(ticket)
        if tickets:
            self.wake(key)
        else:
            del self._tickets[key]
