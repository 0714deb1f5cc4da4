"""Results of queries as Arrow tables and DataFrames.

A result is plain values; which rows and columns they make is decided here, once for pandas, polars and everything that
reads ``__arrow_c_stream__``. Types come from a validator where there is one, else from the values: integers stay integers
beside nulls, what is mixed becomes JSON text, ``_creationTime`` is a moment. pyarrow is imported at the first use, pandas and polars only where they are
asked for.
"""

# pyarrow, pandas and polars have no stubs, or partial ones: what comes out of them is unknown to the checker
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportMissingImports=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from itertools import chain
from typing import TYPE_CHECKING, Any

from nbreactive.errors import MissingPackage
from nbreactive.values.arrow import Misfit, array
from nbreactive.values.columns import DATETIME, NULL, Kind, columns_of, infer

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

Columns = Sequence[str] | Mapping[str, Any] | None
"""The columns of a result: their names, or a validator (JSON form) of the result, of its rows or of the table."""

VALUE = "value"
"""The column of results that are not objects."""

_CREATED = "_creationTime"
_FIRST = ("_id", _CREATED)


def to_arrow(value: Any, columns: Columns = None) -> pa.Table:
    """Return a result as an Arrow table.

    Parameters
    ----------
    value
        What a query returned: a list of objects, one object, a page (``{"page": [...]}``) or any other value, which
        makes the one column ``value``. None is no row.
    columns
        Names, or a validator; so that an empty result has its columns, and every result its types.

    Examples
    --------
    >>> to_arrow([{"n": 1}, {"n": None, "s": "x"}]).to_pydict()
    {'n': [1, None], 's': [None, 'x']}
    """
    import pyarrow as pa

    declared = dict.fromkeys(columns) if isinstance(columns, Sequence) else _declared(columns)
    rows = _rows(value)
    if any(type(row) is not dict for row in rows):
        return pa.table({VALUE: _column(None, rows)})
    names = dict.fromkeys(chain(declared, *rows))
    ordered = [name for name in _FIRST if name in names] + [name for name in names if name not in _FIRST]
    made = {name: _column(declared.get(name), [row.get(name) for row in rows], name) for name in ordered}
    return pa.table(made)


def moments_of(columns: Columns) -> frozenset[str]:
    """Return the names of the columns that a validator declares to be moments.

    Examples
    --------
    >>> at = {"fieldType": {"type": "number", "nbreactive": "datetime"}, "optional": False}
    >>> sorted(moments_of({"type": "array", "value": {"type": "object", "value": {"at": at}}}))
    ['at']
    """
    if columns is None or isinstance(columns, Sequence):
        return frozenset()
    return frozenset(name for name, kind in _declared(columns).items() if kind == DATETIME)


def to_pandas(value: Any, columns: Columns = None) -> pd.DataFrame:
    """Return a result as a pandas DataFrame; integers and booleans beside nulls get pandas' nullable types.

    Takes what :func:`to_arrow` takes.
    """
    return arrow_to_pandas(to_arrow(value, columns))


def to_polars(value: Any, columns: Columns = None) -> pl.DataFrame:
    """Return a result as a polars DataFrame. Takes what :func:`to_arrow` takes."""
    return arrow_to_polars(to_arrow(value, columns))


def to_stream(value: Any, columns: Columns = None, requested_schema: object | None = None) -> object:
    """Return a result as an ``arrow_array_stream`` capsule, which ``__arrow_c_stream__`` has to return."""
    return to_arrow(value, columns).__arrow_c_stream__(requested_schema)


def from_ipc(data: bytes) -> pa.Table:
    """Return the table of an Arrow IPC stream, as the backend sends whole tables."""
    import pyarrow as pa

    table = from_stream(data)
    at = table.schema.get_field_index(_CREATED)
    if at < 0 or table.schema.types[at] != pa.float64():
        return table
    values = table.column(at).to_pylist()
    return table.set_column(at, _CREATED, _column(None, values, _CREATED))


def from_stream(data: bytes) -> pa.Table:
    """Return the table of an Arrow IPC stream."""
    import pyarrow as pa

    with pa.ipc.open_stream(data) as reader:
        return reader.read_all()


def arrow_to_pandas(table: pa.Table) -> pd.DataFrame:
    """Return an Arrow table as a pandas DataFrame (see :func:`to_pandas`)."""
    import pyarrow as pa

    pandas = _import("pandas")
    nullable = {pa.int64(): pandas.Int64Dtype(), pa.bool_(): pandas.BooleanDtype()}
    frame = table.to_pandas()
    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.null_count and column.type in nullable:
            frame[name] = column.to_pandas(types_mapper=nullable.get)
    return frame


def arrow_to_polars(table: pa.Table) -> pl.DataFrame:
    """Return an Arrow table as a polars DataFrame."""
    return _import("polars").from_arrow(table)


def _import(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingPackage(
            f"this needs {name}, which is not installed here: run `pip install 'nbreactive[{name}]'`, or use .arrow()"
        ) from error


def _rows(value: Any) -> list[Any]:
    if isinstance(value, dict) and isinstance(value.get("page"), list):
        value = value["page"]
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def _declared(validator: Mapping[str, Any] | None) -> dict[str, Kind | None]:
    """Return the columns of a validator of a list, a page, a union of those with null, or a document."""
    if validator is None:
        return {}
    if validator.get("type") == "array":
        return _declared(validator["value"])
    if validator.get("type") == "union":
        members = [member for member in validator["value"] if member.get("type") != "null"]
        if len(members) == 1:
            return _declared(members[0])
    if validator.get("type") == "object":
        page = validator["value"].get("page")
        if page is not None and page["fieldType"].get("type") == "array":
            return _declared(page["fieldType"])
    return columns_of(validator)


def _column(declared: Kind | None, values: list[Any], name: str = "") -> pa.Array:
    import pyarrow as pa

    if name == _CREATED:  # a number with fractions to JavaScript, whatever a validator says
        with suppress(Misfit):
            return array(DATETIME, values, "us")
    for kind in (declared, infer(values, structs=True)):
        if kind == NULL and not any(value is not None for value in values):
            return pa.nulls(len(values))
        if kind is not None:
            try:
                return array(kind, values, "ms")
            except Misfit:  # the declared kind is not what came: the values decide
                continue
    return array(Kind("json"), values)
