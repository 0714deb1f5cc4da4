"""The data folder: one backend at a time, of a known format, on a local drive.

Whoever has locked the file ``lock`` owns the folder. Somebody may delete that file, and then a second backend could lock
a new one; so on POSIX the folder itself is locked as well. Windows does not let anybody delete a file that is open.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from nbreactive.engine.files import DATA_FORMAT, Disk
from nbreactive.errors import DataFolderError
from nbreactive.runtime.cursors import KEY_BYTES
from nbreactive.server._drives import network_file_system
from nbreactive.server.reset import complete

FORMAT = DATA_FORMAT
_OLDER = {1}
"""Formats of which this one is an extension: such a folder is marked as one of this format, and stays readable."""


class RunningBackend(msgspec.Struct):
    """What the backend of a folder says about itself (``backend.json``)."""

    pid: int
    url: str
    version: str


class DataFolder:
    """A data folder that is ours until :meth:`close`.

    Parameters
    ----------
    path
        The folder; made if it does not exist.

    Raises
    ------
    DataFolderError
        In use, of another format, or on a network drive.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise DataFolderError(
                f"the data folder {path} cannot be made: {error.strerror}; choose another one with --data"
            ) from None
        kind = network_file_system(path)
        if kind is not None:
            raise DataFolderError(
                f"the data folder {path} is on a network drive ({kind}), whose locks and flushes a database cannot rely on; "
                "put it on a local drive with --data, and join from other machines with %reactive connect URL"
            )
        self._lock = FileLock(path / "lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise DataFolderError(_in_use(path)) from None
        self._itself: int | None = None
        try:
            self._itself = _lock_folder(path)
            self._check_format()
            self._complete_reset()
        except BaseException:
            self._release()
            raise

    @property
    def info_file(self) -> Path:
        """Where a running backend is described."""
        return self.path / "backend.json"

    def announce(self, url: str, version: str) -> None:
        """Tell others where this folder's backend answers."""
        _write_private(self.info_file, msgspec.json.encode(RunningBackend(os.getpid(), url, version)))

    def admin_key(self) -> str:
        """The folder's own admin key, made at first use and readable by its owner only."""
        file = self.path / "admin.key"
        if not file.exists():
            _write_private(file, secrets.token_urlsafe(32).encode())
        return file.read_text("utf-8").strip()

    def close(self) -> None:
        """Let another backend have the folder."""
        self.info_file.unlink(missing_ok=True)
        self._release()

    def _release(self) -> None:
        if self._itself is not None:
            os.close(self._itself)
            self._itself = None
        self._lock.release()

    def _complete_reset(self) -> None:
        try:
            complete(self.path)
        except OSError as error:
            raise DataFolderError(
                f"the data folder {self.path} is being reset, and {error.filename} cannot be moved: {error.strerror};"
                " close whatever has it open, and start again"
            ) from None

    def _check_format(self) -> None:
        file = self.path / "format"
        if not file.exists():
            _write_private(file, f"{FORMAT}\n".encode(), durable=True)
            return
        text = file.read_text("utf-8", "replace").strip()
        if text in map(str, _OLDER):
            # From now on older versions refuse it, before the log has anything that they cannot read
            _write_private(file, f"{FORMAT}\n".encode(), durable=True)
        elif text != str(FORMAT):
            raise DataFolderError(
                f"the data folder {self.path} has the format {text[:20]!a}, this version of nbreactive reads format {FORMAT}; "
                "use the version that wrote it, or another folder with --data"
            )


def cursor_key(path: Path) -> bytes:
    """Return the key that seals the cursors of pages, made at first use; without the old one, no old cursor opens."""
    file = path / "cursor.key"
    key = file.read_bytes() if file.exists() else b""
    if len(key) != KEY_BYTES:
        key = secrets.token_bytes(KEY_BYTES)
        _write_private(file, key, durable=True)
    return key


def running_backend(path: Path) -> RunningBackend | None:
    """Who says to be the backend of a folder."""
    try:
        return msgspec.json.decode((path / "backend.json").read_bytes(), type=RunningBackend)
    except (OSError, msgspec.MsgspecError):
        return None


def _in_use(path: Path) -> str:
    running = running_backend(path)
    who = f"by the backend with the process id {running.pid} at {running.url}" if running else "by another backend"
    fix = f"connect to it (%reactive connect {running.url})" if running else "connect to that one"
    return f"the data folder {path} is in use {who}; {fix}, stop it, or choose another folder with --data"


def _lock_folder(path: Path) -> int | None:
    """Lock the folder itself until the descriptor that is returned is closed."""
    if sys.platform == "win32":
        return None
    import fcntl

    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise DataFolderError(_in_use(path)) from None
    except OSError:
        pass  # a file system without such locks: the lock file has to do
    return descriptor


def _write_private(file: Path, data: bytes, *, durable: bool = False) -> None:
    """Write a file that only its owner may read; after a crash it is there whole or not at all, if it is ``durable``."""
    temporary = file.with_name(f"{file.name}.{os.getpid()}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        if durable:
            stream.flush()
            os.fsync(stream.fileno())
    temporary.replace(file)
    if durable:
        Disk().sync_folder(file.parent)
