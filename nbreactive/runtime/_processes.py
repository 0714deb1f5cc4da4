"""Starting the processes of the runtime; what differs between POSIX and Windows is here and nowhere else.

A process gets one connected socket, an environment of harmless variables (none of the backend's secrets), and no other
descriptor. It is a session of its own, so that Ctrl-C in a terminal reaches the backend only, which then drains.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from nbreactive.runtime.timing import Cpu

_KEPT: Final = frozenset(
    {"PATH", "HOME", "USER", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP", "VIRTUAL_ENV", "CONDA_PREFIX"}
    | {"LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "WINDIR", "COMSPEC", "PATHEXT", "USERPROFILE", "APPDATA"}
    | {"LOCALAPPDATA", "PROGRAMDATA", "PYTHONPATH", "PYTHONUTF8", "XDG_CACHE_HOME", "HF_HOME", "NLTK_DATA"}
)
_SET: Final = {
    # The order of sets and the like is the same in every worker and in every run.
    "PYTHONHASHSEED": "0",
    # One call is one core; and a library that starts no threads at import leaves the quick fork server usable.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
_LINUX: Final = sys.platform == "linux"
_SIOCOUTQ: Final = 0x5411


def can_fork() -> bool:
    """Whether workers can be forked from a zygote: only Linux's libraries are made for it."""
    return _LINUX


def clean_environment() -> dict[str, str]:
    """The variables that workers get."""
    kept = {name: value for name, value in os.environ.items() if name.upper() in _KEPT or name.startswith("LC_")}
    root = str(Path(__file__).parents[2])
    if Path(root).name not in ("site-packages", "dist-packages"):
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, (kept.get("PYTHONPATH"), root)))
    return kept | _SET


def start(module: str) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start ``python -m module`` with a socket; returns the process and the backend's end, which does not block."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-P", "-m", module]
    options: dict[str, Any] = {"env": clean_environment(), "stdout": subprocess.DEVNULL}
    with theirs:
        if os.name == "posix":
            process: subprocess.Popen[Any] = subprocess.Popen(
                [*command, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                **options,
            )
        else:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, **options)
            assert process.stdin is not None
            with contextlib.suppress(OSError), process.stdin as stdin:
                stdin.write(theirs.share(process.pid))  # type: ignore[attr-defined]
    ours.setblocking(False)
    return process, ours


def inherited_socket() -> socket.socket:
    """The socket that :func:`start` gave to this process."""
    if os.name == "posix":
        sock = socket.socket(fileno=int(sys.argv[1]))
        sock.set_inheritable(False)
    else:
        sock = socket.fromshare(sys.stdin.buffer.read())  # type: ignore[attr-defined]
    sock.setblocking(True)
    return sock


def unread_bytes(sock: socket.socket) -> int:
    """How much of what was sent on a socket the other process has not read; 0 where that cannot be asked."""
    if not _LINUX:
        return 0
    import fcntl

    return int.from_bytes(fcntl.ioctl(sock, _SIOCOUTQ, bytes(4)), sys.byteorder)


def kill(process: subprocess.Popen[Any]) -> None:
    """End a process that :func:`start` has started, and what it has started itself."""
    if os.name == "posix":
        if process.returncode is None:  # So its number is still its own, and that of its group.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def has_ended(process: subprocess.Popen[Any]) -> bool:
    """Whether a process has ended; its number stays its own until :meth:`subprocess.Popen.wait`."""
    if os.name != "posix" or process.returncode is not None:
        return process.poll() is not None
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


async def wait_for_end(process: subprocess.Popen[Any], seconds: float = math.inf) -> bool:
    """Wait until a process has ended, or for so long; tell whether it has."""
    deadline = time.monotonic() + seconds
    while not has_ended(process):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.01)
    return True


def silence_descriptors() -> None:
    """Point the standard descriptors to nowhere: what C code prints belongs to nobody."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)


def open_descriptors() -> int:
    """How many descriptors this process has; -1 where that cannot be asked."""
    try:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - called after calls; pathlib is slower
    except OSError:
        return -1


def peak_memory() -> int:
    """The most memory that this process has had, in bytes; 0 where that cannot be asked quickly."""
    if os.name != "posix":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def describe_exit(status: int | None) -> str:
    """In words: how a process ended (as :attr:`subprocess.Popen.returncode`)."""
    if status is None:
        return "it is gone"
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"


def cpu_of(pid: int) -> Cpu | None:
    """CPU seconds that a process has used, and whether any of its threads could run now; None where nothing tells."""
    if not _LINUX:
        return None
    try:
        state, seconds = _stat(Path(f"/proc/{pid}/stat"))
        # The state is that of the first thread, which only waits while a library computes in threads of its own.
        runnable = state == b"R" or any(_stat(path)[0] == b"R" for path in Path(f"/proc/{pid}/task").glob("*/stat"))
    except (OSError, ValueError, IndexError):
        return None
    return seconds, runnable


def _stat(path: Path) -> tuple[bytes, float]:
    fields = path.read_bytes().rpartition(b") ")[2].split()
    return fields[0], (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
