"""A disk in memory that fails at chosen calls and forgets what was not flushed when the power goes.

After a failed flush it behaves like the real thing: the pages count as clean, so a later flush succeeds without them.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

PAGE = 32


class _Inode:
    def __init__(self) -> None:
        self.cached = bytearray()
        self.durable = bytearray()
        self.dirty: set[int] = set()

    def flush(self, pages: set[int]) -> None:
        length = len(self.cached)
        del self.durable[length:]
        self.durable.extend(bytes(length - len(self.durable)))
        for page in pages:
            part = self.cached[page * PAGE : (page + 1) * PAGE]
            self.durable[page * PAGE : page * PAGE + len(part)] = part


class SimulatedDisk:
    """A FileSystem; ``fail`` maps the number of a call to the errno it fails with."""

    def __init__(self, seed: int = 0) -> None:
        self.inodes: dict[Path, _Inode] = {}
        self.durable_names: dict[Path, _Inode] = {}
        self.random = random.Random(seed)
        self.calls = 0
        self.fail: dict[int, int] = {}
        self.always: int | None = None
        self.failed: list[str] = []

    def trip(self, what: str) -> bool:
        """Count a call; True if it shall fail."""
        self.calls += 1
        self.errno = self.always or self.fail.get(self.calls)
        if self.errno is not None:
            self.failed.append(what)
        return self.errno is not None

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """Fail nothing meanwhile, and count nothing."""
        fail, calls, self.fail = self.fail, self.calls, {}
        yield
        self.fail, self.calls = fail, calls

    def error(self) -> OSError:
        return OSError(self.errno, "injected")

    def names(self, folder: Path) -> list[str]:
        return [path.name for path in self.inodes if path.parent == folder]

    def open(self, path: Path, *, create: bool = False) -> _File:
        failing = self.trip("open")
        if create and (not failing or self.random.random() < 0.5):
            inode = self.inodes.setdefault(path, _Inode())
            inode.cached.clear()
            inode.dirty.clear()
        if failing:
            raise self.error()
        if path not in self.inodes:
            raise FileNotFoundError(path)
        return _File(self, self.inodes[path])

    def make(self, path: Path) -> _File:
        if path in self.inodes:
            raise FileExistsError(path)
        return self.open(path, create=True)

    def remove(self, path: Path) -> None:
        if self.trip("remove"):
            raise self.error()
        del self.inodes[path]

    def rename(self, path: Path, to: Path) -> None:
        if self.trip("rename"):
            raise self.error()
        self.inodes[to] = self.inodes.pop(path)

    def sync_folder(self, folder: Path) -> None:
        if self.trip("sync_folder"):
            raise self.error()
        self.durable_names = dict(self.inodes)

    def power_cut(self) -> SimulatedDisk:
        """Return the disk as it is when the power comes back."""
        after = SimulatedDisk(self.random.randrange(1 << 30))
        names = self.inodes if self.random.random() < 0.5 else self.durable_names
        for path, inode in names.items():
            new = after.inodes[path] = _Inode()
            image = _Inode()
            image.durable = bytearray(inode.durable)
            image.cached = bytearray(inode.cached)
            style = self.random.choice(["nothing", "some", "all", "length"])
            if style != "nothing":
                some = {
                    page for page in inode.dirty if style == "all" or (style == "some" and self.random.random() < 0.5)
                }
                image.flush(some)
            new.cached, new.durable = bytearray(image.durable), bytearray(image.durable)
        after.durable_names = dict(after.inodes)
        return after


class _File:
    def __init__(self, disk: SimulatedDisk, inode: _Inode) -> None:
        self.disk = disk
        self.inode = inode
        self.broken = False

    def size(self) -> int:
        return len(self.inode.cached)

    def read(self, offset: int, length: int) -> bytes:
        if self.disk.trip("read"):
            raise self.disk.error()
        return bytes(self.inode.cached[offset : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        failing = self.disk.trip("write")
        if failing:
            data = data[: self.disk.random.randrange(len(data) + 1)]
        cached = self.inode.cached
        cached.extend(bytes(max(0, offset + len(data) - len(cached))))
        cached[offset : offset + len(data)] = data
        self.inode.dirty.update(range(offset // PAGE, (offset + len(data)) // PAGE + 1))
        if failing:
            raise self.disk.error()

    def truncate(self, length: int) -> None:
        if self.disk.trip("truncate"):
            raise self.disk.error()
        del self.inode.cached[length:]
        self.inode.dirty = {page for page in self.inode.dirty if page * PAGE < length} | {length // PAGE}

    def sync(self) -> None:
        assert not self.broken, "a descriptor was flushed again after a failed flush"
        if self.disk.trip("sync"):
            self.broken = True
            if self.disk.random.random() < 0.3:  # some of it arrived
                self.inode.flush({page for page in self.inode.dirty if self.disk.random.random() < 0.5})
            self.inode.dirty.clear()
            raise self.disk.error()
        self.inode.flush(self.inode.dirty)
        self.inode.dirty.clear()

    def deleted(self) -> bool:
        return self.inode not in self.disk.inodes.values()

    def close(self) -> None:
        pass
