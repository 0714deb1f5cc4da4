"""The flusher: writes what is applied to the log, and undoes it when that fails.

One append is under way at a time; whatever is committed meanwhile gathers into the next batch, so the busier it is
the more commits share one frame and one flush. Four things can come of an append:

- it is durable: the gate opens up to its last timestamp;
- it failed (the disk is full, say): everything applied after the durable timestamp is rewound;
- nobody knows: the log is asked for its tail until it does;
- somebody else was faster: everything not durable is rewound, their entries are applied, ours run again.

Where engines share a log (``follow``), a second task applies what the others append while this one is idle.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from nbreactive.engine.applied import AppliedState, Pending, replay
from nbreactive.engine.changes import Keys
from nbreactive.engine.entries import Entry, decode_entry
from nbreactive.engine.gate import Gate
from nbreactive.engine.log import CommitLog
from nbreactive.errors import ReadOnly

_ATTEMPTS = 5
"""How often a batch is appended when the log does not say what became of it."""

_TURNS = 2
"""Of the loop, from a commit to the calls of the live queries that it touched."""

_FRAME = 4 << 20
"""Bytes after which a batch is long enough."""


class Flusher:
    """Moves pending commits into the log.

    Parameters
    ----------
    log, state, gate
        Where to, where from, and what to open.
    position
        The log's position that the state is at.
    on_applied
        Called for each commit of another engine.
    on_durable
        Called with entries that have become durable, in order.
    on_rewound
        Called after a rewind.
    """

    def __init__(
        self,
        log: CommitLog,
        state: AppliedState,
        gate: Gate,
        position: int,
        *,
        on_applied: Callable[[int, Keys], None],
        on_durable: Callable[[Sequence[Entry]], None],
        on_rewound: Callable[[], None],
    ) -> None:
        self._log = log
        self._state = state
        self._gate = gate
        self.position = position
        self._on_applied = on_applied
        self._on_durable = on_durable
        self._on_rewound = on_rewound
        self._unsettled = False
        self._one = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._follower: asyncio.Task[None] | None = None
        self._moved = asyncio.Event()

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way into the log."""
        return self._task is None and not self._state.pending

    def wake(self) -> None:
        """Start flushing, if that is not going on already."""
        if self._task is None and self._state.pending:
            self._task = asyncio.get_running_loop().create_task(self._flush())

    def follow(self) -> None:
        """Apply what other engines append, from now on."""
        self._follower = asyncio.get_running_loop().create_task(self._follow())

    async def catch_up(self) -> None:
        """Apply everything that was in the log when this was called."""
        tail = await self._log.tail()
        while self.position < tail:
            async with self._one:
                await self._fetch()

    async def drain(self) -> None:
        """Wait until everything applied so far is durable or undone."""
        while self._task is not None:
            await asyncio.wait([self._task])

    async def close(self) -> None:
        """Stop; what is pending stays undecided until the next start."""
        tasks = [task for task in (self._task, self._follower) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _flush(self) -> None:
        try:
            # The log may keep the loop for as long as the disk takes: what was touched goes to the workers first.
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            while self._state.pending:
                async with self._one:
                    await self._append_some()
        finally:
            self._task = None

    async def _append_some(self) -> None:
        state = self._state
        if self._unsettled and not await self._settle():
            return
        batch = _first_frame(state.pending)
        if not batch:
            return
        data = [pending.data for pending in batch if pending.data is not None]
        if data:
            try:
                written = await self._append(data)
            except ReadOnly as error:
                # Raised by an append: the batch is not there and never will be. Raised while asking about an
                # append of unknown outcome: it may be there, so that is asked again before the next one.
                self._rewind(error.message)
                return
            if not written:
                self._rewind("")
                await self._fetch()
                return
            self.position += 1
        state.log_position = self.position
        del state.pending[: len(batch)]
        self._on_durable([pending.entry for pending in batch if pending.data is not None])
        self._gate.advance(batch[-1].entry.ts)

    async def _append(self, data: list[bytes]) -> bool:
        """Append one batch; False when another engine was faster."""
        for _ in range(_ATTEMPTS):
            appended = await self._log.append(self.position, data)
            if appended.status != "unknown":
                return appended.status == "ok"
            self._unsettled = True
            tail = await self._log.tail()
            self._unsettled = False
            if tail > self.position:
                async for first in self._log.read(self.position):
                    return first.entries == data
        raise ReadOnly("the log does not answer; try again")

    async def _settle(self) -> bool:
        # An append of unknown outcome was given up. If it has arrived after all, it comes back like anybody else's.
        try:
            tail = await self._log.tail()
        except ReadOnly as error:
            self._rewind(error.message)
            return False
        self._unsettled = False
        if tail > self.position:
            self._rewind("")
            await self._fetch()
            return False
        return True

    async def _follow(self) -> None:
        while True:
            tail = await self._log.watch(self.position)
            async with self._one:
                if tail > self.position:
                    await self._fetch()

    async def _fetch(self) -> None:
        """Apply the entries after our position."""
        async for batch in self._log.read(self.position):
            if self._state.pending:
                self._rewind("")
            entries = [decode_entry(data) for data in batch.entries]
            replay(self._state, entries, self._on_applied)
            self.position = self._state.log_position = batch.position
            self._gate.advance(self._state.applied)
            self._on_durable(entries)

    def _rewind(self, reason: str) -> None:
        self._state.rewind(self._gate.durable)
        self._gate.rewound(reason)
        self._on_rewound()


def _first_frame(pending: Sequence[Pending]) -> list[Pending]:
    """Take from the front what goes into one append."""
    batch: list[Pending] = []
    size = 0
    for item in pending:
        batch.append(item)
        size += len(item.data or b"")
        if size >= _FRAME:
            break
    return batch
