"""The gate: the one place through which anything leaves the engine.

Functions run on the newest applied state, which may not be durable yet. Whatever came out of snapshot S - a result, an
error, a log line - is held back here until S is durable. When S was rewound instead (the flush failed, or another
engine was faster), nobody hears of it.

A snapshot is a timestamp and the epoch in which it was read. A rewind ends an epoch: snapshots of it above the
timestamp that was rewound to are lost for good, those at or below it are as good as before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from nbreactive.engine.telling import tell
from nbreactive.errors import ReadOnly


class Snapshot(NamedTuple):
    """What an execution has read: the state at ``ts``, as it was in ``epoch``."""

    ts: int
    epoch: int


class Lost(ReadOnly):
    """The snapshot was rewound: what was computed from it must not be seen.

    ``again`` says that another engine was faster, so running it again may well work; otherwise the disk refused.
    """

    def __init__(self, message: str, *, again: bool = False) -> None:
        super().__init__(message)
        self.again = again


Decided = Callable[[Lost | None], None]
"""Told that a snapshot is durable (None) or lost."""


class Gate:
    """Knows what is durable and what is lost.

    Parameters
    ----------
    durable
        The last durable timestamp.
    """

    def __init__(self, durable: int) -> None:
        self.durable = durable
        self.epoch = 0
        self._rewinds: list[tuple[int, str]] = []
        self._waiting: dict[Snapshot, list[Decided]] = {}

    def snapshot(self, ts: int) -> Snapshot:
        """Name the state at ``ts`` as it is now."""
        return Snapshot(ts, self.epoch)

    def lost(self, snapshot: Snapshot) -> bool:
        """Whether ``snapshot`` was rewound."""
        # Rewinds go to the durable timestamp, which never decreases: the first one after the snapshot was the deepest.
        return snapshot.epoch < self.epoch and snapshot.ts > self._rewinds[snapshot.epoch][0]

    async def release(self, snapshot: Snapshot) -> None:
        """Return when ``snapshot`` is durable.

        Raises
        ------
        Lost
            It was rewound.
        """
        if snapshot.ts <= self.durable and not self.lost(snapshot):
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def decided(lost: Lost | None) -> None:
            if future.done():  # whoever waited may be gone
                return
            if lost is None:
                future.set_result(None)
            else:
                future.set_exception(lost)

        self.when(snapshot, decided)
        await future

    def when(self, snapshot: Snapshot, decided: Decided) -> None:
        """Tell ``decided`` in the moment in which ``snapshot`` becomes durable or is lost; now, if it is already."""
        if self.lost(snapshot):
            tell(decided, self._error(snapshot))
        elif snapshot.ts <= self.durable:
            tell(decided, None)
        else:
            self._waiting.setdefault(snapshot, []).append(decided)

    def advance(self, durable: int) -> None:
        """Everything up to ``durable`` has become durable: let it out."""
        self.durable = durable
        for snapshot in [s for s in self._waiting if s.ts <= durable]:
            lost = self._error(snapshot) if self.lost(snapshot) else None
            for decided in self._waiting.pop(snapshot):
                tell(decided, lost)

    def rewound(self, reason: str = "") -> None:
        """Everything after :attr:`durable` is lost: end the epoch.

        Parameters
        ----------
        reason
            What a person is told; empty when another engine was faster, so that trying again is all it takes.
        """
        self._rewinds.append((self.durable, reason))
        self.epoch += 1
        for snapshot in [s for s in self._waiting if self.lost(s)]:
            lost = self._error(snapshot)
            for decided in self._waiting.pop(snapshot):
                tell(decided, lost)

    def _error(self, snapshot: Snapshot) -> Lost:
        reason = self._rewinds[snapshot.epoch][1]
        return Lost(reason or "another engine has written first; run it again", again=not reason)
