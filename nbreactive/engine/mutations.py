"""The way of a mutation: run, commit, release - again and again until it has happened exactly once.

A mutation that loses its validation is run again at once, in the lane of what it lost on; after a few losses it gets
the exclusive slot, in which nobody else commits. So contention costs time, never an error. One whose commit was rewound
because another engine was faster is committed again, or run again if what it had read is gone, too. One whose
commit the disk refused fails.

A request that names its session and number is answered from the record in the row index if it was committed before, and
from the run under way if there is one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import NamedTuple

from nbreactive.engine.applied import AppliedState
from nbreactive.engine.committer import Commit, Committer, HotKey, Lose
from nbreactive.engine.entries import Request
from nbreactive.engine.gate import Gate, Lost, Snapshot
from nbreactive.engine.lanes import Lanes
from nbreactive.engine.order import Order, Ticket
from nbreactive.engine.requests import MutationRequest, Result, by_of, owner_key
from nbreactive.engine.telling import tell
from nbreactive.engine.transactions import NewFile, Outcome, Write
from nbreactive.errors import Overloaded

Execute = Callable[[MutationRequest, Snapshot, bool], asyncio.Future[Outcome]]
"""Start a mutation at a snapshot; True is urgent."""

KeepFiles = Callable[[Sequence[NewFile]], AbstractAsyncContextManager[None]]
"""Keeps the content of files durably from the entry on; on an exception they are let go of again."""

Ended = Callable[[Result | BaseException], None]
"""Told how a mutation ended, in the moment in which that is certain."""

_RequestKey = tuple[bytes, bytes, int]

_ENOUGH = 0.8
"""Commits that wait, as a share of the functions that still run, which need not wait any longer for those."""
_PATIENCE = 6e-3
"""Seconds that a commit waits at most."""


class _Mutation:
    """A mutation under way, and who wants to hear of its end."""

    __slots__ = ("call", "done", "end", "hot", "key", "listeners", "losses", "request", "task", "ticket")

    def __init__(self, request: MutationRequest, key: _RequestKey | None, ticket: Ticket, ended: Ended) -> None:
        self.request = request
        self.key = key
        self.call = (request.path, request.args)
        self.ticket = ticket
        self.listeners = [ended]
        self.losses = 0
        self.hot: HotKey | None = None
        self.done: _Attempt | None = None
        """A run that may still count."""
        self.task: asyncio.Task[None] | None = None
        """What brings it to where it is applied; from there on the gate decides."""
        self.end: Result | BaseException | None = None

    def has_lost(self, lose: Lose) -> None:
        """It must run again."""
        self.losses += 1
        self.hot = lose.hot or self.hot
        self.done = None

    def also(self, ended: Ended) -> None:
        """Tell somebody else, too."""
        if self.end is None:
            self.listeners.append(ended)
        else:
            asyncio.get_running_loop().call_soon(ended, self.end)

    def tell(self, end: Result | BaseException) -> None:
        """Tell everybody, once."""
        if self.end is None:
            self.end = end
            for ended in self.listeners:
                tell(ended, end)


class _Begun(NamedTuple):
    seen: Snapshot
    running: asyncio.Future[Outcome]


class _Attempt(NamedTuple):
    seen: Snapshot
    """What it has read."""
    made: Snapshot
    """What must be durable before anybody hears of it."""
    outcome: Outcome
    wrote: bool


class Mutations:
    """All mutations under way.

    Parameters
    ----------
    state, gate, committer
        What mutations see, what may be shown, and who decides.
    execute
        Runs a function.
    catch_up
        Awaited before a run whose snapshot must not be behind other engines; None where there are none.
    max_active
        More mutations than this are refused.
    max_losses
        After so many losses a mutation gets the exclusive slot.
    crowd
        While so many functions run, commits wait for theirs, so that they share a flush.
    keep
        Keeps the files that functions store.
    """

    def __init__(
        self,
        state: AppliedState,
        gate: Gate,
        committer: Committer,
        execute: Execute,
        *,
        catch_up: Callable[[], Awaitable[None]] | None,
        max_active: int,
        max_losses: int,
        crowd: int,
        keep: KeepFiles,
    ) -> None:
        self._state = state
        self._gate = gate
        self._committer = committer
        self._execute = execute
        self._catch_up = catch_up
        self._max_active = max_active
        self._max_losses = max_losses
        self._crowd = crowd
        self._keep = keep
        self._lanes = Lanes()
        self._order = Order(gate)
        self._under_way: set[_Mutation] = set()
        self._running: dict[_RequestKey, _Mutation] = {}
        self._drained: asyncio.Future[None] | None = None
        self._executing: dict[asyncio.Future[Outcome], int] = {}

    def start(self, request: MutationRequest, ended: Ended) -> None:
        """Run a mutation to its end and tell ``ended``; later, not from within this call."""
        key: _RequestKey | None = None
        if request.session is not None and request.request_number is not None:
            key = (owner_key(request.identity), request.session, request.request_number)
            running = self._running.get(key)
            if running is not None:
                running.also(ended)
                return
        if len(self._under_way) >= self._max_active:
            raise Overloaded(f"{len(self._under_way)} mutations are waiting already; try again in a moment")
        # Without a session every mutation is a session of its own.
        ticket = self._order.take(key[:2] if key is not None else object())
        mutation = _Mutation(request, key, ticket, ended)
        self._under_way.add(mutation)
        if key is not None:
            self._running[key] = mutation
        if self._catch_up is None and not ticket.blocked and not self._is_expected(mutation):
            try:
                begun = self._begin(mutation, urgent=False)
            except Exception as error:  # noqa: BLE001 - told to whoever asked
                asyncio.get_running_loop().call_soon(self._finish, mutation, error)
            else:
                begun.running.add_done_callback(partial(self._has_run, mutation, begun))
        else:
            self._take_up(mutation)

    def _take_up(self, mutation: _Mutation) -> None:
        mutation.task = asyncio.get_running_loop().create_task(self._run(mutation))

    def _is_expected(self, mutation: _Mutation) -> bool:
        """Whether it was committed before, or belongs into a lane."""
        if self._lanes.expected(mutation.call) is not None:
            return True
        return mutation.key is not None and self._state.request(*mutation.key) is not None

    def _finish(self, mutation: _Mutation, end: Result | BaseException) -> None:
        if mutation.end is not None:  # it was given up meanwhile
            return
        self._under_way.discard(mutation)
        if mutation.key is not None:
            del self._running[mutation.key]
        mutation.ticket.done()
        if self._drained is not None and not self._under_way and not self._drained.done():
            self._drained.set_result(None)
        mutation.tell(end)

    @property
    def snapshots(self) -> Iterable[int]:
        """Timestamps that running functions read."""
        return self._executing.values()

    async def drain(self) -> None:
        """Wait until all mutations under way have ended."""
        while self._under_way:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained

    async def close(self) -> None:
        """Stop waiting for whatever is under way."""
        tasks = [mutation.task for mutation in self._under_way if mutation.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for mutation in list(self._under_way):
            self._finish(mutation, asyncio.CancelledError())

    # ---- the usual way: nothing before it, nothing against it --------------------------------------------------

    def _has_run(self, mutation: _Mutation, begun: _Begun, running: asyncio.Future[Outcome]) -> None:
        self._executing.pop(running, None)
        if mutation.end is not None:
            return
        error = asyncio.CancelledError() if running.cancelled() else running.exception()
        if error is not None:
            self._finish(mutation, error)
            return
        done = _Attempt(begun.seen, begun.seen, running.result(), wrote=False)
        if done.outcome.files:  # which takes a while
            mutation.done = done
            self._take_up(mutation)
            return
        commit = self._commit_of(mutation, done, self._patience(mutation.ticket))
        if commit is None:
            self._is_applied(mutation, done)
        else:
            self._committer.submit(commit, partial(self._committed, mutation, done))

    def _committed(self, mutation: _Mutation, done: _Attempt, end: Snapshot | Exception) -> None:
        if isinstance(end, Snapshot):
            self._is_applied(mutation, _Attempt(done.seen, end, done.outcome, wrote=True))
        elif isinstance(end, Lose):
            mutation.has_lost(end)
            self._take_up(mutation)
        else:
            self._finish(mutation, end)

    def _is_applied(self, mutation: _Mutation, done: _Attempt) -> None:
        mutation.done = done
        mutation.ticket.applied(done.made)
        self._gate.when(done.made, partial(self._decided, mutation, done))

    def _decided(self, mutation: _Mutation, done: _Attempt, lost: Lost | None) -> None:
        if lost is None:
            self._finish(mutation, _result(mutation.request, done))
        elif done.wrote and not lost.again:
            self._finish(mutation, lost)
        else:
            if not done.wrote or self._gate.lost(done.seen):
                mutation.done = None
            self._take_up(mutation)

    # ---- with a task: it waits for others, or runs again -------------------------------------------------------

    async def _run(self, mutation: _Mutation) -> None:
        try:
            repeated = await self._apply(mutation)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - told to whoever asked
            self._finish(mutation, error)
        else:
            if repeated is not None:
                self._finish(mutation, repeated)

    async def _apply(self, mutation: _Mutation) -> Result | None:
        """Run and commit until it is applied, or found to be committed already (its result)."""
        while True:
            await mutation.ticket.turn()
            repeated = await self._repeated(mutation)
            if repeated is not None:
                return repeated
            try:
                done = await self._attempt(mutation, mutation.done)
            except Lose as lose:
                mutation.has_lost(lose)
                continue
            self._is_applied(mutation, done)
            return None

    async def _repeated(self, mutation: _Mutation) -> Result | None:
        """Answer from the record of its commit."""
        while mutation.key is not None and (found := self._state.request(*mutation.key)) is not None:
            ts, value = found
            try:
                await self._gate.release(self._gate.snapshot(ts))
            except Lost:
                continue
            return Result(ts, value, request_id=mutation.request.request_id, repeated=True)
        while (completes := mutation.request.completes) is not None and self._is_over(completes()):
            seen = self._gate.snapshot(self._state.applied)
            with contextlib.suppress(Lost):
                await self._gate.release(seen)
                return Result(seen.ts, request_id=mutation.request.request_id, repeated=True)
        return None

    def _is_over(self, write: Write) -> bool:
        found = self._state.document(write.table, write.id)
        return found is None or found[1] != write.previous

    async def _attempt(self, mutation: _Mutation, before: _Attempt | None) -> _Attempt:
        """Run, unless ``before`` has, and commit; alone in a lane or the exclusive slot if it must."""
        if mutation.losses >= self._max_losses:
            async with self._committer.exclusive() as slot:
                return await self._run_and_commit(mutation, before, slot=slot)
        lane = mutation.hot or self._lanes.expected(mutation.call)
        if lane is not None:
            async with self._lanes.enter(lane, mutation.call):
                return await self._run_and_commit(mutation, before)
        return await self._run_and_commit(mutation, before, patient=True)

    async def _run_and_commit(
        self, mutation: _Mutation, before: _Attempt | None, *, slot: object | None = None, patient: bool = False
    ) -> _Attempt:
        if before is not None:
            done = _Attempt(before.seen, before.seen, before.outcome, wrote=False)
        else:
            if self._catch_up is not None:
                await self._catch_up()
            seen, running = self._begin(mutation, urgent=mutation.losses > 0)
            try:
                done = _Attempt(seen, seen, await running, wrote=False)
            finally:
                self._executing.pop(running, None)
        commit = self._commit_of(mutation, done, self._patience(mutation.ticket) if patient else 0.0, slot)
        if commit is None:
            return done
        if commit.files:
            async with self._keep(commit.files):
                return _Attempt(done.seen, await self._committer.commit(commit), done.outcome, wrote=True)
        return _Attempt(done.seen, await self._committer.commit(commit), done.outcome, wrote=True)

    def _begin(self, mutation: _Mutation, *, urgent: bool) -> _Begun:
        seen = self._gate.snapshot(self._state.applied)
        running = self._execute(mutation.request, seen, urgent)
        self._executing[running] = seen.ts
        return _Begun(seen, running)

    def _commit_of(
        self, mutation: _Mutation, done: _Attempt, patience: float, slot: object | None = None
    ) -> Commit | None:
        """What is to be committed; None if it wrote nothing."""
        outcome, key, completes = done.outcome, mutation.key, mutation.request.completes
        if outcome.failure is not None or not (outcome.writes or completes):
            return None
        record = Request(*key, outcome.value) if key is not None else None
        own = completes() if completes is not None else None
        request = mutation.request
        reach, by = request.reach, by_of(request)
        return Commit(done.seen, outcome.reads, outcome.writes, record, reach, slot, patience, own, outcome.files, by)

    def _patience(self, ticket: Ticket) -> float:
        """For how long a commit on which no other mutation waits may wait for others."""
        running = len(self._executing)
        if running < self._crowd or ticket.followed or self._committer.waiting >= _ENOUGH * running:
            return 0.0
        return _PATIENCE


def _result(request: MutationRequest, done: _Attempt) -> Result:
    outcome = done.outcome
    return Result(
        done.made.ts,
        outcome.value,
        outcome.failure,
        outcome.logs,
        outcome.journal,
        outcome.columns,
        outcome.identity_read,
        request.request_id,
    )
