"""Queries as of an earlier time: what functions of today give on the data of then.

What is over cannot change. So such a query runs once, however live it is, and has no read set.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbreactive.engine.catalog import BY_NAME, ENV, MODULES, TABLES, index_id
from nbreactive.engine.requests import QueryRequest, Result
from nbreactive.runtime.system_sql import LIVE
from nbreactive.services.past_indexes import MOST_BYTES, Horizon, PastIndexes

if TYPE_CHECKING:
    from nbreactive.columns.supervisor import Columns
    from nbreactive.engine.engine import Engine

_RECENT = 45_000_000_000
"""So far back the row index of now has every version for as long as a query takes, and some more."""


class Past:
    """Earlier times of one deployment.

    Parameters
    ----------
    folder
        Where row indexes of earlier times are made.
    engine, log, columns
        Whose earlier times.
    most_bytes
        How much these row indexes may take.
    """

    def __init__(
        self, folder: Path, engine: Engine, log: Horizon, columns: Columns, *, most_bytes: int = MOST_BYTES
    ) -> None:
        self._engine = engine
        self._indexes = PastIndexes(folder, engine, log, columns, most_bytes=most_bytes)
        self._described = 0
        """When tables, code or environment variables changed last."""
        for table in (TABLES, MODULES, ENV):
            engine.watch(index_id(table, BY_NAME), self._changed)

    def index_at(self, at: int) -> AbstractAsyncContextManager[str]:
        """Give the folder of a row index as of a timestamp; it stays while one is inside."""
        return self._indexes.at(at)

    async def query(self, request: QueryRequest, at: int) -> Result:
        """Run a query as of ``at``, which its ``ctx.now()`` says, too.

        Raises
        ------
        HistoryGone
            It is before what is kept.
        InvalidValue
            It has not come yet.
        """
        engine = self._engine
        now = at // 1_000_000
        if max(self._described, engine.oldest, engine.clock.now_ns() - _RECENT) <= at <= engine.applied:
            snapshot = engine.gate.snapshot(at)
            outcome, request_id = await engine.executing.query(request, snapshot, newest=False, now=now)
            await engine.gate.release(snapshot)
        elif request.path == LIVE:  # answered from the history itself
            at, _ = await self._indexes.check(at)
            snapshot = engine.gate.snapshot(at)
            outcome, request_id = await engine.executing.query(request, snapshot, newest=False, now=now)
        else:
            async with self._indexes.at(at) as folder:
                snapshot = engine.gate.snapshot(min(at, engine.durable))
                outcome, request_id = await engine.executing.query(
                    request, snapshot, newest=False, now=now, index=folder
                )
        return Result(
            snapshot.ts,
            outcome.value,
            outcome.failure,
            outcome.logs,
            outcome.journal,
            outcome.columns,
            outcome.identity_read,
            request_id,
        )

    def status(self) -> list[dict[str, Any]]:
        """Return which earlier times are at hand, and how far those are that are being made so."""
        return self._indexes.status()

    async def close(self) -> None:
        """Forget all earlier times."""
        await self._indexes.close()

    def _changed(self, _: object) -> None:
        self._described = self._engine.clock.now_ns()
