"""What the backend and the columns process say to each other: msgpack structs in frames over two pipes.

A frame is its length, the number of the request that it belongs to (4 bytes each, little-endian) and one struct, and has
a largest length. Several requests are under way at a time; long answers come as several frames, of which so many are
sent ahead of what the backend says it has taken. Number 0 is what belongs to no request.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TypeVar

import msgspec

from nbreactive.columns._live_frames import Explain, Explained, Live, LiveResult
from nbreactive.engine import _index_builder
from nbreactive.engine.transactions import Condition, Write
from nbreactive.errors import ProtocolError

MAX_FRAME = 256 << 20
WINDOW = 8
"""Parts of one answer that may be on their way."""

T = TypeVar("T")

_header = struct.Struct("<II")
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
    collect: float = 0.1
    """Seconds for which commits gather before they are applied, unless somebody waits for them."""
    attach: Sequence[tuple[str, str]] = ()
    """Names and places of sources outside that SQL may read."""


def identity(folder: Path) -> tuple[int, int]:
    """Return what tells a folder from another one with the same path."""
    found = folder.stat()
    return found.st_dev, found.st_ino


class Feed(msgspec.Struct, frozen=True, tag=True):
    """Commits, in order, to be applied by and by; Applied says how far that has come, under number 0."""

    commits: list[Commit]
    hurry: bool = False
    """Apply them at once."""


class Reach(msgspec.Struct, frozen=True, tag=True):
    """Apply what was handed over up to ``ts``, now. Answer: End."""

    ts: int


class Rows(msgspec.Struct, frozen=True, tag=True):
    """All rows of a typed table. Answer: the Arrow IPC stream as Parts, then End."""

    table: str


class Documents(msgspec.Struct, frozen=True, tag=True):
    """The latest version of every document. Answer: Applied, DocumentParts, End."""

    at: int = 0
    """As of this timestamp, which is applied; tables, code and environment variables as they are now. 0: all as of now."""


class Past(msgspec.Struct, frozen=True, tag=True):
    """What is known of a timestamp, which is applied. Answer: Span, End."""

    at: int


class Version(msgspec.Struct, frozen=True, array_like=True):
    """A document at one of its timestamps."""

    table: int
    id: bytes
    ts: int


class Find(msgspec.Struct, frozen=True, tag=True):
    """Single versions of documents. Answer: Versions, End."""

    wanted: list[Version]


class Trim(msgspec.Struct, frozen=True, tag=True):
    """Drop versions that were replaced or deleted by ``horizon``. Answer: Trimmed, End."""

    horizon: int


class Inspect(msgspec.Struct, frozen=True, tag=True):
    """Look at everything, documents as of ``upto``. Answer: Inspection, End."""

    upto: int


class Check(msgspec.Struct, frozen=True, tag=True):
    """Whether a text is a statement that may run. Answer: Checked, End."""

    text: str


class Statement(msgspec.Struct, frozen=True, tag=True):
    """Run a SELECT. Answer: Described, its rows as Parts (an Arrow IPC stream), then End."""

    text: str
    params: bytes = b""
    """Packed: the values of ``$name``."""
    at: int | None = None
    """The timestamp that it sees; None: whatever is applied. All commits up to it have been handed over."""
    own: Sequence[Write] = ()
    """Writes that are not committed and that it sees besides."""
    seconds: float = 10.0
    """It is interrupted then."""
    max_bytes: int = 64 << 20
    """The longest result."""
    strict: bool = False
    """Refuse what gives something else each time: now(), random()."""
    earlier: bool = True
    """Whether it may read earlier times."""
    only: Sequence[str] | None = None
    """The user's tables that it may read; None: all."""
    packed: bool = False
    """The Parts are the rows, packed as lists of values, instead of Arrow."""


class Cancel(msgspec.Struct, frozen=True, tag=True):
    """Nobody waits for the answer any more: that may end early, or be a failure."""


class Taken(msgspec.Struct, frozen=True, tag=True):
    """So many more Parts have been taken."""

    count: int = 1


class Close(msgspec.Struct, frozen=True, tag=True):
    """Apply what was handed over, checkpoint, close the store and exit. Answer: End."""


Request = (
    Open
    | Feed
    | Reach
    | Rows
    | Documents
    | Trim
    | Inspect
    | Past
    | Find
    | Check
    | Statement
    | Live
    | Explain
    | Cancel
    | Taken
    | Close
)


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The store is open."""

    applied: int
    set_aside: str = ""
    """Where a store went that could not be used; this one is new, and empty."""


class Applied(msgspec.Struct, frozen=True, tag=True):
    """Everything up to ``ts`` is in the store."""

    ts: int
    layouts: Sequence[int] = ()
    """Tables (their numbers) whose columns have changed."""


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


class Checked(msgspec.Struct, frozen=True, tag=True):
    """What a statement is about."""

    tables: Sequence[str]
    """The user's tables that it names, those that do not exist (yet) not."""
    parameters: Sequence[str]
    volatile: Sequence[str]
    """Functions in it that give something else each time."""


class Described(msgspec.Struct, frozen=True, tag=True):
    """What a statement has read, ahead of its result."""

    at: int
    """The timestamp that it has seen."""
    tables: Sequence[tuple[str, Sequence[Condition]]]
    """Each table, with what is known to hold of the rows that can matter."""
    columns: Sequence[tuple[str, str]]
    """Name and DuckDB's type of each column."""
    volatile: bool


class Span(msgspec.Struct, frozen=True, tag=True):
    """From when on history is whole, and the last commit at or before a timestamp."""

    horizon: int
    last: int


class Versions(msgspec.Struct, frozen=True, tag=True):
    """Packed documents; None: deleted, or not known."""

    docs: list[bytes | None]


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
    code: str = "Unavailable"
    """Of the error tree; of failures that are not fatal."""
    damaged: bool = False
    """Whether the failure is that of a damaged file."""
    ahead: bool = False
    """Whether the store has commits that the log lacks; nothing was changed."""


Reply = (
    Ready
    | Applied
    | Trimmed
    | Inspection
    | Span
    | Versions
    | Checked
    | Described
    | LiveResult
    | Explained
    | Part
    | DocumentPart
    | End
    | Failed
)

requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
replies: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


def write(file: IO[bytes], message: Request | Reply, number: int = 0) -> None:
    """Write one frame and flush."""
    header, data = encode(message, number)
    file.write(header)
    file.write(data)
    file.flush()


def encode(message: Request | Reply, number: int = 0) -> tuple[bytes, bytes]:
    """Return the two parts of a frame."""
    data = _encoder.encode(message)
    if len(data) > MAX_FRAME:
        raise ProtocolError(f"a frame of {len(data)} bytes is over the limit of {MAX_FRAME}; send smaller pieces")
    return _header.pack(len(data), number), data


def read(file: IO[bytes], decoder: msgspec.msgpack.Decoder[T]) -> tuple[int, T]:
    """Read one frame: its number and what it says; EOFError when the other side is gone."""
    length, number = _header.unpack(_exactly(file, _header.size))
    if length > MAX_FRAME:
        raise ProtocolError(f"a frame of {length} bytes is over the limit of {MAX_FRAME}")
    return number, decoder.decode(_exactly(file, length))


def _exactly(file: IO[bytes], size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise EOFError("the other side of the pipe is gone")
    return data
