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
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple

from nbreactive.engine.applied import AppliedState
from nbreactive.engine.committer import Commit, Committer, HotKey, Lose
from nbreactive.engine.entries import Request
from nbreactive.engine.gate import Gate, Lost, Snapshot
from nbreactive.engine.lanes import Lanes
from nbreactive.engine.order import Order, Ticket
from nbreactive.engine.requests import MutationRequest, Result, owner_key
from nbreactive.engine.transactions import Outcome
from nbreactive.errors import Overloaded

Execute = Callable[[MutationRequest, Snapshot, bool], asyncio.Future[Outcome]]
"""Start a mutation at a snapshot; True is urgent."""

Ended = Callable[[Result | BaseException], None]
"""Told how a mutation ended, in the moment in which that is certain; must not raise."""

_RequestKey = tuple[bytes, bytes, int]

_CROWD = 8
"""Functions that run, or wait to, from which on a commit waits for others."""
_PATIENCE = 150e-6
"""For how long, in seconds and for each of them: less than what they take."""
_LONGEST_PATIENCE = 6e-3


class _Mutation:
    """A mutation under way, and who wants to hear of its end."""

    __slots__ = ("begun", "call", "end", "hot", "key", "listeners", "losses", "request", "ticket")

    def __init__(self, request: MutationRequest, key: _RequestKey | None, ticket: Ticket, ended: Ended) -> None:
        self.request = request
        self.key = key
        self.call = (request.path, request.args)
        self.ticket = ticket
        self.listeners = [ended]
        self.losses = 0
        self.hot: HotKey | None = None
        self.begun: _Begun | None = None
        """Its first run, if that began as soon as it came."""
        self.end: Result | BaseException | None = None

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
                ended(end)


class _Begun(NamedTuple):
    seen: Snapshot
    outcome: asyncio.Future[Outcome]


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
    ) -> None:
        self._state = state
        self._gate = gate
        self._committer = committer
        self._execute = execute
        self._catch_up = catch_up
        self._max_active = max_active
        self._max_losses = max_losses
        self._lanes = Lanes()
        self._order = Order(gate)
        self._tasks: dict[asyncio.Task[Result], _Mutation] = {}
        self._running: dict[_RequestKey, _Mutation] = {}
        self._executing = 0

    def start(self, request: MutationRequest, ended: Ended) -> None:
        """Run a mutation to its end and tell ``ended``; later, not from within this call."""
        key: _RequestKey | None = None
        if request.session is not None and request.request_number is not None:
            key = (owner_key(request.identity), request.session, request.request_number)
            running = self._running.get(key)
            if running is not None:
                running.also(ended)
                return
        if len(self._tasks) >= self._max_active:
            raise Overloaded(f"{len(self._tasks)} mutations are waiting already; try again in a moment")
        # Without a session every mutation is a session of its own.
        ticket = self._order.take(key[:2] if key is not None else object())
        mutation = _Mutation(request, key, ticket, ended)
        if self._catch_up is None and not ticket.blocked and not self._is_expected(mutation):
            mutation.begun = self._begin(mutation, urgent=False)
        task = asyncio.get_running_loop().create_task(self._run(mutation))
        self._tasks[task] = mutation
        task.add_done_callback(self._ended)
        if key is not None:
            self._running[key] = mutation

    def _is_expected(self, mutation: _Mutation) -> bool:
        """Whether it was committed before, or belongs into a lane."""
        if self._lanes.expected(mutation.call) is not None:
            return True
        return mutation.key is not None and self._state.index.request(*mutation.key) is not None

    def _ended(self, task: asyncio.Task[Result]) -> None:
        mutation = self._tasks.pop(task)
        if mutation.key is not None:
            del self._running[mutation.key]
        mutation.tell(asyncio.CancelledError() if task.cancelled() else task.exception() or task.result())

    async def drain(self) -> None:
        """Wait until all mutations under way have ended."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Stop waiting for whatever is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, mutation: _Mutation) -> Result:
        request, key, ticket = mutation.request, mutation.key, mutation.ticket
        try:
            done: _Attempt | None = None
            while True:
                await ticket.turn()
                if key is not None and mutation.begun is None:
                    repeated = await self._repeated(request, key)
                    if repeated is not None:
                        return repeated
                try:
                    done = await self._attempt(mutation, done)
                except Lose as lose:
                    mutation.losses += 1
                    mutation.hot = lose.hot or mutation.hot
                    done = None
                    continue
                ticket.applied(done.made)
                result = _result(request, done)
                try:
                    await self._gate.release(done.made, partial(mutation.tell, result))
                except Lost as lost:
                    if done.wrote and not lost.again:
                        raise
                    if not done.wrote or self._gate.lost(done.seen):
                        done = None
                    continue
                return result
        finally:
            ticket.done()

    async def _repeated(self, request: MutationRequest, key: _RequestKey) -> Result | None:
        """Answer from the record of its commit."""
        while (found := self._state.index.request(*key)) is not None:
            ts, value = found
            try:
                await self._gate.release(self._gate.snapshot(ts))
            except Lost:
                continue
            return Result(ts, value, request_id=request.request_id, repeated=True)
        return None

    async def _attempt(self, mutation: _Mutation, before: _Attempt | None) -> _Attempt:
        """Run, unless ``before`` has, and commit; alone in a lane or the exclusive slot if it must."""
        if mutation.losses >= self._max_losses:
            async with self._committer.exclusive() as slot:
                return await self._run_and_commit(mutation, before, slot)
        lane = mutation.hot or (self._lanes.expected(mutation.call) if mutation.begun is None else None)
        if lane is not None:
            async with self._lanes.enter(lane, mutation.call):
                return await self._run_and_commit(mutation, before)
        return await self._run_and_commit(mutation, before, patient=True)

    async def _run_and_commit(
        self, mutation: _Mutation, before: _Attempt | None, slot: object | None = None, *, patient: bool = False
    ) -> _Attempt:
        request, key = mutation.request, mutation.key
        if before is not None:
            seen, outcome = before.seen, before.outcome
        else:
            if self._catch_up is not None:
                await self._catch_up()
            begun, mutation.begun = mutation.begun, None
            if begun is None:
                begun = self._begin(mutation, urgent=mutation.losses > 0)
            try:
                seen, outcome = begun.seen, await begun.outcome
            finally:
                self._executing -= 1
        if outcome.failure is not None or not outcome.writes:
            return _Attempt(seen, seen, outcome, wrote=False)
        record = Request(*key, outcome.value) if key is not None else None
        patience = self._patience(mutation.ticket) if patient else 0.0
        commit = Commit(seen, outcome.reads, outcome.writes, record, request.reach, slot, patience)
        return _Attempt(seen, await self._committer.commit(commit), outcome, wrote=True)

    def _begin(self, mutation: _Mutation, *, urgent: bool) -> _Begun:
        seen = self._gate.snapshot(self._state.applied)
        outcome = self._execute(mutation.request, seen, urgent)
        self._executing += 1
        return _Begun(seen, outcome)

    def _patience(self, ticket: Ticket) -> float:
        """For how long a commit on which no other mutation waits may wait for others."""
        if self._executing < _CROWD or ticket.followed:
            return 0.0
        return min(self._executing * _PATIENCE, _LONGEST_PATIENCE)


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
