"""What a worker process gives up before it runs calls, as far as that is cheap and harms no library.

This is protection from faults and from carelessness in functions (a path that a caller chose, a runaway library), not a
sandbox: functions run as the user who runs the backend, and whoever may deploy them may run any code as that user, just
as in a notebook. People who must be kept from each other need backends of their own users, or containers.

============================================= =========================================================
a function reaches for                        it gets
============================================= =========================================================
the backend's environment variables           a fixed list of harmless ones (PATH, HOME, LANG, ...)
the admin key, the proxy secret               not in its memory, arguments or environment; ``admin.key`` has mode
                                              0600, which its own user can read
the key of cursors                            it: it tells nothing that a function cannot read anyway
memory and environment of the backend         Linux: nothing, if the backend runs as root, as the worker has given
(``/proc/PID/mem``, ``ptrace``)               up what that takes; else as the system says: it forbids memory where
                                              Yama is on (Debian's and Ubuntu's default)
setuid programs                               Linux: nothing of their rights (no_new_privs)
sockets, programs, forks, threads, files      NotAllowed through Python; not noticed from C (ctypes), but what is
written                                       forked there ends with its worker
files that its user may read                  all of them
memory                                        1 GiB (Linux), then MemoryError; as much while modules are imported
open files                                    512
core dumps                                    none
to live on without the backend                Linux: killed by the kernel; elsewhere it ends after its call
============================================= =========================================================

RLIMIT_NPROC is left alone: it counts all processes and threads of a user, so the threads of a library in a worker would
fail because of what that user does elsewhere. Nor is there a filter of system calls or of paths (seccomp, landlock):
which of them a numerical library needs depends on its version and the machine.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import Any, Final

_LINUX: Final = sys.platform == "linux"
_PDEATHSIG: Final = 1
_NO_NEW_PRIVS: Final = 38
_RESERVE: Final = 4 << 20
_CAPABILITY_VERSION: Final = 0x20080522
_KEPT_CAPABILITIES: Final = 1 << 1
"""CAP_DAC_OVERRIDE: root goes on to read what others own, without which imports may fail."""


def bind_to_parent() -> None:
    """Have the kernel end this process with the one that started it, and let it gain no rights; Linux only."""
    if _LINUX:
        libc = ctypes.CDLL(None)
        libc.prctl(_PDEATHSIG, signal.SIGKILL)
        libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)


def give_up_rights() -> None:
    """Give up all of root's rights but those on files, for good; Linux only, and nothing for other users."""
    if not _LINUX:
        return
    libc: Any = ctypes.CDLL(None)
    with contextlib.suppress(AttributeError):  # A C library without these two functions.
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
        sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; the same for the upper 32
        if libc.capget(header, sets) == 0:
            kept = sets[1] & _KEPT_CAPABILITIES
            libc.capset(header, (ctypes.c_uint32 * 6)(sets[0] & kept, kept, 0, 0, 0, 0))


def limit_resources(memory_bytes: int, descriptors: int = 512) -> None:
    """Bound what this process may take; memory on top of what it has now.

    RLIMIT_DATA counts private writable memory; RLIMIT_AS would count LMDB's map, too, which is only address space.
    """
    if os.name != "posix":
        return
    import resource

    if _LINUX:
        wanted = _data_bytes() + memory_bytes
        _lower(resource.RLIMIT_DATA, wanted)
    _lower(resource.RLIMIT_NOFILE, descriptors)
    _lower(resource.RLIMIT_CORE, 0)


class ImportMemory:
    """While entered, bounds the memory of this process on top of what it had at first; Linux only.

    It keeps a little in reserve, with which the limit can be lifted again when a module has taken all the rest.
    """

    def __init__(self, memory_bytes: int) -> None:
        self._most = _data_bytes() + memory_bytes if _LINUX else 0
        self._before = (0, 0)
        self._reserve = b""

    def __enter__(self) -> None:
        if not _LINUX:
            return
        import resource

        self._before = resource.getrlimit(resource.RLIMIT_DATA)
        most = min((self._most, *(limit for limit in self._before if limit != resource.RLIM_INFINITY)))
        self._reserve = bytes(_RESERVE)
        resource.setrlimit(resource.RLIMIT_DATA, (most, self._before[1]))

    def __exit__(self, *_: object) -> None:
        if not _LINUX:
            return
        import resource

        self._reserve = b""
        resource.setrlimit(resource.RLIMIT_DATA, self._before)


def _lower(which: int, wanted: int) -> None:
    import resource

    hard = resource.getrlimit(which)[1]
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    resource.setrlimit(which, (wanted, wanted))


def _data_bytes() -> int:
    with Path("/proc/self/status").open(encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("VmData:"):
                return int(line.split()[1]) * 1024
    return 0
