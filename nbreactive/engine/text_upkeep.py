"""Search indexes that a new row index came without are made anew while functions run.

A row index that was missing or damaged is filled before anything else happens, from whole documents. Large search
indexes would make that take minutes, so they begin empty there, with a mark that they lack documents (see
:mod:`nbreactive.engine._index_builder`). From then on they are filled as a new index is
(:mod:`nbreactive.engine.backfill`), and a commit of its own takes the mark away. Until then searches say so.
"""

from __future__ import annotations

import asyncio

from nbreactive.engine.backfill import backfill
from nbreactive.engine.catalog import IndexInfo, TableInfo
from nbreactive.engine.postings import unfinished
from nbreactive.engine.upkeep import LOOK, Upkeep
from nbreactive.errors import NBReactiveError


class TextUpkeep(Upkeep):
    """Makes search indexes anew."""

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
            await asyncio.sleep(LOOK)

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
        done, total = 0, self._total(table)
        self._note(table, index, done, total)

        def filled(count: int) -> None:
            nonlocal done
            done += count
            self._note(table, index, done, total)

        await backfill(
            self._state,
            self._gate,
            self._clock,
            table.name,
            index.id,
            on_applied=self._on_applied,
            on_pending=self._on_pending,
            busy=self._busy,
            on_filled=filled,
        )
        if any(wanted.id == index.id for _, wanted in self._unfinished()):
            self._commit(lambda turn: turn.add_remade(index))
            await self._keep()
