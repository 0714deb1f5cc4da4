"""The engine: one deployment's data, its changes, and everybody who watches them.

It owns no policy about who may call what, no network and no user code: functions are run by the executor it is given,
and so clock, randomness, log and row index are arguments, too. Everything happens on one event loop.

::

    mutate ── run at a snapshot ── commit ──┬── flush to the log ──► gate ──► result
                                            └── touched queries run again ──► gate ──► update
"""

from __future__ import annotations

import asyncio
import contextlib
import random as randomness
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Mapping, Sequence
from typing import Any, Self

from nbreactive.engine.applied import AppliedState, Turn
from nbreactive.engine.backfill import backfill
from nbreactive.engine.catalog import Catalog
from nbreactive.engine.changes import Keys
from nbreactive.engine.clock import Clock
from nbreactive.engine.committer import Committer, Transact
from nbreactive.engine.engine_limits import EngineLimits
from nbreactive.engine.entries import Entry
from nbreactive.engine.executing import Executing
from nbreactive.engine.feed import Feed
from nbreactive.engine.flush import Flusher
from nbreactive.engine.gate import Gate, Lost
from nbreactive.engine.housekeeping import Housekeeping
from nbreactive.engine.log import CommitLog
from nbreactive.engine.mutations import Ended, KeepFiles, Mutations
from nbreactive.engine.queries import Queries
from nbreactive.engine.recent_documents import RecentDocuments
from nbreactive.engine.recovery import Source, behind, rebuild, recover
from nbreactive.engine.requests import MutationRequest, QueryRequest, Result
from nbreactive.engine.row_index import Reader, RowIndex
from nbreactive.engine.runs import Runs
from nbreactive.engine.stored_files import no_files
from nbreactive.engine.subscriptions import Subscriptions
from nbreactive.engine.telling import end_of
from nbreactive.engine.text_upkeep import TextUpkeep
from nbreactive.engine.transactions import Executor
from nbreactive.engine.upkeep import Tools
from nbreactive.engine.vector_upkeep import VectorUpkeep
from nbreactive.errors import ReadOnly
from nbreactive.values.ids import new_internal

Changed = Callable[[Sequence[bytes] | None], None]
"""Told the keys of an index that a commit has touched; None: any."""


class Engine:
    """One deployment; made by :meth:`open`."""

    def __init__(
        self,
        state: AppliedState,
        position: int,
        durable: int,
        *,
        log: CommitLog,
        executor: Executor,
        clock: Clock,
        random: randomness.Random,
        limits: EngineLimits,
        shared: bool,
    ) -> None:
        self._state = state
        self._log = log
        self.clock = clock
        self._random = random
        state.limits = limits.transaction
        self._shared = shared
        self._held: dict[object, int] = {}
        self._ids = 0
        self._work: set[asyncio.Task[None]] = set()
        self._watched: list[tuple[int, Changed]] = []
        self.keep_files: KeepFiles = no_files
        """Keeps the files that mutations store."""
        self.gate = Gate(durable)
        self._feed = Feed(log, durable)
        self.executing = Executing(state, self.gate, executor, random)
        self.executions = self.executing.counts
        """Runs of functions since the start."""
        self._runs = Runs(state, self.gate, clock, self.executing.query, limits.cache_bytes)
        self.subscriptions = Subscriptions(state, self.gate, self._runs)
        self._flusher = Flusher(
            log,
            state,
            self.gate,
            position,
            on_applied=self._on_applied,
            on_durable=self._feed.add,
            on_rewound=self._on_rewound,
        )
        self.committer = Committer(state, self.gate, on_applied=self._on_applied, on_pending=self._flusher.wake)
        catch_up = self._flusher.catch_up if shared else None
        self._queries = Queries(
            state,
            self.gate,
            self._runs,
            self.executing,
            catch_up=catch_up,
            max_active=limits.queries,
            keep_seconds=limits.keep_seconds,
        )
        self._mutations = Mutations(
            state,
            self.gate,
            self.committer,
            self.executing.mutation,
            catch_up=catch_up,
            max_active=limits.mutations,
            max_losses=limits.losses,
            crowd=limits.crowd,
            keep=lambda files: self.keep_files(files),  # noqa: PLW0108 - it is set later
        )
        tools = Tools(state, self.gate, clock, self._on_applied, self._flusher.wake, lambda: self.busy)
        self.vector_upkeep = VectorUpkeep(tools)
        self.text_upkeep = TextUpkeep(tools)
        self._housekeeping = Housekeeping(
            state,
            self.gate,
            clock,
            self._oldest,
            keep_seconds=limits.keep_seconds,
            request_seconds=limits.request_seconds,
        )

    @classmethod
    async def open(
        cls,
        *,
        log: CommitLog,
        index: RowIndex,
        executor: Executor,
        clock: Clock,
        random: randomness.Random | None = None,
        limits: EngineLimits | None = None,
        source: Source | None = None,
        shared: bool = False,
    ) -> Self:
        """Bring row index and log together and start.

        Parameters
        ----------
        log, index
            Stay the caller's to close, after :meth:`close`.
        executor
            Runs functions.
        clock, random
            Time and randomness.
        limits
            How much to take on.
        source
            Gives all documents, for a row index that must be filled anew from more than the log still holds.
        shared
            Whether other engines append to the same log.
        """
        limits = limits or EngineLimits()
        stale = behind(log, index)
        if stale:
            index.rebuild((), applied=0)
        if (stale or not index.trusted) and source is not None:
            await rebuild(index, source)
        state, position, durable = await recover(log, index, clock, shared=shared, changes_bytes=limits.changes_bytes)
        engine = cls(
            state,
            position,
            durable,
            log=log,
            executor=executor,
            clock=clock,
            random=random or randomness.Random(),
            limits=limits,
            shared=shared,
        )
        engine._start()
        return engine

    def _start(self) -> None:
        self._flusher.wake()
        if self._shared:
            self._flusher.follow()
        for work in (self._housekeeping.run(), self.vector_upkeep.run(), self.text_upkeep.run()):
            self._work.add(asyncio.get_running_loop().create_task(work))

    async def close(self) -> None:
        """End: mutations under way are finished first, and what they committed is made durable."""
        await self._mutations.drain()
        await self._flusher.drain()
        await self._stop()
        if not self._state.pending:
            self._state.index.apply([], log_position=self._flusher.position)

    async def abandon(self) -> None:
        """Stop at once, as if the process had died."""
        await self._mutations.close()
        await self._stop()

    async def _stop(self) -> None:
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        await self._runs.close()
        await self._flusher.close()
        self.committer.close()
        self._state.reader.close()

    # ---- what is known ---------------------------------------------------------------------------------------

    @property
    def applied(self) -> int:
        """The newest timestamp; it may still be undone."""
        return self._state.applied

    @property
    def durable(self) -> int:
        """The newest timestamp that will stay."""
        return self.gate.durable

    @property
    def oldest(self) -> int:
        """The oldest timestamp that the row index can be read at."""
        return self._state.index.horizon

    @property
    def idle(self) -> bool:
        """Whether no mutation is under way and everything is durable."""
        return self._flusher.idle and not self.committer.busy

    @property
    def hits(self) -> Mapping[str, int]:
        """How many answers of each query needed no run of their own."""
        return self._runs.hits

    @property
    def recent_documents(self) -> RecentDocuments:
        """What recent commits have changed in tables that somebody watches."""
        return self._state.documents

    @property
    def indexes_made_anew(self) -> list[dict[str, Any]]:
        """Table, name, documents and total of each search index and vector index that is being made anew."""
        return [each._asdict() for each in (*self.text_upkeep.progress.values(), *self.vector_upkeep.progress.values())]

    def reader(self) -> Reader:
        """Return a reader of its own of everything applied now; close it soon."""
        return self._state.index.reader()

    def catalog(self, ts: int | None = None) -> Catalog:
        """Return the tables and indexes at a timestamp, the newest one if none is given."""
        return self._state.catalog if ts is None else Catalog.load(self._state.reader, ts)

    def changed_since(self, table: int, ts: int) -> Iterable[tuple[bytes, bytes | None]]:
        """Return id and newest content (None: deleted) of the documents of a table that were written after ``ts``."""
        return self._state.changed_since(table, ts)

    def new_internal(self) -> bytes:
        """Make the internal bytes of the id of a new document."""
        self._ids += 1
        return new_internal(self.clock.now_ns() // 1_000_000, self._ids & 0xFFFF, self._random.randbytes(8))

    # ---- calls -----------------------------------------------------------------------------------------------

    async def mutate(self, request: MutationRequest) -> Result:
        """Run a mutation; returns when what it did is durable.

        A failure of the function is in the result. Mutations of one session run in the order of these calls.

        Raises
        ------
        Overloaded
            Too many are waiting; it was not started.
        ReadOnly
            The disk refuses; it has not happened.
        """
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._mutations.start(request, end_of(future))
        return await future

    def begin(self, request: MutationRequest, ended: Ended) -> None:
        """Do what :meth:`mutate` does, for callers who do not want to wait in a task of their own.

        ``ended`` is told in the moment in which the end is certain, not from within this call.
        """
        self._mutations.start(request, ended)

    async def query(self, request: QueryRequest, at: int | None = None) -> Result:
        """Run a query, or share a result that is still right; at the newest timestamp, or at a recent one."""
        return await self._queries.ask(request, at)

    async def transact(self, function: Transact, *, remember: bool = True) -> int:
        """Commit what the backend itself wants to write; return the timestamp once it is durable.

        Without ``remember`` a kill may leave it to the next start to apply it again from the log, which is cheaper for
        one of many.

        ``function(reader, catalog, ts)`` is called between two commits, looks at the newest state and returns the
        writes; no other code runs before they are applied. It may be called again if another engine was faster.
        """
        while True:
            snapshot = await self.committer.transact(function)
            try:
                await self.gate.release(snapshot)
            except Lost as lost:
                if not lost.again:
                    raise
            else:
                # A kill from here on must not take back what is only in the row index, such as a filled index.
                if remember:
                    self._state.remember_position()
                return snapshot.ts

    async def backfill(self, table: str, index: int) -> None:
        """Fill an index (its id) that is in the state ``backfilling`` while everything else goes on."""
        await backfill(
            self._state,
            self.gate,
            self.clock,
            table,
            index,
            on_applied=self._on_applied,
            on_pending=self._flusher.wake,
            busy=lambda: self.busy,
        )

    async def release(self, ts: int) -> None:
        """Return when everything up to ``ts`` is durable.

        Raises
        ------
        ReadOnly
            It was undone.
        """
        if ts > self._state.applied:
            raise ReadOnly("this could not be written and was undone; try again")
        await self.gate.release(self.gate.snapshot(ts))

    @contextlib.contextmanager
    def hold(self) -> Generator[int]:
        """Keep everything readable as of the newest durable timestamp, which is given, until the end of the block."""
        token, ts = object(), self.gate.durable
        self._held[token] = ts
        try:
            yield ts
        finally:
            del self._held[token]

    def watch_entries(self, from_ts: int) -> AsyncIterator[list[Entry]]:
        """Yield every durable commit after ``from_ts``, in batches, for as long as one listens."""
        return self._feed.watch(from_ts)

    def follow(self, after: int, told: Callable[[Sequence[Entry]], None]) -> None:
        """Tell ``told`` of the durable commits after a recent timestamp: each before anybody can see what came of it."""
        self._feed.follow(after, told)

    def not_durable(self) -> list[Entry]:
        """Return the commits that are applied and not durable yet: what came of them has left nowhere."""
        return [pending.entry for pending in self._state.pending if pending.data is not None]

    def watch(self, index: int, changed: Changed) -> None:
        """Tell ``changed`` which keys of an index (its id) each commit touches, as soon as it is applied.

        It is told None after commits were undone: any key may be as it was before.
        """
        self._watched.append((index, changed))

    def touch(self, keys: Keys) -> None:
        """Run the live queries again that have read any of ``keys`` (by index id), though nothing is written."""
        turn = Turn(self._state)
        turn.add_touched(keys)
        turn.finish(self._on_applied)
        self._flusher.wake()

    async def catch_up(self) -> None:
        """Apply everything that other engines have appended up to now."""
        await self._flusher.catch_up()

    @property
    def busy(self) -> bool:
        """Whether a function runs, or has written and is not applied yet."""
        return bool(self.executing.snapshots or self._mutations.snapshots)

    def _oldest(self) -> int:
        return min(
            (*self.executing.snapshots, *self._held.values(), *self._mutations.snapshots), default=self._state.applied
        )

    # ---- what happens ----------------------------------------------------------------------------------------

    def _on_applied(self, ts: int, keys: Keys) -> None:
        self.subscriptions.applied(ts, keys)
        for index, changed in self._watched:
            if index in keys:
                changed(keys[index])

    def _on_rewound(self) -> None:
        self._runs.rewound()
        for _, changed in self._watched:
            changed(None)
