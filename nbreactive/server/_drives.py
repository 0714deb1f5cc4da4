"""Whether a folder is on a network drive: the one place that knows the operating systems' ways to tell.

Locks and fsync of network file systems do not keep the promises that the change log is built on.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

_NETWORK = frozenset(
    (
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "afpfs",
        "webdav",
        "davfs",
        "ncpfs",
        "afs",
        "9p",
        "ceph",
        "lustre",
        "gpfs",
        "beegfs",
        "glusterfs",
    )
)
_NETWORK_FUSE = (
    "fuse.sshfs",
    "fuse.glusterfs",
    "fuse.ceph",
    "fuse.s3fs",
    "fuse.rclone",
    "fuse.gcsfuse",
    "fuse.goofys",
    "fuse.davfs",
    "fuse.juicefs",
)


def network_file_system(folder: Path) -> str | None:
    """The name of the network file system that ``folder`` is on; None for a local drive."""
    folder = folder.resolve()
    if sys.platform == "win32":
        return _windows(folder)
    kind = kind_of_mount(folder, _mounts())
    return kind if kind in _NETWORK or kind.startswith(_NETWORK_FUSE) else None


def kind_of_mount(folder: Path, mounts: Iterable[tuple[str, str]]) -> str:
    """The file system of the innermost mount point that holds ``folder``; later mounts cover earlier ones."""
    best, kind = -1, ""
    for point, name in mounts:
        path = Path(point)
        if (folder == path or path in folder.parents) and len(path.parts) >= best:
            best, kind = len(path.parts), name
    return kind


def _mounts() -> list[tuple[str, str]]:
    if sys.platform == "linux":
        found: list[tuple[str, str]] = []
        for line in Path("/proc/self/mountinfo").read_text("utf-8", "replace").splitlines():
            left, _, right = line.partition(" - ")
            point = left.split(" ")[4].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
            found.append((point, right.split(" ", 1)[0]))
        return found
    text = subprocess.run(["/sbin/mount"], capture_output=True, text=True, check=False).stdout
    found = []
    for line in text.splitlines():
        _, _, rest = line.partition(" on ")
        point, _, options = rest.rpartition(" (")
        found.append((point, options.split(",", 1)[0].rstrip(")")))
    return found


def _windows(folder: Path) -> str | None:
    import ctypes

    remote = 4
    root = f"{folder.drive}\\"
    windll = getattr(ctypes, "windll")  # noqa: B009  # exists on Windows only
    return "a network drive" if windll.kernel32.GetDriveTypeW(root) == remote else None
