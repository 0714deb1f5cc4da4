"""The validators that have parts or parameters: any, ids, literals, arrays, records, objects, unions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nbreactive.errors import SchemaError
from nbreactive.values import _checkers as checkers
from nbreactive.values._checkers import Check
from nbreactive.values._paths import Mismatch, describe, show
from nbreactive.values._validator import PLAIN_TYPES, Json, Load, Validator
from nbreactive.values.checks import Bounds, key_problem
from nbreactive.values.ids import Id
from nbreactive.values.json import to_jsonable
from nbreactive.values.limits import OBJECT_FIELDS, over


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
            expect_validator(validator, f"the field {show(name)}")
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
        >>> from nbreactive import v
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


def expect_validator(validator: object, what: str, *, optional: bool = True) -> None:
    """Refuse what is no validator, and optional ones where only fields of objects may be."""
    if not isinstance(validator, Validator):
        raise SchemaError(f"{what} takes a validator, not {show(validator)}; use v.string(), v.literal(...), ...")
    if validator.is_optional and not optional:
        raise SchemaError(f"{what} cannot be optional, only fields of objects can; use v.nullable(...)")
