"""Imports inside a call are outside of it: they see the real world, and their time is not the function's.

What a library does while it is imported (numpy takes entropy, pandas starts threads) happens once per worker, whichever
call comes first. So that this call does not pay for it, the worker tells the pool when it begins to load a module and
when it is done, and the pool stops the call's clock meanwhile (:mod:`nbreactive.runtime.timing` has the bounds).

All ways to import go through one function of importlib, and only if the module is not there yet: ``import``,
``import_module``, and libraries written in C or Cython, which is how pyarrow imports pandas at its first ``array()``.
None of the public hooks sees the end of an import. Without that function imports simply take the function's time.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from nbreactive.runtime._instant import current, frozen
from nbreactive.runtime._randomness import install_numpy

MAX_ANNOUNCED: Final = 256
"""Imports per call that the pool is told of; no honest call has as many."""

_real_monotonic: Final = time.monotonic
_real_cpu: Final = time.process_time


class _Listener:
    on_begin: Callable[[], None] | None = None
    on_end: Callable[[float, float], None] | None = None


_listener: Final = _Listener()


def announce(on_begin: Callable[[], None] | None, on_end: Callable[[float, float], None] | None) -> None:
    """Have imports inside of calls announced: when one begins, and seconds of time and of CPU when it has ended."""
    _listener.on_begin = on_begin
    _listener.on_end = on_end


def install_imports() -> None:
    """Put the hook in place."""
    bootstrap: Any = getattr(importlib, "_bootstrap", None)
    real: Any = getattr(bootstrap, "_find_and_load", None)
    if real is None:
        return

    def find_and_load(name: str, import_: Any) -> Any:
        instant = current.instant
        if instant is None or name in sys.modules:
            return real(name, import_)
        instant.imports += 1
        told = instant.imports <= MAX_ANNOUNCED
        if told and _listener.on_begin is not None:
            _listener.on_begin()
        began, cpu = _real_monotonic(), _real_cpu()
        try:
            with frozen(None):
                module = real(name, import_)
                install_numpy()
                return module
        finally:
            if told and _listener.on_end is not None:
                _listener.on_end(_real_monotonic() - began, _real_cpu() - cpu)

    bootstrap._find_and_load = find_and_load  # noqa: SLF001 - see above
