"""Values as bytes for storing and for passing between processes: msgpack, with 64-bit integers as extension 1.

Packing checks nothing: what goes in has passed :func:`nbreactive.values.checks.check_value`. Ints and floats keep
their types, so that what was stored as 5 is read as 5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from nbreactive.errors import InvalidValue
from nbreactive.values._paths import with_article
from nbreactive.values.kinds import Int64

_INT64 = 1


def pack(value: Any) -> bytes:
    """Pack a value of the value model.

    Examples
    --------
    >>> unpack(pack({"n": Int64(7), "xs": [1, 1.0, None, b"raw"]}))
    {'n': Int64(7), 'xs': [1, 1.0, None, b'raw']}
    """
    return _encode(value)


def unpack(data: bytes | memoryview) -> Any:
    """Unpack what :func:`pack` made; anything else raises :class:`~nbreactive.errors.InvalidValue`."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidValue(f"not a packed value ({error}); only data made by pack() can be unpacked") from None


def decoder_of(kind: Any) -> Callable[[bytes], Any]:
    """Return what unpacks packed values as one of msgspec's types, e.g. as structs with some of the fields."""
    return msgspec.msgpack.Decoder(kind, ext_hook=_decode_kin).decode


def _encode_kin(value: Any) -> Any:
    # msgspec encodes exact types itself and asks here about subclasses.
    if isinstance(value, Int64):
        return msgspec.msgpack.Ext(_INT64, value.to_bytes(8, "little", signed=True))
    if isinstance(value, str):
        return str.__str__(value)
    raise InvalidValue(f"{with_article(type(value).__name__)} cannot be packed; pass it through check_value() first")


def _decode_kin(code: int, data: memoryview) -> Any:
    if code != _INT64 or len(data) != 8:
        raise InvalidValue(f"not a packed value (extension {code}); only data made by pack() can be unpacked")
    return Int64(int.from_bytes(data, "little", signed=True))


_encode = msgspec.msgpack.Encoder(enc_hook=_encode_kin).encode
_decode = msgspec.msgpack.Decoder(ext_hook=_decode_kin).decode
