"""Values as JSON, in the two forms that Convex's clients speak.

``convex_encoded_json`` is exact: what JSON lacks is an object with one key, ``{"$integer": base64}`` for 64-bit
integers, ``{"$bytes": base64}``, ``{"$float": base64}`` for NaN, infinities and -0.0. Keys are sorted, so equal values
have equal text. The clean form (``json``) has strings in their place and is for reading only.

Encoding is msgspec's, after one pass that looks for what needs a ``$`` form. Decoding is msgspec's too where the text has
nothing special; else the standard library's, as it shows every key: an object that has a key twice is refused, not read
one way here and another way elsewhere.
"""

# What is checked comes from anywhere, so its types are not known before.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

import binascii
import struct
from json import JSONDecoder
from math import copysign, isnan
from typing import Any

import msgspec

from nbreactive.errors import InvalidValue, LimitExceeded
from nbreactive.values._paths import Malformed, show, with_article
from nbreactive.values.checks import check_value
from nbreactive.values.kinds import UNSET, Int64
from nbreactive.values.limits import MAX_INTEGER, RESULT_ITEMS, VALUE_NESTING

_double = struct.Struct("<d")
_LARGEST = 1.7976931348623157e308


def encode_json(value: Any) -> bytes:
    """Encode a checked value as ``convex_encoded_json``.

    Examples
    --------
    >>> encode_json({"b": 5.0, "a": Int64(1)})
    b'{"a":{"$integer":"AQAAAAAAAAA="},"b":5.0}'
    """
    return _encode(value if _is_native(value) else to_jsonable(value))


def encode_clean(value: Any) -> bytes:
    """Encode a checked value in the clean form.

    Examples
    --------
    >>> encode_clean({"n": Int64(5), "raw": b"ab", "x": float("nan")})
    b'{"n":"5","raw":"YWI=","x":"NaN"}'
    """
    return _encode_clean(value if _is_native(value) else _name_floats(value))


def decode_json(data: bytes | bytearray | memoryview | str, where: str = "") -> Any:
    """Decode ``convex_encoded_json`` from outside; whatever is wrong raises InvalidValue with its path.

    Integers beyond 2**53 become floats, which is what they were to the JavaScript that wrote them.

    Examples
    --------
    >>> decode_json('{"n": {"$integer": "AQAAAAAAAAA="}, "x": 1.5}')
    {'n': Int64(1), 'x': 1.5}
    >>> decode_json('{"a": 1, "a": 2}')
    Traceback (most recent call last):
    nbreactive.errors.InvalidValue: the key 'a' is there twice; keep one of them
    """
    try:
        text = data if isinstance(data, str) else str(data, "utf-8")
        value = _decode_plain(text)
        if value is not UNSET:
            return value
        value = _decode(text)
    except RecursionError:
        raise LimitExceeded(f"nested deeper than {VALUE_NESTING} levels; flatten it", where) from None
    except ValueError as error:
        raise InvalidValue(f"not JSON ({error}); send what a JSON encoder writes, in UTF-8", where) from None
    return check_value(value, where, max_items=RESULT_ITEMS)


def _decode_plain(text: str) -> Any:
    """Decode text in which nothing is special the fast way; UNSET sends all other text the thorough way.

    An object has as many colons as keys, so text with as many colons as there are keys in its value has none twice.
    """
    if "$" in text or "-0" in text:
        return UNSET
    try:
        value = check_value(_decode_natively(text), max_items=RESULT_ITEMS)
    except (InvalidValue, msgspec.DecodeError, UnicodeError):
        return UNSET  # said better, with the path, by the thorough way
    return value if text.count(":") == _count_keys(value) else UNSET


def _count_keys(value: Any) -> int:
    if type(value) is dict:
        count = len(value)
        for item in value.values():
            if type(item) is dict or type(item) is list:
                count += _count_keys(item)
        return count
    if type(value) is list:
        return sum([_count_keys(item) for item in value if type(item) is dict or type(item) is list])
    return 0


def to_jsonable(value: Any) -> Any:
    """Return a checked value as what a JSON encoder takes, in the exact form.

    Examples
    --------
    >>> to_jsonable([Int64(1), b"ab", 1.5])
    [{'$integer': 'AQAAAAAAAAA='}, {'$bytes': 'YWI='}, 1.5]
    """
    kind = type(value)
    if kind is dict:
        return {key: to_jsonable(item) for key, item in value.items()}
    if kind is list:
        return [to_jsonable(item) for item in value]
    if kind is bytes:
        return {"$bytes": _base64(value)}
    if kind is float:
        return value if _is_native(value) else {"$float": _base64(_double.pack(value))}
    if kind is Int64:
        return _encode_kin(value)
    return str.__str__(value) if isinstance(value, str) else value


def from_jsonable(value: Any, where: str = "") -> Any:
    """Return the value that parsed JSON in the exact form stands for; the reverse of :func:`to_jsonable`.

    Text is better given to :func:`decode_json`, which also sees keys that are there twice.

    Examples
    --------
    >>> from_jsonable([{"$integer": "AQAAAAAAAAA="}])
    [Int64(1)]
    """
    return check_value(_unwrap(value, 0), where, max_items=RESULT_ITEMS)


def _is_native(value: Any) -> bool:
    """Whether msgspec writes every part of the value in the exact form by itself."""
    kind = type(value)
    if kind is float:
        return -_LARGEST <= value <= _LARGEST and (value != 0 or copysign(1, value) > 0)
    if kind is not dict and kind is not list:
        return kind is not bytes
    for item in value.values() if kind is dict else value:
        kind = type(item)
        if kind is float:
            if not 0 < item <= _LARGEST and not _is_native(item):
                return False
        elif (kind is dict or kind is list or kind is bytes) and not _is_native(item):
            return False
    return True


def _encode_kin(value: Any) -> Any:
    if isinstance(value, Int64):
        return {"$integer": _base64(value.to_bytes(8, "little", signed=True))}
    if isinstance(value, str):
        return str.__str__(value)
    raise InvalidValue(f"{with_article(type(value).__name__)} has no JSON form; pass it through check_value() first")


def _encode_kin_clean(value: Any) -> Any:
    return str(value) if isinstance(value, Int64) else _encode_kin(value)


def _name_floats(value: Any) -> Any:
    kind = type(value)
    if kind is dict:
        return {key: _name_floats(item) for key, item in value.items()}
    if kind is list:
        return [_name_floats(item) for item in value]
    if kind is float and not -_LARGEST <= value <= _LARGEST:
        return "NaN" if isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _base64(raw: bytes) -> str:
    return binascii.b2a_base64(raw, newline=False).decode()


def _decode_object(pairs: list[tuple[str, Any]]) -> Any:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        return Malformed(f"the key {show(twice)} is there twice; keep one of them")
    if len(pairs) == 1 and pairs[0][0].startswith("$"):
        return _decode_special(*pairs[0])
    return result


def _decode_special(key: str, text: Any) -> Any:
    if key not in ("$integer", "$bytes", "$float"):
        return {key: text}  # not ours: the check of keys refuses it
    try:
        raw = binascii.a2b_base64(text, strict_mode=True)
    except (TypeError, ValueError):
        return Malformed(f"the content of {key} is not base64 text; send what a Convex client encodes")
    if key == "$bytes":
        return raw
    if len(raw) != 8:
        return Malformed(f"{key} holds {len(raw)} bytes; send the base64 of exactly 8, little-endian")
    if key == "$integer":
        return Int64(int.from_bytes(raw, "little", signed=True))
    number: float = _double.unpack(raw)[0]
    if _is_native(number):
        return Malformed("$float is for NaN, infinities and -0.0 only; send other numbers as JSON numbers")
    return number


def _decode_int(text: str) -> Any:
    if len(text) <= 15 or (len(text) <= 17 and abs(int(text)) <= MAX_INTEGER):
        return int(text) if text != "-0" else -0.0
    return _decode_float(text)


def _decode_float(text: str) -> Any:
    number = float(text)
    if -_LARGEST <= number <= _LARGEST:
        return number
    return Malformed(f"a number of {len(text)} characters is too large for a double; send it as a string")


def _decode_constant(text: str) -> Any:
    return Malformed(f'{text} is not JSON; send {{"$float": base64 of its 8 bytes}}')


def _unwrap(value: Any, depth: int) -> Any:
    if depth > VALUE_NESTING + 1:
        raise LimitExceeded(f"nested deeper than {VALUE_NESTING} levels; flatten it")
    kind = type(value)
    if kind is dict:
        if len(value) == 1:
            ((key, item),) = value.items()
            if isinstance(key, str) and key.startswith("$"):
                return _decode_special(key, item)
        return {key: _unwrap(item, depth + 1) for key, item in value.items()}
    if kind is list:
        return [_unwrap(item, depth + 1) for item in value]
    if kind is int and not -MAX_INTEGER <= value <= MAX_INTEGER:
        return (
            _decode_float(str(value)) if value.bit_length() < 2000 else Malformed("an integer too large for a double")
        )
    return value


_encode = msgspec.json.Encoder(enc_hook=_encode_kin, order="sorted").encode
_encode_clean = msgspec.json.Encoder(enc_hook=_encode_kin_clean, order="sorted").encode
_decode_natively = msgspec.json.Decoder().decode
_decode = JSONDecoder(
    object_pairs_hook=_decode_object,
    parse_float=_decode_float,
    parse_int=_decode_int,
    parse_constant=_decode_constant,
).decode
