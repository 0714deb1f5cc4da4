"""The rows of tables that are kept in columns: files of Arrow, each named by its checksum.

A file is durable, under its name, before the commit that names it; what a load leaves that nobody came to name is deleted
by a round of retention (:mod:`nbreactive.services.column_files`). Ids follow from the first one
(:mod:`nbreactive.values.id_columns`), so that they are in no file.
"""

# pyarrow has no stubs
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import hashlib
import os
import tempfile
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


class Batch(NamedTuple):
    """One batch of rows, as a document of ``_batches`` names it."""

    table: int
    hash: str
    rows: int
    bytes: int
    """Of the file."""
    first: bytes
    """The internal id of its first row."""


def batch_of(doc: dict[str, Any]) -> Batch:
    """Understand a document of ``_batches``."""
    return Batch(int(doc["table"]), doc["hash"], int(doc["rows"]), int(doc["bytes"]), doc["first"])


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


def typed_rows(folder: Path, layout: Layout, doc: dict[str, Any]) -> pa.Table:
    """Return the rows that a document of ``_batches`` names, with all columns of their typed table."""
    import pyarrow as pa

    batch = batch_of(doc)
    rows = read_file(folder, batch.hash)
    names = {column.field: column.name for column in layout.columns}
    created = pa.repeat(pa.scalar(doc[CREATION_TIME], pa.float64()), rows.num_rows)
    return pa.table(
        [ids_of(batch.table, batch.first, batch.rows), created, *rows.columns],
        names=["_id", CREATION_TIME, *(names[name] for name in rows.column_names)],
    )
