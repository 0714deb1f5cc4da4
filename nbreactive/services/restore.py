"""A data folder from a backup: exactly the state of a timestamp, and durable when that is said."""

from __future__ import annotations

import asyncio
import contextlib
import glob
import os
import shutil
import zipfile
from pathlib import Path

from filelock import FileLock, Timeout

from nbreactive.columns.batches import FOLDER, batch_of
from nbreactive.engine.catalog import BATCHES
from nbreactive.engine.entries import encode_entry
from nbreactive.engine.files import DATA_FORMAT, Disk, FileSystem
from nbreactive.engine.fingerprint import Fold, texts
from nbreactive.engine.log import Appended
from nbreactive.engine.segments import SegmentLog
from nbreactive.errors import DataFolderError
from nbreactive.services.backup import (
    CURSOR_KEY,
    Manifest,
    Progress,
    copy_contents,
    damaged,
    entries_of,
    open_backup,
    read_cursor_key,
    read_manifest,
)
from nbreactive.services.blobs import Blobs
from nbreactive.values.packing import unpack

_FRAME_BYTES = 1 << 20
_WORKING = "restoring"
"""A file that is locked while a restore is under way."""


def restore(
    path: Path,
    folder: Path,
    *,
    to_ts: int | None = None,
    progress: Progress | None = None,
    files: FileSystem | None = None,
    files_at: str | None = None,
) -> int:
    """Make a data folder from a backup; return the timestamp of its state when all of it is durable.

    Parameters
    ----------
    path
        The backup.
    folder
        Must not be there, or be empty.
    to_ts
        An earlier state than that of the backup.
    progress
        Told about bytes.
    files
        What the folder is written to.
    files_at
        Where the contents of stored files go, if not into the folder.
    """
    files = files or Disk()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataFolderError(f"{folder} is not empty; name a folder that is not there yet")
    with open_backup(path) as archive:
        manifest = read_manifest(archive, str(path))
        if to_ts is not None and not manifest.horizon <= to_ts <= manifest.timestamp:
            raise DataFolderError(
                f"{path} holds the states from {manifest.horizon} to {manifest.timestamp}, not that of {to_ts}"
            )
        draft = folder.with_name(f".{folder.name}.{os.getpid()}.restoring")
        above = _missing(folder.absolute().parent)
        _remove_left_over(folder)
        draft.mkdir(mode=0o700, parents=True)
        working = FileLock(draft / _WORKING)
        working.acquire()
        try:
            named: set[str] = set()
            last = asyncio.run(_write_log(draft / "log", files, archive, manifest, str(path), to_ts, progress, named))
            _write(files, draft / "format", f"{DATA_FORMAT}\n".encode())
            key = read_cursor_key(archive, str(path))
            if key is not None:
                _write(files, draft / CURSOR_KEY, key)
            if manifest.files:
                stored, batches = Blobs(draft / "files", files_at), Blobs(draft / FOLDER)
                copy_contents(archive, manifest, str(path), lambda sha256: batches if sha256 in named else stored)
                (draft / "files").chmod(0o700)
                (draft / FOLDER).chmod(0o700)
            _stop_working(working, draft)
            files.sync_folder(draft)
            if folder.exists():
                folder.rmdir()
            draft.rename(folder)
        except BaseException:
            working.release()
            shutil.rmtree(draft, ignore_errors=True)
            raise
    for made in above:
        files.sync_folder(made)
    return last


def _remove_left_over(folder: Path) -> None:
    """Remove what restores to the same place have left whose processes were killed: it holds all data."""
    for draft in folder.absolute().parent.glob(f".{glob.escape(folder.name)}.*.restoring"):
        working = FileLock(draft / _WORKING)
        try:
            working.acquire(timeout=0)
        except (Timeout, OSError):
            continue  # somebody is at it, or it is another's
        working.release()
        shutil.rmtree(draft, ignore_errors=True)


def _stop_working(working: FileLock, draft: Path) -> None:
    working.release()
    (draft / _WORKING).unlink(missing_ok=True)


def _write(files: FileSystem, path: Path, data: bytes) -> None:
    with contextlib.closing(files.make(path)) as file:
        path.chmod(0o600)
        file.write(0, data)
        file.sync()


def _missing(folder: Path) -> list[Path]:
    """Return the folders which will have a new name in them, innermost first, when ``folder`` is made and used."""
    found = [folder]
    while not found[-1].exists():
        found.append(found[-1].parent)
    return found


async def _write_log(
    folder: Path,
    files: FileSystem,
    archive: zipfile.ZipFile,
    manifest: Manifest,
    name: str,
    to_ts: int | None,
    progress: Progress | None,
    batches: set[str],
) -> int:
    """Write the log; adds the names of the files that rows in columns are in to ``batches``."""
    log = await SegmentLog.open(folder, files=files)
    try:
        fold, last, position = Fold(), 0, 0
        frame: list[bytes] = []
        size = 0
        for entry in entries_of(archive, manifest, name):
            named = (write.doc for write in entry.writes if write.table == BATCHES)
            found = (batch_of(unpack(doc)).hash for doc in named if doc is not None)
            batches.update(sha256 for sha256 in found if sha256)
            if to_ts is not None and entry.ts > to_ts:
                continue  # what follows is read all the same: it may be damaged
            whole = fold.complete(entry) if entry.ts <= manifest.horizon else entry
            fold.entry(whole)
            last = entry.ts
            frame.append(encode_entry(whole))
            size += len(frame[-1])
            if size >= _FRAME_BYTES:
                position = await _append(log, position, frame)
                if progress is not None:
                    progress(size)
                frame, size = [], 0
        if frame:
            await _append(log, position, frame)
        if to_ts is None and texts(fold.prints) != manifest.tables:
            raise damaged(name, "its documents are not those that its manifest names")
        return last
    finally:
        await log.close()


async def _append(log: SegmentLog, position: int, frame: list[bytes]) -> int:
    done = await log.append(position, frame)
    if done.status == "unknown":
        # The log finds out, or says that it cannot: ReadOnly
        done = Appended("ok", position + 1) if await log.tail() == position + 1 else await log.append(position, frame)
    if done.status != "ok":
        raise DataFolderError(
            f"the log in {log.folder} was not written ({done.status} at {done.position}): look at the disk, or whether somebody"
            " else writes there, and restore again; nothing is left of this try"
        )
    return done.position
