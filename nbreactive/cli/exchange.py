"""``nbreactive export`` and ``nbreactive import``."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nbreactive.cli._csv import read_csv
from nbreactive.cli._files import check_files, content_of, import_files, storage_numbers
from nbreactive.cli._output import say
from nbreactive.cli._place import Door, add_place, served
from nbreactive.cli._progress import Progress
from nbreactive.client.exports import PATH as EXPORT
from nbreactive.client.exports import check_path, write_rows
from nbreactive.errors import InvalidValue
from nbreactive.services.convex_zip import ConvexZip, Renumbering, document, jsonl, write_zip
from nbreactive.services.export_lines import read_json
from nbreactive.services.streams import records
from nbreactive.values.json import from_jsonable
from nbreactive.values.packing import pack

_BATCH_BYTES = 1 << 20
_BATCH = 1000
Documents = Iterator[tuple[int, Any]]
"""Documents, with the bytes that each takes in its file."""


def add_commands(commands: Any) -> None:
    """Add both commands to a parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "export",
        help="write all documents into a ZIP file in Convex's layout, or one table into a Parquet, CSV, Arrow or DuckDB file",
        description="Write the documents of all tables, as of one moment, into a ZIP file in the layout of Convex's exports; or"
        " one table, or the result of a SELECT, into a file of rows: .parquet, .csv, .arrow, .duckdb. (Tables in columns are in"
        " no ZIP file.)",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the file to write; replaced if it is there")
    parser.add_argument("--table", metavar="TABLE", help="this table only")
    parser.add_argument("--sql", metavar="SELECT", help="the rows of this SELECT; not for ZIP files")
    add_place(parser)
    parser.add_argument("--json", action="store_true", help="say what was done as JSON")
    parser.set_defaults(run=run_export)

    parser = commands.add_parser(
        "import",
        help="read documents from a ZIP, CSV, JSONL or JSON file",
        description="Read documents from an export (ZIP), or from a file of one table (.csv, .jsonl, .json). Without"
        " --append or --replace the tables must be empty. The whole file is checked before anything is deleted or inserted;"
        " each batch of up to 1,000 documents happens whole or not at all.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="what to read")
    parser.add_argument("--table", metavar="TABLE", help="the table; of a ZIP file: this one only")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--append", action="store_true", help="add to what is there")
    how.add_argument("--replace", action="store_true", help="first delete what is in the tables of the file")
    how.add_argument("--replace-all", action="store_true", help="first delete what is in all tables (ZIP only)")
    parser.add_argument(
        "--format", choices=("zip", "csv", "jsonl", "json"), help="of the file (default: as its name says)"
    )
    add_place(parser)
    parser.add_argument("--json", action="store_true", help="say what was done as JSON")
    parser.set_defaults(run=run_import)


def run_export(options: argparse.Namespace) -> int:
    """Run ``export``."""
    if options.file.suffix.lower() != ".zip" or options.sql is not None:
        return _export_rows(options)
    path = "/api/admin/documents"
    if options.table is not None:
        path += f"?table={quote(options.table)}"
    draft = options.file.with_name(f"{options.file.name}.{os.getpid()}.part")
    try:
        with (
            served(options.at, options.admin_key) as found,
            found.open(path) as answer,
            Progress("exporting", "documents", quiet=options.json) as progress,
            draft.open("wb") as file,
        ):
            coming = records(answer.read)
            _, head = next(coming)

            def batches() -> Iterator[tuple[int, list[tuple[bytes, bytes]]]]:
                for kind, content in coming:
                    if kind == b"b":
                        progress.add(len(content[1]))
                        yield content

            tables = {name: number for name, number in head["tables"].items() if name != "_storage"}
            total = write_zip(file, tables, batches(), lambda sha256: content_of(found, sha256))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(options.file)
    finally:
        draft.unlink(missing_ok=True)
    facts = {
        "file": str(options.file),
        "documents": total,
        "tables": list(tables),
        "timestamp": str(head["timestamp"]),
    }
    say(options.json, facts, f"{options.file}: {total:,} documents of {len(tables)} tables")
    return 0


def _export_rows(options: argparse.Namespace) -> int:
    """Write one table, or the result of a SELECT, into a file of rows."""
    if options.file.suffix.lower() == ".zip" or (options.sql is None) == (options.table is None):
        raise InvalidValue(
            "name the rows with --table or --sql, and a file that ends in .parquet, .csv, .arrow or .duckdb; a .zip file has"
            " all tables"
        )
    check_path(options.file)
    body = {"table": options.table} if options.sql is None else {"sql": options.sql}
    with (
        served(options.at, options.admin_key) as found,
        found.open(EXPORT, json.dumps(body).encode(), "application/json") as answer,
        Progress("exporting", "rows", quiet=options.json) as progress,
    ):
        rows = write_rows(answer, options.file, options.table or "result", progress.add)
    say(options.json, {"file": str(options.file), "rows": rows}, f"{options.file}: {rows:,} rows")
    return 0


def run_import(options: argparse.Namespace) -> int:
    """Run ``import``."""
    kind = options.format or options.file.suffix.lower().removeprefix(".")
    if kind not in ("zip", "csv", "jsonl", "json"):
        raise InvalidValue(f"{options.file} is none of .zip .csv .jsonl .json; say what it is with --format")
    if kind != "zip" and (options.table is None or options.replace_all):
        raise InvalidValue(
            f"a {kind} file is of one table: name it with --table"
            + "; --replace-all is for ZIP files" * options.replace_all
        )
    if not options.file.is_file():
        raise InvalidValue(f"there is no file {options.file}")
    with _opened(options, kind) as source, served(options.at, options.admin_key) as found:
        counts, left_out = _import(found, options, source), source.left_out
    total = sum(counts.values())
    text = f"{total:,} documents imported into {len(counts)} tables"
    if left_out:
        text += f"; left out, because they cannot be imported: {', '.join(left_out)}"
    say(options.json, {"documents": total, "tables": counts, "left_out": left_out}, text)
    return 0


@dataclass(frozen=True)
class _Source:
    """A file to import; it is read twice."""

    tables: dict[str, int]
    """Whose documents are imported, and which numbers they had; 0 where that is not known."""
    numbers: dict[str, int]
    """Of all tables that ids in it may be of."""
    documents: Callable[[str], Documents]
    """Reads those of a table."""
    size: int
    left_out: list[str]
    archive: ConvexZip | None = None
    """Where stored files are, too."""


@contextlib.contextmanager
def _opened(options: argparse.Namespace, kind: str) -> Generator[_Source]:
    if kind != "zip":
        read = {"csv": read_csv, "jsonl": _jsonl, "json": _json}[kind]
        size = options.file.stat().st_size
        yield _Source({options.table: 0}, {options.table: 0}, lambda _: read(options.file), size, [])
        return
    with ConvexZip(options.file) as archive:
        tables = {name: number for name, number in archive.tables.items() if options.table in (None, name)}
        files = archive if archive.files and options.table in (None, "_storage") else None
        if not tables and files is None:
            raise InvalidValue(f"{options.file} has no table {options.table or 'at all'}; is it an export?")
        size = archive.size(tables)
        yield _Source(tables, archive.numbers, archive.documents, size, archive.left_out, files)


def _import(found: Door, options: argparse.Namespace, source: _Source) -> dict[str, int]:
    """Make the tables that are missing, check all documents, and only then delete what they replace and insert them."""
    known = {table["name"]: table["documents"] for table in found.ask("/api/admin/tables")["tables"]}
    replacing = options.replace or options.replace_all
    if not (options.append or replacing):
        full = [name for name in source.tables if known.get(name)]
        if full:
            raise InvalidValue(
                f"there are documents in {', '.join(full)} already: add to them with --append, or delete them first with --replace"
            )
    # Those that are only referred to, too: else somebody else's table may get the number that the ids have
    numbers = _step(found, tables=source.numbers)["tables"]
    ids = Renumbering(
        {there: numbers[name] for name, there in source.numbers.items() if there not in (0, numbers[name])}
        | (storage_numbers(source.archive.files) if source.archive is not None else {})
    )
    if source.archive is not None:
        check_files(found, source.archive, ids, replacing=replacing, append=options.append)
    with Progress("checking", total=source.size, quiet=options.json) as progress:
        for name in source.tables:
            for batch, size in _batches(_unique(source.documents(name), name), ids):
                _step(found, table=name, documents=batch, check="replace" if replacing else "append")
                progress.add(size)
    if replacing:
        for name in known if options.replace_all else source.tables:
            while _step(found, table=name, clear=True)["deleted"]:
                pass
    if source.archive is not None:  # first, as documents may refer to them
        import_files(found, source.archive, ids, replacing=replacing, quiet=options.json)
    counts = dict.fromkeys(source.tables, 0)
    with Progress("importing", total=source.size, quiet=options.json) as progress:
        for name in source.tables:
            for batch, size in _batches(source.documents(name), ids):
                counts[name] += _step(found, table=name, documents=batch, cleared=replacing)["inserted"]
                progress.add(size)
    return counts


def _step(found: Door, **step: Any) -> Any:
    with found.open("/api/admin/import", pack(step)) as answer:
        return json.loads(answer.read())


def _batches(documents: Documents, ids: Renumbering) -> Iterator[tuple[list[Any], int]]:
    """Yield documents as they will be here, so many as are sent at once, with the bytes that they take."""
    batch, size = list[Any](), 0
    for length, doc in documents:
        batch.append(ids.apply(doc))
        size += length
        if size >= _BATCH_BYTES or len(batch) == _BATCH:
            yield batch, size
            batch, size = [], 0
    if batch:
        yield batch, size


def _unique(documents: Documents, table: str) -> Documents:
    """Refuse an id that is in the file twice, maybe in another batch."""
    seen = set[str]()
    for length, doc in documents:
        id = doc.get("_id")
        if isinstance(id, str):
            if id in seen:
                raise InvalidValue(f"the id {id!r} is in the file twice; keep one of the documents", table)
            seen.add(id)
        yield length, doc


def _jsonl(path: Path) -> Documents:
    with path.open("rb") as file:
        yield from jsonl(file, path.name, integers=False)


def _json(path: Path) -> Documents:
    # An array has to be read as a whole
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidValue(f"{path} is not JSON ({error})") from None
    found = read_json(text, path.name)
    if not isinstance(found, list):
        raise InvalidValue(f"{path} is not an array of documents; for one document per line name it .jsonl")
    for number, doc in enumerate(found, 1):
        where = f"{path.name} element {number}"
        yield 100, document(from_jsonable(doc, where), where)
