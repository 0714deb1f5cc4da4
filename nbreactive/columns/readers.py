"""Reading store.duckdb: several requests at a time, each in a transaction of its own that can be interrupted.

Requests run in a few threads. What has a deadline is interrupted when that has passed, and what nobody waits for any
more as well. A writer that needs the database for itself (:meth:`Readers.alone`) waits for those who read; who takes too
long, and has not sent anything, is interrupted and begins anew afterwards.
"""

# pyarrow and duckdb have no stubs, or partial ones: what comes out of them is unknown to the checker
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportUnknownLambdaType=false

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Generator
from queue import SimpleQueue
from typing import Protocol

import duckdb

from nbreactive.columns._frames import WINDOW, DocumentPart, Part, Reply

_PATIENCE = 1.0
"""Seconds for which a writer waits for those who read."""
_TICK = 0.05


class Interrupted(Exception):  # noqa: N818 - a state
    """The request is to end: nobody waits for it."""


class Interruptible(Protocol):
    """What runs in DuckDB."""

    def interrupt(self) -> None:
        """End it, from another thread."""
        ...


class Reading:
    """One request under way.

    Parameters
    ----------
    number
        Of the request.
    send
        Takes the replies.
    """

    def __init__(self, number: int, send: Callable[[Reply, int], None]) -> None:
        self.number = number
        self.deadline: float | None = None
        self.cancelled = False
        self.displaced = False
        """Whether it is to begin anew, since somebody needs the database for himself."""
        self.sent = False
        self._running: Interruptible | None = None
        self._send = send
        self._window = threading.Semaphore(WINDOW)

    def send(self, reply: Reply) -> None:
        """Send a reply; waits while too many parts of it have not been taken."""
        if isinstance(reply, (Part, DocumentPart)):
            self._window.acquire()
        if self.cancelled:
            raise Interrupted
        self.sent = True
        self._send(reply, self.number)

    def taken(self, count: int) -> None:
        """So many parts were taken."""
        self._window.release(count)

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        self.cancelled = True
        self._window.release()
        self.interrupt()

    def interrupt(self) -> None:
        """Interrupt what DuckDB does for it."""
        running = self._running
        if running is not None:
            with contextlib.suppress(duckdb.Error):
                running.interrupt()

    @contextlib.contextmanager
    def interrupting(self, running: Interruptible) -> Generator[None]:
        """Have ``running`` interrupted where the request is to end."""
        before, self._running = self._running, running
        try:
            yield
        finally:
            self._running = before

    def late(self) -> bool:
        """Whether its time is over."""
        return self.deadline is not None and time.monotonic() > self.deadline

    def check(self) -> None:
        """Raise if it is to end; for what takes long outside of DuckDB."""
        if self.cancelled or self.displaced:
            raise Interrupted
        if self.late():
            raise duckdb.InterruptException("the time is over")


class Readers:
    """Threads that read.

    Parameters
    ----------
    connect
        Makes a cursor.
    send
        Takes replies.
    fail
        Told of a failure that a request has not dealt with: the end of this process.
    threads
        How many.
    """

    def __init__(
        self,
        connect: Callable[[], duckdb.DuckDBPyConnection],
        send: Callable[[Reply, int], None],
        fail: Callable[[BaseException], None],
        threads: int,
    ) -> None:
        self._connect = connect
        self._send = send
        self._fail = fail
        self._work: SimpleQueue[tuple[Reading, Callable[[Reading], None]] | None] = SimpleQueue()
        self._ended = False
        self._gate = threading.Condition()
        self._closed = False
        self._active: set[Reading] = set()
        self._known: dict[int, Reading] = {}
        self._some = threading.Event()
        self._threads = [
            *(threading.Thread(target=self._run, name=f"reader-{number}", daemon=True) for number in range(threads)),
            threading.Thread(target=self._watch, name="deadlines", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, number: int, work: Callable[[Reading], None]) -> None:
        """Have a request answered by ``work``, which may be called again if it has sent nothing."""
        reading = self._known[number] = Reading(number, self._send)
        self._some.set()
        self._work.put((reading, work))

    def close(self) -> None:
        """End the threads, once they have answered what they were asked."""
        self._ended = True
        self._some.set()
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join()

    def cancel(self, number: int) -> None:
        """Nobody waits for that request any more."""
        reading = self._known.get(number)
        if reading is not None:
            reading.cancel()

    def taken(self, number: int, count: int) -> None:
        """So many parts of that answer were taken."""
        reading = self._known.get(number)
        if reading is not None:
            reading.taken(count)

    @contextlib.contextmanager
    def transaction(self, reading: Reading) -> Generator[duckdb.DuckDBPyConnection]:
        """Give a request a cursor in a transaction that writes nothing but temporary tables, and sees nothing of later ones."""
        with self._gate:
            self._gate.wait_for(lambda: not self._closed)
            self._active.add(reading)
        try:
            with contextlib.closing(self._connect()) as cursor:
                cursor.execute("BEGIN TRANSACTION READ ONLY")
                cursor.execute("SELECT applied FROM nbreactive.state").fetchall()  # from here on it stands still
                try:
                    with reading.interrupting(cursor):
                        yield cursor
                finally:
                    with contextlib.suppress(duckdb.Error):
                        cursor.execute("ROLLBACK")
        finally:
            with self._gate:
                self._active.discard(reading)
                self._gate.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Generator[None]:
        """Keep everybody from reading."""
        with self._gate:
            self._closed = True
            patience = time.monotonic() + _PATIENCE
            while self._active:
                self._gate.wait(_TICK)
                if time.monotonic() > patience:
                    for reading in self._active:
                        if not reading.sent:
                            reading.displaced = True
                            reading.interrupt()
        try:
            yield
        finally:
            with self._gate:
                self._closed = False
                self._gate.notify_all()

    def _run(self) -> None:
        while (taken := self._work.get()) is not None:
            reading, work = taken
            try:
                self._answer(reading, work)
            except BaseException as error:  # noqa: BLE001 - reported, then this process ends
                self._fail(error)
            finally:
                del self._known[reading.number]

    def _answer(self, reading: Reading, work: Callable[[Reading], None]) -> None:
        while not reading.cancelled:
            reading.displaced = False
            try:
                work(reading)
            except Interrupted:
                pass
            except duckdb.InterruptException:
                if not (reading.cancelled or reading.displaced):
                    raise
            if not reading.displaced or reading.sent:
                return

    def _watch(self) -> None:
        while self._some.wait() and not self._ended:
            time.sleep(_TICK)
            known = list(self._known.values())
            if not known:
                self._some.clear()
                if not self._known and not self._ended:
                    continue
                self._some.set()  # one has come in between
            for reading in known:
                if reading.cancelled or reading.late():
                    reading.interrupt()  # again and again: it may have been between two statements
