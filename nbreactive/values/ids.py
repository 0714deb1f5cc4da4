"""Ids of documents: short text that holds its table and a checksum, in the form that Convex's ids have.

``base32(varint(table number) + 16 internal bytes + fletcher16 of those)``, without padding, in an alphabet that has no
``i l o u``: 31 to 37 characters; 32 for the usual table numbers. To clients an id is an opaque string. The internal
bytes start with the time, so documents of a table are stored in the order of their making.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Annotated, Any

from nbreactive.errors import InvalidId

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = tuple(high + low for high in _ALPHABET for low in _ALPHABET)
_TO_DIGITS = str.maketrans(_ALPHABET, "0123456789abcdefghijklmnopqrstuv")
_well_formed = re.compile(f"[{_ALPHABET}]{{31,37}}", re.ASCII).fullmatch
_MAX_TABLE_NUMBER = 2**32 - 1


class TableName(str):
    """What ``Id["posts"]`` carries inside its ``Annotated``."""

    __slots__ = ()


class Id(str):
    """The id of a document: a string, and nothing but a string to everybody else.

    ``Id["posts"]`` is the type hint of an id of the table ``posts``.

    Examples
    --------
    >>> Id["posts"]
    typing.Annotated[nbreactive.values.ids.Id, 'posts']
    """

    __slots__ = ()

    if not TYPE_CHECKING:

        def __class_getitem__(cls, table: str) -> Any:
            return Annotated[cls, TableName(table)]


@lru_cache(maxsize=16384)
def encode_id(table_number: int, internal: bytes) -> Id:
    """Encode a table's number and the 16 internal bytes of a document.

    Examples
    --------
    >>> encode_id(10001, bytes(16))
    '...'
    """
    if len(internal) != 16 or not 0 < table_number <= _MAX_TABLE_NUMBER:
        raise InvalidId(f"an id is made of a table number and 16 bytes, not {table_number!r} and {len(internal)} bytes")
    body = _varint(table_number) + internal
    raw = body + _checksum(body)
    # From the front, 40 bits give 8 characters; two at a time from a table.
    pairs = _PAIRS
    text: list[str] = []
    for start in range(0, len(raw), 5):
        bits = int.from_bytes(raw[start : start + 5].ljust(5, b"\x00"), "big")
        text += (pairs[bits >> 30], pairs[bits >> 20 & 1023], pairs[bits >> 10 & 1023], pairs[bits & 1023])
    return Id("".join(text)[: (len(raw) * 8 + 4) // 5])


@lru_cache(maxsize=16384)
def decode_id(text: str) -> tuple[int, bytes]:
    """Return the table number and the internal bytes of an id, or raise :class:`~nbreactive.errors.InvalidId`.

    Examples
    --------
    >>> decode_id(encode_id(10001, bytes(16)))[0]
    10001
    """
    if not _well_formed(text):
        raise InvalidId(f"{text[:60]!r} is not an id; ids come from insert() and from the _id field of documents")
    size = len(text) * 5 // 8
    spare = len(text) * 5 - size * 8
    bits = int(text.translate(_TO_DIGITS), 32)
    raw = (bits >> spare).to_bytes(size, "big")
    body = raw[:-2]
    number, used = _read_varint(body)
    if spare > 4 or bits & ((1 << spare) - 1) or len(body) != used + 16 or _checksum(body) != raw[-2:]:
        raise InvalidId(
            f"{text!r} is not an id (its checksum is wrong); copy it whole, from the _id field of a document"
        )
    return number, body[used:]


def new_internal(ms: int, counter: int, random: bytes) -> bytes:
    """Make the internal bytes of a new document: 48 bits of time, 16 bits of counter, 8 random bytes.

    Examples
    --------
    >>> new_internal(1_700_000_000_000, 1, b"randomly").hex()
    '018bcfe56800000172616e646f6d6c79'
    """
    return ((ms & 0xFFFF_FFFF_FFFF) << 16 | counter & 0xFFFF).to_bytes(8, "big") + random[:8]


def _varint(number: int) -> bytes:
    if number < 0x80:
        return bytes((number,))
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    return bytes((number & 0x7F | 0x80,)) + _varint(number >> 7)


def _read_varint(data: bytes) -> tuple[int, int]:
    """Return the number and how many bytes it took; (0, 0), which fits no id, unless in its one shortest form."""
    number = 0
    for index, byte in enumerate(data[:5]):
        number |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            shortest = index == 0 or byte != 0
            return (number, index + 1) if shortest and 0 < number <= _MAX_TABLE_NUMBER else (0, 0)
    return 0, 0


def _checksum(body: bytes) -> bytes:
    # Fletcher: the sum of the bytes, and the sum of the running sums.
    sums = list(accumulate(body))
    return bytes((sums[-1] % 255, sum(sums) % 255))
