"""Contents of files, each once, named by its checksum: in a folder, or wherever fsspec writes (``s3://bucket/files``).

What comes in is written to a file of its own beside them, flushed, and only then given its name: a crash leaves nothing that
could be taken for a whole file, and what it does leave is deleted at the next start. Every method blocks.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, Protocol

from nbreactive.engine.files import Disk
from nbreactive.errors import DataFolderError, InvalidValue, LimitExceeded, MissingPackage

INCOMING: Final = "incoming"
_NAME: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_AHEAD: Final = 4 << 20
"""Bytes of one request to a store of objects."""
_SPARE: Final = 64 << 20
"""Bytes that stay free on the disk, for the log."""
_FOLLOW_NO_LINKS: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


class Incoming:
    """A content on its way in; used by one thread at a time."""

    def __init__(self, folder: Path) -> None:
        descriptor, name = tempfile.mkstemp(dir=folder)
        self.path = Path(name)
        self._file: IO[bytes] = os.fdopen(descriptor, "wb", buffering=0)
        self._sha256 = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | bytearray) -> None:
        """Add a piece."""
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self._sha256.update(data)
        self.size += len(data)

    def close(self) -> str:
        """Make it durable; return its checksum."""
        os.fsync(self._file.fileno())
        self._file.close()
        return self._sha256.hexdigest()

    def discard(self) -> None:
        """Delete it."""
        self._file.close()
        self.path.unlink(missing_ok=True)


class Reading(Protocol):
    """A content that is read."""

    def read(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes, fewer only at the end."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class Blobs:
    """All contents of one deployment.

    Parameters
    ----------
    folder
        Where what comes in is written, and where contents are kept unless ``url`` says otherwise; made if it is not there.
    url
        Another place, as fsspec names it.
    """

    def __init__(self, folder: Path, url: str | None = None) -> None:
        self.folder = folder
        self._place: _Place = _Folder(folder)
        if url is not None:
            local = _local(url)
            self.folder = local or folder
            self._place = _Folder(local) if local else _Remote(url)
        self._incoming = self.folder / INCOMING
        try:
            self._incoming.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise DataFolderError(f"the folder for files {self.folder} cannot be made: {error.strerror}") from None

    def clean(self) -> int:
        """Delete what an earlier process has left half written; return how many pieces."""
        left = [path for path in self._incoming.iterdir() if not path.is_dir() or path.is_symlink()]
        for path in left:
            path.unlink(missing_ok=True)
        return len(left)

    def receive(self, size: int = 0) -> Incoming:
        """Begin to take a content of ``size`` bytes, if that is known."""
        free = shutil.disk_usage(self._incoming).free
        if free < size + _SPARE:
            raise NoSpace(f"there is no room for {size} bytes: {free} are free on the disk of {self.folder.name}")
        return Incoming(self._incoming)

    def keep(self, incoming: Incoming, sha256: str) -> bool:
        """Give a closed content its name, durably; False if it was there before."""
        try:
            if self._place.size(sha256) == incoming.size:
                return False
            self._place.take(incoming.path, sha256)
            return True
        finally:
            incoming.discard()

    def open(self, sha256: str) -> Reading:
        """Open a content; FileNotFoundError if it is not there."""
        return self._place.open(_checked(sha256))

    def size(self, sha256: str) -> int | None:
        """Return how long a content is; None if it is not there."""
        return self._place.size(_checked(sha256))

    def names(self) -> Iterator[tuple[str, int]]:
        """Yield checksum and size of all contents."""
        return self._place.names()

    def remove(self, sha256: str) -> None:
        """Delete a content."""
        self._place.remove(_checked(sha256))


class NoSpace(LimitExceeded):
    """The disk is full."""

    code = "NoSpace"


class _Place(Protocol):
    def take(self, path: Path, sha256: str) -> None: ...

    def open(self, sha256: str) -> Reading: ...

    def size(self, sha256: str) -> int | None: ...

    def names(self) -> Iterator[tuple[str, int]]: ...

    def remove(self, sha256: str) -> None: ...


class _OpenFile:
    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "rb", buffering=0)
        self._lock = threading.Lock()

    def read(self, offset: int, length: int) -> bytes:
        with self._lock:
            self._file.seek(offset)
            return self._file.read(length)

    def close(self) -> None:
        self._file.close()


class _Folder:
    """Contents as files; no link is ever followed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def take(self, path: Path, sha256: str) -> None:
        path.replace(self._folder / sha256)
        Disk().sync_folder(self._folder)

    def open(self, sha256: str) -> Reading:
        path = self._folder / sha256
        try:
            descriptor = os.open(path, os.O_RDONLY | _FOLLOW_NO_LINKS)
        except OSError as error:  # ELOOP: a link
            raise FileNotFoundError(sha256) from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode) or path.is_symlink():
            os.close(descriptor)
            raise FileNotFoundError(sha256)
        return _OpenFile(descriptor)

    def size(self, sha256: str) -> int | None:
        try:
            found = (self._folder / sha256).lstat()
        except FileNotFoundError:
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def names(self) -> Iterator[tuple[str, int]]:
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if _NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    with contextlib.suppress(FileNotFoundError):
                        yield entry.name, entry.stat(follow_symlinks=False).st_size

    def remove(self, sha256: str) -> None:
        (self._folder / sha256).unlink(missing_ok=True)


class _RemoteFile:
    """One object, of which so much is asked for at a time that the way there hardly counts."""

    def __init__(self, fs: Any, path: str, size: int) -> None:
        self._fs, self._path, self._size = fs, path, size
        self._lock = threading.Lock()
        self._begin, self._ahead = 0, b""

    def read(self, offset: int, length: int) -> bytes:
        with self._lock:
            end = min(offset + length, self._size)
            if offset >= end:
                return b""
            if not self._begin <= offset < end <= self._begin + len(self._ahead):
                until = min(offset + max(length, _AHEAD), self._size)
                self._begin = offset
                self._ahead = bytes(self._fs.cat_file(self._path, start=offset, end=until))
            return self._ahead[offset - self._begin : end - self._begin]

    def close(self) -> None:
        """Each request is whole."""
        self._ahead = b""


class _Remote:
    """Contents as objects of a store that shows an object when it is whole, as S3, GCS, Azure and MinIO do."""

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs

        try:
            fs, root = url_to_fs(url, use_listings_cache=False, skip_instance_cache=True)
        except ImportError as error:
            raise MissingPackage(f"files at {_shown(url)} need a package that is not installed: {error}") from None
        except ValueError as error:
            raise InvalidValue(f"{_shown(url)} is not a place for files: {error}") from None
        self._fs: Any = fs
        self._root = str(root).rstrip("/")

    def _path(self, sha256: str) -> str:
        return f"{self._root}/{sha256}"

    def take(self, path: Path, sha256: str) -> None:
        self._fs.put_file(str(path), self._path(sha256))

    def open(self, sha256: str) -> Reading:
        size = self.size(sha256)
        if size is None:
            raise FileNotFoundError(sha256)
        return _RemoteFile(self._fs, self._path(sha256), size)

    def size(self, sha256: str) -> int | None:
        try:
            return int(self._fs.info(self._path(sha256))["size"])
        except FileNotFoundError:
            return None

    def names(self) -> Iterator[tuple[str, int]]:
        try:
            found: list[Any] = self._fs.ls(self._root, detail=True, refresh=True)
        except FileNotFoundError:
            return
        for info in found:
            name = str(info["name"]).rpartition("/")[2]
            if _NAME.fullmatch(name) and info["type"] == "file":
                yield name, int(info["size"])

    def remove(self, sha256: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._path(sha256))


def _local(url: str) -> Path | None:
    if url.startswith(("file://", "local://")):
        return Path(url.partition("://")[2])
    return None if "://" in url or "::" in url else Path(url)


def _checked(sha256: str) -> str:
    if not _NAME.fullmatch(sha256):
        raise FileNotFoundError(sha256)
    return sha256


def _shown(url: str) -> str:
    """Leave out what may be secret in an address."""
    return re.sub(r"//[^/@]*@", "//", url.partition("?")[0])[:200]
