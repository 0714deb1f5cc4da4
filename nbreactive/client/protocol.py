"""The messages of the sync protocol, as the client reads and writes them.

One JSON text per WebSocket frame, tagged by ``type``. What comes in is decoded in one step into the structs below,
values stay raw until somebody wants them; what goes out is put together from texts that are encoded once (the
arguments of a live query are sent again at every reconnect).
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from typing import Any

import msgspec

from nbreactive.errors import FunctionFailed, NBReactiveError, ProtocolError, from_wire
from nbreactive.values.json import decode_json, encode_json

ADDITIONS_VERSION = 1
"""Said in ``Connect``; a server that knows it may add fields and messages, which official clients never see."""


class _Failure(msgspec.Struct, rename="camel", kw_only=True):
    error_message: str = ""
    error_data: msgspec.Raw = msgspec.Raw()
    error_code: str = ""
    trace: str = ""
    request_id: str = ""

    def error(self) -> NBReactiveError:
        return wire_error(self.error_message, self.error_code, bytes(self.error_data), self.request_id, self.trace)


class QueryUpdated(msgspec.Struct, rename="camel", tag="QueryUpdated"):
    """A query has a new result."""

    query_id: int
    value: msgspec.Raw
    log_lines: list[str] = []
    journal: str | None = None
    columns: Any = None
    identity_read: bool = False
    request_id: str = ""


class QueryDelta(msgspec.Struct, rename="camel", tag="QueryDelta"):
    """A query has a new result, which is said by what is new in a list."""

    query_id: int
    path: list[str]
    runs: list[tuple[int, int, list[msgspec.Raw]]]
    check: int
    rest: msgspec.Raw = msgspec.Raw(b"[]")
    log_lines: list[str] = []
    journal: str | None = None
    columns: Any = None
    identity_read: bool = False
    request_id: str = ""


class QueryFailed(_Failure, rename="camel", tag="QueryFailed", kw_only=True):
    """A run of a query failed."""

    query_id: int
    log_lines: list[str] = []
    journal: str | None = None
    identity_read: bool = False


class QueryRemoved(msgspec.Struct, rename="camel", tag="QueryRemoved"):
    """A query has left the set."""

    query_id: int


class Version(msgspec.Struct, rename="camel", frozen=True):
    """What a transition leads from and to; a connection starts at zero."""

    query_set: int = 0
    identity: int = 0
    ts: str = "AAAAAAAAAAA="


class Transition(msgspec.Struct, rename="camel", tag="Transition"):
    """Everything that changed between two versions."""

    start_version: Version
    end_version: Version
    modifications: list[QueryUpdated | QueryDelta | QueryFailed | QueryRemoved]


class TransitionChunk(msgspec.Struct, rename="camel", tag="TransitionChunk"):
    """A piece of a large transition."""

    chunk: str
    part_number: int
    total_parts: int
    transition_id: str


class MutationResponse(msgspec.Struct, rename="camel", tag="MutationResponse"):
    """How a mutation ended."""

    request_id: int
    success: bool
    result: msgspec.Raw = msgspec.Raw(b"null")
    ts: str | None = None
    log_lines: list[str] = []
    error_data: msgspec.Raw = msgspec.Raw()
    error_code: str = ""
    trace: str = ""

    def error(self) -> NBReactiveError:
        """Return the error that this failed call stands for."""
        message = msgspec.json.decode(self.result)
        return wire_error(str(message), self.error_code, bytes(self.error_data), "", self.trace)


class ActionResponse(MutationResponse, rename="camel", tag="ActionResponse"):
    """How an action ended."""


class AuthError(msgspec.Struct, rename="camel", tag="AuthError"):
    """The token is not accepted, or is good no longer."""

    error: str
    base_version: int = 0


class FatalError(msgspec.Struct, rename="camel", tag="FatalError"):
    """The session cannot go on."""

    error: str


class Ping(msgspec.Struct, tag="Ping"):
    """Nothing to say, still here."""


Incoming = Transition | TransitionChunk | MutationResponse | ActionResponse | AuthError | FatalError | Ping

_decoder = msgspec.json.Decoder(Incoming)


def parse(text: str | bytes) -> Incoming:
    """Decode one message of the server."""
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as failure:
        raise ProtocolError(f"The server sent a message which this client does not understand: {failure}") from None


@dataclass(frozen=True)
class Outcome:
    """What a run of a function gave: a value, or an error."""

    value: Any = None
    error: NBReactiveError | None = None
    logs: tuple[str, ...] = ()
    columns: Any = None
    identity_read: bool = False


def result_of(message: QueryUpdated | QueryDelta, value: Any) -> Outcome:
    """Return what a live query shows now that has ``value``."""
    return Outcome(
        value=value, logs=tuple(message.log_lines), columns=message.columns, identity_read=message.identity_read
    )


def outcome_of(message: QueryFailed | MutationResponse) -> Outcome:
    """Decode the value or the error which a message carries."""
    logs = tuple(message.log_lines)
    if isinstance(message, QueryFailed):
        return Outcome(error=message.error(), logs=logs, identity_read=message.identity_read)
    if message.success:
        return Outcome(value=decode_json(bytes(message.result)), logs=logs)
    return Outcome(error=message.error(), logs=logs)


_FRAME = re.compile(r"\A\[Request ID: (?P<id>[^\]]*)\] Server Error(?:\n(?:Uncaught )?(?P<text>.*))?\Z", re.DOTALL)
"""What Convex's servers put around the text of an error, for clients that get nothing but that text."""


def wire_error(message: str, code: str, data: bytes, request_id: str = "", trace: str = "") -> NBReactiveError:
    """Build the error that a failed run stands for; ``data`` makes it an ``AppError``, whatever the code."""
    framed = _FRAME.match(message)
    if framed:
        request_id = request_id or framed["id"]
        message = framed["text"] or f"Server Error (request {request_id})"
        if trace:
            message = message.removesuffix(trace.rstrip()).rstrip()
        message = message.removeprefix(f"{code}: ")
    message = message.rstrip("\n")
    if data:
        return from_wire("AppError", message, data=decode_json(data), request_id=request_id, trace=trace)
    if code:
        return from_wire(code, message, request_id=request_id, trace=trace)
    return FunctionFailed(message, request_id, trace)


# ---- what goes out ---------------------------------------------------------------------------------------


def encode_args(args: dict[str, Any]) -> str:
    """Arguments as they travel; equal arguments give equal texts (keys are sorted)."""
    return encode_json(args).decode()


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def connect(
    session_id: str, count: int, reason: str | None, client_ms: int, observed: int, *, deltas: bool = True
) -> str:
    """``Connect``: who speaks, the newest timestamp this client has shown to anybody, and whether it takes deltas."""
    message: dict[str, Any] = {
        "type": "Connect",
        "sessionId": session_id,
        "connectionCount": count,
        "lastCloseReason": reason,
        "clientTs": client_ms,
        "nbreactive": {"version": ADDITIONS_VERSION, "deltas": deltas},
    }
    if observed:
        message["maxObservedTimestamp"] = encode_ts(observed)
    return _text(message)


def authenticate(base: int, token: str | None, nobody: bool = False) -> str:
    """``Authenticate``: who speaks from now on; None is whoever the connection itself is, or ``nobody``."""
    said = {"tokenType": "User", "value": token} if token is not None else {"tokenType": "None"}
    if nobody:
        said = {"tokenType": "None", "nobody": True}
    return _text({"type": "Authenticate", "baseVersion": base, **said})


def add_query(query_id: int, path: str, args: str, journal: str | None, at: int = 0) -> str:
    """One ``Add`` inside ``ModifyQuerySet``; ``at`` is an earlier time, as of which it is answered once."""
    said = f',"journal":{_text(journal)}' if journal is not None else ""
    said += f',"at":{_text(encode_ts(at))}' if at else ""
    return f'{{"type":"Add","queryId":{query_id},"udfPath":{_text(path)},"args":[{args}]{said}}}'


def remove_query(query_id: int) -> str:
    """One ``Remove`` inside ``ModifyQuerySet``."""
    return f'{{"type":"Remove","queryId":{query_id}}}'


def modify_query_set(base: int, modifications: list[str]) -> str:
    """``ModifyQuerySet`` from version ``base`` to the next."""
    joined = ",".join(modifications)
    return f'{{"type":"ModifyQuerySet","baseVersion":{base},"newVersion":{base + 1},"modifications":[{joined}]}}'


def request(kind: str, request_id: int, path: str, args: str) -> str:
    """``Mutation`` or ``Action``."""
    return f'{{"type":"{kind}","requestId":{request_id},"udfPath":{_text(path)},"args":[{args}]}}'


def encode_ts(ts: int) -> str:
    """A timestamp as the protocol writes it: base64 of 8 bytes, little endian."""
    return base64.b64encode(ts.to_bytes(8, "little")).decode()


def decode_ts(text: str) -> int:
    """Inverse of :func:`encode_ts`."""
    try:
        return int.from_bytes(base64.b64decode(text, validate=True), "little")
    except ValueError:
        raise ProtocolError(f"The server sent {text!r} as a timestamp") from None


@dataclass
class Chunks:
    """Puts a transition together that came in several messages."""

    transition_id: str = ""
    parts: list[str] = field(default_factory=list[str])

    def add(self, chunk: TransitionChunk) -> Incoming | None:
        """Take one part; returns the transition with the last one."""
        if chunk.part_number == 0:
            self.transition_id, self.parts = chunk.transition_id, []
        if chunk.transition_id != self.transition_id or chunk.part_number != len(self.parts):
            raise ProtocolError("The parts of a transition came out of order")
        self.parts.append(chunk.chunk)
        if len(self.parts) < chunk.total_parts:
            return None
        whole, self.parts = "".join(self.parts), []
        return parse(whole)
