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
from typing import TYPE_CHECKING, Final

from nbreactive.engine.files import Disk

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER: Final = "batches"


def write_file(folder: str, batch: pa.RecordBatch) -> tuple[str, int]:
    """Write rows durably; return the name of the file and its size."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    data = sink.getvalue()
    digest = hashlib.sha256(data).hexdigest()
    path = Path(folder, digest)
    if not path.exists():
        descriptor, draft = tempfile.mkstemp(dir=folder, prefix="incoming-")
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

    with pa.memory_map(str(folder / digest)) as source, pa.ipc.open_file(source) as reader:
        return reader.read_all()
