"""How index keys lie in LMDB.

    documents   index id | document id | inverted ts                          -> packed document, or nothing (deleted)
    entries     index id | key (ends in the document id) | inverted ts        -> LIVE, or nothing (deleted)
                index id | 400 bytes of key | hash | document id | inverted ts -> the whole key, or nothing
    counts      index id | length | equality prefix | inverted ts             -> number

Timestamps are inverted, so the newest version of a key comes first and the version visible at ``ts`` is the first one
at or behind ``key | inverted(ts)``. Keys of one index never are a prefix of one another (fields delimit themselves and
the id has a fixed length), so the versions of a key lie together and keys keep their order.

LMDB takes 511 bytes per key. A longer one is cut; all cut keys that share their first 400 bytes form a group, which
scans read whole and sort by the keys in the values. A key that was not cut differs from a cut one within 400 bytes,
so groups never mix with anything else.
"""

from __future__ import annotations

import struct
from hashlib import blake2b

MAX_TS = (1 << 64) - 1
ID_BYTES = 16
TS_BYTES = 8
INDEX_BYTES = 4
CUT = 400
CUT_BYTES = INDEX_BYTES + CUT + 16 + ID_BYTES + TS_BYTES
"""Length of the stored form of a cut key; no key that was kept whole is as long."""
LIVE = b"\x01"
DEAD = b""
"""The value of a tombstone, in documents and in entries."""

SLOT_BITS = 16
"""An index id is 32 bits: ``table number << SLOT_BITS | slot``."""
SLOT_MASK = (1 << SLOT_BITS) - 1
LAST_TABLE = (1 << 32 - SLOT_BITS) - 2
"""The highest table number, so that the index id behind each table's last one fits into 32 bits, too."""

COUNTS = 1
"""The pseudo index of counters in read sets; no table has it, as table numbers start at 1."""

VECTORS = b"vectors"
"""Begins the keys under which it is noted what is in the files of a vector index."""

pack_index = struct.Struct(">I").pack
_pack_ts = struct.Struct(">Q").pack
_pack_length = struct.Struct(">H").pack


def inverted(ts: int) -> bytes:
    """Return the 8 bytes that sort newest first."""
    return _pack_ts(MAX_TS - ts)


def ts_of(stored: bytes) -> int:
    """Return the timestamp at the end of a stored key."""
    return MAX_TS - int.from_bytes(stored[-TS_BYTES:], "big")


def document_key(table: int, id: bytes) -> bytes:
    """Return the stored key of a document, without its timestamp."""
    return pack_index(table << SLOT_BITS) + id


def entry_key(index_id: int, key: bytes) -> bytes:
    """Return the stored key of an index entry, without its timestamp."""
    if len(key) <= CUT:
        return pack_index(index_id) + key
    return pack_index(index_id) + key[:CUT] + _digest(key) + key[-ID_BYTES:]


def count_key(key: bytes) -> bytes:
    """Return the stored key of a counter (its index id, then an equality prefix), without its timestamp."""
    prefix = key[INDEX_BYTES:]
    if len(prefix) > CUT:
        return key[:INDEX_BYTES] + b"\xff\xff" + prefix[:CUT] + _digest(prefix)
    return key[:INDEX_BYTES] + _pack_length(len(prefix)) + prefix


def vectors_key(index_id: int) -> bytes:
    """Return where it is noted what is in the files of a vector index."""
    return VECTORS + pack_index(index_id)


def lower_bound(index_id: int, low: bytes) -> bytes:
    """Return where a scan of the keys from ``low`` begins."""
    return pack_index(index_id) + low[:CUT]


def upper_bound(index_id: int, high: bytes | None) -> bytes:
    """Return where a scan of the keys below ``high`` ends; no key has 17 bytes of 0xff after its first 400."""
    if not high:
        return pack_index(index_id + 1)
    if len(high) <= CUT:
        return pack_index(index_id) + high
    return pack_index(index_id) + high[:CUT] + b"\xff" * (CUT_BYTES - CUT)


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()
