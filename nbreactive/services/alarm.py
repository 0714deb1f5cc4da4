"""When to look again: soon, or when something is due."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

_SOONEST: Final = 0.0005
_LONGEST_SLEEP: Final = 30.0
"""Seconds: the clock of the machine may be set, and stands still for timers while the machine sleeps."""


class Alarm:
    """Calls ``ring`` when it is time; once, however often it was asked to, and not before :meth:`start`.

    Parameters
    ----------
    ring
        Looks at what is due. It may come too early: nothing may be due yet.
    """

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._soon: asyncio.Handle | None = None
        self.on = False
        """Whether it rings."""

    def start(self) -> None:
        """Ring for the first time."""
        self.on = True
        self.soon()

    def stop(self) -> None:
        """Do not ring any more."""
        self.on = False
        for handle in (self._timer, self._soon):
            if handle is not None:
                handle.cancel()
        self._timer = self._soon = None

    def soon(self) -> None:
        """Ring in the next turn of the loop."""
        if self._soon is None and self.on:
            self._soon = self._loop.call_soon(self._now)

    def after(self, seconds: float | None) -> None:
        """Ring in so many seconds instead of when it was to ring before; None: not at all."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None and self.on:
            self._timer = self._loop.call_later(min(max(seconds, _SOONEST), _LONGEST_SLEEP), self.soon)

    def _now(self) -> None:
        self._soon = None
        self._ring()
