"""Cron jobs: functions that run again and again.

Each is a document that says when it runs next. It runs once at a time: when a run has ended, the time of the next one is
computed, and what should have happened in between is skipped, not made up for; so is what should have happened while
the backend was down. Whatever is skipped is logged, and the last results are kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from nbreactive.engine.catalog import CREATION_TIME, CRON_LOGS, CRONS
from nbreactive.engine.scheduled import shortened
from nbreactive.errors import FunctionNotFound, Unavailable
from nbreactive.functions.paths import canonical_path
from nbreactive.functions.specs import FunctionSpec
from nbreactive.services.alarm import Alarm
from nbreactive.services.changes import Batch
from nbreactive.services.cron_documents import BY_NAME, LOGS_BY_NAME, Document, read_crons
from nbreactive.services.cron_times import next_after
from nbreactive.services.jobs import INTERRUPTED, End, Job, Jobs
from nbreactive.values.keys import encode_key, successor
from nbreactive.values.limits import CRON_LOGS as KEPT

if TYPE_CHECKING:
    from nbreactive.engine.engine import Engine


class Tell(Protocol):
    """Writes an event into the log of the backend."""

    def __call__(self, name: str, level: str = "info", **fields: Any) -> None:
        """Write one line."""
        ...


class _Cron(NamedTuple):
    id: bytes
    version: int
    document: Document


class Crons:
    """Runs the cron jobs of one deployment.

    Parameters
    ----------
    engine
        Where they are.
    jobs
        Runs them.
    """

    def __init__(self, engine: Engine, jobs: Jobs) -> None:
        self._engine = engine
        self._jobs = jobs
        self._running: set[bytes] = set()
        self._alarm = Alarm(self._begin_due)
        self._loop = asyncio.get_running_loop()
        self.on_event: Tell | None = None
        """Told of occurrences that are skipped."""

    async def start(self) -> None:
        """Skip what should have happened while the backend was down, and begin to run what is due."""
        now = self._jobs.now()
        for cron in self._all():
            kind = cron.document["state"]["kind"]
            if kind != "pending":  # it had ended, or was interrupted, and nobody was there to go on
                end = End("success") if kind == "success" else End("failed", INTERRUPTED)
                self._note(cron.id, partial(self._go_on_with, cron.id, end, cron.document["nextRun"]))
            elif cron.document["nextRun"] < now:
                self._note(cron.id, partial(self._skip, cron.id, now))
        self._engine.watch(BY_NAME, lambda _: self.wake())
        self._alarm.start()

    async def stop(self) -> None:
        """Begin nothing more; what runs may end."""
        self._alarm.stop()

    def wake(self) -> None:
        """Look again at what is due: something was deployed."""
        self._alarm.soon()

    # ---- what people ask for -------------------------------------------------------------------------------

    def listing(self) -> list[Document]:
        """Return all cron jobs with their last results, by name."""
        reader, ts = self._engine.reader(), self._engine.applied
        try:
            batch = Batch(self._engine, reader, ts)
            return sorted(
                (
                    {**{k: v for k, v in cron.document.items() if not k.startswith("_")}, "logs": logs}
                    for cron in self._all()
                    for logs in [[log for _, log in _logs(batch, cron.document["name"])]]
                ),
                key=lambda cron: cron["name"],
            )
        finally:
            reader.close()

    async def run_now(self, name: str) -> None:
        """Run a cron job now, once, besides its times.

        Raises
        ------
        FunctionNotFound
            There is no such job.
        Unavailable
            It runs already.
        """
        cron = next((cron for cron in self._all() if cron.document["name"] == name), None)
        if cron is None:
            known = ", ".join(cron.document["name"] for cron in self._all()) or "none"
            raise FunctionNotFound(f"there is no cron job {name[:200]!r}; the cron jobs are: {known}")
        if cron.id in self._running:
            raise Unavailable(f"the cron job {name!r} is running; wait for its end")

        def hurry(batch: Batch) -> None:
            found = batch.find(CRONS, cron.id)
            if found is not None and found[0]["state"]["kind"] == "pending":
                document = found[0] | {"nextRun": min(found[0]["nextRun"], self._jobs.now())}
                batch.put(CRONS, cron.id, document | {"besides": found[0].get("besides", found[0]["nextRun"])})

        await self._jobs.changes.make(hurry)

    # ---- running -------------------------------------------------------------------------------------------

    def _all(self) -> list[_Cron]:
        reader = self._engine.reader()
        try:
            return [_Cron(*found) for found in read_crons(reader, self._engine.applied)]
        finally:
            reader.close()

    def _begin_due(self) -> None:
        functions = self._jobs.functions()
        if functions is None:  # whoever knows what is deployed wakes this when that can be said again
            return
        now, following = self._jobs.now(), float("inf")
        for cron in self._all():
            if cron.id in self._running or cron.document["state"]["kind"] != "pending":
                continue
            if cron.document["nextRun"] <= now:
                self._begin(cron, functions)
            else:
                following = min(following, cron.document["nextRun"])
        self._alarm.after((following - now) / 1000 if following < float("inf") else None)

    def _begin(self, cron: _Cron, functions: Mapping[str, FunctionSpec]) -> None:
        path = canonical_path(cron.document["function"])
        spec = functions.get(path)
        if spec is None:
            return  # a deploy is about to remove it
        self._running.add(cron.id)
        job = Job(CRONS, cron.id, cron.version, cron.document, path, spec.kind)
        self._jobs.run(job, cron.document["args"][0], partial(self._ended, job))

    def _ended(self, job: Job, end: End) -> None:
        if end.kind == "again":
            if self._alarm.on:
                self._loop.call_later(self._jobs.delay(job), self._leave, job.id)
        elif end.kind == "over":  # changed or removed while it ran, which has not happened
            self._leave(job.id)
        else:
            self._note(job.id, partial(self._go_on_with, job.id, end, job.document["nextRun"]))

    def _note(self, id: bytes, change: Callable[[Batch], None]) -> None:
        """Write how a run has ended and when the next one is, before which it does not begin."""
        self._running.add(id)
        self._jobs.spawn(self._noted(id, change))

    async def _noted(self, id: bytes, change: Callable[[Batch], None]) -> None:
        await self._jobs.persist(change)
        self._jobs.forget(CRONS, id)
        self._leave(id)

    def _leave(self, id: bytes) -> None:
        self._running.discard(id)
        self._alarm.soon()

    # ---- writing -------------------------------------------------------------------------------------------

    def _go_on_with(self, id: bytes, end: End, ran: float, batch: Batch) -> None:
        found = batch.find(CRONS, id)
        if found is None:  # a deploy has removed it
            return
        now, document = self._jobs.now(), found[0]
        status: Document = {"kind": end.kind}
        if end.kind == "failed":
            status["error"] = shortened(end.error)
        else:
            status["result"] = shortened(end.value.decode("utf-8", "replace"))
        lines = [shortened(f"[{line.level}] {line.text}") for line in end.logs[: KEPT * 2]]
        entry = {"status": status, "logLines": lines, "executionTime": end.seconds}
        _add_log(batch, document, ran, entry)
        planned = document["nextRun"]
        at, skipped = planned, 0
        if planned == ran:  # else a deploy has given it another time
            since = document.get("besides", ran)
            at, skipped = (since, 0) if since > now else self._following(document, since, now)
        self._skipped(batch, document, ran, skipped)
        kept = {name: value for name, value in document.items() if name not in ("completedTime", "besides")}
        batch.put(CRONS, id, kept | {"state": {"kind": "pending"}, "nextRun": float(at), "lastRun": ran})

    def _skip(self, id: bytes, now: float, batch: Batch) -> None:
        found = batch.find(CRONS, id)
        if found is None or found[0]["nextRun"] >= now:
            return
        document = found[0]
        at, skipped = self._following(document, document["nextRun"], now)
        self._skipped(batch, document, document["nextRun"], skipped + 1)
        batch.put(CRONS, id, document | {"nextRun": float(at)})

    def _following(self, document: Document, since: float, now: float) -> tuple[int, int]:
        return next_after(document["name"], document["schedule"], int(since), int(now))

    def _skipped(self, batch: Batch, document: Document, at: float, many: int) -> None:
        if not many:
            return
        text = f"Skipping {many} run(s) of {document['name']} because multiple scheduled runs are in the past"
        entry = {"status": {"kind": "canceled", "skipped": float(many)}, "logLines": [text], "executionTime": 0.0}
        _add_log(batch, document, at, entry)
        if self.on_event is not None:
            self.on_event(text, "warning", cron=document["name"], skipped=many)


def _add_log(batch: Batch, document: Document, at: float, entry: Document) -> None:
    """Add a result, and delete the oldest ones."""
    kept = _logs(batch, document["name"])
    facts = {"name": document["name"], "ts": at, "function": document["function"], "args": document["args"]}
    log = {**facts, **entry, CREATION_TIME: batch.created()}
    batch.put(CRON_LOGS, batch.new_id(), log)
    for id, _ in kept[: max(len(kept) + 1 - KEPT, 0)]:
        batch.put(CRON_LOGS, id, None)


def _logs(batch: Batch, name: str) -> Sequence[tuple[bytes, Document]]:
    low = encode_key(name)
    found = ((id, batch.find(CRON_LOGS, id)) for id in batch.scan(LOGS_BY_NAME, low, successor(low)))
    return [(id, log[0]) for id, log in found if log is not None]
