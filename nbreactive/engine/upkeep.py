"""What all have in common that look after indexes: what they work with, how far they are, and the commit at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from nbreactive.engine.applied import AppliedState, Turn
from nbreactive.engine.catalog import BY_ID, IndexInfo, TableInfo, count_key
from nbreactive.engine.changes import Keys
from nbreactive.engine.clock import Clock
from nbreactive.engine.gate import Gate

LOOK: Final = 1.0
"""Seconds between two looks at all indexes."""


class Progress(NamedTuple):
    """How far an index is that is being made anew."""

    table: str
    name: str
    documents: int
    """That have been looked at, or added."""
    total: int


class Tools(NamedTuple):
    """What indexes are made with."""

    state: AppliedState
    gate: Gate
    clock: Clock
    on_applied: Callable[[int, Keys], None]
    """Told of the commits that change indexes, as of any other."""
    on_pending: Callable[[], None]
    busy: Callable[[], bool]
    """Whether functions run."""


class Upkeep:
    """Looks after the indexes of one kind in one engine."""

    def __init__(self, tools: Tools) -> None:
        self._state = tools.state
        self._gate = tools.gate
        self._clock = tools.clock
        self._on_applied = tools.on_applied
        self._on_pending = tools.on_pending
        self._busy = tools.busy
        self.progress: dict[int, Progress] = {}
        """Of what is being made anew, by index id."""

    def _total(self, table: TableInfo) -> int:
        """Count the documents of a table."""
        return self._state.reader.count(count_key(table.indexes[BY_ID].id), self._state.applied)

    def _note(self, table: TableInfo, index: IndexInfo, done: int, total: int) -> None:
        self.progress[index.id] = Progress(table.name, index.name, done, max(total, done))

    def _commit(self, change: Callable[[Turn], None]) -> None:
        """Commit what says that an index is made anew."""
        turn = Turn(self._state)
        change(turn)
        turn.finish(self._on_applied)
        self._on_pending()

    async def _keep(self) -> None:
        """See to it that a kill does not take that commit back any more, or it would all be to be done again."""
        await self._gate.release(self._gate.snapshot(self._state.applied))
        self._state.remember_position()
