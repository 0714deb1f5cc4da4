"""Lanes: mutations that fight over the same key take turns instead of wasting runs.

Most mutations meet nobody and run at once. One that loses its validation enters the lane of the key on which it lost:
inside a lane one runs at a time, from snapshot to commit (not to durability, so a lane still shares flushes). While
a lane is in use, further calls with the same function and arguments go straight into it - they would have lost.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Hashable
from contextlib import asynccontextmanager

Call = Hashable
"""What makes two calls likely to meet: function and arguments."""

_MAX_CALLS = 1000
"""Calls remembered per lane; a lane may be in use for days."""


class _Lane:
    __slots__ = ("calls", "held", "waiting")

    def __init__(self) -> None:
        self.held = False
        self.waiting: deque[asyncio.Future[None]] = deque()
        self.calls: set[Call] = set()


class Lanes:
    """All lanes in use, by hot key."""

    def __init__(self) -> None:
        self._lanes: dict[Hashable, _Lane] = {}
        self._expected: dict[Call, Hashable] = {}

    def expected(self, call: Call) -> Hashable | None:
        """Return the key that calls like this one are fighting over, if they are."""
        return self._expected.get(call)

    @asynccontextmanager
    async def enter(self, key: Hashable, call: Call) -> AsyncGenerator[None]:
        """Wait for one's turn in the lane of ``key``."""
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane()
        if len(lane.calls) < _MAX_CALLS:
            lane.calls.add(call)
            self._expected[call] = key
        if lane.held:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            lane.waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._leave(key, lane)
                raise
        lane.held = True
        try:
            yield
        finally:
            self._leave(key, lane)

    def _leave(self, key: Hashable, lane: _Lane) -> None:
        while lane.waiting:
            turn = lane.waiting.popleft()
            if not turn.done():
                turn.set_result(None)  # the lane stays held: it is handed over
                return
        lane.held = False
        del self._lanes[key]
        for call in lane.calls:
            if self._expected.get(call) == key:
                del self._expected[call]
