"""Bringing the row index to where the log ends, when the engine starts.

After a SIGKILL the row index may hold commits that never became durable: it is rewound to the last batch of which it is
sure, and the log is applied from there. An index that cannot be trusted (absent, or after a power cut), or that ends
before the log begins, is filled anew from a source of whole documents and the log after it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Protocol

from nbreactive.engine._index_builder import Part
from nbreactive.engine.applied import AppliedState, Turn, replay
from nbreactive.engine.catalog import BY_CREATION_TIME
from nbreactive.engine.changes import ChangeList, Keys
from nbreactive.engine.clock import Clock
from nbreactive.engine.entries import Entry, decode_entry
from nbreactive.engine.feed import first_batch, position_of
from nbreactive.engine.log import CommitLog
from nbreactive.engine.read_set import END
from nbreactive.engine.row_index import RowIndex
from nbreactive.engine.transactions import Write
from nbreactive.errors import DataFolderError

_TOGETHER = 2000
"""Commits that are replayed in one LMDB transaction."""


class Documents(Protocol):
    """Every document that is alive at the timestamp ``applied``, those of ``_tables`` before all of users' tables."""

    @property
    def applied(self) -> int:
        """The timestamp."""
        ...

    def __iter__(self) -> Iterator[Part]: ...


Source = Callable[[Callable[[Documents], None]], Awaitable[None]]
"""Calls its argument with all documents, maybe in another thread; once more if it breaks off."""


async def recover(
    log: CommitLog, index: RowIndex, clock: Clock, *, shared: bool, changes_bytes: int
) -> tuple[AppliedState, int, int]:
    """Return the state at the end of the log, the log's position there, and the timestamp that is durable.

    Parameters
    ----------
    log, index
        What must agree. An index that is not trusted has been rebuilt before.
    clock
        For timestamps of what is only local.
    shared
        Whether other engines append to the log.
    changes_bytes
        Bound of the change list.
    """
    await _rewind(log, index)
    state = AppliedState(index, ChangeList(index.applied, changes_bytes), clock, log_everything=shared)
    # An index that was rebuilt knows no position: what it holds need not be read
    position = state.log_position or await position_of(log, state.applied)
    if position < await log.trim(0):
        position = await position_of(log, state.applied)
    entries: list[Entry] = []
    async for batch in log.read(position):
        entries += map(decode_entry, batch.entries)
        position = batch.position
        if len(entries) >= _TOGETHER:
            replay(state, entries, _nobody, horizon=log.horizon)
            state.log_position = position
            entries.clear()
    replay(state, entries, _nobody, horizon=log.horizon)
    state.log_position = position
    index.apply([], log_position=position)
    if not index.trusted:
        index.trust()
    durable = state.applied
    if not shared:
        _start_anew(state)
    return state, position, durable


def behind(log: CommitLog, index: RowIndex) -> bool:
    """Tell whether an index lacks what the log has dropped since: it is an old copy, and must be filled anew."""
    return index.trusted and 0 < index.applied < log.horizon


async def rebuild(index: RowIndex, source: Source) -> None:
    """Fill an index anew with whole documents."""

    def fill(documents: Documents) -> None:
        index.rebuild(documents, applied=documents.applied)

    await source(fill)


async def _rewind(log: CommitLog, index: RowIndex) -> None:
    """Take away everything after the last batch that is surely in the index."""
    sure = index.horizon
    position = index.log_position
    if position > await log.tail():
        raise DataFolderError(
            f"the log is older than the row index, or another one: it has {await log.tail()} batches, the index has"
            f" {position}. Nothing was changed. Restore the log from where it went, or the whole data folder from one"
            " backup; or, to start from the log alone and lose what it does not have, move index and store.duckdb away"
        )
    if position:
        batch = await first_batch(log, position - 1)
        assert batch is not None, "the log's tail is not before this position"
        if batch.position == position:  # not in a gap that retention has made
            sure = max(sure, decode_entry(batch.entries[-1]).ts)
    if index.applied > sure:
        index.rewind(sure)


def _start_anew(state: AppliedState) -> None:
    """Empty the ephemeral tables, at a timestamp above all that anybody can have been shown before."""
    writes: list[Write] = []
    for table in state.catalog.by_number.values():
        if table.ephemeral:
            for _, id in state.reader.scan(table.indexes[BY_CREATION_TIME].id, b"", END, state.applied):
                found = state.document(table.number, id)
                assert found is not None
                writes.append(Write(table.number, id, None, found[1]))
    if writes or state.highest > state.applied:
        # In the log, although it holds nothing: the row index may be lost and the clock set back before the next start,
        # and even then no timestamp may be given out twice.
        turn = Turn(state)
        turn.add(writes, None, "system", log=True, trusted=True)
        turn.finish(_nobody)


def _nobody(ts: int, keys: Keys) -> None:
    """Nobody is subscribed yet."""
