"""Queries that are asked once: at the newest timestamp, sharing runs and results with live ones, or at a recent one."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

from nbreactive.engine.applied import AppliedState
from nbreactive.engine.executing import Executing
from nbreactive.engine.gate import Gate, Lost
from nbreactive.engine.requests import QueryRequest, Result, identity_key
from nbreactive.engine.runs import Runs
from nbreactive.errors import InvalidValue, Overloaded


class Queries:
    """All queries that are asked once.

    Parameters
    ----------
    state, gate
        What queries see, and what may be shown.
    runs
        Shares executions and results.
    executing
        Runs those that nobody could share.
    catch_up
        Awaited before a snapshot that must not be behind other engines; None where there are none.
    max_active
        More at a time than this are refused.
    keep_seconds
        For how long timestamps can be read; told to those who ask for others.
    """

    def __init__(
        self,
        state: AppliedState,
        gate: Gate,
        runs: Runs,
        executing: Executing,
        *,
        catch_up: Callable[[], Awaitable[None]] | None,
        max_active: int,
        keep_seconds: float,
    ) -> None:
        self._state = state
        self._gate = gate
        self._runs = runs
        self._executing = executing
        self._catch_up = catch_up
        self._max_active = max_active
        self._keep_seconds = keep_seconds
        self._active = 0

    async def ask(self, request: QueryRequest, at: int | None) -> Result:
        """Run a query, or share a result that is still right."""
        if self._active >= self._max_active:
            raise Overloaded(f"{self._active} queries are waiting already; try again in a moment")
        self._active += 1
        try:
            return await (self._now(request) if at is None else self._then(request, at))
        finally:
            self._active -= 1

    async def _now(self, request: QueryRequest) -> Result:
        if self._catch_up is not None:
            await self._catch_up()
        query = self._runs.use(request)
        try:
            while True:
                snapshot = self._gate.snapshot(self._state.applied)
                with contextlib.suppress(Lost):
                    found = await self._runs.find(query, request, identity_key(request.identity), snapshot)
                    await self._gate.release(snapshot)
                    break
        finally:
            self._runs.leave(query)
        shown = found.result
        return Result(
            snapshot.ts,
            shown.value,
            shown.failure,
            shown.logs,
            shown.journal,
            shown.columns,
            shown.identity_read,
            shown.request_id,
        )

    async def _then(self, request: QueryRequest, at: int) -> Result:
        if not self._state.index.horizon <= at <= self._state.applied:
            raise InvalidValue(
                f"timestamp {at} cannot be read: versions are kept for {self._keep_seconds:.0f} seconds,"
                f" the newest is {self._state.applied}; leave the timestamp out"
            )
        snapshot = self._gate.snapshot(at)
        outcome, request_id = await self._executing.query(request, snapshot, newest=False)
        await self._gate.release(snapshot)
        return Result(
            at,
            outcome.value,
            outcome.failure,
            outcome.logs,
            outcome.journal,
            outcome.columns,
            outcome.identity_read,
            request_id,
        )
