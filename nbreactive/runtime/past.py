"""``ctx.db.at(ts)``, and whole calls as of an earlier time: reading what was.

The row index of now has the versions of the last minute. For older times the backend makes row indexes of their own
(:mod:`nbreactive.services.past_indexes`), of which it tells the worker the folders with the call. A time that is not among
them ends the call, which is run again once there is one: so nothing waits inside a worker.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple, NoReturn

from nbreactive.engine.row_index import RowIndex
from nbreactive.engine.transactions import Call
from nbreactive.errors import InvalidValue, NBReactiveError, Unavailable
from nbreactive.runtime.tables import SnapshotReader, TableCache
from nbreactive.runtime.transaction import Transaction
from nbreactive.values.instants import moment

MOST: Final = 4
"""Earlier times that one call can read, and whose row indexes a worker keeps open."""
_MARGIN: Final = 10_000_000_000
"""So far above its horizon the row index of now can be relied on for as long as a call takes."""


class NeedsPast(Unavailable):
    """The call reads as of a time of which there is no row index at hand; ``ts`` is that time."""

    def __init__(self, ts: int) -> None:
        super().__init__(f"{moment(ts)} is not at hand here; a backend looks it up in its history")
        self.ts = ts


class _Opened(NamedTuple):
    row_index: RowIndex
    reader: SnapshotReader
    tables: TableCache


class PastIndexes:
    """The row indexes of earlier times that a worker has open."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, _Opened] = OrderedDict()

    def open(self, folder: str) -> tuple[SnapshotReader, TableCache]:
        """Return a reader of the row index in a folder, and what is known of its tables."""
        found = self._open.pop(folder, None)
        if found is None:
            while len(self._open) >= MOST:
                self._open.popitem(last=False)[1].row_index.close()
            index = RowIndex.open(folder, readonly=True)
            found = _Opened(index, index.reader(), TableCache())
        self._open[folder] = found
        found.reader.renew()
        return found.reader, found.tables

    def view(self, call: Call, live: SnapshotReader, tables: TableCache, txn: Transaction, ts: int) -> Transaction:
        """Return what a call reads as of ``ts``; ``live`` reads the row index of now."""
        if ts > txn.snapshot:
            raise InvalidValue(
                f"{moment(ts)} is later than what this function reads ({moment(txn.snapshot)})", "ctx.db.at"
            )
        folder = call.past.get(ts)
        if folder is None and (call.index or ts < live.horizon + _MARGIN):
            txn.abort(NeedsPast(ts))
        reader, known = (live, tables) if folder is None else self.open(folder)
        return _Earlier(txn, reader, known, ts)


class _Earlier(Transaction):
    """What another transaction reads as of an earlier time: with its limits, and it ends when that one does."""

    def __init__(self, of: Transaction, reader: SnapshotReader, tables: TableCache, ts: int) -> None:
        super().__init__(reader, tables, ts, ts // 1_000_000, bytes(16), of.limits)
        self._of = of
        self.used = of.used
        self.log, self.told = of.log, of.told
        self.earlier = of.earlier
        self.pages = of.pages

    def abort(self, error: NBReactiveError) -> NoReturn:
        """Make sure that the transaction never commits, and raise ``error``."""
        self._of.abort(error)

    def _check(self) -> None:
        self._of._check()  # noqa: SLF001 - one of its kind

    def check_running(self) -> None:
        """Raise if the call has ended."""
        self._of.check_running()

    def _record(self, index_id: int, low: bytes, high: bytes) -> None:
        """Nothing that is over can change."""
