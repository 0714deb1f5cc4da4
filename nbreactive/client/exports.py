"""``nbreactive.export``: a table, or the result of a SELECT, into a Parquet, CSV, Arrow or DuckDB file.

Rows come as a stream of Arrow and are written as they come, so a table may be larger than memory. The file has its name when
it is whole.
"""

# pyarrow and duckdb have no stubs, or partial ones
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from nbreactive.client import files
from nbreactive.client.client import Client
from nbreactive.client.live_value import LiveValue
from nbreactive.client.statement import parameter
from nbreactive.errors import ArgumentError
from nbreactive.values.json import to_jsonable

PATH: Final = "/api/export"


def body_of(what: str, params: dict[str, Any]) -> dict[str, Any]:
    """Return what is asked of the backend: the rows of a table, or of a SELECT."""
    if what.isidentifier():
        if params:
            raise ArgumentError("a table has no parameters; write a SELECT")
        return {"table": what}
    return {"sql": what, "params": to_jsonable({name: parameter(value, name) for name, value in params.items()})}


def export(client: Client, what: str | LiveValue, path: str | Path, params: dict[str, Any]) -> int:
    """Write rows; see :func:`nbreactive.export`."""
    client.check_thread("export(...)")
    path = Path(path).expanduser()
    check_path(path)
    if not isinstance(what, str):
        return _write_live(what, path, params)
    body = msgspec.json.encode(body_of(what, params))
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    with client.explained(), files.answer_to(client.target, "POST", client.target.base + PATH, headers, body) as answer:
        return write_rows(answer, path, what if what.isidentifier() else "result")


def check_path(path: Path) -> None:
    """Refuse a kind of file that is not known."""
    if path.suffix.lower() not in _WRITERS:
        raise ArgumentError(f"{path} is none of {', '.join(_WRITERS)}: the name of the file says of which kind it is.")


def write_rows(stream: IO[bytes] | Any, path: Path, name: str, told: Callable[[int], object] | None = None) -> int:
    """Write an Arrow IPC stream into a file; return the number of rows.

    Parameters
    ----------
    stream
        Open for reading.
    path
        The file, of the kind that its name says.
    name
        Of the table in a DuckDB file.
    told
        Is told about rows.
    """
    import pyarrow as pa

    with pa.ipc.open_stream(stream) as reader:
        return _write(reader.schema, reader, path, name, told)


def _write_live(live: Any, path: Path, params: dict[str, Any]) -> int:
    """Write what a live result shows; its parameters, and the time it is of, are its own."""
    if not callable(getattr(live, "arrow", None)):
        raise ArgumentError(
            f"export(...) writes the tables of the deployment: give the name of one, or a SELECT, not a {type(live).__name__}."
        )
    if params:
        raise ArgumentError("a live result has its parameters already; write a SELECT to give others")
    table = live.arrow()
    return _write(table.schema, table.to_batches(), path, "result")


def _write(
    schema: Any, source: Iterable[Any], path: Path, name: str, told: Callable[[int], object] | None = None
) -> int:
    rows = 0

    def batches() -> Iterator[Any]:
        nonlocal rows
        for batch in source:
            rows += batch.num_rows
            if told is not None:
                told(batch.num_rows)
            yield batch

    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        _WRITERS[path.suffix.lower()](draft, schema, batches(), name)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return rows


def _parquet(file: Path, schema: Any, batches: Iterator[Any], _: str) -> None:
    import pyarrow.parquet as pq

    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)


def _arrow(file: Path, schema: Any, batches: Iterator[Any], _: str) -> None:
    import pyarrow as pa

    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _csv(file: Path, schema: Any, batches: Iterator[Any], _: str) -> None:
    import pyarrow as pa
    from pyarrow import csv

    nested = {field.name for field in schema if pa.types.is_nested(field.type) or pa.types.is_binary(field.type)}
    flat = pa.schema([pa.field(field.name, pa.string() if field.name in nested else field.type) for field in schema])
    with csv.CSVWriter(file, flat) as writer:
        for batch in batches:
            columns = [
                pa.array([_text(value) for value in column.to_pylist()], pa.string()) if name in nested else column
                for name, column in zip(schema.names, batch.columns, strict=True)
            ]
            writer.write_batch(pa.record_batch(columns, schema=flat))


def _text(value: Any) -> str | None:
    return None if value is None else value.hex() if isinstance(value, bytes) else json.dumps(value, default=str)


def _duckdb(file: Path, schema: Any, batches: Iterator[Any], name: str) -> None:
    import duckdb
    import pyarrow as pa

    file.unlink(missing_ok=True)
    with duckdb.connect(str(file)) as connection:
        connection.register("rows", pa.RecordBatchReader.from_batches(schema, batches))
        connection.execute(f'CREATE TABLE "{name}" AS SELECT * FROM rows')  # noqa: S608 - an identifier


_WRITERS: Final[dict[str, Callable[[Path, Any, Iterator[Any], str], None]]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".arrow": _arrow,
    ".duckdb": _duckdb,
}
