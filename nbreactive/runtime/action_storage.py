"""``ctx.storage`` of an action: whole files, streamed to and from the backend a piece at a time.

A piece is sent when the one before it has been written, so neither side holds more than one of them.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import msgspec

from nbreactive.engine.stored_files import check_type
from nbreactive.errors import NotAllowed
from nbreactive.runtime.storage import check_sum, check_upload, not_content, storage_id
from nbreactive.values.json import decode_json

if TYPE_CHECKING:
    from nbreactive.runtime.action_context import Running

PIECE: Final = 1 << 20
_encode = msgspec.msgpack.encode


class ActionStorage:
    """Files, as actions see them; in an ``async def`` everything is awaited.

    Examples
    --------
    Inside of an action::

        id = await ctx.storage.store(png, content_type="image/png")
        file = await ctx.storage.get(id)
        data = await file.bytes()
    """

    __slots__ = ("_running",)

    def __init__(self, running: Running) -> None:
        self._running = running

    def generate_upload_url(self, *, max_size: int | None = None, content_type: str | None = None) -> Any:
        """An address to which one file can be uploaded, within an hour; see there in mutations."""
        check_upload(max_size, content_type)
        return self._json("upload_url", _encode((max_size, content_type)), "generate_upload_url")

    def get_url(self, id: str) -> Any:
        """The address at which a file can be downloaded by whoever knows it; None if there is no such file."""
        storage_id(id, "get_url")
        return self._json("url", _encode(id), "get_url")

    def get_metadata(self, id: str) -> Any:
        """``{"storageId", "sha256", "size", "contentType"}`` of a file; None if there is no such file."""
        storage_id(id, "get_metadata")
        return self._json("metadata", _encode(id), "get_metadata")

    def delete(self, id: str) -> Any:
        """Delete a file, at once."""
        storage_id(id, "delete")
        return self._json("delete", _encode(id), "delete")

    def store(self, content: Any, *, content_type: str | None = None, sha256: str | None = None) -> Any:
        """Store a file, at once; gives its id.

        Parameters
        ----------
        content
            Bytes, a file that is open for reading bytes, or the path of one; of any size.
        content_type
            ``image/png``, for whoever downloads it.
        sha256
            What the checksum must be (base16).
        """
        if content_type is not None:
            check_type(content_type, "ctx.storage.store(content_type=...)")
        source = _source(content)
        running = self._running

        async def stored() -> str:
            handle = decode_json(await running.request("begin"))
            digest = hashlib.sha256()
            try:
                while piece := await running.aside(source.read, PIECE):
                    if not isinstance(piece, bytes):
                        raise not_content(content)
                    digest.update(piece)
                    await running.request("write", piece, handle)
                check_sum(sha256, digest.hexdigest())
                return decode_json(await running.request("end", _encode((content_type, digest.hexdigest())), handle))
            except BaseException:
                running.forget("drop", handle)
                raise
            finally:
                if source is not content:
                    source.close()

        return running.start(stored, "ctx.storage.store")

    def get(self, id: str) -> Any:
        """A file to be read (:class:`File`); None if there is no such file."""
        storage_id(id, "get")
        running = self._running

        async def found() -> File | None:
            said = decode_json(await running.request("open", _encode(id)))
            return File(running, id, said) if said is not None else None

        return running.start(found, "ctx.storage.get")

    def _json(self, what: str, content: bytes, said: str) -> Any:
        async def answered() -> Any:
            return decode_json(await self._running.request(what, content))

        return self._running.start(answered, f"ctx.storage.{said}")


class File:
    """A stored file that an action reads; in an ``async def`` its methods are awaited.

    ``for piece in file`` (``async for`` in an ``async def``) gives pieces of up to 1 MiB.
    """

    def __init__(self, running: Running, id: str, said: dict[str, Any]) -> None:
        self._running = running
        self.id = id
        self.size = int(said["size"])
        """In bytes."""
        self.sha256: str = said["sha256"]
        """Base16."""
        self.content_type: str | None = said["contentType"]

    def bytes(self) -> Any:
        """All of it."""

        async def read() -> bytes:
            return b"".join([piece async for piece in self._pieces()])

        return self._running.start(read, "file.bytes")

    def text(self, encoding: str = "utf-8") -> Any:
        """All of it, as text."""

        async def read() -> str:
            return b"".join([piece async for piece in self._pieces()]).decode(encoding)

        return self._running.start(read, "file.text")

    def save(self, path: str | Path) -> Any:
        """Write it to a path, a piece at a time."""

        async def saved() -> None:
            file = await self._running.aside(open, path, "wb")
            try:
                async for piece in self._pieces():
                    await self._running.aside(file.write, piece)
            finally:
                await self._running.aside(file.close)

        return self._running.start(saved, "file.save")

    async def _pieces(self) -> AsyncIterator[bytes]:
        at = 0
        while at < self.size:
            piece = await self._running.request("read", _encode((self.id, PIECE)), at)
            if not piece:
                raise NotAllowed(f"the file {self.id!r} was deleted while it was read")
            yield piece
            at += len(piece)

    def __aiter__(self) -> Any:
        if self._running.blocking:
            raise NotAllowed("in a plain def write `for piece in file`")
        return self._pieces()

    def __iter__(self) -> Iterator[Any]:
        if not self._running.blocking:
            raise NotAllowed("in an async def write `async for piece in file`")
        pieces = self._pieces()

        async def following() -> Any:
            return await anext(pieces, None)

        while (piece := self._running.start(following, "file")) is not None:
            yield piece

    def __repr__(self) -> str:
        return f"<stored file {self.id}: {self.size} bytes, {self.content_type or 'of unknown type'}>"


def _source(content: Any) -> IO[bytes]:
    if isinstance(content, bytes | bytearray | memoryview):
        return io.BytesIO(bytes(content))  # pyright: ignore[reportUnknownArgumentType] - of a memoryview
    if isinstance(content, Path):
        return content.open("rb")
    if isinstance(content, str) or not callable(getattr(content, "read", None)):
        raise not_content(content)
    return content
