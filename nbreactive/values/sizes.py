"""The size of a value as limits count it: Convex's formula, so that both refuse the same documents.

null and booleans 1, numbers 9, strings and bytes 2 and their bytes, arrays 2 and their items, objects 2 and for every
field its name, 1, and its value.
"""

# What is checked comes from anywhere, so its types are not known before.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

from typing import Any

from nbreactive.errors import LimitExceeded
from nbreactive.values.limits import DOCUMENT_SIZE, over

_FIXED: dict[type, int] = {type(None): 1, bool: 1, int: 9, float: 9}
_MOST_PER_PACKED_BYTE = 9
"""A number that packs into one byte counts 9; nothing counts more per packed byte."""


def size_of(value: Any) -> int:
    """Return the size of a checked value in bytes.

    Examples
    --------
    >>> size_of({"name": "Ada", "tags": [1, None]})
    29
    """
    kind = type(value)
    fixed = _FIXED.get(kind)
    if fixed is not None:
        return fixed
    if isinstance(value, str):
        return 2 + (len(value) if value.isascii() else len(value.encode()))
    if kind is dict:
        return 2 + sum([len(name) + 1 + size_of(item) for name, item in value.items()])
    if kind is list:
        return 2 + sum([size_of(item) for item in value])
    return 2 + len(value) if kind is bytes else 9


def check_document_size(document: dict[str, Any], packed: bytes, where: str = "") -> None:
    """Refuse a document over 1 MiB; ``packed`` is its packed form, which nearly always answers without counting."""
    if len(packed) * _MOST_PER_PACKED_BYTE <= DOCUMENT_SIZE:
        return
    size = size_of(document)
    if size > DOCUMENT_SIZE:
        fix = "split it into several documents, or keep large data in file storage"
        raise LimitExceeded(over("bytes in a document", size, DOCUMENT_SIZE, fix), where)
