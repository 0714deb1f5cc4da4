"""Ids of documents: short text that holds its table and a checksum, in the form that Convex's ids have.

``base32(varint(table number) + 16 internal bytes + fletcher16 of those)``, without padding, in an alphabet that has no
``i l o u``: 31 to 37 characters; 32 for the usual table numbers. To clients an id is an opaque string. The internal
bytes start with the time, so documents of a table are stored in the order of their making.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any

from nbreactive.errors import InvalidId

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_TO_ALPHABET = _ALPHABET.encode().ljust(256)
# int() reads base 32 with the digits 0-9 and a-v; all else becomes "!", which it refuses.
_TO_DIGITS = bytes(
    b"0123456789abcdefghijklmnopqrstuv"[_ALPHABET.index(chr(code))] if chr(code) in _ALPHABET else ord("!")
    for code in range(256)
)
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
    text = b"".join([_base32(raw[start : start + 20].ljust(20, b"\x00")) for start in range(0, len(raw), 20)])
    return Id(text[: (len(raw) * 8 + 4) // 5].decode())


@lru_cache(maxsize=16384)
def decode_id(text: str) -> tuple[int, bytes]:
    """Return the table number and the internal bytes of an id, or raise :class:`~nbreactive.errors.InvalidId`.

    Examples
    --------
    >>> decode_id(encode_id(10001, bytes(16)))[0]
    10001
    """
    try:
        bits = int(text.encode("ascii").translate(_TO_DIGITS), 32) if 31 <= len(text) <= 37 else -1
    except ValueError:
        bits = -1
    if bits < 0:
        raise InvalidId(f"{text[:40]!a} is not an id; ids come from insert() and from the _id field of documents")
    size = len(text) * 5 // 8
    spare = len(text) * 5 - size * 8
    raw = (bits >> spare).to_bytes(size, "big")
    body = raw[:-2]
    number, used = _read_varint(body)
    if spare > 4 or bits & ((1 << spare) - 1) or len(body) != used + 16 or _checksum(body) != raw[-2:]:
        raise InvalidId(
            f"{text!a} is not an id (its checksum is wrong); copy it whole, from the _id field of a document"
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
    # Fletcher: the sum of the bytes, and the sum of the running sums, in which a byte with k bytes after it counts
    # k + 1 times. 256**k is 1 + 255 * k modulo 255**2, so the remainder of the whole number holds those k sums.
    total = sum(body)
    weighted = (int.from_bytes(body, "big") % 65025 - total) // 255
    return bytes((total % 255, (weighted + total) % 255))


def _lanes(bits: int, width: int) -> int:
    """Return a mask of the low ``bits`` of every lane of ``width`` bits in 256."""
    return sum(((1 << bits) - 1) << start for start in range(0, 256, width))


_SPREAD = tuple(
    (_lanes(half, 2 * lane), _lanes(2 * half, 2 * lane) ^ _lanes(half, 2 * lane), lane - half)
    for half, lane in ((80, 128), (40, 64), (20, 32), (10, 16), (5, 8))
)
"""How 160 bits become 32 bytes of 5 bits: five times, the upper half of every lane moves to a lane of its own."""


def _base32(raw: bytes) -> bytes:
    bits = int.from_bytes(raw, "big")
    for low, high, shift in _SPREAD:
        bits = bits & low | (bits & high) << shift
    return bits.to_bytes(32, "big").translate(_TO_ALPHABET)
