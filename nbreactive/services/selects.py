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

    from nbreactive.columns._frames import Checked
    from nbreactive.columns.supervisor import Selected
    from nbreactive.engine.engine import Engine
    from nbreactive.engine.transactions import Condition, Write


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
            failed = self._depends([(name, ()) for name in await self._tables(select.text)], failed=True)
            return Selection(Failure(error.code, error.message), reads=failed.reads)
        depends = self._depends(selected.described.tables)
        return Selection(None, selected.described.columns, selected.data, depends.reads, depends.interests)

    async def _tables(self, text: str) -> Sequence[str]:
        try:
            return (await self._columns.check(text)).tables
        except NBReactiveError:
            return ()

    def _depends(self, tables: Sequence[tuple[str, Sequence[Condition]]], *, failed: bool = False) -> Selection:
        """Return what a statement depends on, in a selection that is otherwise empty; one that failed on all names of tables."""
        known = KnownResult(self._engine.recent_documents)
        reads = ReadSetBuilder()
        try:
            known.name(tables, self._engine.catalog(), self._engine.applied)
            known.read(reads)
        finally:
            known.close()
        if failed:
            index, interval = all_tables()
            reads.add(index, *interval)
        return Selection(reads=reads.build(), interests=known.interests)
