"""The worker pool: calls in, outcomes out, whatever the functions do meanwhile.

``workers`` calls run at a time, one more worker stands by. Short calls may wait in a worker, so that it goes on at once
(:mod:`nbreactive.runtime.durations`). A call that runs for longer than 20 ms does not count any
more, so the spare takes its place and the next one is started: one slow call never keeps the others waiting. After its
time (1 s, :mod:`nbreactive.runtime.timing`) the worker is killed and the call fails; a worker that dies takes one call
with it, which has written nothing. What runs on behalf of scheduled functions lets everybody else go first
(:mod:`nbreactive.runtime.call_queue`) and has ``workers`` processes at most, however long it takes. A call that was given
to a worker in which an earlier one, though answered, still runs (only forged answers do that) is given to another worker
instead, once. A function that does so again and again is not run for a while (:mod:`nbreactive.runtime.breaker`). Deploys
change what new calls run on (:mod:`nbreactive.runtime.versions`).
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from nbreactive.engine.transactions import Call, Outcome
from nbreactive.errors import LimitExceeded, NBReactiveError, Unavailable
from nbreactive.functions.specs import Bundle, Manifest
from nbreactive.runtime._processes import cpu_of
from nbreactive.runtime.breaker import Breaker
from nbreactive.runtime.call_queue import CallQueue
from nbreactive.runtime.cursors import KEY_BYTES
from nbreactive.runtime.durations import Durations
from nbreactive.runtime.frames import Reply, Setup
from nbreactive.runtime.group import Group, Method
from nbreactive.runtime.handles import Job, RunSql, Worker
from nbreactive.runtime.past import MOST
from nbreactive.runtime.verdicts import crashed, failed, lost, paused, problem_of, timed_out
from nbreactive.runtime.versions import Versions
from nbreactive.values.limits import USER_SECONDS, TransactionLimits, over

_STUCK_SECONDS: Final = 0.02
_TICK_SECONDS: Final = 0.01
_SYSTEM_FACTOR: Final = 10
_WAITING: Final = 8
"""Calls that wait in a worker."""
_EMPTY: Final = Bundle(0, ())

IndexAt = Callable[[int], AbstractAsyncContextManager[str]]
"""Gives the folder of a row index as of a timestamp, for as long as one is inside."""


class Pool:
    """Runs calls in worker processes; implements :class:`~nbreactive.engine.transactions.Executor`.

    Parameters
    ----------
    index_path
        Folder of the row index, which workers read.
    workers
        How many calls run at a time.
    user_time
        Seconds that a query or mutation may take; functions of the system may take ten times as long.
    memory_bytes
        Memory that a worker may use on top of what importing the code took.
    import_paths
        Folders that user code may import from besides the environment.
    mode
        ``dev`` tells callers everything about errors, ``prod`` nothing.
    method
        ``fork``, ``spawn``, or ``auto``: fork where that is possible and safe.
    import_seconds
        How long importing all modules may take.
    limits
        How much a query or mutation may do.
    deployment
        The name that functions see in ``ctx.meta``.
    cursor_key
        What the cursors of pages are sealed with; without one they are good as long as this pool.
    """

    def __init__(
        self,
        index_path: str | Path,
        *,
        workers: int = 2,
        user_time: float = USER_SECONDS,
        memory_bytes: int = 1 << 30,
        import_paths: Sequence[str] = (),
        mode: Literal["dev", "prod"] = "dev",
        method: Method = "auto",
        import_seconds: float = 30.0,
        limits: TransactionLimits | None = None,
        deployment: str = "default",
        cursor_key: bytes = b"",
    ) -> None:
        setup = Setup(
            _EMPTY,
            str(index_path),
            tuple(import_paths),
            memory_bytes,
            mode=mode,
            import_seconds=import_seconds,
            limits=limits or TransactionLimits(),
            deployment=deployment,
            cursor_key=cursor_key or secrets.token_bytes(KEY_BYTES),
        )
        self._versions = Versions(
            setup,
            workers,
            method,
            on_ready=self._on_ready,
            on_reply=self._on_reply,
            on_end=self._on_end,
            on_lost=self._on_lost,
        )
        self._loop = asyncio.get_running_loop()
        self._workers = workers
        self._user_time = user_time
        self._queue = CallQueue()
        self._breaker = Breaker()
        self._durations = Durations()
        self._watching: asyncio.TimerHandle | None = None
        self._closing = False
        self._counts = {"calls": 0, "timeouts": 0, "crashes": 0, "recycled": 0, "extra": 0, "moved": 0}
        self.on_death: Callable[[], None] | None = None
        """Called after the death of every worker; the engine frees its slot in the table of LMDB's readers."""

        self.select: RunSql | None = None
        """Runs the SQL of calls."""

        self.on_switch: Callable[[Setup, Manifest], None] | None = None
        """Called with the code that new calls run on from now on."""

        self.index_at: IndexAt | None = None
        """Gives row indexes of earlier times to calls that ask for them."""
        self._travels: set[asyncio.Task[None]] = set()

    # ---- versions ----------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Get ready with no code but the system's own functions."""
        if self._versions.current is None:
            await self.prepare(_EMPTY)
            await self.activate(_EMPTY.version)
            self.switch(_EMPTY.version)

    @property
    def manifest(self) -> Manifest | None:
        """What the version in use consists of."""
        return self._versions.current.manifest if self._versions.current is not None else None

    async def prepare(self, bundle: Bundle) -> Manifest:
        """Load a bundle beside the one in use, or raise :class:`~nbreactive.errors.DeployRefused` with its issues."""
        return await self._versions.prepare(bundle)

    async def activate(self, version: int) -> None:
        """Wait until the workers of a prepared version can take calls; they do not get any yet."""
        await self._versions.activate(version)

    def switch(self, version: int) -> None:
        """From now on, new calls run on ``version``; running ones end on theirs."""
        self._versions.switch(version)
        group = self._versions.current
        if self.on_switch is not None and group is not None and group.manifest is not None:
            self.on_switch(group.setup, group.manifest)
        self._breaker, self._durations = Breaker(), Durations()
        self._dispatch()

    def drop(self, version: int) -> None:
        """End a prepared version that is not in use; calls that still run on it end normally."""
        self._versions.drop(version)

    # ---- calls -------------------------------------------------------------------------------------------

    def run(self, call: Call, *, urgent: bool = False) -> asyncio.Future[Outcome]:
        """Start a call; its failures are in the outcome."""
        future: asyncio.Future[Outcome] = self._loop.create_future()
        system = call.path.startswith("_system/")
        job = Job(call, future, self._user_time * (_SYSTEM_FACTOR if system else 1), self.select)
        if self._versions.current is None or self._closing:
            reason = "the function workers are not running; the backend is starting or stopping"
            job.finish(failed(Unavailable(reason), call))
            return future
        self._queue.add(job, urgent=urgent)
        self._dispatch()
        return future

    def _dispatch(self) -> None:
        while (taken := self._queue.take(self._room)) is not None:
            self._give(*taken)

    def _room(self, job: Job, behind: bool) -> Worker | None:
        """Find a worker for a call: one that is idle, or one in which it may wait."""
        group = self._versions.current
        if group is None:
            return None
        free = bool(group.idle) and len(group.busy) - group.stuck < self._workers
        if behind and free:
            free = sum(worker.job is not None and bool(worker.job.call.job) for worker in group.busy) < self._workers
        return group.idle[-1] if free else self._least_busy(group, job)

    def _give(self, job: Job, worker: Worker) -> None:
        # The caller may have been cancelled meanwhile, or another worker was faster.
        if job.future.done() or (self._breaker and self._paused(job)):
            return
        if worker.job is None:
            worker.group.idle.remove(worker)
            worker.group.busy.add(worker)
        self._counts["calls"] += 1
        worker.send(job)
        if self._watching is None:
            self._watching = self._loop.call_later(_TICK_SECONDS, self._watch)

    def _least_busy(self, group: Group, job: Job) -> Worker | None:
        """Find a worker in which a short job may wait."""
        best: Worker | None = None
        if self._durations.short(job.call.path):
            least = _WAITING
            for worker in group.busy:
                many = len(worker.waiting)
                if many < least and not worker.stuck and self._durations.short(worker.path):
                    best, least = worker, many
        return best

    def _take_back(self, worker: Worker) -> None:
        """Let others run what waits in a worker, which may still run it, too: whichever is first counts."""
        for job in reversed(worker.waiting):
            if not job.queued:
                self._queue.put_back(job)

    def _paused(self, job: Job) -> bool:
        remaining = self._breaker.remaining(job.call.path, time.monotonic())
        if remaining:
            job.finish(paused(job.call, remaining))
        return remaining > 0

    def _on_reply(self, worker: Worker, reply: Reply) -> None:
        job = worker.job
        group = worker.group
        assert job is not None
        problem = problem_of(reply.outcome)
        if problem:
            worker.kill()
            group.discard(worker)
            worker.error = ValueError(problem)
            self._gone(worker, self._crashed(worker))
            return
        worker.begin_next()
        self._unstick(worker)
        failure = reply.outcome.failure
        if failure is None or failure.code != "FunctionNotFound":  # whose names are the callers', without end
            self._durations.note(job.call.path, reply.outcome.duration_us)
        if failure is not None and failure.code == "FunctionOutOfMemory":
            self._blame(worker, job)
        elif self._breaker and group is self._versions.current:
            self._breaker.went_well(job.call.path, time.monotonic())
        if reply.recycle:
            self._counts["recycled"] += 1
            worker.stop_before_next()
            self._take_back(worker)
            worker.kill()
            group.discard(worker)
            self._died()
            self._versions.fill(group)
        elif worker.job is None:
            group.busy.discard(worker)
            group.idle.append(worker)
        if failure is not None and reply.outcome.needs and self.index_at is not None:
            self._travel(job, reply.outcome.needs, self.index_at)
        else:
            job.finish(reply.outcome)
        if self._queue:
            self._dispatch()
        self._versions.settle(group)

    def _travel(self, job: Job, ts: int, index_at: IndexAt) -> None:
        """Run a job again with the row index of an earlier time that it has asked for."""

        async def run() -> None:
            call = job.call
            try:
                if len(call.past) >= MOST - 1:
                    raise LimitExceeded(
                        over("earlier times read by one call", MOST, MOST - 1, "read the others in another query")
                    )
                async with index_at(ts) as folder:
                    job.finish(await self.run(msgspec.structs.replace(call, past={**call.past, ts: folder})))
            except NBReactiveError as error:
                job.finish(failed(error, call))

        task = self._loop.create_task(run())
        self._travels.add(task)
        task.add_done_callback(self._travels.discard)

    def _watch(self) -> None:
        """Every 10 ms while calls run: who is over the time, who is to be replaced for now?"""
        self._watching = None
        now = time.monotonic()
        groups = self._versions.all()
        for worker in [worker for group in groups for worker in group.busy]:
            job = worker.job
            if job is None:
                continue
            if over := worker.clock.over(now, lambda pid=worker.pid: cpu_of(pid)):
                worker.link.poll()  # The loop may have been busy: what has been answered in time counts.
                if worker.job is job and not worker.ended and worker.clock.over(now, lambda: None):
                    self._timeout(worker, job, importing=over == "imports")
            elif now - worker.clock.started > _STUCK_SECONDS and not worker.stuck:
                worker.stuck = True
                worker.clock.observe(now, cpu_of(worker.pid))
                worker.group.stuck += 1
                self._take_back(worker)
                if worker.group is self._versions.current:
                    self._counts["extra"] += 1
                    self._versions.fill(worker.group)
                    self._dispatch()
        if any(group.busy for group in groups):
            self._watching = self._loop.call_later(_TICK_SECONDS, self._watch)

    def _timeout(self, worker: Worker, job: Job, *, importing: bool) -> None:
        if worker.innocent:
            worker.kill()
            worker.group.discard(worker)
            self._move(worker)
            return
        self._counts["timeouts"] += 1
        worker.kill()
        worker.group.discard(worker)
        self._blame(worker, job)
        self._gone(worker, timed_out(job.call, job.seconds, importing=importing))

    # ---- life of workers ---------------------------------------------------------------------------------

    def _on_ready(self, worker: Worker) -> None:
        worker.group.idle.append(worker)
        if worker.group is self._versions.current:
            self._dispatch()

    def _on_end(self, worker: Worker) -> None:
        if worker.innocent:
            self._move(worker)
        else:
            self._gone(worker, self._crashed(worker))

    def _move(self, worker: Worker) -> None:
        """Run the job of a worker that is gone on another one, once: what ran before it had answered, but not ended."""
        job = worker.job
        assert job is not None
        job.moved = True
        self._counts["moved"] += 1
        self._queue.put_back(job)
        self._gone(worker, None)

    def _on_lost(self, workers: list[Worker]) -> None:
        # Whatever ended the zygote, it was not any of these functions.
        for worker in workers:
            self._gone(worker, lost(worker.job.call) if worker.job is not None else None)

    def _crashed(self, worker: Worker) -> Outcome | None:
        job = worker.job
        if job is None:
            return None
        self._counts["crashes"] += 1
        self._blame(worker, job)
        return crashed(job.call, worker.fate())

    def _gone(self, worker: Worker, outcome: Outcome | None) -> None:
        """A worker is gone, with the outcome for its call, if it had one."""
        job, worker.job = worker.job, None
        self._unstick(worker)
        self._take_back(worker)
        if job is not None and outcome is not None:
            job.finish(outcome)
        self._died()
        if not self._versions.replace(worker.group):
            error = Unavailable("no function worker can be started at the moment; see the log of the backend")
            for waiting in self._queue.clear():
                waiting.finish(failed(error, waiting.call))
        self._dispatch()

    def _blame(self, worker: Worker, job: Job) -> None:
        if worker.group is self._versions.current:  # A version that drains says nothing about its successor.
            self._breaker.killed(job.call.path, time.monotonic())

    def _died(self) -> None:
        if self.on_death is not None:
            self.on_death()

    def _unstick(self, worker: Worker) -> None:
        if worker.stuck:
            worker.stuck = False
            worker.group.stuck -= 1

    # ---- the end -----------------------------------------------------------------------------------------

    async def close(self) -> None:
        """End all processes; calls that still run fail."""
        self._closing = True
        if self._watching is not None:
            self._watching.cancel()
        busy = [worker for group in self._versions.all() for worker in group.busy]
        jobs = [
            *self._queue.clear(),
            *(job for worker in busy for job in (worker.job, *worker.waiting) if job is not None),
        ]
        for job in jobs:
            job.finish(failed(Unavailable("the backend is stopping; call again when it is back"), job.call))
        await asyncio.gather(*self._travels, return_exceptions=True)
        await self._versions.close()

    def status(self) -> dict[str, Any]:
        """For people and for tests."""
        group = self._versions.current
        return {
            "workers": self._workers,
            "queued": len(self._queue),
            "stuck": group.stuck if group is not None else 0,
            **self._counts,
            **(group.status() if group is not None else {}),
            "draining": self._versions.draining,
            "paused": {path: round(left) for path, left in self._breaker.paused(time.monotonic()).items()},
        }
