"""The documents of scheduled functions, as the backend itself reads and writes them.

For actions, which schedule and cancel in commits of their own; for people, who look at jobs, cancel them and hurry them
up; and for the scheduler, which ends what was interrupted and deletes what has ended long ago.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from nbreactive.engine.catalog import SCHEDULED, count_key
from nbreactive.engine.scheduled import BY_COMPLETED, BY_STATE, IN_PROGRESS, PENDING, finished, is_pending, job_document
from nbreactive.errors import FunctionNotFound, InvalidId, NotAllowed
from nbreactive.functions.paths import canonical_path
from nbreactive.services.changes import Batch, Changes, Document
from nbreactive.services.jobs import INTERRUPTED, Functions
from nbreactive.values._paths import with_article
from nbreactive.values.ids import decode_id, encode_id
from nbreactive.values.keys import END, encode_key, successor
from nbreactive.values.limits import SCHEDULED_ARGS, SCHEDULED_OUTSTANDING, exceed
from nbreactive.values.packing import unpack

if TYPE_CHECKING:
    from nbreactive.engine.engine import Engine

_SOME: Final = 500
"""Jobs that are read, or deleted, at a time."""


class ScheduledJobs:
    """Scheduled functions of one deployment.

    Parameters
    ----------
    engine
        Where they are.
    changes
        Commits what is written here.
    functions
        What can be scheduled.
    """

    def __init__(self, engine: Engine, changes: Changes, functions: Functions) -> None:
        self._engine = engine
        self._changes = changes
        self._functions = functions

    # ---- what actions and people ask for -------------------------------------------------------------------

    async def schedule(self, path: str, args: bytes, when: float, parent: str | None = None) -> str:
        """Schedule a function for ``when`` (ms), in a commit of its own; returns the id of the job.

        Parameters
        ----------
        path
            Its name.
        args
            Packed.
        when
            Milliseconds since the epoch.
        parent
            The job that asks, if it is one: when it was canceled, what it schedules is so from the start.
        """
        name = canonical_path(path)
        functions = self._functions()
        if functions is not None:  # else a deploy is on its way: the scheduler looks when it is in
            spec = functions.get(name)
            if spec is None:
                what = f"Could not find function {name[:200]!r} to schedule. Did you forget to deploy it?"
                raise FunctionNotFound(what)
            if spec.kind not in ("mutation", "action"):
                raise NotAllowed(f"{name} is {with_article(spec.kind)}; mutations and actions can be scheduled")
        if len(args) > SCHEDULED_ARGS:
            fix = "store them as documents, and pass their ids"
            exceed("bytes of arguments of a scheduled function", len(args), SCHEDULED_ARGS, fix)
        self._check_outstanding()
        given, id, by = unpack(args), self._engine.new_internal(), _job_of(parent)

        def add(batch: Batch) -> None:
            found = batch.find(SCHEDULED, by) if by is not None else None
            canceled = found is not None and found[0]["state"]["kind"] == "canceled"
            batch.put(SCHEDULED, id, job_document(name, given, when, batch.created(), canceled=canceled))

        await self._changes.make(add)
        return str(encode_id(SCHEDULED, id))

    async def cancel(self, id: str) -> bool:
        """Cancel a job that has not ended; returns whether there was one."""
        return await self._changes.make(partial(self._cancel, _internal(id)))

    async def cancel_all(self, path: str | None = None) -> int:
        """Cancel all pending jobs, or those of one function; returns how many."""
        canceled, low = 0, PENDING
        while True:
            keys = self._keys(BY_STATE, low, successor(PENDING), _SOME)
            wanted = [key[-16:] for key in keys if path is None or self._name(key[-16:]) == path]
            canceled += sum(await asyncio.gather(*(self._changes.make(partial(self._cancel, id)) for id in wanted)))
            if len(keys) < _SOME:
                return canceled
            low = keys[-1] + b"\0"

    async def run_now(self, id: str) -> bool:
        """Make a pending job due now; returns whether there is one."""
        internal = _internal(id)

        def hurry(batch: Batch) -> bool:
            found = batch.find(SCHEDULED, internal)
            if found is None or not is_pending(found[0]):
                return False
            batch.put(SCHEDULED, internal, found[0] | {"scheduledTime": min(found[0]["scheduledTime"], self._now())})
            return True

        return await self._changes.make(hurry)

    def listing(self, kind: str | None = None, limit: int = 100) -> list[Document]:
        """Return jobs without their arguments, those of one state in the order of their time."""
        low = encode_key(kind) if kind is not None else b""
        keys = self._keys(BY_STATE, low, successor(low) if low else END, limit)
        found = ((key[-16:], self._document(key[-16:])) for key in keys)
        return [
            {"_id": str(encode_id(SCHEDULED, id)), **{name: value for name, value in job[0].items() if name != "args"}}
            for id, job in found
            if job is not None
        ]

    def _cancel(self, id: bytes, batch: Batch) -> bool:
        found = batch.find(SCHEDULED, id)
        if found is None or found[0]["state"]["kind"] not in ("pending", "inProgress"):
            return False
        batch.put(SCHEDULED, id, finished(found[0], "canceled", self._now()))
        return True

    # ---- the past ------------------------------------------------------------------------------------------

    def interrupted(self) -> list[bytes]:
        """Return the jobs (internal ids) whose actions were under way when the backend died, before any is begun."""
        return [key[-16:] for key in self._keys(BY_STATE, IN_PROGRESS, successor(IN_PROGRESS), None)]

    def interrupt(self, id: bytes, batch: Batch) -> None:
        """Say of one of them that it has failed."""
        found = batch.find(SCHEDULED, id)
        if found is not None and found[0]["state"]["kind"] == "inProgress":
            batch.put(SCHEDULED, id, finished(found[0], "failed", self._now(), INTERRUPTED))

    async def delete_old(self, kept_ms: float) -> float | None:
        """Delete jobs that ended so long ago, in small batches; returns when (ms) the next one is to be deleted."""
        low, high = encode_key(0.0), successor(encode_key(self._now() - kept_ms))
        while keys := self._keys(BY_COMPLETED, low, high, _SOME):

            def delete(batch: Batch, keys: Iterable[bytes] = keys) -> None:
                for key in keys:
                    batch.put(SCHEDULED, key[-16:], None)

            await self._changes.make(delete)
            low = keys[-1] + b"\0"
            await asyncio.sleep(0)
        first = next(iter(self._keys(BY_COMPLETED, high, encode_key(float("inf")), 1)), None)
        job = self._document(first[-16:]) if first is not None else None
        return job[0]["completedTime"] + kept_ms if job is not None else None

    def _now(self) -> float:
        return self._engine.clock.now_ns() / 1_000_000

    # ---- reading -------------------------------------------------------------------------------------------

    def _check_outstanding(self) -> None:
        # Like that of mutations: those that schedule at the same time do not see each other.
        reader = self._engine.reader()
        try:
            pending = reader.count(count_key(BY_STATE, PENDING), self._engine.applied)
        finally:
            reader.close()
        if pending >= SCHEDULED_OUTSTANDING:
            fix = "schedule the next ones when these have run"
            exceed("scheduled functions that have not run yet", pending + 1, SCHEDULED_OUTSTANDING, fix)

    def _keys(self, index: int, low: bytes, high: bytes, count: int | None) -> list[bytes]:
        reader = self._engine.reader()
        try:
            return [key for key, _ in islice(reader.scan(index, low, high, self._engine.applied), count)]
        finally:
            reader.close()

    def _document(self, id: bytes) -> tuple[Document, int] | None:
        reader = self._engine.reader()
        try:
            found = reader.document(SCHEDULED, id, self._engine.applied)
            return (unpack(found[0]), found[1]) if found is not None else None
        finally:
            reader.close()

    def _name(self, id: bytes) -> Any:
        found = self._document(id)
        return found[0]["name"] if found is not None else None


def _job_of(id: str | None) -> bytes | None:
    """Return the job that asks, if it is one: the run of a cron job is none."""
    try:
        return _internal(id) if id else None
    except InvalidId:
        return None


def _internal(id: str) -> bytes:
    number, internal = decode_id(id)
    if number != SCHEDULED:
        raise InvalidId(f"{id!r:.80} is not the id of a scheduled function")
    return internal
