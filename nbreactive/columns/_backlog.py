"""Commits on their way to store.duckdb: gathered in memory, and dropped from it where the log has to do."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Sequence

from nbreactive.columns._frames import Commit
from nbreactive.engine.entries import Entry

_BUFFER = 16 << 20
_BATCH = 4 << 20
_BATCH_COMMITS = 4096
_PER_WRITE = 64


class Backlog:
    """The commits that wait, at most so many bytes of them.

    Attributes
    ----------
    behind
        Whether the log has commits for the store that do not wait here.
    """

    def __init__(self) -> None:
        self.behind = True
        self._waiting: deque[tuple[int, Commit]] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def bytes(self) -> int:
        """How much it holds."""
        return self._bytes

    @property
    def urgent(self) -> bool:
        """Whether it will soon hold too much."""
        return self._bytes > _BUFFER // 2

    def add(self, entries: Sequence[Entry]) -> None:
        """Take durable entries, in order; if they are too many, all go, and the log has to do."""
        for entry in entries:
            size = _size(entry)
            if self._bytes + size > _BUFFER:
                self.drop()
            if not self.behind:
                self._waiting.append((size, _commit(entry)))
                self._bytes += size

    def take(self) -> list[Commit]:
        """Return the oldest ones, so many as are applied at once."""
        commits, size = list[Commit](), 0
        while self._waiting and size < _BATCH and len(commits) < _BATCH_COMMITS:
            taken, commit = self._waiting.popleft()
            self._bytes -= taken
            size += taken
            commits.append(commit)
        return commits

    def drop(self) -> None:
        """Forget them: the log has them."""
        self._waiting.clear()
        self._bytes = 0
        self.behind = True


async def batches(log: AsyncIterator[Sequence[Entry]]) -> AsyncIterator[list[Commit]]:
    """Yield the commits of a log, so many at a time as are applied at once."""
    commits, size = list[Commit](), 0
    async for entries in log:
        for entry in entries:
            commits.append(_commit(entry))
            size += _size(entry)
            if size >= _BATCH or len(commits) >= _BATCH_COMMITS:
                yield commits
                commits, size = [], 0
    if commits:
        yield commits


def _commit(entry: Entry) -> Commit:
    return Commit(entry.ts, list(entry.writes))


def _size(entry: Entry) -> int:
    return _PER_WRITE + sum(_PER_WRITE + len(write.doc or b"") for write in entry.writes)
