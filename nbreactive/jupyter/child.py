"""One backend process, as its supervisor sees it: started, ready, gone.

Plain :mod:`subprocess` with reader threads, because the event loop that Jupyter uses on Windows cannot run
subprocesses. The differences between POSIX and Windows are all here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from nbreactive.errors import Unavailable

_WINDOWS = sys.platform == "win32"
_STOP = getattr(signal, "CTRL_BREAK_EVENT", signal.SIGTERM)  # Windows has no SIGTERM to catch
_LAST_LINES = 30
# Credentials of the Jupyter server and of the Hub: the code of functions has no business with them.
_PRIVATE = ("JUPYTER_TOKEN", "JUPYTERHUB_", "JPY_", "CONFIGPROXY_")


class Child:
    """A running backend.

    Attributes
    ----------
    ready
        Resolves to ``(host, port)`` when the backend says where it listens; fails when it ends before.
    exited
        Resolves to the exit status.
    """

    def __init__(self, command: Sequence[str], environment: dict[str, str], cwd: Path, log: logging.Logger) -> None:
        self._loop = asyncio.get_running_loop()
        self._log = log
        self._last: deque[str] = deque(maxlen=_LAST_LINES)
        self.ready: asyncio.Future[tuple[str, int]] = self._loop.create_future()
        self.exited: asyncio.Future[int] = self._loop.create_future()
        # In a group of its own: Ctrl-C in the terminal is for Jupyter, which then ends this process in order.
        group: dict[str, Any] = {"creationflags": 0x200} if _WINDOWS else {"start_new_session": True}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_PRIVATE)}
        self._process = subprocess.Popen(
            list(command),
            cwd=cwd,
            env=inherited | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **group,
        )
        self.pid = self._process.pid
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        readers = [
            self._thread(self._read, self._process.stdout, self._heard_stdout),
            self._thread(self._read, self._process.stderr, self._heard_stderr),
        ]
        self._thread(self._wait, readers)

    async def stop(self, drain: float) -> None:
        """Ask the backend to finish what it has begun; end it if that takes more than ``drain`` seconds."""
        if self.exited.done():
            return
        self._terminate()
        try:
            await asyncio.wait_for(asyncio.shield(self.exited), drain)
        except TimeoutError:
            self._log.warning("The backend (process %d) did not stop within %.0f s: ending it", self.pid, drain)
            self._process.kill()
            await self.exited

    @property
    def last_words(self) -> str:
        """The end of what the backend wrote to its error stream."""
        return "\n".join(self._last)

    # ---- in threads ----

    def _thread(self, target: Callable[..., None], *args: object) -> threading.Thread:
        thread = threading.Thread(target=target, args=args, daemon=True, name="nbreactive-supervisor")
        thread.start()
        return thread

    def _read(self, stream: IO[bytes], heard: Callable[[str], None]) -> None:
        with stream:
            for line in stream:
                self._call(heard, line.decode("utf-8", "replace").rstrip())

    def _wait(self, readers: list[threading.Thread]) -> None:
        status = self._process.wait()
        for reader in readers:
            # Not for ever: a grandchild that outlives the backend may hold the pipe open.
            reader.join(timeout=1)
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        self._call(self._ended, status)

    def _call(self, function: Callable[..., None], *args: object) -> None:
        # The loop may be closed already when Jupyter itself goes down in a hurry.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *args)

    # ---- on the loop ----

    def _heard_stdout(self, line: str) -> None:
        word, _, url = line.partition(" ")
        if word == "ready" and not self.ready.done():
            parts = urlsplit(url)
            if parts.hostname and parts.port:
                self.ready.set_result((parts.hostname, parts.port))
                return
        self._log.info("backend: %s", line)

    def _heard_stderr(self, line: str) -> None:
        self._last.append(line)
        self._log.info("backend: %s", line)

    def _ended(self, status: int) -> None:
        if not self.ready.done():
            self.ready.set_exception(
                Unavailable(
                    f"The backend ended with status {status} before it was ready. Its last lines:\n{self.last_words}"
                )
            )
            # Whoever waits is told; when nobody does, the log has said it all.
            self.ready.exception()
        if not self.exited.done():
            self.exited.set_result(status)

    def _terminate(self) -> None:
        with contextlib.suppress(OSError):  # it may be gone by now
            self._process.send_signal(_STOP)
