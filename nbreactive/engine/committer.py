"""The committer: what decides which transactions have happened, and in which order.

Transactions queue up and are taken once per turn of the event loop, or a few milliseconds later where many more are
about to come: what is taken together shares one LMDB transaction and one flush. Each is validated - has anything that
it read been touched after its snapshot? is every document at the version it replaces? - then gets the next timestamp
and goes into the row index, the change list and the queue of the flusher. Nothing here waits: from validation to the
new applied timestamp no other code runs, so the order of commits is the order of timestamps.

What is applied is not yet durable: the flusher writes it to the log, and the gate holds back whatever came of it.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from nbreactive.engine.applied import AppliedState, Turn
from nbreactive.engine.bulk import Bulk
from nbreactive.engine.catalog import TABLES, Catalog
from nbreactive.engine.changes import Keys
from nbreactive.engine.entries import By, Request
from nbreactive.engine.gate import Gate, Snapshot
from nbreactive.engine.prepare import StaleVersion
from nbreactive.engine.row_index import Reader
from nbreactive.engine.telling import tell
from nbreactive.engine.transactions import NewFile, Reads, Write
from nbreactive.errors import Conflict, Unavailable
from nbreactive.functions.specs import Visibility

HotKey = tuple[int, bytes]
"""Index id and key that transactions lose on."""


class Recorded(NamedTuple):
    """Writes of the backend itself, and the record by which it will know that it has done them."""

    writes: Sequence[Write] | Bulk
    request: Request | None
    by: By | None = None
    """Where they come from, if it is not the backend alone."""


Transact = Callable[[Reader, Catalog, int], Sequence[Write] | Recorded]
"""A transaction of the backend itself: looks at the newest state and says what to write."""


class Lose(Conflict):
    """The transaction cannot commit as it is; ``hot`` is what it lost on, where that is known."""

    def __init__(self, hot: HotKey | None = None) -> None:
        super().__init__("what the transaction has read was changed meanwhile; run it again")
        self.hot = hot


class Commit(NamedTuple):
    """A finished execution that wants to be committed."""

    snapshot: Snapshot
    reads: Reads
    writes: Sequence[Write]
    request: Request | None = None
    reach: Visibility = "public"
    slot: object | None = None
    """The exclusive slot that it runs in, if it does."""
    patience: float = 0.0
    """Seconds that it may wait for others to be taken together with it."""
    own: Write | None = None
    """A write of the backend's, besides those of the function."""
    files: Sequence[NewFile] = ()
    """Files that it stores; their content is kept."""
    by: By | None = None
    """Where it comes from."""


Told = Callable[[Snapshot | Exception], None]
"""Told the state that a commit has made, once it is applied, or why it was not."""


class _Queued(NamedTuple):
    work: Commit | Transact
    told: Told


class Committer:
    """Takes transactions one after the other.

    Parameters
    ----------
    state
        What commits are added to.
    gate
        Knows which snapshots are lost.
    on_applied
        Called with timestamp and touched keys of each commit, as soon as the row index has it.
    on_pending
        Called when there is something to flush.
    """

    def __init__(
        self,
        state: AppliedState,
        gate: Gate,
        *,
        on_applied: Callable[[int, Keys], None],
        on_pending: Callable[[], None],
    ) -> None:
        self.state = state
        self._gate = gate
        self._on_applied = on_applied
        self._on_pending = on_pending
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Queued] = deque()
        self._parked: deque[_Queued] = deque()
        self._waiting: set[asyncio.Future[Snapshot]] = set()
        self._scheduled: asyncio.Handle | None = None
        self._due = math.inf
        self._exclusive = asyncio.Lock()
        self._slot: object | None = None
        self._closed = False

    @property
    def busy(self) -> bool:
        """Whether transactions wait to be committed."""
        return bool(self._queue or self._parked)

    @property
    def waiting(self) -> int:
        """How many wait to be committed."""
        return len(self._queue)

    async def commit(self, commit: Commit) -> Snapshot:
        """Commit an execution; return the state that it made, once it is applied.

        Raises
        ------
        Lose
            It must be run again.
        """
        return await self._wait(commit, commit.patience)

    def submit(self, commit: Commit, told: Told) -> None:
        """Do what :meth:`commit` does, for callers who do not want to wait in a task."""
        self._enqueue(commit, told, commit.patience)

    async def transact(self, function: Transact) -> Snapshot:
        """Run ``function`` between two commits and commit what it returns; its errors are raised here."""
        return await self._wait(function, 0.0)

    @asynccontextmanager
    async def exclusive(self) -> AsyncGenerator[object]:
        """While inside, only commits that carry the slot go through; the others wait."""
        async with self._exclusive:
            self._slot = object()
            try:
                yield self._slot
            finally:
                self._slot = None
                self._queue.extendleft(reversed(self._parked))
                self._parked.clear()
                self._schedule()

    def validate(self, commit: Commit) -> None:
        """Raise :class:`Lose` if anything that the execution has read is not as it was."""
        changes = self.state.changes
        if self._gate.lost(commit.snapshot) or commit.snapshot.ts < changes.start:
            raise Lose
        touch = changes.first_touch(commit.reads, commit.snapshot.ts)
        if touch is not None:
            raise Lose((touch.index_id, touch.key))

    def close(self) -> None:
        """Let go of whatever still waits, and commit nothing more."""
        self._closed = True
        if self._scheduled is not None:
            self._scheduled.cancel()
        for waiting in self._waiting:
            waiting.cancel()
        for queued in (*self._queue, *self._parked):
            tell(queued.told, _closing())
        self._queue.clear()
        self._parked.clear()

    async def _wait(self, work: Commit | Transact, patience: float) -> Snapshot:
        future: asyncio.Future[Snapshot] = self._loop.create_future()

        def told(end: Snapshot | Exception) -> None:
            if future.done():  # whoever waited may be gone
                return
            if isinstance(end, Snapshot):
                future.set_result(end)
            else:
                future.set_exception(end)

        self._waiting.add(future)
        future.add_done_callback(self._waiting.discard)
        self._enqueue(work, told, patience)
        return await future

    def _enqueue(self, work: Commit | Transact, told: Told, patience: float) -> None:
        if self._closed:
            self._loop.call_soon(tell, told, _closing())
            return
        self._queue.append(_Queued(work, told))
        self._schedule(patience)

    def _schedule(self, patience: float = 0.0) -> None:
        loop = self._loop
        due = loop.time() + patience if patience else 0.0
        if self._queue and due < self._due:
            self._due = due
            if self._scheduled is not None:
                self._scheduled.cancel()
            self._scheduled = loop.call_at(due, self._take) if patience else loop.call_soon(self._take)

    def _take(self) -> None:
        self._scheduled, self._due = None, math.inf
        group: list[tuple[Told, int]] = []
        turn = Turn(self.state)
        while self._queue:
            queued = self._queue.popleft()
            if self._slot is not None and _slot(queued.work) is not self._slot:
                self._parked.append(queued)
                continue
            alone = _alone(queued.work)
            if alone:
                self._finish(turn, group)
                turn, group = Turn(self.state), []
            try:
                ts = self._add(turn, queued.work)
            except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the one who asked
                tell(queued.told, error)
                continue
            group.append((queued.told, ts))
            if alone:
                self._finish(turn, group)
                turn, group = Turn(self.state), []
        self._finish(turn, group)
        if self.state.pending:
            self._on_pending()

    def _add(self, turn: Turn, work: Commit | Transact) -> int:
        state = self.state
        try:
            if not isinstance(work, Commit):
                made = work(state.reader, state.catalog, state.applied)
                writes, request, by = made if isinstance(made, Recorded) else (made, None, None)
                if isinstance(writes, Bulk):
                    return turn.add_bulk(writes, request, by)
                return turn.add(writes, request, "system", trusted=True, by=by) if writes else state.applied
            self.validate(work)
            request = work.request
            if (
                state.log_everything
                and request is not None
                and state.request(request.identity_key, request.session, request.id)
            ):
                raise Lose  # another engine was asked, too, and its answer is in the log
            return turn.add(work.writes, request, work.reach, own=work.own, files=work.files, by=work.by)
        except StaleVersion as stale:
            raise Lose((stale.index_id, stale.key)) from stale

    def _finish(self, turn: Turn, group: list[tuple[Told, int]]) -> None:
        try:
            turn.finish(self._on_applied)
        except Exception as error:  # noqa: BLE001 - the same for everybody in this turn
            for told, _ in group:
                tell(told, error)
            return
        for told, ts in group:
            tell(told, self._gate.snapshot(ts))


def _closing() -> Unavailable:
    return Unavailable("the backend is stopping; nothing was written, try again in a moment")


def _slot(work: Commit | Transact) -> object | None:
    return work.slot if isinstance(work, Commit) else None


def _alone(work: Commit | Transact) -> bool:
    """Whether it looks at the row index, or changes the catalog: then everything before must be applied."""
    return not isinstance(work, Commit) or any(write.table == TABLES for write in work.writes)
