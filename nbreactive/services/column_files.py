"""The files of tables that keep their rows in columns: which commits name them, how many rows they have, which can go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nbreactive.columns.batches import FOLDER, Batch, batch_of
from nbreactive.engine.catalog import BATCHES, BY_ID, index_id
from nbreactive.engine.row_index import Reader
from nbreactive.values.packing import unpack


def batches(reader: Reader, ts: int) -> Iterator[Batch]:
    """Yield all batches as of ``ts``, oldest first."""
    for _, _, packed, _ in reader.scan_documents(index_id(BATCHES, BY_ID), b"", None, ts):
        yield batch_of(unpack(packed))


def rows_in_columns(reader: Reader, ts: int) -> dict[int, int]:
    """Return how many rows each table has in columns, by number."""
    rows: dict[int, int] = {}
    for batch in batches(reader, ts):
        rows[batch.table] = rows.get(batch.table, 0) + batch.rows
    return rows


def folder_of(data: Path) -> Path:
    """Return where the files are, which is made if it is not there."""
    folder = data / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
