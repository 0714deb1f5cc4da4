"""The commonest expressions without DuckDB: columns as they are, compared with constants.

Numbers, texts and booleans have one order and one equality in DuckDB and here, so a statement that only has such
conditions, keys and arguments follows a change in some microseconds instead of some hundred. Whatever else there is goes
to DuckDB; sort keys are the same bytes in either way.
"""

# a tree of JSON has no types
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import math
import operator
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nbreactive.columns.live.accumulators import ascending
from nbreactive.columns.live.tree import Node

Comparison = tuple[str, Callable[[Any, Any], bool], Any]
"""A column, an operator and a constant."""

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "COMPARE_EQUAL": operator.eq,
    "COMPARE_NOTEQUAL": operator.ne,
    "COMPARE_LESSTHAN": operator.lt,
    "COMPARE_LESSTHANOREQUALTO": operator.le,
    "COMPARE_GREATERTHAN": operator.gt,
    "COMPARE_GREATERTHANOREQUALTO": operator.ge,
}
_EXACT = re.compile(r"-?\d{1,15}$|(?=.{3,17}$)-?\d+\.\d+$")
"""Numbers of at most 15 digits: as doubles they are the same however they become one."""
_WIDTHS = {"TINYINT": 1, "SMALLINT": 2, "INTEGER": 4, "BIGINT": 8, "HUGEINT": 16}
_TOP = 1 << 63


def comparisons(where: Node | None, columns: Mapping[str, str], params: Mapping[str, Any]) -> list[Comparison] | None:
    """Return a condition as comparisons that must all hold; None if it is something else."""
    if where is None:
        return []
    if where.get("type") == "CONJUNCTION_AND":
        parts = [comparisons(child, columns, params) for child in where["children"]]
        return None if None in parts else [test for part in parts if part for test in part]
    compare, left, right = _COMPARE.get(str(where.get("type"))), where.get("left", {}), where.get("right", {})
    name = bare(left)
    if compare is None or name is None:
        return None
    if right.get("class") == "PARAMETER":
        wanted = str(right["identifier"]).casefold()
        value = next((value for given, value in params.items() if given.casefold() == wanted), None)
    elif right.get("class") == "CONSTANT":
        value = _literal(right.get("literal", {}))
    else:
        return None
    type_ = columns.get(name, "")
    if value is None or not _comparable(type_, value):
        return None
    return [(name, compare, ascending(float(value) if type_ == "DOUBLE" else value))]


def passes(row: Mapping[str, Any], conditions: Sequence[Comparison]) -> bool:
    """Tell whether all comparisons hold; with NULL none does."""
    return all((value := row[name]) is not None and compare(ascending(value), to) for name, compare, to in conditions)


def bare(node: Node) -> str | None:
    """Return the name of a column that stands for itself."""
    return (
        str(node["column_names"][1]) if node.get("class") == "COLUMN_REF" and len(node["column_names"]) == 2 else None
    )


def sort_key_of(types: Sequence[str], hows: Sequence[str]) -> Callable[[Sequence[Any]], bytes] | None:
    """Return what makes the bytes of DuckDB's ``create_sort_key`` of values and of an empty text; None for other types.

    Examples
    --------
    >>> key = sort_key_of(["BIGINT", "VARCHAR"], ["DESC NULLS LAST", "ASC NULLS LAST"])
    >>> key([5, "a"]) < key([4, "b"]) < key([4, None]) < key([None, ""])
    True
    """
    parts: list[tuple[Callable[[Any], bytes], bytes, bytes, bool]] = []
    for type_, how in zip(types, hows, strict=True):
        encode = _encoder(type_)
        if encode is None:
            return None
        last = how.endswith("NULLS LAST")
        parts.append((encode, b"\1" if last else b"\2", b"\2" if last else b"\1", how.startswith("DESC")))

    def key(values: Sequence[Any]) -> bytes:
        out = bytearray()
        for value, (encode, there, null, down) in zip(values, parts, strict=True):
            if value is None:
                out += null
            else:
                out += there
                out += encode(value).translate(_INVERTED) if down else encode(value)
        return bytes(out + b"\1\0")

    return key


_INVERTED = bytes(range(255, -1, -1))
_SHIFTED = bytes([*range(1, 256), 0])


def _encoder(type_: str) -> Callable[[Any], bytes] | None:
    if type_ == "VARCHAR":
        return lambda value: value.encode().translate(_SHIFTED) + b"\0"
    if type_ == "BOOLEAN":
        return lambda value: b"\1" if value else b"\0"
    if type_ == "DOUBLE":
        return _double
    width = _WIDTHS.get(type_)
    if width is None:
        return None
    half = 1 << (8 * width - 1)
    return lambda value: (int(value) + half).to_bytes(width, "big")


def _double(value: float) -> bytes:
    if math.isnan(value):
        return b"\xff" * 8
    if math.isinf(value):
        return b"\xff" * 7 + b"\xfe" if value > 0 else bytes(8)
    (bits,) = struct.unpack(">Q", struct.pack(">d", value or 0.0))
    return ((~bits & (2 * _TOP - 1)) if bits & _TOP else bits | _TOP).to_bytes(8, "big")


def _literal(literal: Mapping[str, Any]) -> Any:
    kind, text = literal.get("kind"), str(literal.get("text", ""))  # an empty text is left out of the tree
    if kind == "STRING":
        return text
    if kind == "INTEGER" and _EXACT.match(text):
        return int(text)
    return float(text) if kind == "NUMERIC" and _EXACT.match(text) else None


def _comparable(type_: str, value: Any) -> bool:
    if type_ == "VARCHAR":
        return type(value) is str
    if type_ == "BIGINT":
        return type(value) is int and abs(value) < _TOP
    return type_ == "DOUBLE" and (
        (type(value) is float and not math.isnan(value)) or (type(value) is int and abs(value) < 1 << 53)
    )
