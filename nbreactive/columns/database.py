"""Opening store.duckdb: settings, the tables of our own, and what to do with a file that is no good.

The file is rebuilt from the log whenever it has to be, so a damaged one is set aside, never repaired. Our own tables
live in the schema ``nbreactive``; ``main`` belongs to the user's tables. There is no index and no key: finding
rows by scans and joins cannot be wrong, DuckDB's indexes could be after a crash.

    nbreactive.history   every version of every document: ts, table_number, id, doc (packed), deleted, and
                         the ts of the version before; append-only
    nbreactive.tables    which typed tables there are, and their layouts
    nbreactive.state     one row: the format, and the ts up to which everything is applied
"""

# pyarrow and duckdb have no stubs, or partial ones: what comes out of them is unknown to the checker
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportUnknownLambdaType=false

from __future__ import annotations

import contextlib
import datetime as dt
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import duckdb

from nbreactive.columns._frames import Open
from nbreactive.columns.attached import attach
from nbreactive.columns.past import note_horizon
from nbreactive.columns.trimming import rewrite
from nbreactive.errors import DataFolderError

FORMAT = 2

_DAMAGED = (
    "not a valid duckdb database file",
    "corrupt",
    "checksum",
    "could not read enough bytes",
    "failure while replaying wal",
    "deserializ",
    "version number",
)

_TABLES = """
CREATE SCHEMA nbreactive;
CREATE TABLE nbreactive.history
    (ts BIGINT NOT NULL, table_number INTEGER NOT NULL, id BLOB NOT NULL, doc BLOB, deleted BOOLEAN NOT NULL,
     previous BIGINT NOT NULL);
CREATE TABLE nbreactive.tables (number INTEGER NOT NULL, id BLOB NOT NULL, layout VARCHAR NOT NULL, validator VARCHAR);
CREATE TABLE nbreactive.state (format INTEGER NOT NULL, applied BIGINT NOT NULL);
"""


class AheadOfLog(DataFolderError):  # noqa: N818 - a state of the folder
    """The store has commits that the log lacks; nothing was changed."""


class Store:
    """An open store.duckdb.

    Attributes
    ----------
    connection
        The one that writes; others are made by :meth:`cursor`.
    alone
        Keeps everybody from reading, for what DuckDB does not do beside others.
    applied
        Every commit up to this ts is in the store.
    set_aside
        Where an unusable file went, if one was found.
    """

    def __init__(self, request: Open) -> None:
        self._request = request
        self._path = Path(request.path)
        self._temporary = self._path.with_name(self._path.name + ".tmp")
        self.set_aside = ""
        self.alone: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext
        if request.suspect:
            self._move_away()
        if request.rewrite and self._path.is_file():
            self._rewrite()
        self._making = threading.Lock()
        self.connection = self._open()
        self.applied = self._prepare()
        if request.tail is not None and self.applied > request.tail:
            # Its commits may be nowhere else: neither to be set aside nor to be written over
            self.connection.close()
            raise AheadOfLog(_ahead(self._path, self.applied, request.tail))
        if 0 < self.applied < request.horizon:
            self.applied = self._start_anew()
        if not self.applied and request.horizon:
            note_horizon(self.connection, request.horizon)  # the log that it is filled from has no more

    @property
    def folder(self) -> Path:
        """The data folder."""
        return self._path.parent

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return another connection; safe to call from any thread."""
        with self._making:
            return self.connection.cursor()

    def checkpoint(self) -> None:
        """Bring all of the write-ahead log into the file."""
        try:
            self.connection.execute("CHECKPOINT")
        except duckdb.TransactionException:  # somebody reads tables that have changed since
            with self.alone():
                self.connection.execute("CHECKPOINT")

    def close(self) -> None:
        """Checkpoint, so that no write-ahead log is left, and close."""
        self.checkpoint()
        self.connection.close()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def _open(self) -> duckdb.DuckDBPyConnection:
        deadline = time.monotonic() + 30
        while True:
            try:
                return self._connect()
            except duckdb.Error as error:
                if damaged(error):
                    self._move_away()
                elif "lock" in str(error) and time.monotonic() < deadline:
                    time.sleep(0.05)  # the process before this one is still exiting
                else:
                    raise

    def _rewrite(self) -> None:
        def connect(path: Path) -> duckdb.DuckDBPyConnection:
            threads, memory = str(self._request.threads), self._request.memory_limit
            return duckdb.connect(str(path), config={"threads": threads, "memory_limit": memory})

        with contextlib.suppress(duckdb.Error, OSError):  # the old file is as good
            rewrite(self._path, connect)

    def _connect(self) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(str(self._path), config={"threads": str(self._request.threads)})
        settings = {
            "memory_limit": self._request.memory_limit,
            "temp_directory": str(self._temporary),
            "max_temp_directory_size": "8GB",
            "TimeZone": "UTC",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
            "allow_persistent_secrets": False,
            "python_enable_replacements": False,
            "preserve_insertion_order": True,
            "enable_external_access": False,
            "lock_configuration": True,
        }
        attach(connection, self._request.attach)
        for name, value in settings.items():
            connection.execute(f"SET GLOBAL {name} = {value if isinstance(value, bool) else _literal(value)}")
        return connection

    def _prepare(self) -> int:
        known = self.connection.execute(
            "SELECT count(*) FROM duckdb_tables() WHERE schema_name = 'nbreactive' AND table_name = 'state'"
        ).fetchone()
        if known == (0,):
            self.connection.execute(f"BEGIN; {_TABLES} INSERT INTO nbreactive.state VALUES ({FORMAT}, 0); COMMIT")  # noqa: S608
            self.connection.execute("CHECKPOINT")
            return 0
        row = self.connection.execute("SELECT format, applied FROM nbreactive.state").fetchone()
        if row is None or row[0] != FORMAT:
            return self._start_anew()
        return int(row[1])

    def _start_anew(self) -> int:
        self.connection.close()
        self._move_away()
        self.connection = self._open()
        return self._prepare()

    def _move_away(self) -> None:
        """Rename the file and its write-ahead log."""
        if not self._path.is_file():
            return
        number = 1
        while (aside := self._path.with_name(f"{self._path.name}.damaged-{number}")).exists():
            number += 1
        wal = self._path.with_name(self._path.name + ".wal")
        if wal.exists():
            wal.replace(aside.with_name(aside.name + ".wal"))
        self._path.replace(aside)
        self.set_aside = str(aside)


def damaged(error: BaseException) -> bool:
    """Tell whether an error is that of a file which only a new one replaces, not of a full disk or a lock."""
    text = str(error).lower()
    return isinstance(error, duckdb.Error) and any(sign in text for sign in _DAMAGED)


def _ahead(path: Path, applied: int, tail: int) -> str:
    ends = f"ends at {_moment(tail)}" if tail else "is empty"
    log = path.parent / "log"
    return (
        f"the log is older than {path.name}, or another one: {log} {ends}, {path.name} has commits up to"
        f" {_moment(applied)}. Nothing was changed. Restore {log} from where it went, or a whole data folder from one"
        f" backup; or, to lose what only {path.name} has, move {path} away and start from the log alone"
    )


def _moment(ts: int) -> str:
    return f"{dt.datetime.fromtimestamp(ts / 1e9, dt.UTC):%Y-%m-%d %H:%M:%S.%f} UTC"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
