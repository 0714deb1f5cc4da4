"""The vectors of a row index: one pair of files per vector index, which change when the row index does.

What commits write goes into the files first and counts from the LMDB transaction on that the commits are applied in, for
it holds the number of rows (:class:`~nbreactive.engine._vector_notes.VectorNote`). After anything else - the transaction
failed, the process was killed, commits were rewound - the files are brought to what the row index has applied. They hold
nothing that is not in the documents, so an index whose files are missing or damaged is forgotten, and made anew
(:mod:`nbreactive.engine.vector_upkeep`).
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from nbreactive.engine._row_changes import Applied
from nbreactive.engine._vector_files import VectorFile, VectorFilesError, VectorMap, remove
from nbreactive.engine._vector_notes import FOREVER, VectorNote
from nbreactive.engine.vector_values import VectorRow

FOLDER: Final = "vectors"
_REMEMBERED: Final = 2048
"""Rows of recent commits that are kept in memory, by which live searches are told whether they are concerned."""


class Entered(NamedTuple):
    """A vector that a commit has added to an index."""

    ts: int
    data: bytes
    codes: bytes


class VectorStore:
    """All vector indexes of one row index, open for writing.

    Parameters
    ----------
    folder
        Where the files are.
    notes
        What the row index knows, by index id.
    applied
        The timestamp that it is at.
    """

    def __init__(self, folder: Path, notes: Mapping[int, VectorNote], applied: int) -> None:
        self.folder = folder
        self._files: dict[int, VectorFile] = {}
        self._entered: dict[int, deque[Entered]] = {}
        self._known: dict[int, int] = {}
        self.reload(notes, applied)

    def reload(self, notes: Mapping[int, VectorNote], applied: int) -> None:
        """Bring the files to ``applied``; what cannot be is not among :attr:`notes` afterwards."""
        self.close()
        self._entered.clear()
        self._known.clear()
        for index, found in notes.items():
            if found.created > applied:
                continue
            note = found if found.since <= applied else msgspec.structs.replace(found, since=FOREVER)
            try:
                file = VectorFile(self.folder, index, note)
            except (VectorFilesError, OSError):
                continue
            file.rewind(applied)
            self._files[index] = file
            self._known[index] = applied
        remove(self.folder, {file.note.token for file in self._files.values()})

    def close(self, *, sync: bool = False) -> None:
        """Let go of all files; ``sync`` writes them to the disk."""
        for file in self._files.values():
            file.close(sync=sync)
        self._files.clear()

    # ---- what is known -------------------------------------------------------------------------------------------

    @property
    def notes(self) -> dict[int, VectorNote]:
        """What the row index shall know."""
        return {index: file.note for index, file in self._files.items()}

    def file(self, index: int) -> VectorFile | None:
        """The files of an index."""
        return self._files.get(index)

    def entered(self, index: int, after: int, upto: int) -> list[Entered] | None:
        """Return what commits after ``after`` and up to ``upto`` have added; None if that is not remembered any more."""
        if after < self._known.get(index, upto):
            return None
        return [entered for entered in self._entered.get(index, ()) if after < entered.ts <= upto]

    # ---- what commits do -----------------------------------------------------------------------------------------

    def apply(self, batch: Iterable[Applied]) -> dict[int, VectorNote]:
        """Write what commits do; returns the notes that change. OSError: some of it, so :meth:`reload` must follow."""
        changed: dict[int, VectorFile] = {}
        for commit in batch:
            for index, state in commit.vectors.items():
                file = self._files.get(index)
                missing = file is None  # if it is no new one, what it had is lost
                if file is None or state.new:
                    file = self.create(index, state.dimensions, state.filters, commit.ts)
                if state.complete and (state.new or not missing):
                    file.note = msgspec.structs.replace(file.note, since=commit.ts)
                changed[index] = file
            for write in commit.writes:
                for row in write.vectors:
                    file = self._files.get(row.index)
                    if file is None:  # it is missing, and will be made from the documents
                        continue
                    changed[row.index] = file
                    if write.table:
                        self._put(file, commit.ts, write.id, row)
                    else:
                        fill(file, write.id, row, write.previous)
        for file in changed.values():
            file.flush()
        return {index: file.note for index, file in changed.items()}

    def create(self, index: int, dimensions: int, filters: int, created: int) -> VectorFile:
        """Begin an index, which is not complete yet, instead of one that there may be."""
        old = self._files.pop(index, None)
        if old is not None:
            old.close()
        note = VectorNote(secrets.token_hex(8), dimensions, filters, 0, created, FOREVER)
        file = self._files[index] = VectorFile.create(self.folder, index, note)
        self._known[index] = created
        return file

    def take(self, file: VectorFile) -> None:
        """Go on with files that hold the same as those of their index until now, or are the first ones."""
        old = self._files.get(file.index)
        if old is not None:
            old.close()
        self._files[file.index] = file

    def drop(self, index: int) -> None:
        """Forget an index."""
        file = self._files.pop(index, None)
        if file is not None:
            file.close()
        self._entered.pop(index, None)
        self._known.pop(index, None)

    def tidy(self) -> None:
        """Delete files that no index has any more."""
        remove(self.folder, {file.note.token for file in self._files.values()})

    def _put(self, file: VectorFile, ts: int, id: bytes, row: VectorRow) -> None:
        old = file.find(id)
        if old is not None:
            file.end(old, id, ts)
        if not row.data:
            return
        file.add(ts, id, row.codes, row.data)
        recent = self._entered.get(row.index)
        if recent is None:
            recent = self._entered[row.index] = deque()
        if len(recent) >= _REMEMBERED:
            self._known[row.index] = recent.popleft().ts
        recent.append(Entered(ts, row.data, row.codes))


def fill(file: VectorFile, id: bytes, row: VectorRow, version: int) -> None:
    """Add a document that was there before the index; a commit may have added it already."""
    if row.data and file.find(id) is None:
        file.add(version, id, row.codes, row.data)


class VectorView(NamedTuple):
    """A vector index as a reader sees it: the first ``note.rows`` of what is mapped."""

    note: VectorNote
    map: VectorMap

    def at(self, ts: int) -> Iterator[tuple[bytes, bytes, bytes]]:
        """Yield id, codes and vector of every document at a timestamp."""
        rows = self.map.rows[: self.note.rows]
        for number in ((rows["from"] <= ts) & (rows["until"] > ts)).nonzero()[0].tolist():
            row = rows[number]
            yield row["id"].tobytes(), row["codes"].tobytes(), self.map.vectors[number].tobytes()


class VectorMaps:
    """What a process has mapped of the files, to read them.

    Parameters
    ----------
    folder
        Where the files are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._maps: dict[int, VectorMap] = {}

    def view(self, index: int, note: VectorNote) -> VectorView:
        """Return an index as ``note`` says; VectorFilesError if its files are not there (any more)."""
        found = self._maps.get(index)
        if found is None or not found.fits(note):
            self._maps.pop(index, None)
            found = self._maps[index] = VectorMap(self._folder, index, note)
        return VectorView(note, found)
