"""What callers ask of the engine, and what they get."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from nbreactive.engine.entries import By
from nbreactive.engine.transactions import Failure, LogLine, Write
from nbreactive.functions.specs import Kind, Visibility

_encode = msgspec.msgpack.Encoder(order="deterministic", enc_hook=str).encode


class QuerySpec(msgspec.Struct, frozen=True):
    """A query that somebody asks for."""

    path: str
    args: bytes
    """Packed."""
    identity: dict[str, Any] | None = None
    reach: Visibility = "public"
    journal: str | None = None


class QueryRequest(QuerySpec, frozen=True):
    """A query that is asked once."""

    request_id: str = ""


class MutationRequest(msgspec.Struct, frozen=True):
    """A mutation; with a session and a number it happens at most once, however often it is sent."""

    path: str
    args: bytes
    """Packed."""
    identity: dict[str, Any] | None = None
    reach: Visibility = "public"
    session: bytes | None = None
    """16 bytes: the client's session; its mutations run in the order in which they arrive."""
    request_number: int | None = None
    request_id: str = ""
    kind: Kind | None = "mutation"
    job: str = ""
    """The id of the scheduled function or cron job on whose behalf this runs."""
    completes: Callable[[], Write] | None = None
    """Makes a write of the backend's own that is committed with whatever the function writes. Where its document is not
    at that version any more, the mutation does not happen (any more): so a job is done exactly once."""
    origin: bytes = b""
    """As in :class:`Call`."""


class Result(msgspec.Struct, frozen=True):
    """What a call gave; it has been released, so it may be seen."""

    ts: int
    value: bytes = b"null"
    """Encoded JSON."""
    failure: Failure | None = None
    logs: Sequence[LogLine] = ()
    journal: str | None = None
    columns: list[str] | None = None
    identity_read: bool = False
    request_id: str = ""
    repeated: bool = False
    """The request was sent again, and answered from the record of its commit; or what it completes is over already."""


def by_of(request: MutationRequest) -> By:
    """Return what the log keeps of where a mutation comes from."""
    identity, id = request.identity, request.request_id
    who = str(identity.get("name") or identity.get("subject") or "")[:_LONGEST_NAME] if identity else ""
    try:
        return By(request.path, who, bytes.fromhex(id))
    except ValueError:  # of a caller who gives ids of his own
        return By(request.path, who)


def identity_key(identity: Mapping[str, Any] | None) -> bytes:
    """Return 16 bytes that are equal for equal identities: whoever has read one may share the result."""
    return blake2b(_encode(identity), digest_size=16).digest()


def owner_key(identity: Mapping[str, Any] | None) -> bytes:
    """Return 16 bytes that name the person, whatever else the identity says: their requests are recorded under it."""
    if not identity:
        return _NOBODY
    return blake2b(_encode((identity.get("issuer"), identity.get("subject"))), digest_size=16).digest()


_LONGEST_NAME = 100
_NOBODY = blake2b(_encode(None), digest_size=16).digest()
