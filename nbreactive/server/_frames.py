"""The WebSocket protocol of tornado with some additions for the sync protocol.

* Several messages leave in one write, so that a response and its transition share a packet. It goes to the socket at
  once where the socket takes it, which it nearly always does.
* Whatever has come in is read at once. Asked for a few bytes at a time, tornado would tell the selector twice per
  frame to stop and to go on listening.
* A long message is cut into frames below 16 MiB, because a widespread client refuses larger frames.
* Short messages skip compression: it would cost more than it saves, and RFC 7692 lets each message choose.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from typing import Any

from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClosedError, WebSocketProtocol13

MAX_FRAME = 8 << 20
_READ = 1 << 16
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

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._received = bytearray()

    async def _read_bytes(self, n: int) -> bytes:
        received = self._received
        while len(received) < n:
            received += await self.stream.read_bytes(_READ, partial=True)
        data = bytes(received[:n])
        del received[:n]
        self._wire_bytes_in += n
        return data

    def write_texts(self, messages: Sequence[bytes]) -> asyncio.Future[None] | None:
        """Send text messages in one write.

        Returns
        -------
        asyncio.Future or None
            Done when the socket has taken all of it; None if it has already.
        """
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
        data = b"".join(parts)
        sent = self._send_now(data)
        if sent == len(data):
            return None
        try:
            return self.stream.write(memoryview(data)[sent:])
        except StreamClosedError:
            raise WebSocketClosedError from None

    def _send_now(self, data: bytes) -> int:
        socket = self.stream.socket
        if socket is None or self.stream.closed() or self.stream.writing():
            return 0
        try:
            return socket.send(data)
        except OSError:
            return 0  # It is full, or broken: the stream finds out which.

    def buffered(self) -> int:
        """Bytes that wait for the socket."""
        return len(self.stream._write_buffer)  # type: ignore[attr-defined]  # noqa: SLF001 - no public way to ask
