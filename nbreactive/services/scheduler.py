"""The scheduler: runs scheduled functions when they are due.

It follows the commits: an index of the jobs by state and time says which one is next, and commits that touch it say when
that has changed, so nothing is asked as long as nothing is due. Jobs that are due are taken in the order of their time,
as many as share commits well; a job of which the end is not known yet is remembered, everything else is read again
after a restart. Old jobs are deleted in small batches.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from heapq import heappop, heappush
from itertools import islice
from typing import TYPE_CHECKING, Final

from nbreactive.engine.catalog import SCHEDULED, all_modules
from nbreactive.engine.scheduled import BY_STATE, PENDING, finished, is_pending
from nbreactive.errors import NBReactiveError
from nbreactive.functions.paths import canonical_path
from nbreactive.functions.specs import FunctionSpec
from nbreactive.services.jobs import Batch, Document, End, Job, Jobs
from nbreactive.services.scheduled_jobs import Functions, ScheduledJobs
from nbreactive.values._paths import with_article
from nbreactive.values.keys import END, encode_key, successor
from nbreactive.values.limits import SCHEDULED_KEPT_SECONDS
from nbreactive.values.packing import unpack

if TYPE_CHECKING:
    from nbreactive.engine.engine import Engine

MUTATIONS: Final = 64
"""Mutations of jobs that are under way at a time, at most: as many as share commits and flushes well."""
_FEWEST: Final = 16
_PROMPT: Final = 0.04
"""Seconds. While jobs take longer from their begin to their end, fewer are under way: what waits in the commits and
flushes of many jobs on a busy machine is also whoever calls."""
ACTIONS: Final = 32
"""Actions of jobs that run at a time."""
_WAITING_ACTIONS: Final = 10_000
_FETCH: Final = 256
_UNTIL_REPAIRED: Final = 1.0
_LONGEST_SLEEP: Final = 30.0
"""Seconds: the clock of the machine may be set, and stands still for timers while the machine sleeps."""
_SWEEP_PAUSE: Final = 60.0
_LONGEST_PAUSE: Final = 3600.0
_NOTHING: Final = b""


class Scheduler:
    """Runs the jobs of one deployment.

    Parameters
    ----------
    engine
        Where they are.
    jobs
        Runs them.
    functions
        Gives the functions that are deployed now, by path; None while that cannot be said.
    kept_seconds
        For how long jobs that have ended are kept.
    """

    def __init__(
        self,
        engine: Engine,
        jobs: Jobs,
        functions: Functions,
        *,
        kept_seconds: float = SCHEDULED_KEPT_SECONDS,
    ) -> None:
        self._engine = engine
        self._jobs = jobs
        self._functions = functions
        self._kept_ms = kept_seconds * 1000
        self.table = ScheduledJobs(engine, jobs.changes, functions)
        """The documents of the jobs."""
        self._reader = engine.reader()
        self._reader.close()
        self._cursor = PENDING
        """Pending jobs with smaller keys are all in ``_known``."""
        self._known: set[bytes] = set()
        self._due: list[bytes] = []
        """A heap of keys."""
        self._running = 0
        self._room = float(_FEWEST)
        self._acting = 0
        self._waiting: deque[bytes] = deque()
        """Actions that are due and have no place yet."""
        self._next = END
        """A commit that touches a smaller key may change what is next."""
        self._timer: asyncio.TimerHandle | None = None
        self._soon: asyncio.Handle | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._stopped = True

    async def start(self) -> None:
        """End what was interrupted, and begin to run what is due."""
        await self.table.end_interrupted()
        self._stopped = False
        self._engine.watch(BY_STATE, self._changed)
        self._engine.watch(all_modules()[0], lambda _: self._wake())
        self._sweeper = self._loop.create_task(self._sweep())
        self._wake()

    async def stop(self) -> None:
        """Begin nothing more; what runs may end."""
        self._stopped = True
        for handle in (self._timer, self._soon):
            if handle is not None:
                handle.cancel()
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        self._reader.close()

    def wake(self) -> None:
        """Look again at what is due: the clock was set."""
        self._wake()

    # ---- what is next --------------------------------------------------------------------------------------

    def _changed(self, keys: Sequence[bytes] | None) -> None:
        if keys is None:  # commits were undone: what was canceled may be pending again
            self._cursor = PENDING
            self._wake()
            return
        for key in keys:
            if not key.startswith(PENDING) or key[-16:] in self._known:
                continue
            if key < self._cursor:
                self._known.add(key[-16:])
                heappush(self._due, key)
            if key < self._next:
                self._wake()

    def _wake(self) -> None:
        if self._soon is None and not self._stopped:
            self._soon = self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Begin what is due and has a place, and see to it that this happens again when something else is."""
        self._soon = None
        functions = self._functions()
        if self._stopped:
            return
        if functions is None:  # what is deployed cannot be imported; it is looked again whether it was repaired
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_later(_UNTIL_REPAIRED, self._wake)
            return
        # Some of those that wait may have been canceled: then nobody's end makes room for the next.
        for _ in range(min(ACTIONS - self._acting, len(self._waiting))):
            heappush(self._due, self._waiting.popleft())
        self._reader.renew()
        now = self._jobs.now()
        bound = PENDING + successor(encode_key(now))
        while self._running < self._room and len(self._waiting) < _WAITING_ACTIONS:
            if not self._due:
                self._fetch(bound)
            if not self._due or self._due[0] >= bound:
                self._set_timer(now)
                break
            self._begin(heappop(self._due), functions)
        else:
            self._next = _NOTHING  # the end of any of those under way is what comes next
        self._reader.close()

    def _fetch(self, bound: bytes) -> None:
        if self._cursor >= bound:
            return
        found = 0
        for key, id in islice(self._reader.scan(BY_STATE, self._cursor, bound, self._engine.applied), _FETCH):
            found += 1
            self._cursor = key + b"\0"
            if id not in self._known:
                self._known.add(id)
                heappush(self._due, key)
        if found < _FETCH:
            self._cursor = bound

    def _set_timer(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        reader, ts = self._reader, self._engine.applied
        key = self._due[0] if self._due else None
        if key is None:
            key, _ = next(iter(reader.scan(BY_STATE, self._cursor, successor(PENDING), ts)), (None, b""))
        self._next = key if key is not None else END
        found = reader.document(SCHEDULED, key[-16:], ts) if key is not None else None
        if found is not None:
            seconds = (unpack(found[0])["scheduledTime"] - now) / 1000
            self._timer = self._loop.call_later(min(max(seconds, 0.0005), _LONGEST_SLEEP), self._wake)

    # ---- running -------------------------------------------------------------------------------------------

    def _begin(self, key: bytes, functions: Mapping[str, FunctionSpec]) -> None:
        id = key[-16:]
        found = self._reader.document(SCHEDULED, id, self._engine.applied)
        document: Document = unpack(found[0]) if found is not None else {}
        if found is None or not is_pending(document):
            self._known.discard(id)
            return
        path = canonical_path(document["name"])
        spec = functions.get(path)
        if spec is None or spec.kind not in ("mutation", "action"):
            what = f"it is {with_article(spec.kind)} now" if spec is not None else "it is not deployed any more"
            error = f"Could not run the scheduled function {path!r}: {what}"
            self._running += 1
            job = Job(SCHEDULED, id, found[1], document, path, "mutation")
            self._loop.call_soon(self._ended, job, key, End("failed", error))
            return
        if spec.kind == "action":
            if self._acting >= ACTIONS:
                self._waiting.append(key)
                return
            self._acting += 1
        else:
            self._running += 1
        job = Job(SCHEDULED, id, found[1], document, path, spec.kind)
        self._jobs.run(job, document["args"][0], partial(self._ended, job, key))

    def _ended(self, job: Job, key: bytes, end: End) -> None:
        if job.kind == "mutation" and end.kind == "success":
            if end.seconds < _PROMPT:
                self._room = min(self._room + 2 / self._room, MUTATIONS)
            else:
                self._room = max(self._room - 0.25, _FEWEST)
        if end.kind == "failed" or (job.kind == "action" and end.kind == "success"):
            self._jobs.spawn(self._write_end(job, end))
            return
        if end.kind == "again":
            self._leave(job)
            if not self._stopped:
                self._loop.call_later(self._jobs.delay(job), self._again, key)
            return
        self._leave(job)
        self._known.discard(job.id)

    async def _write_end(self, job: Job, end: End) -> None:
        """Write how a run has ended, unless the job was canceled meanwhile; however often it takes."""
        state = "inProgress" if job.kind == "action" else "pending"

        def write(batch: Batch) -> None:
            found = batch.find(SCHEDULED, job.id)
            if found is not None and found[0]["state"]["kind"] == state:
                kind = "failed" if end.kind == "failed" else "success"
                error = end.error if kind == "failed" else None
                batch.put(SCHEDULED, job.id, finished(found[0], kind, self._jobs.now(), error))

        while True:
            try:
                await self._jobs.changes.make(write)
                break
            except NBReactiveError:
                if self._stopped:  # at the next start it is found as it is
                    break
                await asyncio.sleep(self._jobs.delay(job))
        self._jobs.forget(job)
        self._leave(job)
        self._known.discard(job.id)

    def _leave(self, job: Job) -> None:
        if job.kind != "action":
            self._running -= 1
        else:
            self._acting -= 1
        self._wake()

    def _again(self, key: bytes) -> None:
        heappush(self._due, key)
        self._wake()

    async def _sweep(self) -> None:
        """Delete what has ended long ago, for as long as this runs."""
        while True:
            pause = _SWEEP_PAUSE
            with contextlib.suppress(NBReactiveError):
                due = await self.table.delete_old(self._kept_ms)
                pause = (due - self._jobs.now()) / 1000 if due is not None else _LONGEST_PAUSE
            await asyncio.sleep(min(max(pause, _SWEEP_PAUSE), _LONGEST_PAUSE))
