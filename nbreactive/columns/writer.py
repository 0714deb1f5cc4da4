"""Commits on their way into store.duckdb: who applies them, and when.

They are handed over soon after they are durable and wait here. A thread of low priority applies them by and by, many at
once; whoever needs them now (:meth:`Writer.reach`) does it himself, in his own thread. One at a time, whoever it is.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from nbreactive.columns._frames import Applied, Commit
from nbreactive.columns.apply import Applier
from nbreactive.columns.schema import Layout

_SHARE = 0.1
"""Of one core, for keeping the store up to date while nobody waits for it: a batch costs much more than its commits."""
_LONGEST = 3.0
"""Seconds that the store may be behind for the sake of that share."""
_BATCH = 4 << 20
_BATCH_COMMITS = 4096
_URGENT = 8 << 20
"""Bytes of documents that wait; more are applied without rest."""


class Writer:
    """Applies commits.

    Parameters
    ----------
    applier
        Does it.
    collect
        Seconds for which commits gather.
    tell
        Told after every transaction, in the thread that made it.
    fail
        Told that applying has failed, which is the end of this process.
    check
        Raises if the store is not to be written to any more.
    """

    def __init__(
        self,
        applier: Applier,
        *,
        collect: float,
        tell: Callable[[Applied], None],
        fail: Callable[[BaseException], None],
        check: Callable[[], None],
    ) -> None:
        self._applier = applier
        self._collect = collect
        self._tell = tell
        self._fail = fail
        self._check = check
        self._writing = threading.RLock()
        self._changed = threading.Condition()
        self._pending: deque[tuple[int, Commit]] = deque()
        self._bytes = 0
        self._last = applier.applied
        self._due = 0.0
        self._jobs: deque[Callable[[], None]] = deque()

    @property
    def applied(self) -> int:
        """Every commit up to this ts is in the store."""
        return self._applier.applied

    def layouts(self) -> dict[int, Layout]:
        """Return the columns of the tables, as of what is applied."""
        return self._applier.layouts()

    @property
    def folder(self) -> Path:
        """Where the rows of tables are that are kept in columns."""
        return self._applier.folder

    def feed(self, commits: Sequence[Commit], *, hurry: bool = False) -> None:
        """Take commits, in order."""
        with self._changed:
            if not self._pending:
                self._due = max(self._due, time.monotonic() + self._collect)
            for commit in commits:
                if commit.ts <= self._last:  # the log has shown it, too
                    continue
                self._last = commit.ts
                size = sum(len(write.doc or b"") for write in commit.writes)
                self._pending.append((size, commit))
                self._bytes += size
            if hurry:
                self._due = 0.0
            self._changed.notify_all()

    def reach(self, ts: int) -> None:
        """Apply what waits up to ``ts``, now."""
        while self._waits(ts):
            with self._writing:
                self._apply(self._batch(ts))

    def do(self, job: Callable[[], None]) -> None:
        """Have something done in the thread that applies, while nothing is applied."""
        with self._changed:
            self._jobs.append(job)
            self._changed.notify_all()

    def exclusive(self) -> AbstractContextManager[bool]:
        """Keep everybody from applying."""
        return self._writing

    def run(self) -> None:
        """Apply by and by, for ever; from the first rest on with a low priority."""
        polite = False
        while True:
            job = self._next()
            began = time.monotonic()
            with self._writing:
                if job is not None:
                    job()
                else:
                    self._apply(self._batch())
            ended = time.monotonic()
            with self._changed:
                if job is None:
                    self._due = ended + min((ended - began) / _SHARE, _LONGEST)
                polite = polite or self._step_back()

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while not self._jobs:
                wait = None
                if self._pending:
                    wait = 0.0 if self._bytes > _URGENT else self._due - time.monotonic()
                    if wait <= 0:
                        return None
                self._changed.wait(wait)
            return self._jobs.popleft()

    def _waits(self, ts: int) -> bool:
        with self._changed:
            return bool(self._pending) and self._pending[0][1].ts <= ts

    def _batch(self, upto: int | None = None) -> list[Commit]:
        """Return the oldest commits, so many as are applied at once."""
        commits, total = list[Commit](), 0
        with self._changed:
            for size, commit in self._pending:
                if (upto is not None and commit.ts > upto) or total >= _BATCH or len(commits) >= _BATCH_COMMITS:
                    break
                total += size
                commits.append(commit)
        return commits

    def _apply(self, commits: list[Commit]) -> None:
        if not commits:
            return
        try:
            self._check()
            before = self._applier.layouts()
            ts = self._applier.apply(commits)
            after = self._applier.layouts()
        except BaseException as error:
            self._fail(error)
            raise
        with self._changed:
            for _ in commits:
                self._bytes -= self._pending.popleft()[0]
        changed = [number for number in before.keys() | after.keys() if before.get(number) != after.get(number)]
        self._tell(Applied(ts, changed))

    @staticmethod
    def _step_back() -> bool:
        """Let everybody else go first; on Linux a priority is that of a thread."""
        if os.name == "posix":
            os.nice(10)
        return True
