"""Whether the files of a log follow each other without a gap, as far as that is cheap to see when it is opened.

The row index and store.duckdb hold all documents, so a backend can go on without old parts of the log; but nothing can
make them again, and backups need all of it. Only both ends of each closed file are looked at here; checksums of what is
between them are for the doctor.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from itertools import pairwise

from nbreactive.engine._frames import HEADER_BYTES, MAX_PAYLOAD, read_compact_header, read_header
from nbreactive.engine._segment_files import Segment
from nbreactive.engine.files import FileSystem, OpenFile
from nbreactive.engine.log import Position

_HEAD = struct.Struct("<IIQ")
_FIRST_LOOK = 1 << 16


def gaps(files: FileSystem, segments: list[Segment]) -> Iterator[str]:
    """Yield what is missing or damaged before the last of some segments, oldest first."""
    if segments and segments[0].base:
        yield f"the files before {segments[0].path.name} are missing: batches 1 to {segments[0].base}"
    for segment, following in pairwise(segments):
        try:
            with contextlib.closing(files.open(segment.path)) as file:
                problem = _problem(file, segment, following)
        except OSError as error:
            problem = f"{segment.path.name} cannot be read ({error})"
        if problem:
            yield problem


def _problem(file: OpenFile, segment: Segment, following: Segment) -> str:
    if segment.compact:
        header = read_compact_header(file)
        end = header.end if header is not None else 0
    elif read_header(file) == segment.base:
        end = following.base
    else:
        return f"the header of {segment.path.name} is damaged"
    if end != following.base:
        return f"files between {segment.path.name} and {following.path.name} are missing: batches {end + 1} to {following.base}"
    if not ends_at(file, end):
        return f"{segment.path.name} does not end at batch {end}: it was cut short or damaged, or files behind it are missing"
    return ""


def ends_at(file: OpenFile, position: Position) -> bool:
    """Tell whether the last frame of a file stands at a position; what is in it is not looked at."""
    size, look = file.size(), _FIRST_LOOK
    sought = struct.pack("<Q", position)
    while True:
        start = max(HEADER_BYTES, size - look)
        data = file.read(start, size - start)
        at = data.rfind(sought, 8)
        while at >= 0:
            length = _HEAD.unpack_from(data, at - 8)[0]
            end = at + 8 + length
            if 0 < length <= MAX_PAYLOAD and end <= len(data) and not data[end:].strip(b"\0"):
                return True
            at = data.rfind(sought, 8, at + 7)
        if start == HEADER_BYTES:
            return False
        look *= 8
