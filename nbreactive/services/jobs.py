"""Running a job to its end: what scheduled functions and cron jobs have in common.

A job is a document that says what is to be run, and in which state it is. A mutation is committed together with the
change of that document to ``success``: so it happens exactly once, whatever dies when. An action cannot be: its
document becomes ``inProgress``, durably, before it begins, and whoever finds one of those at a start knows that it was
interrupted: so it happens at most once. Failures of a function end its job; what is the fault of the system (no room on the
disk, too much to do) does not, and the job is run again later.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from nbreactive.engine.catalog import Catalog
from nbreactive.engine.requests import MutationRequest, Result
from nbreactive.engine.row_index import Reader
from nbreactive.engine.scheduled import finished
from nbreactive.engine.transactions import Failure, LogLine, Outcome, Write
from nbreactive.errors import InvalidValue, NBReactiveError
from nbreactive.functions.specs import Kind
from nbreactive.services.actions import ActionRequest, Report
from nbreactive.values.ids import encode_id
from nbreactive.values.packing import pack, unpack

if TYPE_CHECKING:
    from nbreactive.engine.engine import Engine

INTERRUPTED: Final = "Transient error while executing action"
"""What is said of an action that ran when the backend died."""
_AGAIN: Final = frozenset({"Unavailable", "Overloaded", "ReadOnly"})
"""Failures that are not the function's."""
_FIRST_DELAY: Final = 0.5
_LONGEST_DELAY: Final = 7200.0
_TICK: Final = 2.0**-10
_AT_ONCE: Final = 500
"""Changes in one commit."""

RunAction = Callable[[ActionRequest], Awaitable[Outcome]]
"""Runs an action; everything that happens to it is in the outcome."""

Document = dict[str, Any]


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
    """

    def __init__(self, engine: Engine, run_action: RunAction) -> None:
        self._engine = engine
        self._run_action = run_action
        self._random = Random()
        self._attempts: dict[tuple[int, bytes], int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.changes = Changes(engine)
        """What the backend itself writes into documents of jobs."""
        self.on_run: Callable[[Report], None] | None = None
        """Told of every run that has ended."""

    def now(self) -> float:
        """Return the time in milliseconds since the epoch."""
        return self._engine.clock.now_ns() / 1e6

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
            self._engine.begin(request, partial(self._mutated, job, request_id, time.perf_counter(), ended))
        except NBReactiveError as error:
            loop.call_soon(ended, End("again", error.message))

    def delay(self, job: Job) -> float:
        """Return in how many seconds a job that ended with ``again`` is to be tried again."""
        attempts = self._attempts[job.table, job.id] = self._attempts.get((job.table, job.id), 0) + 1
        return min(_FIRST_DELAY * 2 ** (attempts - 1), _LONGEST_DELAY) * (1 + self._random.random() / 4)

    def spawn(self, work: Any) -> None:
        """Run a coroutine, for which :meth:`close` waits."""
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait for what still has to be written; nothing new may be started."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    # ---- mutations -----------------------------------------------------------------------------------------

    def _completion(self, job: Job) -> Write:
        return Write(job.table, job.id, pack(finished(job.document, "success", self.now())), job.version)

    def _mutated(self, job: Job, request_id: str, began: float, ended: Ended, end: Result | BaseException) -> None:
        seconds = time.perf_counter() - began
        if isinstance(end, Result):
            if end.repeated:
                self.forget(job)
                ended(End("over"))
                return
            self._report(job, request_id, seconds, end.failure, end.logs)
            ended(self._end_of(job, end.failure, end.value, end.logs, seconds))
        elif isinstance(end, InvalidValue):
            failure = Failure(end.code, end.message)
            self._report(job, request_id, seconds, failure, ())
            ended(self._end_of(job, failure, b"null", (), seconds))
        else:
            ended(End("again", str(end)))

    def _end_of(self, job: Job, failure: Failure | None, value: bytes, logs: Sequence[LogLine], seconds: float) -> End:
        if failure is not None and failure.code in _AGAIN and job.kind != "action":
            return End("again", failure.message)
        self.forget(job)
        if failure is not None:
            return End("failed", failure.message or failure.code, b"null", logs, seconds)
        return End("success", "", value, logs, seconds)

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
            self.forget(job)
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

    def forget(self, job: Job) -> None:
        """Forget how often a job was tried: it has ended."""
        if self._attempts:
            self._attempts.pop((job.table, job.id), None)

    def _report(
        self, job: Job, request_id: str, seconds: float, failure: Failure | None, logs: Sequence[LogLine]
    ) -> None:
        if self.on_run is not None:
            self.on_run(Report(request_id, job.path, job.kind, seconds, failure, logs))


class Batch:
    """Several changes that are committed together; each sees those before it."""

    def __init__(self, engine: Engine, reader: Reader, ts: int) -> None:
        self._engine = engine
        self._reader = reader
        self._ts = ts
        self._now = max(engine.clock.now_ns(), ts) / 1e6
        self._made = 0
        self._written: dict[tuple[int, bytes], tuple[Document | None, int]] = {}

    def find(self, table: int, id: bytes) -> tuple[Document, int] | None:
        """Return a document and its version."""
        if (table, id) in self._written:
            document, version = self._written[table, id]
            return (document, version) if document is not None else None
        found = self._reader.document(table, id, self._ts)
        return (unpack(found[0]), found[1]) if found is not None else None

    def scan(self, index: int, low: bytes, high: bytes) -> list[bytes]:
        """Return the ids of the documents in a range of an index; what this batch has changed is not considered."""
        return [id for _, id in self._reader.scan(index, low, high, self._ts)]

    def put(self, table: int, id: bytes, document: Document | None) -> None:
        """Write a document; None deletes it."""
        found = self.find(table, id)
        self._written[table, id] = document, found[1] if found is not None else 0

    def created(self) -> float:
        """Return the creation time of the next new document."""
        self._made += 1
        return self._now + self._made * _TICK

    def new_id(self) -> bytes:
        """Return the internal id of the next new document."""
        return self._engine.new_internal()

    def writes(self) -> list[Write]:
        """Return everything that is to be written."""
        return [
            Write(table, id, pack(document) if document is not None else None, version)
            for (table, id), (document, version) in self._written.items()
            if document is not None or version
        ]


class Changes:
    """Writes of the backend's own: whatever is asked for while a commit is under way shares the next one."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._queue: deque[tuple[Callable[[Batch], Any], asyncio.Future[Any]]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def make(self, change: Callable[[Batch], Any]) -> Any:
        """Commit a change; returns what it returned, once it is durable."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._queue.append((change, future))
        if self._task is None:
            self._task = loop.create_task(self._commit())
        return await future

    async def _commit(self) -> None:
        try:
            while self._queue:
                some = [self._queue.popleft() for _ in range(min(len(self._queue), _AT_ONCE))]
                answers: list[Any] = []

                def write(
                    reader: Reader, _catalog: Catalog, ts: int, some: Any = some, answers: Any = answers
                ) -> list[Write]:
                    answers.clear()
                    batch = Batch(self._engine, reader, ts)
                    answers.extend(change(batch) for change, _ in some)
                    return batch.writes()

                try:
                    await self._engine.transact(write)
                except Exception as error:  # noqa: BLE001 - told to everybody whose change it was
                    for _, future in some:
                        if not future.done():
                            future.set_exception(error)
                else:
                    for (_, future), answer in zip(some, answers, strict=True):
                        if not future.done():
                            future.set_result(answer)
        finally:
            self._task = None
            for _, future in self._queue:
                future.cancel()
