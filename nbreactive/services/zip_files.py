"""Stored files in Convex's ZIP: ``_storage/documents.jsonl`` describes them, ``_storage/<id>[.ext]`` are their contents.

A line has ``_id``, ``_creationTime``, ``sha256`` (base64), ``size``, ``contentType`` and ``internalId``, the UUID that their URL ends in.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import mimetypes
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

import msgspec

from nbreactive.engine.catalog import STORAGE
from nbreactive.engine.stored_files import check_type, file_of
from nbreactive.errors import InvalidId, InvalidValue
from nbreactive.services.creation_times import creation_time
from nbreactive.values.ids import decode_id, encode_id

FOLDER = "_storage/"
DOCUMENTS = "_storage/documents.jsonl"
_PIECE = 1 << 20
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)

Content = Callable[[str], Iterable[bytes]]
"""Gives the content with a checksum, piece by piece."""


class ZipFileInfo(msgspec.Struct, frozen=True):
    """One file of an export."""

    id: str
    member: str
    sha256: str | None
    """Base16."""
    size: int
    content_type: str | None
    created: float | None
    address: str | None
    """A UUID."""


def write_files(archive: zipfile.ZipFile, documents: Iterable[tuple[bytes, bytes]], content: Content) -> int:
    """Write stored files (internal id, packed document); return how many."""
    named: list[tuple[str, str]] = []
    with archive.open(DOCUMENTS, "w", force_zip64=True) as out:
        for internal, packed in documents:
            file, id = file_of(packed), encode_id(STORAGE, internal)
            parts = (file.address[:8], file.address[8:12], file.address[12:16], file.address[16:20], file.address[20:])
            line: dict[str, Any] = {"_id": str(id), "_creationTime": file.created}
            line |= {"sha256": base64.b64encode(bytes.fromhex(file.sha256)).decode(), "size": file.size}
            line |= {"contentType": file.content_type} if file.content_type is not None else {}
            out.write(json.dumps(line | {"internalId": "-".join(parts)}).encode() + b"\n")
            kind = (file.content_type or "").partition(";")[0]
            named.append((f"{FOLDER}{id}{mimetypes.guess_extension(kind) or ''}", file.sha256))
    for member, sha256 in named:
        digest = hashlib.sha256()
        with archive.open(zipfile.ZipInfo(member), "w", force_zip64=True) as out:
            for piece in content(sha256):
                out.write(piece)
                digest.update(piece)
        if digest.hexdigest() != sha256:
            raise InvalidValue(
                f"the content of the stored file {member} is not what was stored; `nbreactive doctor` says more"
            )
    return len(named)


def read_infos(archive: zipfile.ZipFile) -> list[ZipFileInfo]:
    """Read what an export says of its files; InvalidValue if that cannot be so."""
    if DOCUMENTS not in archive.namelist():
        return []
    members: dict[str, str] = {}
    for name in archive.namelist():
        if name.startswith(FOLDER) and name != DOCUMENTS and "/" not in name[len(FOLDER) :]:
            members[name[len(FOLDER) :].partition(".")[0]] = name
    found: list[ZipFileInfo] = []
    with archive.open(DOCUMENTS) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                found.append(_info(line, members, archive, f"{DOCUMENTS} line {number}"))
    ids = [info.id for info in found]
    if len(set(ids)) < len(ids):
        raise InvalidValue("an id is in it twice; keep one of the files", DOCUMENTS)
    return found


def pieces(file: IO[bytes]) -> Iterator[bytes]:
    """Yield what a file holds."""
    while data := file.read(_PIECE):
        yield data


def check_content(archive: zipfile.ZipFile, info: ZipFileInfo) -> None:
    """Read a content and compare it with what is said of it."""
    digest, size = hashlib.sha256(), 0
    with archive.open(info.member) as file:
        for piece in pieces(file):
            digest.update(piece)
            size += len(piece)
    if size != info.size or (info.sha256 is not None and digest.hexdigest() != info.sha256):
        raise InvalidValue("it is not the file that is described: another size, or another checksum", info.member)


def _info(line: bytes, members: dict[str, str], archive: zipfile.ZipFile, where: str) -> ZipFileInfo:
    try:
        said: Any = json.loads(line)
        id = str(said["_id"])
        decode_id(id)
    except (ValueError, KeyError, TypeError, InvalidId) as error:
        raise InvalidValue(f"it does not describe a stored file ({error})", where) from None
    if id not in members:
        raise InvalidValue(f"the content of the file {id} is not in the export", where)
    kind, created, address = said.get("contentType"), said.get("_creationTime"), said.get("internalId")
    if kind is not None:
        check_type(str(kind), where)
    size = archive.getinfo(members[id]).file_size
    if said.get("size") not in (None, size):
        raise InvalidValue(f"the content of the file {id} has {size} bytes, not {said['size']!r:.40}", where)
    return ZipFileInfo(
        id,
        members[id],
        _base16(said.get("sha256"), where),
        size,
        kind,
        creation_time(created, where) if created is not None else None,
        address if isinstance(address, str) and _UUID.fullmatch(address) else None,
    )


def _base16(text: Any, where: str) -> str | None:
    if text is None or (isinstance(text, str) and _HEX.fullmatch(text)):
        return text
    try:
        raw = base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raw = b""
    if len(raw) != hashlib.sha256().digest_size:
        raise InvalidValue(f"{text!r:.80} is not a checksum of 32 bytes", where)
    return raw.hex()
