"""Filling a new index while everybody goes on writing.

Documents are read in the order of their ids, a few at a time, and their entries added as commits that change no
document. A commit in between maintains the index for the documents that have been passed and leaves the others alone
(see :mod:`nbreactive.engine.prepare`). It ends with the index complete; making it ready is a write to ``_tables``, by
whoever wanted it.
"""

from __future__ import annotations

import asyncio
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
CHUNK_DOCUMENTS = 500


async def backfill(
    state: AppliedState,
    gate: Gate,
    clock: Clock,
    table: str,
    index: str,
    *,
    on_applied: Callable[[int, Keys], None],
    on_pending: Callable[[], None],
) -> None:
    """Fill an index that is in the state ``backfilling``; returns when it is complete and durable."""
    while True:
        info = state.catalog.table(table)
        wanted = info.index(index) if info is not None else None
        if info is None or wanted is None:
            raise SchemaError(f"there is no index {index!r} of table {table!r} to fill; deploy the schema first")
        after = state.filled.get(wanted.id, b"")
        if wanted.state == "ready" or after == END:
            return
        started = clock.monotonic()
        rows: list[RowWrite] = []
        upto = END
        scan = state.reader.scan_documents(info.indexes[BY_ID].id, after and after + b"\x00", None, state.applied)
        for _, id, packed, _ in scan:
            rows.append(entry_row(wanted, packed, id))
            if len(rows) >= CHUNK_DOCUMENTS or clock.monotonic() - started > CHUNK_SECONDS:
                upto = id
                break
        turn = Turn(state)
        turn.add_filled(wanted, rows, upto)
        turn.finish(on_applied)
        on_pending()
        snapshot = gate.snapshot(state.applied)
        try:
            await gate.release(snapshot)
        except Lost:
            continue
        state.forget_fills(gate.durable)
        # As long again for everybody else, who may need several turns of the loop for one mutation.
        await asyncio.sleep(clock.monotonic() - started)
