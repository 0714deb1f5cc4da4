"""The fork server: imports the user's modules once, then forks a worker in milliseconds whenever it is asked to.

``python -m nbreactive.runtime.zygote FD`` is started by the backend with a clean environment. It has one thread, no
database and no socket but its control socket; each :data:`~nbreactive.runtime.frames.FORK` brings along the socket that
the new worker talks through. It is the parent of the workers, so it reaps them and reports how they ended, and it alone
kills them: a process id cannot be another's while its parent has not reaped it. It ends with its socket, and its
workers end with it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
from typing import Final, NoReturn

import msgspec

from nbreactive.runtime import worker
from nbreactive.runtime._hardening import bind_to_parent
from nbreactive.runtime._processes import inherited_socket
from nbreactive.runtime.frames import EXITED, FORK, FORKED, KILL, Exited, Forked, Setup, encode, frame
from nbreactive.runtime.loader import Program

_HEADER: Final = 5
_pid = msgspec.msgpack.Decoder(Forked)


class Zygote:
    """The loop of the fork server."""

    def __init__(self, control: socket.socket, setup: Setup, program: Program) -> None:
        self._control = control
        self._setup = setup
        self._program = program
        self._children: set[int] = set()

    def run(self) -> None:
        """Serve until the backend closes the socket."""
        woken, wake = os.pipe()
        os.set_blocking(woken, False)
        os.set_blocking(wake, False)
        signal.signal(signal.SIGCHLD, _noticed)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        gc.collect()
        gc.freeze()  # Collections in the workers leave the shared pages alone.
        while True:
            ready, _, _ = select.select([self._control, woken], [], [])
            if woken in ready:
                os.read(woken, 4096)
            self._reap()
            if self._control in ready and not self._command((woken, wake)):
                return

    def _command(self, pipes: tuple[int, int]) -> bool:
        head, descriptors, _, _ = socket.recv_fds(self._control, _HEADER, 1)
        if len(head) < _HEADER:
            return False
        length = int.from_bytes(head[:4], "little")
        body = self._control.recv(length, socket.MSG_WAITALL) if length else b""
        if head[4] == FORK and descriptors:
            self._fork(descriptors[0], pipes)
        elif head[4] == KILL:
            pid = _pid.decode(body).pid
            if pid in self._children:
                self._kill_group(pid)
        return True

    def _fork(self, descriptor: int, pipes: tuple[int, int]) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            with contextlib.suppress(OSError):  # The child does it, too; whoever comes first.
                os.setpgid(pid, pid)
            os.close(descriptor)
            self._children.add(pid)
            self._control.sendall(frame(FORKED, encode(Forked(pid))))
            return
        self._work(descriptor, pipes, parent)

    def _work(self, descriptor: int, pipes: tuple[int, int], parent: int) -> NoReturn:
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for pipe in pipes:
                os.close(pipe)
            self._control.close()
            os.setpgid(0, 0)
            bind_to_parent()
            if os.getppid() == parent:
                worker.serve(socket.socket(fileno=descriptor), self._setup, self._program)
        finally:
            os._exit(0)

    def _reap(self) -> None:
        while self._children:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None:
                return
            pid = ended.si_pid
            self._kill_group(pid)  # Before it is reaped: until then its number is not another's.
            _, status = os.waitpid(pid, 0)
            self._children.discard(pid)
            self._control.sendall(frame(EXITED, encode(Exited(pid, os.waitstatus_to_exitcode(status)))))

    def _kill_group(self, pid: int) -> None:
        """Kill a worker and what C code in it has forked."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


def _noticed(_signal: int, _frame: object) -> None:
    """Do nothing: the signal has woken the loop through the pipe."""


def main() -> None:
    """Entry point of the process."""
    bind_to_parent()
    control = inherited_socket()
    with contextlib.suppress(ConnectionError):  # The backend is gone: that is the end, whatever was to be said.
        loaded = worker.load(control)
        if loaded is not None:
            Zygote(control, *loaded).run()


if __name__ == "__main__":
    main()
