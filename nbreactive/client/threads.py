"""The two threads of a client process.

``nbreactive-client`` owns an asyncio loop and every socket; no code of the user runs there, so nothing the user does
delays a message. ``nbreactive`` runs what the user gave us (observers, renderers), one at a time and in order. Both
are daemons and are made at first use. A forked child has neither: there, everything starts afresh.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import heapq
import itertools
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, NamedTuple, TypeVar

from nbreactive._loops import new_loop

T = TypeVar("T")
_log = logging.getLogger("nbreactive")
_ROUNDS = 4
"""A change may put off its drawing, which may put off the next one; more is a stream that does not end."""


class LoopThread:
    """The thread ``nbreactive-client``: one asyncio loop for all connections of the process."""

    def __init__(self) -> None:
        self.loop = new_loop()
        self._thread = threading.Thread(target=self._run, daemon=True, name="nbreactive-client")
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def submit(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run a coroutine on the loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def call(self, work: Callable[..., object], *args: Any) -> None:
        """Run a function on the loop, soon; never waits, so a finaliser may use it."""
        try:
            self.loop.call_soon_threadsafe(work, *args)
        except RuntimeError:  # the loop is closed: the interpreter ends
            return

    @property
    def is_current(self) -> bool:
        """Whether this code runs on it."""
        return threading.current_thread() is self._thread


class _Later(NamedTuple):
    due: float
    work: Callable[[], object]
    settles: bool


class CallbackThread:
    """The thread ``nbreactive``: runs the user's callbacks one at a time, the newest per key only."""

    def __init__(self) -> None:
        self._wake = threading.Condition()
        self._ready: OrderedDict[Hashable, Callable[[], object]] = OrderedDict()
        self._later: dict[Hashable, _Later] = {}
        self._times: list[tuple[float, int, Hashable]] = []
        self._count = itertools.count()
        self._working = False
        self._thread = threading.Thread(target=self._run, daemon=True, name="nbreactive")
        self._thread.start()

    @property
    def is_current(self) -> bool:
        """Whether this code runs on it."""
        return threading.current_thread() is self._thread

    def post(self, key: Hashable, work: Callable[[], object]) -> None:
        """Run ``work`` soon; if ``key`` waits already, it keeps its place and the work is replaced."""
        with self._wake:
            self._ready[key] = work
            self._wake.notify()

    def post_later(self, delay: float, key: Hashable, work: Callable[[], object], *, settles: bool = False) -> None:
        """Run ``work`` after ``delay`` seconds; a key that waits already keeps its time.

        ``settles`` says that it only waits so as not to run too often: :meth:`settle` need not wait as long.
        """
        with self._wake:
            before = self._later.get(key)
            due = before.due if before is not None else time.monotonic() + delay
            if before is None:
                heapq.heappush(self._times, (due, next(self._count), key))
            self._later[key] = _Later(due, work, settles)
            self._wake.notify()

    def forget(self, key: Hashable) -> None:
        """Drop what waits under ``key``."""
        with self._wake:
            self._ready.pop(key, None)
            self._later.pop(key, None)

    def settle(self, seconds: float) -> bool:
        """Do what waits, also what is put off for the sake of others, and wait until it is done.

        Returns
        -------
        bool
            False if that takes longer than ``seconds``, or if what was done has led to something new time and again.
        """
        until = time.monotonic() + seconds
        for _ in range(_ROUNDS):
            done = threading.Event()
            with self._wake:
                for key in [key for key, later in self._later.items() if later.settles]:
                    self._ready.setdefault(key, self._later.pop(key).work)
                if not self._ready and not self._working:
                    return True
                self._ready[object()] = done.set
                self._wake.notify()
            if not done.wait(until - time.monotonic()):
                return False
        return False

    def _next(self) -> Callable[[], object]:
        with self._wake:
            self._working = False
            while True:
                now = time.monotonic()
                while self._times and self._times[0][0] <= now:
                    due, _, key = heapq.heappop(self._times)
                    later = self._later.get(key)
                    if later is not None and later.due == due:  # else it was dropped, and maybe put off anew
                        self._ready[key] = self._later.pop(key).work
                if self._ready:
                    self._working = True
                    return self._ready.popitem(last=False)[1]
                self._wake.wait(self._times[0][0] - now if self._times else None)

    def _run(self) -> None:
        while True:
            work = self._next()
            try:
                work()
            except Exception:  # noqa: BLE001 (whatever a user's code raises, the others go on)
                _log.exception("a callback failed")
            del work  # keep nothing alive while waiting


class _Process:
    """The threads of this process, as far as they are needed yet."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.loop: LoopThread | None = None
        self.callbacks: CallbackThread | None = None


_process = _Process()


def loop_thread() -> LoopThread:
    """Return the process's ``nbreactive-client`` thread, started if need be."""
    with _process.lock:
        if _process.loop is None:
            _process.loop = LoopThread()
        return _process.loop


def callbacks() -> CallbackThread:
    """Return the process's ``nbreactive`` thread, started if need be."""
    with _process.lock:
        if _process.callbacks is None:
            _process.callbacks = CallbackThread()
        return _process.callbacks


def settle(seconds: float) -> bool:
    """Let the ``nbreactive`` thread, if there is one, do what waits now; False if it takes longer than ``seconds``."""
    with _process.lock:
        thread = _process.callbacks
    return thread is None or thread.is_current or thread.settle(seconds)


def on_own_thread() -> bool:
    """Tell whether this code runs on one of the two threads, where waiting for the server is not allowed."""
    return any(thread is not None and thread.is_current for thread in (_process.loop, _process.callbacks))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_process.__init__)
