"""Vector indexes are looked after beside everything else: made anew if they are missing or damaged, made smaller, dropped.

What an index holds follows from the documents, so one whose files are missing (or not what the row index says of them)
begins anew, empty. From that moment on commits add what they write; documents that were there before are added in the
order of their ids, a few at a time, unless a commit was faster. Then a commit of its own says from when on the index
answers, and touches all who searched in vain.

After a start every row is compared with its checksum. Files of which most rows are dead are written anew.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

import msgspec

from nbreactive.engine.catalog import BY_ID, IndexInfo, TableInfo
from nbreactive.engine.upkeep import LOOK, Tools, Upkeep
from nbreactive.engine.vector_values import vector_row
from nbreactive.errors import ReadOnly
from nbreactive.values.packing import unpack

if TYPE_CHECKING:
    from nbreactive.engine._vector_files import VectorFile

_SLICE: Final = 0.001
"""What is done at once may take so many seconds."""
_FEWEST: Final = 16
_ROWS: Final = 256
_REST: Final = 0.5
_REST_BUSY: Final = 2.0
"""How long to rest afterwards, in terms of what it took."""
_WORTHWHILE: Final = 1024
"""Dead rows below which files are left as they are."""


class VectorUpkeep(Upkeep):
    """Looks after the vector indexes of one engine."""

    def __init__(self, tools: Tools) -> None:
        super().__init__(tools)
        self._checked: set[str] = set()
        self._gone: dict[int, int] = {}
        self.built = 0
        """How many indexes were made anew since the start."""
        self.begin()

    def begin(self) -> None:
        """Begin the indexes that are missing, so that commits add to them from now on."""
        missing = [index for _, index in self._indexes() if self._file(index) is None]
        if not missing:
            return
        store = self._state.index.vectors
        try:
            for index in missing:
                file = store.create(index.id, index.dimensions, len(index.filter_fields), self._state.applied)
                self._checked.add(file.note.token)
                if index.state != "ready":  # its backfill begins anew, too
                    self._state.filled.pop(index.id, None)
                    self._state.index.forget_filled(index.id)
            self._state.index.note_vectors()
        except (ReadOnly, OSError):  # no room: searches fail until there is
            self._state.index.restore_vectors()

    async def run(self) -> None:
        """Go on for ever."""
        while True:
            if self._state.index.has_vectors or self._indexes():
                try:
                    await self._look()
                except (ReadOnly, OSError):  # no room: the next time, maybe
                    self._state.index.restore_vectors()
            await asyncio.sleep(LOOK)

    async def _look(self) -> None:
        for _, index in self._indexes():
            file = self._file(index)
            if file is not None and file.gone:
                self._state.index.vectors.drop(index.id)
                self._state.index.note_vectors()
        self.begin()
        for _, index in self._indexes():
            file = self._file(index)
            if file is not None and file.note.token not in self._checked:
                await self._check(index, file)
                self.begin()
        for table, index in self._indexes():
            file = self._file(index)
            if file is not None and index.state == "ready" and not file.note.complete:
                await self._build(table, index)
        for _, index in self._indexes():
            file = self._file(index)
            if file is not None and _mostly_dead(file, self._state.index.horizon):
                await self._slim(index, file)
        self._drop()

    def _indexes(self) -> list[tuple[TableInfo, IndexInfo]]:
        return [(table, index) for table in self._state.catalog.by_number.values() for index in table.vector]

    def _file(self, index: IndexInfo) -> VectorFile | None:
        row_index = self._state.index
        return row_index.vectors.file(index.id) if row_index.has_vectors else None

    # ---- making anew ---------------------------------------------------------------------------------------------

    async def _build(self, table: TableInfo, index: IndexInfo) -> None:
        """Add all documents; gives up if the index is replaced, or anything was undone meanwhile."""
        state, file = self._state, self._file(index)
        assert file is not None
        epoch, token = state.epoch, file.note.token
        after, many, done = b"", _FEWEST, 0
        total = self._total(table)
        try:
            while True:
                self._note(table, index, done, total)
                file = self._file(index)
                if file is None or file.note.token != token or state.epoch != epoch:
                    return
                began, count = self._clock.monotonic(), 0
                rows = state.reader.scan_documents(table.indexes[BY_ID].id, after, None, state.applied)
                last = True
                for _, id, packed, version in rows:
                    row = vector_row(index, unpack(packed))
                    if row is not None and file.find(id) is None:
                        file.add(version, id, row.codes, row.data)
                    after, count = id + b"\x00", count + 1
                    if count >= many or self._clock.monotonic() - began > _SLICE:
                        last = False
                        break
                done += count
                file.flush()
                state.index.note_vectors()
                if last:
                    break
                took = self._clock.monotonic() - began
                many = max(_FEWEST, min(2 * many, int(count * _SLICE / max(took, 1e-6))))
                await self._rest(took)
            self._commit(lambda turn: turn.add_complete(index))
            self.built += 1
        finally:
            self.progress.pop(index.id, None)
        await self._keep()

    async def _check(self, index: IndexInfo, file: VectorFile) -> None:
        """Compare all rows with their checksums; an index that does not hold what was written is forgotten."""
        token = file.note.token
        async for start in self._slices(file.note.rows):
            current = self._file(index)
            if current is None or current.note.token != token:
                return
            if current.damage(start, start + _ROWS):
                self._state.index.vectors.drop(index.id)
                self._state.index.note_vectors()
                return
        self._checked.add(token)

    # ---- making smaller ------------------------------------------------------------------------------------------

    async def _slim(self, index: IndexInfo, file: VectorFile) -> None:
        """Write files without the rows that nobody can see any more; gives up if anything was undone meanwhile."""
        from nbreactive.engine._vector_files import VectorFile

        state, epoch, horizon = self._state, self._state.epoch, self._state.index.horizon
        store = state.index.vectors
        note = msgspec.structs.replace(file.note, token=secrets.token_hex(8), rows=0)
        copy = VectorFile.create(store.folder, index.id, note)
        taken = False
        try:
            numbers: list[int] = []
            start = 0
            while start < file.count:
                began = self._clock.monotonic()
                numbers += copy.add_from(file, start, start + _ROWS, horizon)
                copy.flush()
                start += _ROWS
                if start < file.count:
                    await self._rest(self._clock.monotonic() - began)
                    if self._file(index) is not file or state.epoch != epoch:
                        return
            copy.end_like(file, numbers)
            copy.note = msgspec.structs.replace(copy.note, since=file.note.since)
            store.take(copy)
            taken = True
            self._checked.add(note.token)
            state.index.note_vectors()
        finally:
            if not taken:
                copy.close()

    def _drop(self) -> None:
        """Forget indexes that no snapshot which may be read has any more, and delete what is left over."""
        if not self._state.index.has_vectors:
            return
        store = self._state.index.vectors
        known = {index.id for _, index in self._indexes()}
        for index in list(store.notes):
            if index in known:
                self._gone.pop(index, None)
            elif self._gone.setdefault(index, self._state.applied) <= self._state.index.horizon:
                del self._gone[index]
                store.drop(index)
                self._state.index.note_vectors()
        store.tidy()

    # ---- a little at a time --------------------------------------------------------------------------------------

    async def _slices(self, rows: int) -> AsyncIterator[int]:
        for start in range(0, rows, _ROWS):
            began = self._clock.monotonic()
            yield start
            await self._rest(self._clock.monotonic() - began)

    async def _rest(self, took: float) -> None:
        await asyncio.sleep(took * (_REST_BUSY if self._busy() else _REST))


def _mostly_dead(file: VectorFile, horizon: int) -> bool:
    least = max(_WORTHWHILE, file.count // 2)
    return file.count - file.live > least and file.dead(horizon) > least
