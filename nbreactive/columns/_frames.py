"""What the backend and the columns process say to each other: msgpack structs in frames over two pipes.

The backend asks and reads the answer, one request at a time; answers that are long come as several frames. A frame is
its length (4 bytes, little-endian) and one struct, and has a largest length.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO, TypeVar

import msgspec

from nbreactive.engine import _index_builder
from nbreactive.engine.transactions import Write
from nbreactive.errors import ProtocolError

MAX_FRAME = 256 << 20

T = TypeVar("T")

_length = struct.Struct("<I")
_encoder = msgspec.msgpack.Encoder()


class Commit(msgspec.Struct, frozen=True, array_like=True):
    """What columns need of a log entry."""

    ts: int
    writes: list[Write]


class Open(msgspec.Struct, frozen=True, tag=True):
    """The first request: open the store. Answer: Ready or Failed."""

    path: str
    memory_limit: str
    threads: int
    tail: int | None = None
    """The last ts of the log: a store that is ahead of it is refused and left as it is."""
    suspect: bool = False
    """The file has shown itself to be damaged: set it aside."""
    horizon: int = 0
    """The log's: a store that has less begins with nothing, as it could not learn of what was dropped meanwhile."""
    rewrite: bool = False
    """Write the file anew first, as most of it is free."""
    folder: tuple[int, int] | None = None
    """Which folder it is in, by :func:`identity`: another one that has the same path now is not touched."""


def identity(folder: Path) -> tuple[int, int]:
    """Return what tells a folder from another one with the same path."""
    found = folder.stat()
    return found.st_dev, found.st_ino


class Apply(msgspec.Struct, frozen=True, tag=True):
    """Apply commits in one transaction. Answer: Applied."""

    commits: list[Commit]


class Rows(msgspec.Struct, frozen=True, tag=True):
    """All rows of a typed table. Answer: the Arrow IPC stream as Parts, then End."""

    table: str


class Documents(msgspec.Struct, frozen=True, tag=True):
    """The latest version of every document. Answer: Applied, DocumentParts, End."""


class Trim(msgspec.Struct, frozen=True, tag=True):
    """Drop versions that were replaced or deleted by ``horizon``. Answer: Trimmed, End."""

    horizon: int


class Inspect(msgspec.Struct, frozen=True, tag=True):
    """Look at everything, documents as of ``upto``. Answer: Inspection, End."""

    upto: int


class Close(msgspec.Struct, frozen=True, tag=True):
    """Checkpoint, close the store and exit. Answer: End."""


Request = Open | Apply | Rows | Documents | Trim | Inspect | Close


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The store is open."""

    applied: int
    set_aside: str = ""
    """Where a store went that could not be used; this one is new, and empty."""


class Applied(msgspec.Struct, frozen=True, tag=True):
    """Everything up to ``ts`` is in the store."""

    ts: int


class Trimmed(msgspec.Struct, frozen=True, tag=True):
    """How many versions are gone."""

    versions: int
    wasteful: bool
    """Whether most of the file is free now."""


class Inspection(msgspec.Struct, frozen=True, tag=True):
    """What was found in the store."""

    applied: int
    at: int
    """The timestamp that documents were looked at."""
    tables: dict[int, tuple[int, str]]
    """Count and fingerprint of the documents of each table."""
    rows: dict[int, int]
    """Rows of each typed table, at ``applied``."""
    expected: dict[int, int]
    """Documents of each table at ``applied``."""


class Part(msgspec.Struct, frozen=True, tag=True):
    """A piece of a byte stream."""

    data: bytes


class DocumentPart(_index_builder.Part, frozen=True, tag=True):
    """Documents, as the engine takes them."""


class End(msgspec.Struct, frozen=True, tag=True):
    """The answer is complete."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The request failed; after a ``fatal`` failure the process exits."""

    message: str
    fatal: bool = True
    damaged: bool = False
    """Whether the failure is that of a damaged file."""
    ahead: bool = False
    """Whether the store has commits that the log lacks; nothing was changed."""


Reply = Ready | Applied | Trimmed | Inspection | Part | DocumentPart | End | Failed

requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
replies: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


def write(file: IO[bytes], message: Request | Reply) -> None:
    """Write one frame and flush."""
    data = _encoder.encode(message)
    if len(data) > MAX_FRAME:
        raise ProtocolError(f"a frame of {len(data)} bytes is over the limit of {MAX_FRAME}; send smaller pieces")
    file.write(_length.pack(len(data)))
    file.write(data)
    file.flush()


def read(file: IO[bytes], decoder: msgspec.msgpack.Decoder[T]) -> T:
    """Read one frame; EOFError when the other side is gone."""
    (length,) = _length.unpack(_exactly(file, _length.size))
    if length > MAX_FRAME:
        raise ProtocolError(f"a frame of {length} bytes is over the limit of {MAX_FRAME}")
    return decoder.decode(_exactly(file, length))


def _exactly(file: IO[bytes], size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise EOFError("the other side of the pipe is gone")
    return data
