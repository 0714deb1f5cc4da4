"""How long a call may take, and what of it does not count.

A query or mutation has 1 s (functions of the system ten times as much), on the clock on the wall, so that loops, sleeps
and endless C calls end alike. Three things are not held against it:

* Importing modules inside the function: the clock stands still while the worker says that it imports, for at most 10 s
  of a call in total. What a worker claims is taken for true up to that bound and not beyond it, so neither a hang in an
  import nor forged frames keep a worker for longer than the two limits together.
* Waiting for the result of a SQL statement, which has a limit of its own and is measured here, not by the worker.
* A machine that had no time for the worker: when the time is over, a worker which could run, but got less than 80 % of
  the time from the processors, may go on until it had its time, at most 0.4 s longer. A function that sleeps or waits
  gets nothing of this. Linux only; elsewhere nothing tells the two apart quickly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

IMPORT_SECONDS: Final = 10.0
"""For how long in total importing modules may stop the clock of one call."""
GRACE_SECONDS: Final = 0.4
"""How much later a call ends that the machine had no time for."""
_STARVED: Final = 0.8
_MAX_IMPORTS: Final = 256

Cpu = tuple[float, bool]
"""CPU seconds that a process has used, and whether it could run just now."""


class Stopwatch:
    """The time of one call.

    Parameters
    ----------
    seconds
        How much the function may use.
    now
        When the call was sent, on a monotonic clock, as for all methods.
    """

    __slots__ = (
        "_base",
        "_grace",
        "_import_cpu",
        "_imported",
        "_importing",
        "_imports",
        "_waited",
        "_waiting",
        "seconds",
        "started",
    )

    def __init__(self, seconds: float, now: float) -> None:
        self.seconds = seconds
        self.started = now
        self._importing: float | None = None
        self._imported = 0.0
        self._import_cpu = 0.0
        self._imports = 0
        self._waiting: float | None = None
        self._waited = 0.0
        self._base: float | None = None
        self._grace = False

    def begin_import(self, now: float) -> None:
        """Stop for an import; raises ValueError if no honest worker would ask for it."""
        self._imports += 1
        if self._importing is not None or self._imports > _MAX_IMPORTS:
            raise ValueError("more imports than a call announces")
        self._importing = now

    def end_import(self, now: float, seconds: float, cpu: float) -> None:
        """Go on after an import, which took ``seconds`` and ``cpu`` according to the worker.

        Its own figure is taken, because a busy event loop hears of the beginning and of the end at once.
        """
        if self._importing is None:
            raise ValueError("the end of an import that did not begin")
        self._importing = None
        if seconds > 0:
            self._imported += min(seconds, now - self.started - self._imported)
        if cpu > 0:
            self._import_cpu += cpu

    def begin_wait(self, now: float) -> None:
        """Stop for what the backend does for the call; raises ValueError if it does so already."""
        if self._waiting is not None or self._importing is not None:
            raise ValueError("a statement while another one, or an import, is under way")
        self._waiting = now

    def end_wait(self, now: float) -> None:
        """Go on."""
        self._waited = self.waited(now)
        self._waiting = None

    def waited(self, now: float) -> float:
        """For how long the call has waited so far."""
        return self._waited + (now - self._waiting if self._waiting is not None else 0.0)

    def observe(self, now: float, cpu: Cpu | None) -> None:
        """Note the CPU time of a call's first moments; until then the worker counts as having run all the time."""
        if cpu is not None:
            self._base = cpu[0] - (now - self.started)

    def over(self, now: float, cpu: Callable[[], Cpu | None]) -> Literal["", "time", "imports"]:
        """Say whether the call must end, and which limit it is over; ``cpu`` is asked only if it might matter."""
        imported = self._imported + (now - self._importing if self._importing is not None else 0.0)
        used = now - self.started - min(imported, IMPORT_SECONDS) - self.waited(now)
        if used <= self.seconds:
            return ""
        if used <= self.seconds + GRACE_SECONDS and self._starved(cpu()):
            return ""
        return "imports" if imported >= IMPORT_SECONDS else "time"

    def _starved(self, cpu: Cpu | None) -> bool:
        if cpu is None or self._base is None:
            return False
        used = cpu[0] - self._base - self._import_cpu
        if self._grace:
            return used < self.seconds
        self._grace = cpu[1] and used < _STARVED * self.seconds
        return self._grace
