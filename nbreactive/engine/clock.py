"""Time as an argument.

The engine never asks the operating system for the time; it asks the clock that it was given. The simulator gives
it a clock that moves only when the simulation says so.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the engine may know about time."""

    def now_ns(self) -> int:
        """Wall time in nanoseconds since 1970; it may jump, also backwards."""
        ...

    def monotonic(self) -> float:
        """Seconds of a clock that never goes back; only differences mean anything."""
        ...


class SystemClock:
    """The clock of the machine."""

    def now_ns(self) -> int:
        """Wall time in nanoseconds since 1970."""
        return time.time_ns()

    def monotonic(self) -> float:
        """Seconds of a clock that never goes back."""
        return time.monotonic()
