"""``ctx.storage`` of queries and mutations: files are documents of ``_storage``, read at the snapshot like all others.

So a query that gives the URL of a file runs again when the file is deleted, and what a mutation stores or deletes happens
with its commit or not at all. The bytes that it stores travel to the backend with its writes.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from nbreactive.engine.catalog import STORAGE
from nbreactive.engine.stored_files import (
    check_type,
    download_address,
    file_of,
    stored_document,
    upload_address,
)
from nbreactive.engine.transactions import NewFile, Write
from nbreactive.engine.upload_tokens import UPLOAD_SECONDS, UploadToken, sign_upload
from nbreactive.errors import InvalidId, InvalidValue, LimitExceeded, NotAllowed
from nbreactive.runtime.environment import Environment
from nbreactive.runtime.tables import Table
from nbreactive.runtime.transaction import Found
from nbreactive.values.ids import Id, decode_id, encode_id
from nbreactive.values.limits import STORED_BYTES, over
from nbreactive.values.packing import pack, unpack

if TYPE_CHECKING:
    from nbreactive.runtime.context import Execution

URL: Final = "NBREACTIVE_URL"
NOWHERE: Final = "http://localhost:3210"
"""Where no address was ever told, as in tests without a server."""


class StorageReader:
    """Files, as queries see them.

    Examples
    --------
    Inside of a function::

        ctx.storage.get_url(message["image"])
    """

    __slots__ = ("_execution",)

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    def get_url(self, id: str) -> str | None:
        """The address at which a file can be downloaded by whoever knows it; None if there is no such file."""
        found = self._find(id, "get_url")[2]
        return download_address(self._base(), file_of(found.packed).address) if found is not None else None

    def get_metadata(self, id: str) -> dict[str, Any] | None:
        """``{"storageId", "sha256", "size", "contentType"}`` of a file; None if there is no such file."""
        found = self._find(id, "get_metadata")[2]
        return metadata(id, unpack(found.packed)) if found is not None else None

    def _base(self) -> str:
        return Environment(self._execution.txn).get(URL, NOWHERE)

    def _find(self, id: object, what: str) -> tuple[Table, bytes, Found | None]:
        self._execution.txn.check_running()
        internal = storage_id(id, what)
        table = self._execution.txn.table("_storage")
        assert table is not None
        return table, internal, self._execution.txn.document(table.info, internal)

    if not TYPE_CHECKING:  # a type checker finds what is not there

        def __getattr__(self, name: str) -> NoReturn:
            if name in ("generate_upload_url", "store", "delete"):
                raise NotAllowed(f"a query stores nothing: ctx.storage.{name} exists in mutations and actions")
            if name == "get":
                raise NotAllowed(
                    "the content of a file is read in actions: await ctx.storage.get(id); queries and mutations have"
                    " ctx.storage.get_url(id) and ctx.storage.get_metadata(id)"
                )
            raise AttributeError(f"ctx.storage has no {name!r}")


class StorageWriter(StorageReader):
    """Files, as mutations see them."""

    __slots__ = ()

    def generate_upload_url(self, *, max_size: int | None = None, content_type: str | None = None) -> str:
        """An address to which one file can be uploaded, within an hour: POST its bytes, the answer has ``storageId``.

        Parameters
        ----------
        max_size
            Bytes that it may have; default: as many as the deployment allows.
        content_type
            What it must be: ``image/png``, or ``image/*``.
        """
        execution = self._execution
        execution.txn.check_running()
        check_upload(max_size, content_type)
        expires = execution.call.now + UPLOAD_SECONDS * 1000
        token = UploadToken(execution.txn.new_id(), expires, max_size, content_type)
        return upload_address(self._base(), sign_upload(execution.upload_key, execution.deployment.name, token))

    def store(self, content: Any, *, content_type: str | None = None, sha256: str | None = None) -> Id:
        """Store a file when this mutation commits; returns its id.

        Parameters
        ----------
        content
            Bytes, an open binary file, or the path of one: at most 16 MiB in one mutation. Actions store larger ones.
        content_type
            ``image/png``, for whoever downloads it.
        sha256
            What the checksum must be (base16).
        """
        execution = self._execution
        txn = execution.txn
        txn.check_running()
        data = content_of(content)
        if content_type is not None:
            check_type(content_type, "ctx.storage.store(content_type=...)")
        found = hashlib.sha256(data).hexdigest()
        check_sum(sha256, found)
        execution.files[found] = NewFile(found, data)
        total = sum(len(file.data) for file in execution.files.values())
        if total > STORED_BYTES:
            fix = "store them in an action, which streams them"
            txn.abort(LimitExceeded(over("bytes in the files that one mutation stores", total, STORED_BYTES, fix)))
        table = txn.table("_storage")
        assert table is not None
        id = txn.new_id()
        document = stored_document(found, len(data), content_type, txn.next_creation_time())
        txn.write(table.info, id, pack(document), None)
        return encode_id(STORAGE, id)

    def delete(self, id: str) -> None:
        """Delete a file when this mutation commits; its address answers 404 from then on."""
        table, internal, found = self._find(id, "delete")
        if found is None:
            raise InvalidId(f"ctx.storage.delete: there is no file {id!r}; ask ctx.storage.get_metadata(id) first")
        self._execution.txn.write(table.info, internal, None, found)


def files_of(execution: Execution, writes: list[Write]) -> list[NewFile]:
    """Return the contents that the writes of a mutation name; what it stored and undid is not among them."""
    if not execution.files:
        return []
    named = {file_of(write.doc).sha256 for write in writes if write.table == STORAGE and write.doc is not None}
    return [file for file in execution.files.values() if file.sha256 in named]


def metadata(id: str, document: dict[str, Any]) -> dict[str, Any]:
    """Return what ``get_metadata`` says of a stored document."""
    return {
        "storageId": id,
        "sha256": document["sha256"],
        "size": document["size"],
        "contentType": document.get("contentType"),
    }


def storage_id(id: object, what: str) -> bytes:
    """Return the internal bytes of the id of a file."""
    if not isinstance(id, str):
        raise InvalidId(f"ctx.storage.{what} takes the id of a file, not {id!r:.60}")
    number, internal = decode_id(id)
    if number != STORAGE:
        raise InvalidId(f"ctx.storage.{what}: {id!r} is the id of a document of a table, not that of a file")
    return internal


def check_upload(max_size: object, content_type: object) -> None:
    """Refuse what an upload cannot be bound to."""
    said = "ctx.storage.generate_upload_url"
    if max_size is not None and (isinstance(max_size, bool) or not isinstance(max_size, int) or max_size < 0):
        raise InvalidValue(f"{said}: max_size is a number of bytes, not {max_size!r:.60}")
    if content_type is not None:
        if not isinstance(content_type, str):
            raise InvalidValue(f"{said}: content_type is a text such as 'image/png', not {content_type!r:.60}")
        check_type(content_type, f"{said}(content_type=...)")


def check_sum(wanted: object, found: str) -> None:
    """Refuse a content that is not what it should be."""
    if wanted is not None and wanted != found:
        raise InvalidValue(f"ctx.storage.store: the sha256 of the content is {found}, not {wanted!r:.80}")


def content_of(content: Any) -> bytes:
    """Return the bytes of what is to be stored."""
    if isinstance(content, bytes | bytearray | memoryview):
        return bytes(content)  # pyright: ignore[reportUnknownArgumentType] - of a memoryview
    if isinstance(content, Path):
        return content.read_bytes()
    read = getattr(content, "read", None)
    data = read() if callable(read) else None
    if isinstance(data, bytes):
        return data
    raise not_content(content)


def not_content(content: object) -> InvalidValue:
    """The error for what is no content of a file."""
    fix = "; encode it: text.encode()" if isinstance(content, str) else ""
    return InvalidValue(
        f"ctx.storage.store takes bytes, a file that is open for reading bytes, or a pathlib.Path, not {content!r:.60}{fix}"
    )
