"""SQL inside of queries and mutations: what ``ctx.db.sql(...)`` asks for, answered by the columns process.

A call sees its snapshot, whatever has been committed since; the columns process knows durable commits only, so that is
waited for. What the statement depends on is told in the terms of the engine: whole tables by their ids, and interests
where the statement's conditions say more exactly which rows can matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from nbreactive.engine.catalog import all_tables
from nbreactive.engine.read_set import ReadSetBuilder
from nbreactive.engine.transactions import Call, Failure
from nbreactive.errors import NBReactiveError, SqlTimeout
from nbreactive.runtime.frames import Select, Selection
from nbreactive.services.known_results import KnownResult
from nbreactive.values.limits import SQL_BYTES, SQL_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nbreactive.columns._frames import Checked, Described
    from nbreactive.columns.supervisor import Selected
    from nbreactive.engine.engine import Engine
    from nbreactive.engine.transactions import Condition, SqlInterest, Write


class Source(Protocol):
    """What is asked of the columns process."""

    async def check(self, text: str) -> Checked:
        """Say what a statement is about; raises what is wrong with it."""
        ...

    async def sql(
        self,
        text: str,
        params: bytes,
        *,
        at: int | None,
        own: Sequence[Write],
        seconds: float,
        max_bytes: int,
        strict: bool,
        only: Sequence[str] | None,
        earlier: bool,
        packed: bool,
    ) -> Selected:
        """Run a statement."""
        ...


class Selects:
    """Runs the SQL of calls.

    Parameters
    ----------
    engine
        Knows what is durable, and which tables there are.
    columns
        Runs statements.
    """

    def __init__(self, engine: Engine, columns: Source) -> None:
        self._engine = engine
        self._columns = columns

    async def run(self, call: Call, select: Select, seconds: float) -> Selection:
        """Run a statement, which may take so many seconds."""
        try:
            if seconds <= 0:
                raise SqlTimeout(
                    f"the SQL statements of one call may take {SQL_SECONDS:g} s together; read less, or in several calls"
                )
            await self._engine.release(call.snapshot)
            selected = await self._columns.sql(
                select.text,
                select.params,
                at=call.snapshot,
                own=select.own,
                seconds=seconds,
                max_bytes=SQL_BYTES,
                strict=True,
                only=select.only,
                earlier=select.earlier,
                packed=True,
            )
        except NBReactiveError as error:
            return failed(self._engine, error, await self._tables(select.text))
        return succeeded(self._engine, selected.described, selected.data)

    async def _tables(self, text: str) -> Sequence[str]:
        try:
            return (await self._columns.check(text)).tables
        except NBReactiveError:
            return ()


def succeeded(engine: Engine, described: Described, rows: bytes) -> Selection:
    """Return what a statement gives, with what it depends on."""
    reads, interests = _read(engine, described.tables)
    return Selection(None, described.columns, rows, reads.build(), interests)


def failed(engine: Engine, error: NBReactiveError, tables: Sequence[str]) -> Selection:
    """Return why a statement gives nothing; that depends on its tables, and on which tables there are at all."""
    reads, _ = _read(engine, [(name, ()) for name in tables])
    index, interval = all_tables()
    reads.add(index, *interval)
    return Selection(Failure(error.code, error.message), reads=reads.build())


def _read(
    engine: Engine, tables: Sequence[tuple[str, Sequence[Condition]]]
) -> tuple[ReadSetBuilder, Sequence[SqlInterest]]:
    known, reads = KnownResult(engine.recent_documents), ReadSetBuilder()
    try:
        known.name(tables, engine.catalog(), engine.applied)
        known.read(reads)
    finally:
        known.close()
    return reads, known.interests
