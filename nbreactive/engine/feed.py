"""The feed of durable commits: what store.duckdb, search and other replicas are made from.

A watcher says which timestamp it has and gets every entry after it, in batches and in order. Recent entries are kept
in memory; a watcher that is further behind is served from the log.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence

from nbreactive.engine.entries import Entry, decode_entry
from nbreactive.engine.log import Batch, CommitLog
from nbreactive.engine.telling import tell
from nbreactive.errors import DataFolderError

Told = Callable[[Sequence[Entry]], None]

_BATCH = 1000
"""Entries that a watcher is given at a time."""


class Feed:
    """Durable entries, from any timestamp on.

    Parameters
    ----------
    log
        Serves those who are far behind.
    start
        The timestamp after which entries will be added.
    max_bytes
        How much is kept in memory.
    """

    def __init__(self, log: CommitLog, start: int, max_bytes: int = 16 << 20) -> None:
        self._log = log
        self._start = start
        self._max_bytes = max_bytes
        self._bytes = 0
        self._recent: deque[Entry] = deque()
        self._more = asyncio.Event()
        self._followers: list[Told] = []

    def follow(self, after: int, told: Told) -> None:
        """Tell ``told`` of what is in memory after a timestamp, and of all that follows, before anybody else sees it."""
        recent = [entry for entry in self._recent if entry.ts > after]
        if recent:
            told(recent)
        self._followers.append(told)

    def add(self, entries: Sequence[Entry]) -> None:
        """Append entries that have become durable."""
        for entry in entries:
            self._recent.append(entry)
            self._bytes += _size(entry)
        for told in self._followers:
            tell(told, entries)
        while self._bytes > self._max_bytes:
            gone = self._recent.popleft()
            self._start = gone.ts
            self._bytes -= _size(gone)
        if entries:
            self._more.set()

    async def watch(self, from_ts: int) -> AsyncIterator[list[Entry]]:
        """Yield every durable entry after ``from_ts``, for as long as one listens."""
        last = from_ts
        while True:
            if last < self._start:
                wanted = self._start
                async for entries in entries_after(self._log, last):
                    last = entries[-1].ts
                    yield entries
                    if last >= wanted:
                        break
                last = max(last, wanted)
                continue
            found: list[Entry] = []
            for entry in reversed(self._recent):
                if entry.ts <= last:
                    break
                found.append(entry)
            if found:
                found.reverse()
                last = found[min(_BATCH, len(found)) - 1].ts
                yield found[:_BATCH]
                continue
            self._more.clear()
            await self._more.wait()


async def entries_after(log: CommitLog, ts: int) -> AsyncIterator[list[Entry]]:
    """Yield the entries after a timestamp, batch by batch, to where the log ends now.

    Raises
    ------
    DataFolderError
        Retention has dropped some of them, maybe meanwhile: what was made from those before it must begin with nothing.
    """
    horizon = log.horizon
    _refuse_gap(log, ts)
    async for batch in log.read(await position_of(log, ts)):
        entries = [entry for data in batch.entries if (entry := decode_entry(data)).ts > ts]
        if log.horizon != horizon:
            _refuse_gap(log, ts)
        if entries:
            ts = entries[-1].ts
            yield entries


def _refuse_gap(log: CommitLog, ts: int) -> None:
    if 0 < ts < log.horizon:
        raise DataFolderError(
            f"the log has no complete history after {ts} any more, only from {log.horizon} on; begin anew, with all of it"
        )


async def position_of(log: CommitLog, ts: int) -> int:
    """Find, by bisection, a position of the log behind which everything after ``ts`` stands."""
    low, high = await log.trim(0), await log.tail()
    while low < high:
        middle = (low + high) // 2
        batch = await first_batch(log, middle)
        if batch is not None and decode_entry(batch.entries[-1]).ts <= ts:
            low = batch.position
        else:
            high = middle
    return low


async def first_batch(log: CommitLog, after: int) -> Batch | None:
    """Return the first batch after a position, if there is one."""
    async for batch in log.read(after):
        return batch
    return None


def _size(entry: Entry) -> int:
    return 200 + sum(100 + len(write.doc or b"") for write in entry.writes)


async def last_ts(log: CommitLog) -> int:
    """Return the timestamp of the last commit in the log, 0 if there is none."""
    tail = await log.tail()
    batch = await first_batch(log, tail - 1) if tail else None
    return decode_entry(batch.entries[-1]).ts if batch is not None else 0
