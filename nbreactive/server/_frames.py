"""The WebSocket protocol of tornado with three additions for the sync protocol.

* Several messages leave in one write, so that a response and its transition share a packet.
* A long message is cut into frames below 16 MiB, because a widespread client refuses larger frames.
* Short messages skip compression: it would cost more than it saves, and RFC 7692 lets each message choose.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence

from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClosedError, WebSocketProtocol13

MAX_FRAME = 8 << 20
SMALL = 256
_TEXT, _CONTINUATION = 0x1, 0x0


def _header(fin: bool, opcode: int, flags: int, length: int) -> bytes:
    first = (0x80 if fin else 0) | flags | opcode
    if length < 126:
        return struct.pack("!BB", first, length)
    if length <= 0xFFFF:
        return struct.pack("!BBH", first, 126, length)
    return struct.pack("!BBQ", first, 127, length)


class SyncProtocol(WebSocketProtocol13):
    """Server side of one connection."""

    def write_texts(self, messages: Sequence[bytes]) -> asyncio.Future[None]:
        """Send text messages in one write; the future is done when the socket has taken all of it."""
        parts: list[bytes] = []
        for text in messages:
            message, flags = text, 0
            if self._compressor is not None and len(text) >= SMALL:
                message, flags = self._compressor.compress(text), self.RSV1
            for start in range(0, len(message) or 1, MAX_FRAME):
                piece = message if len(message) <= MAX_FRAME else message[start : start + MAX_FRAME]
                final = start + MAX_FRAME >= len(message)
                opcode = _TEXT if start == 0 else _CONTINUATION
                parts += (_header(final, opcode, flags if start == 0 else 0, len(piece)), piece)
        try:
            return self.stream.write(b"".join(parts))
        except StreamClosedError:
            raise WebSocketClosedError from None

    def buffered(self) -> int:
        """Bytes that wait for the socket."""
        return len(self.stream._write_buffer)  # type: ignore[attr-defined]  # noqa: SLF001 - no public way to ask
