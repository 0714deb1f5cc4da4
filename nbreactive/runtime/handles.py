"""A call that waits, and a worker process as the backend sees it."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from nbreactive.engine.transactions import Call, Outcome
from nbreactive.runtime import _processes
from nbreactive.runtime._link import Link
from nbreactive.runtime.frames import CALL, SELECTED, Request, Select, Selection, encode, frame
from nbreactive.runtime.timing import Stopwatch
from nbreactive.values.limits import SQL_SECONDS

if TYPE_CHECKING:
    from nbreactive.runtime.group import Group

RunSql = Callable[[Call, Select, float], Awaitable[Selection]]
"""Runs the SQL of a call, which may take so many seconds; failures are in the selection."""


class Job:
    """One call that waits for its outcome."""

    __slots__ = ("call", "future", "moved", "queued", "seconds", "select")

    def __init__(
        self, call: Call, future: asyncio.Future[Outcome], seconds: float, select: RunSql | None = None
    ) -> None:
        self.call = call
        self.future = future
        self.seconds = seconds
        self.select = select
        """Runs the SQL of the call."""
        self.queued = False
        """Whether it waits for a worker."""
        self.moved = False
        """Whether it was taken from a worker that was not fit for it, and given to another one."""

    def finish(self, outcome: Outcome) -> None:
        """Give the caller the outcome, unless there is none any more."""
        if not self.future.done():
            self.future.set_result(outcome)


class Worker:
    """One worker process."""

    def __init__(self, group: Group, process: subprocess.Popen[bytes] | None) -> None:
        self.group = group
        self.process = process
        """Spawned workers only."""
        self.pid = process.pid if process is not None else 0
        self.link: Link
        self.job: Job | None = None
        """What it runs."""
        self.waiting: deque[Job] = deque()
        """What it was sent besides, and runs next."""
        self.clock: Stopwatch
        """Of the job."""
        self.number = 0
        """Of the job."""
        self.stuck = False
        self.ready = False
        self.status: int | None = None
        self.ended = False
        self.error: Exception | None = None
        self.killed = False
        self.selecting: asyncio.Task[None] | None = None
        """A SQL statement that the job waits for."""
        self.stale = False
        """Whether it has answered a call again that it had answered before."""

    def send(self, job: Job) -> None:
        """Give the worker a call."""
        self.waiting.append(job)
        data = frame(CALL, encode(Request(self.number + len(self.waiting), job.call)))
        if self.job is None:
            self.begin_next()
            self.link.send(data)
        else:
            self.link.send_soon(data)

    def begin_next(self) -> None:
        """Take note that the job has ended and the next one, if there is one, has begun."""
        self.job = None
        if self.waiting:
            self.job = self.waiting.popleft()
            self.number += 1
            self.clock = Stopwatch(self.job.seconds, time.monotonic())

    def stop_before_next(self) -> None:
        """Take note that the next one, if there is one, will not be run here after all."""
        if self.job is not None:
            self.waiting.appendleft(self.job)
            self.job = None

    @property
    def path(self) -> str:
        """The function that it runs."""
        return self.job.call.path if self.job is not None else ""

    @property
    def innocent(self) -> bool:
        """Whether it seems that it was not the job that went wrong here, but what ran before and had not ended."""
        if self.job is None or self.job.moved:
            return False
        # With more calls behind it, what is unread may be those: nothing tells then.
        return self.stale or (not self.waiting and self.link.has_unread())

    def kill(self) -> None:
        """End the process now."""
        self.killed = True
        self.stop_selecting()
        if self.process is not None:
            _processes.kill(self.process)
        elif self.pid:
            self.group.kill_forked(self.pid)
        self.link.close()

    # ---- SQL -----------------------------------------------------------------------------------------------

    def begin_select(self, select: Select) -> None:
        """Have the SQL of the job run, and tell the worker what it gives; raises ValueError if no honest worker would ask."""
        if self.job is None or self.job.select is None:
            raise ValueError("a SQL statement without a call that may have one")
        self.clock.begin_wait(time.monotonic())
        self.selecting = asyncio.get_running_loop().create_task(self._select(self.job, self.job.select, select))

    async def _select(self, job: Job, run: RunSql, select: Select) -> None:
        waited = self.clock.waited(time.monotonic())
        selection = await run(job.call, select, max(SQL_SECONDS - waited, 0.0))
        if self.job is job and not self.killed:
            self.selecting = None
            self.clock.end_wait(time.monotonic())
            self.link.send(frame(SELECTED, encode(selection)))

    def stop_selecting(self) -> None:
        """Nobody waits for the statement any more."""
        if self.selecting is not None:
            self.selecting.cancel()
            self.selecting = None

    def fate(self) -> str:
        """How the process came to its end, as the end of a sentence about the function that it ran."""
        if self.error is not None:
            return f"sent what is not part of the protocol ({self.error}) and was ended"
        return f"ended its process ({_processes.describe_exit(self.status)})"
