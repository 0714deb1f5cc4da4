"""Is this a value? Turns what Python code hands over into a plain value, or says where and why it is none.

Plain values are None, bool, int, float, :class:`~nbreactive.values.kinds.Int64`, str (and
:class:`~nbreactive.values.ids.Id`), bytes, list and dict. Their kin are taken as what they are: tuples, subclasses,
enums with a plain value, bytearrays, dataclasses, NumPy scalars (which are known by their module, so that NumPy is
not imported for it). Containers are always new, so what was checked cannot change afterwards.
"""

# What is checked comes from anywhere, so its types are not known before.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Awaitable, Callable
from datetime import date, datetime, time, timedelta
from typing import Any, NoReturn, Protocol

from nbreactive.errors import InvalidValue, SchemaError
from nbreactive.values._paths import Malformed, Mismatch, show, with_article
from nbreactive.values.ids import Id
from nbreactive.values.kinds import Int64, Unset
from nbreactive.values.limits import (
    ARRAY_ITEMS,
    DOCUMENT_NESTING,
    FIELD_NAME,
    IDENTIFIER,
    MAX_INTEGER,
    OBJECT_FIELDS,
    RESULT_SIZE,
    VALUE_NESTING,
    over,
)
from nbreactive.values.moments import to_milliseconds


class DocumentValidator(Protocol):
    """What :func:`check_document` needs of a table's validator."""

    def check(
        self,
        value: Any,
        where: str = "",
        *,
        error: type[InvalidValue] = InvalidValue,
        table_of: Callable[[str], str | None] | None = None,
        max_nesting: int = VALUE_NESTING,
    ) -> Any:
        """Return the plain value or raise ``error``."""
        ...


def check_value(
    value: Any,
    where: str = "",
    *,
    max_nesting: int = VALUE_NESTING,
    max_items: int = ARRAY_ITEMS,
    datetimes: bool = False,
) -> Any:
    """Return ``value`` as a plain value.

    Parameters
    ----------
    value
        Anything.
    where
        How messages call it, e.g. ``args``.
    max_nesting
        How many containers may be inside each other.
    max_items
        How many items an array may have.
    datetimes
        Turn aware datetimes into numbers (ms since the epoch), as arguments and results need it. Stored documents do
        not: there only ``v.datetime()`` knows to read the number back as a datetime.

    Raises
    ------
    InvalidValue, LimitExceeded
        With the path to what is wrong.

    Examples
    --------
    >>> check_value({"xs": (1, 2.5), "id": Id("k1")})
    {'xs': [1, 2.5], 'id': 'k1'}
    >>> check_value({"xs": [1, {2}]}, "args")
    Traceback (most recent call last):
    nbreactive.errors.InvalidValue: args.xs[1]: a set is not a value; use a list: sorted(x)
    """
    try:
        return plain(value, Bounds(max_nesting, max_items, datetimes), 0)
    except Mismatch as mismatch:
        raise mismatch.under(where, InvalidValue) from None


def check_document(
    value: Any,
    where: str = "",
    *,
    validator: DocumentValidator | None = None,
    table_of: Callable[[str], str | None] | None = None,
) -> dict[str, Any]:
    """Return ``value`` as a document that can be stored, without its system fields.

    The rules of values, and: fields are identifiers that do not start with ``_``, nesting is at most 16. The size is
    left to :func:`nbreactive.values.sizes.check_document_size`, which takes the packed form.

    Examples
    --------
    >>> check_document({"_id": "forged"}, "messages")
    Traceback (most recent call last):
    nbreactive.errors.SchemaError: messages._id: fields of documents do not start with "_", which is for system \
fields; rename it
    """
    if validator is not None:
        return validator.check(value, where, error=SchemaError, table_of=table_of, max_nesting=DOCUMENT_NESTING)
    document = check_value(value, where, max_nesting=DOCUMENT_NESTING)
    if not isinstance(document, dict):
        raise SchemaError(f"a document is a dict, not {show(value)}", where)
    for name in document:
        problem = field_problem(name)
        if problem:
            raise Mismatch(problem).at(name).under(where, SchemaError)
    return document


def field_problem(name: str) -> str:
    """Return why ``name`` cannot be a field of a document, or an empty string.

    Examples
    --------
    >>> field_problem("likes"), field_problem("first name")
    ('', 'fields of documents are made of letters, digits and "_" and start with a letter; rename it')
    """
    if name in _good_fields:
        return ""
    if name.startswith("_"):
        return 'fields of documents do not start with "_", which is for system fields; rename it'
    if not (name.isascii() and name.isidentifier()):
        return 'fields of documents are made of letters, digits and "_" and start with a letter; rename it'
    if len(name) > IDENTIFIER:
        return over("characters in a field's name", len(name), IDENTIFIER, "use a shorter one")
    _remember(_good_fields, name)
    return ""


def key_problem(key: Any) -> str:
    """Return why ``key`` cannot be a key of an object, or an empty string.

    Any printable ASCII will do, ``__proto__`` too, which means nothing here; ``$`` begins the wire's own keys.
    """
    if key in _good_keys:
        return ""
    if not isinstance(key, str):
        return f"keys of objects are strings, not {show(key)}; use str(key)"
    if not key:
        return "a key of an object is empty; give it a name"
    if key.startswith("$"):
        return f"the key {show(key)} starts with $, which is the wire format's own; rename it"
    if not (key.isascii() and key.isprintable()):
        return f"the key {show(key)} is not printable ASCII; use an ASCII name, or a list of {{name, value}} objects"
    if len(key) > FIELD_NAME:
        return over("characters in a key", len(key), FIELD_NAME, "use a shorter one")
    if type(key) is str and len(key) <= IDENTIFIER:
        _remember(_good_keys, key)
    return ""


class Bounds:
    """What one check allows."""

    __slots__ = ("datetimes", "items", "nesting")

    def __init__(self, nesting: int, items: int, datetimes: bool) -> None:
        self.nesting = nesting
        self.items = items
        self.datetimes = datetimes


def plain(value: Any, bounds: Bounds, depth: int) -> Any:
    """Return ``value`` plain, or raise :class:`Mismatch`; ``depth`` containers are around it."""
    kind = type(value)
    if kind in _AS_THEY_ARE:
        return value
    if kind is str:
        if len(value) > RESULT_SIZE:  # before anything makes a copy of it
            raise Mismatch(over("characters in a string", len(value), RESULT_SIZE, "store it as a file, or in pieces"))
        return value if value.isascii() else plain_text(value)
    if kind is int:
        return value if -MAX_INTEGER <= value <= MAX_INTEGER else refuse_large()
    if kind is dict:
        return plain_object(value, bounds, depth)
    if kind is list or kind is tuple:
        return plain_array(value, bounds, depth)
    return plain(_plain_kin(value, bounds), bounds, depth)


def plain_text(value: str) -> str:
    """Return text as a str that UTF-8 can hold (subclasses other than Id become str)."""
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            code = ord(value[error.start])
            raise Mismatch(
                f"the string has a lone surrogate (U+{code:04X}) at position {error.start}, which no UTF-8 can hold;"
                ' use text.encode("utf-8", "replace").decode()'
            ) from None
    return value if type(value) is str or isinstance(value, Id) else str.__str__(value)


def unwrap(value: Any) -> Any:
    """Return the plain kin of a subclass, enum, NumPy scalar or buffer; the value itself when it has none."""
    if isinstance(value, enum.Enum):
        return value.value
    kind = type(value)
    if kind.__module__ == "numpy" and hasattr(value, "item") and not getattr(value, "shape", ()):
        item = value.item()
        return value if type(item) is kind else item
    made = getattr(kind, "__nbreactive_value__", None)
    if made is not None:  # a result of SQL
        return made(value)
    if isinstance(value, (bool, Int64, Id)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, (list, tuple)):
        return list(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return value


def plain_array(value: list[Any] | tuple[Any, ...], bounds: Bounds, depth: int) -> list[Any]:
    """Return the items plain."""
    if depth >= bounds.nesting:
        raise too_deep(bounds)
    if len(value) > bounds.items:
        fix = "store them as documents of a table, or split the array"
        raise Mismatch(over("items in an array", len(value), bounds.items, fix), limit=True)
    result: list[Any] = []
    append = result.append
    depth += 1
    try:
        for item in value:
            kind = type(item)
            append(item if kind in _AS_THEY_ARE or (kind is str and item.isascii()) else plain(item, bounds, depth))
    except Mismatch as mismatch:
        raise mismatch.at(len(result)) from None
    return result


def plain_object(value: dict[Any, Any], bounds: Bounds, depth: int) -> dict[str, Any]:
    """Return the fields plain, without those that are UNSET."""
    if depth >= bounds.nesting:
        raise too_deep(bounds)
    check_keys(value)
    result: dict[str, Any] = {}
    key = ""
    depth += 1
    try:
        for key, item in value.items():
            kind = type(item)
            if kind in _AS_THEY_ARE or (kind is str and item.isascii()):
                result[key] = item
            elif kind is not Unset:
                result[key] = plain(item, bounds, depth)
    except Mismatch as mismatch:
        raise mismatch.at(key) from None
    return result


def check_keys(value: dict[Any, Any]) -> None:
    """Refuse an object whose keys are none, or too many."""
    if value.keys() <= _good_keys:
        return
    if len(value) > OBJECT_FIELDS:
        fix = "use a list, or documents of a table"
        raise Mismatch(over("fields in an object", len(value), OBJECT_FIELDS, fix), limit=True)
    for key in value:
        problem = key_problem(key)
        if problem:
            raise Mismatch(problem)


def _plain_kin(value: Any, bounds: Bounds) -> Any:
    if isinstance(value, datetime) and bounds.datetimes:
        return to_milliseconds(value)
    if isinstance(value, Malformed):
        raise Mismatch(value.message)
    kin = unwrap(value)
    if type(kin) is not type(value):
        return kin
    raise Mismatch(_why_no_value(value))


def _why_no_value(value: Any) -> str:
    name = type(value).__name__
    if isinstance(value, datetime):
        return "a datetime is only stored where the schema says v.datetime(); else use value.timestamp() * 1000"
    if isinstance(value, (date, time, timedelta)):
        return (
            f"{with_article(name)} is not a value; use value.isoformat()"
            if not isinstance(value, timedelta)
            else ("a timedelta is not a value; use value.total_seconds()")
        )
    if isinstance(value, Unset):
        return "UNSET means absent, which only fields of objects can be; use None, or leave the item out"
    if isinstance(value, (set, frozenset)):
        return f"{with_article(name)} is not a value; use a list: sorted(x)"
    package = type(value).__module__.partition(".")[0]
    if package in ("numpy", "pandas", "polars", "pyarrow"):
        fix = _FRAME_FIXES.get((package, name), "x.tolist()" if package in ("numpy", "pandas") else "x.to_list()")
        return f"a {package} {name} is not a value; use {fix}"
    if name == "Decimal":
        return "a Decimal is not a value; use float(x), str(x), or whole cents as int"
    if name == "UUID":
        return "a UUID is not a value; use str(x)"
    if name in ("generator", "map", "filter", "zip", "range", "dict_keys", "dict_values", "dict_items", "deque"):
        return f"{with_article(name)} is not a value; use list(x)"
    if name == "coroutine":
        return "a coroutine is not a value; await it, or call a plain function"
    if isinstance(value, Awaitable) and isinstance(
        said := getattr(value, "said", None), str
    ):  # what ctx of actions gives
        return f"what {said}(...) gives is still to come; write `await {said}(...)`"
    return f"{with_article(name)} is not a value; values are None, bool, int, float, str, bytes, list and dict"


def too_deep(bounds: Bounds) -> Mismatch:
    """Return the mismatch of a value that is nested too deeply."""
    fix = "flatten it, or look for a list or dict that contains itself"
    return Mismatch(f"nested deeper than {bounds.nesting} levels; {fix}", limit=True)


def refuse_large() -> NoReturn:
    """Raise for an int that is no number of the value model."""
    raise Mismatch(
        "an int beyond 2**53 is not exact as a number; use Int64(x) (v.int64() in schemas), float(x) or str(x)"
    )


def _remember(names: set[str], name: str) -> None:
    if len(names) < _REMEMBERED:
        names.add(name)


_FRAME_FIXES = {
    ("pandas", "DataFrame"): 'df.to_dict("records")',
    ("pandas", "NAType"): "None",
    ("polars", "DataFrame"): "df.to_dicts()",
    ("polars", "LazyFrame"): "df.collect().to_dicts()",
    ("pyarrow", "Table"): "table.to_pylist()",
}
_AS_THEY_ARE = frozenset({type(None), bool, float, Int64, Id, bytes})
_REMEMBERED = 10_000
_good_keys: set[str] = set()
_good_fields: set[str] = set()
