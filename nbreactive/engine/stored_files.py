"""Stored files: the documents of the reserved table ``_storage``, with the fields and the spelling of Convex's.

``{sha256, size, contentType?, address}``: the content is a blob that is named by its checksum (base16) and kept beside the
log; the address is what a URL of the file ends in. Whoever knows it may read the file, so it is random, and hidden from what
functions read. A mutation sends the bytes that it stores along with its writes (:class:`~.transactions.NewFile`); what it
may write is looked at here once more: documents of files that it sends, and deletions.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from typing import Annotated, Any, Final, NoReturn

import msgspec

from nbreactive.engine.catalog import CREATION_TIME, FIRST_DECLARED, STORAGE, index_id
from nbreactive.engine.transactions import NewFile, Write
from nbreactive.errors import InvalidValue, Unavailable
from nbreactive.values.keys import encode_key
from nbreactive.values.packing import unpack

BY_ADDRESS: Final = index_id(STORAGE, FIRST_DECLARED)
"""Index by ``address``."""
ADDRESS: Final = "address"
_FIELDS: Final = {"content_type": "contentType", "created": CREATION_TIME}
_TYPE_BYTES: Final = 255
# RFC 9110, 8.3.1, parameters included
_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_MEDIA_TYPE: Final = re.compile(
    rf'{_WORD}/{_WORD}(?:[ \t]*;[ \t]*(?:{_WORD}=(?:{_WORD}|"(?:[\t !#-\[\]-~]|\\[\t -~])*"))?)*', re.ASCII
)


class StoredFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename=_FIELDS.get):
    """One document of ``_storage``."""

    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    size: Annotated[int, msgspec.Meta(ge=0)]
    address: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
    created: float
    content_type: Annotated[str, msgspec.Meta(max_length=_TYPE_BYTES)] | None = None


def stored_document(
    sha256: str, size: int, content_type: str | None, created: float, address: str | None = None
) -> dict[str, Any]:
    """Make the document of a new file; with a new address unless it brings one.

    Examples
    --------
    >>> sorted(stored_document("0" * 64, 3, "text/plain", 1.0))
    ['_creationTime', 'address', 'contentType', 'sha256', 'size']
    """
    document: dict[str, Any] = {"sha256": sha256, "size": size, ADDRESS: address or secrets.token_hex(16)}
    if content_type is not None:
        document["contentType"] = content_type
    return document | {CREATION_TIME: created}


def file_of(packed: bytes) -> StoredFile:
    """Understand a stored document."""
    return msgspec.convert(unpack(packed), StoredFile)


def address_range(address: str) -> tuple[int, bytes, bytes]:
    """Return index and range in which the file with an address is found."""
    key = encode_key(address)
    return BY_ADDRESS, key, key + b"\xff"


def check_type(text: str, where: str) -> str:
    """Return a content type if it is one.

    Examples
    --------
    >>> check_type("text/plain; charset=utf-8", "content_type")
    'text/plain; charset=utf-8'
    """
    if len(text) > _TYPE_BYTES or not _MEDIA_TYPE.fullmatch(text):
        raise InvalidValue(
            f"{text[:80]!a} is not a content type such as image/png; leave it out if it is not known", where
        )
    return text


def check_stored(writes: Sequence[Write], files: Sequence[NewFile]) -> None:
    """Refuse documents of files that a function does not send: the content of others is not to be had by its checksum."""
    sent = {file.sha256: len(file.data) for file in files}  # whoever has kept them has looked at the checksums
    for write in writes:
        if write.table != STORAGE or write.doc is None:
            continue
        try:
            file = file_of(write.doc)
            good = not write.previous and sent.get(file.sha256) == file.size
            if file.content_type is not None:
                check_type(file.content_type, "contentType")
        except (msgspec.ValidationError, InvalidValue):
            good = False
        if not good:
            raise InvalidValue("a worker sent a malformed stored file, or one without its content; nothing was written")


def upload_address(base: str, token: str) -> str:
    """Return the address of an upload."""
    return f"{base.rstrip('/')}/api/storage/upload?token={token}"


def download_address(base: str, address: str) -> str:
    """Return the address of a file, a UUID in form.

    Examples
    --------
    >>> download_address("http://127.0.0.1:3210", "0" * 32)
    'http://127.0.0.1:3210/api/storage/00000000-0000-0000-0000-000000000000'
    """
    parts = (address[:8], address[8:12], address[12:16], address[16:20], address[20:])
    return f"{base.rstrip('/')}/api/storage/{'-'.join(parts)}"


def no_files(files: Sequence[NewFile]) -> NoReturn:
    """Keep nothing: for an engine without file storage."""
    raise Unavailable(f"there is no file storage here for the {len(files)} files of this mutation; nothing was written")
