"""The event loops that we make ourselves.

On Windows asyncio's own choice is the Proactor, which cannot watch sockets (``add_reader``), as talking to workers and
tornado need it to. Action hosts are an exception: there the loop is for the code of users, who may start processes.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def new_loop() -> asyncio.AbstractEventLoop:
    """Make a loop that can watch sockets."""
    return asyncio.SelectorEventLoop() if sys.platform == "win32" else asyncio.new_event_loop()


def run_backend(main: Coroutine[Any, Any, T]) -> T:
    """Run what a process is there for, on the fastest loop that there is here."""
    if sys.platform == "win32":
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(main)
    import uvloop

    return uvloop.run(main)
