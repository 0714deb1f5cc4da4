"""What a running mutation has written so far, in the shape in which its own reads need it.

Per table: the pending documents by id (they hide the stored ones), and, once something reads them, their keys in order
per index and the change of each counter. A mutation that only inserts never pays for those.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping
from typing import Any

from nbreactive.engine.catalog import TableInfo
from nbreactive.values.packing import unpack


class Pending:
    """One document that the mutation wrote; ``packed`` is None when it deleted it."""

    __slots__ = ("base", "packed", "previous")

    def __init__(self, packed: bytes | None, base: bytes | None, previous: int) -> None:
        self.packed = packed
        self.base = base
        """The stored document that it replaces, packed; None for a new one."""
        self.previous = previous
        """The timestamp of that version; 0 for a new one."""


class TableOverlay:
    """Pending documents of one table."""

    def __init__(self, info: TableInfo) -> None:
        self.info = info
        self._docs: dict[bytes, Pending] = {}
        self._keys: dict[int, list[bytes]] = {}
        self._counts: dict[bytes, int] | None = None
        self._shared = False

    @property
    def docs(self) -> Mapping[bytes, Pending]:
        """Pending documents by id, in the order of their first write."""
        return self._docs

    def share(self) -> Mapping[bytes, Pending]:
        """The pending documents as they are now: later writes do not show in what is returned."""
        self._shared = True
        return self._docs

    def put(self, id: bytes, pending: Pending | None) -> Pending | None:
        """Set (None: forget) the pending document of ``id``; returns what it was, for undoing."""
        if self._shared:
            self._docs = dict(self._docs)
            self._shared = False
        before = self._docs.get(id)
        if self._keys or self._counts is not None:
            self._maintain(id, before, -1)
            self._maintain(id, pending, 1)
        if pending is None:
            self._docs.pop(id, None)
        else:
            self._docs[id] = pending
        return before

    def keys(self, index_id: int, low: bytes, high: bytes) -> list[bytes]:
        """Keys of pending documents in ``[low, high)`` of an index, ascending."""
        keys = self._keys.get(index_id)
        if keys is None:
            found = (self._key(index_id, id, pending.packed) for id, pending in self._docs.items())
            keys = self._keys[index_id] = sorted(key for key in found if key is not None)
        return keys[bisect_left(keys, low) : bisect_left(keys, high)]

    def count(self, key: bytes) -> int:
        """By how much the pending documents change a counter."""
        if self._counts is None:
            self._counts = {}
            for pending in self._docs.values():
                self._count(pending, 1)
        return self._counts.get(key, 0)

    def _maintain(self, id: bytes, pending: Pending | None, sign: int) -> None:
        if pending is None:
            return
        for index_id, keys in self._keys.items():
            key = self._key(index_id, id, pending.packed)
            if key is not None and sign > 0:
                insort(keys, key)
            elif key is not None:
                del keys[bisect_left(keys, key)]
        if self._counts is not None:
            self._count(pending, sign)

    def _key(self, index_id: int, id: bytes, packed: bytes | None) -> bytes | None:
        if packed is None:
            return None
        index = next(index for index in self.info.indexes if index.id == index_id)
        return index.key(unpack(packed), id)

    def _count(self, pending: Pending, sign: int) -> None:
        counts: dict[bytes, int] = self._counts if self._counts is not None else {}
        for packed, by in ((pending.packed, sign), (pending.base, -sign)):
            if packed is not None:
                doc: dict[str, Any] = unpack(packed)
                for key in self.info.count_keys(doc):
                    counts[key] = counts.get(key, 0) + by
