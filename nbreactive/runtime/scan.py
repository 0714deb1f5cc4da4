"""Reading a range of an index row by row: stored keys and the transaction's own, merged.

Stored keys come in chunks that grow, so that ``first()`` costs one row and ``collect()`` few fetches. What was consumed
is known at any moment: up to the last row that was handed out, or the whole range once it is exhausted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from nbreactive.runtime.overlay import Pending

if TYPE_CHECKING:
    from nbreactive.runtime.transaction import Transaction

_FIRST_CHUNK: Final = 16
_LARGEST_CHUNK: Final = 1024
_ID: Final = 16


class Scan:
    """One pass over a range; made by :meth:`Transaction.scan`."""

    __slots__ = ("_hidden", "_high", "_index", "_last", "_low", "_own", "_reverse", "_table", "_txn", "finished")

    def __init__(
        self,
        txn: Transaction,
        table: int,
        index: int,
        low: bytes,
        high: bytes,
        reverse: bool,
        own: list[bytes],
        hidden: Mapping[bytes, Pending],
    ) -> None:
        self._txn = txn
        self._table = table
        self._index = index
        self._low = low
        self._high = high
        self._reverse = reverse
        self._own = own
        self._hidden = hidden
        self._last: bytes | None = None
        self.finished = False
        """No further row will be asked for, so what was consumed is final."""

    def consumed(self) -> tuple[int, bytes, bytes]:
        """Index and interval that the rows handed out so far come from."""
        if self._last is None:
            return self._index, self._low, self._low
        if self._reverse:
            return self._index, self._last, self._high
        return self._index, self._low, self._last

    def keys(self, expected: int | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, id) in order; ``expected`` rows are fetched at once."""
        merged = self._merged(expected) if self._own else self._stored(expected)
        reverse = self._reverse
        try:
            for key, id in merged:
                self._last = key if reverse else key + b"\x00"
                yield key, id
            self._last = self._low if reverse else self._high
        finally:
            self.finished = True

    def documents(self, expected: int | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Yield (id, packed document) in order."""
        txn, table, hidden = self._txn, self._table, self._hidden
        for _, id in self.keys(expected):
            own = hidden.get(id)
            if own is None or own.packed is None:
                yield id, txn.stored(table, id)
            else:
                txn.count_read(len(own.packed))
                yield id, own.packed

    def document(self, id: bytes) -> bytes:
        """Read the packed document of a row that :meth:`keys` has yielded."""
        own = self._hidden.get(id)
        if own is None or own.packed is None:
            return self._txn.stored(self._table, id)
        self._txn.count_read(len(own.packed))
        return own.packed

    def _stored(self, expected: int | None) -> Iterator[tuple[bytes, bytes]]:
        low, high, reverse, hidden = self._low, self._high, self._reverse, self._hidden
        size = min(_FIRST_CHUNK if expected is None else max(expected, 1), _LARGEST_CHUNK)
        while True:
            chunk = self._txn.fetch(self._index, low, high, reverse, size)
            for row in chunk:
                if row[1] not in hidden:
                    yield row
            if len(chunk) < size:
                return
            if reverse:
                high = chunk[-1][0]
            else:
                low = chunk[-1][0] + b"\x00"
            size = min(size * 4, _LARGEST_CHUNK)

    def _merged(self, expected: int | None) -> Iterator[tuple[bytes, bytes]]:
        own = self._own[::-1] if self._reverse else self._own
        reverse = self._reverse
        at = 0
        for row in self._stored(expected):
            while at < len(own) and (own[at] > row[0] if reverse else own[at] < row[0]):
                yield own[at], own[at][-_ID:]
                at += 1
            yield row
        for key in own[at:]:
            yield key, key[-_ID:]
