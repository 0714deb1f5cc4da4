"""Ids of many documents at once, as a column: those of a bulk load follow from the first one."""

# pyarrow has no stubs
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nbreactive.values.ids import encode_id

if TYPE_CHECKING:
    import pyarrow as pa

_ALPHABET: Final = b"0123456789abcdefghjkmnpqrstvwxyz"


def ids_of(table_number: int, first: bytes, count: int) -> pa.Array:
    """Return the ids of rows that follow each other, the first of which has the internal id ``first``.

    Examples
    --------
    >>> ids_of(10001, bytes(16), 2)[1].as_py() == encode_id(10001, (1).to_bytes(8, "big") + bytes(8))
    True
    """
    import numpy as np
    import pyarrow as pa

    text = encode_id(table_number, first)
    head, tail = _varint(table_number), first[8:]
    start = int.from_bytes(first[:8], "big")
    numbers = np.arange(start, start + count, dtype=np.uint64)
    changing = [((numbers >> np.uint64(shift)) & np.uint64(255)).astype(np.uint32) for shift in range(56, -8, -8)]
    body: list[Any] = [*head, *changing, *tail]
    # The checksum of Fletcher: the sum of the bytes, and the sum of the running sums
    total = sum(body) % 255
    weighted = sum(byte * weight for byte, weight in zip(body, range(len(body), 0, -1), strict=True)) % 255
    raw: list[Any] = [*body, total, weighted]
    raw += [0] * (-len(raw) % 5)
    chars = np.empty((count, len(raw) // 5 * 8), np.uint8)
    alphabet = np.frombuffer(_ALPHABET, np.uint8)
    for group in range(0, len(raw), 5):  # five bytes are eight characters
        one, two, three, four, five = raw[group : group + 5]
        digits = (
            one >> 3, (one & 7) << 2 | two >> 6, (two >> 1) & 31, (two & 1) << 4 | three >> 4,
            (three & 15) << 1 | four >> 7, (four >> 2) & 31, (four & 3) << 3 | five >> 5, five & 31,
        )  # fmt: skip
        for at, digit in enumerate(digits):
            chars[:, group // 5 * 8 + at] = alphabet[digit]
    length = len(text)
    data = chars if chars.shape[1] == length else np.ascontiguousarray(chars[:, :length])
    offsets = np.arange(0, (count + 1) * length, length, dtype=np.int32)
    return pa.Array.from_buffers(pa.string(), count, [None, pa.py_buffer(offsets), pa.py_buffer(data)])


def _varint(number: int) -> bytes:
    data = bytearray()
    while number >= 0x80:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    data.append(number)
    return bytes(data)
