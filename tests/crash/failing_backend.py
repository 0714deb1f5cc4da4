"""A backend whose disk fails: started by test_disk.py in a process of its own.

``python -m tests.crash.failing_backend FUNCTIONS DATA PORT KEY CONTROL SEED``. The file CONTROL says how the disk behaves
just now: empty or absent: well; ``flaky``: writes and flushes fail at random with EIO or ENOSPC, some before and some after
they took effect; ``full``: every write fails with ENOSPC.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import signal
import sys
from pathlib import Path

from nbreactive.engine.files import Disk, DiskFile
from nbreactive.server.backend import Backend, BackendConfig


class FailingDisk(Disk):
    """The real disk, with failures as the control file says."""

    def __init__(self, control: Path, seed: int) -> None:
        self.control = control
        self.random = random.Random(seed)

    def open(self, path: Path, *, create: bool = False) -> FailingFile:
        return FailingFile(self, path, os.O_RDWR | (os.O_CREAT | os.O_TRUNC if create else 0))

    def fail(self, what: str) -> bool:
        """Whether this call fails, by raising before (never returns True) or after it took effect."""
        try:
            mode = self.control.read_text()
        except FileNotFoundError:
            return False
        if mode == "full" and what == "write":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if mode != "flaky" or self.random.random() > 0.25:
            return False
        if self.random.random() < 0.5:
            code = self.random.choice([errno.EIO, errno.ENOSPC])
            raise OSError(code, os.strerror(code))
        return True


class FailingFile(DiskFile):
    """One file of the failing disk."""

    def __init__(self, disk: FailingDisk, path: Path, flags: int) -> None:
        super().__init__(path, flags)
        self.disk = disk

    def write(self, offset: int, data: bytes) -> None:
        late = self.disk.fail("write")
        super().write(offset, data[: self.disk.random.randrange(len(data) + 1)] if late else data)
        if late:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def sync(self) -> None:
        late = self.disk.fail("sync")
        super().sync()
        if late:
            raise OSError(errno.EIO, os.strerror(errno.EIO))


async def main(functions: str, data: str, port: str, key: str, control: str, seed: str) -> None:
    """Serve until SIGTERM."""
    disk = FailingDisk(Path(control), int(seed))
    backend = await Backend.open(
        BackendConfig(Path(data), Path(functions), port=int(port), admin_key=key, verbose=True, files=disk)
    )
    print("ready", backend.url, flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await backend.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
