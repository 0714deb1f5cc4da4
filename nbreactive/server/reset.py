"""Throwing a deployment's data away, all of it or none, whatever happens on the way.

A folder ``reset`` in the data folder says that a reset has begun. All data is renamed into it, then it is renamed itself,
which is the moment in which the reset is done, and deleted only then. Where a reset breaks off for an error, what was
moved is moved back; where its process ends, the next one that opens the folder goes on.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
from pathlib import Path
from typing import Final

from nbreactive.engine.files import Disk

FOLDERS: Final = ("log", "index", "files", "batches")
STORE: Final = "store.duckdb"
_BEGUN: Final = "reset"
_DONE: Final = "discarded-"


def discard(data: Path) -> None:
    """Discard all data of the folder ``data``, which nobody has open.

    Raises
    ------
    OSError
        It cannot be moved; then all is as it was, unless :func:`unfinished` says otherwise.
    """
    aside = data / _BEGUN
    aside.mkdir()
    Disk().sync_folder(data)
    moved: list[str] = []
    try:
        for path in _data(data):
            path.rename(aside / path.name)
            moved.append(path.name)
    except OSError:
        for name in reversed(moved):
            (aside / name).rename(data / name)
        aside.rmdir()
        raise
    _finish(data)


def unfinished(data: Path) -> bool:
    """Whether a reset of the folder ``data`` has begun, and is to be gone on with."""
    return (data / _BEGUN).is_dir()


def complete(data: Path) -> None:
    """Go on with a reset that was broken off; called by whoever opens the folder, before anything in it is looked at."""
    if unfinished(data):
        for path in _data(data):
            path.rename(data / _BEGUN / path.name)
        _finish(data)
    else:
        _delete(data)


def _finish(data: Path) -> None:
    Disk().sync_folder(data / _BEGUN)
    Disk().sync_folder(data)
    (data / _BEGUN).rename(data / f"{_DONE}{secrets.token_hex(4)}")
    Disk().sync_folder(data)
    _delete(data)


def _delete(data: Path) -> None:
    for path in data.glob(f"{_DONE}*"):
        with contextlib.suppress(OSError):  # what is left is deleted the next time
            shutil.rmtree(path)


def _data(data: Path) -> list[Path]:
    folders = [path for path in (data / name for name in FOLDERS) if path.exists()]
    return folders + sorted(data.glob(f"{STORE}*"))
