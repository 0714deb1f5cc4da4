"""The changes to the row index: what each does inside one LMDB transaction.

The journal has, for every timestamp, the stored keys that it wrote. ``rewind`` walks it from the newest and deletes those
versions. ``collect`` walks it from the oldest: what a timestamp at or below the horizon has replaced can be seen by
nobody any more, nor can its own tombstones, and then the journal has no need of that timestamp either.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import lmdb
import msgspec

from nbreactive.engine._reader import Txn
from nbreactive.engine._row_keys import (
    CUT,
    DEAD,
    INDEX_BYTES,
    LIVE,
    TS_BYTES,
    VECTORS,
    count_key,
    document_key,
    entry_key,
    inverted,
    vectors_key,
)
from nbreactive.engine._vector_notes import VectorNote, decode_note, encode_note
from nbreactive.engine.bulk import Bulk
from nbreactive.engine.entries import Request
from nbreactive.engine.vector_values import VectorRow
from nbreactive.errors import DataFolderError, InvalidValue

IndexKey = tuple[int, bytes]
"""An index id and a key in it, which ends in the 16 bytes of the document id."""


_Row = tuple[bytes, bytes]


class RowWrite(msgspec.Struct, frozen=True, gc=False):
    """One changed document with everything that changes in the indexes; the keys are the caller's work.

    The index by id is not among ``puts`` and ``dels``: it follows from ``doc``.
    """

    table: int
    """0: no document is written, only entries and counters (a new index is being filled)."""
    id: bytes
    doc: bytes | None
    """Packed; None deletes."""
    previous: int = 0
    """The timestamp of the version that is replaced; 0 for a new document."""
    puts: Sequence[IndexKey] = ()
    """Keys that the document has now and had not before."""
    dels: Sequence[IndexKey] = ()
    """Keys that it had and has no more."""
    counts: Sequence[tuple[bytes, int]] = ()
    """Counters (index id in 4 bytes, then an equality prefix) and what to add."""
    vectors: Sequence[VectorRow] = ()
    """What the document has in vector indexes from now on; where an index is being filled (no ``table``), since
    ``previous``."""


class VectorState(msgspec.Struct, frozen=True, gc=False):
    """A vector index that a commit begins, or finds to hold every document."""

    dimensions: int
    filters: int
    complete: bool
    new: bool = False
    """Whether it begins with this commit."""


class Applied(msgspec.Struct, frozen=True, gc=False):
    """One commit, as the row index takes it."""

    ts: int
    writes: Sequence[RowWrite] = ()
    request: Request | None = None
    filled: Mapping[int, bytes | None] = {}
    """Index id -> the last document id that its backfill has passed with this commit; None: it is not being filled."""
    vectors: Mapping[int, VectorState] = {}
    """Index id -> what becomes of a vector index with this commit."""
    bulk: Bulk | None = None
    """Documents that were prepared for the row index already."""


class _Journal(msgspec.Struct, array_like=True):
    """The stored keys that one timestamp wrote; ``new_*`` had no version before, so nothing to drop later."""

    new_documents: list[bytes] = []
    documents: list[bytes] = []
    new_entries: list[bytes] = []
    entries: list[bytes] = []
    counts: list[bytes] = []
    request: bytes = b""


_LISTS = ("new_documents", "documents", "new_entries", "entries", "counts")


class Databases(NamedTuple):
    """The named databases of a row index."""

    documents: Any
    entries: Any
    counts: Any
    journal: Any
    requests: Any
    meta: Any


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Journal).decode


_RECORD_KEYS = 512
"""Stored keys in one record of the journal, so that cleaning up one is soon done; a large commit has several."""


def _records(ts: bytes, journal: _Journal) -> list[_Row]:
    lists = {name: getattr(journal, name) for name in _LISTS}
    if sum(map(len, lists.values())) <= _RECORD_KEYS:
        return [(ts, _encode(journal))]
    parts = [_Journal(request=journal.request)]
    for name, keys in lists.items():
        parts += [_Journal(**{name: keys[at : at + _RECORD_KEYS]}) for at in range(0, len(keys), _RECORD_KEYS)]
    return [(ts + number.to_bytes(4, "big") if number else ts, _encode(part)) for number, part in enumerate(parts)]


def get_number(dbs: Databases, txn: Txn, name: bytes) -> int:
    """Return one of the numbers that the index keeps about itself."""
    return int.from_bytes(txn.get(name, b"", db=dbs.meta), "big")


def set_number(dbs: Databases, txn: Txn, name: bytes, number: int) -> None:
    """Set one of them."""
    txn.put(name, number.to_bytes(TS_BYTES, "big"), db=dbs.meta)


def apply(dbs: Databases, txn: Txn, batch: Sequence[Applied], log_position: int) -> None:
    applied = get_number(dbs, txn, b"applied")
    documents: list[_Row] = []
    entries: list[_Row] = []
    counts: list[_Row] = []
    journals: list[_Row] = []
    requests: list[_Row] = []
    newest: dict[bytes, int] = {}
    counting = txn.cursor(dbs.counts)
    for commit in batch:
        if commit.ts <= applied:
            raise InvalidValue(f"commit {commit.ts} cannot be applied: the row index is at {applied} already")
        applied = commit.ts
        version = inverted(applied)
        journal = _Journal([], [], [], [], [])
        deltas: dict[bytes, int] = {}
        for write in commit.writes:
            fresh = write.previous == 0 and write.doc is not None
            if write.table:
                stored = document_key(write.table, write.id)
                documents.append((stored + version, DEAD if write.doc is None else write.doc))
                (journal.new_documents if fresh else journal.documents).append(stored)
            for index_id, key in write.dels:
                stored = entry_key(index_id, key)
                entries.append((stored + version, DEAD))
                journal.entries.append(stored)
            added = journal.new_entries if fresh else journal.entries
            for index_id, key in write.puts:
                stored = entry_key(index_id, key)
                entries.append((stored + version, LIVE if len(key) <= CUT else key))
                added.append(stored)
            for key, delta in write.counts:
                deltas[key] = deltas.get(key, 0) + delta
        bulk = commit.bulk
        if bulk is not None:
            documents += bulk.documents(version)
            entries += bulk.index_rows(version)
            deltas.update(bulk.counts)
        for key, delta in deltas.items():
            stored = count_key(key)
            number = newest.get(stored)
            if number is None:
                number = _newest_count(counting, stored)
            number = newest[stored] = number + delta
            counts.append((stored + version, number.to_bytes(8, "little", signed=True)))
            if bulk is None:
                journal.counts.append(stored)
        ts = applied.to_bytes(TS_BYTES, "big")
        request = commit.request
        if request is not None:
            journal.request = request_key(request.identity_key, request.session, request.id)
            requests += ((journal.request, ts + request.result), (b"t" + ts, journal.request))
        journals += _records(ts, journal)
        if bulk is not None:
            journals += [(ts + number.to_bytes(4, "big"), record) for number, record in enumerate(bulk.journal, 1)]
        for index_id, upto in commit.filled.items():
            _note_filled(dbs, txn, index_id, ts, upto)
    for db, rows in (
        (dbs.documents, documents),
        (dbs.entries, entries),
        (dbs.counts, counts),
        (dbs.journal, journals),
        (dbs.requests, requests),
    ):
        if rows:
            rows.sort()  # neighbours share their way down the tree
            txn.cursor(db).putmulti(rows)
    set_number(dbs, txn, b"applied", applied)
    if log_position:
        set_number(dbs, txn, b"position", log_position)


def put_notes(dbs: Databases, txn: Txn, notes: Mapping[int, VectorNote]) -> None:
    """Store what is known about vector indexes."""
    for index, note in notes.items():
        txn.put(vectors_key(index), encode_note(note), db=dbs.meta)


def replace_notes(dbs: Databases, txn: Txn, notes: Mapping[int, VectorNote]) -> None:
    """Store what is known about vector indexes, and nothing of others."""
    for index in get_notes(dbs, txn):
        if index not in notes:
            txn.delete(vectors_key(index), db=dbs.meta)
    put_notes(dbs, txn, notes)


def get_notes(dbs: Databases, txn: Txn) -> dict[int, VectorNote]:
    """Return what is known about vector indexes, by index id."""
    cursor = txn.cursor(dbs.meta)
    notes: dict[int, VectorNote] = {}
    more = cursor.set_range(vectors_key(0))
    while more and cursor.key().startswith(VECTORS):
        with contextlib.suppress(msgspec.MsgspecError):
            notes[int.from_bytes(cursor.key()[len(VECTORS) :], "big")] = decode_note(cursor.value())
        more = cursor.next()
    return notes


def filled(dbs: Databases, txn: Txn, index_id: int) -> bytes | None:
    """Return the last document id that the backfill of an index has passed; None if that is not known."""
    cursor = txn.cursor(dbs.meta)
    prefix = _filled_key(index_id)
    found = cursor.prev() if cursor.set_range(prefix + b"\xff" * (TS_BYTES + 1)) else cursor.last()
    return cursor.value() if found and cursor.key().startswith(prefix) else None


def forget_filled(dbs: Databases, txn: Txn, index_id: int) -> None:
    """Forget how far the backfill of an index was."""
    _note_filled(dbs, txn, index_id, b"", None)


def _note_filled(dbs: Databases, txn: Txn, index_id: int, ts: bytes, upto: bytes | None) -> None:
    """Note how far a backfill is, and forget what no rewind can need any more."""
    prefix = _filled_key(index_id)
    horizon = txn.get(b"horizon", b"", db=dbs.meta) if upto is not None else ts
    cursor = txn.cursor(dbs.meta)
    keep = b""
    if cursor.set_range(prefix):
        while cursor.key().startswith(prefix) and cursor.key()[-TS_BYTES:] <= horizon:
            keep = cursor.key()
            if not cursor.next():
                break
    if keep and cursor.set_range(prefix):
        while cursor.key() < keep and cursor.delete():  # the last one before the horizon is how far it was there
            pass
    if upto is None:
        while cursor.set_range(prefix) and cursor.key().startswith(prefix):
            cursor.delete()
    else:
        txn.put(prefix + ts, upto, db=dbs.meta)


def _filled_key(index_id: int) -> bytes:
    return b"filled" + index_id.to_bytes(INDEX_BYTES, "big")


def _forget_filled(dbs: Databases, txn: Txn, to_ts: int) -> None:
    cursor = txn.cursor(dbs.meta)
    more = cursor.set_range(b"filled")
    while more and cursor.key().startswith(b"filled"):
        late = int.from_bytes(cursor.key()[-TS_BYTES:], "big") > to_ts
        more = cursor.delete() if late else cursor.next()


def rewind(dbs: Databases, txn: Txn, to_ts: int) -> int:
    horizon = get_number(dbs, txn, b"horizon")
    applied = get_number(dbs, txn, b"applied")
    if to_ts >= applied:
        return 0
    if to_ts < horizon:
        raise DataFolderError(
            f"the row index cannot go back to {to_ts}: it has dropped older versions up to {horizon};"
            " delete the folder 'index' inside the data folder, and it is rebuilt at the next start"
        )
    removed = 0
    cursor = txn.cursor(dbs.journal)
    while cursor.last():
        stored_ts = cursor.key()
        ts_key = stored_ts[:TS_BYTES]
        ts = int.from_bytes(ts_key, "big")
        if ts <= to_ts:
            break
        journal = _decode(cursor.value())
        version = inverted(ts)
        for db, stored_keys in (
            (dbs.documents, journal.new_documents),
            (dbs.documents, journal.documents),
            (dbs.entries, journal.new_entries),
            (dbs.entries, journal.entries),
            (dbs.counts, journal.counts),
        ):
            for stored in stored_keys:
                txn.delete(stored + version, db=db)
        if journal.request:
            txn.delete(journal.request, db=dbs.requests)
            txn.delete(b"t" + ts_key, db=dbs.requests)
        cursor.delete()
        removed += stored_ts == ts_key
    _forget_filled(dbs, txn, to_ts)
    set_number(dbs, txn, b"highest", max(get_number(dbs, txn, b"highest"), applied))
    set_number(dbs, txn, b"applied", to_ts)
    set_number(dbs, txn, b"epoch", get_number(dbs, txn, b"epoch") + 1)
    return removed


def collect(dbs: Databases, txn: Txn, horizon: int, limit: int) -> int:
    cleaned = 0
    ts = 0
    cursor = txn.cursor(dbs.journal)
    documents, entries, counts = (txn.cursor(db) for db in (dbs.documents, dbs.entries, dbs.counts))
    while cleaned < limit and cursor.first():
        found = int.from_bytes(cursor.key()[:TS_BYTES], "big")
        if found > horizon:
            break
        ts = found
        journal = _decode(cursor.value())
        version = inverted(ts)
        for rows, stored_keys in (
            (documents, journal.documents),
            (entries, journal.entries),
            (counts, journal.counts),
        ):
            for stored in stored_keys:
                _drop_older(rows, stored, version)
            cleaned += len(stored_keys)
        cursor.delete()
        cleaned += 1
    if ts:
        set_number(dbs, txn, b"horizon", ts)
    return cleaned


def drop_requests(dbs: Databases, txn: Txn, before_ts: int, limit: int) -> int:
    cursor = txn.cursor(dbs.requests)
    end = b"t" + before_ts.to_bytes(TS_BYTES, "big")
    dropped = 0
    while dropped < limit and cursor.set_range(b"t"):
        stored, request = cursor.item()
        if stored >= end:
            break
        cursor.delete()
        txn.delete(request, db=dbs.requests)
        dropped += 1
    return dropped


def request_key(identity_key: bytes, session: bytes, request_id: int) -> bytes:
    """Return where the answer to a request is stored."""
    return b"r" + identity_key + session + request_id.to_bytes(8, "big")


def _newest_count(cursor: lmdb.Cursor[bytes], stored: bytes) -> int:
    if not cursor.set_range(stored) or cursor.key()[:-TS_BYTES] != stored:
        return 0
    return int.from_bytes(cursor.value(), "little", signed=True)


def _drop_older(cursor: lmdb.Cursor[bytes], stored: bytes, version: bytes) -> None:
    if not cursor.set_key(stored + version):
        return
    if cursor.value() == DEAD:  # nothing is below a tombstone any more, so nothing needs hiding
        cursor.delete()
    else:
        cursor.next()
    while cursor.key()[:-TS_BYTES] == stored:
        cursor.delete()
