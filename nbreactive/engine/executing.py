"""Executions: what is asked for becomes a call at a snapshot, with a time, a seed and an id of its own."""

from __future__ import annotations

import asyncio
import random as randomness
from collections.abc import Callable, Iterable

from nbreactive.engine.applied import AppliedState
from nbreactive.engine.catalog import all_modules
from nbreactive.engine.gate import Gate, Lost, Snapshot
from nbreactive.engine.requests import MutationRequest, QueryRequest, QuerySpec
from nbreactive.engine.transactions import Call, Executor, Outcome

_MODULES = all_modules()[0]
"""The index in which every deploy writes."""


class Executing:
    """Makes the calls of one engine.

    Parameters
    ----------
    state, gate
        What functions see, and when what they found may be shown.
    executor
        Runs them.
    random
        What seeds and ids are made of.
    """

    def __init__(self, state: AppliedState, gate: Gate, executor: Executor, random: randomness.Random) -> None:
        self._state = state
        self._gate = gate
        self._executor = executor
        self._random = random
        self._queries: dict[object, int] = {}
        self.counts = {"queries": 0, "mutations": 0}
        """Runs of functions since the start."""
        self.on_live_run: Callable[[QuerySpec, Outcome, str], None] | None = None
        """Told of runs of live queries, once they may be seen, with the request id that their errors name."""

    @property
    def snapshots(self) -> Iterable[int]:
        """Timestamps that queries under way read."""
        return self._queries.values()

    async def query(
        self, spec: QuerySpec, snapshot: Snapshot, *, newest: bool = True, now: int | None = None, index: str = ""
    ) -> tuple[Outcome, str]:
        """Run a query; returns the id of the execution, too.

        Parameters
        ----------
        spec, snapshot
            Which one, and what it reads.
        newest
            Whether functions that are deployed after the snapshot are an error.
        now
            What ``ctx.now()`` says, ms; the time that it is, if nothing else is said.
        index
            The folder of the row index of an earlier time that it reads.

        Raises
        ------
        Lost
            Functions were deployed after a snapshot that was to be the newest.
        """
        self.counts["queries"] += 1
        request_id = getattr(spec, "request_id", "") or self._random.randbytes(8).hex()
        call = Call(
            spec.path,
            spec.args,
            "query",
            spec.reach,
            spec.identity,
            request_id,
            snapshot.ts,
            self._state.now_ns() // 1_000_000 if now is None else now,
            self._random.randbytes(16),
            spec.journal,
            index=index,
        )
        token = object()
        if not index:
            self._queries[token] = call.snapshot
        try:
            outcome = await self._executor.run(call)
        finally:
            self._queries.pop(token, None)
        told = self.on_live_run
        if told is not None and not isinstance(spec, QueryRequest):
            self._gate.when(snapshot, lambda lost: None if lost else told(spec, outcome, request_id))
        if newest and self._state.changes.last(_MODULES) > snapshot.ts:
            # It may have waited for a worker while something was deployed: new code, and tables as they were before
            raise Lost("functions were deployed meanwhile; run it again", again=True)
        return outcome, request_id

    def mutation(self, request: MutationRequest, snapshot: Snapshot, urgent: bool) -> asyncio.Future[Outcome]:
        """Start a mutation."""
        self.counts["mutations"] += 1
        call = Call(
            request.path,
            request.args,
            request.kind,
            request.reach,
            request.identity,
            request.request_id,
            snapshot.ts,
            self._state.now_ns() // 1_000_000,
            self._random.randbytes(16),
            None,
            request.job,
            request.origin,
        )
        return asyncio.ensure_future(self._executor.run(call, urgent=urgent))
