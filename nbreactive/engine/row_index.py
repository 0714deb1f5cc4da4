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
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

import lmdb

from nbreactive.engine import _row_changes, _trust
from nbreactive.engine._index_builder import Part
from nbreactive.engine._index_slimming import slim
from nbreactive.engine._reader import Reader, Txn
from nbreactive.engine._rebuild import Job, fill
from nbreactive.engine._row_changes import (
    Applied,
    Databases,
    IndexKey,
    RowWrite,
    VectorState,
    get_notes,
    get_number,
    put_notes,
    replace_notes,
    request_key,
    set_number,
)
from nbreactive.engine._vector_notes import VectorNote
from nbreactive.errors import DataFolderError, ReadOnly

if TYPE_CHECKING:
    from nbreactive.engine.vector_store import VectorMaps, VectorStore

__all__ = ["Applied", "IndexKey", "Reader", "RowIndex", "RowWrite", "VectorState", "open_environment", "request_key"]

T = TypeVar("T")

MAP_SIZE = 1 << 32 if sys.platform == "win32" else 1 << 40
"""Address space, not room on the disk; Windows may reserve some of that too."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO} if sys.platform != "win32" else {errno.ENOSPC, errno.EIO}


class RowIndex:
    """The row index of one deployment; made by :meth:`open`."""

    def __init__(self, env: lmdb.Environment, folder: Path, trusted: bool) -> None:
        self._env = env
        self._folder = folder
        self._trusted = trusted
        self._readers: weakref.WeakSet[Reader] = weakref.WeakSet()
        create = not env.flags()["readonly"]
        self._dbs = Databases(*(env.open_db(name.encode(), create=create) for name in Databases._fields))
        self._closed = False
        self._maps: VectorMaps | None = None
        self._vectors: VectorStore | None = None
        if not create:
            return
        with self._begin() as txn:
            notes = get_notes(self._dbs, txn)
        if notes:
            self._note(replace_notes, self.vectors.notes)

    @classmethod
    def open(cls, path: str | Path, *, map_size: int = MAP_SIZE, readonly: bool = False) -> RowIndex:
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
        env = open_environment(folder, map_size, readonly)
        if trusted and not readonly and slim(folder, env, Databases._fields):
            env = open_environment(folder, map_size, readonly)
        index = cls(env, folder, trusted)
        if trusted and not readonly:
            try:
                _trust.mark(folder, clean=False)
            except OSError as error:
                env.close()
                raise DataFolderError(
                    f"the row index in {folder} cannot be opened: {error}; free some space on its disk, and start again"
                ) from error
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
        if self._vectors is not None:
            self._vectors.close(sync=self._trusted)
        for reader in list(self._readers):
            reader.close()
        readonly = self._env.flags()["readonly"]
        if not readonly:
            self._env.sync(True)
        self._env.close()
        if not readonly and self._trusted:
            try:
                _trust.mark(self._folder, clean=True)
            except OSError as error:
                if error.errno not in _FULL:
                    raise  # else it says still that it is open, which only a power cut makes untrue

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
        return max(self.applied, self._number(b"highest"))  # only what was rewound is noted

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
        with self.reader() as reader:
            return reader.request(request_key(identity_key, session, request_id))

    def filled(self, index_id: int) -> bytes | None:
        """Return the last document id that the backfill of an index has passed; None if that is not known."""
        with self._begin() as txn:
            return _row_changes.filled(self._dbs, txn, index_id)

    def reader(self) -> Reader:
        """Return a reader that sees what is committed now."""
        dbs = self._dbs
        reader = Reader(self._begin, dbs.documents, dbs.entries, dbs.counts, dbs.requests, dbs.meta, self._vector_maps)
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
        if not any(commit.vectors or any(write.vectors for write in commit.writes) for commit in batch):
            self._write(lambda txn: _row_changes.apply(self._dbs, txn, batch, log_position))
            return
        try:
            notes = self.vectors.apply(batch)
            self._write(lambda txn: self._apply_noted(txn, batch, log_position, notes))
        except BaseException as error:
            self.restore_vectors()
            if isinstance(error, OSError):
                self._refuse(error)
            raise

    def rewind(self, to_ts: int) -> int:
        """Take back every commit after ``to_ts``; return how many there were.

        If there were any the epoch grows, so nobody can mistake a snapshot from before for one from after.

        Raises
        ------
        DataFolderError
            ``to_ts`` is below the horizon: the index must be rebuilt.
        """
        commits = self._write(lambda txn: _row_changes.rewind(self._dbs, txn, to_ts))
        if commits and self._vectors is not None:
            self.restore_vectors()
        return commits

    def collect(self, horizon: int, limit: int = 1000) -> int:
        """Drop versions that no snapshot at or after ``horizon`` sees; stop after about ``limit`` keys.

        Returns
        -------
        int
            How many commits and keys were looked at; call again while it is ``limit`` or more.

        Notes
        -----
        ``horizon`` must not be above the durable timestamp (rewind needs what it drops) nor above a running snapshot.
        """
        return self._write(lambda txn: _row_changes.collect(self._dbs, txn, horizon, limit))

    def drop_requests(self, before_ts: int, limit: int = 1000) -> int:
        """Forget the answers to requests committed before ``before_ts``, at most ``limit``; return how many."""
        return self._write(lambda txn: _row_changes.drop_requests(self._dbs, txn, before_ts, limit))

    def rebuild(self, parts: Iterable[Part], *, applied: int, epoch: int = 0) -> None:
        """Replace everything by ``parts``: the latest version of every document as of ``applied``.

        Parameters
        ----------
        parts
            Documents, those of ``_tables`` before all of users' tables.
        applied
            The timestamp that the index has afterwards.
        epoch
            The least epoch that it has afterwards.
        """
        epoch = max(epoch, self.epoch + 1)
        if self._vectors is not None:
            self._vectors.reload({}, applied)
        with self._env.begin(write=True) as txn:
            for db in self._dbs:
                txn.drop(db, delete=False)
        fill(self._env, self._dbs, Job(str(self._folder), self._env.info()["map_size"], applied), parts)
        with self._begin(write=True) as txn:
            for name, number in (
                (b"applied", applied),
                (b"highest", applied),
                (b"horizon", applied),
                (b"epoch", epoch),
            ):
                set_number(self._dbs, txn, name, number)
        self.trust()

    # ---- vector indexes ------------------------------------------------------------------------------------------

    @property
    def vectors(self) -> VectorStore:
        """The vector indexes; what changes in them beside commits is told to :meth:`note_vectors`."""
        if self._vectors is None:
            from nbreactive.engine.vector_store import FOLDER, VectorStore

            with self._begin() as txn:
                notes = get_notes(self._dbs, txn)
            self._vectors = VectorStore(self._folder / FOLDER, notes, self.applied)
        return self._vectors

    @property
    def has_vectors(self) -> bool:
        """Whether there is any vector index."""
        return self._vectors is not None

    def note_vectors(self) -> None:
        """Let readers have the vector indexes as they are now."""
        self._note(replace_notes, self.vectors.notes)

    def _apply_noted(
        self, txn: Txn, batch: Sequence[Applied], log_position: int, notes: Mapping[int, VectorNote]
    ) -> None:
        _row_changes.apply(self._dbs, txn, batch, log_position)
        put_notes(self._dbs, txn, notes)

    def _note(
        self, put: Callable[[Databases, Txn, Mapping[int, VectorNote]], None], notes: Mapping[int, VectorNote]
    ) -> None:
        self._write(lambda txn: put(self._dbs, txn, notes))

    def forget_filled(self, index_id: int) -> None:
        """Forget how far the backfill of an index was: what it had added is gone."""
        self._write(lambda txn: _row_changes.forget_filled(self._dbs, txn, index_id))

    def restore_vectors(self) -> None:
        """Bring the vector indexes to what is applied."""
        with self._begin() as txn:
            notes = get_notes(self._dbs, txn)
        self.vectors.reload(notes, self.applied)
        if self.vectors.notes != notes:
            self.note_vectors()

    def _vector_maps(self) -> VectorMaps:
        if self._maps is None:
            from nbreactive.engine.vector_store import FOLDER, VectorMaps

            self._maps = VectorMaps(self._folder / FOLDER)
        return self._maps

    # ---- LMDB --------------------------------------------------------------------------------------------------

    def _number(self, name: bytes) -> int:
        with self._begin() as txn:
            return get_number(self._dbs, txn, name)

    def _begin(self, *, write: bool = False) -> Txn:
        try:
            return self._env.begin(write=write)
        except lmdb.MapResizedError:  # another process made the map larger
            self._env.set_mapsize(0)
            return self._env.begin(write=write)

    def _write(self, change: Callable[[Txn], T]) -> T:
        while True:
            try:
                with self._env.begin(write=True) as txn:
                    return change(txn)
            except lmdb.MapFullError:
                self._grow()
            except lmdb.Error as error:
                if error.code in _FULL:
                    self._refuse(error)
                raise

    def _refuse(self, error: Exception) -> NoReturn:
        raise ReadOnly(
            f"the row index cannot be written ({error}): free some space on the disk of the data folder, writing goes on by"
            " itself"
        ) from error

    def _grow(self) -> None:
        # LMDB maps the file anew, so no transaction of this process may be open meanwhile.
        readers = [reader for reader in self._readers if reader.is_open]
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
