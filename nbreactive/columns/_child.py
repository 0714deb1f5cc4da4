"""The columns process as the backend holds it: blocking calls, made from one thread."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import nbreactive
from nbreactive.columns import _frames as frames
from nbreactive.columns.documents import DocumentStream
from nbreactive.errors import InvalidValue, NBReactiveError, ProtocolError, Unavailable

T = TypeVar("T")
R = TypeVar("R")


class ChildDied(NBReactiveError):  # noqa: N818 - a state, handled by starting another one
    """The columns process is gone, or on its way out; its message is the reason."""

    def __init__(self, message: str, *, damaged: bool = False, silent: bool = False, ahead: bool = False) -> None:
        super().__init__(message)
        self.damaged = damaged
        self.ahead = ahead
        self.silent = silent


class Child:
    """One columns process.

    Parameters
    ----------
    python
        The interpreter.
    request
        What to open.
    """

    def __init__(self, python: str, request: frames.Open) -> None:
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
        self._request = request

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def open(self) -> frames.Ready:
        """Wait until the store is open."""
        reply = self._ask(self._request)
        if not isinstance(reply, frames.Ready):
            raise ProtocolError(f"the columns process answered {type(reply).__name__} to Open")
        return reply

    def apply(self, commits: list[frames.Commit]) -> int:
        """Apply commits; return the applied ts."""
        reply = self._ask(frames.Apply(commits))
        if not isinstance(reply, frames.Applied):
            raise ProtocolError(f"the columns process answered {type(reply).__name__} to Apply")
        return reply.ts

    def stream(self, request: frames.Request) -> Iterator[frames.Reply]:
        """Yield the replies to a request, without the End."""
        reply = self._ask(request)
        while not isinstance(reply, frames.End):
            yield reply
            reply = self._read()

    def only(self, request: frames.Request, kind: type[R]) -> R:
        """Return the one reply to a request."""
        found = list(self.stream(request))
        if len(found) != 1 or not isinstance(found[0], kind):
            raise ProtocolError(f"the columns process answered {found!r:.100} where {kind.__name__} was asked for")
        return found[0]

    def rows(self, table: str) -> bytes:
        """Return a typed table, as an Arrow IPC stream."""
        return b"".join(reply.data for reply in self.stream(frames.Rows(table)) if isinstance(reply, frames.Part))

    def documents(self, consume: Callable[[DocumentStream], T]) -> T:
        """Call ``consume`` with all documents, and return its result."""
        replies = self.stream(frames.Documents())
        first = next(replies)
        if not isinstance(first, frames.Applied):
            raise ProtocolError(f"the columns process answered {type(first).__name__} to Documents")
        try:
            return consume(DocumentStream(first.ts, replies))
        finally:
            deque(replies, maxlen=0)  # what was not consumed must not be taken for the next answer

    def kill(self) -> None:
        """End the process at once; a call in flight raises ChildDied. May be called from any thread."""
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
        if self._process.stdout:
            self._process.stdout.close()

    def _ask(self, request: frames.Request) -> frames.Reply:
        assert self._process.stdin is not None
        try:
            frames.write(self._process.stdin, request)
        except OSError as error:
            raise ChildDied(f"the columns process is gone ({error})") from error
        return self._read()

    def _read(self) -> frames.Reply:
        assert self._process.stdout is not None
        try:
            reply = frames.read(self._process.stdout, frames.replies)
        except (EOFError, OSError, ValueError) as error:
            code = self._process.poll()
            raise ChildDied(f"the columns process ended ({error}; exit code {code})", silent=True) from error
        if isinstance(reply, frames.Failed):
            if reply.fatal:
                raise ChildDied(reply.message, damaged=reply.damaged, ahead=reply.ahead)
            raise (InvalidValue if "has no table" in reply.message else Unavailable)(reply.message)
        return reply
