"""Contents of stored files in backups and under the doctor's eyes.

In a backup each is a member ``files/<sha256>`` of the ZIP, uncompressed: most files are compressed already.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from nbreactive.errors import DataFolderError
from nbreactive.services.blobs import Blobs

PIECE = 1 << 20
_FOLDER = "files/"

Pieces = Iterable[tuple[str, bytes]]
"""Checksum and a piece of the content; the pieces of one content follow each other, an empty one has one piece."""


class StoredContent(msgspec.Struct, frozen=True):
    """One content in a backup."""

    sha256: str
    bytes: int


class FilesFound(msgspec.Struct, frozen=True):
    """What the doctor has found."""

    contents: int = 0
    bytes: int = 0
    missing: list[str] = []
    damaged: list[str] = []
    unnamed: list[str] = []
    """Named by no document; some older version may name them."""


def pieces_of(blobs: Blobs) -> Iterator[tuple[str, bytes]]:
    """Yield all contents, piece by piece."""
    for sha256, size in sorted(blobs.names()):
        try:
            reading = blobs.open(sha256)
        except FileNotFoundError:
            continue  # it has just been deleted
        try:
            yield sha256, reading.read(0, PIECE)
            for offset in range(PIECE, size, PIECE):
                yield sha256, reading.read(offset, PIECE)
        finally:
            reading.close()


def write_contents(archive: zipfile.ZipFile, pieces: Pieces) -> list[StoredContent]:
    """Write contents into a backup; one that is not what its checksum says is refused."""
    found: list[StoredContent] = []
    coming = iter(pieces)
    piece = next(coming, None)
    while piece is not None:
        sha256, digest, size = piece[0], hashlib.sha256(), 0
        member = zipfile.ZipInfo(_FOLDER + sha256)
        with archive.open(member, "w", force_zip64=True) as out:
            while piece is not None and piece[0] == sha256:
                out.write(piece[1])
                digest.update(piece[1])
                size += len(piece[1])
                piece = next(coming, None)
        if digest.hexdigest() != sha256:
            raise DataFolderError(
                f"the stored content {sha256} is damaged; nothing was written: `nbreactive doctor` says of which files it is"
            )
        found.append(StoredContent(sha256, size))
    return found


def read_contents(
    archive: zipfile.ZipFile, contents: Iterable[StoredContent], place: Callable[[str], Blobs | None] = lambda _: None
) -> None:
    """Read contents from a backup, and keep each where ``place`` says; ValueError where one is not what was written."""
    for content in contents:
        blobs = place(content.sha256)
        digest, size = hashlib.sha256(), 0
        incoming = blobs.receive(content.bytes) if blobs is not None else None
        try:
            with archive.open(_FOLDER + content.sha256) as file:
                while data := file.read(PIECE):
                    digest.update(data)
                    size += len(data)
                    if incoming is not None:
                        incoming.write(data)
            if (digest.hexdigest(), size) != (content.sha256, content.bytes):
                raise ValueError(f"{_FOLDER}{content.sha256} is not what was written")
            if blobs is not None and incoming is not None:
                blobs.keep(incoming, incoming.close())
        finally:
            if incoming is not None:
                incoming.discard()


def examine_contents(blobs: Blobs, named: Mapping[str, int]) -> FilesFound:
    """Compare the contents that there are with those that documents name (checksum: size); all are read."""
    there = dict(blobs.names())
    damaged: list[str] = []
    for sha256 in there:
        try:
            reading = blobs.open(sha256)
        except FileNotFoundError:
            continue
        digest, offset = hashlib.sha256(), 0
        try:
            while data := reading.read(offset, PIECE):
                digest.update(data)
                offset += len(data)
        finally:
            reading.close()
        if digest.hexdigest() != sha256:
            damaged.append(sha256)
    missing = sorted(sha256 for sha256 in named if sha256 not in there)
    unnamed = sorted(sha256 for sha256 in there if sha256 not in named)
    return FilesFound(len(there), sum(there.values()), missing, sorted(damaged), unnamed)
