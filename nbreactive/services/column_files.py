"""The files of tables that keep their rows in columns: which commits name them, how many rows they have, which can go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from nbreactive.engine.catalog import BATCHES, BY_ID, index_id
from nbreactive.engine.row_index import Reader
from nbreactive.values.packing import unpack


class Batch(NamedTuple):
    """One batch of rows, as a document of ``_batches`` names it."""

    table: int
    hash: str
    rows: int
    bytes: int
    first: bytes
    """The internal id of its first row."""


def batch_of(doc: dict[str, Any]) -> Batch:
    """Understand a document of ``_batches``."""
    return Batch(int(doc["table"]), doc["hash"], int(doc["rows"]), int(doc["bytes"]), doc["first"])


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
    folder = data / "batches"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
