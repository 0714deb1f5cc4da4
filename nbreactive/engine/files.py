"""The file system as an argument, for everything that must be durable.

Only what the log needs: whole writes at an offset, truncation, flushes that mean it, and flushes of a folder after a
file in it came or went. Tests pass file systems that fail at a chosen call or forget what was not flushed.
Every method raises OSError and blocks.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Protocol

DATA_FORMAT = 2
"""Of a data folder. 2: the log may have compact segments."""


class OpenFile(Protocol):
    """One open file; used by one thread at a time."""

    def size(self) -> int:
        """Return the length in bytes."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes; fewer only at the end of the file."""
        ...

    def write(self, offset: int, data: bytes) -> None:
        """Write all of ``data``; when it raises, any part may have been written."""
        ...

    def truncate(self, length: int) -> None:
        """Cut the file."""
        ...

    def sync(self) -> None:
        """Make what was written durable. After a failure nothing is known, and a second try proves nothing."""
        ...

    def deleted(self) -> bool:
        """Tell whether the file has no name any more, so that what is written to it is lost."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class FileSystem(Protocol):
    """What the log does to a disk."""

    def names(self, folder: Path) -> list[str]:
        """Return the names in ``folder``, which is made if it is not there."""
        ...

    def open(self, path: Path, *, create: bool = False) -> OpenFile:
        """Open for reading and writing; ``create`` makes the file, or empties it."""
        ...

    def make(self, path: Path) -> OpenFile:
        """Make a file that nobody else has made; FileExistsError if somebody has."""
        ...

    def remove(self, path: Path) -> None:
        """Delete a file."""
        ...

    def rename(self, path: Path, to: Path) -> None:
        """Give a file another name in its folder, at once; a file that has that name is gone."""
        ...

    def sync_folder(self, folder: Path) -> None:
        """Make the names in ``folder`` durable."""
        ...


class DiskFile:
    """An open file of the operating system."""

    def __init__(self, path: Path, flags: int) -> None:
        self._fd = os.open(path, flags | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0), 0o644)
        self._name = f"/proc/self/fd/{self._fd}"

    def size(self) -> int:
        """Return the length in bytes."""
        return os.fstat(self._fd).st_size

    def read(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes; fewer only at the end of the file."""
        os.lseek(self._fd, offset, os.SEEK_SET)
        parts: list[bytes] = []
        while length > 0 and (part := os.read(self._fd, length)):
            parts.append(part)
            length -= len(part)
        return b"".join(parts)

    def write(self, offset: int, data: bytes) -> None:
        """Write all of ``data``."""
        os.lseek(self._fd, offset, os.SEEK_SET)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]

    def truncate(self, length: int) -> None:
        """Cut the file."""
        os.ftruncate(self._fd, length)

    def sync(self) -> None:
        """Make what was written durable."""
        if sys.platform == "darwin":
            import fcntl

            fcntl.fcntl(self._fd, fcntl.F_FULLFSYNC)  # fsync there leaves the data in the drive's cache
        elif sys.platform == "win32":
            os.fsync(self._fd)
        else:
            os.fdatasync(self._fd)  # the length of the file included

    def deleted(self) -> bool:
        """Tell whether the file has no name any more."""
        if sys.platform == "linux":
            # Whoever asks newer kernels for a file's times makes the next write note a new one, and its flush slower.
            with contextlib.suppress(OSError):
                return os.readlink(self._name).endswith(" (deleted)")  # noqa: PTH115 - a path object takes longer
        return os.fstat(self._fd).st_nlink == 0

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


class Disk:
    """The file system of the operating system."""

    def names(self, folder: Path) -> list[str]:
        """Return the names in ``folder``, which is made if it is not there."""
        if not folder.exists():
            folder.mkdir(parents=True)
            self.sync_folder(folder.parent)
        return [entry.name for entry in folder.iterdir()]

    def open(self, path: Path, *, create: bool = False) -> DiskFile:
        """Open for reading and writing; ``create`` makes the file, or empties it."""
        return DiskFile(path, os.O_RDWR | (os.O_CREAT | os.O_TRUNC if create else 0))

    def make(self, path: Path) -> DiskFile:
        """Make a file that nobody else has made; FileExistsError if somebody has."""
        return DiskFile(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)

    def remove(self, path: Path) -> None:
        """Delete a file."""
        path.unlink()

    def rename(self, path: Path, to: Path) -> None:
        """Give a file another name in its folder, at once; a file that has that name is gone."""
        path.replace(to)

    def sync_folder(self, folder: Path) -> None:
        """Make the names in ``folder`` durable; Windows needs no such thing."""
        if sys.platform == "win32":
            return
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
