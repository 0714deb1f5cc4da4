"""The worker pool: calls in, outcomes out, whatever the functions do meanwhile.

``workers`` calls run at a time, one more worker stands by. A call that runs for longer than 20 ms does not count any
more, so the spare takes its place and the next one is started: one slow call never keeps the others waiting. After its
time (1 s) the worker is killed and the call fails; a worker that dies takes one call with it, which has written
nothing.

Deploying is three steps: :meth:`Pool.prepare` loads a bundle in processes of its own, :meth:`Pool.activate` gets its
workers ready, :meth:`Pool.switch` makes it the one that new calls run on, which is a pointer only. Calls on the old
version end normally, then its processes end.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from nbreactive.engine.catalog import FIRST_USER_TABLE, TABLES
from nbreactive.engine.transactions import Call, Failure, Outcome
from nbreactive.errors import DeployRefused, FunctionCrashed, FunctionTimeout, Unavailable
from nbreactive.functions.specs import Bundle, Manifest
from nbreactive.runtime._processes import describe_exit
from nbreactive.runtime.frames import Reply, Setup
from nbreactive.runtime.group import Group, Job, Method, Worker
from nbreactive.values.limits import DOCUMENT_SIZE, RESULT_SIZE

_STUCK_SECONDS: Final = 0.02
_TICK_SECONDS: Final = 0.01
_EXTRA_WORKERS: Final = 6
_SYSTEM_FACTOR: Final = 10
_GIVE_UP_AFTER: Final = 3
_EMPTY: Final = Bundle(0, ())


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
    """

    def __init__(
        self,
        index_path: str | Path,
        *,
        workers: int = 2,
        user_time: float = 1.0,
        memory_bytes: int = 1 << 30,
        import_paths: Sequence[str] = (),
        mode: Literal["dev", "prod"] = "dev",
        method: Method = "auto",
        import_seconds: float = 30.0,
    ) -> None:
        self._setup = Setup(_EMPTY, str(index_path), tuple(import_paths), memory_bytes, mode, import_seconds)
        self._workers = workers
        self._user_time = user_time
        self._method: Method = method
        self._queue: deque[Job] = deque()
        self._current: Group | None = None
        self._groups: dict[int, Group] = {}
        self._retired: set[Group] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._watching: asyncio.TimerHandle | None = None
        self._closing = False
        self._counts = {"calls": 0, "timeouts": 0, "crashes": 0, "recycled": 0, "extra": 0}
        self.on_death: Callable[[], None] | None = None
        """Called after the death of every worker; the engine frees its slot in the table of LMDB's readers."""

    # ---- versions ----------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Get ready with no code but the system's own functions."""
        if self._current is None:
            await self.prepare(_EMPTY)
            await self.activate(_EMPTY.version)
            self.switch(_EMPTY.version)

    @property
    def manifest(self) -> Manifest | None:
        """What the version in use consists of."""
        return self._current.manifest if self._current is not None else None

    async def prepare(self, bundle: Bundle) -> Manifest:
        """Load a bundle beside the one in use, or raise :class:`~nbreactive.errors.DeployRefused` with its issues."""
        group = self._new_group(bundle)
        try:
            manifest = await group.load()
        except DeployRefused:
            await group.close()
            raise
        except BaseException:
            self._spawn(group.close())
            raise
        self.drop(bundle.version)
        self._groups[bundle.version] = group
        self._fill(group)
        return manifest

    async def activate(self, version: int) -> None:
        """Wait until the workers of a prepared version can take calls; they do not get any yet."""
        group = self._groups[version]
        self._fill(group)
        while not group.idle and not group.busy:
            if group.failures >= _GIVE_UP_AFTER:
                raise Unavailable(f"no function worker of version {version} starts; see the log of the backend")
            await asyncio.sleep(0.001)

    def switch(self, version: int) -> None:
        """From now on, new calls run on ``version``; running ones end on theirs."""
        group = self._groups[version]
        before, self._current = self._current, group
        if before is not None and before is not group:
            # It stays prepared, should the deploy fail after all, until the next one takes its place.
            for other in list(self._groups):
                if self._groups[other] is not group and self._groups[other] is not before:
                    self.drop(other)
            if self._groups.get(before.version) is not before:  # The same version was prepared again.
                self._retired.add(before)
            self._trim(before)
        self._dispatch()

    def drop(self, version: int) -> None:
        """End a prepared version that is not in use; calls that still run on it end normally."""
        group = self._groups.get(version)
        if group is None or group is self._current:
            return
        del self._groups[version]
        self._retired.add(group)
        self._trim(group)

    def _new_group(self, bundle: Bundle) -> Group:
        setup = Setup(
            bundle,
            self._setup.index_path,
            self._setup.import_paths,
            self._setup.memory_bytes,
            self._setup.mode,
            self._setup.import_seconds,
        )
        return Group(setup, self._method, self._on_ready, self._on_reply, self._on_end, self._on_lost)

    # ---- calls -------------------------------------------------------------------------------------------

    async def run(self, call: Call, *, urgent: bool = False) -> Outcome:
        """Run a call; its failures are in the outcome."""
        if self._current is None or self._closing:
            return _failed(
                Unavailable("the function workers are not running; the backend is starting or stopping"), call
            )
        system = call.path.startswith("_system/")
        seconds = self._user_time * (_SYSTEM_FACTOR if system else 1)
        job = Job(call, asyncio.get_running_loop().create_future(), seconds)
        if urgent:
            self._queue.appendleft(job)
        else:
            self._queue.append(job)
        self._dispatch()
        return await job.future

    def _dispatch(self) -> None:
        group = self._current
        if group is None:
            return
        queue, idle = self._queue, group.idle
        while queue and idle and len(group.busy) - group.stuck < self._workers:
            job = queue.popleft()
            if job.future.done():  # The caller was cancelled meanwhile.
                continue
            worker = idle.pop()
            group.busy.add(worker)
            self._counts["calls"] += 1
            worker.send(job)
            if self._watching is None:
                self._watching = asyncio.get_running_loop().call_later(_TICK_SECONDS, self._watch)

    def _on_reply(self, worker: Worker, reply: Reply) -> None:
        job, worker.job = worker.job, None
        group = worker.group
        assert job is not None
        problem = _problem(reply.outcome)
        if problem:
            worker.job = job
            worker.kill()
            group.discard(worker)
            worker.error = ValueError(problem)
            self._gone(worker)
            return
        group.busy.discard(worker)
        self._unstick(worker)
        if reply.recycle:
            self._counts["recycled"] += 1
            worker.kill()
            group.discard(worker)
            self._died()
        else:
            group.idle.append(worker)
        if not job.future.done():
            job.future.set_result(reply.outcome)
        if self._queue:
            self._dispatch()
        if group is not self._current or reply.recycle or group.live > self._workers + 1:
            self._fill(group)
            self._trim(group)

    def _watch(self) -> None:
        """Every 10 ms while calls run: who is over the time, who is to be replaced for now?"""
        self._watching = None
        now = time.monotonic()
        groups = [group for group in (self._current, *self._groups.values(), *self._retired) if group is not None]
        busy = {worker for group in groups for worker in group.busy}
        for worker in busy:
            job = worker.job
            if job is None:
                continue
            took = now - worker.started
            if took > job.seconds:
                worker.link.poll()  # The loop may have been busy: what has been answered in time counts.
                if worker.job is job and not worker.ended:
                    self._timeout(worker, job)
            elif took > _STUCK_SECONDS and not worker.stuck:
                worker.stuck = True
                worker.group.stuck += 1
                if worker.group is self._current:
                    self._counts["extra"] += 1
                    self._fill(worker.group)
                    self._dispatch()
        if any(group.busy for group in groups):
            self._watching = asyncio.get_running_loop().call_later(_TICK_SECONDS, self._watch)

    def _timeout(self, worker: Worker, job: Job) -> None:
        self._counts["timeouts"] += 1
        worker.kill()
        worker.job = None
        worker.group.discard(worker)
        error = FunctionTimeout(
            f"{job.call.path} took more than {job.seconds:g} s and was stopped; it has written nothing. Read less (an index"
            " range, take(n)), or do the long part outside of queries and mutations and store its result"
        )
        self._gone(worker)
        _finish(job, _failed(error, job.call))

    # ---- life of workers ---------------------------------------------------------------------------------

    def _on_ready(self, worker: Worker) -> None:
        worker.group.idle.append(worker)
        if worker.group is self._current:
            self._dispatch()

    def _on_end(self, worker: Worker) -> None:
        self._gone(worker)

    def _gone(self, worker: Worker) -> None:
        group, job = worker.group, worker.job
        worker.job = None
        self._unstick(worker)
        if job is not None:
            self._counts["crashes"] += 1
            _finish(job, _failed(_crash(worker, job.call), job.call))
        self._died()
        if group.failures:
            self._start_again(group)
        else:
            self._fill(group)
        self._trim(group)
        self._dispatch()

    def _died(self) -> None:
        if self.on_death is not None:
            self.on_death()

    def _unstick(self, worker: Worker) -> None:
        if worker.stuck:
            worker.stuck = False
            worker.group.stuck -= 1

    def _start_again(self, group: Group) -> None:
        if group.failures >= _GIVE_UP_AFTER and group is self._current:
            error = Unavailable("no function worker can be started at the moment; see the log of the backend")
            while self._queue:
                job = self._queue.popleft()
                _finish(job, _failed(error, job.call))
        delay = min(0.05 * 2**group.failures, 5.0)
        asyncio.get_running_loop().call_later(delay, self._fill, group)

    def _fill(self, group: Group) -> None:
        """Start as many workers as are missing: those that work, those that are stuck, and a spare."""
        known = group is self._current or self._groups.get(group.version) is group
        if self._closing or group.closed or not known:
            return
        for _ in range(self._wanted(group) - group.live):
            group.start_worker()

    def _trim(self, group: Group) -> None:
        """End workers that are not needed any more, and a retired group once it is idle."""
        if group in self._retired:
            for worker in [*group.idle, *group.starting]:
                group.discard(worker)
            if not group.busy:
                self._retired.discard(group)
                self._spawn(group.close())
        else:
            while group.idle and group.live > self._wanted(group):
                group.discard(group.idle[0])

    def _wanted(self, group: Group) -> int:
        return self._workers + 1 + min(group.stuck, _EXTRA_WORKERS)

    def _on_lost(self, group: Group) -> None:
        self._spawn(self._replace(group))

    async def _replace(self, lost: Group) -> None:
        """The zygote of a group is gone, and its workers with it: load the same code again."""
        busy = [*lost.busy]
        await lost.close()
        for worker in busy:
            self._gone(worker)
        delay = 0.05
        while not self._closing and (lost is self._current or self._groups.get(lost.version) is lost):
            group = self._new_group(lost.setup.bundle)
            try:
                await group.load()
            except DeployRefused:
                await group.close()
                await asyncio.sleep(delay)
                delay = min(delay * 2, 5.0)
                continue
            self._groups[lost.version] = group
            if self._current is lost:
                self._current = group
            self._fill(group)
            return

    # ---- the end -----------------------------------------------------------------------------------------

    async def close(self) -> None:
        """End all processes; calls that still run fail."""
        self._closing = True
        if self._watching is not None:
            self._watching.cancel()
        groups = {*self._groups.values(), *self._retired} | (
            {self._current} if self._current is not None else set[Group]()
        )
        jobs = [*self._queue, *(worker.job for group in groups for worker in group.busy if worker.job is not None)]
        self._queue.clear()
        for job in jobs:
            _finish(job, _failed(Unavailable("the backend is stopping; call again when it is back"), job.call))
        await asyncio.gather(*(group.close() for group in groups))
        while self._tasks:
            await asyncio.gather(*self._tasks)
        self._current = None
        self._groups.clear()

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def status(self) -> dict[str, Any]:
        """For people and for tests."""
        group = self._current
        return {
            "workers": self._workers,
            "queued": len(self._queue),
            "stuck": group.stuck if group is not None else 0,
            **self._counts,
            **(group.status() if group is not None else {}),
            "draining": len(self._retired),
        }


def _problem(outcome: Outcome) -> str:
    """What is wrong with an outcome that decodes; honest workers have none of it."""
    if len(outcome.value) > 4 * RESULT_SIZE:
        return "a result that is too long"
    if outcome.writes and (outcome.kind != "mutation" or outcome.failure is not None):
        return "writes of a call that cannot write"
    for write in outcome.writes:
        if len(write.id) != 16 or not (write.table >= FIRST_USER_TABLE or write.table == TABLES) or write.previous < 0:
            return "a write to no document of users"
        if write.doc is not None and len(write.doc) > 2 * DOCUMENT_SIZE:
            return "a document that is too long"
    return ""


def _crash(worker: Worker, call: Call) -> FunctionCrashed:
    if worker.error is not None:
        how = f"sent what is not part of the protocol ({worker.error}) and was ended"
    else:
        how = f"ended its process ({describe_exit(worker.status)})"
    return FunctionCrashed(f"{call.path} {how}; it has written nothing")


def _failed(error: FunctionTimeout | FunctionCrashed | Unavailable, call: Call) -> Outcome:
    message = f"[Request ID: {call.request_id}] Server Error\n{error.message}"
    return Outcome(failure=Failure(error.code, message), kind=call.kind or "query")


def _finish(job: Job, outcome: Outcome) -> None:
    if not job.future.done():
        job.future.set_result(outcome)
