"""Rewriting closed segments of the log so that only the latest versions of documents are left.

What counts is the state at the end of the rewritten range, its horizon: a version that was replaced by then is dropped,
a deleted document is dropped whole, and so is the record of a request that nobody will send again. Descriptions of
tables stay, all of them: documents are read by the description of their time. The last entry stays too, without its
writes if need be, so that the log keeps its positions and its last timestamp.

Files are replaced from the oldest on, each in one step. So in every moment, whatever is missing from the log has been
replaced by something that is still in it, and whoever applies it from the start arrives at the same state.

This is done by a process of its own (:mod:`nbreactive.engine._compaction_worker`): it takes a processor for seconds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from nbreactive.engine._frames import (
    COMPACT_HEADER_BYTES,
    HEADER_BYTES,
    CompactRange,
    Damaged,
    encode_compact_header,
    encode_frame,
    frames,
)
from nbreactive.engine._segment_files import draft_of
from nbreactive.engine.catalog import TABLES
from nbreactive.engine.entries import Entry, decode_entry, encode_entry
from nbreactive.engine.files import FileSystem
from nbreactive.engine.segments import ClosedSegment
from nbreactive.errors import DataFolderError

_FRAME = 1 << 20
"""Bytes of entries in one frame."""


class CompactionJob(msgspec.Struct, frozen=True):
    """What to rewrite."""

    segments: list[ClosedSegment]
    """Closed segments, from the first one of the log on, without a gap."""
    upto: int
    """Segments with later timestamps are left alone."""
    requests_after: int
    """The records of later requests are kept."""
    file_bytes: int = 1 << 26
    """Files become about so long."""


class CompactedFile(msgspec.Struct, frozen=True):
    """A draft of a compact segment, durably written."""

    draft: str
    base: int
    end: int
    horizon: int

    @property
    def header(self) -> CompactRange:
        """What stands in its header."""
        return CompactRange(self.base, self.end, self.horizon)


def compact(files: FileSystem, job: CompactionJob) -> Iterator[CompactedFile]:
    """Write compact segments, oldest first; each may take its place when it is yielded.

    Raises
    ------
    DataFolderError
        A segment is damaged; nothing more is written.
    """
    latest, count, horizon = _survey(files, job)
    group: list[ClosedSegment] = []
    writer: _Writer | None = None
    for segment in job.segments[:count]:
        writer = writer or _Writer(files, draft_of(Path(segment.path)))
        group.append(segment)
        for position, entries in _batches(files, segment):
            for entry in entries:
                last = position == segment.end and entry is entries[-1]
                kept = _kept(entry, latest, job.requests_after)
                if kept.writes or kept.request is not None or last:
                    writer.add(kept)
            if position == segment.end or writer.full:
                writer.frame(position)
        if writer.size >= job.file_bytes:
            yield writer.finish(group, horizon)
            group, writer = [], None
    if writer is not None:
        yield writer.finish(group, horizon)


def _survey(files: FileSystem, job: CompactionJob) -> tuple[dict[bytes, int], int, int]:
    """Return the last timestamp of each document, how many segments may be rewritten, and their last timestamp."""
    latest: dict[bytes, int] = {}
    horizon = count = 0
    for segment in job.segments:
        found: dict[bytes, int] = {}
        end = 0
        for _, entries in _batches(files, segment):
            for entry in entries:
                end = entry.ts
                for write in entry.writes:
                    found[_key(write.table, write.id)] = -entry.ts if write.doc is None else entry.ts
            if end > job.upto:
                return latest, count, horizon
        latest |= found
        horizon = max(horizon, end)
        count += 1
    return latest, count, horizon


def _kept(entry: Entry, latest: dict[bytes, int], requests_after: int) -> Entry:
    writes = [
        write if write.table == TABLES else msgspec.structs.replace(write, previous=0)
        for write in entry.writes
        if write.table == TABLES or latest[_key(write.table, write.id)] == entry.ts
    ]
    request = entry.request if entry.ts > requests_after else None
    return Entry(entry.ts, entry.epoch, writes, request)


def _key(table: int, id: bytes) -> bytes:
    return table.to_bytes(4, "big") + id


def _batches(files: FileSystem, segment: ClosedSegment) -> Iterator[tuple[int, list[Entry]]]:
    header = COMPACT_HEADER_BYTES if segment.compact else HEADER_BYTES
    position = segment.base
    try:
        with contextlib.closing(files.open(Path(segment.path))) as file:
            for _, number, entries in frames(file, header, file.size(), segment.base, compact=segment.compact):
                position = number
                yield position, [decode_entry(data) for data in entries]
    except Damaged as damaged:
        raise DataFolderError(
            f"the log is damaged: {segment.path} at offset {damaged.offset}; it was left as it is."
            " `nbreactive doctor` says more"
        ) from None
    if position != segment.end:
        raise DataFolderError(f"the log is damaged: {segment.path} ends after batch {position}, not {segment.end}")


class _Writer:
    def __init__(self, files: FileSystem, draft: Path) -> None:
        self._files = files
        self._draft = draft
        # Never one that another process has made: it might still write to it when it is part of the log
        self._file = files.make(draft)
        self._entries: list[bytes] = []
        self._bytes = 0
        self.size = COMPACT_HEADER_BYTES

    @property
    def full(self) -> bool:
        return self._bytes >= _FRAME

    def add(self, entry: Entry) -> None:
        data = encode_entry(entry)
        self._entries.append(data)
        self._bytes += len(data)

    def frame(self, position: int) -> None:
        """End a frame at a position, if there is anything in it."""
        if self._entries:
            frame = encode_frame(position, self._entries, compact=True)
            self._file.write(self.size, frame)
            self.size += len(frame)
            self._entries, self._bytes = [], 0

    def finish(self, group: Sequence[ClosedSegment], horizon: int) -> CompactedFile:
        """Write the header, which makes the file whole, and let nothing of it be in memory only."""
        done = CompactedFile(str(self._draft), group[0].base, group[-1].end, horizon)
        self._file.write(0, encode_compact_header(done.header))
        self._file.sync()
        self._file.close()
        return done
