"""The frames between backend, zygote and workers: length (u32), type (u8), msgpack body.

Both ends know which types they may receive and how long a body may be; anything else is a
:class:`~nbreactive.errors.ProtocolError`, upon which the backend kills the sender. There is no pickle: whatever
user code manages to write on the descriptor, the backend decodes it into plain typed data or not at all.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal, cast

import msgspec

from nbreactive.engine.transactions import Call, Failure, Outcome, Reads, SqlInterest, Write
from nbreactive.errors import ProtocolError
from nbreactive.functions.specs import Bundle, Issue, Manifest
from nbreactive.values.limits import TransactionLimits

_HEADER: Final = struct.Struct("<IB")

SETUP: Final = 1
"""Backend to a new process: which code to load, and under which limits (:class:`Setup`)."""
LOADED: Final = 2
"""The answer: what importing the code found (:class:`Loaded`)."""
FORK: Final = 3
"""Backend to zygote: fork a worker on the socket that comes along; the body is empty."""
FORKED: Final = 4
"""Zygote to backend: the process id of that worker (:class:`Forked`)."""
EXITED: Final = 5
"""Zygote to backend: a worker has ended (:class:`Exited`)."""
READY: Final = 6
"""Worker to backend: it can take calls; the body is empty."""
CALL: Final = 7
"""Backend to worker (:class:`Request`)."""
REPLY: Final = 8
"""Worker to backend (:class:`Reply`)."""
KILL: Final = 9
"""Backend to zygote: kill the worker with this process id (:class:`Forked`)."""
IMPORTING: Final = 10
"""Worker to backend: the running call begins to import a module; the body is empty."""
IMPORTED: Final = 11
"""Worker to backend: that import has ended (:class:`Imported`)."""

ACT: Final = 12
"""Backend to action host: begin an action (:class:`Act`)."""
ASK: Final = 13
"""Action host to backend: what a running action wants (:class:`Ask`)."""
ANSWER: Final = 14
"""Backend to action host: what became of that (:class:`Answer`)."""
CANCEL: Final = 15
"""Backend to action host: nobody waits for this action any more (:class:`Cancel`)."""
BEAT: Final = 16
"""Action host to backend, several times a second while actions run: its event loop is not blocked; the body is empty."""

HEAD: Final = 17
"""Action host to backend: status and headers of the response of an HTTP action (:class:`Head`)."""
BODY: Final = 18
"""Both ways: a piece of the body of a request or response (:class:`Body`)."""
TAKEN: Final = 19
"""Both ways: so much of that has been taken, and may be followed by as much more (:class:`Taken`)."""

SELECT: Final = 20
"""Worker to backend: the running call wants to know what a SQL statement gives (:class:`Select`)."""
SELECTED: Final = 21
"""Backend to worker: that (:class:`Selection`)."""

MAX_FRAME: Final = 96 << 20
"""Enough for a result of 16 MiB, 16 MiB of writes and the read set and log of a call; the rest is a forgery."""


class Setup(msgspec.Struct, frozen=True):
    """What a new process has to know; nothing else of the backend reaches it."""

    bundle: Bundle
    index_path: str
    import_paths: tuple[str, ...] = ()
    memory_bytes: int = 1 << 30
    action_memory_bytes: int = 4 << 30
    mode: str = "dev"
    import_seconds: float = 30.0
    cursor_key: bytes = b""
    """What the cursors of pages are sealed with."""
    limits: TransactionLimits = TransactionLimits()
    deployment: str = "default"


class Loaded(msgspec.Struct, frozen=True):
    """What loading a bundle found; with any issue there is no manifest."""

    manifest: Manifest | None = None
    issues: tuple[Issue, ...] = ()
    python: str = ""


class Forked(msgspec.Struct, frozen=True):
    """A worker was forked."""

    pid: int


class Exited(msgspec.Struct, frozen=True):
    """A worker ended; ``status`` as in :func:`os.waitstatus_to_exitcode` (negative: the signal)."""

    pid: int
    status: int


class Request(msgspec.Struct, frozen=True, array_like=True):
    """One call; ``number`` must come back in the reply."""

    number: int
    call: Call


class Reply(msgspec.Struct, frozen=True, array_like=True):
    """The outcome of call ``number``; with ``recycle`` the worker asks to be replaced, and says why."""

    number: int
    outcome: Outcome
    recycle: str = ""


class Imported(msgspec.Struct, frozen=True, array_like=True):
    """An import inside a call took so many seconds, and so much of the processor."""

    seconds: float
    cpu: float


class Select(msgspec.Struct, frozen=True, array_like=True):
    """A SQL statement inside of a call."""

    text: str
    params: bytes
    """Packed: the values of ``$name``."""
    own: Sequence[Write] = ()
    """What the call has written so far."""
    only: Sequence[str] | None = None
    """The tables that it may read; None: all."""
    earlier: bool = False
    """Whether it may read earlier times."""


class Selection(msgspec.Struct, frozen=True, array_like=True):
    """What a statement gives, and what that depends on."""

    failure: Failure | None = None
    columns: Sequence[tuple[str, str]] = ()
    """Name and DuckDB's type of each."""
    rows: bytes = b""
    """Packed: lists of values."""
    reads: Reads = {}
    interests: Sequence[SqlInterest] = ()


class RequestHead(msgspec.Struct, frozen=True):
    """An HTTP request without its body."""

    method: str
    url: str
    path: str
    headers: list[tuple[str, str]]


class Act(msgspec.Struct, frozen=True, array_like=True):
    """One action; ``number`` names it from now on."""

    number: int
    call: Call
    tables: dict[int, str] = {}
    """Names of the tables, by the number that is in their ids."""
    env: dict[str, str] = {}
    http: RequestHead | None = None
    """What an HTTP action is to answer."""


class Head(msgspec.Struct, frozen=True, array_like=True):
    """The beginning of the response of HTTP action ``call``."""

    call: int
    status: int
    headers: list[tuple[str, str]]


class Body(msgspec.Struct, frozen=True, array_like=True):
    """A piece of a body; ``end`` with the last one, which may be empty."""

    call: int
    data: bytes
    end: bool = False


class Taken(msgspec.Struct, frozen=True, array_like=True):
    """Bytes of a body of action ``call`` that have been taken."""

    call: int
    size: int


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """What action ``call`` wants; the answer comes under ``number``."""

    call: int
    number: int
    what: Literal["query", "mutation", "action", "schedule", "cancel", "file", "vectors"]
    target: str
    """The path of a function, the id of a job, or what is done to a file."""
    args: bytes = b""
    """Packed; of a file, also its bytes."""
    when: int = 0
    """Of a job: ms since the epoch. Of a file: a handle, or where to read."""


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """The answer to request ``number``."""

    number: int
    value: bytes = b"null"
    """Encoded JSON; of a file that is read, its bytes."""
    failure: Failure | None = None


class Cancel(msgspec.Struct, frozen=True, array_like=True):
    """The action that is to end, and how it is told."""

    number: int
    message: str


_encode = msgspec.msgpack.Encoder().encode


def encode(body: msgspec.Struct) -> bytes:
    r"""Encode the body of a frame.

    Lone surrogates, which only Python's text can hold (a printed file name, the text of an exception, a docstring),
    are written as ``\udc80``: nothing else that a function says may end its worker.
    """
    try:
        return _encode(body)
    except UnicodeEncodeError:
        return _encode(_without_surrogates(msgspec.to_builtins(body, builtin_types=(bytes,))))


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        items = cast("dict[Any, Any]", value).items()
        return {_without_surrogates(key): _without_surrogates(item) for key, item in items}
    if isinstance(value, list | tuple):
        return [_without_surrogates(item) for item in cast("list[Any]", value)]
    return value


def frame(kind: int, body: bytes = b"") -> bytes:
    """One frame, ready to be sent."""
    return _HEADER.pack(len(body), kind) + body


class Parser:
    """Cuts a stream of bytes into frames.

    Parameters
    ----------
    allowed
        The types of frame that the other side may send.
    max_body
        The longest body that it may send.
    """

    def __init__(self, allowed: frozenset[int], max_body: int = MAX_FRAME) -> None:
        self._allowed = allowed
        self._max_body = max_body
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Take ``data`` in and yield the frames that are complete; raises ProtocolError at a forged header."""
        buffer = self._buffer
        buffer += data
        while len(buffer) >= _HEADER.size:
            length, kind = _HEADER.unpack_from(buffer)
            if kind not in self._allowed:
                raise ProtocolError(f"a frame of type {kind}, which this side may not send")
            if length > self._max_body:
                raise ProtocolError(f"a frame of {length} bytes; the most is {self._max_body}")
            end = _HEADER.size + length
            if len(buffer) < end:
                return
            body = bytes(memoryview(buffer)[_HEADER.size : end])
            del buffer[:end]
            yield kind, body


def read_frame(sock: socket.socket) -> tuple[int, bytes] | None:
    """Read one frame from a blocking socket; None at its end."""
    head = _read_exactly(sock, _HEADER.size)
    if head is None:
        return None
    length, kind = _HEADER.unpack(head)
    if length > MAX_FRAME:
        raise ProtocolError(f"a frame of {length} bytes; the most is {MAX_FRAME}")
    body = _read_exactly(sock, length) if length else b""
    return None if body is None else (kind, body)


def _read_exactly(sock: socket.socket, size: int) -> bytes | None:
    data = sock.recv(size)
    if len(data) == size:
        return data
    parts = bytearray(data)
    while data and len(parts) < size:
        data = sock.recv(min(size - len(parts), 1 << 20))
        parts += data
    return bytes(parts) if len(parts) == size else None
