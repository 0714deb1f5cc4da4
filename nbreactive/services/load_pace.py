"""How many rows one commit of a bulk load has: so many as keep the event loop for a few milliseconds while functions run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

_SECONDS, _SECONDS_ALONE = 8e-3, 40e-3
"""Of the processor that a commit may take, while functions run, and while none do."""
_REST: Final = 8e-3
"""Seconds between two commits, at most, in which functions that run get on: each comes back to the loop several times."""
_MOMENT: Final = 0.5e-3
_FEWEST, _MOST = 100, 5000
_FEW_BYTES: Final = 64 << 10
"""Of a request that is no commit to speak of, whatever runs beside it."""
_GLANCE: Final = 0.06
"""Seconds in which it shows whether functions run."""
_RECENT: Final = 5.0
"""Seconds for which it is enough to know how many have run since the last request of the same load."""


class Pace:
    """Chooses, by what the last commits took.

    Parameters
    ----------
    executed
        Tells how many functions have run.
    busy
        Tells whether any runs now, or has written and is not applied yet.
    """

    def __init__(self, executed: Callable[[], int], busy: Callable[[], bool]) -> None:
        self._executed = executed
        self._busy = busy
        self._row_seconds = 8e-6
        self._before = 0
        self._looked = -_RECENT
        self._load = b""
        self._beside = False

    async def rows(self, size: int, load: bytes) -> int:
        """Choose how many rows a commit of the next request of a load, of so many bytes, has."""
        alone = size > _FEW_BYTES and await self._alone(load)
        self._beside = size > _FEW_BYTES and not alone
        seconds = _SECONDS_ALONE if alone else _SECONDS
        return max(_FEWEST, min(_MOST, round(seconds / self._row_seconds)))

    async def rest(self) -> None:
        """Let functions that run end, between two commits of one request, so that none waits for several commits."""
        if not self._beside:
            return
        until = time.monotonic() + _REST
        await asyncio.sleep(_MOMENT)  # what was asked for meanwhile begins
        while self._busy() and time.monotonic() < until:  # noqa: ASYNC110 - it ends in many ways, and soon
            await asyncio.sleep(_MOMENT)

    def note(self, rows: int, begun: float) -> None:
        """Note what a commit took since the thread's time ``begun``, in the moment in which the loop is free again."""
        if rows >= _FEWEST:  # what a commit takes by itself counts little then
            self._row_seconds += ((time.thread_time() - begun) / rows - self._row_seconds) / 4

    async def _alone(self, load: bytes) -> bool:
        """Whether no functions run."""
        since = time.monotonic() - self._looked
        if load != self._load or not _GLANCE <= since < _RECENT:
            self._load = load
            self._before = self._executed()
            await asyncio.sleep(_GLANCE)
        executed = self._executed()
        alone = executed == self._before
        self._before, self._looked = executed, time.monotonic()
        return alone
