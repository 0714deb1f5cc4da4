"""What one commit leaves in the log.

An entry is everything that a replica needs to repeat the commit: its timestamp, the documents it wrote and, for exactly
once, the request it answers. Structs are arrays on disk: fields may be added at the end, with a default, and
entries written before stay readable.
"""

from __future__ import annotations

import msgspec

from nbreactive.engine.transactions import Write
from nbreactive.errors import DataFolderError


class Request(msgspec.Struct, frozen=True, array_like=True):
    """The client's request that a commit answers; the same request is never run twice."""

    identity_key: bytes
    """16 bytes: who asked."""
    session: bytes
    """16 bytes: the client's session."""
    id: int
    """The request's number within its session."""
    result: bytes
    """What was answered, as encoded JSON; a repeated request is answered with it."""


class By(msgspec.Struct, frozen=True, array_like=True):
    """Where a commit comes from, for people: replicas do not need it."""

    path: str
    """The function, or ``undo <timestamp>``."""
    who: str = ""
    """Who called it; empty for nobody known."""
    request: bytes = b""
    """The id of the request, by which the log of calls and errors name it."""


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One commit."""

    ts: int
    """Nanoseconds; strictly increasing along the log."""
    epoch: int
    """The epoch of the row index that committed it (see :meth:`RowIndex.rewind`)."""
    writes: list[Write]
    request: Request | None = None
    by: By | None = None
    """None where the backend itself has written it."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)


def encode_entry(entry: Entry) -> bytes:
    """Return the bytes of ``entry`` as they stand in the log."""
    return _encoder.encode(entry)


def decode_entry(data: bytes) -> Entry:
    """Return the entry that :func:`encode_entry` wrote."""
    try:
        return _decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise DataFolderError(
            f"an entry of the log cannot be decoded ({error}); it was written by another version of nbreactive,"
            " or is damaged: restore the data folder from a backup"
        ) from error
