"""The backend's end of a socket to a zygote or worker, on the event loop.

A frame is written at once where the socket takes it, which for one call it nearly always does: that is what keeps a
call at one system call each way. What is received is parsed into frames; a forged one ends the link with its error.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from nbreactive.errors import ProtocolError
from nbreactive.runtime import _processes
from nbreactive.runtime.frames import Parser

_CHUNK = 1 << 16  # larger ones are mapped and unmapped by malloc for every call, at 17 us each


class Link:
    """One connection.

    Parameters
    ----------
    sock
        A connected socket that does not block.
    allowed
        Types of frames that may come in.
    on_frame, on_end
        Called with each frame; called once when the other side is gone, or has sent what it may not (with the error).
    """

    def __init__(
        self,
        sock: socket.socket,
        allowed: frozenset[int],
        on_frame: Callable[[int, bytes], None],
        on_end: Callable[[Exception | None], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.sock = sock
        self._parser = Parser(allowed)
        self._on_frame = on_frame
        self._on_end = on_end
        self._waiting = bytearray()
        self._later: list[bytes] = []
        self.closed = False
        self.unread = False
        """Whether the other side went away without having read all that was sent."""
        self._loop.add_reader(sock, self.poll)

    def send(self, data: bytes) -> None:
        """Send a frame, without waiting."""
        if self.closed:
            return
        if self._waiting:
            self._waiting += data
            return
        try:
            sent = self.sock.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            return  # The reader sees the end of the socket and tells.
        if sent < len(data):
            self._waiting += memoryview(data)[sent:]
            self._loop.add_writer(self.sock, self._flush)

    def send_soon(self, data: bytes) -> None:
        """Send a frame at the end of this turn of the loop, together with others: one system call for all."""
        if not self._later:
            self._loop.call_soon(self._send_later)
        self._later.append(data)

    def _send_later(self) -> None:
        later, self._later = self._later, []
        self.send(b"".join(later))

    def poll(self) -> None:
        """Handle what has been received."""
        if self.closed:
            return
        try:
            data = self.sock.recv(_CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.unread = isinstance(error, ConnectionResetError)
            data = b""
        if not data:
            self._end(None)
            return
        try:
            for kind, body in self._parser.feed(data):
                self._on_frame(kind, body)
                if self.closed:
                    return
        except ProtocolError as error:
            self._end(error)

    def has_unread(self) -> bool:
        """Whether the other side has not read all that was sent; False where the system does not tell."""
        return (
            self.unread
            or bool(self._waiting or self._later)
            or (not self.closed and _processes.unread_bytes(self.sock) > 0)
        )

    def fail(self, error: Exception) -> None:
        """End the link because of what a frame held."""
        self._end(error)

    def close(self) -> None:
        """Close without telling anybody."""
        if not self.closed:
            self.closed = True
            self._loop.remove_reader(self.sock)
            with contextlib.suppress(OSError, ValueError):
                self._loop.remove_writer(self.sock)
            self.sock.close()

    def _end(self, error: Exception | None) -> None:
        if not self.closed:
            self.close()
            self._on_end(error)

    def _flush(self) -> None:
        try:
            sent = self.sock.send(self._waiting)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._loop.remove_writer(self.sock)
            return
        del self._waiting[:sent]
        if not self._waiting:
            self._loop.remove_writer(self.sock)
