"""Uploads and downloads of tests: what the server does with a signed address, without a server."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from nbreactive.engine.stored_files import check_type
from nbreactive.engine.upload_tokens import fits_type
from nbreactive.errors import InvalidValue
from nbreactive.services.files import Files
from nbreactive.values.ids import Id


async def upload(files: Files, url: str, content: bytes, content_type: str | None) -> Id:
    """Store what is uploaded to an address."""
    token = files.opened((parse_qs(urlsplit(url).query).get("token") or [""])[0])
    if content_type is not None:
        check_type(content_type, "content_type")
    if not fits_type(token.content_type, content_type):
        raise InvalidValue(
            f"this upload address is for {token.content_type}, not for {content_type or 'an unknown type'}"
        )
    receiving = await files.receive(len(content), token.max_size)
    await receiving.write(content)
    return await files.add(receiving, content_type, id=token.id, once=True)


async def download(files: Files, url: str) -> bytes | None:
    """Return what an address gives."""
    found = files.at(urlsplit(url).path.rpartition("/")[2].replace("-", ""))
    if found is None:
        return None
    reading = await files.read(found.file.sha256)
    try:
        return await files.run(reading.read, 0, found.file.size)
    finally:
        reading.close()
