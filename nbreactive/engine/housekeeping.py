"""What is done on the side: old versions, old changes and old requests go, a little at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nbreactive.engine.applied import AppliedState
from nbreactive.engine.clock import Clock
from nbreactive.engine.gate import Gate

_SECOND = 1_000_000_000
_SLICE_SECONDS = 0.001
_SLICE_KEYS = 256
_SLICE_REQUESTS = 32
_PAUSE_IDLE = 1.0
_PAUSE_BUSY = 0.005


class Housekeeping:
    """Cleans up in slices of a millisecond.

    Parameters
    ----------
    state, gate, clock
        What is cleaned, and what must be kept.
    oldest
        The oldest snapshot that an execution is reading.
    keep_seconds
        For how long every version is kept.
    request_seconds
        For how long answers to requests are kept.
    """

    def __init__(
        self,
        state: AppliedState,
        gate: Gate,
        clock: Clock,
        oldest: Callable[[], int],
        *,
        keep_seconds: float,
        request_seconds: float,
    ) -> None:
        self._state = state
        self._gate = gate
        self._clock = clock
        self._oldest = oldest
        self._keep = int(keep_seconds * _SECOND)
        self._request = int(request_seconds * _SECOND)

    async def run(self) -> None:
        """Go on for ever."""
        while True:
            more = self.slice()
            await asyncio.sleep(_PAUSE_BUSY if more else _PAUSE_IDLE)

    def slice(self) -> bool:
        """Do a little; return whether there is more to do right now."""
        state = self._state
        now = self._clock.now_ns()
        # By the wall clock as well as by the last commit, so that a quiet deployment becomes clean too; what an old
        # snapshot may still ask for, and what a rewind would need, stays.
        horizon = min(self._oldest(), self._gate.durable, max(now, self._gate.durable) - self._keep)
        state.changes.trim(horizon)
        state.documents.trim(horizon)
        started = self._clock.monotonic()
        index = state.index
        state.remember_position()
        while True:
            cleaned = index.collect(horizon, _SLICE_KEYS)
            dropped = index.drop_requests(now - self._request, _SLICE_REQUESTS)
            if cleaned or dropped:
                # Where nobody commits, it would hold each page of before, and the file grow while it is emptied
                state.reader.renew()
            if cleaned < _SLICE_KEYS and dropped < _SLICE_REQUESTS:
                break
            if self._clock.monotonic() - started > _SLICE_SECONDS:
                return True
        return False
