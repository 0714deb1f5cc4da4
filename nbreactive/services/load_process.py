"""The process that prepares bulk loads, as the backend holds it: started when there is something to load, ended when not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

if sys.platform == "linux":
    import fcntl

import nbreactive
from nbreactive.engine._rebuild import receive, send
from nbreactive.errors import Unavailable, from_wire
from nbreactive.services.load_frames import Prepare, Reply, Wrong

T = TypeVar("T")

_SECONDS: Final = 60.0
"""For the rows of one request, after which the process is killed."""
_IDLE: Final = 60.0
_PIPE: Final = 1 << 20
"""Bytes of a pipe that hold a whole reply: so the process need not wait until it is taken, nor it be read in pieces."""


class LoadProcess:
    """At most one process, which does one request at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = ThreadPoolExecutor(1, "nbreactive-load")
        self._lock = asyncio.Lock()
        self._ending: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int | None:
        """The process's id, if there is one."""
        return self._process.pid if self._process is not None else None

    async def prepare(self, request: Prepare) -> AsyncGenerator[Reply]:
        """Yield what is to be committed; raises what is wrong with the rows, or Unavailable if the process died.

        The next reply is made while the one before is committed. Close this generator, or another request waits for ever.
        """
        loop = asyncio.get_running_loop()
        async with self._lock:
            if self._ending is not None:
                self._ending.cancel()
            whole = False
            try:
                reply = await self._run(self._ask, request)
                while reply is not None:
                    whole = reply.last
                    if isinstance(reply, Wrong):
                        raise from_wire(reply.code, reply.message)
                    yield reply
                    reply = None if whole else await self._run(self._next)
                whole = True
            finally:
                if not whole:
                    self._kill()
                self._ending = loop.call_later(_IDLE, self._kill)

    async def close(self) -> None:
        """End the process."""
        if self._ending is not None:
            self._ending.cancel()
        self._kill()
        await asyncio.to_thread(self._thread.shutdown)

    async def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        try:
            async with asyncio.timeout(_SECONDS):
                return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
        except TimeoutError:
            self._kill()
            raise Unavailable(f"these rows took more than {_SECONDS:g} s; send fewer at a time") from None
        except (OSError, EOFError) as error:
            self._kill()
            raise Unavailable(f"the process that prepares rows has ended ({error}); send them again") from None

    def _ask(self, request: Prepare) -> Reply | None:
        if self._process is None or self._process.poll() is not None:
            self._process = _start()
        assert self._process.stdin is not None
        send(self._process.stdin, request)
        self._process.stdin.flush()
        return self._next()

    def _next(self) -> Reply | None:
        process = self._process
        if process is None or process.stdout is None:
            raise EOFError("it was stopped")
        reply: Reply | None = receive(process.stdout, Reply | None)
        if reply is not None and reply.last:
            receive(process.stdout, Reply | None)  # the end, which would take another change of threads
        return reply

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        with contextlib.suppress(OSError):
            assert process.stdin is not None
            process.stdin.close()
        process.wait()
        assert process.stdout is not None
        with contextlib.suppress(RuntimeError):  # the thread has ended
            self._thread.submit(process.stdout.close)  # after whoever still reads it


def _start() -> subprocess.Popen[bytes]:
    # -P: what lies in the working directory is not ours. So the package's own place must be said
    place = str(Path(nbreactive.__file__).resolve().parent.parent)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "nbreactive.services._load_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [place, os.environ.get("PYTHONPATH")]))},
        creationflags=subprocess.CREATE_NO_WINDOW if sys.platform == "win32" else 0,
    )
    assert process.stdout is not None
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a limit of the system's: then it is shorter
            fcntl.fcntl(process.stdout.fileno(), fcntl.F_SETPIPE_SZ, _PIPE)
    return process
