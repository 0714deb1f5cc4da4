"""Appending to the last segment of the log: one frame and one flush per append, in the thread of whoever calls.

An append is answered ``ok`` after its frame was flushed. When writing or flushing fails, the descriptor is never used
again, because the system may have dropped the pages that it could not write and a second flush would succeed without them.
The file is opened anew: a frame that is not there whole is cut off, durably, and the append has failed (``ReadOnly``); one
that is there is written once more and flushed, and the append is ``ok``. Where even that fails the answer is ``unknown``,
and ``tail`` tries again.

Zeros are written ahead of the frames: an append that does not change the length of the file is flushed in about two
thirds of the time. A segment ends where its frames end once it is closed or another one follows.

A segment that somebody has deleted would take writes as if nothing had happened. So it is looked at before each append.
"""

from __future__ import annotations

import contextlib
import errno
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from nbreactive.engine._frames import HEADER_BYTES, encode_frame, encode_header
from nbreactive.engine._segment_files import STRIDE, SUFFIX, Segment
from nbreactive.engine.files import FileSystem, OpenFile
from nbreactive.engine.log import Appended, Position
from nbreactive.errors import ReadOnly

SEALED = "sealed"
_LEAST_AHEAD, _AHEAD = 1 << 14, 1 << 18
"""Bytes of zeros that are written at a time: as many as the file is long, within these bounds."""
FAST = 0.5e-3
"""Seconds: an append that takes less is not worth a change of threads."""
_SLOW = 5e-3
"""What a disk is thought to take about which nothing is known."""
_WEIGHT = 8


class SegmentAppends:
    """The segments of a log and the end of the last one; what :class:`~nbreactive.engine.segments.SegmentLog` appends with."""

    def __init__(self, folder: Path, files: FileSystem, segment_bytes: int) -> None:
        self._folder = folder
        self._files = files
        self._segment_bytes = segment_bytes
        self._lock = threading.Lock()  # guards the list of segments; everything else belongs to the thread
        self._segments: list[Segment] = []
        self._file: OpenFile | None = None
        self._tail: Position = 0
        self._doubt: bytes | None = None
        self._sealed = False
        self._usual = _SLOW
        self._zeroed = 0
        self._waiters: set[Callable[[], None]] = set()

    def _append(self, expected: Position, batch: Sequence[bytes]) -> Appended:
        if self._sealed:
            raise ReadOnly(f"the log in {self._folder} is sealed: its deployment has moved to another log")
        if self._doubt is not None:
            raise ReadOnly("the outcome of the last append is unknown: ask for the log's tail first")
        if expected != self._tail:
            return Appended("tail", self._tail)
        frame = encode_frame(expected + 1, batch)
        try:
            if self._file is not None and self._file.deleted():
                # Not opened again: another backend may have made a file of that name since
                raise FileNotFoundError(errno.ENOENT, "it was deleted", str(self._segments[-1].path))
            segment = self._room()
        except OSError as error:
            raise self._failed(error) from error
        try:
            file = self._file or self._files.open(segment.path)
            self._file = file
            begun = time.perf_counter()
            self._write_zeros(file, segment.end, len(frame))
            file.write(segment.end, frame)
            file.sync()
            self._usual += (time.perf_counter() - begun - self._usual) / _WEIGHT
        except OSError as error:
            self._usual = _SLOW
            self._doubt = frame
            try:
                committed = self._settle()
            except OSError:
                return Appended("unknown", expected)
            if not committed:
                raise self._failed(error) from error
            return Appended("ok", self._tail)
        self._grow(len(frame))
        return Appended("ok", self._tail)

    def _write_zeros(self, file: OpenFile, end: int, length: int) -> None:
        if end + length > self._zeroed:
            ahead = min(max(end, _LEAST_AHEAD), _AHEAD)
            try:
                file.write(end, bytes(length + ahead))
                self._zeroed = end + length + ahead
            except OSError:
                self._zeroed = 0
                file.truncate(end)  # there may still be room for the frame

    def _cut_zeros(self) -> None:
        segment = self._segments[-1]
        try:
            file = self._file = self._file or self._files.open(segment.path)
            file.truncate(segment.end)
            file.sync()
        except OSError:
            self._close_file()
            raise

    def _room(self) -> Segment:
        """Return the segment that takes the next frame; a new one, when the last is long enough."""
        segment = self._segments[-1]
        if not segment.end:
            new = self._create(segment.base)
            with self._lock:
                self._segments[-1] = new
            return new
        if segment.end < self._segment_bytes:
            return segment
        return self._next_segment()

    def _next_segment(self) -> Segment:
        segment = self._segments[-1]
        self._cut_zeros()
        new = self._create(self._tail)
        self._close_file()
        with self._lock:
            segment.end = 0
            self._segments.append(new)
        return new

    def _roll(self) -> None:
        if self._doubt is None and not self._sealed and self._segments[-1].end > HEADER_BYTES:
            try:
                self._next_segment()
            except OSError as error:
                raise self._failed(error) from error

    def _create(self, base: Position) -> Segment:
        path = self._folder / f"{base:020d}{SUFFIX}"
        file = self._files.open(path, create=True)
        try:
            file.write(0, encode_header(base))
            file.sync()
        finally:
            file.close()
        self._files.sync_folder(self._folder)
        return Segment(path, base, [(base, HEADER_BYTES)], HEADER_BYTES)

    def _grow(self, length: int) -> None:
        segment = self._segments[-1]
        with self._lock:
            self._tail += 1
            segment.end += length
            if self._tail - segment.marks[-1][0] >= STRIDE:
                segment.marks.append((self._tail, segment.end))
        for wake in list(self._waiters):
            wake()

    def _settle(self) -> bool:
        """Make the frame in doubt certain: there and durable (True), or durably gone. OSError: neither."""
        frame, segment = self._doubt, self._segments[-1]
        assert frame is not None
        self._close_file()
        with contextlib.suppress(OSError):
            file = self._file = self._files.open(segment.path)
            if file.read(segment.end, len(frame)) == frame:
                file.truncate(segment.end)  # so that every page of it is written anew
                file.write(segment.end, frame)
                file.sync()
                self._doubt = None
                self._grow(len(frame))
                return True
        self._close_file()
        file = self._file = self._files.open(segment.path)
        file.truncate(segment.end)
        file.sync()
        self._doubt = None
        return False

    def _resolve(self) -> Position:
        if self._doubt is not None:
            try:
                self._settle()
            except OSError as error:
                raise self._failed(error) from error
        return self._tail

    def _failed(self, error: OSError) -> ReadOnly:
        if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
            reason = "the disk is full: free some space, writing goes on by itself"
        elif error.errno == errno.ENOENT:
            reason = (
                "its files were deleted while the backend was running: stop it, restore the data folder, start again"
            )
        else:
            reason = "the disk does not take writes: look at the system's log and at the drive's health"
        return ReadOnly(f"nothing can be written to the log in {self._folder} ({error}); {reason}")

    def _finish(self) -> None:
        if self._zeroed:
            with contextlib.suppress(OSError):  # the next start cuts them off
                self._cut_zeros()
        self._close_file()

    def _close_file(self) -> None:
        self._zeroed = 0
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()

    def _seal(self) -> Position:
        self._resolve()
        try:
            file = self._files.open(self._folder / SEALED, create=True)
            file.close()
            self._files.sync_folder(self._folder)
        except OSError as error:
            raise self._failed(error) from error
        self._sealed = True
        return self._tail
