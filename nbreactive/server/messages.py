"""The wire messages of the Convex sync protocol, all in one place.

One JSON object per WebSocket text message, told apart by ``type``. Field names are the protocol's. Results and
arguments stay :class:`msgspec.Raw`: they were encoded once, in a worker, and are only copied here. A test pins the
hash of everything in this module, because clients of other people speak it.

Additions of nbreactive (:class:`Additions`, ``columns``, ``identityRead``, ``requestId``, ``errorCode``, ``trace``, and
:class:`QueryDelta` for ``deltas``) are sent only to a client that asked for them in its ``Connect``.
"""

# ruff: noqa: N815 - the names are the protocol's

from __future__ import annotations

import base64
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from nbreactive.server._nesting import cut_nesting


class _Message(msgspec.Struct, tag_field="type", tag=True, kw_only=True):
    """Base of all messages; the tag is the name of the class."""


# ---- client -> server ------------------------------------------------------------------------------------


class Additions(msgspec.Struct, kw_only=True):
    """What our own client says inside ``Connect`` to get the additions."""

    version: int = 1
    deltas: bool = False
    """Whether it takes :class:`QueryDelta`."""


class Connect(_Message):
    """First message of a connection."""

    sessionId: str
    connectionCount: int = 0
    lastCloseReason: str | None = None
    clientTs: int = 0
    maxObservedTimestamp: str | None = None
    nbreactive: Additions | None = None


class Add(_Message):
    """Subscribe to a query."""

    queryId: int
    udfPath: str
    args: Raw = Raw(b"[{}]")
    journal: str | None = None
    componentPath: str | None = None
    at: str | None = None
    """An earlier time (:func:`encode_ts`) as of which it is to be answered, once; an addition of nbreactive's."""


class Remove(_Message):
    """End a subscription."""

    queryId: int


class ModifyQuerySet(_Message):
    """Change the set of subscribed queries, from one version of it to the next."""

    baseVersion: int
    newVersion: int
    modifications: list[Add | Remove]


class Mutation(_Message):
    """Run a mutation; exactly once per session and ``requestId``."""

    requestId: int
    udfPath: str
    args: Raw = Raw(b"[{}]")
    componentPath: str | None = None


class Action(_Message):
    """Run an action."""

    requestId: int
    udfPath: str
    args: Raw = Raw(b"[{}]")
    componentPath: str | None = None


class Authenticate(_Message):
    """Say who is asking from now on."""

    baseVersion: int
    tokenType: Literal["User", "Admin", "None"]
    value: str | None = None
    impersonating: dict[str, Any] | None = None
    actingAs: dict[str, Any] | None = None
    nobody: bool = False
    """With ``None``, from ours: be nobody, and not who the connection is; the session of who has signed in is over."""


class Event(_Message):
    """Telemetry of a client; ignored."""

    eventType: str = ""
    event: Raw = Raw(b"null")


ClientMessage = Connect | ModifyQuerySet | Mutation | Action | Authenticate | Event

# ---- server -> client ------------------------------------------------------------------------------------


class StateVersion(msgspec.Struct, frozen=True):
    """Where a client is: version of its query set, of its identity, and the timestamp of all its results."""

    querySet: int
    identity: int
    ts: str


class QueryUpdated(_Message):
    """A query has a new result."""

    queryId: int
    value: Raw
    logLines: list[str]
    journal: str | None
    columns: list[str] | UnsetType = UNSET
    identityRead: bool | UnsetType = UNSET
    requestId: str | UnsetType = UNSET


class QueryDelta(_Message):
    """A query has a new result, said by what is new in a list: in the result itself, or in what is there under ``path``.

    The list before is the one of the last ``QueryUpdated`` or ``QueryDelta`` of this query on this connection. The new one
    is made from left to right: of each run ``[start, count, rows]`` come ``count`` rows of the list before, from ``start``
    on, and then ``rows``. ``check`` is the CRC-32 of its text: the rows' texts as they came, between brackets, with commas.
    """

    queryId: int
    path: list[str]
    runs: list[tuple[int, int, list[Raw]]]
    check: int
    logLines: list[str]
    journal: str | None
    rest: Raw | UnsetType = UNSET
    """The object around the list, with an empty list in its place."""
    columns: list[str] | UnsetType = UNSET
    identityRead: bool | UnsetType = UNSET
    requestId: str | UnsetType = UNSET


class QueryFailed(_Message):
    """A query failed; ``errorData`` only when the function raised ``AppError``."""

    queryId: int
    errorMessage: str
    logLines: list[str]
    journal: str | None
    errorData: Raw | UnsetType = UNSET
    errorCode: str | UnsetType = UNSET
    trace: str | UnsetType = UNSET
    requestId: str | UnsetType = UNSET


class QueryRemoved(_Message):
    """A subscription has ended."""

    queryId: int


class Transition(_Message):
    """Everything that changed for a client between two versions, at one timestamp."""

    startVersion: StateVersion
    endVersion: StateVersion
    modifications: list[QueryUpdated | QueryDelta | QueryFailed | QueryRemoved]
    clientClockSkew: int | UnsetType = UNSET
    """Milliseconds that the client's clock is ahead; absent or a number, as npm's client reckons with what is there."""
    serverTs: int | UnsetType = UNSET
    """Wall time (ns) at which this was sent."""


class TransitionChunk(_Message):
    """A substring of the JSON of a large ``Transition``; all parts come in order, nothing between them."""

    chunk: str
    partNumber: int
    totalParts: int
    transitionId: str


class MutationResponse(_Message):
    """How a mutation ended; a ``Transition`` to ``ts`` or later always follows."""

    requestId: int
    success: bool
    result: Raw | str
    ts: str | None
    logLines: list[str]
    errorData: Raw | UnsetType = UNSET
    errorCode: str | UnsetType = UNSET
    trace: str | UnsetType = UNSET


class ActionResponse(_Message):
    """How an action ended."""

    requestId: int
    success: bool
    result: Raw | str
    logLines: list[str]
    errorData: Raw | UnsetType = UNSET
    errorCode: str | UnsetType = UNSET
    trace: str | UnsetType = UNSET


class AuthError(_Message):
    """The identity was refused; the connection closes."""

    error: str
    baseVersion: int
    authUpdateAttempted: bool


class FatalError(_Message):
    """The connection cannot go on; only ever sent to npm clients (others reconnect for ever on it)."""

    error: str


class Ping(_Message):
    """Nothing to say, still here."""


ServerMessage = Transition | TransitionChunk | MutationResponse | ActionResponse | AuthError | FatalError | Ping

_decoder = msgspec.json.Decoder(ClientMessage)
_encoder = msgspec.json.Encoder()

PING = _encoder.encode(Ping())


def decode(data: str) -> ClientMessage:
    """Read a client's message; raises :class:`msgspec.MsgspecError` or, if it is mostly brackets, :class:`RecursionError`."""
    try:
        return _decoder.decode(data)
    except RecursionError:
        return _decoder.decode(cut_nesting(data))


def encode(message: ServerMessage) -> bytes:
    """The JSON of a message of the server."""
    return _encoder.encode(message)


def encode_ts(ts: int) -> str:
    """A timestamp on the wire: base64 of 8 bytes, little-endian.

    Examples
    --------
    >>> encode_ts(0)
    'AAAAAAAAAAA='
    """
    return base64.b64encode(ts.to_bytes(8, "little")).decode("ascii")


def decode_ts(text: str) -> int:
    """Read :func:`encode_ts` back; raises :class:`ValueError` for anything else.

    Examples
    --------
    >>> decode_ts("AQAAAAAAAAA=")
    1
    """
    data = base64.b64decode(text, validate=True)
    ts = int.from_bytes(data, "little")
    if len(data) != 8 or ts >= 1 << 63:
        raise ValueError("a timestamp is base64 of 8 bytes, below 2**63")
    return ts
