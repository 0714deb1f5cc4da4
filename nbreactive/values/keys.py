"""Values as index keys: bytes whose order is the order of the values.

Every value starts with a tag for its type, in Convex's cross-type order::

    absent < null < Int64 < number < false < true < string < bytes < array < object

and ends where it ends: no key is a prefix of another, so keys of several fields are simply joined and the keys that
start with given values are exactly ``[prefix, successor(prefix))``. Three devices make that so:

* numbers are doubles whose sign bit is flipped (positive) or all of whose bits are (negative), which makes their bytes
  sort as the numbers do: ``-NaN < -inf < ... < -0.0 < 0.0 < ... < inf < NaN``;
* text and bytes end with 00; inside, 00 is written 01 01 and 01 is written 01 02, which keeps the order;
* arrays and objects are their parts, then 00, which no part starts with.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from nbreactive.errors import InvalidValue
from nbreactive.values._paths import with_article
from nbreactive.values.kinds import Int64, Unset

ABSENT = b"\x01"
NULL = b"\x03"
FALSE = b"\x0e"
TRUE = b"\x0f"
ZERO = b"\x0d\x80\x00\x00\x00\x00\x00\x00\x00"
END = b"\xff" * 17
"""Greater than every key: tags are below 0x16, and the 16 bytes of a document's id are one byte shorter."""

_tagged_double = struct.Struct(">Bd").pack
_tagged_int64 = struct.Struct(">BQ").pack
_double = struct.Struct(">d").pack


def encode_key(value: Any) -> bytes:
    """Encode one value (or :data:`~nbreactive.values.kinds.UNSET`) as a key.

    Examples
    --------
    >>> encode_key(None) < encode_key(-1) < encode_key(0.5) < encode_key(2) < encode_key("") < encode_key([])
    True
    >>> encode_key(1) == encode_key(1.0)
    True
    """
    try:
        return _ENCODERS[type(value)](value)
    except KeyError:
        return _encode_kin(value)


def encode_fields(values: Iterable[Any]) -> bytes:
    """Encode several values as one key that sorts by the first, then the second, and so on.

    Examples
    --------
    >>> encode_fields(["a", 2]) < encode_fields(["a", 10]) < encode_fields(["ab", 1])
    True
    """
    encoders = _ENCODERS
    try:
        return b"".join([encoders[type(value)](value) for value in values])
    except KeyError:
        return b"".join([encode_key(value) for value in values])


def encode_column(values: Sequence[Any]) -> list[bytes]:
    """Encode many values, each as :func:`encode_key` does; several times as fast if all are text, or all positive floats.

    Examples
    --------
    >>> encode_column(["a", "b"]) == [encode_key("a"), encode_key("b")]
    True
    """
    kinds = set(map(type, values))
    if kinds == {str}:
        text = "\0".join(values)
        if text.count("\0") == len(values) - 1 and "\1" not in text:
            return [b"\x10" + raw + b"\0" for raw in text.encode().split(b"\0")]
    elif kinds == {float}:
        raw = struct.pack(f">{len(values)}d", *values)
        if max(raw[::8]) < 0x80:  # no sign bit is set, so setting all of them is all there is to do
            signs = int.from_bytes(b"\x80\0\0\0\0\0\0\0" * len(values), "big")
            raw = (int.from_bytes(raw, "big") | signs).to_bytes(len(raw), "big")
            return [b"\x0d" + raw[start : start + 8] for start in range(0, len(raw), 8)]
    return [encode_key(value) for value in values]


def successor(prefix: bytes) -> bytes:
    r"""Return the smallest key that is greater than every key which starts with ``prefix``.

    Examples
    --------
    >>> successor(b"ab"), successor(b"a\xff")
    (b'ac', b'b')
    """
    last = prefix[-1:]
    if last != b"\xff" and last:
        return prefix[:-1] + bytes((prefix[-1] + 1,))
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes((stem[-1] + 1,)) if stem else END


def _encode_number(value: float) -> bytes:
    if value > 0:
        return _tagged_double(0x0D, -value)  # negating flips the sign bit and nothing else
    if value == 0 and _double(value)[0] == 0:
        return ZERO
    bits = int.from_bytes(_double(value), "big")
    bits ^= 0xFFFF_FFFF_FFFF_FFFF if bits >> 63 else 1 << 63
    return b"\x0d" + bits.to_bytes(8, "big")


def _encode_int64(value: int) -> bytes:
    return _tagged_int64(0x04, value + (1 << 63))


def _escape(raw: bytes) -> bytes:
    return raw.replace(b"\x01", b"\x01\x02").replace(b"\x00", b"\x01\x01")


def _encode_text(value: str) -> bytes:
    raw = value.encode()
    if b"\x00" in raw or b"\x01" in raw:
        raw = _escape(raw)
    return b"\x10" + raw + b"\x00"


def _encode_bytes(value: bytes) -> bytes:
    return b"\x11%b\x00" % _escape(value)


def _encode_array(value: list[Any]) -> bytes:
    return b"\x12%b\x00" % encode_fields(value)


def _encode_object(value: dict[str, Any]) -> bytes:
    parts = [b"\x15"]
    for name in sorted(value):
        parts.append(_encode_text(name))
        parts.append(encode_key(value[name]))
    parts.append(b"\x00")
    return b"".join(parts)


def _encode_kin(value: Any) -> bytes:
    if isinstance(value, str):
        return _encode_text(value)
    raise InvalidValue(f"{with_article(type(value).__name__)} cannot be compared with an index; pass a plain value")


_ENCODERS: dict[type, Callable[[Any], bytes]] = {
    Unset: lambda _: ABSENT,
    type(None): lambda _: NULL,
    bool: lambda value: TRUE if value else FALSE,
    int: _encode_number,
    float: _encode_number,
    Int64: _encode_int64,
    str: _encode_text,
    bytes: _encode_bytes,
    list: _encode_array,
    dict: _encode_object,
}
