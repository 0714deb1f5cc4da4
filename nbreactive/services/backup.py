"""Backups: one file that holds the log up to a timestamp, and from which :mod:`nbreactive.services.restore` makes a data folder.

The log is the truth, so it is all that a backup needs: documents with their ids and versions, history, functions,
environment, scheduled jobs, and the requests that were answered. The other replicas are made from it at the first start.

The file is a ZIP of compressed parts and, last, ``manifest.json``, with a checksum of every part and fingerprints of
every table at the backup's timestamp. A part is a sequence of frames: length (4 bytes), msgpack list of log entries.

``cursor.key``, if it is there, is the key that seals the cursors of pages, so that those which clients hold go on after a restore.
Whoever has the file has all data anyway, which is more than a cursor lets anybody see.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

import msgspec

import nbreactive
from nbreactive._version import __version__
from nbreactive.engine.entries import Entry, decode_entry
from nbreactive.engine.fingerprint import Fold, texts
from nbreactive.engine.log import Batch
from nbreactive.engine.segments import SegmentLog
from nbreactive.errors import DataFolderError
from nbreactive.services.blobs import Blobs
from nbreactive.services.file_copies import Pieces, StoredContent, read_contents, write_contents

FORMAT = "nbreactive-backup"
VERSION = 2
"""Of a file with contents of stored files; one without has version 1. Others are refused."""
_MANIFEST = "manifest.json"
CURSOR_KEY = "cursor.key"
_PART_BYTES = 64 << 20
_FRAME_BYTES = 1 << 20
_LENGTH = struct.Struct("<I")
_LEVEL = 3
# What reading a ZIP file raises in which some byte is another one
_BROKEN = (KeyError, EOFError, OSError, RuntimeError, ValueError, struct.error, zipfile.BadZipFile, zlib.error)

Batches = Iterable[list[bytes]]
"""Encoded entries of the log, in order."""
Progress = Callable[[int], None]
"""Told how many more bytes are done."""


class Part(msgspec.Struct, frozen=True):
    """One compressed piece of the log."""

    name: str
    bytes: int
    entries: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What a backup is."""

    format: str
    version: int
    timestamp: int
    """The state that it restores."""
    horizon: int
    """History before this timestamp is not complete."""
    entries: int
    tables: dict[int, tuple[int, str]]
    """Documents and fingerprint of each table number at the timestamp."""
    parts: list[Part]
    nbreactive: str = ""
    deployment: str = ""
    files: list[StoredContent] = []
    """Contents of stored files, and of files of rows in columns."""


def write_backup(
    target: Path,
    batches: Batches,
    *,
    horizon: int = 0,
    deployment: str = "",
    cursor_key: bytes | None = None,
    files: Pieces = (),
    progress: Progress | None = None,
) -> Manifest:
    """Write a backup; the file is there when it is complete and durable.

    Parameters
    ----------
    target
        The file; replaced if it is there.
    batches
        The whole log.
    horizon
        The log's.
    deployment
        For whoever looks into the file.
    cursor_key
        The data folder's.
    files
        Contents of stored files; looked at when all batches have been.
    progress
        Told about bytes.
    """
    draft = target.with_name(f"{target.name}.{os.getpid()}.part")
    descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)  # it holds secrets: _env
    try:
        with os.fdopen(descriptor, "wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
                if cursor_key is not None:
                    archive.writestr(CURSOR_KEY, cursor_key, zipfile.ZIP_STORED)
                manifest = _write_parts(archive, batches, horizon, deployment, progress)
                contents = write_contents(archive, files)
                if contents:
                    manifest = msgspec.structs.replace(manifest, files=contents, version=VERSION)
                archive.writestr(_MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return manifest


def _write_parts(
    archive: zipfile.ZipFile, batches: Batches, horizon: int, deployment: str, progress: Progress | None
) -> Manifest:
    fold, parts, last = Fold(), list[Part](), 0
    coming = iter(batches)
    batch: list[bytes] | None = next(coming, None)
    while batch is not None:
        name = f"log/{len(parts) + 1:06d}.bin"
        size = entries = 0
        digest = hashlib.sha256()
        with archive.open(name, "w", force_zip64=True) as out:
            while batch is not None and size < _PART_BYTES:
                for data in batch:
                    entry = decode_entry(data)
                    last = _after(entry, last)
                    fold.entry(entry)
                frame = msgspec.msgpack.encode(batch)
                frame = _LENGTH.pack(len(frame)) + frame
                out.write(frame)
                digest.update(frame)
                size += len(frame)
                entries += len(batch)
                if progress is not None:
                    progress(len(frame))
                batch = next(coming, None)
        parts.append(Part(name, size, entries, digest.hexdigest()))
    entries = sum(part.entries for part in parts)
    return Manifest(FORMAT, 1, last, horizon, entries, texts(fold.prints), parts, __version__, deployment)


def read_manifest(archive: zipfile.ZipFile, name: str) -> Manifest:
    """Read what a backup says of itself; DataFolderError if it is none, or one of another version."""
    try:
        raw = archive.read(_MANIFEST)
        head = msgspec.json.decode(raw)
        if head.get("format") != FORMAT:
            raise DataFolderError(f"{name} is not a backup of nbreactive; `nbreactive import` reads a Convex export")
        if head.get("version") not in (1, VERSION):
            raise DataFolderError(
                f"{name} is a backup of version {head.get('version')!r}, this nbreactive ({__version__}) reads up to"
                f" version {VERSION}; restore it with the nbreactive that wrote it ({head.get('nbreactive', 'unknown')})"
            )
        return msgspec.json.decode(raw, type=Manifest)
    except (*_BROKEN, AttributeError, msgspec.MsgspecError) as error:
        raise DataFolderError(f"{name} is not a backup of nbreactive, or is damaged ({error})") from None


def open_backup(path: Path) -> zipfile.ZipFile:
    """Open the file of a backup."""
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError:
        raise DataFolderError(f"there is no file {path}") from None
    except (zipfile.BadZipFile, OSError) as error:
        raise DataFolderError(f"{path} is not a backup of nbreactive, or was cut short ({error})") from None


def read_cursor_key(archive: zipfile.ZipFile, name: str) -> bytes | None:
    """Read the key of cursors, which older backups do not have; DataFolderError if it is not as it was written."""
    if CURSOR_KEY not in archive.namelist():
        return None
    try:
        return archive.read(CURSOR_KEY)
    except _BROKEN as error:
        raise damaged(name, f"{CURSOR_KEY}: {error}") from None


def copy_contents(
    archive: zipfile.ZipFile, manifest: Manifest, name: str, place: Callable[[str], Blobs | None] = lambda _: None
) -> None:
    """Read the contents of files, and keep each where ``place`` says; DataFolderError if one is not as it was written."""
    try:
        read_contents(archive, manifest.files, place)
    except _BROKEN as error:
        raise damaged(name, str(error)) from None


def entries_of(archive: zipfile.ZipFile, manifest: Manifest, name: str) -> Iterator[Entry]:
    """Yield the entries of a backup; raises DataFolderError where something is not as the manifest says."""
    last = 0
    for part in manifest.parts:
        digest, size, count = hashlib.sha256(), 0, 0
        try:
            with archive.open(part.name) as file:
                while head := file.read(_LENGTH.size):
                    data = _content(file, head)
                    digest.update(head + data)
                    size += len(head) + len(data)
                    for encoded in msgspec.msgpack.decode(data, type=list[bytes]):
                        entry = decode_entry(encoded)
                        if entry.ts <= last:
                            raise damaged(name, f"in {part.name} the entry {entry.ts} comes after {last}")
                        last = entry.ts
                        count += 1
                        yield entry
        except (*_BROKEN, msgspec.MsgspecError) as error:
            raise damaged(name, f"{part.name}: {error}") from None
        if (size, count, digest.hexdigest()) != (part.bytes, part.entries, part.sha256):
            raise damaged(name, f"{part.name} is not what was written")


def verify(path: Path) -> Manifest:
    """Read a whole backup and compare it with its manifest."""
    with open_backup(path) as archive:
        manifest = read_manifest(archive, str(path))
        read_cursor_key(archive, str(path))
        copy_contents(archive, manifest, str(path))
        fold, last = Fold(), 0
        for entry in entries_of(archive, manifest, str(path)):
            fold.entry(entry)
            last = entry.ts
    if (last, texts(fold.prints)) != (manifest.timestamp, manifest.tables):
        raise damaged(str(path), "its documents are not those that its manifest names")
    return manifest


def verify_elsewhere(path: Path) -> Manifest:
    """Do the same in a process of its own, which knows nothing of how the file came to be."""
    place = str(Path(nbreactive.__file__).resolve().parent.parent)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "nbreactive.services.backup", str(path)],
        capture_output=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [place, os.environ.get("PYTHONPATH")]))},
    )
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip()
        raise DataFolderError(said or f"the process that verified {path} ended with {done.returncode}")
    return msgspec.json.decode(done.stdout, type=Manifest)


def _after(entry: Entry, last: int) -> int:
    if entry.ts <= last:
        raise DataFolderError(
            f"the log is damaged: the entry {entry.ts} comes after {last}; `nbreactive doctor` says more"
        )
    return entry.ts


def _content(file: IO[bytes], head: bytes) -> bytes:
    (length,) = _LENGTH.unpack(head)
    data = file.read(length)
    if len(data) < length:
        raise EOFError("it was cut short")
    return data


def damaged(name: str, what: str) -> DataFolderError:
    """Return the error for a backup that is not what was written."""
    return DataFolderError(f"the backup {name} is damaged: {what}. Take another one; nothing was changed")


def folder_log(folder: Path) -> tuple[int, int, Batches]:
    """Return horizon, size and batches of the log of a data folder that nobody serves."""

    def batches(log: SegmentLog) -> Iterator[list[bytes]]:
        try:
            reading = log.read()
            while (batch := runner.run(_next(reading))) is not None:
                yield batch.entries
        finally:
            runner.run(log.close())
            runner.close()

    runner = asyncio.Runner()
    try:
        log = runner.run(SegmentLog.open(folder / "log"))
    except BaseException:
        runner.close()
        raise
    return log.horizon, log.size(), batches(log)


async def _next(batches: AsyncIterator[Batch]) -> Batch | None:
    return await anext(batches, None)


def main() -> int:
    """Verify the backup that is named."""
    try:
        manifest = verify(Path(sys.argv[1]))
    except DataFolderError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(manifest))
    return 0


if __name__ == "__main__":
    sys.exit(main())
