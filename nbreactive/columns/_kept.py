"""The columns process, kept running and up to date: the base of :class:`~nbreactive.columns.supervisor.Columns`.

Commits are fed as they become durable, collected for a moment and handed over; the process applies them by and by, and
at once when a request has to see them. The log has everything, so memory stays bounded without ever holding up a commit:
what does not fit into the buffer is dropped from it, and read from the log when its turn comes. That is also how a new
process catches up after the old one died.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from nbreactive.columns import _frames as frames
from nbreactive.columns._backlog import Backlog, batches
from nbreactive.columns._child import Child, ChildDied, Heard
from nbreactive.columns._turns import Turns
from nbreactive.engine.entries import Entry
from nbreactive.errors import DataFolderError, NBReactiveError, ProtocolError

T = TypeVar("T")

ReadLog = Callable[[int], AsyncIterator[Sequence[Entry]]]
"""Yields the durable entries after a ts, in order, and ends where the log ends."""

_log = logging.getLogger("nbreactive.columns")

_COLLECT = 0.1
_AHEAD = 8 << 20
"""Bytes that are handed over and not applied; more wait here."""
_STATEMENTS = 8
"""Statements that run at a time."""
_SILENT_DEATHS = 3


class KeptProcess:
    """Keeps store.duckdb up to date.

    Parameters
    ----------
    data_dir
        The data folder; the store is ``store.duckdb`` in it.
    read_log
        Where to read what the store lacks: durable entries after a ts.
    memory_limit
        DuckDB's, e.g. ``512MB``.
    threads
        DuckDB's.
    python
        The interpreter of the process; this one by default.
    collect
        How long commits are collected before they are applied, seconds.
    horizon
        Tells the log's: a store that ends before it begins anew.
    attach
        Names and places of sources outside that SQL may read, see :mod:`nbreactive.columns.attached`.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        read_log: ReadLog,
        memory_limit: str = "512MB",
        threads: int = 1,
        python: str | None = None,
        collect: float = _COLLECT,
        horizon: Callable[[], int] = lambda: 0,
        attach: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.data_dir = data_dir
        self.applied = 0
        """Every commit up to this ts is in the store."""
        self.error = ""
        """Why the process is down or was started again; empty while all is well."""
        self.restarts = 0
        self._read_log = read_log
        self._python = python or sys.executable
        self._open = frames.Open(str(data_dir / "store.duckdb"), memory_limit, threads, collect=collect, attach=attach)
        self._collect = collect
        self._horizon = horizon
        self._thread = ThreadPoolExecutor(1, "nbreactive-columns")
        self._writing = 0
        """What is being sent there: what comes after it must not overtake it."""
        self._child: Child | None = None
        self._up = asyncio.Event()
        self._tried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._rewriting = False
        self._ahead = False
        self._backlog = Backlog()
        self._handed: deque[tuple[int, int]] = deque()
        self._fed = asyncio.Event()
        self._silent = 0
        self._hurry = asyncio.Event()
        self._progress = asyncio.Event()
        self._caught_up = asyncio.Event()
        self._turns = Turns(_STATEMENTS)
        self.on_layout: Callable[[Sequence[int]], None] = _nobody
        """Told of tables, by number, whose columns have changed."""

    # ---- life ----------------------------------------------------------------------------------------------------

    async def start(self, *, tail: int | None = None, wait: bool = True) -> None:
        """Start the process; returns when the store is open, or when it could not be and is being tried again.

        Parameters
        ----------
        tail
            The last ts of the log: a store that is ahead of it is left as it is, see :meth:`opened`.
        wait
            Whether to wait for that at all; whoever asks for something waits by himself.
        """
        folder = frames.identity(Path(self._open.path).parent)
        self._open = msgspec.structs.replace(self._open, tail=tail, folder=folder)
        self._task = asyncio.create_task(self._run(), name="columns")
        if wait:
            await self._tried.wait()

    async def opened(self, seconds: float) -> bool:
        """Wait until the store is open, or could not be; tell which. Still trying after ``seconds`` is not open.

        Raises
        ------
        DataFolderError
            It has commits that the log lacks. Nothing was changed, and it is not tried again.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._tried.wait()
        if self._ahead:
            raise DataFolderError(self.error)
        return self._up.is_set()

    async def close(self) -> None:
        """Apply all that the log has, checkpoint and end the process; 10 s at most, then it is killed.

        So the file is complete without us. The log must still be readable.
        """
        if self._task is None or self._closing:
            return
        self._closing = True
        self._backlog.drop()
        self._hurry.set()
        self._fed.set()
        try:
            async with asyncio.timeout(10):
                await self._task
        except TimeoutError:
            _log.warning("columns: closing took too long; the store catches up at the next start")
            self.kill()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        finally:
            await asyncio.get_running_loop().run_in_executor(None, self._thread.shutdown)

    def kill(self) -> None:
        """End the process at once (a runaway query, too much memory); another one is started and catches up."""
        if self._child is not None:
            self._child.kill()

    def status(self) -> dict[str, Any]:
        """Return what to show about the process."""
        return {
            "running": self._up.is_set(),
            "pid": self._child.pid if self._child else None,
            "applied": self.applied,
            "waiting": len(self._backlog) + len(self._handed),
            "catching_up": self._backlog.behind,
            "restarts": self.restarts,
            "error": self.error,
        }

    # ---- feeding ---------------------------------------------------------------------------------------------------

    async def feed(self, entries: Sequence[Entry]) -> None:
        """Take durable entries, in order; never waits. Feed everything from the moment of :meth:`start` on."""
        self.take(entries)

    def take(self, entries: Sequence[Entry]) -> None:
        """Do as :meth:`feed`."""
        self._backlog.add(entries)
        if self._backlog.behind:
            self._caught_up.clear()
        if self._backlog.urgent:
            self._hurry.set()
        self._fed.set()

    # ---- asking ------------------------------------------------------------------------------------------------------

    async def _exchange(self, child: Child, request: frames.Request) -> AsyncIterator[frames.Reply]:
        """Yield the replies to a request, which sees all that was fed before."""
        loop = asyncio.get_running_loop()
        heard: asyncio.Queue[Heard] = asyncio.Queue()

        def hear(reply: Heard) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(heard.put_nowait, reply)

        while not self._caught_up.is_set():
            await self._caught_up.wait()
            if self._child is not child:
                raise ChildDied(self.error)
        while self._backlog:
            self._send(child, self._backlog.take())
        number = child.ask_now(request, hear) if not self._writing else None
        if number is None:
            asked = self._in_turn(child.ask, request, hear)
            try:
                number = await asyncio.shield(asked)
            except asyncio.CancelledError:
                asked.add_done_callback(lambda done: done.exception() or child.cancel(done.result()))
                raise
        ended = False
        try:
            while not isinstance(reply := await heard.get(), frames.End):
                if isinstance(reply, NBReactiveError):
                    ended = True
                    raise reply
                yield reply
                if isinstance(reply, frames.Part):
                    self._later(child.send, frames.Taken(), number)
            ended = True
        finally:
            if not ended:
                self._later(child.cancel, number)

    def _in_turn(self, work: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Do something in the thread that talks to the process, after what was begun there before."""
        self._writing += 1
        done = asyncio.get_running_loop().run_in_executor(self._thread, work, *args)
        done.add_done_callback(self._wrote)
        return done

    def _wrote(self, _done: object) -> None:
        self._writing -= 1

    def _later(self, work: Callable[..., object], *args: Any) -> asyncio.Future[object]:
        """Do something in the thread that talks to the process, in turn; that the process is gone shows elsewhere."""
        done = self._in_turn(work, *args)
        done.add_done_callback(lambda done: done.cancelled() or done.exception())
        return done

    def _send(self, child: Child, commits: list[frames.Commit]) -> asyncio.Future[object]:
        size = sum(len(write.doc or b"") for commit in commits for write in commit.writes)
        self._handed.append((commits[-1].ts, size))
        feed = frames.Feed(commits)
        if self._writing or not child.send_now(feed):
            return self._later(child.send, feed)
        sent: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        sent.set_result(None)
        return sent

    # ---- the task ----------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        delay = 0.05
        while True:
            before = self.applied
            try:
                child = await self._launch()
                await self._work(child)
                async for _ in self._exchange(child, frames.Close()):
                    pass
            except (ChildDied, ProtocolError) as error:
                self._note(error)
                self._ahead = isinstance(error, ChildDied) and error.ahead
            except NBReactiveError as error:  # of reading the log: it says what to do
                self.error = error.message
            except Exception as error:  # noqa: BLE001 - reading the log is the backend's: anything may fail
                self.error = f"{type(error).__name__}: {error}"
                _log.exception("columns: the feed of store.duckdb failed; it starts again")
            self._up.clear()
            self._tried.set()
            await self._dispose()
            if self._closing or self._ahead:
                return
            if self._rewriting:
                self._rewriting = False
                self._open = msgspec.structs.replace(self._open, rewrite=True)
                self._backlog.drop()
                continue
            self.restarts += 1
            self._backlog.drop()
            delay = 0.05 if self.applied > before else min(delay * 2, 10)
            _log.warning("columns: %s; starting again in %.2g s", self.error, delay)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    while not self._closing:
                        self._fed.clear()
                        await self._fed.wait()

    async def _launch(self) -> Child:
        loop = asyncio.get_running_loop()
        self._open = msgspec.structs.replace(self._open, horizon=self._horizon())

        def heard(child: Child, what: frames.Applied | ChildDied) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._heard, child, what)

        child = await loop.run_in_executor(self._thread, Child, self._python, self._open, heard)
        self._child = child
        try:
            ready = await loop.run_in_executor(self._thread, child.open)
        except ChildDied as error:
            self._silent += error.silent
            if self._silent >= _SILENT_DEATHS:  # opening this file kills the process each time
                self._open = msgspec.structs.replace(self._open, suspect=True)
            raise
        self._silent = 0
        if ready.set_aside:
            _log.warning("columns: store.duckdb could not be used and went to %s; rebuilding it", ready.set_aside)
        # From here on it is ahead of where the log ended then
        self._open = msgspec.structs.replace(self._open, suspect=False, tail=None, rewrite=False)
        self.applied = ready.applied
        self._handed.clear()
        self._up.set()
        self._tried.set()
        return child

    async def _work(self, child: Child) -> None:
        """Hand over until closed."""
        while True:
            if not self._up.is_set():
                raise ChildDied(self.error)
            if self._backlog.behind:
                await self._catch_up(child)
            elif self._backlog:
                await self._hand(child, self._backlog.take())
            elif self._closing or self._rewriting:
                return
            else:
                self._fed.clear()
                await self._fed.wait()
                await self._rest()

    async def _rest(self) -> None:
        """Let commits gather, unless there are many already."""
        if self._closing or self._rewriting or self._backlog.urgent:
            return
        self._hurry.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._collect):
                await self._hurry.wait()

    async def _catch_up(self, child: Child) -> None:
        # Entries that are fed from here on are pending; those that the log shows, too, are skipped by their ts
        self._backlog.behind = False
        self._caught_up.clear()
        async for commits in batches(self._read_log(self.applied)):
            await self._hand(child, commits)
        if not self._backlog.behind:  # again, meanwhile
            self._caught_up.set()

    async def _hand(self, child: Child, commits: list[frames.Commit]) -> None:
        await self._send(child, commits)
        while self._up.is_set() and sum(size for _, size in self._handed) > _AHEAD:
            self._progress.clear()
            await self._progress.wait()
        if not self._up.is_set():
            raise ChildDied(self.error)

    def _heard(self, child: Child, what: frames.Applied | ChildDied) -> None:
        if isinstance(what, ChildDied):
            self._died(child, what)
            return
        if child is self._child:
            self.applied = max(self.applied, what.ts)
            self.error = ""
            while self._handed and self._handed[0][0] <= what.ts:
                self._handed.popleft()
            self._progress.set()
        if what.layouts:
            self.on_layout(what.layouts)

    def _died(self, child: Child, error: ChildDied) -> None:
        if child is self._child and self._up.is_set():
            self._note(error)
            self._up.clear()
            self._fed.set()
            self._hurry.set()
            self._progress.set()

    def _note(self, error: ChildDied | ProtocolError) -> None:
        self.error = error.message or self.error
        if isinstance(error, ChildDied) and error.damaged:
            self._open = msgspec.structs.replace(self._open, suspect=True)

    async def _dispose(self) -> None:
        child, self._child = self._child, None
        self._caught_up.set()  # who waits for that sees that the process is another one
        if child is not None:
            with contextlib.suppress(NBReactiveError):
                await asyncio.get_running_loop().run_in_executor(self._thread, child.dispose)
        self._caught_up.clear()


def _nobody(numbers: Sequence[int]) -> None:
    pass
