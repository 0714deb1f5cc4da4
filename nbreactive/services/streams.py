"""Streams of records between a backend and a tool: large, read as they come, and complete only with their last record.

A record is its kind (1 byte), its length (4 bytes, little-endian) and its content: msgpack.

    h   header: what follows
    b   batch: whatever the header says
    f   a piece of a file: its checksum, and bytes
    e   end: totals; a stream without one was cut short
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from http.client import HTTPException
from typing import Any

import msgspec

from nbreactive.errors import ProtocolError, Unavailable

_HEAD = struct.Struct("<cI")
_LONGEST = 1 << 29
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def record(kind: bytes, content: Any) -> bytes:
    """Return one record."""
    data = _encode(content)
    return _HEAD.pack(kind, len(data)) + data


def records(read: Callable[[int], bytes]) -> Iterator[tuple[bytes, Any]]:
    """Yield kind and content of the records of a stream, the end last.

    Raises
    ------
    Unavailable
        It was cut short.
    """
    kind = b""
    while kind != b"e":
        kind, length = _HEAD.unpack(_exactly(read, _HEAD.size))
        if length > _LONGEST or kind not in (b"h", b"b", b"f", b"e"):
            raise ProtocolError("this is not a stream of a backend of this version of nbreactive")
        yield kind, _decode(_exactly(read, length))


def _exactly(read: Callable[[int], bytes], size: int) -> bytes:
    parts: list[bytes] = []
    while size:
        try:
            part = read(size)
        except (HTTPException, ConnectionError):
            part = b""
        if not part:
            raise Unavailable("the backend's answer was cut short: look at its log, and try again")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
