"""The row index: every document and index entry, in many versions, in LMDB.

It is a replica of the log that functions read in microseconds, from any process, at any recent timestamp. One process
writes: ``apply`` adds versions, ``rewind`` takes the newest away again, ``collect`` drops the oldest. What each
timestamp wrote stands in a journal inside the same file, so all of that works after a SIGKILL too: an LMDB transaction
happens whole or not at all. Losing power is another matter (see :mod:`nbreactive.engine._trust`): then ``trusted`` is
False, the index is empty, and ``rebuild`` fills it.
"""

from __future__ import annotations

import errno
import sys
import weakref
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import lmdb
import msgspec

from nbreactive.engine import _trust
from nbreactive.engine._reader import Reader, Txn
from nbreactive.engine._rebuild import Document, Filling, Job, put_documents, put_keys
from nbreactive.engine._row_keys import (
    CUT,
    DEAD,
    LIVE,
    TS_BYTES,
    count_key,
    document_key,
    entry_key,
    inverted,
)
from nbreactive.engine.entries import Request
from nbreactive.errors import DataFolderError, InvalidValue, ReadOnly

T = TypeVar("T")

IndexKey = tuple[int, bytes]
"""An index id and a key in it, which ends in the 16 bytes of the document id."""


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


class Applied(msgspec.Struct, frozen=True, gc=False):
    """One commit, as the row index takes it."""

    ts: int
    writes: Sequence[RowWrite] = ()
    request: Request | None = None


class _Journal(msgspec.Struct, array_like=True):
    """The stored keys that one timestamp wrote; ``new_*`` had no version before, so nothing to drop later."""

    new_documents: list[bytes] = []
    documents: list[bytes] = []
    new_entries: list[bytes] = []
    entries: list[bytes] = []
    counts: list[bytes] = []
    request: bytes = b""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Journal).decode
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO} if sys.platform != "win32" else {errno.ENOSPC, errno.EIO}


class RowIndex:
    """The row index of one deployment; made by :meth:`open`."""

    def __init__(self, env: lmdb.Environment, folder: Path, trusted: bool) -> None:
        self._env = env
        self._folder = folder
        self._trusted = trusted
        self._readers: weakref.WeakSet[Reader] = weakref.WeakSet()
        create = not env.flags()["readonly"]
        self._documents = env.open_db(b"documents", create=create)
        self._entries = env.open_db(b"entries", create=create)
        self._counts = env.open_db(b"counts", create=create)
        self._journal = env.open_db(b"journal", create=create)
        self._requests = env.open_db(b"requests", create=create)
        self._meta = env.open_db(b"meta", create=create)
        self._closed = False

    @classmethod
    def open(cls, path: str | Path, *, map_size: int = 1 << 40, readonly: bool = False) -> RowIndex:
        """Open the index in the folder ``path``; the one that writes makes it, or empties one that is not trusted.

        Parameters
        ----------
        path
            A folder of its own.
        map_size
            How large the file may become before the map is made larger; halved until the system accepts it.
        readonly
            For function workers, while another process writes.
        """
        folder = Path(path)
        trusted = True
        if not readonly:
            folder.mkdir(parents=True, exist_ok=True)
            trusted = _trust.believed(folder)
            if not trusted:
                _trust.discard(folder)
        index = cls(open_environment(folder, map_size, readonly), folder, trusted)
        if trusted and not readonly:
            _trust.mark(folder, clean=False)
        return index

    def trust(self) -> None:
        """Say that the index holds everything up to :attr:`applied`; until then a new start empties it again."""
        self._trusted = True
        _trust.mark(self._folder, clean=False)

    def close(self) -> None:
        """Close; the writer syncs the file first, so that it is trusted after a power cut too."""
        if self._closed:
            return
        self._closed = True
        for reader in list(self._readers):
            reader.close()
        readonly = self._env.flags()["readonly"]
        if not readonly:
            self._env.sync(True)
        self._env.close()
        if not readonly and self._trusted:
            _trust.mark(self._folder, clean=True)

    # ---- what it says of itself --------------------------------------------------------------------------------

    @property
    def trusted(self) -> bool:
        """False if the index was absent or not believable, so it is empty and must be rebuilt (see :meth:`trust`)."""
        return self._trusted

    @property
    def applied(self) -> int:
        """The last timestamp that the index holds."""
        return self._number(b"applied")

    @property
    def highest(self) -> int:
        """The highest timestamp ever applied, rewound ones included: the next one must be higher."""
        return self._number(b"highest")

    @property
    def epoch(self) -> int:
        """How often the index was rewound; part of every snapshot."""
        return self._number(b"epoch")

    @property
    def horizon(self) -> int:
        """Reads and rewinds below this timestamp are impossible: older versions were dropped."""
        return self._number(b"horizon")

    @property
    def log_position(self) -> int:
        """A position of the log up to which the index surely holds everything; replay from there."""
        return self._number(b"position")

    def request(self, identity_key: bytes, session: bytes, request_id: int) -> tuple[int, bytes] | None:
        """Return the timestamp and result of a request that was committed, or None."""
        with self._begin() as txn:
            found = txn.get(_request_key(identity_key, session, request_id), db=self._requests)
        return None if found is None else (int.from_bytes(found[:TS_BYTES], "big"), found[TS_BYTES:])

    def reader(self) -> Reader:
        """Return a reader that sees what is committed now."""
        reader = Reader(self._begin, self._documents, self._entries, self._counts)
        self._readers.add(reader)
        return reader

    def reader_check(self) -> int:
        """Free what readers in dead processes held; call after the death of a worker."""
        return self._env.reader_check()

    # ---- the three ways to change it -----------------------------------------------------------------------------

    def apply(self, batch: Sequence[Applied], *, log_position: int = 0) -> None:
        """Add commits, all in one LMDB transaction.

        Parameters
        ----------
        batch
            Commits with strictly increasing timestamps, all above :attr:`applied`.
        log_position
            A position up to which the log is in the index, batch included or not; see :attr:`log_position`.
        """
        self._write(lambda txn: self._apply(txn, batch, log_position))

    def _apply(self, txn: Txn, batch: Sequence[Applied], log_position: int) -> None:
        applied = int.from_bytes(txn.get(b"applied", b"", db=self._meta), "big")
        documents, entries, counts = self._documents, self._entries, self._counts
        newest: dict[bytes, int] = {}
        counting = txn.cursor(counts)
        put = txn.put
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
                    put(stored + version, DEAD if write.doc is None else write.doc, db=documents)
                    (journal.new_documents if fresh else journal.documents).append(stored)
                for index_id, key in write.dels:
                    stored = entry_key(index_id, key)
                    put(stored + version, DEAD, db=entries)
                    journal.entries.append(stored)
                added = journal.new_entries if fresh else journal.entries
                for index_id, key in write.puts:
                    stored = entry_key(index_id, key)
                    put(stored + version, LIVE if len(key) <= CUT else key, db=entries)
                    added.append(stored)
                for key, delta in write.counts:
                    deltas[key] = deltas.get(key, 0) + delta
            for key, delta in deltas.items():
                stored = count_key(key)
                number = newest.get(stored)
                if number is None:
                    number = _newest_count(counting, stored)
                number = newest[stored] = number + delta
                put(stored + version, number.to_bytes(8, "little", signed=True), db=counts)
                journal.counts.append(stored)
            request = commit.request
            if request is not None:
                journal.request = _request_key(request.identity_key, request.session, request.id)
                ts = applied.to_bytes(TS_BYTES, "big")
                put(journal.request, ts + request.result, db=self._requests)
                put(b"t" + ts, journal.request, db=self._requests)
            put(applied.to_bytes(TS_BYTES, "big"), _encode(journal), append=True, db=self._journal)
        self._set(txn, b"applied", applied)
        if applied > int.from_bytes(txn.get(b"highest", b"", db=self._meta), "big"):
            self._set(txn, b"highest", applied)
        if log_position:
            self._set(txn, b"position", log_position)

    def rewind(self, to_ts: int) -> int:
        """Take back every commit after ``to_ts``; return how many there were.

        If there were any the epoch grows, so nobody can mistake a snapshot from before for one from after.

        Raises
        ------
        DataFolderError
            ``to_ts`` is below the horizon: the index must be rebuilt.
        """
        return self._write(lambda txn: self._rewind(txn, to_ts))

    def _rewind(self, txn: Txn, to_ts: int) -> int:
        meta = self._meta
        horizon = int.from_bytes(txn.get(b"horizon", b"", db=meta), "big")
        applied = int.from_bytes(txn.get(b"applied", b"", db=meta), "big")
        if to_ts >= applied:
            return 0
        if to_ts < horizon:
            raise DataFolderError(
                f"the row index cannot go back to {to_ts}: it has dropped older versions up to {horizon};"
                " delete the folder 'index' inside the data folder, and it is rebuilt at the next start"
            )
        removed = 0
        cursor = txn.cursor(self._journal)
        while cursor.last():
            ts_key = cursor.key()
            ts = int.from_bytes(ts_key, "big")
            if ts <= to_ts:
                break
            journal = _decode(cursor.value())
            version = inverted(ts)
            for db, stored_keys in (
                (self._documents, journal.new_documents),
                (self._documents, journal.documents),
                (self._entries, journal.new_entries),
                (self._entries, journal.entries),
                (self._counts, journal.counts),
            ):
                for stored in stored_keys:
                    txn.delete(stored + version, db=db)
            if journal.request:
                txn.delete(journal.request, db=self._requests)
                txn.delete(b"t" + ts_key, db=self._requests)
            cursor.delete()
            removed += 1
        self._set(txn, b"applied", to_ts)
        self._set(txn, b"epoch", int.from_bytes(txn.get(b"epoch", b"", db=meta), "big") + 1)
        return removed

    def collect(self, horizon: int, limit: int = 1000) -> int:
        """Drop versions that no snapshot at or after ``horizon`` sees, of at most ``limit`` commits.

        Returns
        -------
        int
            How many commits were cleaned up; call again while it is ``limit``.

        Notes
        -----
        ``horizon`` must not be above the durable timestamp (rewind needs what it drops) nor above a running snapshot.
        """
        return self._write(lambda txn: self._collect(txn, horizon, limit))

    def _collect(self, txn: Txn, horizon: int, limit: int) -> int:
        cleaned = 0
        ts = 0
        cursor = txn.cursor(self._journal)
        documents, entries, counts = (txn.cursor(db) for db in (self._documents, self._entries, self._counts))
        while cleaned < limit and cursor.first():
            found = int.from_bytes(cursor.key(), "big")
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
            cursor.delete()
            cleaned += 1
        if ts:
            self._set(txn, b"horizon", ts)
        return cleaned

    def drop_requests(self, before_ts: int, limit: int = 1000) -> int:
        """Forget the answers to requests committed before ``before_ts``, at most ``limit``; return how many."""
        return self._write(lambda txn: self._drop_requests(txn, before_ts, limit))

    def _drop_requests(self, txn: Txn, before_ts: int, limit: int) -> int:
        cursor = txn.cursor(self._requests)
        end = b"t" + before_ts.to_bytes(TS_BYTES, "big")
        dropped = 0
        while dropped < limit and cursor.set_range(b"t"):
            stored, request = cursor.item()
            if stored >= end:
                break
            cursor.delete()
            txn.delete(request, db=self._requests)
            dropped += 1
        return dropped

    def rebuild(
        self,
        chunks: Iterable[Sequence[Document]],
        *,
        applied: int,
        keys: str,
        state: Callable[[Reader], bytes] = lambda _: b"",
        epoch: int = 0,
        processes: int = 2,
    ) -> None:
        """Replace everything by ``chunks``: the latest version of every document as of ``applied``.

        Parameters
        ----------
        chunks
            Lists of ``(table, id, timestamp of the version, packed document)``, in any order.
        keys
            ``module:function``; the function is called with the result of ``state`` and returns a function which
            computes, from ``(table, id, packed document)``, the keys ``[(index id, key)]`` of a document in every index
            but that by id, and the counters ``[key]`` that it adds one to. It runs in other processes, too.
        state
            Called with a reader when all documents are in, but no index entries yet (scan by id, at ``applied``).
        epoch
            The least epoch that the index has afterwards.
        processes
            How many processes compute keys; 0: this one.
        """
        dbs = (self._documents, self._entries, self._counts, self._journal, self._requests, self._meta)
        epoch = max(epoch, self.epoch + 1)
        with self._env.begin(write=True) as txn:
            for db in dbs:
                txn.drop(db, delete=False)
        filling = Filling(self._env, self._documents, self._entries, self._counts)
        put_documents(filling, chunks)
        with self.reader() as reader:
            job = Job(str(self._folder), self._env.info()["map_size"], keys, state(reader))
        put_keys(filling, job, applied, processes)
        with self._env.begin(write=True) as txn:
            for name, number in (
                (b"applied", applied),
                (b"highest", applied),
                (b"horizon", applied),
                (b"epoch", epoch),
            ):
                self._set(txn, name, number)
        self.trust()

    # ---- LMDB --------------------------------------------------------------------------------------------------

    def _number(self, name: bytes) -> int:
        with self._begin() as txn:
            return int.from_bytes(txn.get(name, b"", db=self._meta), "big")

    def _set(self, txn: Txn, name: bytes, number: int) -> None:
        txn.put(name, number.to_bytes(TS_BYTES, "big"), db=self._meta)

    def _begin(self) -> Txn:
        try:
            return self._env.begin()
        except lmdb.MapResizedError:  # the writer made the map larger
            self._env.set_mapsize(0)
            return self._env.begin()

    def _write(self, change: Callable[[Txn], T]) -> T:
        while True:
            try:
                with self._env.begin(write=True) as txn:
                    return change(txn)
            except lmdb.MapFullError:
                self._grow()
            except lmdb.Error as error:
                if error.code in _FULL:
                    raise ReadOnly(
                        f"the row index in {self._folder} cannot be written ({error}):"
                        " free some space on its disk, writing goes on by itself"
                    ) from error
                raise

    def _grow(self) -> None:
        # LMDB maps the file anew, so no transaction of this process may be open meanwhile.
        readers = list(self._readers)
        for reader in readers:
            reader.close()
        self._env.set_mapsize(2 * self._env.info()["map_size"])
        for reader in readers:
            reader.renew()


def open_environment(folder: Path, map_size: int, readonly: bool) -> lmdb.Environment:
    """Open the LMDB files in ``folder``."""
    while True:
        try:
            return lmdb.Environment(
                str(folder),
                map_size=map_size,
                readonly=readonly,
                create=not readonly,
                sync=False,
                metasync=False,
                writemap=False,
                readahead=False,
                meminit=False,
                max_readers=510,
                max_dbs=8,
                max_spare_txns=8,
            )
        except lmdb.Error as error:
            # A limit on address space, or a system that reserves what it maps.
            if error.code != errno.ENOMEM or map_size <= 1 << 26:
                raise DataFolderError(f"the row index in {folder} cannot be opened: {error}") from error
            map_size //= 2


def _request_key(identity_key: bytes, session: bytes, request_id: int) -> bytes:
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
