"""The columns process as the backend holds it: requests go out, a thread takes the replies in."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from queue import SimpleQueue
from typing import IO

import nbreactive
from nbreactive.columns import _frames as frames
from nbreactive.errors import NBReactiveError, ProtocolError, from_wire

_UNBLOCKED = getattr(select, "PIPE_BUF", 0)
"""Bytes that a pipe takes without blocking whenever it takes any."""


class ChildDied(NBReactiveError):  # noqa: N818 - a state, handled by starting another one
    """The columns process is gone, or on its way out; its message is the reason."""

    def __init__(self, message: str, *, damaged: bool = False, silent: bool = False, ahead: bool = False) -> None:
        super().__init__(message)
        self.damaged = damaged
        self.ahead = ahead
        self.silent = silent


Heard = frames.Reply | NBReactiveError
"""A reply, or why there is none."""


class Child:
    """One columns process; every method may be called from any thread, and may block.

    Parameters
    ----------
    python
        The interpreter.
    request
        What to open.
    applied
        Told, in a thread, how far it has come, and of its end.
    """

    def __init__(
        self, python: str, request: frames.Open, applied: Callable[[Child, frames.Applied | ChildDied], None]
    ) -> None:
        # -P: a duckdb.py in the working directory is not ours. So the package's own place must be said
        place = str(Path(nbreactive.__file__).resolve().parent.parent)
        path = os.pathsep.join(filter(None, [place, os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [python, "-P", "-m", "nbreactive.columns.process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path},
            creationflags=subprocess.CREATE_NO_WINDOW if sys.platform == "win32" else 0,
        )
        self._ready = _writable(self._process.stdin)
        self._request = request
        self._applied = applied
        self._state = threading.Lock()
        self._writing = threading.Lock()
        self._numbers = 0
        self._waiting: dict[int, Callable[[Heard], None]] = {}
        self._ended: ChildDied | None = None
        self._reader: threading.Thread | None = None

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def open(self) -> frames.Ready:
        """Wait until the store is open."""
        self.send(self._request)
        _, reply = self._read()
        if isinstance(reply, frames.Failed):
            raise _death(reply)
        if not isinstance(reply, frames.Ready):
            raise ProtocolError(f"the columns process answered {type(reply).__name__} to Open")
        self._reader = threading.Thread(target=self._listen, name="nbreactive-columns-replies", daemon=True)
        self._reader.start()
        return reply

    def send(self, request: frames.Request, number: int = 0) -> None:
        """Send what nobody waits for."""
        assert self._process.stdin is not None
        try:
            with self._writing:
                frames.write(self._process.stdin, request, number)
        except (OSError, ValueError) as error:
            raise ChildDied(f"the columns process is gone ({error})") from error

    def send_now(self, request: frames.Request, number: int = 0) -> bool:
        """Send what nobody waits for if that surely does not block; tell whether it was sent."""
        assert self._process.stdin is not None
        data = b"".join(frames.encode(request, number))
        if self._ready is None or len(data) > _UNBLOCKED or not self._writing.acquire(blocking=False):
            return False
        try:
            if not self._ready.poll(0):
                return False
            os.write(self._process.stdin.fileno(), data)
        except (OSError, ValueError):
            return False  # it is gone, which shows when it is sent in the other way
        finally:
            self._writing.release()
        return True

    def ask_now(self, request: frames.Request, hear: Callable[[Heard], None]) -> int | None:
        """Do as :meth:`ask`, if that surely does not block; None: it was not sent."""
        number = self._expect(hear)
        if self.send_now(request, number):
            return number
        with self._state:
            self._waiting.pop(number, None)
        return None

    def ask(self, request: frames.Request, hear: Callable[[Heard], None]) -> int:
        """Send a request; ``hear`` is called in a thread with each reply up to End, or with why there is none.

        Returns its number.
        """
        number = self._expect(hear)
        self.send(request, number)
        return number

    def _expect(self, hear: Callable[[Heard], None]) -> int:
        with self._state:
            if self._ended is not None:
                raise self._ended
            self._numbers = self._numbers % 0xFFFF_FFFF + 1
            self._waiting[self._numbers] = hear
            return self._numbers

    def cancel(self, number: int) -> None:
        """Nobody waits for that answer any more."""
        with self._state:
            known = self._waiting.pop(number, None)
        if known is not None:
            with contextlib.suppress(ChildDied):
                self.send(frames.Cancel(), number)

    def stream(self, request: frames.Request) -> Generator[frames.Reply]:
        """Yield the replies to a request, without the End; blocks."""
        heard: SimpleQueue[Heard] = SimpleQueue()
        number = self.ask(request, heard.put)
        try:
            while not isinstance(reply := heard.get(), frames.End):
                if isinstance(reply, NBReactiveError):
                    raise reply
                yield reply
                if isinstance(reply, (frames.Part, frames.DocumentPart)):
                    self.send(frames.Taken(), number)
        finally:
            self.cancel(number)

    def kill(self) -> None:
        """End the process at once; what is under way hears ChildDied."""
        self._process.kill()

    def dispose(self) -> None:
        """Wait for the end of the process, killing it if it has none of its own, and close the pipes."""
        with contextlib.suppress(OSError):
            if self._process.stdin:
                self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._reader is not None:
            self._reader.join()
        if self._process.stdout:
            self._process.stdout.close()

    # ---- the thread --------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        try:
            while True:
                number, reply = self._read()
                self._take(number, reply)
        except ChildDied as error:
            end = error
        except NBReactiveError as error:
            end = ChildDied(error.message)
        with self._state:
            self._ended = end
            waiting, self._waiting = self._waiting, {}
        for hear in waiting.values():
            hear(end)
        self._applied(self, end)

    def _take(self, number: int, reply: frames.Reply) -> None:
        if isinstance(reply, frames.Failed) and reply.fatal and not number:
            raise _death(reply)
        if not number:
            if not isinstance(reply, frames.Applied):
                raise ProtocolError(f"the columns process sent {type(reply).__name__} by itself")
            self._applied(self, reply)
            return
        last = isinstance(reply, (frames.End, frames.Failed))
        with self._state:
            hear = self._waiting.pop(number, None) if last else self._waiting.get(number)
        if hear is not None:
            hear(from_wire(reply.code, reply.message) if isinstance(reply, frames.Failed) else reply)

    def _read(self) -> tuple[int, frames.Reply]:
        assert self._process.stdout is not None
        try:
            return frames.read(self._process.stdout, frames.replies)
        except (EOFError, OSError, ValueError) as error:
            code = self._process.poll()
            raise ChildDied(f"the columns process ended ({error}; exit code {code})", silent=True) from error


def _writable(pipe: IO[bytes] | None) -> select.poll | None:
    """Return what tells whether a pipe takes some bytes at once; None where that cannot be known."""
    if pipe is None or not hasattr(select, "poll"):
        return None
    ready = select.poll()
    ready.register(pipe.fileno(), select.POLLOUT)
    return ready


def _death(failure: frames.Failed) -> ChildDied:
    return ChildDied(failure.message, damaged=failure.damaged, ahead=failure.ahead)
