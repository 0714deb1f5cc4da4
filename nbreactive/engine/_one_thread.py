"""One thread that does blocking work for an event loop, in order.

A thread pool does the same, at several times the cost per piece of work: the log appends thousands of times a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

_Work = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class OneThread:
    """A thread that ends with :meth:`end`, or with the process.

    Parameters
    ----------
    name
        What a debugger shows.
    """

    def __init__(self, name: str) -> None:
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._given = 0
        self._done = 0
        threading.Thread(target=self._work, name=name, daemon=True).start()

    @property
    def idle(self) -> bool:
        """Whether it has done all that it was given; what it did can then be seen from here."""
        return self._done == self._given

    def run(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Do ``work`` after everything before it; it is done even if nobody waits any more."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._given += 1
        self._queue.put((work, future))
        return future

    def end(self) -> None:
        """End the thread when it has done everything before this call; returns at once."""
        self._queue.put(None)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            work, future = item
            result: Any = None
            failure: BaseException | None = None
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - raised again for whoever waits
                failure = error
            self._done += 1
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                future.get_loop().call_soon_threadsafe(_settle, future, result, failure)
            del item, work, future, result, failure


def _settle(future: asyncio.Future[Any], result: Any, failure: BaseException | None) -> None:
    if future.done():  # Nobody waits any more.
        return
    if failure is not None:
        future.set_exception(failure)
    else:
        future.set_result(result)
