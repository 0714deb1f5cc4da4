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

Execute = Callable[[MutationRequest, Snapshot, bool], Awaitable[Outcome]]
"""Run a mutation at a snapshot; True is urgent."""

_RequestKey = tuple[bytes, bytes, int]

_CROWD = 8
"""Functions that run, or wait to, from which on a commit waits for others."""
_PATIENCE = 100e-6
"""For how long, in seconds and for each of them: less than what they take."""
_LONGEST_PATIENCE = 4e-3


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
        self._tasks: dict[asyncio.Task[Result], _RequestKey | None] = {}
        self._running: dict[_RequestKey, asyncio.Task[Result]] = {}
        self._executing = 0

    def start(self, request: MutationRequest) -> asyncio.Task[Result]:
        """Run a mutation to its end; the task must not be cancelled, others may wait for it, too."""
        key: _RequestKey | None = None
        if request.session is not None and request.request_number is not None:
            key = (owner_key(request.identity), request.session, request.request_number)
        task = self._running.get(key) if key is not None else None
        if task is None:
            if len(self._tasks) >= self._max_active:
                raise Overloaded(f"{len(self._tasks)} mutations are waiting already; try again in a moment")
            task = asyncio.get_running_loop().create_task(self._run(request, key))
            self._tasks[task] = key
            task.add_done_callback(self._ended)
            if key is not None:
                self._running[key] = task
        return task

    def _ended(self, task: asyncio.Task[Result]) -> None:
        key = self._tasks.pop(task)
        if key is not None:
            del self._running[key]

    async def drain(self) -> None:
        """Wait until all mutations under way have ended."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Stop waiting for whatever is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, request: MutationRequest, key: _RequestKey | None) -> Result:
        # Without a session every mutation is a session of its own.
        ticket = self._order.take(key[:2] if key is not None else object())
        try:
            losses = 0
            hot: HotKey | None = None
            done: _Attempt | None = None
            while True:
                await ticket.turn()
                if key is not None and (repeated := await self._repeated(request, key)) is not None:
                    return repeated
                try:
                    done = await self._attempt(request, key, ticket, done, losses, hot)
                except Lose as lose:
                    losses += 1
                    hot = lose.hot or hot
                    done = None
                    continue
                ticket.applied(done.made)
                try:
                    await self._gate.release(done.made)
                except Lost as lost:
                    if done.wrote and not lost.again:
                        raise
                    if not done.wrote or self._gate.lost(done.seen):
                        done = None
                    continue
                return _result(request, done)
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

    async def _attempt(
        self,
        request: MutationRequest,
        key: _RequestKey | None,
        ticket: Ticket,
        before: _Attempt | None,
        losses: int,
        hot: HotKey | None,
    ) -> _Attempt:
        """Run, unless ``before`` has, and commit; alone in a lane or the exclusive slot if it must."""
        call = (request.path, request.args)
        if losses >= self._max_losses:
            async with self._committer.exclusive() as slot:
                return await self._run_and_commit(request, key, before, urgent=True, slot=slot)
        lane = hot or self._lanes.expected(call)
        if lane is not None:
            async with self._lanes.enter(lane, call):
                return await self._run_and_commit(request, key, before, urgent=losses > 0)
        return await self._run_and_commit(request, key, before, urgent=losses > 0, alone=ticket)

    async def _run_and_commit(
        self,
        request: MutationRequest,
        key: _RequestKey | None,
        before: _Attempt | None,
        *,
        urgent: bool,
        slot: object | None = None,
        alone: Ticket | None = None,
    ) -> _Attempt:
        if before is not None:
            seen, outcome = before.seen, before.outcome
        else:
            if self._catch_up is not None:
                await self._catch_up()
            seen = self._gate.snapshot(self._state.applied)
            self._executing += 1
            try:
                outcome = await self._execute(request, seen, urgent)
            finally:
                self._executing -= 1
        if outcome.failure is not None or not outcome.writes:
            return _Attempt(seen, seen, outcome, wrote=False)
        record = Request(*key, outcome.value) if key is not None else None
        patience = self._patience(alone) if alone is not None else 0.0
        commit = Commit(seen, outcome.reads, outcome.writes, record, request.reach, slot, patience)
        return _Attempt(seen, await self._committer.commit(commit), outcome, wrote=True)

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
