"""Columns of Arrow as plain values of documents, or as columns of a typed table, by the validator of the table.

What Arrow's types say needs no look at each value: only nulls, ranges and what no type says (literals, ids, unions, nested
objects) are checked value by value. What does not fit is told with its row and its column, the first few of them.
"""

# pyarrow has no stubs, and makes its functions when it is imported
# pyright: reportAttributeAccessIssue=false
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportUnknownLambdaType=false

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from itertools import islice
from typing import Any, Final, Literal

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from nbreactive.errors import InvalidValue, SchemaError
from nbreactive.values._checkers import Check, TableOf
from nbreactive.values._composites import ArrayValidator, ObjectValidator, RecordValidator, UnionValidator
from nbreactive.values._paths import Mismatch, near, show
from nbreactive.values._validator import Validator
from nbreactive.values.arrow import array, arrow_type
from nbreactive.values.checks import check_value, field_problem
from nbreactive.values.columns import JSON, Kind, columns_of, infer
from nbreactive.values.limits import DOCUMENT_NESTING, MAX_INTEGER
from nbreactive.values.moments import EARLIEST, LATEST, to_milliseconds

MISSING: Final = msgspec.UNSET
"""Stands for a field that a document does not have."""
_SHOWN: Final = 3
_SYSTEM: Final = ("_id", "_creationTime")

Source = Literal["null", "boolean", "integer", "number", "string", "bytes", "moment", "decimal", "nested"]
_EXACT: Final = {
    "float64": "number",
    "string": "string",
    "boolean": "boolean",
    "bytes": "bytes",
    "datetime": "moment",
}
"""Kinds of validators that take all values which a source gives."""


class Intake:
    """Takes batches of Arrow into one table.

    Parameters
    ----------
    validator
        That of the table's documents; None: anything goes.
    table_of
        Tells the table of an id.
    """

    def __init__(self, validator: Validator | None, table_of: TableOf = None) -> None:
        self._validator = validator
        self._table_of = table_of
        self._free = validator is None or validator.kind == "any"
        self._fields = _fields(validator)

    def columns(self, batch: pa.RecordBatch, first: int) -> dict[str, list[Any]]:
        """Return the values of each field, :data:`MISSING` where a document has none.

        Parameters
        ----------
        batch
            Some rows.
        first
            The number of the first one, for messages.
        """
        self._check_names(batch.schema.names)
        found: dict[str, list[Any]] = {}
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            source, values = _values(name, _storage(column))
            validators = self._fields.get(name)
            if validators is None:  # free
                found[name] = _checked_free(source, column, values, name, first)
            else:
                found[name] = _Field(name, validators, self._table_of).take(source, values, first)
        if isinstance(self._validator, UnionValidator):
            self._check_rows(found, batch.num_rows, first)
        return found

    def batch(self, batch: pa.RecordBatch, first: int) -> pa.RecordBatch:
        """Return the rows as columns of the typed table, for a table that keeps its rows in columns."""
        assert isinstance(self._validator, ObjectValidator)
        self._check_names(batch.schema.names)
        given = dict(zip(batch.schema.names, batch.columns, strict=True))
        arrays: dict[str, pa.Array] = {}
        for name, kind in columns_of(self._validator.to_json()).items():
            kind = kind or JSON  # noqa: PLW2901
            wanted = arrow_type(kind)
            field = self._fields[name][0]
            if name not in given:
                arrays[name] = pa.nulls(batch.num_rows, wanted)
            else:
                arrays[name] = _typed(name, field, kind, wanted, _storage(given[name]), self._table_of, first)
        return pa.RecordBatch.from_arrays([*arrays.values()], names=[*arrays])

    def documents(self, docs: Sequence[Mapping[str, Any]]) -> pa.RecordBatch:
        """Return documents that fit the schema as columns of the typed table, as :meth:`batch` does."""
        assert isinstance(self._validator, ObjectValidator)
        arrays: dict[str, pa.Array] = {}
        for name, kind in columns_of(self._validator.to_json()).items():
            values, kind = [doc.get(name) for doc in docs], kind or JSON  # noqa: PLW2901
            arrays[name] = array(kind if kind.name != "null" else infer(values), values)
        return pa.RecordBatch.from_arrays([*arrays.values()], names=[*arrays])

    def _check_names(self, names: Sequence[str]) -> None:
        doubles = sorted({name for name in names if names.count(name) > 1})
        if doubles:
            raise InvalidValue(f"there are several columns {doubles[0]!r}; keep one of them, or rename the others")
        for name in names:
            if name in _SYSTEM:
                raise InvalidValue(f"the column {name!r} cannot be loaded, as every row gets a new one; leave it out")
            problem = field_problem(name)
            if problem:
                raise InvalidValue(f"the column {show(name)}: {problem}")
            if not self._free and name not in self._fields:
                close = near(name, self._fields)
                fix = f"did you mean {close!r}?" if close else f"the fields are: {', '.join(self._fields) or 'none'}"
                raise SchemaError(f"the table has no field for the column {name!r}; {fix}")
        if isinstance(self._validator, ObjectValidator):
            lacking = [n for n, f in self._validator.fields.items() if not f.is_optional and n not in names]
            if lacking:
                raise SchemaError(f"there is no column {lacking[0]!r}, which documents must have; add it")

    def _check_rows(self, found: dict[str, list[Any]], rows: int, first: int) -> None:
        """Look at whole documents, as only they show which member of a union they are."""
        assert self._validator is not None
        check = self._validator.compile(DOCUMENT_NESTING)
        names = [*found]
        for row, values in enumerate(zip(*found.values(), strict=True) if names else [()] * rows):
            doc = {name: value for name, value in zip(names, values, strict=True) if value is not MISSING}
            try:
                checked = check(doc, self._table_of)
            except Mismatch as mismatch:
                raise mismatch.under(f"row {first + row}", SchemaError) from None
            for name in names:
                found[name][row] = checked.get(name, MISSING)


class _Field:
    """One field of a table, and the validators that it may have (several: of the members of a union)."""

    def __init__(self, name: str, validators: Sequence[Validator], table_of: TableOf) -> None:
        self._name = name
        members = [member for validator in validators for member in _members(validator)]
        self._nullable = any(member.kind in ("null", "any") for member in members)
        self._optional = any(validator.is_optional for validator in validators) or len(validators) > 1
        solid = [member for member in members if member.kind != "null"]
        self._kind = solid[0].kind if len({member.kind for member in solid}) == 1 and solid else ""
        self._check: Check | None = None
        self._fit: Callable[[Any], Any] | None = None
        if len(validators) == 1:  # else whole documents are looked at
            self._check = validators[0].compile(DOCUMENT_NESTING - 1)
            self._fit = _fitting(validators[0])
        self._table_of = table_of

    def take(self, source: Source, values: list[Any], first: int) -> list[Any]:
        """Return what documents hold."""
        if None in values and not self._nullable:
            values = self._without_nulls(values, first)
        if _EXACT.get(self._kind) == source or self._check is None:
            return values
        check, fit, table_of = self._check, self._fit, self._table_of
        if fit is not None:
            values = [fit(value) for value in values]
        try:
            return [value if value is MISSING else check(value, table_of) for value in values]
        except Mismatch:
            raise _offenders(self._name, values, check, table_of, first) from None

    def _without_nulls(self, values: list[Any], first: int) -> list[Any]:
        if not self._optional:
            rows = [first + row for row, value in enumerate(values) if value is None]
            raise SchemaError(
                f"column {self._name!r} is null in {_rows(rows)}, and must have a value: fill or drop those rows, or declare"
                " the field as v.optional(...) or v.nullable(...)"
            )
        return [MISSING if value is None else value for value in values]


def _members(validator: Validator) -> Sequence[Validator]:
    return validator.members if isinstance(validator, UnionValidator) else (validator,)


def _fields(validator: Validator | None) -> dict[str, list[Validator]]:
    fields: dict[str, list[Validator]] = {}
    for member in () if validator is None else _members(validator):
        if isinstance(member, ObjectValidator):
            for name, field in member.fields.items():
                fields.setdefault(name, []).append(field)
    return fields


def _fitting(validator: Validator) -> Callable[[Any], Any] | None:
    """Return what leaves nulls out of nested objects where a field is optional: Arrow's structs always have all fields."""
    solid = [member for member in _members(validator) if member.kind != "null"]
    if len(solid) != 1:
        return None
    inner = solid[0]
    if isinstance(inner, ArrayValidator):
        element = _fitting(inner.element)
        return element and (lambda value: [element(each) for each in value] if isinstance(value, list) else value)
    if isinstance(inner, RecordValidator):
        item = _fitting(inner.values)
        return item and (lambda value: {k: item(v) for k, v in value.items()} if isinstance(value, dict) else value)
    if not isinstance(inner, ObjectValidator):
        return None
    fits = {name: _fitting(field) for name, field in inner.fields.items()}
    left_out = {
        name
        for name, field in inner.fields.items()
        if field.is_optional and not any(member.kind in ("null", "any") for member in _members(field))
    }

    def fit(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        kept = {name: each for name, each in value.items() if each is not None or name not in left_out}
        return {name: each if (how := fits.get(name)) is None else how(each) for name, each in kept.items()}

    return fit


def _offenders(name: str, values: list[Any], check: Check, table_of: TableOf, first: int) -> InvalidValue:
    def wrong() -> Any:
        for row, value in enumerate(values):
            try:
                if value is not MISSING:
                    check(value, table_of)
            except Mismatch as mismatch:
                yield row, mismatch

    found = [
        mismatch.under(f"row {first + row}, column {name!r}", SchemaError) for row, mismatch in islice(wrong(), _SHOWN)
    ]
    more = "; ".join(str(error) for error in found[1:])
    return type(found[0])(f"{found[0]}" + (f"; {more}" if more else ""))


def _rows(rows: Sequence[int]) -> str:
    shown = ", ".join(map(str, rows[:_SHOWN]))
    return (
        f"row {shown}"
        if len(rows) == 1
        else f"rows {shown}" + (f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else "")
    )


# ---- what a column holds ------------------------------------------------------------------------------------------


def _storage(column: pa.Array) -> pa.Array:
    """Return a column without dictionaries, run lengths and extensions."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_run_end_encoded(column.type):
        column = pc.run_end_decode(column)
    return column


def _values(name: str, column: pa.Array) -> tuple[Source, list[Any]]:
    """Return plain values, None for null, and what they are."""
    kind, types = column.type, pa.types
    if types.is_null(kind):
        return "null", [None] * len(column)
    if types.is_boolean(kind):
        return "boolean", column.to_pylist()
    if types.is_integer(kind):
        return "integer", _listed(column)
    if types.is_floating(kind):
        return "number", _listed(column.cast(pa.float64()))
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return "string", column.to_pylist()
    if (
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_binary_view(kind)
        or types.is_fixed_size_binary(kind)
    ):
        return "bytes", column.to_pylist()
    if types.is_timestamp(kind):
        return "moment", _moments(name, column)
    if types.is_decimal(kind):
        return "decimal", [None if value is None else _of_decimal(value) for value in column.to_pylist()]
    if types.is_date(kind) or types.is_time(kind):
        return "string", [None if value is None else value.isoformat() for value in column.to_pylist()]
    if types.is_nested(kind):
        return "nested", [_plain(value, name) for value in column.to_pylist()]
    raise InvalidValue(
        f"the column {name!r} is of the type {kind}, of which there are no values: cast it, to text for example"
    )


def _listed(column: pa.Array) -> list[Any]:
    return column.to_pylist() if column.null_count else column.to_numpy(zero_copy_only=False).tolist()


def _of_decimal(value: Decimal) -> float | int:
    return int(value) if value == value.to_integral_value() and abs(value) >= MAX_INTEGER else float(value)


def _moments(name: str, column: pa.Array) -> list[Any]:
    if column.type.tz is None:
        raise InvalidValue(
            f"the column {name!r} has moments without a time zone: say which, e.g. df[column] = df[column].dt.tz_localize('UTC')"
        )
    per_second = {"s": 1, "ms": 1000, "us": 1_000_000, "ns": 1_000_000_000}[column.type.unit]
    counts = _listed(column.cast(pa.int64()))
    if per_second <= 1000:
        found = [None if count is None else count * (1000 // per_second) for count in counts]
    else:
        per_ms = per_second // 1000
        found = [None if n is None else n // per_ms if n % per_ms == 0 else n / per_ms for n in counts]
    for row, ms in enumerate(found):
        if ms is not None and not EARLIEST <= ms <= LATEST:
            raise InvalidValue(f"row {row} of the column {name!r} is a moment outside of the years 1 to 9999")
    return found


def _plain(value: Any, name: str) -> Any:
    """Return what is nested as plain values."""
    if isinstance(value, dict):
        return {key: _plain(each, name) for key, each in value.items()}
    if isinstance(value, list):
        if value and all(isinstance(each, tuple) and len(each) == 2 for each in value):  # a map
            return {key: _plain(each, name) for key, each in value}
        return [_plain(each, name) for each in value]
    if isinstance(value, dt.datetime):
        if value.tzinfo is None:
            raise InvalidValue(f"the column {name!r} has moments without a time zone inside")
        return to_milliseconds(value)
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    return _of_decimal(value) if isinstance(value, Decimal) else value


def _checked_free(source: Source, column: pa.Array, values: list[Any], name: str, first: int) -> list[Any]:
    """Check values that no validator describes."""
    if source in ("integer", "decimal", "nested") and not (source == "integer" and _small(column)):
        return [
            check_value(value, f"row {first + row}, column {name!r}", max_nesting=15)
            for row, value in enumerate(values)
        ]
    return values


def _small(column: pa.Array) -> bool:
    bounds: Mapping[str, Any] = pc.min_max(column).as_py()
    low, high = bounds["min"], bounds["max"]
    return low is None or (low >= -MAX_INTEGER and high <= MAX_INTEGER)


# ---- typed columns --------------------------------------------------------------------------------------------------


def _typed(
    name: str, field: Validator, kind: Kind, wanted: pa.DataType, column: pa.Array, table_of: TableOf, first: int
) -> pa.Array:
    """Return a column as the typed table has it."""
    members = _members(field)
    nullable = field.is_optional or any(member.kind in ("null", "any") for member in members)
    solid = [member.kind for member in members if member.kind != "null"]
    types, given = pa.types, column.type
    fast = len(solid) == 1 and (
        (solid[0] == "float64" and (types.is_floating(given) or (types.is_integer(given) and _small(column))))
        or (solid[0] == "integer" and types.is_integer(given) and _small(column))
        or (solid[0] == "int64" and types.is_integer(given) and not types.is_uint64(given))
        or (
            solid[0] == "string"
            and (types.is_string(given) or types.is_large_string(given) or types.is_string_view(given))
        )
        or (solid[0] == "boolean" and types.is_boolean(given))
        or (solid[0] == "bytes" and (types.is_binary(given) or types.is_large_binary(given)))
    )
    if fast and (nullable or not column.null_count):
        return column if given == wanted else column.cast(wanted)
    source, values = _values(name, column)
    taken = _Field(name, [field], table_of).take(source, values, first)
    plain = [None if value is MISSING else value for value in taken]
    return array(kind if kind.name != "null" else infer(plain), plain) if plain else pa.nulls(0, wanted)
