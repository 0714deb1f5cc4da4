"""How much one server, one person and one connection may ask for, and setting limits by name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import msgspec

from nbreactive.errors import InvalidValue
from nbreactive.values.limits import (
    FILE_BYTES,
    MESSAGE_BYTES,
    MIB,
    PENDING_ACTIONS,
    PENDING_MUTATIONS,
    QUERIES_PER_CONNECTION,
    TransactionLimits,
)


@dataclass(frozen=True)
class ServerLimits:
    """All limits of the doors; tests make them small."""

    message_bytes: int = MESSAGE_BYTES
    """One WebSocket message or HTTP body."""
    queries_per_socket: int = QUERIES_PER_CONNECTION
    sockets: int = 10_000
    sockets_per_caller: int = 1000
    pending_mutations: int = PENDING_MUTATIONS
    """Mutations of one connection that wait to run or to be answered."""
    pending_actions: int = PENDING_ACTIONS
    """Actions of one connection that are under way."""
    chunk_bytes: int = 5_000_000
    """Longer transitions go to npm clients in chunks of this size."""
    ping_after: float = 15.0
    """Seconds of silence before an application-level Ping."""
    send_timeout: float = 60.0
    """Seconds that a client may take to read one transition before it is sent away with 1013, or a piece of a download."""
    backlog_bytes: int = 64 * MIB
    """Bytes that may wait for one socket."""
    drain_seconds: float = 10.0
    file_bytes: int = FILE_BYTES
    """One stored file."""


class Limits(NamedTuple):
    """Everything about a deployment that can be limited otherwise than usual."""

    transaction: TransactionLimits = TransactionLimits()
    server: ServerLimits = ServerLimits()


_SERVER = (
    "message_bytes",
    "queries_per_socket",
    "sockets",
    "sockets_per_caller",
    "pending_mutations",
    "pending_actions",
    "file_bytes",
)
_MOST = {"documents_written": 1_000_000, "bytes_written": 32 * MIB, "message_bytes": 256 * MIB, "seconds": 60}
"""Beyond these the machinery itself ends: the frames of workers, the log's entries, the patience of clients."""
_UNBOUNDED = 2**40


def parse_limits(settings: Iterable[str], limits: Limits | None = None) -> Limits:
    """Apply settings as people write them to ``limits``.

    Examples
    --------
    >>> parse_limits(["documents_read=64000", "seconds=2.5"]).transaction.seconds
    2.5
    >>> parse_limits(["documents=5"])
    Traceback (most recent call last):
    nbreactive.errors.InvalidValue: there is no limit 'documents'; there are bytes_read, bytes_written, documents_read, \
documents_written, file_bytes, message_bytes, pending_actions, pending_mutations, queries_per_socket, ranges_read, seconds, sockets, \
sockets_per_caller
    """
    transaction, server = limits or Limits()
    of_transaction = set(TransactionLimits.__struct_fields__)
    known = of_transaction | set(_SERVER)
    for setting in settings:
        name, _, text = setting.partition("=")
        name = name.strip()
        if name not in known:
            raise InvalidValue(f"there is no limit {name[:60]!a}; there are {', '.join(sorted(known))}")
        changed: dict[str, Any] = {name: _number(name, text.strip())}
        if name in of_transaction:
            transaction = msgspec.structs.replace(transaction, **changed)
        else:
            server = replace(server, **changed)
    return Limits(transaction, server)


def described(limits: Limits) -> dict[str, float]:
    """All limits that can be set, by name."""
    server = {field.name: getattr(limits.server, field.name) for field in fields(limits.server)}
    return msgspec.structs.asdict(limits.transaction) | {name: server[name] for name in _SERVER}


def _number(name: str, text: str) -> float:
    whole = name != "seconds"
    try:
        value = int(text.replace("_", "")) if whole else float(text)
    except ValueError:
        value = 0
    most = _MOST.get(name, _UNBOUNDED)
    if not 0 < value <= most:
        kind = "a whole number" if whole else "a number"
        raise InvalidValue(f"the limit {name} is {kind} above 0, at most {most}, not {text[:40]!a}: {name}=...")
    return value
