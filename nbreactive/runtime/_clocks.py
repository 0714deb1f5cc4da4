"""Clocks that stand still while a call runs: :mod:`time` and :mod:`datetime`."""

from __future__ import annotations

import ctypes
import datetime as dt
import gc
import time
from collections.abc import Callable
from typing import Any

from nbreactive.runtime._instant import Instant, current


def install_clocks() -> None:
    """Put the wrappers in place."""
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
        instant = current.instant
        if instant is None:
            return real_now.__get__(None, cls)(tz)
        return cls.fromtimestamp(instant.seconds, tz)

    def utcnow(cls: type[dt.datetime]) -> dt.datetime:
        instant = current.instant
        if instant is None:
            return real_utcnow.__get__(None, cls)()
        return cls.fromtimestamp(instant.seconds, dt.UTC).replace(tzinfo=None)

    def today(cls: type[dt.date]) -> dt.date:
        instant = current.instant
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
        instant = current.instant
        return real() if instant is None else read(instant)

    clock.__name__ = clock.__qualname__ = name
    clock.__doc__ = real.__doc__
    setattr(time, name, clock)


def _wrap_default(name: str, position: int, default: Callable[[Instant], Any]) -> None:
    """Give a function of :mod:`time` the frozen instant for the argument that it would take from the clock."""
    real = getattr(time, name)

    def function(*args: Any) -> Any:
        instant = current.instant
        if instant is not None and (len(args) <= position or (position == 0 and args[0] is None)):
            args = (*args[:position], default(instant))
        return real(*args)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = real.__doc__
    setattr(time, name, function)
