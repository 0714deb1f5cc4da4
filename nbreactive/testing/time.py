"""Time that only moves when the test says so."""

from __future__ import annotations

import asyncio
import time

from nbreactive.engine.clock import Clock

START = 1_767_225_600.0
"""When tests begin, unless they say otherwise: 2026-01-01 00:00 UTC, in seconds since the epoch."""


class FrozenClock(Clock):
    """What the backend and its functions know of time."""

    def __init__(self, start: float) -> None:
        self._ns = round(start * 1e9)

    def now_ns(self) -> int:
        """Nanoseconds since 1970."""
        return self._ns

    def monotonic(self) -> float:
        """Seconds that pass for real: how long something took."""
        return time.monotonic()

    def set(self, ns: int) -> None:
        """Move it."""
        self._ns = ns


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop whose timers can be made to ring earlier, by as much as the clock was moved.

    Real time passes besides, for whatever waits for something real: an action for a server, a sleep.
    """

    skipped = 0.0

    def time(self) -> float:
        """Return the time that timers go by."""
        return super().time() + self.skipped
