"""Results of SQL as values, and back: the cells of Arrow columns as what every client understands.

Integers within 2**53 and floats are numbers; larger integers and DECIMAL are their text, so no digit is lost. Moments are
milliseconds since the epoch (UTC); dates, times, intervals and UUIDs are text; BLOB is bytes; STRUCT an object, LIST an
array, MAP an array of ``{key, value}``. JSON is what it says. The type of a column, in DuckDB's words, goes along, so
:func:`decode` makes the columns again. pyarrow is imported at the first use.
"""

# pyarrow has no stubs: what comes out of it is unknown to the checker
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import date, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec

from nbreactive.errors import InvalidValue
from nbreactive.values._duck_types import arrow_type_of
from nbreactive.values.json import decode_json, encode_json, to_jsonable
from nbreactive.values.limits import MAX_INTEGER

if TYPE_CHECKING:
    import pyarrow as pa

Cells = list[Any]
Schema = Sequence[tuple[str, str]]
"""Name and DuckDB's type of each column."""

_PER_MS: Final = {"s": 1000, "ms": 1, "us": 1000, "ns": 1_000_000}
_FOREVER: Final = 2**63 - 1
_EPOCH: Final = date(1970, 1, 1).toordinal()
_encode: Final = msgspec.json.Encoder().encode


def window_json(table: pa.Table, schema: Schema, *, total: int, offset: int = 0) -> bytes:
    """Encode rows of a result, of which there are ``total`` in all, these from ``offset`` on.

    Examples
    --------
    >>> import pyarrow as pa
    >>> window_json(pa.table({"n": [1, None]}), [("n", "BIGINT")], total=2).decode()
    '{"columns":[{"name":"n","type":"BIGINT"}],"rows":[[1],[null]],"total":2,"offset":0,"complete":true}'
    """
    names = unique([name for name, _ in schema])
    columns = [_jsonable(column, type_) for column, (_, type_) in zip(table.columns, schema, strict=True)]
    return _encode(
        {
            "columns": [{"name": name, "type": type_} for name, (_, type_) in zip(names, schema, strict=True)],
            "rows": list(zip(*columns, strict=True)),
            "total": total,
            "offset": offset,
            "complete": table.num_rows == total,
        }
    )


def objects(table: pa.Table, schema: Schema) -> list[dict[str, Any]]:
    """Return the rows of a result as objects."""
    names = unique([name for name, _ in schema])
    columns = [cells(column, type_) for column, (_, type_) in zip(table.columns, schema, strict=True)]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def cells(column: pa.ChunkedArray | pa.Array, type_: str = "") -> Cells:
    """Return the cells of a column of a DuckDB type.

    Examples
    --------
    >>> import pyarrow as pa
    >>> cells(pa.array([2**53 + 1, 1, None]))
    ['9007199254740993', 1, None]
    """
    found = [cell for chunk in getattr(column, "chunks", [column]) for cell in _cells(chunk, type_)]
    return [_parsed(cell) for cell in found] if type_ == "JSON" else found


def unique(names: Sequence[str]) -> list[str]:
    """Return names of which none is there twice, whatever their case.

    Examples
    --------
    >>> unique(["a", "A", "b", "a"])
    ['a', 'A_1', 'b', 'a_2']
    """
    taken: set[str] = set()
    found: list[str] = []
    for name in names:
        free, number = name, 0
        while free.casefold() in taken:
            number += 1
            free = f"{name}_{number}"
        taken.add(free.casefold())
        found.append(free)
    return found


def decode(schema: Schema, rows: Sequence[Sequence[Any]]) -> pa.Table:
    """Make the columns of a result again, of its rows (lists of cells).

    Examples
    --------
    >>> decode([("d", "DECIMAL(4,2)")], [["1.50"], [None]]).column("d").to_pylist()
    [Decimal('1.50'), None]
    """
    import pyarrow as pa

    values = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    arrays = [_array(type_, list(made)) for (_, type_), made in zip(schema, values, strict=True)]
    return pa.Table.from_arrays(arrays, names=[name for name, _ in schema])


# ---- from Arrow ------------------------------------------------------------------------------------------------------


def _jsonable(column: pa.ChunkedArray, type_: str) -> Cells:
    """Return cells as JSON has them: bytes, and what is no number in JSON, in the exact form."""
    import pyarrow as pa

    kind, made = column.type, cells(column, type_)
    plain = type_ != "JSON" and (
        pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_date(kind)
    )
    return made if plain or (pa.types.is_floating(kind) and _finite(column)) else [to_jsonable(cell) for cell in made]


def _finite(column: pa.ChunkedArray) -> bool:
    """Whether all numbers are numbers in JSON, too."""
    import numpy as np

    numbers = column.drop_null().to_numpy()
    return bool(np.isfinite(numbers).all()) and not bool((np.signbit(numbers) & (numbers == 0)).any())


def _cells(array: pa.Array, type_: str = "") -> Cells:
    import pyarrow as pa

    kind = array.type
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _cells(array.storage)
    if types.is_dictionary(kind):
        return _cells(array.dictionary_decode())
    if types.is_int64(kind) or types.is_uint64(kind):
        return [_integer(value) for value in array.to_pylist()]
    if types.is_decimal(kind):
        whole = type_ in ("HUGEINT", "UHUGEINT") or (not type_ and kind.precision == 38 and kind.scale == 0)
        wraps = 1 << 128 if type_ == "UHUGEINT" else 0  # Arrow has no unsigned ones: the upper half comes as negative
        make: Callable[[Decimal], Any] = "{:f}".format
        if whole:
            make = lambda value: _integer(int(value) + (wraps if value < 0 else 0))  # noqa: E731 - one of two
        return [None if value is None else make(value) for value in array.to_pylist()]
    if types.is_timestamp(kind):
        values = array.cast(pa.int64()).to_pylist()
        return [None if value is None else _moment(kind.unit, value) for value in values]
    if types.is_date32(kind):
        return [None if value is None else _date(value) for value in array.cast(pa.int32()).to_pylist()]
    if types.is_time(kind):
        units = array.cast(pa.time64("us")).cast(pa.int64()).to_pylist()
        return [None if value is None else _time(value) for value in units]
    if types.is_interval(kind):
        return [None if value is None else _interval(*value) for value in array.to_pylist()]
    if types.is_struct(kind):
        return _structs(array)
    if types.is_map(kind):
        return [None if value is None else [{"key": k, "value": v} for k, v in value] for value in _maps(array)]
    if types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind):
        return _lists(array)
    if types.is_union(kind):
        return [_plain(value) for value in array.to_pylist()]
    return array.to_pylist()


def _integer(value: int | None) -> int | str | None:
    return value if value is None or -MAX_INTEGER <= value <= MAX_INTEGER else str(value)


def _moment(unit: str, value: int) -> int | float:
    if abs(value) >= _FOREVER:
        return math.copysign(math.inf, value)
    if unit == "s":
        return value * 1000
    return value // _PER_MS[unit] if value % _PER_MS[unit] == 0 else value / _PER_MS[unit]


def _date(days: int) -> str:
    if abs(days) >= 2**31 - 1:
        return ("-" if days < 0 else "") + "infinity"
    cycles, rest = divmod(days, 146_097)  # 400 years always have as many days; Python has not all years
    near = date.fromordinal(_EPOCH + rest)
    return f"{near.year + 400 * cycles:04d}-{near.month:02d}-{near.day:02d}"


def _time(us: int) -> str:
    seconds, rest = divmod(us, 1_000_000)
    text = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f"{text}.{rest:06d}" if rest else text


def _interval(months: int, days: int, nanoseconds: int) -> str:
    """Return an interval in DuckDB's words."""
    named = ((int(months / 12), "year"), (int(math.fmod(months, 12)), "month"), (days, "day"))
    parts = [f"{number} {unit}{'' if abs(number) == 1 else 's'}" for number, unit in named if number]
    if nanoseconds or not parts:
        parts.append(("-" if nanoseconds < 0 else "") + _time(abs(nanoseconds) // 1000))
    return " ".join(parts)


def _structs(array: pa.Array) -> Cells:
    names = [_key(field.name, place) for place, field in enumerate(array.type)]
    children = [_cells(child) for child in array.flatten()]
    rows = zip(*children, strict=True) if children else ([()] * len(array))
    present = array.is_valid().to_pylist()
    return [dict(zip(names, row, strict=True)) if there else None for row, there in zip(rows, present, strict=True)]


def _lists(array: pa.Array) -> Cells:
    import pyarrow as pa

    if pa.types.is_fixed_size_list(array.type):
        array = array.cast(pa.list_(array.type.value_type))
    inner = iter(_cells(array.flatten()))
    lengths = array.value_lengths().to_pylist()
    return [None if length is None else [next(inner) for _ in range(length)] for length in lengths]


def _maps(array: pa.Array) -> Cells:
    pairs = (scalar.values if scalar.is_valid else None for scalar in array)
    return [
        None if pair is None else list(zip(_cells(pair.field(0)), _cells(pair.field(1)), strict=True)) for pair in pairs
    ]


def _plain(value: Any) -> Any:
    """Return a Python value of any type as a cell."""
    if isinstance(value, bool | float | str | bytes) or value is None:
        return value
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, dict):
        return {_key(str(key), place): _plain(item) for place, (key, item) in enumerate(value.items())}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value)


def _key(name: str, place: int) -> str:
    """Return the key of an object that was a field of a struct: values have no empty keys, nor any that begin with ``$``."""
    if not name:
        return f"element{place + 1}"
    return f"_{name}" if name.startswith("$") else name


def _parsed(text: str | None) -> Any:
    """Return what JSON text says; text that is JSON to DuckDB alone stays text."""
    if text is None:
        return None
    try:
        return decode_json(text)
    except InvalidValue:
        return text


# ---- to Arrow --------------------------------------------------------------------------------------------------------


def _array(type_: str, values: Cells) -> pa.Array:
    import pyarrow as pa

    kind = arrow_type_of(type_)
    if kind is not None:
        convert = _converter(kind)
        try:
            return pa.array([None if cell is None else convert(cell) for cell in values], kind)
        except pa.ArrowInvalid:  # a HUGEINT of 39 digits
            pass
    # Text is the one form that everything has
    return pa.array([None if cell is None else _text(cell) for cell in values], pa.string())


def _text(cell: Any) -> str:
    return cell if isinstance(cell, str) else encode_json(cell).decode()


def _converter(kind: pa.DataType) -> Callable[[Any], Any]:
    """Return what turns a cell into what Arrow takes for the type."""
    import pyarrow as pa

    types = pa.types
    if types.is_integer(kind):
        return int
    if types.is_decimal(kind):
        return Decimal
    if types.is_timestamp(kind):
        return lambda ms: _since_epoch(kind.unit, ms)
    if types.is_date(kind):
        return _days
    if types.is_time(kind):
        return _time_of_day
    if types.is_list(kind) or types.is_fixed_size_list(kind):
        inner = _converter(kind.value_type)
        return lambda cell: [None if item is None else inner(item) for item in cell]
    if types.is_struct(kind):
        fields = [(field.name, _key(field.name, place), _converter(field.type)) for place, field in enumerate(kind)]

        def convert(cell: dict[str, Any]) -> dict[str, Any]:
            return {name: None if cell.get(key) is None else made(cell[key]) for name, key, made in fields}

        return convert
    return lambda cell: cell


def _since_epoch(unit: str, ms: float) -> int:
    if math.isinf(ms):
        return _FOREVER if ms > 0 else -_FOREVER
    return int(ms // 1000) if unit == "s" else round(ms * _PER_MS[unit])


def _days(text: str) -> int:
    if text.endswith("infinity"):
        return -(2**31 - 1) if text.startswith("-") else 2**31 - 1
    year, month, day = text.rsplit("-", 2)
    cycles, rest = divmod(int(year) - 2000, 400)
    return date(2000 + rest, int(month), int(day)).toordinal() - _EPOCH + cycles * 146_097


def _time_of_day(text: str) -> int:
    if text.startswith("24"):
        return 86_400_000_000
    clock = time.fromisoformat(text)
    return ((clock.hour * 60 + clock.minute) * 60 + clock.second) * 1_000_000 + clock.microsecond
