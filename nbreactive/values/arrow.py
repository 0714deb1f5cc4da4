"""Values as Arrow arrays, column by column.

Conversion is strict: a value that a kind does not hold raises :class:`Misfit` instead of being bent into shape, as
Arrow's own conversions would (bytes into strings, booleans into numbers, unknown keys dropped). Types are checked per
column (``set(map(type, values))``), so the usual cost per value stays that of Arrow. pyarrow is imported at first use.
"""

# pyarrow and duckdb have no stubs, or partial ones: what comes out of them is unknown to the checker
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any, Literal

from nbreactive.values.columns import Kind
from nbreactive.values.ids import Id
from nbreactive.values.json import encode_json
from nbreactive.values.kinds import Int64

if TYPE_CHECKING:
    import pyarrow as pa

Unit = Literal["ms", "us"]

_NONE = type(None)
_ALLOWED: dict[str, frozenset[type]] = {
    "null": frozenset({_NONE}),
    "boolean": frozenset({bool, _NONE}),
    "integer": frozenset({int, _NONE}),
    "int64": frozenset({int, Int64, _NONE}),
    "number": frozenset({float, int, _NONE}),
    "string": frozenset({str, Id, _NONE}),
    "bytes": frozenset({bytes, _NONE}),
    "datetime": frozenset({int, float, datetime, _NONE}),
    "list": frozenset({list, _NONE}),
    "struct": frozenset({dict, _NONE}),
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PER_MS = {"ms": 1, "us": 1000}
_INT64_MAX = 2**63 - 1


class Misfit(Exception):  # noqa: N818 - not an error: asks for a wider kind
    """A value is not of its column's kind."""


def arrow_type(kind: Kind, unit: Unit = "us") -> pa.DataType:
    """Return the Arrow type of a kind; timestamps count ``unit`` and are UTC."""
    import pyarrow as pa

    if kind.element is not None:
        return pa.list_(arrow_type(kind.element, unit))
    if kind.name == "struct":
        return pa.struct([(name, arrow_type(field, unit)) for name, field in kind.fields])
    if kind.name == "datetime":
        return pa.timestamp(unit, "UTC")
    simple = {"boolean": pa.bool_(), "bytes": pa.binary(), "number": pa.float64()}
    return pa.int64() if kind.name in ("integer", "int64") else simple.get(kind.name, pa.string())


def array(kind: Kind, values: Sequence[Any], unit: Unit = "us") -> pa.Array:
    """Return ``values`` as an Arrow array.

    Parameters
    ----------
    kind
        What the values are; JSON takes anything and keeps it as text in the JSON encoding of values.
    values
        Plain values, None for null and absent. Datetimes may be aware datetimes or ms since the epoch.
    unit
        What timestamps count.

    Raises
    ------
    Misfit
        A value is not of this kind.
    """
    import pyarrow as pa

    if kind.name == "json":
        return pa.array([None if value is None else encode_json(value).decode() for value in values], pa.string())
    if not set(map(type, values)) <= _ALLOWED[kind.name]:
        raise Misfit(kind.name)
    if kind.element is not None:
        return _lists(kind.element, values, unit)
    if kind.name == "struct":
        return _structs(kind, values, unit)
    if kind.name == "datetime":
        values = [None if value is None else _timestamp(value, _PER_MS[unit]) for value in values]
        return pa.array(values, pa.int64()).cast(arrow_type(kind, unit))
    try:
        return pa.array(values, arrow_type(kind, unit))
    except (pa.ArrowException, OverflowError) as error:  # an integer beyond what the type holds exactly
        raise Misfit(str(error)) from error


def _lists(element: Kind, values: Sequence[Any], unit: Unit) -> pa.Array:
    import pyarrow as pa

    lengths = [0 if value is None else len(value) for value in values]
    inner = array(element, list(chain.from_iterable(value for value in values if value)), unit)
    offsets = pa.array([0, *accumulate(lengths)], pa.int32())
    return pa.ListArray.from_arrays(offsets, inner, mask=_absent(values))


def _structs(kind: Kind, values: Sequence[Any], unit: Unit) -> pa.Array:
    import pyarrow as pa

    names = {name for name, _ in kind.fields}
    if any(value is not None and not value.keys() <= names for value in values):
        raise Misfit("a field that the struct does not have")
    children = [
        array(field, [None if value is None else value.get(name) for value in values], unit)
        for name, field in kind.fields
    ]
    fields = [pa.field(name, child.type) for (name, _), child in zip(kind.fields, children, strict=True)]
    return pa.StructArray.from_arrays(children, fields=fields, mask=_absent(values))


def _absent(values: Sequence[Any]) -> pa.Array:
    import pyarrow as pa

    return pa.array([value is None for value in values], pa.bool_())


def _timestamp(value: Any, per_ms: int) -> int:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise Misfit("a datetime without a time zone")
        return (value - _EPOCH) // timedelta(microseconds=1000 // per_ms)
    try:
        number = value * per_ms if isinstance(value, int) else round(value * per_ms)
    except (ValueError, OverflowError) as error:  # NaN, infinity
        raise Misfit("not a moment") from error
    if abs(number) >= _INT64_MAX:
        raise Misfit("a moment beyond what a timestamp holds")
    return number
