"""Reading the row index at a timestamp.

One LMDB read transaction sees one state of the file, which holds many versions; each read names the timestamp that it
wants and takes, of every key, the newest version at or before it. So any number of processes read the same timestamp
without waiting for each other.

The loops below run for every row of every query: they are written for speed (about 0.5 us per row).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Self, TypeAlias

import lmdb

from nbreactive.engine._row_keys import (
    CUT,
    CUT_BYTES,
    ID_BYTES,
    INDEX_BYTES,
    MAX_TS,
    SLOT_BITS,
    SLOT_MASK,
    TS_BYTES,
    count_key,
    inverted,
    lower_bound,
    pack_index,
    upper_bound,
    vectors_key,
)
from nbreactive.engine._vector_notes import decode_note

if TYPE_CHECKING:
    from nbreactive.engine.vector_store import VectorMaps, VectorView

_SKIP = 8
"""After so many versions in a row that do not count, a scan seeks instead of stepping."""
_PAST = b"\xff" * (TS_BYTES + 1)
_NEWEST = bytes(TS_BYTES)

Txn: TypeAlias = "lmdb.Transaction[bytes]"


class Reader:
    """A view of the row index, as of the last :meth:`renew`.

    A reader belongs to one thread at a time. While it is open LMDB keeps every page it can see, so renew it often (the
    engine does so at least every 5 ms of work). Iterators of a reader end with its next ``renew`` or ``close``.
    """

    def __init__(
        self,
        begin: Callable[[], Txn],
        documents: object,
        entries: object,
        counts: object,
        requests: object,
        meta: object,
        vectors: Callable[[], VectorMaps],
    ) -> None:
        self._meta = meta
        self._vectors = vectors
        self._begin = begin
        self._requests = requests
        self._documents = documents
        self._entries = entries
        self._counts = counts
        self._txn: Txn | None = None
        self._table, self._prefix = 0, pack_index(0)
        self._ts, self._inverted = 0, inverted(0)
        self.renew()

    def renew(self) -> None:
        """See what has been committed since."""
        if self._txn is not None:
            self._txn.abort()
        txn = self._txn = self._begin()
        self._point = txn.cursor(self._documents)  # pyright: ignore[reportArgumentType]

    def close(self) -> None:
        """Let go of the pages; the reader can be used again after ``renew``."""
        if self._txn is not None:
            self._txn.abort()
            self._txn = None

    @property
    def is_open(self) -> bool:
        """Whether the reader holds a view."""
        return self._txn is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def document(self, table: int, id: bytes, ts: int) -> tuple[bytes, int] | None:
        """Return the packed document and the timestamp of its version, or None."""
        if table != self._table:  # hardly ever between two calls, nor is the other
            self._table, self._prefix = table, pack_index(table << SLOT_BITS)
        if ts != self._ts:
            self._ts, self._inverted = ts, inverted(ts)
        prefix = self._prefix + id
        cursor = self._point
        if not cursor.set_range(prefix + self._inverted):
            return None
        stored, doc = cursor.item()
        if not doc or not stored.startswith(prefix):
            return None
        return doc, MAX_TS - int.from_bytes(stored[-TS_BYTES:], "big")

    @property
    def horizon(self) -> int:
        """Timestamps below this one cannot be read: older versions were dropped."""
        txn = self._txn
        assert txn is not None, "the reader is closed"
        found = txn.get(b"horizon", db=self._meta)  # pyright: ignore[reportArgumentType, reportCallIssue]
        return 0 if found is None else int.from_bytes(found, "big")

    def request(self, stored: bytes) -> tuple[int, bytes] | None:
        """Return the timestamp and result of a request that was committed, or None; ``stored`` is its stored key."""
        txn = self._txn
        assert txn is not None, "the reader is closed"
        found = txn.get(stored, db=self._requests)  # pyright: ignore[reportArgumentType, reportCallIssue]
        return None if found is None else (int.from_bytes(found[:TS_BYTES], "big"), found[TS_BYTES:])

    def vectors(self, index_id: int) -> VectorView | None:
        """Return what there is of a vector index; None: nothing, it has to be made."""
        txn = self._txn
        assert txn is not None, "the reader is closed"
        note = txn.get(vectors_key(index_id), db=self._meta)  # pyright: ignore[reportArgumentType, reportCallIssue]
        return None if note is None else self._vectors().view(index_id, decode_note(note))

    def count(self, key: bytes, ts: int) -> int:
        """Return a counter; ``key`` is its index id (4 bytes) and the equality prefix."""
        prefix = count_key(key)
        cursor = self._cursor(self._counts)
        if not cursor.set_range(prefix + inverted(ts)) or cursor.key()[:-TS_BYTES] != prefix:
            return 0
        return int.from_bytes(cursor.value(), "little", signed=True)

    def scan(
        self, index_id: int, low: bytes, high: bytes | None, ts: int, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield ``(key, document id)`` of the entries in ``[low, high)`` that are live at ``ts``, in order.

        Parameters
        ----------
        index_id
            ``table number << SLOT_BITS | slot``; slot 0 is the index by id, whose keys are the ids.
        low, high
            Bounds in terms of keys (which end in the id); no ``high`` means to the end of the index.
        ts
            The snapshot.
        reverse
            From the greatest key to the smallest.

        Notes
        -----
        Lazy, but for keys over 400 bytes: all that share their first 400 bytes are read and sorted together.
        """
        start, stop = lower_bound(index_id, low), upper_bound(index_id, high)
        cursor = self._cursor(self._entries if index_id & SLOT_MASK else self._documents)
        rows = (_backward if reverse else _forward)(cursor, start, stop, inverted(ts), low, high)
        # A whole key that equals the first 400 bytes of a longer bound lies before the bound.
        return (row for row in rows if row[0] >= low) if len(low) > CUT else rows

    def scan_documents(
        self, index_id: int, low: bytes, high: bytes | None, ts: int, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes, bytes, int]]:
        """Like :meth:`scan`, yielding ``(key, document id, packed document, timestamp of its version)``."""
        document = self.document
        table = index_id >> SLOT_BITS
        for key, id in self.scan(index_id, low, high, ts, reverse):
            found = document(table, id, ts)
            if found is not None:
                yield key, id, found[0], found[1]

    def _cursor(self, db: object) -> lmdb.Cursor[bytes]:
        txn = self._txn
        assert txn is not None, "the reader is closed"
        return txn.cursor(db)  # pyright: ignore[reportArgumentType]


def _forward(
    cursor: lmdb.Cursor[bytes], start: bytes, stop: bytes, newest: bytes, low: bytes, high: bytes | None
) -> Iterator[tuple[bytes, bytes]]:
    decided = b""
    group: list[bytes] = []
    more = _seek(cursor, start)
    while more:
        skipped = 0
        for stored, value in cursor:
            body = stored[:-TS_BYTES]
            if body >= stop:
                more = False
                break
            if body == decided:
                skipped += 1
                if skipped > _SKIP:
                    more = cursor.set_range(body + _PAST)
                    break
                continue
            if stored[-TS_BYTES:] < newest:
                skipped += 1
                if skipped > _SKIP:
                    more = cursor.set_range(body + newest)
                    break
                continue
            decided = body
            if group and not _together(group[0], body):
                yield from _in_order(group, low, high)
                group = []
            if value:
                if len(stored) == CUT_BYTES:
                    group.append(value)
                else:
                    yield body[INDEX_BYTES:], body[-ID_BYTES:]
        else:
            break
    yield from _in_order(group, low, high)


def _backward(
    cursor: lmdb.Cursor[bytes], start: bytes, stop: bytes, newest: bytes, low: bytes, high: bytes | None
) -> Iterator[tuple[bytes, bytes]]:
    current, found = b"", b""
    group: list[bytes] = []
    more = cursor.prev() if _seek(cursor, stop) else cursor.last()
    while more:
        more = False
        versions = 0
        for stored, value in cursor.iterprev():
            body = stored[:-TS_BYTES]
            if body < start:
                break
            if body == current:
                versions += 1
                if versions > _SKIP:
                    at_ts = cursor.set_range(body + newest) and cursor.key()[:-TS_BYTES] == body
                    found = cursor.value() if at_ts else b""
                    cursor.set_range(body + _NEWEST)
                    more = cursor.prev()
                    break
            else:
                if found:
                    if len(current) + TS_BYTES == CUT_BYTES:
                        group.append(found)
                    else:
                        yield current[INDEX_BYTES:], current[-ID_BYTES:]
                if group and not _together(group[0], body):
                    yield from _in_order(group, low, high, reverse=True)
                    group = []
                current, found, versions = body, b"", 0
            if stored[-TS_BYTES:] >= newest:
                found = value
    if found and len(current) + TS_BYTES == CUT_BYTES:
        group.append(found)
        found = b""
    yield from _in_order(group, low, high, reverse=True)
    if found:
        yield current[INDEX_BYTES:], current[-ID_BYTES:]


def _seek(cursor: lmdb.Cursor[bytes], bound: bytes) -> bool:
    r"""Go to the first version of the first key at or after ``bound``.

    The versions of a key lie behind ``key + b"\0"`` too, but the key itself comes before that bound.
    """
    found = cursor.set_range(bound)
    while found and (body := cursor.key()[:-TS_BYTES]) < bound:
        found = cursor.set_range(body + _PAST)
    return found


def _together(key: bytes, body: bytes) -> bool:
    return len(body) + TS_BYTES == CUT_BYTES and key[:CUT] == body[INDEX_BYTES : INDEX_BYTES + CUT]


def _in_order(
    group: list[bytes], low: bytes, high: bytes | None, reverse: bool = False
) -> Iterator[tuple[bytes, bytes]]:
    for key in sorted(group, reverse=reverse):
        if low <= key and not (high and key >= high):
            yield key, key[-ID_BYTES:]
