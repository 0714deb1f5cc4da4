"""Filling a new index while everybody goes on writing.

Documents are read in the order of their ids, a few at a time, and their entries added as commits that change no
document. A commit in between maintains the index for the documents that have been passed and leaves the others alone
(see :mod:`nbreactive.engine.prepare`). It ends with the index complete; making it ready is a write to ``_tables``, by
whoever wanted it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from nbreactive.engine.applied import AppliedState, Turn, entry_row
from nbreactive.engine.catalog import BY_ID
from nbreactive.engine.changes import Keys
from nbreactive.engine.clock import Clock
from nbreactive.engine.gate import Gate, Lost
from nbreactive.engine.read_set import END
from nbreactive.engine.row_index import RowWrite
from nbreactive.errors import SchemaError

CHUNK_SECONDS = 0.001
"""What a chunk may take on the loop, its transaction included."""
CHUNK_DOCUMENTS = 500
_FIRST = 16
_FEWEST = 4
_REST_BUSY = 2.0
_REST_IDLE = 0.5
"""How long to rest after a chunk, in terms of what it took: a mutation needs several turns of the loop."""
_PATIENCE = 5
"""Milliseconds to wait, after that, for a moment in which nothing runs."""


async def backfill(
    state: AppliedState,
    gate: Gate,
    clock: Clock,
    table: str,
    index: int,
    *,
    on_applied: Callable[[int, Keys], None],
    on_pending: Callable[[], None],
    busy: Callable[[], bool],
    on_filled: Callable[[int], None] | None = None,
) -> None:
    """Fill an index that is in the state ``backfilling``, or made anew; returns when it is complete and durable.

    ``on_filled`` is told how many documents were added.

    It is named by its id: while an index is replaced by one with other fields, the table has two of the same name.
    """
    many = min(_FIRST, CHUNK_DOCUMENTS)
    while True:
        info = state.catalog.table(table)
        wanted = next((found for found in info.indexes if found.id == index), None) if info is not None else None
        if info is None or wanted is None:
            raise SchemaError(f"a new index of the table {table!r} was taken back while it was filled; deploy again")
        after = state.filled.get(wanted.id, b"")
        if (wanted.state == "ready" and index not in state.filled) or after == END:
            return
        started = clock.monotonic()
        rows: list[RowWrite] = []
        upto = END
        scan = state.reader.scan_documents(info.indexes[BY_ID].id, after and after + b"\x00", None, state.applied)
        for _, id, packed, version in scan:
            rows.append(entry_row(wanted, packed, id, version))
            if len(rows) >= many or clock.monotonic() - started > CHUNK_SECONDS / 2:
                upto = id
                break
        turn = Turn(state)
        turn.add_filled(wanted, rows, upto)
        turn.finish(on_applied)
        took = clock.monotonic() - started
        many = min(CHUNK_DOCUMENTS, 2 * many, max(_FEWEST, int(len(rows) * CHUNK_SECONDS / max(took, 1e-6))))
        on_pending()
        if on_filled is not None:
            on_filled(len(rows))
        snapshot = gate.snapshot(state.applied)
        with contextlib.suppress(Lost):
            await gate.release(snapshot)
            state.forget_fills(gate.durable)
        disturbed = busy() or state.applied != snapshot.ts
        await asyncio.sleep(took * (_REST_BUSY if disturbed else _REST_IDLE))
        for _ in range(_PATIENCE):
            if not busy():
                break
            await asyncio.sleep(0.001)
