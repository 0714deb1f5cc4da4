"""What can be loaded: frames, Arrow of any maker, files, lists of dicts, each as numbered pieces to send."""

# pandas, polars and pyarrow have no stubs, or partial ones
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import glob
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple

from nbreactive.client.bulk_rows import check_name, chunks, refuse_doubles, rows_of, with_index
from nbreactive.client.live_value import LiveValue
from nbreactive.errors import ArgumentError
from nbreactive.values.packing import pack

ROWS: Final = 100_000
BYTES: Final = 8 << 20
"""Of one piece, at most."""
_TEXT: Final = {"string", "bytes", "boolean", "empty", "decimal", "date", "integer"}
"""What pandas finds in columns of objects that Arrow takes as they are."""


class Piece(NamedTuple):
    """Some rows, as they are sent."""

    row: int
    data: bytes
    arrow: bool


class Source:
    """Rows to load.

    Attributes
    ----------
    total
        How many there are, None if nobody knows before the end.
    id
        A name for exactly these rows, if they can be read again (``stable``); else one for this load only.
    moments
        Columns that hold moments.
    """

    def __init__(
        self, total: int | None, pieces: Callable[[int], Iterator[Piece]], id: str | None, moments: Sequence[str] = ()
    ) -> None:
        self.total = total
        self.pieces = pieces
        self.stable = id is not None
        self.id = id or secrets.token_hex(16)
        self.moments = moments


def source_of(data: Any, chunk: int | None = None) -> Source:
    """Understand what is to be loaded."""
    if isinstance(data, LiveValue):
        data = data.value
    rows = chunk or ROWS
    if isinstance(data, str | Path):
        return _files(data, rows)
    package, kind = type(data).__module__.partition(".")[0], type(data).__name__
    if package == "polars" and kind in ("DataFrame", "LazyFrame"):
        data = (data.collect() if kind == "LazyFrame" else data).to_arrow()
    elif package == "pandas" and kind != "Series":
        table = _pandas(data)
        if table is not None:
            return _table(table, rows)
    if isinstance(data, dict | list | tuple) or package == "pandas" or kind == "Series":
        return _documents(data, rows)
    return _arrow(data, rows)


def _documents(data: Any, rows: int) -> Source:
    moments: set[str] = set()
    total, found = rows_of(data)
    packed: list[Piece] = []
    digest = blake2b(digest_size=16)
    at = 0
    for documents in chunks(_noting_moments(found, moments), min(rows, 5000)):
        body = pack(documents)
        digest.update(body)
        packed.append(Piece(at, body, False))
        at += len(documents)
    ends = [*(piece.row for piece in packed[1:]), at]
    return Source(
        total,
        lambda done: (piece for piece, end in zip(packed, ends, strict=True) if end > done),
        digest.hexdigest(),
        sorted(moments),
    )


def _noting_moments(rows: Iterable[Any], moments: set[str]) -> Iterator[Any]:
    import datetime as dt

    for row in rows:
        if isinstance(row, dict):
            # NaT calls itself a datetime, without a time zone
            moments |= {
                str(k) for k, value in row.items() if isinstance(value, dt.datetime) and value.tzinfo is not None
            }
        yield row


def _pandas(frame: Any) -> Any:
    """Return a DataFrame as Arrow; None if it holds objects that Arrow would bend into shape."""
    import pyarrow as pa
    from pandas.api.types import infer_dtype

    frame = with_index(frame)
    refuse_doubles(list(frame.columns))
    for name in frame.columns:
        check_name(name, 0)
        if frame[name].dtype == object and infer_dtype(frame[name], skipna=True) not in _TEXT:
            return None
    try:
        return pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None


def _arrow(data: Any, rows: int) -> Source:
    import pyarrow as pa

    if isinstance(data, pa.RecordBatch):
        data = pa.Table.from_batches([data])
    if not hasattr(data, "__arrow_c_stream__"):
        raise ArgumentError(
            f"A {type(data).__name__} has no rows to load: give a DataFrame, Arrow data, a path of files or a list of dicts."
        )
    if isinstance(data, pa.Table) or hasattr(data, "__len__"):
        try:
            return _table(pa.table(data), rows)
        except (TypeError, ValueError) as failure:
            raise ArgumentError(f"A {type(data).__name__} is no table of named columns: {failure}") from None
    reader = pa.RecordBatchReader.from_stream(data)
    _check(reader.schema)

    def pieces(done: int) -> Iterator[Piece]:
        return _pieces(reader, done, rows)

    return Source(None, pieces, None, _moments(reader.schema))


def _table(table: Any, rows: int) -> Source:
    _check(table.schema)
    digest = blake2b(digest_size=16)
    for piece in _pieces(table.to_batches(), 0, ROWS):
        digest.update(piece.data)
    return Source(
        table.num_rows,
        lambda done: _pieces(table.to_batches(), done, rows),
        digest.hexdigest(),
        _moments(table.schema),
    )


def _check(schema: Any) -> None:
    refuse_doubles(schema.names)
    for name in schema.names:
        check_name(name, 0)


def _moments(schema: Any) -> list[str]:
    import pyarrow as pa

    return [field.name for field in schema if pa.types.is_timestamp(field.type)]


def _files(path: str | Path, rows: int) -> Source:
    magic = glob.has_magic(str(path))
    found = sorted(glob.glob(str(path), recursive=True)) if magic else [str(path)]  # noqa: PTH207 - absolute ones, too
    files = [Path(name).expanduser() for name in found]
    lacking = [file for file in files if not file.is_file()]
    if lacking or not files:
        raise ArgumentError(f"There is no file {lacking[0] if lacking else path}.")
    opened = [_FILES.get(file.suffix.lower()) for file in files]
    if None in opened:
        raise ArgumentError(
            f"{files[opened.index(None)]} is none of {', '.join(_FILES)}: read it into a DataFrame, and load that."
        )
    digest = blake2b(digest_size=16)
    for file in files:
        found_now = file.stat()
        digest.update(f"{file.name}\0{found_now.st_size}\0{found_now.st_mtime_ns}\0".encode())
    first = files[0]
    schema, total, _ = _opened(first)
    totals = [total, *(_opened(file)[1] for file in files[1:])]
    _check(schema)

    def batches() -> Iterator[Any]:
        return chain.from_iterable(_opened(file)[2] for file in files)

    known = [total for total in totals if total is not None]
    return Source(
        sum(known) if len(known) == len(files) else None,
        lambda done: _pieces(batches(), done, rows),
        digest.hexdigest(),
        _moments(schema),
    )


def _opened(file: Path) -> tuple[Any, int | None, Iterator[Any]]:
    """Return schema, number of rows and batches of a file."""
    return _FILES[file.suffix.lower()](file)


def _parquet(file: Path) -> tuple[Any, int | None, Iterator[Any]]:
    import pyarrow.parquet as pq

    parquet = pq.ParquetFile(file)
    return parquet.schema_arrow.remove_metadata(), parquet.metadata.num_rows, parquet.iter_batches(ROWS)


def _ipc(file: Path) -> tuple[Any, int | None, Iterator[Any]]:
    import pyarrow as pa

    try:
        reader = pa.ipc.open_file(file)
    except pa.ArrowInvalid:
        stream = pa.ipc.open_stream(file.open("rb"))
        return stream.schema, None, iter(stream)
    return reader.schema, None, (reader.get_batch(at) for at in range(reader.num_record_batches))


def _csv(file: Path) -> tuple[Any, int | None, Iterator[Any]]:
    import pyarrow as pa
    from pyarrow import csv

    schema = csv.open_csv(file).schema
    # Times that say no time zone are text, as days are; what is text in some later block, too
    text = {
        field.name: pa.string()
        for field in schema
        if pa.types.is_temporal(field.type) and not (pa.types.is_timestamp(field.type) and field.type.tz)
    }
    reader = csv.open_csv(file, convert_options=csv.ConvertOptions(column_types=text, strings_can_be_null=True))
    return reader.schema, None, iter(reader)


_FILES: Final[dict[str, Callable[[Path], tuple[Any, int | None, Iterator[Any]]]]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".arrow": _ipc,
    ".arrows": _ipc,
    ".feather": _ipc,
    ".ipc": _ipc,
}


def _pieces(batches: Iterable[Any], done: int, most: int) -> Iterator[Piece]:
    """Yield the rows after ``done`` in pieces of bounded rows and bytes."""
    import pyarrow as pa

    at, waiting, rows, size = 0, list[Any](), 0, 0

    def piece() -> Piece:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, waiting[0].schema) as writer:
            for batch in waiting:
                writer.write_batch(batch)
        return Piece(at - rows, sink.getvalue().to_pybytes(), True)

    for whole in batches:
        batch = whole
        if batch.schema.metadata:
            batch = batch.replace_schema_metadata(None)
        if at + batch.num_rows <= done:
            at += batch.num_rows
            continue
        if at < done:
            batch = batch.slice(done - at)
            at = done
        while batch.num_rows:
            each = max(1, batch.nbytes // batch.num_rows)
            room = min(most - rows, max(1, (BYTES - size) // each))
            part, batch = batch.slice(0, room), batch.slice(room)
            waiting.append(part)
            rows += part.num_rows
            size += part.num_rows * each
            at += part.num_rows
            if rows >= most or size + each > BYTES:
                yield piece()
                waiting, rows, size = [], 0, 0
    if rows:
        yield piece()
