"""A function that keeps killing its workers is not run for a while, so that it cannot take all of them from the others.

Each kill (out of time, out of memory, crash) costs a process and up to a second of a worker, and a live query of such a
function comes back at every change. So a function that was killed 5 times within 60 s fails at once for the next 30 s,
with an error that says so. Then it is tried again: one more kill, and it pauses twice as long, up to 5 minutes; one call
that ends normally, and all is forgotten. A deploy forgets everything, as it may be the repair.
"""

from __future__ import annotations

from collections import deque
from typing import Final

KILLS: Final = 5
WINDOW_SECONDS: Final = 60.0
FIRST_PAUSE_SECONDS: Final = 30.0
LONGEST_PAUSE_SECONDS: Final = 300.0


class _Record:
    __slots__ = ("kills", "pause", "until")

    def __init__(self) -> None:
        self.kills: deque[float] = deque(maxlen=KILLS)
        self.pause = 0.0
        self.until = 0.0


class Breaker:
    """What the functions of one version have done to their workers; times are of a monotonic clock.

    Examples
    --------
    >>> breaker = Breaker()
    >>> for second in range(5):
    ...     breaker.killed("chat:send", second)
    >>> breaker.remaining("chat:send", 5.0), breaker.remaining("chat:list", 5.0)
    (29.0, 0.0)
    """

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}

    def __bool__(self) -> bool:
        """Whether there is anything to look up."""
        return bool(self._records)

    def killed(self, path: str, now: float) -> None:
        """Note that a call has cost its worker."""
        record = self._records.setdefault(path, _Record())
        if now < record.until:  # It was running already when the pause began.
            return
        record.kills.append(now)
        if record.pause or (len(record.kills) == KILLS and now - record.kills[0] <= WINDOW_SECONDS):
            record.pause = min(2 * record.pause or FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
            record.until = now + record.pause

    def went_well(self, path: str, now: float) -> None:
        """Note that a call has ended normally: after a pause, the function is as good as new."""
        record = self._records.get(path)
        if record is not None and record.pause and now >= record.until:
            del self._records[path]

    def remaining(self, path: str, now: float) -> float:
        """For how many seconds the function is not run yet."""
        record = self._records.get(path)
        return max(record.until - now, 0.0) if record is not None else 0.0

    def paused(self, now: float) -> dict[str, float]:
        """All functions that are not run at the moment, with the seconds that remain."""
        return {path: record.until - now for path, record in self._records.items() if record.until > now}
