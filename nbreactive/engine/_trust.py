"""Whether an LMDB file that was never synced may be believed.

The row index is written without fsync: the log is what must survive, and a killed process loses nothing, because what
it wrote is in the page cache. A power cut or a crash of the operating system may leave anything, which LMDB would
not notice. So a marker beside the file says in which boot it was open, and whether it was closed (and synced) since. A
copy of a folder is another file (another inode), so a copy that was taken while the index was open is not believed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
import unicodedata
from pathlib import Path

import msgspec

FORMAT = 3
"""Of the row index; a file of another format is rebuilt."""


class Marker(msgspec.Struct):
    """What is known about the LMDB file."""

    format: int
    boot: str
    clean: bool
    inode: int
    unicode: str = unicodedata.unidata_version
    """Of the interpreter that filled it: another one may find other words in a text, and would not know what to take out."""


def boot_id() -> str:
    """Return a text that is the same until the machine starts again."""
    path = Path("/proc/sys/kernel/random/boot_id")
    if path.exists():
        return path.read_text().strip()
    if sys.platform == "darwin":
        import subprocess

        done = subprocess.run(["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"], capture_output=True, check=False)
        return done.stdout.decode().strip() or "unknown"
    # To the minute: both clocks drift against each other. Taken for a restart by mistake costs one rebuild.
    return f"started:{int((time.time() - time.monotonic()) / 60)}"


def believed(folder: Path) -> bool:
    """Tell whether the LMDB file in ``folder`` holds what was written to it."""
    try:
        marker = msgspec.json.decode((folder / "marker.json").read_bytes(), type=Marker)
        inode = (folder / "data.mdb").stat().st_ino
    except (OSError, ValueError):  # damaged in whatever way; what msgspec finds wrong is a ValueError
        return False
    if marker.format != FORMAT or marker.inode != inode or marker.unicode != unicodedata.unidata_version:
        return False
    return marker.clean or (marker.boot == boot_id() and marker.boot != "unknown")


def mark(folder: Path, *, clean: bool) -> None:
    """Write the marker, durably."""
    marker = Marker(FORMAT, boot_id(), clean, (folder / "data.mdb").stat().st_ino)
    path, draft = folder / "marker.json", folder / "marker.json.new"
    try:
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(marker))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        error.filename = error.filename or str(draft)  # a full disk does not say where
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
    if os.name == "posix":
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def discard(folder: Path) -> None:
    """Delete an LMDB file that is not believed."""
    for name in ("marker.json", "data.mdb", "lock.mdb"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "vectors", ignore_errors=True)
