"""Rows of all kinds of frames as documents, one at a time: what Arrow would bend into shape stays what it is."""

# what is loaded comes from anywhere
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import datetime as dt
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from nbreactive.client.live_value import LiveValue
from nbreactive.errors import ArgumentError, InvalidValue
from nbreactive.values.checks import check_value
from nbreactive.values.sizes import size_of

CHUNK_ROWS = 1000
CHUNK_BYTES = 1 << 20
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


def rows_of(data: Any) -> tuple[int, Iterator[dict[str, Any]]]:
    """Return how many rows ``data`` has, and the rows."""
    if isinstance(data, LiveValue):
        data = data.value
    if isinstance(data, dict):
        columns = {str(key): list(column) for key, column in data.items()}
        lengths = {len(column) for column in columns.values()}
        if len(lengths) > 1:
            raise ArgumentError(f"The columns have different lengths: {sorted(lengths)}.")
        names = list(columns)
        return (lengths or {0}).pop(), (
            dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)
        )
    if isinstance(data, list | tuple):
        return len(data), iter(data)
    if type(data).__name__ == "Series":
        raise ArgumentError("A Series is one column without a name for its field: load series.to_frame('name').")
    if hasattr(data, "iter_rows") and hasattr(data, "columns"):  # polars
        return data.height, data.iter_rows(named=True)
    if hasattr(data, "iloc"):  # pandas
        frame = with_index(data)
        refuse_doubles(list(frame.columns))
        return len(frame), _pandas_rows(frame)
    if hasattr(data, "__arrow_c_stream__"):
        import pyarrow as pa

        try:
            table = pa.table(data)
        except (TypeError, ValueError) as failure:
            raise ArgumentError(f"A {type(data).__name__} is no table of named columns: {failure}") from None
        refuse_doubles(table.column_names)
        return table.num_rows, (row for batch in table.to_batches(CHUNK_ROWS) for row in batch.to_pylist())
    raise ArgumentError(
        f"A {type(data).__name__} has no rows to load: give a DataFrame, Arrow data or a list of dicts."
    )


def refuse_doubles(columns: list[Any]) -> None:
    """Refuse columns of the same name."""
    doubles = [column for column, times in Counter(columns).items() if times > 1]
    if doubles:
        names = ", ".join(repr(column) for column in doubles)
        raise ArgumentError(
            f"{'Columns' if len(doubles) > 1 else 'A column'} called {names} "
            f"{'are' if len(doubles) > 1 else 'is'} there more than once: rename or drop all but one, "
            "e.g. df = df.loc[:, ~df.columns.duplicated()]."
        )


def with_index(frame: Any) -> Any:
    """Return a pandas DataFrame with its index as columns, unless that only numbers the rows."""
    index = frame.index
    if any(name is None for name in index.names):
        if index.nlevels == 1 and (index.dtype.kind in "iu" or not len(index)):
            return frame
        raise ArgumentError(
            "The index of the DataFrame has values but no name: give it one with df.rename_axis('name'), and it becomes a "
            "column (a list of names, if it has several levels), or leave it out with df.reset_index(drop=True)."
        )
    refuse_doubles([*index.names, *frame.columns])
    return frame.reset_index()


def _pandas_rows(frame: Any) -> Iterator[dict[str, Any]]:
    for start in range(0, len(frame), CHUNK_ROWS):
        yield from frame.iloc[start : start + CHUNK_ROWS].to_dict("records")


def chunks(rows: Iterator[Any], most: int) -> Iterator[list[dict[str, Any]]]:
    """Gather documents into chunks of a bounded number and size."""
    waiting: list[dict[str, Any]] = []
    size = 0
    for at, row in enumerate(rows):
        document = document_of(row, at)
        weight = size_of(document)
        if waiting and (len(waiting) >= most or size + weight > CHUNK_BYTES):
            yield waiting
            waiting, size = [], 0
        waiting.append(document)
        size += weight
    if waiting:
        yield waiting


def document_of(row: Any, at: int) -> dict[str, Any]:
    """Return one row as a document; missing values become None, moments milliseconds."""
    if not isinstance(row, dict):
        raise ArgumentError(f"row {at} is a {type(row).__name__}, not a dict of fields")
    document: dict[str, Any] = {}
    for name, value in row.items():
        check_name(name, at)
        document[name] = _plain(value, f"row {at}.{name}")
    return check_value(document, f"row {at}", datetimes=True)


def check_name(name: Any, at: int) -> None:
    """Refuse what cannot be a field of a document."""
    if name in ("_id", "_creationTime"):
        raise InvalidValue(
            f"{name!r} cannot be loaded, as every document gets a new one: leave it out, e.g. "
            "df.drop(columns=['_id', '_creationTime'], errors='ignore'), or rename the column to keep it",
            f"row {at}",
        )
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InvalidValue(
            f"{name!r} cannot be the name of a field (letters, digits and _, a letter first): rename the column, "
            f"e.g. df.rename(columns={{{name!r}: {_suggest(name)!r}}})",
            f"row {at}",
        )


def _suggest(name: Any) -> str:
    text = re.sub(r"\W+", "_", str(name)).strip("_") or "field"
    return text if text[0].isalpha() and text.isascii() else f"c_{re.sub(r'[^A-Za-z0-9_]', '', text)}"


def _plain(value: Any, where: str) -> Any:
    if value is None or isinstance(value, str | bool | int | bytes):
        return value
    if type(value).__name__ in ("NAType", "NaTType"):  # pandas' missing values; NaT calls itself a datetime
        return None
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, dt.datetime):
        if value.tzinfo is None:
            raise InvalidValue(
                "a moment without a time zone: say which, e.g. df[column] = df[column].dt.tz_localize('UTC')", where
            )
        return value
    if isinstance(value, dt.date):
        return value.isoformat()
    if type(value).__name__ == "Decimal":
        return float(value)
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return _plain(value.tolist(), where)
    if isinstance(value, dict):
        return {key: _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{at}]") for at, item in enumerate(value)]
    return value
