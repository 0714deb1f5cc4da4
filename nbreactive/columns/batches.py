"""The rows of tables that are kept in columns, as Arrow: few of them in the document that brings them, many in a file.

Few rows stand in the log, then, and are durable with their commit. A file is named by its checksum, and durable, under its
name, before the commit that names it; what a load leaves that nobody came to name is deleted by a round of retention
(:mod:`nbreactive.services.column_files`). Ids follow from the first one (:mod:`nbreactive.values.id_columns`), so that they
are stored nowhere.
"""

# pyarrow has no stubs
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nbreactive.engine.catalog import CREATION_TIME
from nbreactive.engine.files import Disk
from nbreactive.errors import DataFolderError
from nbreactive.values.id_columns import ids_of

if TYPE_CHECKING:
    import pyarrow as pa

    from nbreactive.columns.schema import Layout

FOLDER: Final = "batches"
FEW_BYTES: Final = 32 << 10
"""Of rows that are not worth a file, which takes three flushes of the disk."""
_NUMBERS: Final = ("table", "rows", "bytes", "rowsBefore", "bytesBefore")
_TOGETHER: Final = 1 << 16
"""Rows that are put into a typed table at once, where they come in small batches."""


class Batch(NamedTuple):
    """One batch of rows, as a document of ``_batches`` has it."""

    table: int
    rows: int
    size: int
    """Of Arrow."""
    first: bytes
    """The internal id of its first row."""
    created: float
    """The creation time of all its rows, later than those of the batches before."""
    rows_before: int
    """Of the table, in the batches before this one."""
    size_before: int
    hash: str
    """Names the file; empty: there is none."""
    data: bytes
    """An Arrow IPC stream, if there is no file."""


def batch_of(doc: dict[str, Any]) -> Batch:
    """Understand a document of ``_batches``."""
    table, rows, size, before, bytes_before = (int(doc.get(name, 0)) for name in _NUMBERS)
    where = doc.get("hash", ""), doc.get("data", b"")
    return Batch(table, rows, size, doc["first"], doc[CREATION_TIME], before, bytes_before, *where)


def document_of(batch: Batch) -> dict[str, Any]:
    """Return the document of ``_batches`` that brings rows."""
    numbers = batch.table, batch.rows, batch.size, batch.rows_before, batch.size_before
    where = {"hash": batch.hash} if batch.hash else {"data": batch.data}
    known = dict(zip(_NUMBERS, map(float, numbers), strict=True))
    return known | {"first": batch.first, CREATION_TIME: batch.created} | where


def write_stream(batch: pa.RecordBatch) -> bytes:
    """Return rows as they stand in a document."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def write_file(folder: str, batch: pa.RecordBatch) -> tuple[str, int]:
    """Write rows durably; return the name of the file and its size.

    ``folder`` is as :class:`nbreactive.services.blobs.Blobs` has it, which deletes what a killed process leaves in ``incoming``.
    """
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    data = sink.getvalue()
    digest = hashlib.sha256(data).hexdigest()
    path = Path(folder, digest)
    if not path.exists():
        descriptor, draft = tempfile.mkstemp(dir=Path(folder, "incoming"))
        try:
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]
                os.fsync(file.fileno())
            Path(draft).replace(path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
        Disk().sync_folder(Path(folder))
    return digest, len(data)


def read_file(folder: Path, digest: str) -> pa.Table:
    """Return the rows of a file, mapped rather than read."""
    import pyarrow as pa

    try:
        with pa.memory_map(str(folder / digest)) as source, pa.ipc.open_file(source) as reader:
            return reader.read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise DataFolderError(
            f"the rows in {folder / digest} cannot be read ({error}): copy that file from a backup (its batches/ folder)"
        ) from None


def read_rows(folder: Path, batch: Batch) -> pa.Table:
    """Return the rows of a batch, wherever they are."""
    import pyarrow as pa

    if batch.hash:
        return read_file(folder, batch.hash)
    with pa.ipc.open_stream(pa.py_buffer(batch.data)) as reader:
        return reader.read_all()


def gathered(folder: Path, layout: Layout, docs: Iterable[dict[str, Any]]) -> Iterator[pa.Table]:
    """Yield the rows of batches of one table, in order: many small batches as one."""
    import pyarrow as pa

    waiting: list[pa.Table] = []
    rows = 0
    for doc in docs:
        waiting.append(typed_rows(folder, layout, doc))
        rows += waiting[-1].num_rows
        if rows >= _TOGETHER:
            yield pa.concat_tables(waiting)
            waiting, rows = [], 0
    if waiting:
        yield pa.concat_tables(waiting)


def typed_rows(folder: Path, layout: Layout, doc: dict[str, Any]) -> pa.Table:
    """Return the rows that a document of ``_batches`` brings, with all columns of their typed table."""
    import pyarrow as pa

    batch = batch_of(doc)
    rows = read_rows(folder, batch)
    names = {column.field: column.name for column in layout.columns}
    created = pa.repeat(pa.scalar(batch.created, pa.float64()), rows.num_rows)
    return pa.table(
        [ids_of(batch.table, batch.first, batch.rows), created, *rows.columns],
        names=["_id", CREATION_TIME, *(names[name] for name in rows.column_names)],
    )
