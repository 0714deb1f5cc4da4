"""The scheduler: runs scheduled functions when they are due.

It follows the commits: an index of the jobs by state and time says which one is next, and commits that touch it say when
that has changed, so nothing is asked as long as nothing is due. Jobs that are due are taken in the order of their time,
as many as share commits well. Actions that find no place wait aside and keep no mutation waiting; if there are
too many to remember them all, the rest is read again from the index. Which jobs are under way is remembered, everything
else is read again after a restart. Old jobs are deleted in small batches.
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

from nbreactive.engine.catalog import FIRST_DECLARED, SCHEDULED
from nbreactive.engine.scheduled import BY_STATE, PENDING, finished, is_pending
from nbreactive.errors import NBReactiveError
from nbreactive.functions.paths import canonical_path
from nbreactive.functions.specs import FunctionSpec
from nbreactive.services.alarm import Alarm
from nbreactive.services.changes import Batch, Document
from nbreactive.services.jobs import End, Job, Jobs
from nbreactive.services.scheduled_jobs import ScheduledJobs
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
_WAITING: Final = 1000
"""Actions without a place that are remembered."""
_FETCH: Final = 256
_SLICE: Final = 256
"""Jobs that are looked at in one turn of the loop."""
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
    kept_seconds
        For how long jobs that have ended are kept.
    """

    def __init__(self, engine: Engine, jobs: Jobs, *, kept_seconds: float = SCHEDULED_KEPT_SECONDS) -> None:
        self._engine = engine
        self._jobs = jobs
        self._kept_ms = kept_seconds * 1000
        self.table = ScheduledJobs(engine, jobs.changes, jobs.functions)
        """The documents of the jobs."""
        self._reader = engine.reader()
        self._reader.close()
        self._cursor = PENDING
        """Pending jobs with smaller keys are in what follows."""
        self._due: list[bytes] = []
        """A heap of keys; some may be there twice, or not be what is stored any more."""
        self._waiting: deque[bytes] = deque()
        """Keys of actions that have no place yet."""
        self._passed = END
        """From here to the cursor there are actions that have no place and are not remembered."""
        self._under_way: dict[bytes, asyncio.TimerHandle | None] = {}
        """By id: those whose end is not known yet, and those that are to be tried again, with the timer of that."""
        self._running = 0
        self._room = float(_FEWEST)
        self._acting = 0
        self._next = END
        """A commit that touches a smaller key may change what is next."""
        self._alarm = Alarm(self._go_on)
        self._sweeper: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    async def start(self) -> None:
        """End what was interrupted, and begin to run what is due."""
        for id in self.table.interrupted():
            self._jobs.spawn(self._jobs.persist(partial(self.table.interrupt, id)))
        self._engine.watch(BY_STATE, self._changed)
        self._sweeper = self._loop.create_task(self._sweep())
        self._alarm.start()

    async def stop(self) -> None:
        """Begin nothing more; what runs may end."""
        self._alarm.stop()
        for timer in self._under_way.values():
            if timer is not None:
                timer.cancel()
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        self._reader.close()

    def wake(self) -> None:
        """Look again at what is due: the clock was set, or something was deployed."""
        self._alarm.soon()

    # ---- what is next --------------------------------------------------------------------------------------

    def _changed(self, keys: Sequence[bytes] | None) -> None:
        if keys is None:  # commits were undone: what was canceled may be pending again
            self._cursor, self._passed = PENDING, END
            self._due.clear()
            self._waiting.clear()
            self._alarm.soon()
            return
        for key in keys:
            if not key.startswith(PENDING):
                continue
            id = key[-16:]
            if id in self._under_way:
                timer = self._under_way[id]
                if timer is None:
                    continue  # at its end it is looked at again
                timer.cancel()  # somebody wants it to be tried now
                del self._under_way[id]
            if key < self._cursor:
                heappush(self._due, key)
            if key < self._next:
                self._alarm.soon()

    def _go_on(self) -> None:
        """Begin what is due and has a place, and see to it that this happens again when something else is."""
        functions = self._jobs.functions()
        if functions is None:  # whoever knows what is deployed wakes this when that can be said again
            return
        self._reader.renew()
        now = self._jobs.now()
        bound = PENDING + successor(encode_key(now))
        for _ in range(_SLICE):
            if self._acting < ACTIONS and (self._waiting or self._recall()):
                self._begin(self._waiting.popleft(), functions, now)
            elif self._running < self._room and self._find(bound):
                self._begin(heappop(self._due), functions, now)
            else:
                break
        else:
            self._alarm.soon()  # everybody else goes first
        if self._running < self._room:
            self._wait(now)
        else:
            self._next = _NOTHING  # the end of any of those under way is what comes next
        self._reader.close()

    def _find(self, bound: bytes) -> bool:
        """Whether a job is due; it is the first in the heap then."""
        while not self._due and self._cursor < bound:
            found = list(islice(self._reader.scan(BY_STATE, self._cursor, bound, self._engine.applied), _FETCH))
            self._cursor = found[-1][0] + b"\0" if len(found) == _FETCH else bound
            self._due.extend(key for key, id in found if id not in self._under_way)
        return bool(self._due) and self._due[0] < bound

    def _recall(self) -> bool:
        """Remember some of the actions that were passed by; what else is there is looked at once more, too."""
        while not self._waiting and self._passed < self._cursor:
            scan = self._reader.scan(BY_STATE, self._passed, self._cursor, self._engine.applied)
            found = list(islice(scan, _FETCH))
            self._passed = found[-1][0] + b"\0" if len(found) == _FETCH else END
            self._waiting.extend(key for key, id in found if id not in self._under_way)
        return bool(self._waiting)

    def _wait(self, now: float) -> None:
        reader, ts = self._reader, self._engine.applied
        key = self._due[0] if self._due else None
        if key is None:
            key, _ = next(iter(reader.scan(BY_STATE, self._cursor, successor(PENDING), ts)), (None, b""))
        self._next = key if key is not None else END
        found = reader.document(SCHEDULED, key[-16:], ts) if key is not None else None
        self._alarm.after((unpack(found[0])["scheduledTime"] - now) / 1000 if found is not None else None)

    # ---- running -------------------------------------------------------------------------------------------

    def _begin(self, key: bytes, functions: Mapping[str, FunctionSpec], now: float) -> None:
        id = key[-16:]
        if id in self._under_way:
            return
        found = self._reader.document(SCHEDULED, id, self._engine.applied)
        document: Document = unpack(found[0]) if found is not None else {}
        if found is None or not is_pending(document):
            self._jobs.forget(SCHEDULED, id)
            return
        if document["scheduledTime"] > now:  # it was put off
            self._keep(id, document)
            return
        path = canonical_path(document["name"])
        spec = functions.get(path)
        if spec is None or spec.kind not in ("mutation", "action"):
            what = f"it is {with_article(spec.kind)} now" if spec is not None else "it is not deployed any more"
            end = End("failed", f"Could not run the scheduled function {path!r}: {what}")
            self._running += 1
            self._under_way[id] = None
            self._jobs.spawn(self._write_end(Job(SCHEDULED, id, found[1], document, path, "mutation"), end, functions))
            return
        if spec.kind == "action":
            if self._acting >= ACTIONS:
                if self._passed < END or len(self._waiting) >= _WAITING:
                    self._passed = min(self._passed, key)
                else:
                    self._waiting.append(key)
                return
            self._acting += 1
        else:
            self._running += 1
        self._under_way[id] = None
        job = Job(SCHEDULED, id, found[1], document, path, spec.kind)
        self._jobs.run(job, document["args"][0], partial(self._ended, job))

    def _keep(self, id: bytes, document: Document) -> None:
        """Note a pending job as what is stored says."""
        table = self._engine.catalog().number(SCHEDULED)
        assert table is not None
        key = table.indexes[FIRST_DECLARED].key(document, id)
        if key < self._cursor:  # else it is found when its time comes
            heappush(self._due, key)

    def _ended(self, job: Job, end: End) -> None:
        if job.kind == "mutation" and end.kind == "success":
            if end.seconds < _PROMPT:
                self._room = min(self._room + 2 / self._room, MUTATIONS)
            else:
                self._room = max(self._room - 0.25, _FEWEST)
        if end.kind == "failed" or (job.kind == "action" and end.kind == "success"):
            self._jobs.spawn(self._write_end(job, end))
        elif end.kind == "again":
            delay = self._jobs.delay(job)
            self._under_way[job.id] = self._loop.call_later(delay, self._again, job.id) if self._alarm.on else None
            self._leave(job)
        elif end.kind == "over":
            self._look_again(job.id)
            self._leave(job)
        else:
            del self._under_way[job.id]
            self._leave(job)

    async def _write_end(self, job: Job, end: End, functions: Mapping[str, FunctionSpec] | None = None) -> None:
        """Write how a run has ended, unless the job was canceled meanwhile.

        That something is not deployed, as ``functions`` have said, is written only as long as they say so.
        """
        state = "inProgress" if job.kind == "action" else "pending"

        def write(batch: Batch) -> bool:
            found = batch.find(SCHEDULED, job.id)
            if functions is not None and self._jobs.functions() is not functions:
                return False
            if found is not None and found[0]["state"]["kind"] == state:
                kind = "failed" if end.kind == "failed" else "success"
                error = end.error if kind == "failed" else None
                batch.put(SCHEDULED, job.id, finished(found[0], kind, self._jobs.now(), error))
            return True

        if await self._jobs.persist(write) is False:
            self._look_again(job.id)
        else:
            self._jobs.forget(SCHEDULED, job.id)
            del self._under_way[job.id]
        self._leave(job)

    def _again(self, id: bytes) -> None:
        self._look_again(id)
        self._alarm.soon()

    def _look_again(self, id: bytes) -> None:
        """A run has not counted: whoever changed the job meanwhile may want it to be run all the same."""
        del self._under_way[id]
        self._reader.renew()
        found = self._reader.document(SCHEDULED, id, self._engine.applied)
        document: Document | None = unpack(found[0]) if found is not None else None
        if document is not None and is_pending(document):
            self._keep(id, document)
        else:
            self._jobs.forget(SCHEDULED, id)
        self._reader.close()

    def _leave(self, job: Job) -> None:
        if job.kind != "action":
            self._running -= 1
        else:
            self._acting -= 1
        self._alarm.soon()

    async def _sweep(self) -> None:
        """Delete what has ended long ago, for as long as this runs."""
        while True:
            pause = _SWEEP_PAUSE
            with contextlib.suppress(NBReactiveError):
                due = await self.table.delete_old(self._kept_ms)
                pause = (due - self._jobs.now()) / 1000 if due is not None else _LONGEST_PAUSE
            await asyncio.sleep(min(max(pause, _SWEEP_PAUSE), _LONGEST_PAUSE))
