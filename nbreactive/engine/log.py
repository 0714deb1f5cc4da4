"""The ordered log of commits: its whole interface, and the log that lives in memory.

A log is a sequence of batches. A position counts batches: 0 is the empty log, and appending to position ``n`` makes the
batch ``n + 1``. ``append`` names the position that its caller believes to be the tail; if somebody else was faster the
answer is ``tail`` and nothing was written. That is all the coordination that engines need, on one disk
(:class:`~nbreactive.engine.segments.SegmentLog`), in one memory (:class:`MemoryLog`) or over one PostgreSQL row.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from typing import Literal, Protocol

import msgspec

from nbreactive.errors import DataFolderError, InvalidValue, ReadOnly

Position = int
"""How many batches the log holds up to and including a place in it."""


class Appended(msgspec.Struct, frozen=True):
    """The answer to an append.

    ``ok``: the batch is durable at ``position``. ``tail``: the log's tail is ``position``, not the expected one; nothing
    was written. ``unknown``: nobody can say now. ``await log.tail()`` settles it, and until then nothing can be appended;
    after that the batch behind the expected position is the one in doubt, another engine's, or there is none.
    """

    status: Literal["ok", "tail", "unknown"]
    position: Position


class Batch(msgspec.Struct, frozen=True):
    """The entries of one append."""

    position: Position
    entries: list[bytes]


class CommitLog(Protocol):
    """What the engine asks of a log."""

    @property
    def horizon(self) -> int:
        """Versions of documents that were replaced at or before this timestamp may be missing."""
        ...

    async def append(self, expected: Position, batch: Sequence[bytes]) -> Appended:
        """Append ``batch`` durably, if the tail is ``expected``.

        Raises
        ------
        ReadOnly
            The batch was not written and never will be; the disk is full, failing, or the log is sealed.
        """
        ...

    async def tail(self) -> Position:
        """Return the last durable position; settles an ``unknown`` outcome first.

        Raises
        ------
        ReadOnly
            An ``unknown`` outcome cannot be settled yet.
        """
        ...

    def read(self, after: Position = 0) -> AsyncIterator[Batch]:
        """Yield the durable batches after ``after``, up to the tail at the time of the call."""
        ...

    async def watch(self, after: Position) -> Position:
        """Wait until the tail is past ``after``; return the tail."""
        ...

    async def trim(self, upto: Position) -> Position:
        """Allow the batches up to ``upto`` to be dropped; return the position before the first batch that is left."""
        ...

    async def seal(self) -> Position:
        """Refuse every further append, for good; return the final tail."""
        ...

    async def close(self) -> None:
        """Release what the log holds open."""
        ...


class Faults(msgspec.Struct):
    """How often a :class:`MemoryLog` misbehaves, as probabilities per append."""

    refuse: float = 0.0
    """Raise ReadOnly; nothing is written."""
    unknown: float = 0.0
    """Answer ``unknown``; half of these are written."""
    late: float = 0.5
    """Of the unknown ones that are written: so many appear only after the answer, before the next ``tail``."""
    delay: int = 0
    """Up to so many turns of the event loop before and after the write."""


class _Shared:
    """What the nodes of one memory log have in common."""

    def __init__(self, random: random.Random, faults: Faults) -> None:
        self.faults = faults
        self.batches: list[Batch] = []
        self.trimmed: Position = 0
        self.sealed = False
        self._random = random
        self._changed: asyncio.Event | None = None

    @property
    def position(self) -> Position:
        return self.trimmed + len(self.batches)

    def write(self, expected: Position, batch: Sequence[bytes]) -> bool:
        if self.sealed or self.position != expected:
            return False
        self.batches.append(Batch(expected + 1, list(batch)))
        if self._changed is not None:
            self._changed.set()
            self._changed = None
        return True

    def chance(self, probability: float) -> bool:
        return probability > 0 and self._random.random() < probability

    async def pause(self) -> None:
        if self.faults.delay:
            for _ in range(self._random.randint(0, self.faults.delay)):
                await asyncio.sleep(0)

    async def changed(self) -> None:
        if self._changed is None:
            self._changed = asyncio.Event()
        await self._changed.wait()


class MemoryLog:
    """A log in memory, shared by any number of engines, that fails as its seed says.

    Parameters
    ----------
    seed
        Decides every fault.
    faults
        How often what goes wrong; nothing by default. May be changed at any time.

    Notes
    -----
    Each engine takes a :meth:`node` of its own, so that it can crash alone; the log itself behaves as one more node.
    """

    horizon = 0
    """Nothing is ever missing."""

    def __init__(self, seed: int = 0, faults: Faults | None = None) -> None:
        self._shared = _Shared(random.Random(seed), faults or Faults())
        self._own = MemoryNode(self._shared)

    @property
    def faults(self) -> Faults:
        """How often what goes wrong; its fields may be changed at any time."""
        return self._shared.faults

    def node(self) -> MemoryNode:
        """Return this log as one engine sees it."""
        return MemoryNode(self._shared)

    async def append(self, expected: Position, batch: Sequence[bytes]) -> Appended:
        """See :meth:`CommitLog.append`."""
        return await self._own.append(expected, batch)

    async def tail(self) -> Position:
        """See :meth:`CommitLog.tail`."""
        return await self._own.tail()

    def read(self, after: Position = 0) -> AsyncIterator[Batch]:
        """See :meth:`CommitLog.read`."""
        return self._own.read(after)

    async def watch(self, after: Position) -> Position:
        """See :meth:`CommitLog.watch`."""
        return await self._own.watch(after)

    async def trim(self, upto: Position) -> Position:
        """See :meth:`CommitLog.trim`."""
        return await self._own.trim(upto)

    async def seal(self) -> Position:
        """See :meth:`CommitLog.seal`."""
        return await self._own.seal()

    async def close(self) -> None:
        """See :meth:`CommitLog.close`; the batches stay for the next engine."""


class MemoryNode:
    """A :class:`MemoryLog` as one engine sees it."""

    horizon = 0
    """Nothing is ever missing."""

    def __init__(self, shared: _Shared) -> None:
        self._shared = shared
        self._late: tuple[Position, list[bytes]] | None = None
        self._unsettled = False
        self._crashed = False

    def crash(self) -> None:
        """Cut the engine off: its appends in flight and all later calls never return.

        A batch in flight is in the log or it is not, just as when the machine of an engine dies.
        """
        self._crashed = True
        if self._shared.chance(0.5):
            self._settle()
        self._late = None

    async def append(self, expected: Position, batch: Sequence[bytes]) -> Appended:
        """See :meth:`CommitLog.append`."""
        shared = self._shared
        if not batch:
            raise InvalidValue("an empty batch cannot be appended to the log")
        await self._alive()
        await shared.pause()
        await self._alive()
        if self._unsettled:
            raise ReadOnly("the outcome of the last append is unknown: ask for the log's tail first")
        if shared.sealed:
            raise ReadOnly("the log is sealed: its deployment has moved to another log")
        if shared.chance(shared.faults.refuse):
            raise ReadOnly("the disk is full (injected): free some space, writing goes on by itself")
        if shared.chance(shared.faults.unknown):
            self._unsettled = True
            if shared.chance(0.5):
                self._late = (expected, list(batch))
                if not shared.chance(shared.faults.late):
                    self._settle()
            await shared.pause()
            await self._alive()
            return Appended("unknown", expected)
        written = shared.write(expected, batch)
        position = expected + 1 if written else shared.position
        await shared.pause()
        await self._alive()
        return Appended("ok" if written else "tail", position)

    async def tail(self) -> Position:
        """See :meth:`CommitLog.tail`."""
        await self._alive()
        await self._shared.pause()
        await self._alive()
        self._settle()
        self._unsettled = False
        return self._shared.position

    async def read(self, after: Position = 0) -> AsyncIterator[Batch]:
        """See :meth:`CommitLog.read`."""
        await self._alive()
        shared = self._shared
        end = shared.position
        if after < shared.trimmed:
            raise trimmed("the log in memory", shared.trimmed, after)
        for position in range(after, end):
            yield shared.batches[position - shared.trimmed]

    async def watch(self, after: Position) -> Position:
        """See :meth:`CommitLog.watch`."""
        await self._alive()
        while self._shared.position <= after:
            await self._shared.changed()
            await self._alive()
        return self._shared.position

    async def trim(self, upto: Position) -> Position:
        """See :meth:`CommitLog.trim`."""
        shared = self._shared
        upto = min(upto, shared.position)
        if upto > shared.trimmed:
            del shared.batches[: upto - shared.trimmed]
            shared.trimmed = upto
        return shared.trimmed

    async def seal(self) -> Position:
        """See :meth:`CommitLog.seal`."""
        self._shared.sealed = True
        return self._shared.position

    async def close(self) -> None:
        """See :meth:`CommitLog.close`."""

    def _settle(self) -> None:
        if self._late is not None:
            self._shared.write(*self._late)
            self._late = None

    async def _alive(self) -> None:
        if self._crashed:
            await asyncio.get_running_loop().create_future()


def trimmed(name: str, first: Position, wanted: Position) -> DataFolderError:
    """Return the error of reading what is gone."""
    return DataFolderError(
        f"{name} begins after position {first}, but position {wanted} was asked for:"
        " the older part was dropped because store.duckdb has it; rebuild from there"
    )
