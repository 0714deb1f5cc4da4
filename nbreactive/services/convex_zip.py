"""The ZIP that Convex exports and imports: one line of JSON per document, one folder per table.

    README.md
    _tables/documents.jsonl           {"name": ..., "id": table number}
    <table>/documents.jsonl           documents with _id and _creationTime, by id
    <table>/generated_schema.jsonl    "uniform": values stand in the exact form
    _storage/...                      stored files (nbreactive/services/zip_files.py)

Ids hold the number of their table. Where a table has another number in the deployment that takes it, ids are rewritten,
everywhere: an id is recognised by its checksum, whatever field it stands in.
"""

# What is in a document is not known before.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any, Self

from nbreactive.engine.catalog import STORAGE
from nbreactive.errors import InvalidId, InvalidValue
from nbreactive.services.export_lines import decode_line, encode_line
from nbreactive.services.zip_files import Content, ZipFileInfo, check_content, read_infos, write_files
from nbreactive.values._paths import with_article
from nbreactive.values.ids import decode_id, encode_id
from nbreactive.values.packing import unpack

_README = """\
# An export of nbreactive, in the layout of Convex

Each folder is a table: `documents.jsonl` has one document per line, in Convex's export format. `nbreactive import` and
`npx convex import` read this file. Functions, environment variables and scheduled jobs are not in it; a backup
(`nbreactive backup`) has them.
"""
_DOCUMENTS = "/documents.jsonl"


def write_zip(
    file: IO[bytes],
    tables: dict[str, int],
    batches: Iterable[tuple[int, list[tuple[bytes, bytes]]]],
    content: Content | None = None,
) -> int:
    """Write an export; return how many documents it has.

    Parameters
    ----------
    file
        Where to.
    tables
        Their numbers.
    batches
        Table number and its next documents (internal id, packed), all tables in the order of ``tables``; a table
        without documents has an empty batch.
    content
        Gives the contents of stored files, which are documents of ``_storage``; None: there are none.
    """
    total = 0
    files: list[tuple[bytes, bytes]] = []
    names = {number: name for name, number in tables.items()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README.md", _README)
        lines = [json.dumps({"name": name, "id": number}) + "\n" for name, number in tables.items()]
        archive.writestr("_tables/documents.jsonl", "".join(lines))
        current, out = 0, None
        try:
            for number, documents in batches:
                if number == STORAGE:
                    files += documents
                    continue
                if number != current:
                    if out is not None:
                        out.close()
                    current = number
                    archive.writestr(f"{names[number]}/generated_schema.jsonl", '"uniform"\n')
                    out = archive.open(f"{names[number]}{_DOCUMENTS}", "w", force_zip64=True)
                assert out is not None
                for id, packed in documents:
                    doc = unpack(packed) | {"_id": encode_id(number, id)}
                    out.write(encode_line(doc).encode() + b"\n")
                total += len(documents)
        finally:
            if out is not None:  # a ZIP file cannot be closed before, whatever has happened
                out.close()
        write_files(archive, files, content or (lambda _: ()))
    return total


class ConvexZip:
    """An export that is read; a context.

    Attributes
    ----------
    tables
        The number of each table whose documents are in it, in order; 0 where it is not known.
    numbers
        The number of every table of users that it names: ids may be of any of them.
    files
        The stored files in it.
    left_out
        What is in it and is not imported.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise InvalidValue(f"{path} cannot be read as a ZIP file: {error}") from None
        names = [name.removesuffix(_DOCUMENTS) for name in self._archive.namelist() if name.endswith(_DOCUMENTS)]
        numbers = self._numbers() if "_tables" in names else {}
        if "manifest.json" in self._archive.namelist() and not names:
            raise InvalidValue(f"{path} is a backup: `nbreactive restore` makes a data folder from it")
        self.tables = {name: numbers.get(name, 0) for name in names if not name.startswith("_") and "/" not in name}
        self.numbers = {name: number for name, number in numbers.items() if not name.startswith("_")} | self.tables
        try:
            self.files = read_infos(self._archive)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise InvalidValue(f"{path} cannot be read: {error}") from None
        self.left_out = sorted(
            name
            for name in names
            if name not in self.tables and name not in ("_tables", "_storage") and self._size(name + _DOCUMENTS)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def size(self, tables: Iterable[str]) -> int:
        """Return the bytes of the documents of some tables."""
        return sum(self._size(name + _DOCUMENTS) for name in tables)

    def documents(self, table: str) -> Iterator[tuple[int, Any]]:
        """Yield the documents of a table, with the bytes that each takes."""
        name = table + _DOCUMENTS
        with self._archive.open(name) as file:
            yield from jsonl(file, name, integers=True)

    def check_file(self, info: ZipFileInfo) -> None:
        """Read a stored file and compare it with what is said of it; InvalidValue if it is another."""
        try:
            check_content(self._archive, info)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise InvalidValue(f"cannot be read: {error}", info.member) from None

    def open_file(self, info: ZipFileInfo) -> IO[bytes]:
        """Open a stored file."""
        return self._archive.open(info.member)

    def _numbers(self) -> dict[str, int]:
        with self._archive.open("_tables" + _DOCUMENTS) as file:
            return {line["name"]: int(line.get("id", 0)) for line in map(json.loads, file) if line}

    def _size(self, name: str) -> int:
        return self._archive.getinfo(name).file_size


def jsonl(file: IO[bytes], name: str, *, integers: bool) -> Iterator[tuple[int, Any]]:
    """Yield the documents of a file with one per line; InvalidValue where it is not such a file."""
    number = 0
    try:
        for number, line in enumerate(TextIOWrapper(file, "utf-8-sig"), 1):
            if line.strip():
                where = f"{name} line {number}"
                yield len(line), document(decode_line(line, where, integers=integers), where)
    except (UnicodeDecodeError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InvalidValue(f"cannot be read behind line {number} ({error})", name) from None


def document(value: Any, where: str) -> dict[str, Any]:
    """Return what was read from a file if it is a document."""
    if not isinstance(value, dict):
        raise InvalidValue(f"a document is an object, and this is {with_article(type(value).__name__)}", where)
    return value


class Renumbering:
    """Rewrites ids of tables that have another number here.

    Parameters
    ----------
    numbers
        From the number there to the number here, of those that differ.
    """

    def __init__(self, numbers: dict[int, int]) -> None:
        self._numbers = numbers

    def apply(self, value: Any) -> Any:
        """Return a value with all ids in it as they are here."""
        return self._apply(value) if self._numbers else value

    def _apply(self, value: Any) -> Any:
        kind = type(value)
        if kind is dict:
            return {key: self._apply(item) for key, item in value.items()}
        if kind is list:
            return [self._apply(item) for item in value]
        if kind is str and 31 <= len(value) <= 37:
            try:
                number, internal = decode_id(value)
            except InvalidId:
                return value
            if number in self._numbers:
                return str(encode_id(self._numbers[number], internal))
        return value
