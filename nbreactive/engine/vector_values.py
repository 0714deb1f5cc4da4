"""What a vector index keeps of a document: its vector at length one, and a code for the value of each filter field.

Computed by the backend from the document, never taken from a worker. What a write touches of a vector index are not keys
that are stored anywhere but the names of the searches that it may concern: all without a filter, and those for the value
that it has in a filter field.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, cast

import msgspec

from nbreactive.engine.catalog import IndexInfo, field_of
from nbreactive.engine.read_set import point
from nbreactive.engine.transactions import Interval
from nbreactive.values.keys import encode_key

CODE_BYTES: Final = 8
ANY: Final = b"\x00"
"""What every write touches; searches without a filter read it."""
STATE: Final = b"\xff"
"""What is touched when the index has been built anew; every search reads it."""

_NUMBERS: Final = frozenset({float, int})
_LEAST: Final = 1e-150


class VectorRow(msgspec.Struct, frozen=True, gc=False):
    """What one document has in one vector index from a commit on."""

    index: int
    data: bytes
    """The vector as 32-bit floats, of length one; empty: the document has none."""
    codes: bytes = b""
    """One code per filter field."""


def normalised(value: object, dimensions: int) -> bytes | None:
    """Return a vector at length one, as 32-bit floats; None if it is no list of so many finite numbers, or all are zero.

    Examples
    --------
    >>> array("f", normalised([3.0, 0.0, 4], 3)).tolist()
    [0.6000000238418579, 0.0, 0.800000011920929]
    >>> normalised([1.0, 2.0], 3) is None
    True
    """
    if not isinstance(value, list) or len(cast("list[object]", value)) != dimensions:
        return None
    numbers = cast("list[float]", value)
    if not _NUMBERS.issuperset(map(type, numbers)):
        return None
    length = math.hypot(*numbers)
    if not _LEAST < length < math.inf:  # too small or too large to be divided by: its numbers are first made like 1
        most = max(map(abs, numbers))
        if not most or not all(map(math.isfinite, numbers)):
            return None
        numbers = [number / most for number in numbers]
        length = math.hypot(*numbers)
    return array("f", [number / length for number in numbers]).tobytes()


def filter_code(value: Any) -> bytes:
    """Return what stands for the value of a filter field; UNSET is one, too."""
    return blake2b(encode_key(value), digest_size=CODE_BYTES).digest()


def vector_row(index: IndexInfo, doc: Mapping[str, Any]) -> VectorRow | None:
    """Return what a document has in a vector index, if anything."""
    data = normalised(field_of(doc, index.fields[0]), index.dimensions)
    return VectorRow(index.id, data, _codes(index, doc)) if data is not None else None


def vector_change(
    index: IndexInfo, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None
) -> tuple[VectorRow, list[bytes]] | None:
    """Return what a write makes of a document in a vector index, and what it touches; None: nothing changes."""
    before = field_of(old, index.fields[0]) if old is not None else None
    if old is not None and new is not None and _same(before, field_of(new, index.fields[0])):
        names = index.filter_fields
        if all(encode_key(field_of(old, name)) == encode_key(field_of(new, name)) for name in names):
            return None
    row = vector_row(index, new) if new is not None else None
    codes: list[bytes] = []
    # Whether the old one was a vector need not be known exactly: then too much is touched.
    if old is not None and isinstance(before, list) and len(cast("list[object]", before)) == index.dimensions:
        codes.append(_codes(index, old))
    if row is not None:
        codes.append(row.codes)
    return (row or VectorRow(index.id, b""), _touched(codes)) if codes else None


def _same(before: Any, after: Any) -> bool:
    """Whether two values are one vector, or both of them none: True equals 1 in Python, but is no number of a vector."""
    if before != after:
        return False
    if not isinstance(before, list):
        return True
    pairs = zip(cast("list[object]", before), cast("list[object]", after), strict=True)
    return all(isinstance(one, bool) == isinstance(other, bool) for one, other in pairs)


def _codes(index: IndexInfo, doc: Mapping[str, Any]) -> bytes:
    return b"".join([filter_code(field_of(doc, name)) for name in index.filter_fields])


def _touched(several: Sequence[bytes]) -> list[bytes]:
    keys = {ANY: None}
    for codes in several:
        for position, at in enumerate(range(0, len(codes), CODE_BYTES)):
            keys[filter_key(position, codes[at : at + CODE_BYTES])] = None
    return list(keys)


def filter_key(position: int, code: bytes) -> bytes:
    """Return what a write touches whose document has that code in a filter field."""
    return bytes((position + 1,)) + code


def search_intervals(filters: Sequence[tuple[int, bytes]]) -> list[Interval]:
    """Return what a search reads that wants one of ``filters`` (position and code) to hold; none: all documents."""
    keys = [filter_key(position, code) for position, code in filters] or [ANY]
    return [point(key) for key in (*keys, STATE)]
