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

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from nbreactive.errors import SchemaError
from nbreactive.values import _checkers as checkers
from nbreactive.values._checkers import Check
from nbreactive.values._paths import Mismatch, describe, show
from nbreactive.values._validator import (
    PLAIN_TYPES,
    BooleanValidator,
    BytesValidator,
    DatetimeValidator,
    Int64Validator,
    IntegerValidator,
    Json,
    Load,
    NullValidator,
    NumberValidator,
    StringValidator,
    Validator,
)
from nbreactive.values.checks import Bounds, key_problem
from nbreactive.values.ids import Id
from nbreactive.values.json import from_jsonable, to_jsonable
from nbreactive.values.kinds import Int64
from nbreactive.values.limits import OBJECT_FIELDS, over

__all__ = ["ObjectValidator", "Validator", "from_json", "v"]


class AnyValidator(Validator):
    """``v.any()``: every value."""

    __slots__ = ()
    kind = "any"

    @property
    def label(self) -> str:
        return "any value"

    def compile_at(self, bounds: Bounds, depth: int, /) -> Check:
        return checkers.any_check(bounds, depth)

    def may_be(self, _value: Any, /) -> bool:
        return True


class IdValidator(Validator):
    """``v.id("posts")``: the ids of one table."""

    __slots__ = ("table",)
    kind = "id"
    types = frozenset({str, Id})

    def __init__(self, table: str) -> None:
        super().__init__()
        self.table = table

    @property
    def label(self) -> str:
        return f"an id of the table {show(self.table)}"

    def compile_at(self, _bounds: Bounds, _depth: int, /) -> Check:
        return checkers.id_check(self.table)

    def to_json(self) -> Json:
        return {"type": "id", "tableName": self.table}

    def arguments(self) -> str:
        return repr(self.table)


class LiteralValidator(Validator):
    """``v.literal("draft")``: one value."""

    __slots__ = ("value",)
    kind = "literal"

    def __init__(self, value: str | bool | float) -> None:
        super().__init__()
        self.value = value

    @property
    def label(self) -> str:
        return describe(self.value)

    def compile_at(self, _bounds: Bounds, _depth: int, /) -> Check:
        return checkers.literal_check(self.value)

    def may_be(self, value: Any, /) -> bool:
        return type(value) in PLAIN_TYPES and value == self.value

    def to_json(self) -> Json:
        return {"type": "literal", "value": to_jsonable(self.value)}

    def arguments(self) -> str:
        return repr(self.value)


class ArrayValidator(Validator):
    """``v.array(v.string())``: lists (and tuples) of items."""

    __slots__ = ("element",)
    kind = "array"
    types = frozenset({list, tuple})

    def __init__(self, element: Validator) -> None:
        super().__init__()
        self.element = element

    @property
    def label(self) -> str:
        return "an array"

    def nesting(self) -> int:
        return 1 + self.element.nesting()

    def compile_at(self, bounds: Bounds, depth: int, /) -> Check:
        return checkers.array_check(self.element.compile_at(bounds, depth + 1), bounds, depth)

    def loader(self) -> Load | None:
        load = self.element.loader()
        return None if load is None else lambda value: [load(item) for item in value]

    def to_json(self) -> Json:
        return {"type": "array", "value": self.element.to_json()}

    def arguments(self) -> str:
        return repr(self.element)


class RecordValidator(Validator):
    """``v.record(v.string(), v.number())``: dicts of any keys."""

    __slots__ = ("keys", "values")
    kind = "record"
    types = frozenset({dict})

    def __init__(self, keys: Validator, values: Validator) -> None:
        super().__init__()
        self.keys = keys
        self.values = values

    @property
    def label(self) -> str:
        return "an object"

    def nesting(self) -> int:
        return 1 + self.values.nesting()

    def compile_at(self, bounds: Bounds, depth: int, /) -> Check:
        keys = self.keys.compile_at(bounds, depth + 1)
        return checkers.record_check(keys, self.values.compile_at(bounds, depth + 1), bounds, depth)

    def loader(self) -> Load | None:
        load = self.values.loader()
        return None if load is None else lambda value: {key: load(item) for key, item in value.items()}

    def to_json(self) -> Json:
        values = {"fieldType": self.values.to_json(), "optional": False}
        return {"type": "record", "keys": self.keys.to_json(), "values": values}

    def arguments(self) -> str:
        return f"{self.keys!r}, {self.values!r}"


class ObjectValidator(Validator):
    """``v.object({...})``: dicts of exactly these fields.

    Attributes
    ----------
    fields
        Name -> validator; optional ones may be absent.
    factory
        What :meth:`~Validator.load` makes of the dict: a dataclass, when a type hint named one.
    """

    __slots__ = ("factory", "fields")
    kind = "object"
    types = frozenset({dict})

    def __init__(self, fields: Mapping[str, Validator], factory: Callable[..., Any] | None = None) -> None:
        super().__init__()
        if len(fields) > OBJECT_FIELDS:
            raise SchemaError(over("fields in an object", len(fields), OBJECT_FIELDS, "use v.record() or a list"))
        for name, validator in fields.items():
            problem = key_problem(name)
            if problem:
                raise SchemaError(problem)
            _expect_validator(validator, f"the field {show(name)}")
        self.fields: Mapping[str, Validator] = dict(fields)
        self.factory = factory

    def extend(self, fields: Mapping[str, Validator]) -> ObjectValidator:
        """Return an object with further fields, or other validators for the same ones."""
        return ObjectValidator({**self.fields, **fields})

    def pick(self, *names: str) -> ObjectValidator:
        """Return an object of these fields only."""
        self._expect(names)
        return ObjectValidator({name: self.fields[name] for name in names})

    def omit(self, *names: str) -> ObjectValidator:
        """Return an object without these fields."""
        self._expect(names)
        return ObjectValidator({name: field for name, field in self.fields.items() if name not in names})

    def partial(self) -> ObjectValidator:
        """Return an object whose fields are all optional, as patches have it.

        Examples
        --------
        >>> v.object({"a": v.string()}).partial()
        v.object({'a': v.optional(v.string())})
        """
        return ObjectValidator({name: field.optional() for name, field in self.fields.items()})

    @property
    def label(self) -> str:
        """What messages say is expected."""
        return "an object"

    def columns(self) -> list[str]:
        """Return the names of the fields."""
        return list(self.fields)

    def nesting(self) -> int:
        """Return how many containers are inside each other."""
        return 1 + max((field.nesting() for field in self.fields.values()), default=0)

    def compile_at(self, bounds: Bounds, depth: int, /) -> Check:
        """Return the check of the object, with the checks of its fields inside."""
        fields = {
            name: (field.compile_at(bounds, depth + 1), field.is_optional, field.label)
            for name, field in self.fields.items()
        }
        return checkers.object_check(fields, bounds, depth)

    def loader(self) -> Load | None:
        """Return what loads the fields that have something to load, and makes the dataclass."""
        loads = [(name, load) for name, field in self.fields.items() if (load := field.loader()) is not None]
        factory = self.factory
        if not loads and factory is None:
            return None

        def load_object(value: dict[str, Any]) -> Any:
            result = dict(value)
            for name, load in loads:
                if name in result:
                    result[name] = load(result[name])
            return result if factory is None else factory(**result)

        return load_object

    def to_json(self) -> Json:
        """Return Convex's JSON form."""
        fields = {
            name: {"fieldType": field.to_json(), "optional": field.is_optional} for name, field in self.fields.items()
        }
        return {"type": "object", "value": fields}

    def arguments(self) -> str:
        """Return the arguments that ``repr`` shows."""
        return repr(self.fields)

    def _expect(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self.fields:
                raise SchemaError(f"there is no field {show(name)}; the fields are: {', '.join(self.fields)}")


class UnionValidator(Validator):
    """``v.union(v.string(), v.null())``: what any member takes; the first that does wins."""

    __slots__ = ("members",)
    kind = "union"

    def __init__(self, members: Iterable[Validator]) -> None:
        super().__init__()
        self.members = tuple(members)

    @property
    def label(self) -> str:
        return " or ".join(dict.fromkeys(member.label for member in self.members)) or "nothing"

    def columns(self) -> list[str] | None:
        names: dict[str, None] = {}
        for member in self.members:
            found = member.columns()
            if found is None:
                return None
            names |= dict.fromkeys(found)
        return list(names)

    def nesting(self) -> int:
        return max((member.nesting() for member in self.members), default=0)

    def may_be(self, value: Any, /) -> bool:
        return any(member.may_be(value) for member in self.members)

    def compile_at(self, bounds: Bounds, depth: int, /) -> Check:
        # A plain int is a number first; it is taken for a 64-bit integer where no number is allowed.
        members = sorted(self.members, key=lambda member: member.kind == "int64")
        return checkers.union_check([(m.compile_at(bounds, depth), m.may_be, _tags(m)) for m in members], self.label)

    def loader(self) -> Load | None:
        if not any(member.loader() for member in self.members):
            return None
        members = [(member.compile(), member.loader()) for member in self.members]

        def load_member(value: Any) -> Any:
            for check, load in members:
                try:
                    check(value, None)
                except Mismatch:
                    continue
                return value if load is None else load(value)
            return value

        return load_member

    def to_json(self) -> Json:
        return {"type": "union", "value": [member.to_json() for member in self.members]}

    def arguments(self) -> str:
        return ", ".join(map(repr, self.members))


def _tags(validator: Validator) -> dict[str, Any]:
    """Return the fields of an object that can have one value only: they tell the members of a union apart."""
    if not isinstance(validator, ObjectValidator):
        return {}
    return {
        name: field.value
        for name, field in validator.fields.items()
        if isinstance(field, LiteralValidator) and not field.is_optional
    }


def _expect_validator(validator: object, what: str, *, optional: bool = True) -> None:
    if not isinstance(validator, Validator):
        raise SchemaError(f"{what} takes a validator, not {show(validator)}; use v.string(), v.literal(...), ...")
    if validator.is_optional and not optional:
        raise SchemaError(f"{what} cannot be optional, only fields of objects can; use v.nullable(...)")


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
        _expect_validator(element, "v.array()", optional=False)
        return ArrayValidator(element)

    def object(self, fields: Mapping[str, Validator]) -> ObjectValidator:
        """Take dicts of exactly these fields."""
        if not isinstance(cast("Any", fields), Mapping):
            raise SchemaError(f"v.object() takes a dict of validators, not {show(fields)}")
        return ObjectValidator(fields)

    def record(self, keys: Validator, values: Validator) -> RecordValidator:
        """Take dicts of any keys (``v.string()`` or ids)."""
        _expect_validator(keys, "v.record()", optional=False)
        _expect_validator(values, "v.record()", optional=False)
        if not isinstance(keys, (StringValidator, IdValidator)):
            raise SchemaError(
                f"keys of v.record() are v.string() or v.id(...), not {keys!r}; use v.object() for known keys"
            )
        return RecordValidator(keys, values)

    def union(self, *members: Validator) -> UnionValidator:
        """Take what any member takes."""
        for member in members:
            _expect_validator(member, "v.union()", optional=False)
        return UnionValidator(members)

    def optional(self, validator: Validator) -> Validator:
        """Return the validator for a field that may be absent (UNSET; null is another thing)."""
        _expect_validator(validator, "v.optional()")
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
