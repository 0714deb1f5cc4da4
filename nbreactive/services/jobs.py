"""Running a job to its end: what scheduled functions and cron jobs have in common.

A job is a document that says what is to be run, and in which state it is. A mutation is committed together with the
change of that document to ``success``: so it happens exactly once, whatever dies when. An action cannot be: its
document becomes ``inProgress``, durably, before it begins, and whoever finds one of those at a start knows that it was
interrupted: so it happens at most once. Failures of a function end its job; what is the fault of the system (no room on the
disk, too much to do) does not, and the job is run again later; nor does what a mutation failed of while the code was
changed below it. A mutation whose process crashed has written nothing, so it is tried a few times.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from nbreactive.engine.requests import MutationRequest, Result
from nbreactive.engine.scheduled import finished
from nbreactive.engine.transactions import Failure, LogLine, Outcome, Write
from nbreactive.errors import InvalidValue, NBReactiveError
from nbreactive.functions.specs import FunctionSpec, Kind
from nbreactive.services.actions import ActionRequest, Report
from nbreactive.services.changes import Batch, Changes, Document
from nbreactive.values.ids import encode_id
from nbreactive.values.packing import pack

if TYPE_CHECKING:
    from nbreactive.engine.engine import Engine

INTERRUPTED: Final = "Transient error while executing action"
"""What is said of an action that ran when the backend died."""
_AGAIN: Final = frozenset({"Unavailable", "Overloaded", "ReadOnly"})
"""Failures that are not the function's."""
_CRASHES: Final = 4
"""Runs of a mutation that may cost their process, until its job has failed."""
_FIRST_DELAY: Final = 0.5
_LONGEST_DELAY: Final = 30.0

RunAction = Callable[[ActionRequest], Awaitable[Outcome]]
"""Runs an action; everything that happens to it is in the outcome."""

Functions = Callable[[], Mapping[str, FunctionSpec] | None]
"""Gives the functions that are deployed now, by path: the same object for as long as the code is the same; None while
that cannot be said."""


class Job(NamedTuple):
    """A job that is due."""

    table: int
    id: bytes
    version: int
    """The version of its document."""
    document: Document
    path: str
    kind: Kind

    @property
    def name(self) -> str:
        """The id of its document, as people see it."""
        return str(encode_id(self.table, self.id))  # plain text, which travels to workers


class End(NamedTuple):
    """How a run has ended.

    ``over``: the job was done or canceled before this run could count. ``again``: the system failed.
    """

    kind: Literal["success", "failed", "over", "again"]
    error: str = ""
    value: bytes = b"null"
    logs: Sequence[LogLine] = ()
    seconds: float = 0.0


Ended = Callable[[End], None]


class Jobs:
    """Runs jobs.

    Parameters
    ----------
    engine
        Where they are, and what runs mutations.
    run_action
        Runs actions.
    functions
        What is deployed.
    """

    def __init__(self, engine: Engine, run_action: RunAction, functions: Functions) -> None:
        self._engine = engine
        self._run_action = run_action
        self._random = Random()
        self.functions = functions
        self._attempts: dict[tuple[int, bytes], int] = {}
        self._crashes: dict[tuple[int, bytes], int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()
        self.changes = Changes(engine)
        """What the backend itself writes into documents of jobs."""
        self.on_run: Callable[[Report], None] | None = None
        """Told of every run that has ended."""

    def now(self) -> float:
        """Return the time in milliseconds since the epoch."""
        return self._engine.clock.now_ns() / 1_000_000  # 1e6 would round twice, and whole milliseconds not be whole

    def run(self, job: Job, args: dict[str, Any], ended: Ended) -> None:
        """Run a pending job; ``ended`` is told, never from within this call, how that went."""
        request_id = f"{self._random.getrandbits(64):016x}"
        loop = asyncio.get_running_loop()
        if job.kind == "action":
            self.spawn(self._act(job, args, request_id, ended))
            return
        request = MutationRequest(
            job.path,
            pack(args),
            reach="internal",
            request_id=request_id,
            job=job.name,
            completes=partial(self._completion, job),
        )
        try:
            told = partial(self._mutated, job, request_id, time.perf_counter(), self.functions(), ended)
            self._engine.begin(request, told)
        except NBReactiveError as error:
            loop.call_soon(ended, End("again", error.message))

    def delay(self, job: Job) -> float:
        """Return in how many seconds a job that ended with ``again`` is to be tried again."""
        attempts = self._attempts[job.table, job.id] = self._attempts.get((job.table, job.id), 0) + 1
        return self._pause(attempts)

    def _pause(self, attempts: int) -> float:
        return min(_FIRST_DELAY * 2 ** min(attempts - 1, 10), _LONGEST_DELAY) * (1 + self._random.random() / 4)

    async def persist(self, change: Callable[[Batch], Any]) -> Any:
        """Commit what has to be noted, however often it takes, and return what the change returned.

        :meth:`close` ends that: what is not written by then is found as it is at the next start (and None returned).
        """
        attempts = 0
        while True:
            try:
                return await self.changes.make(change)
            except NBReactiveError:
                if self._closing.is_set():
                    return None
            attempts += 1
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), self._pause(attempts))

    def spawn(self, work: Any) -> None:
        """Run a coroutine, for which :meth:`close` waits."""
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait for what still has to be written; nothing new may be started."""
        self._closing.set()
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    # ---- mutations -----------------------------------------------------------------------------------------

    def _completion(self, job: Job) -> Write:
        return Write(job.table, job.id, pack(finished(job.document, "success", self.now())), job.version)

    def _mutated(
        self,
        job: Job,
        request_id: str,
        began: float,
        functions: Mapping[str, FunctionSpec] | None,
        ended: Ended,
        end: Result | BaseException,
    ) -> None:
        seconds = time.perf_counter() - began
        if isinstance(end, Result):
            if end.repeated:
                self.forget(job.table, job.id)
                ended(End("over"))
                return
            self._report(job, request_id, seconds, end.failure, end.logs)
            if end.failure is not None and self.functions() is not functions:
                ended(End("again", end.failure.message))  # a deploy came between, or came and was undone
            else:
                ended(self._end_of(job, end.failure, end.value, end.logs, seconds))
        elif isinstance(end, InvalidValue):
            failure = Failure(end.code, end.message)
            self._report(job, request_id, seconds, failure, ())
            ended(self._end_of(job, failure, b"null", (), seconds))
        else:
            ended(End("again", str(end)))

    def _end_of(self, job: Job, failure: Failure | None, value: bytes, logs: Sequence[LogLine], seconds: float) -> End:
        if failure is not None and job.kind != "action" and self._is_transient(job, failure):
            return End("again", failure.message)
        self.forget(job.table, job.id)
        if failure is not None:
            return End("failed", failure.message or failure.code, b"null", logs, seconds)
        return End("success", "", value, logs, seconds)

    def _is_transient(self, job: Job, failure: Failure) -> bool:
        if failure.code != "FunctionCrashed":
            return failure.code in _AGAIN
        crashes = self._crashes[job.table, job.id] = self._crashes.get((job.table, job.id), 0) + 1
        return crashes < _CRASHES

    # ---- actions -------------------------------------------------------------------------------------------

    async def _act(self, job: Job, args: dict[str, Any], request_id: str, ended: Ended) -> None:
        def begin(batch: Batch) -> bool:
            found = batch.find(job.table, job.id)
            if found is None or found[1] != job.version:
                return False
            batch.put(job.table, job.id, job.document | {"state": {"kind": "inProgress"}})
            return True

        try:
            begun = await self.changes.make(begin)
        except NBReactiveError as error:
            ended(End("again", error.message))
            return
        if not begun:
            self.forget(job.table, job.id)
            ended(End("over"))
            return
        began = time.perf_counter()
        try:
            outcome = await self._run_action(
                ActionRequest(job.path, pack(args), reach="internal", request_id=request_id, job=job.name)
            )
        except NBReactiveError as error:
            outcome = Outcome(failure=Failure(error.code, error.message))
        seconds = time.perf_counter() - began
        self._report(job, request_id, seconds, outcome.failure, outcome.logs)
        ended(self._end_of(job, outcome.failure, outcome.value, outcome.logs, seconds))

    def forget(self, table: int, id: bytes) -> None:
        """Forget how often a job was tried: it has ended."""
        if self._attempts:
            self._attempts.pop((table, id), None)
            self._crashes.pop((table, id), None)

    def _report(
        self, job: Job, request_id: str, seconds: float, failure: Failure | None, logs: Sequence[LogLine]
    ) -> None:
        if self.on_run is not None:
            self.on_run(Report(request_id, job.path, job.kind, seconds, failure, logs))
