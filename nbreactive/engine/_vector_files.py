"""How the vectors of one vector index lie on disk, and how they are read and written.

Two files, a row number has its place in both::

    <index id>-<token>.rows      header; then from, until, document id, checksum, one code per filter field
    <index id>-<token>.vectors   the vector: 32-bit floats, of length one

A row is the vector of a document from one timestamp until another (or :data:`FOREVER`), so any timestamp can be read
while more are written. Rows are only ever appended; of a row that is there, only ``until`` changes, and ``from`` when a
rewind makes it one that never was. Both get larger by that than any snapshot that reads them, so nobody who maps the
files sees a difference. How many rows count is not in the files but in the row index (:class:`~nbreactive.engine._vector_notes.VectorNote`), written in
the LMDB transaction of the commit that adds them: what a killed process has written behind them does not exist.

The files are longer than their rows, so that readers need not map them anew after each.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from nbreactive.engine._numpy import np
from nbreactive.engine._vector_notes import FOREVER, VectorNote
from nbreactive.errors import DataFolderError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.void]
    Floats = NDArray[np.float32]

ID_BYTES: Final = 16
CODE_BYTES: Final = 8
_MAGIC: Final = b"nbrvec\x00\x01"
_HEADER: Final = 64
_FEWEST: Final = 1024
_RECENT: Final = 4096
_HEAD: Final = 2 * 8 + ID_BYTES
_FIXED: Final = _HEAD + 8


class VectorFilesError(DataFolderError):
    """The files are not what the row index says they are."""


def row_type(filters: int) -> np.dtype[np.void]:
    """Return how a row lies in the file."""
    fields = [("from", "<u8"), ("until", "<u8"), ("id", "V16"), ("check", "<u4"), ("unused", "<u4")]
    return np.dtype([*fields, ("codes", "<u8", (filters,))])


def paths(folder: Path, index: int, token: str) -> tuple[Path, Path]:
    """Return where the two files are."""
    return folder / f"{index}-{token}.rows", folder / f"{index}-{token}.vectors"


def checksum(id: bytes, codes: bytes, data: bytes) -> int:
    """Return what tells whether a row is as it was written."""
    return zlib.crc32(data, zlib.crc32(codes, zlib.crc32(id)))


def _header(index: int, note: VectorNote) -> bytes:
    numbers = b"".join(number.to_bytes(4, "little") for number in (index, note.dimensions, note.filters))
    return (_MAGIC + numbers + note.token.encode()).ljust(_HEADER, b"\x00")


class VectorMap:
    """The files as arrays, read-only: of everything that was written before and, as far as they are long, after.

    Raises
    ------
    VectorFilesError
        They are absent, too short, or others.
    """

    def __init__(self, folder: Path, index: int, note: VectorNote) -> None:
        self.token = note.token
        kind = row_type(note.filters)
        try:
            rows, vectors = (_mapped(path) for path in paths(folder, index, note.token))
        except (OSError, ValueError) as error:
            raise VectorFilesError(f"the files of a vector index cannot be read: {error}") from error
        if rows[:_HEADER] != _header(index, note):
            raise VectorFilesError("the files of a vector index are others than those that were written")
        self.capacity = min((len(rows) - _HEADER) // kind.itemsize, len(vectors) // (4 * note.dimensions))
        if self.capacity < note.rows:
            raise VectorFilesError(f"the files of a vector index have {self.capacity} rows, not {note.rows}")
        self.rows: Rows = np.frombuffer(rows, kind, self.capacity, _HEADER)
        self.vectors: Floats = np.frombuffer(vectors, "<f4", self.capacity * note.dimensions).reshape(
            self.capacity, note.dimensions
        )

    def fits(self, note: VectorNote) -> bool:
        """Whether it still is a map of what the note is about."""
        return self.token == note.token and note.rows <= self.capacity


def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


class VectorFile:
    """The files of one vector index, open for writing; made by :meth:`create` or, for those that are there, directly.

    What is added becomes part of the files with :meth:`flush`, and counts when the row index has :attr:`note`.

    Raises
    ------
    VectorFilesError
        As in :class:`VectorMap`.
    """

    def __init__(self, folder: Path, index: int, note: VectorNote) -> None:
        self._folder = folder
        self.index = index
        self.note = note
        self._kind = row_type(note.filters)
        self._size = self._kind.itemsize
        self._map = VectorMap(folder, index, note)
        self._rows_file, self._vectors_file = (
            os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0)) for path in paths(folder, index, note.token)
        )
        self._capacity = self._map.capacity
        self._flushed = note.rows
        self._new_rows: list[bytearray] = []
        self._new_vectors: list[bytes] = []
        self._recent: dict[bytes, int] = {}
        self._older = np.empty(0, np.uint64), np.empty(0, np.int64)
        self.live = 0
        """How many documents have a vector now."""
        self._look()

    @classmethod
    def create(cls, folder: Path, index: int, note: VectorNote) -> VectorFile:
        """Make files without rows."""
        folder.mkdir(exist_ok=True)
        rows, vectors = paths(folder, index, note.token)
        with rows.open("wb") as file:
            file.write(_header(index, note))
            file.truncate(_HEADER + _FEWEST * row_type(note.filters).itemsize)
        with vectors.open("wb") as file:
            file.truncate(_FEWEST * 4 * note.dimensions)
        return cls(folder, index, note)

    def close(self, *, sync: bool = False) -> None:
        """Let go of the files."""
        for file in (self._rows_file, self._vectors_file):
            if sync:
                os.fsync(file)
            os.close(file)

    # ---- reading -------------------------------------------------------------------------------------------------

    @property
    def rows(self) -> Rows:
        """The rows that are in the file."""
        self._remap()
        return self._map.rows[: self._flushed]

    @property
    def vectors(self) -> Floats:
        """Their vectors."""
        self._remap()
        return self._map.vectors[: self._flushed]

    @property
    def gone(self) -> bool:
        """Whether somebody has deleted the files, so that nobody else can read what is written to them."""
        return any(os.fstat(file).st_nlink == 0 for file in (self._rows_file, self._vectors_file))

    @property
    def count(self) -> int:
        """How many rows there are, those included that are not in the file yet."""
        return self._flushed + len(self._new_rows)

    def find(self, id: bytes) -> int | None:
        """Return the row that a document has now."""
        row = self._recent.get(id)
        if row is not None:
            return row
        keys, numbers = self._older
        key = int.from_bytes(id[8:], "little")
        at = int(np.searchsorted(keys, np.uint64(key)))
        while at < len(keys) and int(keys[at]) == key:
            row = int(numbers[at])
            found = self._map.rows[row]
            if found["id"].tobytes() == id and int(found["until"]) == FOREVER and int(found["from"]) != FOREVER:
                return row
            at += 1
        return None

    def damage(self, start: int, stop: int) -> bool:
        """Whether any of these rows is not as it was written."""
        rows, vectors = self.rows[start:stop], self.vectors[start:stop]
        return any(
            int(row["check"]) != checksum(row["id"].tobytes(), row["codes"].tobytes(), vector.tobytes())
            for row, vector in zip(rows, vectors, strict=True)
        )

    # ---- writing -------------------------------------------------------------------------------------------------

    def add(self, since: int, id: bytes, codes: bytes, data: bytes, until: int = FOREVER) -> None:
        """Add a row."""
        check = checksum(id, codes, data)
        head = since.to_bytes(8, "little") + until.to_bytes(8, "little") + id
        self._new_rows.append(bytearray(head + check.to_bytes(8, "little") + codes))
        self._new_vectors.append(data)
        if until == FOREVER:
            self._recent[id] = self.count - 1
            self.live += 1

    def end(self, row: int, id: bytes, ts: int) -> None:
        """The row is right until ``ts`` only."""
        self._recent.pop(id, None)
        self.live -= 1
        until = ts.to_bytes(8, "little")
        if row >= self._flushed:
            self._new_rows[row - self._flushed][8:16] = until
        else:
            _write(self._rows_file, _HEADER + row * self._size + 8, until)

    def flush(self) -> None:
        """Put what was added into the files."""
        if not self._new_rows:
            return
        count = self.count
        if count > self._capacity:
            self._capacity = max(count + _FEWEST, self._capacity * 5 // 4)
            os.truncate(self._rows_file, _HEADER + self._capacity * self._size)
            os.truncate(self._vectors_file, self._capacity * 4 * self.note.dimensions)
        _write(self._vectors_file, self._flushed * 4 * self.note.dimensions, b"".join(self._new_vectors))
        _write(self._rows_file, _HEADER + self._flushed * self._size, b"".join(self._new_rows))
        self._new_rows, self._new_vectors = [], []
        self._flushed = count
        self.note = msgspec.structs.replace(self.note, rows=count)
        if len(self._recent) > max(_RECENT, len(self._older[0]) // 4):
            self._look()

    def add_from(self, other: VectorFile, start: int, stop: int, horizon: int) -> list[int]:
        """Add rows of other files, but those that nobody sees who reads after ``horizon``; returns their numbers there."""
        rows, vectors = other.rows[start:stop], other.vectors[start:stop]
        kept = np.flatnonzero((rows["from"] != FOREVER) & (rows["until"] > horizon))
        for number in kept.tolist():
            row = rows[number]
            codes, data = row["codes"].tobytes(), vectors[number].tobytes()
            self.add(int(row["from"]), row["id"].tobytes(), codes, data, int(row["until"]))
        return (kept + start).tolist()

    def end_like(self, other: VectorFile, numbers: list[int]) -> None:
        """End the rows that have ended in other files since they were added from there."""
        until, mine = other.rows["until"][numbers], self.rows["until"]
        for row in np.flatnonzero(until != mine).tolist():
            self.end(row, self.rows[row]["id"].tobytes(), int(until[row]))

    def rewind(self, to_ts: int) -> None:
        """Make everything as it was at ``to_ts``, except for the number of rows."""
        rows = self.rows
        late = np.flatnonzero((rows["from"] > to_ts) & (rows["from"] != FOREVER))
        ended = np.flatnonzero((rows["until"] > to_ts) & (rows["until"] != FOREVER))
        for numbers, offset in ((late, 0), (ended, 8)):
            for row in numbers.tolist():
                _write(self._rows_file, _HEADER + row * self._size + offset, FOREVER.to_bytes(8, "little"))
        self._look()

    def dead(self, horizon: int) -> int:
        """Return how many rows nobody can see any more who reads at or after ``horizon``."""
        rows = self.rows
        return int(np.count_nonzero((rows["from"] == FOREVER) | (rows["until"] <= horizon)))

    # ---- the way from documents to rows ----------------------------------------------------------------------------

    def _look(self) -> None:
        """Find out which documents have rows now: a sorted array of half of their ids, and their rows."""
        rows = self.rows
        numbers = np.flatnonzero((rows["until"] == FOREVER) & (rows["from"] != FOREVER))
        keys = np.ascontiguousarray(rows["id"][numbers]).view("<u8").reshape(-1, 2)[:, 1].astype(np.uint64)
        order = np.argsort(keys, kind="stable")
        self._older = keys[order], numbers[order]
        self._recent.clear()
        self.live = len(numbers)

    def _remap(self) -> None:
        if self._map.capacity < self._flushed:
            self._map = VectorMap(self._folder, self.index, self.note)


def remove(folder: Path, keep: set[str]) -> None:
    """Delete all files but those with these tokens; Windows keeps what somebody still maps until the next time."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.stem.partition("-")[2] not in keep:
            with contextlib.suppress(OSError):
                path.unlink()


def _write(file: int, at: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        if hasattr(os, "pwrite"):
            written = os.pwrite(file, left, at)
        else:
            os.lseek(file, at, os.SEEK_SET)
            written = os.write(file, left)
        left, at = left[written:], at + written
