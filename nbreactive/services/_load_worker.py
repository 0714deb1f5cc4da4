"""The process that makes documents, or columns, of the rows of a bulk load; it runs nobody's code.

It reads a request from its standard input and answers with what is to be committed, a commit after the other, or with what is
wrong with the rows of the next one. The end of standard input is its end.
"""

# pyarrow has no stubs
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, Final

import msgspec
import pyarrow as pa

from nbreactive.columns.batches import FEW_BYTES, write_file, write_stream
from nbreactive.engine._rebuild import receive, send
from nbreactive.engine.bulk import prepare_bulk
from nbreactive.engine.catalog import CREATION_TIME
from nbreactive.errors import InvalidId, InvalidValue, NBReactiveError
from nbreactive.runtime._hardening import bind_to_parent
from nbreactive.services.load_frames import BulkDone, ColumnsDone, DocumentsDone, Prepare, Reply, Wrong, ids_from
from nbreactive.values import UNSET
from nbreactive.values.checks import check_document
from nbreactive.values.from_arrow import MISSING, Intake
from nbreactive.values.ids import decode_id
from nbreactive.values.kinds import Int64
from nbreactive.values.limits import DOCUMENT_SIZE
from nbreactive.values.packing import decoder_of, pack
from nbreactive.values.sizes import check_document_size
from nbreactive.values.validators import from_json

_FEW_BYTES: Final = 64 << 10
"""Of a request for whose answer somebody waits."""
_SHORT: Final = {bool, int, float, Int64, type(None), type(MISSING)}
_decode_rows = decoder_of(list[dict[str, Any]])


def main() -> None:
    """Serve requests until the backend closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    bind_to_parent()
    gc.disable()  # many small objects and no cycles
    gc.collect()
    gc.freeze()
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    polite = ThreadPoolExecutor(1, initializer=_step_back)

    def serve(request: Prepare) -> None:
        for reply in _answer(request):
            send(sink, reply)
            sink.flush()  # whoever reads begins while the next one is made

    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            request = receive(source, Prepare)
            if len(request.data) > _FEW_BYTES:
                polite.submit(serve, request).result()
            else:
                serve(request)
            del request
            gc.collect()


def _step_back() -> None:
    """Let everybody else go first; on Linux a priority is that of a thread."""
    if sys.platform == "linux":
        os.nice(5)


def _answer(request: Prepare) -> Iterator[Reply | None]:
    try:
        yield from _prepare(request)
    except NBReactiveError as error:
        yield Wrong(error.code, str(error))
    except (pa.ArrowException, msgspec.MsgspecError, UnicodeError) as error:
        yield Wrong(InvalidValue.code, f"these are not rows that can be read: {error}")
    yield None


def _prepare(request: Prepare) -> Iterator[Reply]:
    validator = from_json(request.validator) if request.validator is not None else None
    table_of = _table_of(request.tables)
    if request.arrow:
        batch = _batch(request.data)
        intake = Intake(validator, table_of)
        skip = request.skip
        batch = batch.slice(skip) if skip else batch
        if request.folder:
            if batch.num_rows:
                yield _of_rows(request.folder, intake.batch(batch, request.row + skip))
            return
        for start in range(0, batch.num_rows, request.rows):
            part = batch.slice(start, request.rows)
            columns = intake.columns(part, request.row + skip + start)
            last = start + request.rows >= batch.num_rows
            yield _of_columns(request, columns, part.num_rows, start, last=last)
        return
    rows = _decode_rows(request.data)[request.skip :]
    checked = [
        check_document(row, f"row {request.row + request.skip + at}", validator=validator, table_of=table_of)
        for at, row in enumerate(rows)
    ]
    if request.folder:
        if checked:
            yield _of_rows(request.folder, Intake(validator, table_of).documents(checked))
        return
    created = _created(0, len(rows), request)
    docs: list[bytes] = []
    for at, (row, moment) in enumerate(zip(checked, created, strict=True)):
        row[CREATION_TIME] = moment
        docs.append(pack(row))
        check_document_size(row, docs[-1], f"row {request.row + request.skip + at}")
    for start in range(0, len(rows), request.rows):
        part = slice(start, start + request.rows)
        some = {name: [row.get(name, UNSET) for row in checked[part]] for name in _indexed(request)}
        last = start + request.rows >= len(rows)
        yield _commit(request, start, docs[part], created[part], some, last=last)


def _of_rows(folder: str, rows: pa.RecordBatch) -> ColumnsDone:
    """Keep rows for a table in columns."""
    if rows.nbytes <= FEW_BYTES:
        data = write_stream(rows)
        if len(data) <= FEW_BYTES:
            return ColumnsDone(rows.num_rows, len(data), "", data)
    digest, size = write_file(folder, rows)
    return ColumnsDone(rows.num_rows, size, digest, b"")


def _of_columns(request: Prepare, columns: dict[str, list[Any]], count: int, start: int, *, last: bool) -> Reply:
    """Make documents of columns."""
    created = _created(start, start + count, request)
    docs = list(map(pack, map(_document(*columns), *columns.values(), created)))
    if sum(map(_longest, columns.values())) > DOCUMENT_SIZE:
        _check_sizes(columns, docs, request.row + request.skip + start)
    indexed = _indexed(request) & columns.keys()
    some = {name: [UNSET if value is MISSING else value for value in columns[name]] for name in indexed}
    return _commit(request, start, docs, created, some, last=last)


@cache
def _document(*fields: str) -> type[msgspec.Struct]:
    names = [*fields, CREATION_TIME]
    return msgspec.defstruct(
        "Document",
        [(f"field{number}", Any) for number in range(len(names))],
        rename={f"field{number}": name for number, name in enumerate(names)},
        gc=False,
    )


def _longest(values: Sequence[Any]) -> int:
    """Return a bound of what the values of a column take, in the largest document."""
    kinds = set(map(type, values))
    if kinds <= _SHORT:
        return 16
    if kinds <= {str, bytes}:
        return 16 + 4 * max(map(len, values))
    if kinds <= _SHORT | {str, bytes}:
        return 16 + 4 * max(len(value) for value in values if isinstance(value, str | bytes))
    return DOCUMENT_SIZE + 1


def _check_sizes(columns: Mapping[str, Sequence[Any]], docs: Sequence[bytes], first: int) -> None:
    for at, doc in enumerate(docs):
        fields = {name: values[at] for name, values in columns.items() if values[at] is not MISSING}
        check_document_size(fields, doc, f"row {first + at}")


def _commit(
    request: Prepare,
    start: int,
    docs: list[bytes],
    created: list[float],
    columns: Mapping[str, list[Any]],
    *,
    last: bool,
) -> Reply:
    begin = int.from_bytes(request.first[:8], "big") + start
    ids = ids_from(begin.to_bytes(8, "big") + request.first[8:], len(docs))
    if request.plan is None:
        return DocumentsDone(list(zip(ids, docs, strict=True)), last)
    return BulkDone(prepare_bulk(request.plan, ids, docs, columns, created), last)


def _indexed(request: Prepare) -> set[str]:
    """Name the fields that index keys are made of."""
    return {name.partition(".")[0] for _, names in request.plan.indexes for name in names} if request.plan else set()


def _batch(data: bytes) -> pa.RecordBatch:
    with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
        table = reader.read_all()
    return table.combine_chunks().to_batches()[0] if table.num_rows else pa.RecordBatch.from_pylist([], table.schema)


def _created(start: int, end: int, request: Prepare) -> list[float]:
    # A microsecond each, as in a mutation
    return [request.created + at * 1e-3 for at in range(start + 1, end + 1)]


def _table_of(tables: Mapping[int, str]) -> Callable[[str], str | None]:
    def table_of(text: str) -> str | None:
        try:
            return tables.get(decode_id(text)[0])
        except InvalidId:
            return None

    return table_of


if __name__ == "__main__":
    main()
