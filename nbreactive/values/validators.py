"""Validators: ``v.object({"title": v.string(), "likes": v.optional(v.integer())})``.

A validator says which values are right. It is immutable; its first check compiles it into closures
(:mod:`nbreactive.values._checkers`), which later checks run. Two directions are kept apart:

* :meth:`Validator.check` turns what Python code or a client handed over into the plain value that is stored and sent,
* :meth:`Validator.load` turns such a plain value into its Python form: milliseconds into datetimes, objects into
  dataclasses. Most validators have nothing to load, and say so with ``loads``.

The JSON form is Convex's, so that its clients and tools read it; what Convex lacks (whole numbers, datetimes) is
a number with a further key, ``"nbreactive"``, that they ignore.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from nbreactive.errors import SchemaError
from nbreactive.values._composites import (
    AnyValidator,
    ArrayValidator,
    IdValidator,
    LiteralValidator,
    ObjectValidator,
    RecordValidator,
    UnionValidator,
    expect_validator,
)
from nbreactive.values._paths import show
from nbreactive.values._validator import (
    BooleanValidator,
    BytesValidator,
    DatetimeValidator,
    Int64Validator,
    IntegerValidator,
    NullValidator,
    NumberValidator,
    StringValidator,
    Validator,
)
from nbreactive.values.json import from_jsonable
from nbreactive.values.kinds import Int64

__all__ = [
    "AnyValidator",
    "ArrayValidator",
    "BooleanValidator",
    "BytesValidator",
    "DatetimeValidator",
    "IdValidator",
    "Int64Validator",
    "IntegerValidator",
    "LiteralValidator",
    "NullValidator",
    "NumberValidator",
    "ObjectValidator",
    "RecordValidator",
    "StringValidator",
    "UnionValidator",
    "Validator",
    "from_json",
    "v",
]


class _Validators:
    """The makers of validators. ``v`` is the only instance."""

    __slots__ = ()

    def any(self) -> AnyValidator:
        """Take every value."""
        return AnyValidator()

    def null(self) -> NullValidator:
        """Take None."""
        return NullValidator()

    def boolean(self) -> BooleanValidator:
        """Take True and False."""
        return BooleanValidator()

    def number(self) -> NumberValidator:
        """Take numbers, and give floats: a DOUBLE column."""
        return NumberValidator()

    float64 = number

    def integer(self) -> IntegerValidator:
        """Take whole numbers within 2**53, and give ints: a BIGINT column. On the wire it is a number."""
        return IntegerValidator()

    def int64(self) -> Int64Validator:
        """Take 64-bit integers (plain ints too), and give :class:`Int64`; BigInt in JavaScript."""
        return Int64Validator()

    bigint = int64

    def datetime(self) -> DatetimeValidator:
        """Take aware datetimes: milliseconds on the wire, TIMESTAMPTZ in SQL."""
        return DatetimeValidator()

    def string(self) -> StringValidator:
        """Take text."""
        return StringValidator()

    def bytes(self) -> BytesValidator:
        """Take bytes."""
        return BytesValidator()

    def id(self, table: str) -> IdValidator:
        """Take ids of one table."""
        if not isinstance(cast("object", table), str):
            raise SchemaError(f"v.id() takes the name of a table, not {show(table)}")
        return IdValidator(table)

    def literal(self, value: str | bool | float) -> LiteralValidator:
        """Take one value only."""
        if type(value) not in (str, bool, int, float, Int64):
            fix = "use v.null()" if cast("object", value) is None else "use v.object(...) or v.any()"
            raise SchemaError(f"v.literal() takes a string, number or boolean, not {show(value)}; {fix}")
        return LiteralValidator(value)

    def array(self, element: Validator) -> ArrayValidator:
        """Take lists of ``element``."""
        expect_validator(element, "v.array()", optional=False)
        return ArrayValidator(element)

    def object(self, fields: Mapping[str, Validator]) -> ObjectValidator:
        """Take dicts of exactly these fields."""
        if not isinstance(cast("Any", fields), Mapping):
            raise SchemaError(f"v.object() takes a dict of validators, not {show(fields)}")
        return ObjectValidator(fields)

    def record(self, keys: Validator, values: Validator) -> RecordValidator:
        """Take dicts of any keys (``v.string()`` or ids)."""
        expect_validator(keys, "v.record()", optional=False)
        expect_validator(values, "v.record()", optional=False)
        if not isinstance(keys, (StringValidator, IdValidator)):
            raise SchemaError(
                f"keys of v.record() are v.string() or v.id(...), not {keys!r}; use v.object() for known keys"
            )
        return RecordValidator(keys, values)

    def union(self, *members: Validator) -> UnionValidator:
        """Take what any member takes."""
        for member in members:
            expect_validator(member, "v.union()", optional=False)
        return UnionValidator(members)

    def optional(self, validator: Validator) -> Validator:
        """Return the validator for a field that may be absent (UNSET; null is another thing)."""
        expect_validator(validator, "v.optional()")
        return validator.optional()

    def nullable(self, validator: Validator) -> UnionValidator:
        """Take what the validator takes, and None."""
        return self.union(validator, NullValidator())


v = _Validators()

_LEAVES = {
    "any": AnyValidator,
    "null": NullValidator,
    "boolean": BooleanValidator,
    "bigint": Int64Validator,
    "string": StringValidator,
    "bytes": BytesValidator,
}
_NUMBERS = {None: NumberValidator, "integer": IntegerValidator, "datetime": DatetimeValidator}


def from_json(data: Mapping[str, Any]) -> Validator:
    """Return the validator of a JSON form, Convex's included.

    Examples
    --------
    >>> from_json({"type": "array", "value": {"type": "number"}})
    v.array(v.number())
    """
    try:
        return _from_json(data)
    except (KeyError, TypeError, AttributeError):
        raise SchemaError(f"{show(data)} is not the JSON form of a validator; use to_json()") from None


def _from_json(data: Mapping[str, Any]) -> Validator:
    match data["type"]:
        case "number":
            # An unknown mark is one of a later version: a number still.
            return _NUMBERS.get(data.get("nbreactive"), NumberValidator)()
        case "id":
            return v.id(data["tableName"])
        case "literal":
            return v.literal(from_jsonable(data["value"]))
        case "array":
            return v.array(_from_json(data["value"]))
        case "record":
            return v.record(_from_json(data["keys"]), _from_json(data["values"]["fieldType"]))
        case "object":
            fields = {
                name: (_from_json(field["fieldType"]), field["optional"]) for name, field in data["value"].items()
            }
            return v.object(
                {name: field.optional() if optional else field for name, (field, optional) in fields.items()}
            )
        case "union":
            return v.union(*map(_from_json, data["value"]))
        case kind:
            return _LEAVES[kind]()
