"""What validators compile to: one closure per validator, called with a value and a resolver of ids.

A closure returns the plain value or raises :class:`~nbreactive.values._paths.Mismatch`. The type that is expected is
tried first, by identity of its type; kin (NumPy scalars, tuples, subclasses) are unwrapped and tried again.
"""

# What is checked comes from anywhere, so its types are not known before.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from nbreactive.errors import InvalidId
from nbreactive.values._paths import Mismatch, WrongFields, describe, show
from nbreactive.values.checks import Bounds, check_keys, plain, plain_text, refuse_large, too_deep, unwrap
from nbreactive.values.ids import decode_id
from nbreactive.values.kinds import UNSET, Int64
from nbreactive.values.limits import MAX_INT64, MAX_INTEGER, MIN_INT64, over
from nbreactive.values.moments import EARLIEST, LATEST, to_milliseconds

TableOf = Callable[[str], str | None] | None
"""Tells the table of an id, or None for an id of no table."""
Check = Callable[[Any, TableOf], Any]


def wrong(expected: str, value: Any, fix: str = "") -> Mismatch:
    """Return the mismatch of a value that is something else than expected."""
    return Mismatch(f"expected {expected}, got {describe(value)}" + (f"; {fix}" if fix else ""))


def any_check(bounds: Bounds, depth: int) -> Check:
    """Take every value."""
    return lambda value, _: plain(value, bounds, depth)


def null_check(value: Any, _: TableOf) -> None:
    """Take None."""
    if value is not None:
        raise wrong("null", value, "use None")


def string_check(value: Any, _: TableOf) -> str:
    """Take text."""
    if type(value) is str and value.isascii():
        return value
    kin = unwrap(value)
    if isinstance(kin, str):
        return plain_text(kin)
    raise wrong("a string", value, "use str(x)" if isinstance(kin, (bool, int, float)) else "")


def boolean_check(value: Any, _: TableOf) -> bool:
    """Take True and False."""
    if value is True or value is False:
        return value
    kin = unwrap(value)
    if isinstance(kin, bool):
        return kin
    raise wrong("a boolean", value, "use bool(x)" if isinstance(kin, (int, float)) else "")


def bytes_check(value: Any, _: TableOf) -> bytes:
    """Take bytes."""
    if type(value) is bytes:
        return value
    kin = unwrap(value)
    if isinstance(kin, bytes):
        return kin
    raise wrong("bytes", value, "use text.encode()" if isinstance(kin, str) else "")


def number_check(value: Any, table_of: TableOf) -> float:
    """Take numbers, and give floats."""
    kind = type(value)
    if kind is float:
        return value
    if kind is int:
        return float(value) if -MAX_INTEGER <= value <= MAX_INTEGER else refuse_large()
    kin = unwrap(value)
    if type(kin) is not kind:
        return number_check(kin, table_of)
    raise wrong("a number", value, _number_fix(kin, "float"))


def integer_check(value: Any, table_of: TableOf) -> int:
    """Take whole numbers, 5.0 too, and give ints."""
    kind = type(value)
    if kind is int:
        return value if -MAX_INTEGER <= value <= MAX_INTEGER else refuse_large()
    if kind is float:
        if value.is_integer() and -MAX_INTEGER <= value <= MAX_INTEGER:
            return int(value)
        fix = "whole numbers end at 2**53; use v.number() (float) for larger ones"
        raise wrong(
            "a whole number", value, "use round(x), or v.number() (float) for fractions" if abs(value) < 2**53 else fix
        )
    kin = unwrap(value)
    if type(kin) is not kind:
        return integer_check(kin, table_of)
    raise wrong("a whole number", value, _number_fix(kin, "int"))


def int64_check(value: Any, table_of: TableOf) -> Int64:
    """Take 64-bit integers, plain ints too, and give Int64."""
    kind = type(value)
    if kind is Int64:
        return value
    if kind is int:
        if MIN_INT64 <= value <= MAX_INT64:
            return Int64(value)
        raise wrong("a 64-bit integer", value, "it ends at 2**63 - 1; use v.string() and str(x) for larger ones")
    kin = unwrap(value)
    if type(kin) is not kind:
        return int64_check(kin, table_of)
    raise wrong("a 64-bit integer", value, "use int(x)" if isinstance(kin, (bool, float)) else "")


def datetime_check(value: Any, table_of: TableOf) -> int | float:
    """Take aware datetimes and milliseconds, and give milliseconds."""
    if isinstance(value, datetime):
        return to_milliseconds(value)
    kind = type(value)
    if kind is int or kind is float:
        if EARLIEST <= value <= LATEST:
            return value
        raise wrong("milliseconds since 1970 within the years 1 to 9999", value, "is it in another unit?")
    kin = unwrap(value)
    if type(kin) is not kind:
        return datetime_check(kin, table_of)
    fix = "use datetime.fromisoformat(x)" if isinstance(kin, str) else ""
    raise wrong("a datetime with a time zone (or milliseconds since 1970)", value, fix)


def id_check(table: str) -> Check:
    """Take ids of one table; without a resolver, ids of any table."""
    expected = f"an id of the table {show(table)}"

    def check(value: Any, table_of: TableOf) -> str:
        if not isinstance(value, str):
            kin = unwrap(value)
            if not isinstance(kin, str):
                fix = 'pass document["_id"]' if isinstance(kin, dict) else ""
                raise wrong(expected, value, fix)
            value = kin
        try:
            decode_id(value)
        except InvalidId as error:
            raise Mismatch(f"expected {expected}; {error}") from None
        if table_of is not None and (found := table_of(value)) != table:
            what = f"one of the table {show(found)}" if found else "one of a table that does not exist here"
            raise Mismatch(f"expected {expected}, got {what}")
        return value

    return check


def literal_check(literal: str | bool | float) -> Check:
    """Take one value only; 1 and 1.0 are one, 1 and True are not."""
    kind = type(literal)
    number = kind in (int, float)
    expected = describe(literal)

    def check(value: Any, _: TableOf) -> Any:
        if value == literal and (type(value) is kind or (number and type(value) in (int, float))):
            return literal
        kin = unwrap(value)
        if type(kin) is not type(value):
            return check(kin, _)
        raise wrong(expected, value)

    return check


def array_check(item: Check, bounds: Bounds, depth: int) -> Check:
    """Take lists and tuples of items."""

    def check(value: Any, table_of: TableOf) -> list[Any]:
        if type(value) is not list:
            kin = unwrap(value)
            if type(kin) is not list:
                fix = "use list(x)" if hasattr(value, "__iter__") and not isinstance(kin, (str, bytes, dict)) else ""
                raise wrong("an array", value, fix)
            value = kin
        if depth >= bounds.nesting:
            raise too_deep(bounds)
        if len(value) > bounds.items:
            fix = "store them as documents of a table, or split the array"
            raise Mismatch(over("items in an array", len(value), bounds.items, fix), limit=True)
        result: list[Any] = []
        append = result.append
        try:
            for each in value:
                append(item(each, table_of))
        except Mismatch as mismatch:
            raise mismatch.at(len(result)) from None
        return result

    return check


def record_check(key_check: Check, item: Check, bounds: Bounds, depth: int) -> Check:
    """Take dicts of any keys."""

    def check(value: Any, table_of: TableOf) -> dict[str, Any]:
        fields = _as_dict(value)
        if depth >= bounds.nesting:
            raise too_deep(bounds)
        check_keys(fields)
        result: dict[str, Any] = {}
        key = ""
        try:
            for key, each in fields.items():
                if each is not UNSET:
                    result[key_check(key, table_of)] = item(each, table_of)
        except Mismatch as mismatch:
            raise mismatch.at(key) from None
        return result

    return check


def object_check(fields: Mapping[str, tuple[Check, bool, str]], bounds: Bounds, depth: int) -> Check:
    """Take dicts of exactly these fields: name -> (check, optional, what is expected)."""
    steps = tuple((name, check, optional) for name, (check, optional, _) in fields.items())

    def check(value: Any, table_of: TableOf) -> dict[str, Any]:
        if type(value) is not dict:
            value = _as_dict(value)
        if depth >= bounds.nesting:
            raise too_deep(bounds)
        result: dict[str, Any] = {}
        name, optional, item = "", False, None
        try:
            for name, field, optional in steps:
                item = value.get(name, UNSET)
                if item is not UNSET:
                    result[name] = field(item, table_of)
                elif not optional:
                    raise WrongFields(f"is missing; expected {fields[name][2]}", _unknown(value, fields), [*fields])
        except Mismatch as mismatch:
            if optional and item is None and not mismatch.steps:
                mismatch.message += "; leave the field out (UNSET), or allow null with v.nullable()"
            raise mismatch.at(name) from None
        if len(result) != len(value):
            unknown = _unknown(value, fields)
            if unknown:
                raise WrongFields("", unknown[:1], [*fields])
        return result

    return check


def union_check(members: Sequence[tuple[Check, Callable[[Any], bool], dict[str, Any]]], expected: str) -> Check:
    """Take what any member takes.

    Members are (check, whether a plain value is worth it, fields that can have one value only).
    """

    def check(value: Any, table_of: TableOf) -> Any:
        failures: list[Mismatch] = []
        for member, may_be, tags in members:
            if may_be(value) and not (tags and any(value.get(name) != tag for name, tag in tags.items())):
                try:
                    return member(value, table_of)
                except Mismatch as mismatch:
                    failures.append(mismatch)
        kin = unwrap(value)
        if type(kin) is not type(value):
            return check(kin, table_of)
        if failures:
            # The failure that got furthest is about what was meant; a lone one is in any case.
            furthest = max(failures, key=lambda failure: len(failure.steps))
            if len(failures) == 1 or furthest.steps or furthest.limit:
                raise furthest
        raise wrong(expected, value)

    return check


def _as_dict(value: Any) -> dict[Any, Any]:
    kin = unwrap(value)
    if type(kin) is dict:
        return kin
    raise wrong("an object", value, "use a dict")


def _unknown(value: dict[Any, Any], fields: Mapping[str, Any]) -> list[str]:
    return [str(name) for name, item in value.items() if name not in fields and item is not UNSET]


def _number_fix(value: Any, python: str) -> str:
    if isinstance(value, Int64):
        return "use int(x), or v.int64()"
    return f"use {python}(x)" if isinstance(value, (bool, str)) else ""
