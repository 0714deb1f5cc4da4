"""The backend's side of store.duckdb: feeds the columns process, starts it again, asks it.

Commits are fed as they become durable, collected for a moment and applied in one go. The log has everything, so memory
stays bounded without ever holding up a commit: what does not fit into the buffer is dropped from it, and read from
the log when its turn comes. That is also how a new process catches up after the old one died.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from nbreactive.columns import _frames as frames
from nbreactive.columns._backlog import Backlog, batches
from nbreactive.columns._child import Child, ChildDied
from nbreactive.columns.documents import DocumentStream
from nbreactive.engine.entries import Entry
from nbreactive.errors import DataFolderError, NBReactiveError, ProtocolError, Unavailable

__all__ = ["Columns", "DocumentStream", "ReadLog"]

T = TypeVar("T")

ReadLog = Callable[[int], AsyncIterator[Sequence[Entry]]]
"""Yields the durable entries after a ts, in order, and ends where the log ends."""

_log = logging.getLogger("nbreactive.columns")

_COLLECT = 0.1
_SHARE = 0.1
"""Of one core, for keeping the store up to date while nobody waits for it: a batch costs much more than its commits."""
_LONGEST = 3.0
"""Seconds that the store may be behind for the sake of that share."""
_SILENT_DEATHS = 3


class Columns:
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
    ) -> None:
        self.applied = 0
        """Every commit up to this ts is in the store."""
        self.error = ""
        """Why the process is down or was started again; empty while all is well."""
        self.restarts = 0
        self._read_log = read_log
        self._python = python or sys.executable
        self._open = frames.Open(str(data_dir / "store.duckdb"), memory_limit, threads)
        self._collect = collect
        self._horizon = horizon
        self._thread = ThreadPoolExecutor(1, "nbreactive-columns")
        self._child: Child | None = None
        self._up = asyncio.Event()
        self._tried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._rewriting = False
        self._ahead = False
        self._backlog = Backlog()
        self._fed = asyncio.Event()
        self._waiters = 0
        self._silent = 0
        self._hurry = asyncio.Event()
        self._progress = asyncio.Condition()

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
            "waiting": len(self._backlog),
            "catching_up": self._backlog.behind,
            "restarts": self.restarts,
            "error": self.error,
        }

    # ---- feeding ---------------------------------------------------------------------------------------------------

    async def feed(self, entries: Sequence[Entry]) -> None:
        """Take durable entries, in order; never waits. Feed everything from the moment of :meth:`start` on."""
        self._backlog.add(entries)
        if self._backlog.urgent:
            self._hurry.set()
        self._fed.set()

    async def wait(self, ts: int, seconds: float = 30) -> None:
        """Wait until everything up to ``ts`` is applied; Unavailable if that takes too long."""
        self._waiters += 1
        self._hurry.set()
        try:
            async with asyncio.timeout(seconds), self._progress:
                await self._progress.wait_for(lambda: self.applied >= ts)
        except TimeoutError:
            why = self.error or "it is catching up"
            raise Unavailable(f"store.duckdb is more than {seconds:g} s behind ({why}); try again later") from None
        finally:
            self._waiters -= 1

    # ---- asking ------------------------------------------------------------------------------------------------------

    async def rows(self, table: str, at_least: int = 0) -> bytes:
        """Return the typed table, oldest documents first, as an Arrow IPC stream.

        Parameters
        ----------
        table
            The user's name of the table.
        at_least
            Wait until this ts is applied.
        """
        await self.wait(at_least)
        return await self._ask(lambda child: child.rows(table))

    async def documents(self, consume: Callable[[DocumentStream], T]) -> T:
        """Call ``consume`` with all documents, in the thread that talks to the process, and return its result.

        If the process dies on the way, ``consume`` is called again, with a new stream; what it did before must not
        count.
        """
        return await self._ask(lambda child: child.documents(consume))

    async def inspect(self, upto: int) -> frames.Inspection:
        """Look at everything that is stored; documents as of ``upto``."""
        return await self._ask(lambda child: child.only(frames.Inspect(upto), frames.Inspection))

    async def trim(self, horizon: int) -> int:
        """Drop versions that were replaced or deleted by ``horizon``, which is applied; return how many.

        If most of the file is free then, the process starts again and writes it anew; meanwhile nothing can be asked.
        """
        done = await self._ask(lambda child: child.only(frames.Trim(horizon), frames.Trimmed))
        if done.wasteful and done.versions and not self._closing:
            self._rewriting = True
            self._hurry.set()
            self._fed.set()
        return done.versions

    async def _ask(self, ask: Callable[[Child], T]) -> T:
        for _ in range(3):
            if self._closing:
                raise Unavailable("the backend is shutting down: try again when it has been started again")
            try:
                async with asyncio.timeout(0 if self._ahead else 30):
                    await self._up.wait()
                return await self._call(ask)
            except ChildDied as error:
                self._note(error)
                self._up.clear()
                self._fed.set()
            except TimeoutError:
                break
        raise Unavailable(f"store.duckdb cannot be read now: {self.error or 'its process does not start'}; try again")

    async def _call(self, work: Callable[[Child], T]) -> T:
        def run() -> T:
            if self._child is None:
                raise ChildDied("the columns process is starting")
            return work(self._child)

        return await asyncio.get_running_loop().run_in_executor(self._thread, run)

    # ---- the task ----------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        delay = 0.05
        while True:
            before = self.applied
            try:
                await self._launch()
                await self._work()
                await self._call(lambda child: list(child.stream(frames.Close())))
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

    async def _launch(self) -> None:
        loop = asyncio.get_running_loop()
        self._open = msgspec.structs.replace(self._open, horizon=self._horizon())
        self._child = await loop.run_in_executor(self._thread, Child, self._python, self._open)
        try:
            ready = await self._call(lambda child: child.open())
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
        await self._advance(ready.applied, forward=False)
        self._up.set()
        self._tried.set()

    async def _work(self) -> None:
        """Apply until closed."""
        loop = asyncio.get_running_loop()
        while True:
            if not self._up.is_set():
                raise ChildDied(self.error)
            if self._backlog.behind:
                await self._catch_up()
            elif self._backlog:
                begun = loop.time()
                await self._apply(self._backlog.take())
                await self._rest(min((loop.time() - begun) / _SHARE, _LONGEST))
            elif self._closing or self._rewriting:
                return
            else:
                self._fed.clear()
                await self._fed.wait()
                await self._rest(self._collect)

    async def _rest(self, seconds: float) -> None:
        """Let commits gather, unless somebody waits for them or there are many already."""
        if self._waiters or self._closing or self._rewriting or self._backlog.urgent:
            return
        self._hurry.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()

    async def _catch_up(self) -> None:
        # Entries that are fed from here on are pending; those that the log shows, too, are skipped by their ts
        self._backlog.behind = False
        async for commits in batches(self._read_log(self.applied)):
            await self._apply(commits)

    async def _apply(self, commits: list[frames.Commit]) -> None:
        if commits and commits[-1].ts > self.applied:
            ts = await self._call(lambda child: child.apply(commits))
            self.error = ""
            await self._advance(ts)

    async def _advance(self, ts: int, *, forward: bool = True) -> None:
        async with self._progress:
            self.applied = max(ts, self.applied) if forward else ts
            self._progress.notify_all()

    def _note(self, error: ChildDied | ProtocolError) -> None:
        self.error = error.message
        if isinstance(error, ChildDied) and error.damaged:
            self._open = msgspec.structs.replace(self._open, suspect=True)

    async def _dispose(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            with contextlib.suppress(NBReactiveError):
                await asyncio.get_running_loop().run_in_executor(self._thread, child.dispose)
