"""Python types of validators, and the TypedDicts that objects need."""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from typing import Any, Final

from nbreactive.values.json import from_jsonable
from nbreactive.values.kinds import Int64

Json = Mapping[str, Any]

_SAME: Final = {"null": "None", "boolean": "bool", "string": "str", "bytes": "bytes", "any": "Any"}
_WORDS: Final = frozenset({"str", "int", "float", "bool", "bytes", "list", "dict", "datetime"})
"""Names of types that a field may have too, which would hide them from the fields after it."""


class PythonTypes:
    """Writes types, and collects the classes that they use.

    Parameters
    ----------
    ids
        Table -> the class of its ids.
    """

    def __init__(self, ids: Mapping[str, str]) -> None:
        self.classes: list[str] = []
        """The text of each TypedDict, those inside others first."""
        self._ids = ids
        self._named: dict[str, str] = {}
        self._taken: set[str] = set()

    def name(self, wanted: str) -> str:
        """Return ``wanted``, or something like it that is free yet."""
        name, number = wanted, 1
        while name in self._taken:
            number += 1
            name = f"{wanted}{number}"
        self._taken.add(name)
        return name

    def given(self, validator: Json, name: str) -> str:
        """Return the type of what a caller may pass; ``name`` is for the classes of its objects."""
        return _Writer(self, given=True).type(validator, name)

    def received(self, validator: Json, name: str, *, loaded: bool) -> str:
        """Return the type of a result: of what functions see (``loaded``: datetimes), or clients (milliseconds)."""
        return _Writer(self, loaded=loaded).type(validator, name)

    def given_fields(self, validator: Json, name: str) -> dict[str, tuple[str, bool]]:
        """Return the fields of an object that a caller may pass: name -> (type, optional)."""
        return _Writer(self, given=True).fields(validator, name)

    def document(self, validator: Json, name: str, doc: str) -> None:
        """Write the class ``name`` for documents, as functions see them."""
        fields = _Writer(self, loaded=True).fields(validator, f"_{name}")
        self._named[body(fields)] = name
        self.classes.append(typed_dict(name, fields, doc))

    def recognise(self, validator: Json, name: str) -> None:
        """Use the class ``name``, which is written elsewhere, for every object that looks like these documents."""
        self._named[body(_Writer(self, loaded=True).fields(validator, f"_{name}"))] = name

    def id_class(self, table: str) -> str | None:
        """Return the class of the ids of a table, if the schema has it."""
        return self._ids.get(table)

    def object(self, fields: Mapping[str, tuple[str, bool]], name: str) -> str:
        """Return the class of an object with these fields: name -> (type, optional)."""
        key = body(fields)
        found = self._named.get(key)
        if found is None:
            found = self._named[key] = self.name(name)
            self.classes.append(typed_dict(found, fields))
        return found


class _Writer:
    def __init__(self, types: PythonTypes, *, given: bool = False, loaded: bool = False) -> None:
        self._types = types
        self._given = given
        self._loaded = loaded

    def type(self, validator: Json, name: str) -> str:
        match validator["type"]:
            case "number":
                return self._number(validator.get("nbreactive"))
            case "bigint":
                return "int" if self._given else "Int64"
            case "id":
                # Ids of tables that are in no schema have no class; callers have them as any text.
                return self._types.id_class(validator["tableName"]) or ("str" if self._given else "Id")
            case "literal":
                return _literal(from_jsonable(validator["value"]), given=self._given)
            case "array":
                item = self.type(validator["value"], name)
                return f"Sequence[{item}]" if self._given else f"list[{item}]"
            case "record":
                keys = self.type(validator["keys"], name)
                values = self.type(validator["values"]["fieldType"], name)
                return f"{'Mapping' if self._given else 'dict'}[{keys}, {values}]"
            case "object":
                return self._types.object(self.fields(validator, name), name)
            case "union":
                return union([self.type(member, name) for member in validator["value"]])
            case kind:
                return _SAME.get(kind, "Any")  # a kind of a later version

    def fields(self, validator: Json, name: str) -> dict[str, tuple[str, bool]]:
        return {
            field: (self.type(each["fieldType"], f"{name}_{field}" if field.isidentifier() else name), each["optional"])
            for field, each in validator["value"].items()
        }

    def _number(self, mark: str | None) -> str:
        if mark == "datetime":
            return "datetime | float" if self._given else "datetime" if self._loaded else "float"
        return "int" if mark == "integer" else "float"


def union(members: list[str]) -> str:
    """Return the union of types, with its literals in one.

    Examples
    --------
    >>> union(["Literal['a']", "None", "Literal['b']", "None"]), union([])
    ("Literal['a', 'b'] | None", 'Never')
    """
    members = list(dict.fromkeys(part for member in members for part in _parts(member)))
    if "Any" in members:
        return "Any"
    literals = [member for member in members if member.startswith("Literal[")]
    if len(literals) > 1:
        merged = f"Literal[{', '.join(literal[len('Literal[') : -1] for literal in literals)}]"
        members = [merged if member is literals[0] else member for member in members if member not in literals[1:]]
    return " | ".join(members) or "Never"


def _parts(member: str) -> list[str]:
    return ["datetime", "float"] if member == "datetime | float" else [member]


def typed_dict(name: str, fields: Mapping[str, tuple[str, bool]], doc: str = "") -> str:
    """Return the text of a TypedDict; with the call form where fields cannot be written as attributes."""
    said = f'"""{doc}"""' if doc else ""
    if any(_awkward(field, fields) for field in fields):
        return f"{name} = TypedDict({name!r}, {body(fields)})\n" + (f"{said}\n" if said else "")
    lines = [f"    {said}\n"] if said else []
    lines += [f"    {field}: {_field_type(*each)}" for field, each in fields.items()]
    return "\n".join([f"class {name}(TypedDict):", *(lines or ["    pass"])]) + "\n"


def body(fields: Mapping[str, tuple[str, bool]]) -> str:
    """Return the fields of a TypedDict in the call form."""
    return "{" + ", ".join(f"{field!r}: {_field_type(*each)}" for field, each in fields.items()) + "}"


def _field_type(type_: str, optional: bool) -> str:
    return f"NotRequired[{type_}]" if optional else type_


def _awkward(field: str, fields: Mapping[str, tuple[str, bool]]) -> bool:
    return (
        not field.isidentifier()
        or keyword.iskeyword(field)
        or field.startswith("__")  # Python would put the name of the class in front
        or field in _WORDS
        or any(field in type_ for type_, _ in fields.values() if field[:1].isupper() or field.startswith("_"))
    )


def _literal(value: Any, *, given: bool) -> str:
    if isinstance(value, Int64):
        return "int" if given else "Int64"
    if isinstance(value, float):
        if not value.is_integer():
            return "float"  # Python has no literal types of fractions
        value = int(value)
    return f"Literal[{value!r}]"
