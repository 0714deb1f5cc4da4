"""How much one server, one person and one connection may ask for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ServerLimits:
    """All limits of the doors; tests make them small."""

    message_bytes: int = 32 << 20
    """One WebSocket message or HTTP body: 16 MiB of arguments may be about 30 MB of JSON."""
    queries_per_socket: int = 4096
    sockets: int = 10_000
    sockets_per_caller: int = 1000
    pending_mutations: int = 1000
    """Mutations of one connection that wait to run or to be answered."""
    chunk_bytes: int = 5_000_000
    """Longer transitions go to npm clients in chunks of this size."""
    ping_after: float = 15.0
    """Seconds of silence before an application-level Ping."""
    send_timeout: float = 60.0
    """Seconds that a client may take to read one transition before it is sent away with 1013."""
    backlog_bytes: int = 64 << 20
    """Bytes that may wait for one socket."""
    drain_seconds: float = 10.0
