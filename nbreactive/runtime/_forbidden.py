"""What a call must not do because it may be run again: acting on the world.

Python announces most of it to audit hooks; the start of threads it does not.
"""

from __future__ import annotations

import _thread
import os
import sys
import threading
from typing import Any, Final

from nbreactive.errors import NotAllowed
from nbreactive.runtime._instant import current


def install_refusals() -> None:
    """Refuse from now on, while a call runs."""
    _install_threads()
    sys.addaudithook(_audit)


def _install_threads() -> None:
    for module, name in (
        (_thread, "start_new_thread"),
        (_thread, "start_new"),
        (_thread, "start_joinable_thread"),
        (threading, "_start_new_thread"),
        (threading, "_start_joinable_thread"),
    ):
        real = getattr(module, name, None)
        if real is not None:
            setattr(module, name, _no_threads(real))


def _no_threads(real: Any) -> Any:
    def start(*args: Any, **kwargs: Any) -> Any:
        if current.instant is not None:
            raise _refusal("start a thread")
        return real(*args, **kwargs)

    return start


_REFUSED: Final = {
    "socket.__new__": "open a socket",
    "socket.connect": "connect a socket",
    "socket.bind": "bind a socket",
    "socket.sendto": "send on a socket",
    "socket.sendmsg": "send on a socket",
    "socket.getaddrinfo": "look up a host",
    "socket.gethostbyname": "look up a host",
    "subprocess.Popen": "start a process",
    "os.system": "start a process",
    "os.exec": "start a process",
    "os.posix_spawn": "start a process",
    "os.spawn": "start a process",
    "os.startfile": "start a process",
    "os.fork": "fork the process",
    "os.forkpty": "fork the process",
    "pty.spawn": "start a process",
    "os.kill": "send a signal",
    "os.killpg": "send a signal",
    "signal.pthread_kill": "send a signal",
    "os.remove": "delete a file",
    "os.rename": "move a file",
    "os.mkdir": "make a folder",
    "os.rmdir": "delete a folder",
    "os.link": "make a link",
    "os.symlink": "make a link",
    "os.truncate": "write a file",
    "os.chmod": "change a file",
    "os.chown": "change a file",
    "os.utime": "change a file",
    "os.putenv": "change the environment",
    "os.unsetenv": "change the environment",
    "resource.setrlimit": "change its own limits",
    "resource.prlimit": "change its own limits",
    "sqlite3.connect": "open a database of its own",
}
_WRITE_FLAGS: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def _audit(event: str, args: tuple[Any, ...]) -> None:
    instant = current.instant
    if instant is None:
        return
    if event == "open":
        instant.opened = True
        path, mode, flags = args
        by_flags = isinstance(flags, int) and bool(flags & _WRITE_FLAGS)
        by_mode = isinstance(mode, str) and not set(mode).isdisjoint("wax+")
        if (by_flags or by_mode) and path != os.devnull:
            raise _refusal(f"write the file {path!r}")
        return
    what = _REFUSED.get(event)
    if what is not None:
        raise _refusal(what)


def _refusal(what: str) -> NotAllowed:
    instant = current.instant
    kind = instant.kind if instant is not None else "query"
    return NotAllowed(
        f"a {kind} cannot {what}: it may be run again at any moment, and must have no effect but its writes to ctx.db;"
        " do it outside (in a notebook, or in an action) and store the result with a mutation"
    )
