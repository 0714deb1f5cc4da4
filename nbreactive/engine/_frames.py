r"""The bytes of a log segment.

    segment   "nbrlog1\n" | position before the first frame (8) | crc32 of these 16 bytes (4) | frames
    frame     length (4) | crc32 of what follows (4) | position (8) | msgpack list of entries (length bytes)

A range of the log that retention has rewritten is one compact segment, which is written once and never appended to; its
frames leave positions out, the last one stands at the position where the range ends, and what is in them is compressed:

    compact   "nbrlog2\n" | position before the range (8) | its last position (8) | horizon (8) | crc32 (4) | frames

A frame is written only after the one before it is durable. So a frame that does not check, with nothing valid behind
it, is an append that was cut short and was never acknowledged; with a valid frame behind it, it is damage.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from nbreactive.engine.files import OpenFile
from nbreactive.errors import LimitExceeded

HEADER_BYTES = 20
COMPACT_HEADER_BYTES = 36
MAX_PAYLOAD = 1 << 28

_MAGIC = b"nbrlog1\n"
_COMPACT = b"nbrlog2\n"
_RANGE = struct.Struct("<QQQ")
_HEAD = struct.Struct("<IIQ")
_POSITION = struct.Struct("<Q")
_CRC = struct.Struct("<I")
_CHUNK = 1 << 20
_LEVEL = 4
_SEARCH_BYTES = 1 << 32

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[bytes]).decode


class CompactRange(NamedTuple):
    """What the header of a compact segment says."""

    base: int
    end: int
    """Its last position."""
    horizon: int
    """Versions that were replaced at or before this timestamp may be missing."""


class Damaged(Exception):  # noqa: N818 - caught inside the log, never seen outside
    """No valid frame at ``offset``."""

    def __init__(self, offset: int, position: int) -> None:
        super().__init__(offset, position)
        self.offset = offset
        self.position = position


def encode_header(base: int) -> bytes:
    """Return the first bytes of the segment whose first frame is ``base + 1``."""
    head = _MAGIC + _POSITION.pack(base)
    return head + _CRC.pack(zlib.crc32(head))


def encode_compact_header(header: CompactRange) -> bytes:
    """Return the first bytes of a compact segment."""
    head = _COMPACT + _RANGE.pack(*header)
    return head + _CRC.pack(zlib.crc32(head))


def encode_frame(position: int, entries: Sequence[bytes], *, compact: bool = False) -> bytes:
    """Return one frame, as it stands in a compact segment or in any other."""
    payload = _encode(entries)
    if compact:
        payload = zlib.compress(payload, _LEVEL)
    if len(payload) > MAX_PAYLOAD:
        raise LimitExceeded(f"one append to the log holds {len(payload)} bytes; at most {MAX_PAYLOAD} are possible")
    number = _POSITION.pack(position)
    return _HEAD.pack(len(payload), zlib.crc32(payload, zlib.crc32(number)), position) + payload


def frames(
    file: OpenFile, offset: int, end: int, position: int, *, compact: bool = False
) -> Iterator[tuple[int, int, list[bytes]]]:
    """Yield ``(offset behind the frame, its position, entries)`` of the frames in ``[offset, end)``.

    Parameters
    ----------
    offset, position
        Where to begin, and the position before that place.
    compact
        Whether it is a compact segment.

    Raises
    ------
    Damaged
        At the first bytes which are not the frame expected there.
    """
    data, start = b"", offset
    while offset < end:
        if offset + _HEAD.size > start + len(data):
            data, start = file.read(offset, min(_CHUNK, end - offset)), offset
        if len(data) < offset - start + _HEAD.size:
            raise Damaged(offset, position)
        length, crc, number = _HEAD.unpack_from(data, offset - start)
        whole = _HEAD.size + length
        if (
            (number <= position if compact else number != position + 1)
            or not 0 < length <= MAX_PAYLOAD
            or offset + whole > end
        ):
            raise Damaged(offset, position)
        if offset + whole > start + len(data):
            data, start = file.read(offset, min(max(whole, _CHUNK), end - offset)), offset
        begin = offset - start
        if zlib.crc32(memoryview(data)[begin + 8 : begin + whole]) != crc:
            raise Damaged(offset, position)
        offset += whole
        position = number
        payload = memoryview(data)[begin + _HEAD.size : begin + whole]
        yield offset, position, _decode(zlib.decompress(payload) if compact else payload)


def frame_behind(data: bytes, position: int) -> int | None:
    """Return where in ``data`` a valid frame begins that comes after ``position``, or None.

    Searches for the numbers of the following frames, as many as a second of work allows.
    """
    if not data.strip(b"\0"):
        return None
    tries = min(len(data) // _HEAD.size, max(64, _SEARCH_BYTES // (len(data) + 1)))
    for number in range(position + 1, position + 2 + tries):
        sought = _POSITION.pack(number)
        at = data.find(sought, 8)
        while at >= 0:
            length, crc = _HEAD.unpack_from(data, at - 8)[:2]
            if 0 < length <= len(data) - at - 8 and zlib.crc32(memoryview(data)[at : at + 8 + length]) == crc:
                return at - 8
            at = data.find(sought, at + 1)
    return None


def read_header(file: OpenFile) -> int | None:
    """Return the position that a segment begins after, or None if it has no valid header."""
    data = file.read(0, HEADER_BYTES)
    if len(data) < HEADER_BYTES or not data.startswith(_MAGIC):
        return None
    base = _POSITION.unpack_from(data, len(_MAGIC))[0]
    return base if data == encode_header(base) else None


def read_compact_header(file: OpenFile) -> CompactRange | None:
    """Return what the header of a compact segment says, or None if it is none."""
    data = file.read(0, COMPACT_HEADER_BYTES)
    if len(data) < COMPACT_HEADER_BYTES or not data.startswith(_COMPACT):
        return None
    header = CompactRange(*_RANGE.unpack_from(data, len(_COMPACT)))
    return header if data == encode_compact_header(header) else None
