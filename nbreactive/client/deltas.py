"""The last result of a live query, as what the row deltas of the server are applied to.

Only rows that are new are decoded. What was decoded stays here, untouched: every value that is given out has rows of its
own, so that whatever is done to them is not in the next value.
"""

# Rows may be anything.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple
from zlib import crc32

import msgspec

from nbreactive.client.local_store import copy_value
from nbreactive.client.protocol import QueryDelta
from nbreactive.errors import ProtocolError
from nbreactive.values.json import decode_json

_split_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_split_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_CONTAINERS = frozenset((dict, list))


class _Row(NamedTuple):
    text: bytes
    value: Any
    copy: Callable[[Any], Any]


class LastResult:
    """A result as it came, taken apart when the first delta comes."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._path: list[str] | None = None
        self._rows: list[_Row] = []

    def value(self) -> Any:
        """Decode the result."""
        return decode_json(self._text)

    def apply(self, delta: QueryDelta) -> Any:
        """Become the result that a delta leads to, and return it; raises ``ProtocolError`` if it leads from another one."""
        old = self._take_apart(delta.path)
        fresh = iter(_rows_of([row for _, _, rows in delta.runs for row in rows]))
        rows: list[_Row] = []
        for start, count, inserted in delta.runs:
            if not 0 <= start <= start + count <= len(old):
                raise ProtocolError("A delta has rows that the last result does not have")
            rows += old[start : start + count]
            rows += islice(fresh, len(inserted))
        if crc32(_join([row.text for row in rows])) != delta.check:
            raise ProtocolError("A delta does not lead to the result that the server has")
        self._path, self._rows, self._text = delta.path, rows, b""
        value: Any = [copy(row) for _, row, copy in rows]
        if not delta.path:
            return value
        around = decode_json(bytes(delta.rest))
        around[delta.path[0]] = value
        return around

    def _take_apart(self, path: Sequence[str]) -> list[_Row]:
        if self._path is not None:
            if self._path != path:
                raise ProtocolError("A delta is about another part of the result than those before")
            return self._rows
        try:
            text = _split_object(self._text)[path[0]] if path else self._text
            return _rows_of(_split_list(text))
        except (msgspec.MsgspecError, KeyError):
            raise ProtocolError("A delta is about a list that the last result does not have") from None


def _join(texts: Iterable[bytes | msgspec.Raw]) -> bytes:
    return b"[" + b",".join(texts) + b"]"


def _rows_of(texts: Sequence[msgspec.Raw]) -> list[_Row]:
    rows = decode_json(_join(texts))
    return [_Row(bytes(text), row, _copier_of(row)) for text, row in zip(texts, rows, strict=True)]


def _copier_of(row: Any) -> Callable[[Any], Any]:
    """Return the quickest way to copy a row: most are flat."""
    kind = type(row)
    if kind not in _CONTAINERS:
        return _itself
    flat = _CONTAINERS.isdisjoint(map(type, row.values() if kind is dict else row))
    return kind.copy if flat else copy_value


def _itself(row: Any) -> Any:
    return row
