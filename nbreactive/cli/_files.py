"""Stored files of exports: contents to and from a deployment, one after the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from nbreactive.cli._place import Door
from nbreactive.cli._progress import Progress
from nbreactive.engine.catalog import STORAGE
from nbreactive.errors import InvalidValue
from nbreactive.services.convex_zip import ConvexZip, Renumbering
from nbreactive.services.zip_files import ZipFileInfo, pieces
from nbreactive.values.ids import decode_id

_DOOR = "/api/admin/files"


def content_of(found: Door, sha256: str) -> Iterator[bytes]:
    """Yield a content of a deployment."""
    with found.open(f"/api/admin/contents/{sha256}") as answer:
        yield from pieces(answer)


def storage_numbers(files: list[ZipFileInfo]) -> dict[int, int]:
    """Return which number the table of files has in the export, if not the one that it has here."""
    return {number: STORAGE for number in {decode_id(info.id)[0] for info in files} if number != STORAGE}


def check_files(found: Door, archive: ConvexZip, ids: Renumbering, *, replacing: bool, append: bool) -> None:
    """Read all files of an export, and see whether they could be stored, before anything is changed."""
    there = set(_ids(found))
    if there and not (replacing or append):
        raise InvalidValue(
            f"there are {len(there)} stored files already: add to them with --append, or delete them first with --replace"
        )
    for info in archive.files:
        archive.check_file(info)
        if not replacing and ids.apply(info.id) in there:
            raise InvalidValue(
                f"there is a stored file with the id {ids.apply(info.id)!r} already; import with --replace"
            )


def import_files(found: Door, archive: ConvexZip, ids: Renumbering, *, replacing: bool, quiet: bool) -> None:
    """Store the files of an export, with the ids that they have there."""
    if replacing:
        for id in list(_ids(found)):
            found.open(f"{_DOOR}/{id}", method="DELETE").close()
    total = sum(info.size for info in archive.files)
    with Progress("importing files", total=total, quiet=quiet) as progress:
        for info in archive.files:
            said: dict[str, Any] = {"id": ids.apply(info.id)}
            said |= {"sha256": info.sha256} if info.sha256 is not None else {}
            said |= {"created": info.created} if info.created is not None else {}
            said |= {"address": info.address} if info.address is not None else {}
            with archive.open_file(info) as file:
                found.open(
                    f"{_DOOR}?{urlencode(said)}", file, info.content_type or "", size=info.size, method="POST"
                ).close()
            progress.add(info.size)


def _ids(found: Door) -> Iterator[str]:
    after = ""
    while True:
        with found.open(f"{_DOOR}?{urlencode({'after': after} if after else {})}") as answer:
            files = json.loads(answer.read())["files"]
        if not files:
            return
        yield from (file["_id"] for file in files)
        after = files[-1]["_id"]
