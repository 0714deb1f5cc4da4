"""Keeps one backend running per data folder.

A lock file in the data folder says which Jupyter server keeps its backend; a file beside it, readable by the same
operating system user only, says where the backend listens and with which secret. A second server on the same folder
finds the lock taken and attaches to that backend; when the first one goes, the lock is free and the second one starts
a backend of its own. The lock dies with its process, so there is nothing to clean up after a crash.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from nbreactive.errors import Unavailable
from nbreactive.jupyter.child import Child

State = Literal["idle", "starting", "running", "attached", "down", "stopped"]

_FIRST_DELAY = 0.25
_LONGEST_DELAY = 30.0
_STEADY_AFTER = 60.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a backend listens, and what proves to it that we are its supervisor."""

    host: str
    port: int
    secret: str


class Supervisor:
    """Starts the backend of one data folder when it is first needed, and again when it ends by itself.

    Parameters
    ----------
    data
        The data folder.
    arguments
        What the backend is told.
    command
        What runs it.
    start_seconds
        How long a start may take.
    drain_seconds
        How long the backend may take to finish what it has begun when it is stopped.
    """

    def __init__(
        self,
        data: Path,
        arguments: Sequence[str],
        log: logging.Logger,
        *,
        command: Sequence[str],
        start_seconds: float = 60.0,
        drain_seconds: float = 15.0,
    ) -> None:
        self.data = data
        self.state: State = "idle"
        self.restarts = 0
        self._command = [*command, *arguments]
        self._log = log
        self._start_seconds = start_seconds
        self._drain_seconds = drain_seconds
        self._lock = FileLock(data / "supervisor.lock")
        self._info = data / "supervisor.json"
        self._keeper: asyncio.Task[None] | None = None
        self._found: asyncio.Future[Endpoint] | None = None
        self._lost = asyncio.Event()
        self._child: Child | None = None

    async def endpoint(self) -> Endpoint:
        """Where the backend is; it is started if need be.

        Raises
        ------
        Unavailable
            It could not be started; the message has its last lines.
        """
        if self.state == "stopped":
            raise Unavailable("This Jupyter server is shutting down.")
        found = self._found or self._forget()
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name="nbreactive-supervisor")
        try:
            return await asyncio.wait_for(asyncio.shield(found), self._start_seconds)
        except TimeoutError:
            raise Unavailable(f"The backend did not start within {self._start_seconds:.0f} s; see the log.") from None

    async def lost(self, endpoint: Endpoint) -> None:
        """A connection to ``endpoint`` was refused: look again."""
        if self._child is not None and not self._child.exited.done():
            # It listens no more, so it is about to end; how it ended is seen a moment later.
            await asyncio.wait([self._child.exited], timeout=1)
        found = self._found
        current = found is not None and found.done() and not found.exception() and found.result() == endpoint
        if current and (self.state == "attached" or (self._child is not None and self._child.exited.done())):
            self._forget()
            self._lost.set()

    async def stop(self) -> None:
        """Drain and end the backend, if it is ours."""
        self.state = "stopped"
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        if self._child is not None:
            await self._child.stop(self._drain_seconds)
        if self._lock.is_locked:
            self._info.unlink(missing_ok=True)
            self._lock.release()

    # ---- the keeper task ----

    async def _keep(self) -> None:
        failures = 0
        while True:
            began = time.monotonic()
            self.state = "starting"
            try:
                if self._try_lock():
                    await self._run_child()
                else:
                    await self._attach()
                    failures = 0
                    continue
            except Unavailable as error:
                self._log.error("%s", error)
                self._fail(error)
            except OSError as error:
                self._fail(Unavailable(f"The backend cannot be started in {self.data}: {error}"))
            self.state = "down"
            failures = 1 if time.monotonic() - began > _STEADY_AFTER else failures + 1
            await asyncio.sleep(min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** (failures - 1)))
            self.restarts += 1
            self._forget()

    def _try_lock(self) -> bool:
        if self._lock.is_locked:
            return True
        self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            return False
        return True

    async def _run_child(self) -> None:
        """Start the backend, make it known, return when it has ended."""
        secret = secrets.token_urlsafe(32)
        # NBREACTIVE_EXIT_WITH_STDIN: our end of the pipe closes however we die, so no backend is left behind.
        environment = {"NBREACTIVE_PROXY_SECRET": secret, "NBREACTIVE_EXIT_WITH_STDIN": "1"}
        child = self._child = Child(self._command, environment, self.data.parent, self._log)
        try:
            host, port = await asyncio.wait_for(asyncio.shield(child.ready), self._start_seconds)
        except TimeoutError:
            await child.stop(0)
            raise Unavailable(f"The backend did not start within {self._start_seconds:.0f} s.") from None
        self._publish(Endpoint(host, port, secret))
        self._succeed(Endpoint(host, port, secret), "running")
        self._log.info("The backend of %s is ready (process %d)", self.data, child.pid)
        status = await asyncio.shield(child.exited)
        self._info.unlink(missing_ok=True)
        self._forget()
        self._log.warning("The backend (process %d) ended with status %d: starting it again", child.pid, status)

    async def _attach(self) -> None:
        """Use the backend of the server that holds the lock, until it is lost."""
        deadline = time.monotonic() + self._start_seconds
        while True:
            endpoint = self._read_info()
            if endpoint is not None and await _answers(endpoint):
                break
            if self._try_lock():
                return  # the other one has gone: the next round starts a backend here
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"Another process holds {self._lock.lock_file}, but its backend does not answer. "
                    "End that Jupyter server, or give this one a data folder of its own (NBReactiveApp.data_dir)."
                )
            await asyncio.sleep(0.1)
        self._log.info("Attached to the backend that another Jupyter server keeps for %s", self.data)
        self._lost.clear()
        self._succeed(endpoint, "attached")
        await self._lost.wait()

    def _publish(self, endpoint: Endpoint) -> None:
        """Write where the backend is: at once whole, and for this user only."""
        text = json.dumps({"pid": os.getpid(), "host": endpoint.host, "port": endpoint.port, "secret": endpoint.secret})
        draft = self._info.with_suffix(".new")
        draft.unlink(missing_ok=True)
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor
            file.write(text)
        draft.replace(self._info)

    def _read_info(self) -> Endpoint | None:
        try:
            found = json.loads(self._info.read_text(encoding="utf-8"))
            return Endpoint(str(found["host"]), int(found["port"]), str(found["secret"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _forget(self) -> asyncio.Future[Endpoint]:
        """Whoever asks from now on waits for the next answer; whoever waits already goes on waiting."""
        if self._found is None or self._found.done():
            self._found = asyncio.get_running_loop().create_future()
        return self._found

    def _succeed(self, endpoint: Endpoint, state: State) -> None:
        self.state = state
        self._forget().set_result(endpoint)

    def _fail(self, error: Unavailable) -> None:
        found = self._forget()
        found.set_exception(error)
        # Whoever waits is told; when nobody does, the log has said it all.
        found.exception()


async def _answers(endpoint: Endpoint) -> bool:
    try:
        _, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
