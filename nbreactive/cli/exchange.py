"""``nbreactive export`` and ``nbreactive import``."""

from __future__ import annotations

import argparse
import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nbreactive.cli._output import say
from nbreactive.cli._place import Door, add_place, served
from nbreactive.cli._progress import Progress
from nbreactive.errors import InvalidValue
from nbreactive.services.convex_zip import ConvexZip, Renumbering, jsonl, write_zip
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
        help="write all documents into a ZIP file in Convex's layout",
        description="Write the documents of all tables, as of one moment, into a ZIP file in the layout of Convex's exports.",
    )
    parser.add_argument("file", type=Path, metavar="FILE.zip", help="the file to write; replaced if it is there")
    parser.add_argument("--table", metavar="TABLE", help="this table only")
    add_place(parser)
    parser.add_argument("--json", action="store_true", help="say what was done as JSON")
    parser.set_defaults(run=run_export)

    parser = commands.add_parser(
        "import",
        help="read documents from a ZIP, CSV, JSONL or JSON file",
        description="Read documents from an export (ZIP), or from a file of one table (.csv, .jsonl, .json). Without"
        " --append or --replace the tables must be empty. Each batch of up to 1,000 documents happens whole or not at all.",
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

            total = write_zip(file, head["tables"], batches())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(options.file)
    finally:
        draft.unlink(missing_ok=True)
    facts = {
        "file": str(options.file),
        "documents": total,
        "tables": list(head["tables"]),
        "timestamp": str(head["timestamp"]),
    }
    say(options.json, facts, f"{options.file}: {total:,} documents of {len(head['tables'])} tables")
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
    with served(options.at, options.admin_key) as found:
        counts, left_out = (_import_zip if kind == "zip" else _import_table)(found, options, kind)
    total = sum(counts.values())
    text = f"{total:,} documents imported into {len(counts)} tables"
    if left_out:
        text += f"; left out, because they cannot be imported: {', '.join(left_out)}"
    say(options.json, {"documents": total, "tables": counts, "left_out": left_out}, text)
    return 0


def _import_zip(found: Door, options: argparse.Namespace, _: str) -> tuple[dict[str, int], list[str]]:
    with ConvexZip(options.file) as archive:
        names = [name for name in archive.tables if options.table in (None, name)]
        if not names:
            raise InvalidValue(f"{options.file} has no table {options.table or 'at all'}; is it an export?")
        wanted = {name: archive.tables[name] for name in names}
        numbers = _prepare(found, options, wanted)
        ids = Renumbering({there: numbers[name] for name, there in wanted.items() if there not in (0, numbers[name])})
        with Progress("importing", total=archive.size(), quiet=options.json) as progress:
            return {
                name: _send(found, name, archive.documents(name), ids, progress) for name in names
            }, archive.left_out


def _import_table(found: Door, options: argparse.Namespace, kind: str) -> tuple[dict[str, int], list[str]]:
    name = options.table
    documents = {"csv": _csv, "jsonl": _jsonl, "json": _json}[kind](options.file)
    _prepare(found, options, {name: 0})
    with Progress("importing", total=options.file.stat().st_size, quiet=options.json) as progress:
        return {name: _send(found, name, documents, Renumbering({}), progress)}, []


def _prepare(found: Door, options: argparse.Namespace, wanted: dict[str, int]) -> dict[str, int]:
    """Make the tables that are missing and empty those that shall be; return the number of each."""
    known = {table["name"]: table["documents"] for table in found.ask("/api/admin/tables")["tables"]}
    if not (options.append or options.replace or options.replace_all):
        full = [name for name in wanted if known.get(name)]
        if full:
            raise InvalidValue(
                f"there are documents in {', '.join(full)} already: add to them with --append, or delete them first with --replace"
            )
    numbers = found.ask("/api/admin/import", {"tables": wanted}, packed=True)["tables"]
    if options.replace or options.replace_all:
        for name in known if options.replace_all else wanted:
            while found.ask("/api/admin/import", {"table": name, "clear": True}, packed=True)["deleted"]:
                pass
    return numbers


def _send(found: Door, table: str, documents: Documents, ids: Renumbering, progress: Progress) -> int:
    total = 0

    def send() -> None:
        nonlocal total, batch, size
        if batch:
            body = pack({"table": table, "documents": batch})
            with found.open("/api/admin/import", body) as answer:
                answer.read()
            total += len(batch)
            progress.add(size)
            batch, size = [], 0

    batch, size = list[Any](), 0
    for length, doc in documents:
        batch.append(ids.apply(doc))
        size += length
        if size >= _BATCH_BYTES or len(batch) == _BATCH:
            send()
    send()
    return total


def _jsonl(path: Path) -> Documents:
    with path.open("rb") as file:
        yield from jsonl(file, path.name, integers=False)


def _json(path: Path) -> Documents:
    # An array has to be read as a whole
    try:
        found = json.loads(path.read_text("utf-8-sig"))
    except ValueError as error:
        raise InvalidValue(f"{path} is not JSON ({error})") from None
    if not isinstance(found, list):
        raise InvalidValue(f"{path} is not an array of documents; for one document per line name it .jsonl")
    for number, doc in enumerate(found, 1):
        yield 100, from_jsonable(doc, f"{path.name} element {number}")


def _csv(path: Path) -> Documents:
    """Read a table: the first line names the fields; what reads as a number is one, and what is empty is left out."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        for row in csv.DictReader(file):
            doc = {name: _cell(text) for name, text in row.items() if name and text not in (None, "")}
            yield sum(map(len, filter(None, row.values()))), doc


def _cell(text: str) -> Any:
    try:
        return float(text) if text.strip() == text and text.lower().strip("+-")[:1] in "0123456789." else text
    except ValueError:
        return text
