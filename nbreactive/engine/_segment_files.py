"""The files of the log: finding the end of the last one, and reading any of them."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from nbreactive.engine._frames import (
    COMPACT_HEADER_BYTES,
    HEADER_BYTES,
    CompactRange,
    Damaged,
    frame_behind,
    frames,
    read_compact_header,
    read_header,
)
from nbreactive.engine.files import FileSystem, OpenFile
from nbreactive.engine.log import Batch, Position, trimmed
from nbreactive.errors import DataFolderError

SUFFIX = ".log"
_DRAFT = ".new"
DRAFTS = f"*{SUFFIX}.*{_DRAFT}"
"""Of which kind the names of drafts are."""
STRIDE = 64
"""Every so many frames the log notes where one ends, so that reading can begin there."""
_READ_BYTES = 1 << 20
_PIECE = 8 << 20
_PAUSE = 0.02


class Segment(msgspec.Struct):
    """One file of the log."""

    path: Path
    base: Position
    """The position before its first frame."""
    marks: list[tuple[Position, int]]
    """Some positions and where their frames end, in order; the first is the header's."""
    end: int = 0
    """Where its durable frames end; 0: at the end of the file, because later segments follow, or it is not made yet."""
    compact: bool = False
    """Whether retention wrote it, so that positions are left out."""


def draft_of(path: Path) -> Path:
    """Return a name for a draft of what shall take the place of a segment; nobody else is given the same."""
    return path.with_name(f"{path.name}.{secrets.token_hex(8)}{_DRAFT}")


def compact_segment(path: Path, header: CompactRange) -> Segment:
    """Return a compact segment, about whose frames nothing is known yet."""
    return Segment(path, header.base, [(header.base, COMPACT_HEADER_BYTES)], compact=True)


def delete_slowly(files: FileSystem, path: Path) -> None:
    """Delete a file of which nobody needs anything, piece by piece.

    Giving back much room at once takes long, and so does every flush meanwhile: for 1 GB on a file system that passes
    it on to the drive, up to 130 ms instead of up to 20 ms.
    """
    with contextlib.closing(files.open(path)) as file:
        left = file.size()
        while left > _PIECE:
            left -= _PIECE
            file.truncate(left)
            time.sleep(_PAUSE)
    files.remove(path)


def find(files: FileSystem, folder: Path, names: list[str]) -> Iterator[tuple[Segment, CompactRange | None]]:
    """Yield the segments of a log, oldest first; removes what a compact segment has taken the place of, and drafts."""
    for name in names:
        if name.endswith(_DRAFT) and SUFFIX in name:
            files.remove(folder / name)
    compacted: Position = 0
    for name in sorted(name for name in names if name.endswith(SUFFIX) and name[: -len(SUFFIX)].isdigit()):
        base, path = int(name[: -len(SUFFIX)]), folder / name
        if base < compacted:
            files.remove(path)
            continue
        header = _compact_range(files, path)
        if header is None or header.base != base:
            yield Segment(path, base, [(base, HEADER_BYTES)]), None
        else:
            compacted = header.end
            yield compact_segment(path, header), header


def _compact_range(files: FileSystem, path: Path) -> CompactRange | None:
    """Return the range that a file of the log stands for, if it is a compact segment."""
    with contextlib.closing(files.open(path)) as file:
        return read_compact_header(file)


def recover(files: FileSystem, segment: Segment, *, only: bool) -> tuple[Position, int] | None:
    """Find the end of the last segment, cutting off an append that was cut short.

    Returns
    -------
    tuple or None
        Its last position and how many bytes were cut off; None if it was never finished and holds nothing.
    """
    cut = 0
    file = files.open(segment.path)
    try:
        size = file.size()
        base = read_header(file)
        if base is None:
            _refuse_damage(segment.path, file, 0, segment.base)
            if segment.base == 0 or not only:
                return None
            raise _damage(segment.path, 0, "it has no header, and the segment before it is missing")
        if base != segment.base:
            raise _damage(segment.path, 0, f"its header says {base}: files of the log were renamed")
        end, position, begin = HEADER_BYTES, base, HEADER_BYTES
        try:
            for after, number, _ in frames(file, HEADER_BYTES, size, base):
                begin, end, position = end, after, number
                if position - segment.marks[-1][0] >= STRIDE:
                    segment.marks.append((position, end))
        except Damaged:
            _refuse_damage(segment.path, file, end, position)
            cut = size - end
            file.truncate(end)
        if end > begin:
            # Its flush may have failed in the life before, and the system believes since then that it is written.
            file.write(begin, file.read(begin, end - begin))
        file.sync()
    finally:
        file.close()
    segment.end = end
    return position, cut


def read_some(files: FileSystem, segments: list[Segment], after: Position, tail: Position) -> list[Batch]:
    """Read batches after ``after``, at least one and about a megabyte; ``segments`` remember where that was."""
    number = max(i for i, segment in enumerate(segments) if segment.base <= after)
    segment = segments[number]
    position, offset = next(mark for mark in reversed(segment.marks) if mark[0] <= after)
    begin = offset
    batches: list[Batch] = []
    try:
        with contextlib.closing(files.open(segment.path)) as file:
            for behind, found, entries in frames(
                file, offset, segment.end or file.size(), position, compact=segment.compact
            ):
                offset, position = behind, found
                if found > after:
                    batches.append(Batch(found, entries))
                    if offset - begin > _READ_BYTES or found == tail:
                        break
    except Damaged as damaged:
        raise _damage(segment.path, damaged.offset, f"commit batch {damaged.position + 1} should be there") from None
    except FileNotFoundError as error:
        if number + 1 < len(segments):
            raise trimmed(f"the log in {segment.path.parent}", segments[number + 1].base, after) from error
        raise DataFolderError(
            f"the log cannot be read: {segment.path} was deleted while the backend was running; "
            "restore the data folder from a backup and start the backend again"
        ) from error
    except OSError as error:
        raise DataFolderError(
            f"the log cannot be read: {segment.path}: {error}; look at the system's log and at the drive's health"
        ) from error
    if offset - begin > _READ_BYTES:
        segment.marks.append((position, offset))
    if not batches:
        following = f"the next file begins after {segments[number + 1].base}" if number + 1 < len(segments) else ""
        raise _damage(segment.path, offset, f"it ends after batch {position}, {following or f'not {tail}'}")
    return batches


def _refuse_damage(path: Path, file: OpenFile, offset: int, position: Position) -> None:
    rest = file.read(offset, file.size() - offset)
    found = frame_behind(rest, position)
    if found is not None:
        raise _damage(path, offset, f"valid commits follow at offset {offset + found}")


def _damage(path: Path, offset: int, what: str) -> DataFolderError:
    return DataFolderError(
        f"the log is damaged: {path} at offset {offset}: {what}. Nothing was changed."
        " Restore this file from a backup, or check the disk and restore the data folder"
    )
