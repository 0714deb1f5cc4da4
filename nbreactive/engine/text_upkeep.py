"""Search indexes that a new row index came without are made anew while functions run.

A row index that was missing or damaged is filled before anything else happens, from whole documents. Large search
indexes would make that take minutes, so they begin empty there, with a mark that they lack documents (see
:mod:`nbreactive.engine._index_builder`). From then on they are filled as a new index is
(:mod:`nbreactive.engine.backfill`), and a commit of its own takes the mark away. Until then searches say so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from nbreactive.engine.applied import AppliedState, Turn
from nbreactive.engine.backfill import backfill
from nbreactive.engine.catalog import BY_ID, IndexInfo, TableInfo, count_key
from nbreactive.engine.changes import Keys
from nbreactive.engine.clock import Clock
from nbreactive.engine.gate import Gate
from nbreactive.engine.postings import unfinished
from nbreactive.errors import NBReactiveError

_LOOK: Final = 1.0
"""Seconds between two looks."""


class Progress(NamedTuple):
    """How far an index is that is being made anew."""

    table: str
    name: str
    documents: int
    """That were added."""
    total: int


class TextUpkeep:
    """Makes search indexes anew.

    Parameters
    ----------
    state, gate, clock
        What they are made of.
    on_applied, on_pending
        Told of the commits that add documents.
    busy
        Whether functions run.
    """

    def __init__(
        self,
        state: AppliedState,
        gate: Gate,
        clock: Clock,
        *,
        on_applied: Callable[[int, Keys], None],
        on_pending: Callable[[], None],
        busy: Callable[[], bool],
    ) -> None:
        self._state = state
        self._gate = gate
        self._clock = clock
        self._on_applied = on_applied
        self._on_pending = on_pending
        self._busy = busy
        self.progress: dict[int, Progress] = {}
        """By index id."""

    async def run(self) -> None:
        """Go on for ever."""
        while True:
            for table, index in self._unfinished():
                try:
                    await self._make(table, index)
                except (NBReactiveError, OSError):  # the index was dropped, or there is no room: the next time, maybe
                    pass
                finally:
                    self.progress.pop(index.id, None)
            await asyncio.sleep(_LOOK)

    def _unfinished(self) -> list[tuple[TableInfo, IndexInfo]]:
        state = self._state
        if not state.filled:
            return []
        tables = state.catalog.by_number.values()
        found = [(table, index) for table in tables for index in table.text if index.id in state.filled]
        return [
            (table, index)
            for table, index in found
            if index.state == "ready" and unfinished(state.reader, index.id, state.applied)
        ]

    async def _make(self, table: TableInfo, index: IndexInfo) -> None:
        state = self._state
        total = state.reader.count(count_key(table.indexes[BY_ID].id), state.applied)
        self._note(table, index, 0, total)
        await backfill(
            state,
            self._gate,
            self._clock,
            table.name,
            index.id,
            on_applied=self._on_applied,
            on_pending=self._on_pending,
            busy=self._busy,
            on_filled=lambda count: self._note(table, index, count, total),
        )
        if any(wanted.id == index.id for _, wanted in self._unfinished()):
            turn = Turn(state)
            turn.add_remade(index)
            turn.finish(self._on_applied)
            self._on_pending()
            await self._gate.release(self._gate.snapshot(state.applied))
            state.remember_position()

    def _note(self, table: TableInfo, index: IndexInfo, more: int, total: int) -> None:
        before = self.progress.get(index.id)
        done = more + (before.documents if before is not None else 0)
        self.progress[index.id] = Progress(table.name, index.name, done, max(total, done))
