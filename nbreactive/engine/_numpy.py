"""NumPy with one thread: what it computes here is bound by memory, and a process that has threads cannot be forked well.

Its libraries read their settings when they are loaded. Modules that need NumPy import it from here, and are themselves
imported only where there are vector indexes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator


@contextlib.contextmanager
def _one_thread() -> Generator[None]:
    """Set, for as long as it takes to import, what processes that are started later must not inherit."""
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
    added = [name for name in names if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


with _one_thread():
    import numpy as np

__all__ = ["np"]
