"""The batches of tables that keep their rows in columns: which files commits name, and how many rows there are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nbreactive.columns.batches import FOLDER, Batch, batch_of
from nbreactive.engine.catalog import BATCHES, BY_ID, BY_TABLE, Catalog, index_id
from nbreactive.engine.row_index import Reader
from nbreactive.values.keys import encode_key, successor
from nbreactive.values.packing import unpack


def batches(reader: Reader, ts: int) -> Iterator[Batch]:
    """Yield all batches as of ``ts``, oldest first."""
    for _, _, packed, _ in reader.scan_documents(index_id(BATCHES, BY_ID), b"", None, ts):
        yield batch_of(unpack(packed))


def newest(reader: Reader, table: int, ts: int) -> Batch | None:
    """Return the last batch of a table, which knows what was before it; None: it has no rows."""
    prefix = encode_key(float(table))
    found = reader.scan_documents(index_id(BATCHES, BY_TABLE), prefix, successor(prefix), ts, reverse=True)
    return next((batch_of(unpack(packed)) for _, _, packed, _ in found), None)


def rows_in_columns(reader: Reader, catalog: Catalog, ts: int) -> dict[int, int]:
    """Return how many rows each table has in columns, by number; those that have none are left out."""
    numbers = [table.number for table in catalog.by_name.values() if table.storage == "columns"]
    last = {number: newest(reader, number, ts) for number in numbers}
    return {number: batch.rows_before + batch.rows for number, batch in last.items() if batch is not None}


def folder_of(data: Path) -> Path:
    """Return where the files are, which is made if it is not there."""
    folder = data / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
