"""The WebSocket protocol of tornado with some additions for the sync protocol.

* Several messages leave in one write, so that a response and its transition share a packet. It goes to the socket at
  once where the socket takes it, which it nearly always does.
* Messages are taken apart in the moment in which the socket has them; tornado would wake a coroutine for each, which
  costs a turn of the loop and a third of the time. Frames that are rare (cut in pieces, longer than what one read
  brings, pings) are left to tornado.
* A long message is cut into frames below 16 MiB, because a widespread client refuses larger frames.
* Short messages skip compression: it would cost more than it saves, and RFC 7692 lets each message choose.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Sequence
from typing import Any

from tornado.iostream import SSLIOStream, StreamClosedError
from tornado.util import _websocket_mask  # pyright: ignore[reportPrivateImportUsage]
from tornado.websocket import WebSocketClosedError, WebSocketProtocol13

MAX_FRAME = 8 << 20
_READ = 1 << 16
SMALL = 256
_TEXT, _CONTINUATION = 0x1, 0x0
_FINAL_TEXT = 0x81
_buffer = bytearray(_READ)


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
        self._arrived: asyncio.Future[None] | None = None
        self._idle = False
        """Whether tornado is between two frames."""

    # ---- what comes in -----------------------------------------------------------------------------------

    async def _receive_frame_loop(self) -> None:
        self._received += await self._first_bytes()
        stream: Any = self.stream
        stream.reading = lambda: True  # goes on even while a write waits
        stream._handle_read = self._read  # noqa: SLF001 - no public way to hear of what is readable
        stream.set_close_callback(self._arrive)
        self._take_texts()
        await super()._receive_frame_loop()

    async def _first_bytes(self) -> bytes:
        # Tornado reads ahead: what came together with the request is in its buffer.
        with contextlib.suppress(StreamClosedError):
            return await self.stream.read_bytes(_READ, partial=True)
        return b""

    async def _receive_frame(self) -> None:
        if not self._received:
            self._idle = True
            await self._more()
        self._idle = False
        if not self.client_terminated:
            await super()._receive_frame()

    async def _read_bytes(self, n: int) -> bytes:
        received = self._received
        while len(received) < n:
            await self._more()
        data = bytes(received[:n])
        del received[:n]
        self._wire_bytes_in += n
        return data

    async def _more(self) -> None:
        if self.stream.closed():
            raise StreamClosedError
        self._arrived = asyncio.get_running_loop().create_future()
        await self._arrived

    def _arrive(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            if self.stream.closed():
                self._arrived.set_exception(StreamClosedError())
            else:
                self._arrived.set_result(None)

    def _read(self) -> None:
        """Read once: the selector tells again when there is more, so that one client that floods us holds up nobody."""
        try:
            count = self.stream.read_from_fd(_buffer)
            while count is not None and count > 0:
                self._received += memoryview(_buffer)[:count]
                # TLS may hold more that no selector tells of: at most a record
                more = self.stream.socket.pending() if isinstance(self.stream, SSLIOStream) else 0
                count = self.stream.read_from_fd(_buffer) if more else None
        except OSError as error:
            self.stream.close(exc_info=error)
            return
        if count == 0:
            self.stream.close()
            return
        if self._idle:
            self._take_texts()
        if self._received or self.client_terminated:
            self._arrive()

    def _take_texts(self) -> None:
        """Handle whole text messages at the head of what has come in."""
        received = self._received
        at, end = 0, len(received)
        # In the middle of a message in pieces nothing is plain: tornado knows what to do then.
        while end - at >= 6 and not self.client_terminated and self._fragmented_message_buffer is None:
            first, length = received[at], received[at + 1] & 0x7F
            begin = at + 6
            if length == 126:
                length = int.from_bytes(received[at + 2 : at + 4], "big")
                begin = at + 8
            behind = begin + length
            plain = first == _FINAL_TEXT or (first == _FINAL_TEXT | self.RSV1 and self._decompressor is not None)
            if not plain or not received[at + 1] & 0x80 or length == 127 or behind > end:
                break
            self._frame_compressed = first != _FINAL_TEXT
            self._wire_bytes_in += behind - at
            data = _websocket_mask(bytes(received[begin - 4 : begin]), bytes(received[begin:behind]))
            at = behind
            self._handle_message(_TEXT, data)
        del received[:at]

    # ---- what goes out -----------------------------------------------------------------------------------

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
