"""What one running action does with files: those that it writes now, and those that it reads.

Each step is answered when it is done, so an action is never further than one piece ahead. What it has not finished when it
ends is deleted.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, Literal

import msgspec

from nbreactive.engine.stored_files import check_type
from nbreactive.errors import InvalidValue, LimitExceeded, Unavailable
from nbreactive.runtime.frames import Ask
from nbreactive.runtime.storage import check_upload
from nbreactive.services.blobs import Reading
from nbreactive.services.files import Files
from nbreactive.services.receiving import PIECE, Receiving
from nbreactive.values.json import encode_json
from nbreactive.values.limits import over

_AT_ONCE: Final = 64
"""Files that one action writes, or reads, at a time."""
_decode_read = msgspec.msgpack.Decoder(tuple[str, int]).decode
_decode_end = msgspec.msgpack.Decoder(tuple[str | None, str]).decode
_decode_upload = msgspec.msgpack.Decoder(tuple[int | None, str | None]).decode
_decode_id = msgspec.msgpack.Decoder(str).decode
_What = Literal["upload_url", "url", "metadata", "delete", "begin", "write", "end", "drop", "open", "read"]


class ActionFiles:
    """The files of one action."""

    def __init__(self, files: Files | None) -> None:
        self._files = files
        self._writing: dict[int, Receiving] = {}
        self._reading: dict[str, Reading] = {}
        self._handles = 0
        self._closed = False

    async def answer(self, ask: Ask) -> bytes:
        """Do what an action asks for."""
        if self._files is None:
            raise Unavailable("there is no file storage here")
        try:
            what: _What = msgspec.convert(ask.target, _What)
            return await self._do(self._files, what, ask.args, ask.when)
        except msgspec.MsgspecError as error:
            raise InvalidValue(f"not a request for file storage: {error}") from None
        except OSError as error:
            raise Unavailable(f"file storage does not answer: {error.strerror or error}") from error

    async def close(self) -> None:
        """The action has ended; what it has asked for and not waited for is not begun any more."""
        self._closed = True
        while self._writing:
            await self._writing.popitem()[1].discard()
        for sha256 in list(self._reading):
            self._reading.pop(sha256).close()

    async def _do(self, files: Files, what: _What, content: bytes, number: int) -> bytes:
        match what:
            case "upload_url":
                max_size, content_type = _decode_upload(content)
                check_upload(max_size, content_type)
                return encode_json(files.upload_url(max_size, content_type))
            case "url":
                return encode_json(files.url(_decode_id(content)))
            case "metadata" | "open":
                return self._metadata(files, _decode_id(content))
            case "delete":
                await files.delete(_decode_id(content))
                return b"null"
            case "read":
                return await self._read(files, *_decode_read(content), number)
            case "begin":
                self._handles += 1
                if len(self._writing) >= _AT_ONCE:
                    raise LimitExceeded(
                        over("files stored at once by one action", len(self._writing) + 1, _AT_ONCE, _ONE)
                    )
                return encode_json(await self._begin(files, self._handles))
            case "drop":
                await self._written(number).discard()
                return b"null"
            case "write":
                await self._writes(number).write(content)
                return b"null"
            case "end":
                content_type, sha256 = _decode_end(content)
                if content_type is not None:
                    check_type(content_type, "content_type")
                receiving = self._written(number)
                return encode_json(await files.add(receiving, content_type, sha256=sha256))

    async def _begin(self, files: Files, number: int) -> int:
        beginning = asyncio.ensure_future(files.receive())
        try:
            receiving = await asyncio.shield(beginning)
        except asyncio.CancelledError:  # nobody waits for it any more, and it has to go once it is there
            beginning.add_done_callback(_discard)
            raise
        if self._closed:
            await receiving.discard()
            raise InvalidValue("the action has ended: nothing is stored for it any more")
        self._writing[number] = receiving
        return number

    def _writes(self, number: int) -> Receiving:
        receiving = self._writing.get(number)
        if receiving is None:
            raise InvalidValue("this file is not being stored (any more)")
        return receiving

    def _written(self, number: int) -> Receiving:
        receiving = self._writes(number)
        del self._writing[number]
        return receiving

    def _metadata(self, files: Files, id: str) -> bytes:
        found = files.get(id)
        if found is None:
            return b"null"
        said: dict[str, Any] = {
            "storageId": str(id),
            "sha256": found.file.sha256,
            "size": found.file.size,
            "contentType": found.file.content_type,
        }
        return encode_json(said)

    async def _read(self, files: Files, id: str, length: int, offset: int) -> bytes:
        found = files.get(id)
        if found is None:
            return b""
        sha256 = found.file.sha256
        reading = self._reading.get(sha256)
        if reading is None:
            try:
                reading = await files.read(sha256)
            except FileNotFoundError:
                raise Unavailable(f"the content of the file {id!r} is missing; `nbreactive doctor` says more") from None
            if len(self._reading) >= _AT_ONCE:
                self._reading.pop(next(iter(self._reading))).close()
            self._reading[sha256] = reading
        return await files.run(reading.read, offset, min(length, PIECE))


def _discard(begun: asyncio.Future[Receiving]) -> None:
    if not begun.cancelled() and begun.exception() is None:
        _discarding.add(task := asyncio.ensure_future(begun.result().discard()))
        task.add_done_callback(_discarding.discard)


_discarding: set[asyncio.Future[None]] = set()
_ONE: Final = "store them one after the other"
