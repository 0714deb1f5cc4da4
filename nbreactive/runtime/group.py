"""The processes of one version of the code: a zygote and what it forked, or spawned workers.

Workers of a group never change their code, so a deploy makes a new group beside the old one. Which of the two ways is
taken is decided when the code is loaded: forking takes a few milliseconds but is only safe while no import has started
threads; otherwise each worker is a process that imports everything itself, and is started long before it is needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from nbreactive.errors import DeployRefused
from nbreactive.functions.specs import Issue, Manifest
from nbreactive.runtime import _processes
from nbreactive.runtime._link import Link
from nbreactive.runtime.frames import (
    EXITED,
    FORK,
    FORKED,
    IMPORTED,
    IMPORTING,
    KILL,
    LOADED,
    READY,
    REPLY,
    SELECT,
    SETUP,
    Exited,
    Forked,
    Imported,
    Loaded,
    Reply,
    Select,
    Setup,
    encode,
    frame,
)
from nbreactive.runtime.handles import Worker
from nbreactive.runtime.manifest import refusal

Method = Literal["auto", "fork", "spawn"]

_FROM_ZYGOTE: Final = frozenset({LOADED, FORKED, EXITED})
_FROM_WORKER: Final = frozenset({LOADED, READY, REPLY, IMPORTING, IMPORTED, SELECT})
_STATUS_SECONDS: Final = 0.25
_ENDING_SECONDS: Final = 2.0

_loaded = msgspec.msgpack.Decoder(Loaded)
_forked = msgspec.msgpack.Decoder(Forked)
_exited = msgspec.msgpack.Decoder(Exited)
_reply = msgspec.msgpack.Decoder(Reply)
_imported = msgspec.msgpack.Decoder(Imported)
_select = msgspec.msgpack.Decoder(Select)


class Group:
    """Zygote and workers of one bundle.

    Parameters
    ----------
    setup
        What the processes have to know.
    method
        ``auto`` forks where that is possible and safe.
    on_ready, on_reply, on_end
        Called when a worker can take its first call, when it answers, and when it is gone.
    on_lost
        Called when the zygote is gone, and with it all workers.
    """

    def __init__(
        self,
        setup: Setup,
        method: Method,
        on_ready: Callable[[Worker], None],
        on_reply: Callable[[Worker, Reply], None],
        on_end: Callable[[Worker], None],
        on_lost: Callable[[Group], None],
    ) -> None:
        self.setup = setup
        self.forks = method == "fork" or (method == "auto" and _processes.can_fork())
        self.why = "forked from a zygote" if self.forks else f"spawned: {_why_spawned(method)}"
        self._auto = method == "auto"
        self._on_ready = on_ready
        self._on_reply = on_reply
        self._on_end = on_end
        self._on_lost = on_lost
        self.manifest: Manifest | None = None
        self.idle: list[Worker] = []
        self.busy: set[Worker] = set()
        self.starting: set[Worker] = set()
        self.stuck = 0
        """Busy workers whose call takes long."""
        self.failures = 0
        """Workers in a row that ended before they were ready."""
        self._zygote: subprocess.Popen[bytes] | None = None
        self._control: Link | None = None
        self._loading: asyncio.Future[Loaded] | None = None
        self._unnamed: deque[Worker] = deque()
        self._forked: dict[int, Worker] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self.closed = False

    @property
    def version(self) -> int:
        """Version of the bundle."""
        return self.setup.bundle.version

    @property
    def live(self) -> int:
        """Number of worker processes, those that are still starting included."""
        return len(self.idle) + len(self.busy) + len(self.starting)

    # ---- loading -----------------------------------------------------------------------------------------

    async def load(self) -> Manifest:
        """Import the bundle in a process of its own; raises DeployRefused with the issues."""
        self._loading = asyncio.get_running_loop().create_future()
        if self.forks:
            self._start_zygote()
        else:
            self.start_worker()
        try:
            loaded = await asyncio.wait_for(asyncio.shield(self._loading), self.setup.import_seconds)
        except TimeoutError:
            seconds = self.setup.import_seconds
            raise self._refused(f"importing the modules took more than {seconds:g} s", "do no work at import") from None
        if loaded.manifest is None:
            raise refusal(list(loaded.issues))
        self.manifest = loaded.manifest
        if self.forks and self._auto and loaded.manifest.threads:
            self.forks = False
            self.why = (
                f"spawned: importing {', '.join(loaded.manifest.threads)} started threads, which do not survive a fork"
            )
            self._end_zygote()
        return loaded.manifest

    def _refused(self, reason: str, fix: str) -> DeployRefused:
        names = ", ".join(f"reactive/{module.name}.py" for module in self.setup.bundle.modules) or "reactive"
        return refusal([Issue(names, 0, reason, fix)])

    def _start_zygote(self) -> None:
        process, sock = _processes.start("nbreactive.runtime.zygote")
        self._zygote = process
        self._control = Link(sock, _FROM_ZYGOTE, self._from_zygote, self._zygote_ended)
        self._control.send(frame(SETUP, encode(self.setup)))

    def _from_zygote(self, kind: int, body: bytes) -> None:
        try:
            if kind == LOADED:
                self._was_loaded(_loaded.decode(body))
            elif kind == FORKED:
                worker = self._unnamed.popleft()
                worker.pid = _forked.decode(body).pid
                self._forked[worker.pid] = worker
                if worker.killed:
                    self.kill_forked(worker.pid)
            else:
                exited = _exited.decode(body)
                worker = self._forked.pop(exited.pid)
                worker.status = exited.status
                if worker.ended:
                    self._settle(worker)
        except (msgspec.MsgspecError, LookupError) as error:
            assert self._control is not None
            self._control.fail(error)

    def _zygote_ended(self, error: Exception | None) -> None:
        process, self._zygote = self._zygote, None
        if process is not None:
            self._reap(process)
        if self._loading is not None and not self._loading.done():
            status = f"{error}" if error is not None else "the process ended"
            self._loading.set_exception(
                self._refused(f"importing the modules failed: {status}", "see what they do at import")
            )
        elif not self.closed:
            self._on_lost(self)

    def _end_zygote(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        process, self._zygote = self._zygote, None
        if process is not None:
            _processes.kill(process)  # It may hang in an import; its workers end with it.
            self._reap(process)

    def _was_loaded(self, loaded: Loaded) -> None:
        if self._loading is not None and not self._loading.done():
            self._loading.set_result(loaded)

    # ---- workers -----------------------------------------------------------------------------------------

    def start_worker(self) -> None:
        """Begin to start one more worker; ``on_ready`` tells when it is there."""
        if self.forks:
            if self._control is None or self._control.closed:
                return
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            worker = Worker(self, None)
            with theirs, contextlib.suppress(OSError):
                socket.send_fds(self._control.sock, [frame(FORK)], [theirs.fileno()])
            self._unnamed.append(worker)
        else:
            process, ours = _processes.start("nbreactive.runtime.worker")
            worker = Worker(self, process)
        self.starting.add(worker)
        worker.link = Link(
            ours,
            _FROM_WORKER,
            lambda kind, body: self._from_worker(worker, kind, body),
            lambda error: self._worker_ended(worker, error),
        )
        if not self.forks:
            worker.link.send(frame(SETUP, encode(self.setup)))

    def kill_forked(self, pid: int) -> None:
        """Have the zygote kill a worker: as its parent it knows that the process id is still that worker's."""
        if self._control is not None and pid in self._forked:
            self._control.send(frame(KILL, encode(Forked(pid))))

    def discard(self, worker: Worker) -> None:
        """Forget a worker; if it has not been killed it ends by itself, as its socket closes."""
        for where in (self.busy, self.starting):
            where.discard(worker)
        if worker in self.idle:
            self.idle.remove(worker)
        worker.stop_selecting()
        worker.link.close()
        if worker.process is not None:
            self._reap(worker.process)

    def _from_worker(self, worker: Worker, kind: int, body: bytes) -> None:
        try:
            if kind == REPLY and worker.job is not None:
                reply = _reply.decode(body)
                if reply.number != worker.number:
                    worker.stale = 0 < reply.number < worker.number
                    raise msgspec.ValidationError(
                        f"a reply to call {reply.number}, but call {worker.number} is running"
                    )
                self._on_reply(worker, reply)
            elif kind == SELECT:
                worker.begin_select(_select.decode(body))
            elif kind == IMPORTING and worker.job is not None:
                worker.clock.begin_import(time.monotonic())
            elif kind == IMPORTED and worker.job is not None:
                imported = _imported.decode(body)
                worker.clock.end_import(time.monotonic(), imported.seconds, imported.cpu)
            elif kind == READY and not worker.ready:
                worker.ready = True
                self.failures = 0
                self.starting.discard(worker)
                self._on_ready(worker)
            elif kind == LOADED and not self.forks and not worker.ready:
                self._was_loaded(_loaded.decode(body))
            else:
                raise msgspec.ValidationError(f"a frame of type {kind} at the wrong time")
        except (msgspec.MsgspecError, ValueError) as error:
            worker.link.fail(error)

    def _worker_ended(self, worker: Worker, error: Exception | None) -> None:
        worker.ended = True
        worker.error = error
        if error is not None:
            worker.kill()
        if worker.status is not None or worker.killed:
            self._settle(worker)
        elif worker.process is None:
            asyncio.get_running_loop().call_later(_STATUS_SECONDS, self._settle, worker)
        else:
            self._ask_status(worker, time.monotonic() + _STATUS_SECONDS)

    def _ask_status(self, worker: Worker, deadline: float) -> None:
        assert worker.process is not None
        worker.status = worker.process.poll()
        if worker.status is None and time.monotonic() < deadline:
            asyncio.get_running_loop().call_later(0.005, self._ask_status, worker, deadline)
        else:
            self._settle(worker)

    def _settle(self, worker: Worker) -> None:
        if worker.ended:
            worker.ended = False  # Once: the status may come after the time for it is over.
            if not worker.ready:
                self.failures += 1
                if self._loading is not None and not self._loading.done():
                    how = _processes.describe_exit(worker.status)
                    self._loading.set_exception(
                        self._refused(f"importing the modules ended the process ({how})", _AT_IMPORT)
                    )
            self.discard(worker)
            self._on_end(worker)

    # ---- the end -----------------------------------------------------------------------------------------

    async def close(self) -> None:
        """End every process and wait for them."""
        self.closed = True
        for worker in [*self.idle, *self.busy, *self.starting]:
            worker.kill()
            self.discard(worker)
        self._end_zygote()
        while self._ending:
            await asyncio.gather(*self._ending)

    def _reap(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            task = asyncio.get_running_loop().create_task(_wait(process))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    def status(self) -> dict[str, Any]:
        """For people."""
        return {
            "version": self.version,
            "method": "fork" if self.forks else "spawn",
            "why": self.why,
            "idle": len(self.idle),
            "busy": len(self.busy),
            "starting": len(self.starting),
            "pids": sorted(worker.pid for worker in (*self.idle, *self.busy)),
        }


_AT_IMPORT: Final = "move what the modules do at import into functions"


async def _wait(process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _ENDING_SECONDS
    while process.poll() is None:
        if time.monotonic() > deadline:
            _processes.kill(process)
        await asyncio.sleep(0.01)


def _why_spawned(method: Method) -> str:
    return "as asked for" if method == "spawn" else f"{sys.platform} has no safe fork"
