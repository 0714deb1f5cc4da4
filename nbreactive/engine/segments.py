"""The log on one disk: append-only segment files, one frame and one flush per append.

All work on files happens in one thread of the log's own, in order; the event loop only waits. The exception are appends
(:mod:`nbreactive.engine._segment_appends`) to a disk that has been fast of late: handing them to the thread would take longer
than they do.

Closed segments may be replaced by compact ones (:meth:`SegmentLog.compact`), while others read.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec

from nbreactive.engine._frames import HEADER_BYTES, CompactRange
from nbreactive.engine._one_thread import OneThread
from nbreactive.engine._segment_appends import FAST, SEALED, SegmentAppends
from nbreactive.engine._segment_files import (
    SUFFIX,
    Segment,
    compact_segment,
    delete_slowly,
    draft_of,
    find,
    read_some,
    recover,
)
from nbreactive.engine._segment_gaps import gaps
from nbreactive.engine.files import Disk, FileSystem
from nbreactive.engine.log import Appended, Batch, Position, trimmed
from nbreactive.errors import DataFolderError, InvalidValue


class ClosedSegment(msgspec.Struct, frozen=True):
    """One file of the log to which nothing is appended any more."""

    path: str
    base: Position
    end: Position
    """The position of its last batch."""
    compact: bool = False


class SegmentLog(SegmentAppends):
    """A :class:`~nbreactive.engine.log.CommitLog` in a folder; made by :meth:`open`.

    Attributes
    ----------
    cut
        How many bytes behind the last frame (zeros, or of an append that was cut short) were removed when it was opened.
    horizon
        Versions of documents that were replaced at or before this timestamp may be missing: whoever has applied less
        begins with nothing.
    compacted
        The position up to which compact segments reach.
    gaps
        What was missing or damaged before the last segment when it was opened, as far as that is cheap to see.
    """

    def __init__(self, folder: Path, files: FileSystem, segment_bytes: int) -> None:
        super().__init__(folder, files, segment_bytes)
        self._thread = OneThread("nbreactive-log")
        self._replaced = 0
        self.cut = 0
        self.horizon = 0
        self.compacted: Position = 0
        self.gaps: list[str] = []

    @classmethod
    async def open(
        cls, folder: str | Path, *, files: FileSystem | None = None, segment_bytes: int = 1 << 26
    ) -> SegmentLog:
        """Open the log in ``folder``, which is made if it is not there, and cut off an append that was cut short.

        Raises
        ------
        DataFolderError
            The log is damaged, or cannot be read or written.
        """
        log = cls(Path(folder), files or Disk(), segment_bytes)
        try:
            await log._thread.run(log._recover)
        except OSError as error:
            log._thread.end()
            raise DataFolderError(f"the log in {folder} cannot be opened: {error}") from error
        except BaseException:
            log._thread.end()
            raise
        return log

    async def append(self, expected: Position, batch: Sequence[bytes]) -> Appended:
        """See :meth:`~nbreactive.engine.log.CommitLog.append`."""
        if not batch:
            raise InvalidValue("an empty batch cannot be appended to the log")
        if self._usual < FAST and self._thread.idle:
            return self._append(expected, batch)
        return await self._thread.run(lambda: self._append(expected, batch))

    async def tail(self) -> Position:
        """See :meth:`~nbreactive.engine.log.CommitLog.tail`."""
        if self._doubt is None:
            return self._tail
        return await self._thread.run(self._resolve)

    async def read(self, after: Position = 0) -> AsyncIterator[Batch]:
        """See :meth:`~nbreactive.engine.log.CommitLog.read`."""
        replaced, tail, segments = self._view()
        if after < segments[0].base:
            raise trimmed(f"the log in {self._folder}", segments[0].base, after)
        while after < tail:
            try:
                batches = await asyncio.to_thread(read_some, self._files, segments, after, tail)
            except DataFolderError:
                before = replaced
                replaced, _, segments = self._view()
                if replaced == before:
                    raise
                continue  # the file was replaced by a compact one, at that moment
            for batch in batches:
                yield batch
            after = batches[-1].position

    async def watch(self, after: Position) -> Position:
        """See :meth:`~nbreactive.engine.log.CommitLog.watch`."""
        loop = asyncio.get_running_loop()
        grown = asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(grown.set)

        self._waiters.add(wake)
        try:
            while self._tail <= after:
                await grown.wait()
                grown.clear()
        finally:
            self._waiters.discard(wake)
        return self._tail

    async def trim(self, upto: Position) -> Position:
        """See :meth:`~nbreactive.engine.log.CommitLog.trim`; whole segments go, never the last."""
        return await self._thread.run(lambda: self._trim(upto))

    async def roll(self) -> None:
        """Close the last segment, if anything is in it: what is appended from now on goes into a new one."""
        await self._thread.run(self._roll)

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self._folder

    def size(self) -> int:
        """Return about how many bytes it has."""
        return sum(path.stat().st_size for path in list(self._folder.glob(f"*{SUFFIX}")) if path.exists())

    def closed(self) -> list[ClosedSegment]:
        """Return the segments to which nothing is appended any more, oldest first."""
        with self._lock:
            return [
                ClosedSegment(str(segment.path), segment.base, following.base, segment.compact)
                for segment, following in pairwise(self._segments)
            ]

    async def compact(self, draft: Path, header: CompactRange) -> None:
        """Put a compact segment, durably written to ``draft``, in the place of all closed ones of its range.

        Whoever reads inside of the range meanwhile may be given entries again that he has had; their timestamps tell.
        It takes over the name of the first of them, at once; the others are removed after that, little by little. A
        crash in between leaves files that the next start recognises and removes.

        Raises
        ------
        DataFolderError
            The range is not one of whole closed segments.
        """
        gone = await self._thread.run(lambda: self._compact(draft, header))
        await asyncio.to_thread(self._give_back, gone)

    async def seal(self) -> Position:
        """See :meth:`~nbreactive.engine.log.CommitLog.seal`."""
        return await self._thread.run(self._seal)

    async def close(self) -> None:
        """Close the files and end the thread."""
        await self._thread.run(self._finish)
        self._thread.end()

    # ---- in the log's thread -----------------------------------------------------------------------------------

    def _view(self) -> tuple[int, Position, list[Segment]]:
        """Return how often segments were replaced, the tail, and the segments as they are now."""
        with self._lock:
            segments = [msgspec.structs.replace(segment, marks=list(segment.marks)) for segment in self._segments]
            return self._replaced, self._tail, segments

    def _compact(self, draft: Path, header: CompactRange) -> list[Path]:
        """Return what is left to be deleted."""
        bases = [segment.base for segment in self._segments]
        if header.base not in bases or header.end not in bases[1:]:
            raise DataFolderError(f"{draft} stands for {header.base} to {header.end}, which are no ends of segments")
        first, behind = bases.index(header.base), bases.index(header.end)
        new = compact_segment(self._segments[first].path, header)
        with self._lock:  # readers look at the files by this list
            self._files.rename(draft, new.path)
            gone = self._segments[first + 1 : behind]
            self._segments[first:behind] = [new]
            self._replaced += 1
            self._note(header)
        self._files.sync_folder(self._folder)
        drafts = [draft_of(segment.path) for segment in gone]  # what the next start deletes, should we not come to it
        for segment, path in zip(gone, drafts, strict=True):
            with contextlib.suppress(OSError):
                self._files.rename(segment.path, path)
        return drafts

    def _give_back(self, paths: Sequence[Path]) -> None:
        for path in paths:
            with contextlib.suppress(OSError):
                delete_slowly(self._files, path)

    def _note(self, header: CompactRange) -> None:
        self.horizon = max(self.horizon, header.horizon)
        self.compacted = max(self.compacted, header.end)

    def _trim(self, upto: Position) -> Position:
        removed = False
        while len(self._segments) > 1 and self._segments[1].base <= upto:
            with self._lock:
                segment = self._segments.pop(0)
            with contextlib.suppress(OSError):  # a file that stays is found at the next start and trimmed again
                self._files.remove(segment.path)
                removed = True
        if removed:
            with contextlib.suppress(OSError):
                self._files.sync_folder(self._folder)
        return self._segments[0].base

    # ---- opening ---------------------------------------------------------------------------------------------

    def _recover(self) -> None:
        names = self._files.names(self._folder)
        self._sealed = SEALED in names
        for segment, header in find(self._files, self._folder, names):
            self._segments.append(segment)
            if header is not None:
                self._note(header)
        while self._segments and not self._segments[-1].compact:
            found = recover(self._files, self._segments[-1], only=len(self._segments) == 1)
            if found is not None:
                self._tail, self.cut = found
                break
            self._files.remove(self._segments.pop().path)
            self._files.sync_folder(self._folder)
        if self._segments and not self._segments[-1].compact:
            self._file = self._files.open(self._segments[-1].path)
        else:
            # Made by the first append: looking at a folder changes nothing in it
            self._tail = base = self.compacted
            self._segments.append(Segment(self._folder / f"{base:020d}{SUFFIX}", base, [(base, HEADER_BYTES)]))
        self.gaps = list(gaps(self._files, self._segments))
