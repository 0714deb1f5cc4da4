"""Row indexes of earlier times, so that functions read what was as they read what is.

The row index of now has the versions of the last minute. For an older time one of its own is made, in a folder beside it,
from the history in store.duckdb: every document as it was then, under the tables and indexes of today, for the code that
reads it is today's. Whoever asks for a time between two commits gets that of the first of them. The last few are
kept, up to a number of bytes; a change of tables, code or environment variables makes all of them old.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from nbreactive.engine._index_builder import Part
from nbreactive.engine.catalog import BY_NAME, ENV, MODULES, TABLES, index_id
from nbreactive.engine.row_index import RowIndex
from nbreactive.errors import HistoryGone, InvalidValue, Overloaded, ReadOnly, Unavailable
from nbreactive.values.instants import moment

if TYPE_CHECKING:
    from nbreactive.columns._frames import Span
    from nbreactive.columns.supervisor import Columns
    from nbreactive.engine.engine import Engine

MOST_BYTES = 1 << 30
"""What the row indexes of earlier times may take on the disk, those aside that are being read."""
MOST = 16
"""Row indexes that are kept at most."""
_WAITING = 32
"""Calls that wait until such an index is made; more are refused."""


class Horizon(Protocol):
    """Tells from when on the log is whole."""

    @property
    def horizon(self) -> int:
        """Versions of documents that were replaced at or before this timestamp may be missing."""
        ...


class _Index:
    def __init__(self, folder: Path, at: int, generation: int) -> None:
        self.folder = folder
        self.at = at
        self.generation = generation
        self.readers = 0
        self.size = 0
        self.documents = 0
        self.made = asyncio.Event()
        self.error: Exception | None = None


class PastIndexes:
    """The row indexes of earlier times of one deployment.

    Parameters
    ----------
    folder
        Where they are; what is there is deleted.
    engine, log
        Whose earlier times.
    columns
        Has the history.
    most_bytes
        How much they may take.
    """

    def __init__(
        self, folder: Path, engine: Engine, log: Horizon, columns: Columns, *, most_bytes: int = MOST_BYTES
    ) -> None:
        self._folder = folder
        self._engine = engine
        self._log = log
        self._columns = columns
        self._most_bytes = most_bytes
        self._kept: OrderedDict[int, _Index] = OrderedDict()
        """By the timestamp of the last commit that each has."""
        self._old: list[_Index] = []
        """Those in whose place there is another one."""
        self._building = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting = 0
        self._generation = 0
        self._made = 0
        self._closed = False
        shutil.rmtree(folder, ignore_errors=True)
        for table in (TABLES, MODULES, ENV):
            engine.watch(index_id(table, BY_NAME), self._changed)

    async def check(self, at: int) -> tuple[int, int]:
        """Return a time that can be read, and the timestamp of the last commit by then; wait until both are certain.

        Raises
        ------
        HistoryGone
            It is before what is kept.
        InvalidValue
            It has not come yet.
        """
        newest = self._engine.applied
        if at > newest:
            now = self._engine.clock.now_ns()
            if at > now:
                raise InvalidValue(f"{moment(at)} has not come yet: it is {moment(now)} here", "at")
            at = newest  # nothing has been committed since, and what will be has a later timestamp
        await self._engine.release(at)
        await self._columns.wait(at)
        span = await self._columns.span(at)
        self._refuse_gone(at, span)
        return at, span.last

    @contextlib.asynccontextmanager
    async def at(self, at: int) -> AsyncGenerator[str]:
        """Give the folder of a row index as of a timestamp; it stays while one is inside."""
        at, last = await self.check(at)
        index = self._kept.get(last)
        if index is None or index.generation != self._generation or index.error is not None:
            index = self._begin(at, last)
        self._kept.move_to_end(last)
        index.readers += 1
        try:
            await self._until_made(index)
            yield str(index.folder)
        finally:
            index.readers -= 1
            await self._tidy()

    def _refuse_gone(self, at: int, span: Span) -> None:
        horizon = max(span.horizon, self._log.horizon)
        if at < horizon:
            raise HistoryGone(
                f"{moment(at)} is before {moment(horizon)}, from when on history is kept here (--keep-history says for how"
                " long it is); ask for a later time",
                "at",
            )

    def status(self) -> list[dict[str, Any]]:
        """Return what there is, and how far those are that are being made."""
        return [
            {
                "at": moment(index.at),
                "documents": index.documents,
                "bytes": index.size,
                "state": "ready" if index.made.is_set() else "loading",
            }
            for index in self._kept.values()
        ]

    async def close(self) -> None:
        """Delete them all; calls that wait for one fail."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    def _changed(self, keys: Sequence[bytes] | None) -> None:
        if keys is None or keys:
            self._generation += 1

    # ---- making ------------------------------------------------------------------------------------------------

    def _begin(self, at: int, last: int) -> _Index:
        if self._closed:
            raise _stopping()
        if last in self._kept:
            self._old.append(self._kept.pop(last))
        self._made += 1
        index = self._kept[last] = _Index(self._folder / str(self._made), at, self._generation)
        task = asyncio.get_running_loop().create_task(self._make(index))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return index

    async def _until_made(self, index: _Index) -> None:
        if index.made.is_set() and index.error is None:
            return
        if self._waiting >= _WAITING:
            raise Overloaded(f"{self._waiting} calls wait for data of earlier times already; try again in a moment")
        self._waiting += 1
        try:
            await index.made.wait()
        finally:
            self._waiting -= 1
        if index.error is not None:
            raise index.error

    async def _make(self, index: _Index) -> None:
        try:
            async with self._building:  # each takes all that the columns process can give
                await self._columns.wait(self._engine.durable)  # for the tables of now
                await self._columns.documents(lambda parts: self._fill(index, parts), at=index.at)
                self._refuse_gone(index.at, await self._columns.span(index.at))  # which may have happened meanwhile
            index.size = await asyncio.to_thread(_size, index.folder)
        except (OSError, ReadOnly) as error:
            index.error = Unavailable(f"the data as of {moment(index.at)} could not be written down: {error}")
        except asyncio.CancelledError:
            index.error = _stopping()
        except Exception as error:  # noqa: BLE001 - told to who waits
            index.error = error
        index.made.set()

    def _fill(self, index: _Index, parts: Iterable[Part]) -> None:
        """Fill a row index (in a thread)."""
        shutil.rmtree(index.folder, ignore_errors=True)  # of a columns process that died
        index.documents = 0
        made = RowIndex.open(index.folder)
        try:
            made.rebuild(self._counted(index, parts), applied=index.at)
        finally:
            made.close()

    def _counted(self, index: _Index, parts: Iterable[Part]) -> Iterator[Part]:
        for part in parts:
            if self._closed:
                raise _stopping()
            index.documents += len(part)
            yield part

    # ---- keeping -----------------------------------------------------------------------------------------------

    async def _tidy(self) -> None:
        """Delete what is old, or too much, and not being read."""
        gone = [index for index in self._old if index.made.is_set() and not index.readers]
        self._old = [index for index in self._old if index not in gone]
        total = sum(index.size for index in self._kept.values())
        for last, index in list(self._kept.items()):
            if index.readers or not index.made.is_set():
                continue
            useless = index.generation != self._generation or index.error is not None
            much = total > self._most_bytes or len(self._kept) > MOST
            if useless or (much and last != next(reversed(self._kept))):  # the last one used is kept, whatever its size
                del self._kept[last]
                total -= index.size
                gone.append(index)
        for index in gone:
            await asyncio.to_thread(shutil.rmtree, index.folder, ignore_errors=True)


def _size(folder: Path) -> int:
    return sum(getattr(file.stat(), "st_blocks", 0) * 512 or file.stat().st_size for file in folder.iterdir())


def _stopping() -> Unavailable:
    return Unavailable("the backend is stopping; ask again when it is back")
