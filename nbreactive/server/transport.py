"""The socket, as a session sees it."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Protocol

CLOSE_PROTOCOL = 1002
CLOSE_POLICY = 1008
CLOSE_INTERNAL = 1011
CLOSE_TRY_LATER = 1013


class Transport(Protocol):
    """The socket, as a session sees it."""

    def write(self, messages: Sequence[bytes]) -> Awaitable[None] | None:
        """Send messages in one write; what is returned waits until the socket has taken them, None: it has.

        Raises ConnectionError, at once or when it is awaited.
        """
        ...

    def send(self, messages: Sequence[bytes]) -> None:
        """Send messages that nobody waits for. Raises ConnectionError if the connection is known to be closed."""
        ...

    def close(self, code: int, reason: str) -> None:
        """End the connection; ``reason`` is cut to what a close frame holds."""
        ...
