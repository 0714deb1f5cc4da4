"""Who runs SQL when: some at a time, and alone whoever may have been the end of a process.

A process that dies takes all statements along that it runs, and nothing tells which one was to blame. Each is asked once
again, alone: so the one to blame falls by itself the second time, and nobody else loses his result.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator


class Turns:
    """Turns to run.

    Parameters
    ----------
    slots
        How many run at a time.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._free = asyncio.Semaphore(slots)
        self._queue = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def take(self, *, alone: bool = False) -> AsyncGenerator[None]:
        """Wait for a turn, and have it; those who came earlier have theirs earlier."""
        wanted, taken = self._slots if alone else 1, 0
        try:
            async with self._queue:
                while taken < wanted:
                    await self._free.acquire()
                    taken += 1
            yield
        finally:
            for _ in range(taken):
                self._free.release()
