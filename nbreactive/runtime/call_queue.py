"""Calls that wait for a worker, and which of them is next.

Calls on behalf of jobs, which nobody waits for, let all others go first; but not for ever: one call in nine is theirs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from nbreactive.runtime.handles import Job, Worker

_PATIENT: Final = 8
"""Calls that go before one on behalf of a job."""

Room = Callable[[Job, bool], Worker | None]
"""Finds a worker for a call, or says that there is none now; True: it is behind, as one on behalf of a job."""


class CallQueue:
    """All calls that wait."""

    def __init__(self) -> None:
        self._first: deque[Job] = deque()
        self._behind: deque[Job] = deque()
        self._passed = 0
        """Calls that were taken since the last one on behalf of a job."""

    def __len__(self) -> int:
        return len(self._first) + len(self._behind)

    def add(self, job: Job, *, urgent: bool) -> None:
        """Add a call; an urgent one goes before all others."""
        job.queued = True
        if urgent:
            self._first.appendleft(job)
        elif job.call.job:
            self._behind.append(job)
        else:
            self._first.append(job)

    def put_back(self, job: Job) -> None:
        """Add a call that was given out, before those like it."""
        job.queued = True
        (self._behind if job.call.job else self._first).appendleft(job)

    def take(self, room: Room) -> tuple[Job, Worker] | None:
        """Take the next call that there is room for, with its worker."""
        first, behind = self._first, self._behind
        if behind and (not first or self._passed >= _PATIENT):
            worker = room(behind[0], True)
            if worker is not None:
                self._passed = 0
                return _out(behind), worker
        if first:
            worker = room(first[0], False)
            if worker is not None:
                self._passed += 1
                return _out(first), worker
        return None

    def clear(self) -> list[Job]:
        """Take all calls, whoever they are for."""
        jobs = [*self._first, *self._behind]
        self._first.clear()
        self._behind.clear()
        return jobs


def _out(queue: deque[Job]) -> Job:
    job = queue.popleft()
    job.queued = False
    return job
