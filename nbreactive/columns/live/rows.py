"""Rows in order, of which a few change: a sorted base, and what went from it and came to it since.

Every row has a key, bytes in the order of the result, so a row that goes is found by halving, whatever the size, and
a window is slices of Arrow tables. When much has changed, base and changes become a new base. What is large is in a
file of its own that is mapped, not in memory.
"""

# pyarrow has no stubs: what comes out of it is unknown to the checker
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import mmap
import tempfile
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from nbreactive.errors import LimitExceeded

KEY = "__key"
_IN_MEMORY = 16 << 20
"""Bytes of rows above which they are in a file."""
_LARGEST = 4 << 30


class Astray(Exception):  # noqa: N818 - a state: what is known is not what the table had
    """A row went that was not there: begin anew."""


class SortedRows:
    """Rows in the order of their keys.

    Parameters
    ----------
    rows
        The rows, sorted, their keys in the column ``__key``; without that column they never change.
    whole
        Whether there are no rows after these.
    folder
        Where files for large ones go.
    """

    def __init__(self, rows: pa.Table, *, whole: bool = True, folder: Path | None = None) -> None:
        self.whole = whole
        self._folder = folder
        self._gone: list[int] = []
        self._added: list[tuple[int, bytes]] = []
        """Where in the base a row stands that was added, and its key."""
        self._found: dict[bytes, tuple[pa.Table, int]] = {}
        self._rebase(rows)

    @property
    def total(self) -> int:
        """How many rows there are."""
        return self._base.num_rows - len(self._gone) + len(self._added)

    @property
    def memory(self) -> int:
        """Bytes, about, that are in memory."""
        return (0 if self._mapped else self._base.nbytes) + sum(500 + len(key) for key in self._found)

    def change(self, gone: Iterable[bytes], added: pa.Table | None) -> None:
        """Take rows away, by key, then add rows (with keys)."""
        for key in gone:
            self._remove(key)
        if added is not None:
            for row, key in enumerate(added[KEY].to_pylist()):
                self._add(key, added, row)
        if len(self._found) + len(self._gone) > _bearable(self._base.num_rows):
            self._rebase(self._between(0, self.total))

    def window(self, offset: int = 0, limit: int | None = None) -> pa.Table:
        """Return rows from ``offset`` on, without their keys."""
        stop = self.total if limit is None else min(self.total, offset + limit)
        rows = self._between(offset, stop)
        return rows.drop_columns([KEY]) if self._keys is not None else rows

    def _remove(self, key: bytes) -> None:
        if key in self._found:
            del self._found[key]
            del self._added[bisect_left(self._added, (self._place(key), key))]
            return
        place = self._place(key)
        if place == self._base.num_rows and not self.whole:
            return
        at = bisect_left(self._gone, place)
        if place == self._base.num_rows or self._key(place) != key or self._gone[at : at + 1] == [place]:
            raise Astray("a row went that was not known")
        self._gone.insert(at, place)

    def _add(self, key: bytes, rows: pa.Table, row: int) -> None:
        place = self._place(key)
        if place == self._base.num_rows and not self.whole:
            return  # after the last one that is known: as unknown as those there
        insort(self._added, (place, key))
        self._found[key] = rows, row

    def _place(self, key: bytes) -> int:
        """Return how many rows of the base come before ``key``."""
        low, high = 0, self._base.num_rows
        while low < high:
            middle = (low + high) // 2
            if self._key(middle) < key:
                low = middle + 1
            else:
                high = middle
        return low

    def _key(self, row: int) -> bytes:
        assert self._keys is not None
        return self._keys[row].as_py()

    def _between(self, start: int, stop: int) -> pa.Table:
        return pa.concat_tables([self._base.slice(0, 0), *self._slices(start, stop)])

    def _slices(self, start: int, stop: int) -> Iterator[pa.Table]:
        """Yield rows from ``start`` to before ``stop`` as runs of the base and rows that were added."""
        skip, wanted, base = start, stop - start, 0
        events: list[tuple[int, bytes | None]] = sorted(
            [*self._added, *((place, None) for place in self._gone)],
            key=lambda event: (event[0], event[1] is None, event[1]),
        )
        for place, key in [*events, (self._base.num_rows, None)]:
            if wanted <= 0:
                return
            run = place - base
            if run > skip:
                piece = self._base.slice(base + skip, min(run - skip, wanted))
                yield piece
                wanted -= piece.num_rows
            skip = max(skip - run, 0)
            base = place + (key is None)
            if key is None or wanted <= 0:
                continue
            if skip:
                skip -= 1
            else:
                rows, row = self._found[key]
                yield rows.slice(row, 1)
                wanted -= 1

    def _rebase(self, rows: pa.Table) -> None:
        self._mapped = rows.nbytes > _IN_MEMORY
        if rows.nbytes > _LARGEST:
            raise LimitExceeded(
                f"the result has {rows.num_rows:,} rows of {rows.nbytes >> 20:,} MB in all; more than"
                f" {_LARGEST >> 20:,} MB are not kept live: add WHERE or LIMIT, or aggregate"
            )
        self._base = _filed(rows, self._folder) if self._mapped else rows.combine_chunks()
        self._keys = self._base[KEY] if KEY in self._base.column_names else None
        self._gone.clear()
        self._added.clear()
        self._found.clear()


def _bearable(rows: int) -> int:
    """Return after how many changes a new base is worth making: windows walk over them."""
    return min(8 + rows // 50, 256 + rows // 500)


def _filed(rows: pa.Table, folder: Path | None) -> pa.Table:
    """Return a table that is a file which nobody else has, and which is gone with it."""
    with tempfile.TemporaryFile(dir=folder) as file:
        with pa.ipc.new_file(file, rows.schema) as writer:
            for batch in rows.to_batches(max_chunksize=1 << 16):
                writer.write_batch(batch)
        file.flush()
        return pa.ipc.open_file(pa.py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))).read_all()
