"""A content that comes in piece by piece, from whoever sends it, to a thread that writes it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

from nbreactive.errors import InvalidValue, LimitExceeded
from nbreactive.services.blobs import Incoming
from nbreactive.values.limits import over

PIECE: Final = 1 << 20
"""Bytes that are written and read at a time."""

Run = Callable[..., Awaitable[Any]]
"""Does what blocks, in a thread."""


class Receiving:
    """A content on its way in, a piece at a time.

    Parameters
    ----------
    run
        Does what blocks.
    incoming
        Where it goes.
    most
        Bytes that it may have.
    """

    def __init__(self, run: Run, incoming: Incoming, most: int) -> None:
        self._run = run
        self._incoming: Incoming | None = incoming
        self._most = most
        self._piece = bytearray()
        self._sha256: str | None = None
        self._lock = asyncio.Lock()
        self.size = 0

    async def write(self, data: bytes) -> None:
        """Add a piece; LimitExceeded if it is too much."""
        self.size += len(data)
        if self.size > self._most:
            raise too_large(self.size, self._most)
        self._piece += data
        if len(self._piece) >= PIECE:
            async with self._lock:
                await self._flush()

    async def _flush(self) -> None:
        piece, self._piece = self._piece, bytearray()
        await self._run(self._held().write, piece)

    async def done(self) -> str:
        """Make it durable; return its checksum."""
        async with self._lock:
            if self._sha256 is None:
                await self._flush()
                self._sha256 = str(await self._run(self._held().close))
            return self._sha256

    def taken(self) -> Incoming:
        """Give it away."""
        incoming, self._incoming = self._held(), None
        return incoming

    async def discard(self) -> None:
        """Delete it, unless it was given away."""
        async with self._lock:
            if self._incoming is not None:
                with contextlib.suppress(RuntimeError):  # at the end of the process; the next one cleans up
                    await self._run(self.taken().discard)

    def _held(self) -> Incoming:
        if self._incoming is None:
            raise InvalidValue("this file is not being stored any more")
        return self._incoming


def too_large(size: int, most: int) -> LimitExceeded:
    """The error for a file that is too large."""
    return LimitExceeded(over("bytes in a file", size, most, "store it in parts, or raise the limit file_bytes"))
