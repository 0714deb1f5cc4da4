"""History is kept for some days; older versions go, while everything else goes on.

The log and the history in store.duckdb are brought to the same horizon; the row index keeps a minute anyway. Nothing
is dropped that somebody needs: the newest version of a document stays whatever its age, and the horizon never passes
what store.duckdb has applied, nor does a segment go whose position the row index has not noted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

import nbreactive
from nbreactive.engine._segment_files import DRAFTS
from nbreactive.engine.compaction import CompactedFile, CompactionJob
from nbreactive.engine.entries import decode_entry
from nbreactive.engine.feed import first_batch
from nbreactive.errors import DataFolderError, InvalidValue, NBReactiveError

if TYPE_CHECKING:
    from nbreactive.columns.supervisor import Columns
    from nbreactive.engine.engine import Engine
    from nbreactive.engine.row_index import RowIndex
    from nbreactive.engine.segments import ClosedSegment, SegmentLog
    from nbreactive.services.files import Files

_log = logging.getLogger("nbreactive.retention")

KEEP_SECONDS = 14 * 86_400.0
"""For how long history is kept, unless said otherwise."""
_REQUEST_SECONDS = 86_400.0
"""For how long a request that is sent again is recognised (the row index keeps its answers as long)."""
_FIRST = 600.0
_FRESH_BYTES = 16 << 20
"""So much must have become old before segments are rewritten."""
_PATIENCE = 5.0
# -P: what lies in the working directory is not ours. So the package's own place must be said
_PLACE = os.pathsep.join(
    filter(None, [str(Path(nbreactive.__file__).resolve().parent.parent), os.environ.get("PYTHONPATH")])
)
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


class RetentionReport(msgspec.Struct, frozen=True):
    """What one round did."""

    horizon: int
    """History before this timestamp may be gone."""
    log_before: int
    log_after: int
    """Bytes of the log."""
    versions: int
    """Versions that went out of store.duckdb."""
    seconds: float
    files: int = 0
    """Contents of files that were deleted."""


class Retention:
    """Keeps the history of one deployment as long as it should be.

    Parameters
    ----------
    log, index, engine, columns
        Whose history.
    keep
        For how long, seconds.
    files
        Contents that no document names go when the history goes that named them.
    """

    def __init__(
        self,
        log: SegmentLog,
        index: RowIndex,
        engine: Engine,
        columns: Columns,
        *,
        keep: float = KEEP_SECONDS,
        files: Files | None = None,
    ) -> None:
        self._log = log
        self._index = index
        self._engine = engine
        self._columns = columns
        self._files = files
        self.collect_batches: Callable[[float], Awaitable[int]] | None = None
        """Deletes files of rows in columns that no commit has come to name."""
        self.keep = keep
        self.busy = asyncio.Lock()
        """Held while the log is rewritten; whoever reads all of it, as a backup does, holds it too."""

    async def run(self) -> None:
        """Go on for ever: soon after the start, then about daily."""
        pause = min(_FIRST, self.keep)
        while True:
            await asyncio.sleep(max(1.0, pause))
            try:
                await self.round()
            except (NBReactiveError, OSError) as error:
                _log.warning("old history could not be dropped, it stays until the next round: %s", error)
            pause = min(self.keep / 14, 86_400.0)

    async def round(self, keep: float | None = None, *, thorough: bool = False) -> RetentionReport:
        """Drop what is too old.

        Parameters
        ----------
        keep
            Another time than usual, seconds.
        thorough
            Also where it hardly makes the files shorter.
        """
        keep = self.keep if keep is None else keep
        async with self.busy:
            began = time.monotonic()
            await self._roll(time.time_ns() - int(keep * 1e9))
            if thorough:
                await self._noted()
            before = _size(self._log.closed())
            horizon = min(time.time_ns() - int(keep * 1e9), self._engine.durable)
            if keep <= 0:
                await self._columns.wait(horizon)
            horizon = min(horizon, self._columns.applied)
            versions = 0
            if horizon > 0:
                await self._compact(horizon, thorough)
                versions = await self._columns.trim(horizon)
            files = await self._files.collect(keep) if self._files is not None else 0
            if self.collect_batches is not None:
                files += await self.collect_batches(keep)
            after = _size(self._log.closed())
            return RetentionReport(max(0, horizon), before, after, versions, round(time.monotonic() - began, 3), files)

    async def _roll(self, horizon: int) -> None:
        """Close the last segment if anything in it is old: only closed ones are rewritten."""
        closed = self._log.closed()
        batch = await first_batch(self._log, closed[-1].end if closed else 0)
        if batch is not None and decode_entry(batch.entries[0]).ts <= horizon:
            await self._log.roll()

    async def _noted(self) -> None:
        """Wait until the row index has noted the end of what is closed, which it does about every second."""
        closed = self._log.closed()
        deadline = time.monotonic() + _PATIENCE
        while closed and self._index.log_position < closed[-1].end and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    async def _compact(self, horizon: int, thorough: bool) -> None:
        segments: list[ClosedSegment] = []
        noted = self._index.log_position
        for segment in self._log.closed():
            if segment.end > noted or not (segment.compact or await self._ends_by(segment, horizon)):
                break
            segments.append(segment)
        fresh = _size([segment for segment in segments if not segment.compact])
        if not segments or not fresh:
            return
        if fresh < max(_FRESH_BYTES, (_size(segments) - fresh) // 2) and not thorough:
            return
        requests_after = time.time_ns() - int(_REQUEST_SECONDS * 1e9)
        await self._run(CompactionJob(segments, horizon, requests_after))

    async def _ends_by(self, segment: ClosedSegment, horizon: int) -> bool:
        """Tell whether nothing in a segment is younger; by what follows if possible, as its own end is far from its begin."""
        following = await first_batch(self._log, segment.end)
        if following is not None and decode_entry(following.entries[0]).ts <= horizon:
            return True
        last = await first_batch(self._log, segment.end - 1)
        return last is not None and decode_entry(last.entries[-1]).ts <= horizon

    async def _run(self, job: CompactionJob) -> None:
        # Read by threads: the loop that watches sockets cannot watch processes on Windows.
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(  # noqa: ASYNC220 - no longer than asyncio takes to start one
                (sys.executable, "-P", "-m", "nbreactive.engine._compaction_worker"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                env=os.environ | {"PYTHONPATH": _PLACE},
            )
            try:
                await self._follow(process, msgspec.json.encode(job))
                if await asyncio.to_thread(process.wait):
                    said.seek(0)
                    words = said.read().decode("utf-8", "replace").strip()
                    raise DataFolderError(words or f"the process that rewrites the log ended with {process.returncode}")
            finally:
                process.kill()
                await asyncio.to_thread(_close, process)
                for draft in self._log.folder.glob(DRAFTS):  # of a process that did not come to its end
                    with contextlib.suppress(OSError):
                        draft.unlink()

    async def _follow(self, process: subprocess.Popen[bytes], job: bytes) -> None:
        """Give it its job, and put what it has made into place, one after the other."""
        assert process.stdin is not None
        assert process.stdout is not None
        tell, hear = process.stdin, process.stdout

        def next_line(words: bytes) -> bytes:
            with contextlib.suppress(BrokenPipeError):  # what it says of its end is read later
                tell.write(words)
                tell.flush()
            return hear.readline()

        words = job
        while line := await asyncio.to_thread(next_line, words + b"\n"):
            done = msgspec.json.decode(line, type=CompactedFile)
            await self._log.compact(Path(done.draft), done.header)
            words = b""


def _close(process: subprocess.Popen[bytes]) -> None:
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def seconds_of(text: str) -> float:
    """Read a time such as ``14d``, ``36h``, ``90m`` or ``30s``; a bare number is seconds.

    Examples
    --------
    >>> seconds_of("14d"), seconds_of("90")
    (1209600.0, 90.0)
    """
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "s")
    try:
        seconds = float(number) * _UNITS[unit]
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise InvalidValue(f"{text!a} is not a time: write a number and one of s m h d w, such as 14d")
    return seconds


def _size(segments: list[ClosedSegment]) -> int:
    total = 0
    for segment in segments:
        with contextlib.suppress(FileNotFoundError):
            total += Path(segment.path).stat().st_size
    return total
