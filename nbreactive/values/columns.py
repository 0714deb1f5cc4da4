"""What kind of column a field makes: from its validator, by inference, and wider ones as other values arrive.

Tables of store.duckdb and DataFrames of results share this. Kinds form a small lattice: ``null`` below everything,
``integer`` below ``int64`` and below ``number``, and ``json`` above whatever has nothing else in common. A kind
never loses what a document held; only absent and null look alike in a column.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import reduce
from itertools import chain
from typing import Any, Literal

import msgspec

from nbreactive.values.kinds import Int64

KindName = Literal[
    "null", "boolean", "integer", "int64", "number", "string", "bytes", "datetime", "list", "struct", "json"
]


class Kind(msgspec.Struct, frozen=True, omit_defaults=True):
    """The kind of a column; lists have an ``element``, structs have ``fields``."""

    name: KindName
    element: Kind | None = None
    fields: tuple[tuple[str, Kind], ...] = ()


NULL = Kind("null")
BOOLEAN = Kind("boolean")
INTEGER = Kind("integer")
INT64 = Kind("int64")
NUMBER = Kind("number")
STRING = Kind("string")
BYTES = Kind("bytes")
DATETIME = Kind("datetime")
JSON = Kind("json")

MAX_STRUCT_FIELDS = 64
"""Objects with more fields than these are maps in disguise: JSON."""

_SCALARS: dict[str, Kind] = {
    "null": NULL,
    "boolean": BOOLEAN,
    "integer": INTEGER,
    "bigint": INT64,
    "number": NUMBER,
    "string": STRING,
    "id": STRING,
    "bytes": BYTES,
    "datetime": DATETIME,
}
_TYPES: dict[type, Kind] = {
    type(None): NULL,
    bool: BOOLEAN,
    int: INTEGER,
    Int64: INT64,
    float: NUMBER,
    str: STRING,
    bytes: BYTES,
    datetime: DATETIME,
}
_NUMERIC = {frozenset({"integer", "int64"}): INT64, frozenset({"integer", "number"}): NUMBER}


def join(one: Kind, other: Kind) -> Kind:
    """Return the narrowest kind that holds what either holds.

    Examples
    --------
    >>> join(INTEGER, NUMBER).name, join(NUMBER, STRING).name, join(NULL, BYTES).name
    ('number', 'json', 'bytes')
    """
    if other in (one, NULL):
        return one
    if one == NULL:
        return other
    if one.element is not None and other.element is not None:
        return list_of(join(one.element, other.element))
    if one.name == other.name == "struct":
        theirs = dict(other.fields)
        joined = [(name, join(kind, theirs.pop(name, NULL))) for name, kind in one.fields]
        return struct_of([*joined, *theirs.items()])
    # Doubles cannot hold every int64, so those two have only JSON in common
    return _NUMERIC.get(frozenset({one.name, other.name}), JSON)


def list_of(element: Kind) -> Kind:
    """Return the kind of lists of ``element``; what is mixed inside is JSON as a whole."""
    return JSON if element == JSON else Kind("list", element)


def struct_of(fields: Iterable[tuple[str, Kind]]) -> Kind:
    """Return the kind of objects with ``fields``; JSON where names are none, too many or differ only in case."""
    pairs = tuple(fields)
    folded = {name.casefold() for name, _ in pairs}
    if not 0 < len(pairs) <= MAX_STRUCT_FIELDS or len(folded) < len(pairs) or "" in folded:
        return JSON
    return Kind("struct", fields=pairs)


def infer(values: Iterable[Any], *, structs: bool = False) -> Kind:
    """Return the narrowest kind that holds all ``values``.

    Parameters
    ----------
    values
        Plain values; None is null or absent.
    structs
        Whether objects become structs; else they are JSON, so that a new key in one document changes no column.

    Examples
    --------
    >>> infer([1, None, 2.5]).name, infer([[1], []]).element.name, infer([{"a": 1}]).name
    ('number', 'integer', 'json')
    """
    values = values if isinstance(values, list) else list(values)
    found = NULL
    for cls in set(map(type, values)):
        found = join(found, _of_class(cls, values, structs))
        if found == JSON:
            break
    return found


def _of_class(cls: type, values: list[Any], structs: bool) -> Kind:
    known = _TYPES.get(cls)
    if known is not None:
        return known
    if issubclass(cls, list):
        inner = chain.from_iterable(value for value in values if type(value) is cls)
        return list_of(infer(inner, structs=structs))
    if issubclass(cls, dict):
        return _of_objects([value for value in values if type(value) is cls]) if structs else JSON
    return next((kind for base, kind in _TYPES.items() if issubclass(cls, base)), JSON)


def _of_objects(objects: list[dict[Any, Any]]) -> Kind:
    names = dict.fromkeys(chain.from_iterable(objects))
    if len(names) > MAX_STRUCT_FIELDS:
        return JSON
    return struct_of((str(name), infer([one.get(name) for one in objects], structs=True)) for name in names)


def of_validator(validator: Mapping[str, Any]) -> Kind | None:
    """Return the kind that a validator (its JSON form) declares; None when it allows anything.

    Examples
    --------
    >>> of_validator({"type": "array", "value": {"type": "number"}}).element.name
    'number'
    """
    kind = validator.get("type")
    if kind == "any":
        return None
    if kind == "literal":
        return infer([validator.get("value")])
    if kind == "array":
        return list_of(of_validator(validator["value"]) or JSON)
    if kind == "object":
        return struct_of((name, of_validator(field["fieldType"]) or JSON) for name, field in validator["value"].items())
    if kind == "union":
        members = [of_validator(member) for member in validator["value"]]
        known = [member for member in members if member is not None]
        return reduce(join, known, NULL) if len(known) == len(members) else None
    # Integers and datetimes are numbers to Convex's clients; a mark says what they are here
    return _SCALARS.get(str(validator.get("nbreactive") or kind), JSON)


def columns_of(validator: Mapping[str, Any] | None) -> dict[str, Kind | None]:
    """Return the columns that the validator of a document declares: an object, a union of objects or anything.

    Examples
    --------
    >>> columns_of({"type": "object", "value": {"n": {"fieldType": {"type": "integer"}, "optional": True}}})["n"].name
    'integer'
    """
    if validator is None:
        return {}
    if validator.get("type") == "union":
        columns: dict[str, Kind | None] = {}
        for member in validator["value"]:
            for name, kind in columns_of(member).items():
                known = columns.get(name, NULL)
                columns[name] = None if known is None or kind is None else join(known, kind)
        return columns
    if validator.get("type") != "object":
        return {}
    return {name: of_validator(field["fieldType"]) for name, field in validator["value"].items()}
