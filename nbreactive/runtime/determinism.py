"""Queries and mutations see one instant, seeded randomness, and no way to act on the world.

:func:`install` is called once per process, before user code is imported. It puts wrappers around the clocks of
:mod:`time` and :mod:`datetime`, the generators of :mod:`random`, :mod:`uuid` and :mod:`os`, and around the start of
threads, and adds an audit hook for what else Python announces: sockets, subprocesses, opening files for writing,
changing the file system. All of them look at :data:`_current`: while no call runs (imports, the worker itself) they do
nothing. It is per thread, so that a call that runs inline freezes nobody else's clock.

+----------------------------------------------+-------------------------+----------------------------+
| what                                         | in a query              | in a mutation              |
+==============================================+=========================+============================+
| ``time.*``, ``datetime.now``, ``date.today`` | the instant ``ctx.now()`` says; it stands still      |
+----------------------------------------------+-------------------------+----------------------------+
| ``random.*``, ``uuid.uuid1/uuid4``, numpy's  | seeded by the call                                   |
| global generator, ``random.Random()``        |                                                      |
+----------------------------------------------+-------------------------+----------------------------+
| ``secrets``, ``os.urandom``, unseeded        | NotAllowed              | real                       |
| ``numpy.random.default_rng()``               |                         |                            |
+----------------------------------------------+-------------------------+----------------------------+
| sockets, threads, subprocesses, ``os.fork``, | NotAllowed                                           |
| writing, moving and deleting files           |                                                      |
+----------------------------------------------+-------------------------+----------------------------+
| reading files, imports, ``time.sleep``       | allowed (sleeping counts as time used)               |
+----------------------------------------------+-------------------------+----------------------------+

Limits, on purpose: this keeps honest code repeatable, it is no sandbox. Clocks and generators inside C extensions
(``numpy.datetime64("now")``, ``polars.Expr.sample``), native threads of libraries, a ``random.Random()`` made at import
time, and whatever :mod:`ctypes` can reach are not covered.
"""

from __future__ import annotations

import _thread
import builtins
import ctypes
import datetime as dt
import gc
import hashlib
import importlib
import os
import random
import sys
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any, Final

from nbreactive.errors import NotAllowed

real_monotonic: Final = time.monotonic
"""For the worker's own use."""


class Instant:
    """What one call sees of time and chance.

    Parameters
    ----------
    kind
        ``query`` or ``mutation``.
    now_ms
        The instant, in milliseconds since the epoch.
    seed
        16 bytes; equal seeds give equal random numbers.
    """

    __slots__ = ("_counter", "_numpy", "_random", "kind", "ns", "opened", "seconds", "seed")

    def __init__(self, kind: str, now_ms: int, seed: bytes) -> None:
        self.kind = kind
        self.seconds = now_ms / 1000
        self.ns = now_ms * 1_000_000
        self.seed = seed
        self._random = False
        self._numpy = False
        self._counter = 0
        self.opened = False
        """Whether a file was opened, which may have been left open."""

    def bytes(self, size: int) -> bytes:
        """Next ``size`` bytes of the call's own stream."""
        self._counter += 1
        return hashlib.shake_128(self.seed + self._counter.to_bytes(8, "big")).digest(size)

    def seed_random(self) -> None:
        """Seed the global generator of :mod:`random` at its first use: seeding takes longer than most calls."""
        if not self._random:
            self._random = True
            random.seed(int.from_bytes(self.seed, "big"))

    def seed_numpy(self, seed: Callable[[Any], Any]) -> None:
        """Seed numpy's global generator at its first use."""
        if not self._numpy:
            self._numpy = True
            seed([int.from_bytes(self.seed[i : i + 4], "big") for i in (0, 4, 8, 12)])


class _Current(threading.local):
    instant: Instant | None = None


_current: Final = _Current()
_SEEDED: Final = "_nbreactive_seeded"
_installed = False


class frozen:  # noqa: N801 - used like a function
    """Context manager: what runs inside sees ``instant`` (None: the real world again)."""

    __slots__ = ("_before", "_instant")

    def __init__(self, instant: Instant | None) -> None:
        self._instant = instant

    def __enter__(self) -> None:
        self._before = _current.instant
        _current.instant = self._instant

    def __exit__(self, *exc: object) -> None:
        _current.instant = self._before


def install() -> None:
    """Put the wrappers in place; once per process, for good."""
    global _installed  # noqa: PLW0603
    if _installed:
        return
    _installed = True
    _install_clocks()
    _install_random()
    _install_threads()
    _install_imports()
    sys.addaudithook(_audit)


# ---- clocks ----------------------------------------------------------------------------------------------


def _install_clocks() -> None:
    for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time"):
        _wrap_clock(name, lambda instant: instant.seconds)
        _wrap_clock(f"{name}_ns", lambda instant: instant.ns)
    for name in ("gmtime", "localtime", "ctime"):
        _wrap_default(name, 0, lambda instant: instant.seconds)
    for name in ("strftime", "asctime"):
        _wrap_default(name, name == "strftime", lambda instant: time.localtime(instant.seconds))

    real_now: Any = vars(dt.datetime)["now"]
    real_utcnow: Any = vars(dt.datetime)["utcnow"]

    def now(cls: type[dt.datetime], tz: dt.tzinfo | None = None) -> dt.datetime:
        instant = _current.instant
        if instant is None:
            return real_now.__get__(None, cls)(tz)
        return cls.fromtimestamp(instant.seconds, tz)

    def utcnow(cls: type[dt.datetime]) -> dt.datetime:
        instant = _current.instant
        if instant is None:
            return real_utcnow.__get__(None, cls)()
        return cls.fromtimestamp(instant.seconds, dt.UTC).replace(tzinfo=None)

    def today(cls: type[dt.date]) -> dt.date:
        instant = _current.instant
        return cls.fromtimestamp(instant.seconds if instant is not None else time.time())

    _replace_method(dt.datetime, "now", now)
    _replace_method(dt.datetime, "utcnow", utcnow)
    _replace_method(dt.datetime, "today", today)
    _replace_method(dt.date, "today", today)


def _replace_method(cls: type, name: str, function: Callable[..., Any]) -> None:
    # A subclass in place of ``datetime.datetime`` would break ``type(x) is datetime`` in every library, and would miss
    # ``from datetime import datetime`` in modules imported before. So the class keeps its identity and its dictionary
    # is changed, which for a class written in C can only be reached through the garbage collector.
    referents: list[Any] = gc.get_referents(cls.__dict__)
    namespace: Any = next(filter(_is_dict, referents))
    function.__doc__ = getattr(namespace.get(name), "__doc__", None)
    namespace[name] = classmethod(function)
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(cls))


def _is_dict(value: object) -> bool:
    return type(value) is dict


def _wrap_clock(name: str, read: Callable[[Instant], float]) -> None:
    real = getattr(time, name, None)
    if real is None:
        return

    def clock() -> Any:
        instant = _current.instant
        return real() if instant is None else read(instant)

    clock.__name__ = clock.__qualname__ = name
    clock.__doc__ = real.__doc__
    setattr(time, name, clock)


def _wrap_default(name: str, position: int, default: Callable[[Instant], Any]) -> None:
    """Give a function of :mod:`time` the frozen instant for the argument that it would take from the clock."""
    real = getattr(time, name)

    def function(*args: Any) -> Any:
        instant = _current.instant
        if instant is not None and (len(args) <= position or (position == 0 and args[0] is None)):
            args = (*args[:position], default(instant))
        return real(*args)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = real.__doc__
    setattr(time, name, function)


# ---- randomness ------------------------------------------------------------------------------------------


def _install_random() -> None:
    hidden: Any = random.random.__self__  # type: ignore[attr-defined]
    for name, real in list(vars(random).items()):
        # The functions of the module are methods of one hidden generator.
        if getattr(real, "__self__", None) is hidden and name not in ("seed", "getstate", "setstate"):
            setattr(random, name, _seeded_first(real))

    real_seed = random.Random.seed

    def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        instant = _current.instant
        if a is None and instant is not None and not isinstance(self, random.SystemRandom):
            a = instant.bytes(16)
        real_seed(self, a, version)

    random.Random.seed = seed  # type: ignore[method-assign]

    real_urandom = os.urandom

    def urandom(size: int, /) -> bytes:
        instant = _current.instant
        if instant is not None and instant.kind == "query":
            raise NotAllowed(
                "a query must give the same answer every time, so it cannot use os.urandom, secrets or an unseeded"
                " numpy.random.default_rng(); use random (seeded per call), pass a seed, or do it in a mutation"
            )
        return real_urandom(size)

    os.urandom = urandom
    setattr(random, "_urandom", urandom)  # noqa: B010 - the name is private, and what SystemRandom uses

    for name in ("uuid1", "uuid4", "uuid6", "uuid7", "uuid8"):
        real = getattr(uuid, name, None)
        if real is not None:
            setattr(uuid, name, _seeded_uuid(real, int(name[4:])))


def _seeded_first(real: Any) -> Any:
    def function(*args: Any, **kwargs: Any) -> Any:
        instant = _current.instant
        if instant is not None:
            instant.seed_random()
        return real(*args, **kwargs)

    function.__name__ = function.__qualname__ = real.__name__
    function.__doc__ = real.__doc__
    return function


def _seeded_uuid(real: Any, version: int) -> Any:
    def function(*args: Any, **kwargs: Any) -> uuid.UUID:
        instant = _current.instant
        if instant is None or (version == 8 and args):
            return real(*args, **kwargs)
        value = int.from_bytes(instant.bytes(16), "big")
        if version == 1:
            # 100 ns intervals since 1582-10-15; node and clock sequence are random, with the multicast bit set.
            ticks = instant.ns // 100 + 0x01B21DD213814000
            head = (ticks & 0xFFFFFFFF) << 96 | (ticks >> 32 & 0xFFFF) << 80 | (ticks >> 48 & 0xFFF) << 64
            value = head | value & ((1 << 64) - 1) | 1 << 40
        elif version == 7:
            value = (instant.ns // 1_000_000) << 80 | value & ((1 << 80) - 1)
        value = value & ~(0xF << 76) | version << 76
        return uuid.UUID(int=value & ~(0x3 << 62) | 0x2 << 62)

    function.__name__ = function.__qualname__ = real.__name__
    function.__doc__ = real.__doc__
    return function


def install_numpy() -> None:
    """Seed numpy's global generator per call, if numpy was imported; called after imports."""
    module: Any = sys.modules.get("numpy.random")
    if module is None or hasattr(module, _SEEDED) or not hasattr(module, "seed"):
        return
    hidden = getattr(module.random, "__self__", None)
    real_seed = module.seed
    names: list[str] = dir(module)
    for name in names:
        real: Any = getattr(module, name)
        if hidden is not None and getattr(real, "__self__", None) is hidden and name not in ("seed", "get_state"):
            setattr(module, name, _numpy_first(real, real_seed))
    setattr(module, _SEEDED, True)


def _numpy_first(real: Any, seed: Callable[[Any], Any]) -> Any:
    def function(*args: Any, **kwargs: Any) -> Any:
        instant = _current.instant
        if instant is not None:
            instant.seed_numpy(seed)
        return real(*args, **kwargs)

    function.__name__ = function.__qualname__ = getattr(real, "__name__", "function")
    function.__doc__ = real.__doc__
    return function


# ---- imports ---------------------------------------------------------------------------------------------


def _install_imports() -> None:
    # What a library does while it is imported (numpy takes entropy, others look at the clock) happens once per worker,
    # outside of any call.
    real_import = builtins.__import__
    real_import_module = importlib.import_module

    def importing(name: str, *args: Any, **kwargs: Any) -> Any:
        if _current.instant is None:
            return real_import(name, *args, **kwargs)
        with frozen(None):
            module = real_import(name, *args, **kwargs)
        install_numpy()
        return module

    def import_module(name: str, package: str | None = None) -> Any:
        with frozen(None):
            module = real_import_module(name, package)
        install_numpy()
        return module

    builtins.__import__ = importing
    importlib.import_module = import_module


# ---- acting on the world ---------------------------------------------------------------------------------


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
        if _current.instant is not None:
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
    instant = _current.instant
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
    instant = _current.instant
    kind = instant.kind if instant is not None else "query"
    return NotAllowed(
        f"a {kind} cannot {what}: it may be run again at any moment, and must have no effect but its writes to ctx.db;"
        " do it outside (in a notebook, or in an action) and store the result with a mutation"
    )
