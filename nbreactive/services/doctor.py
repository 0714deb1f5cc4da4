"""Do log, row index and store.duckdb say the same?

Each holds every document, so each can be compared with the others: counts and fingerprints per table, at a timestamp that
they have in common. On the way every checksum of the log and of store.duckdb is looked at, and every entry of every index
is compared with the document that it stands for. Nothing is changed, and nothing is mended: all but the log can
be made again from it, and the report says how.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

import nbreactive
from nbreactive.columns._frames import Inspection
from nbreactive.columns.batches import FOLDER
from nbreactive.engine._examination import Examination, Order
from nbreactive.engine.catalog import Catalog
from nbreactive.engine.feed import last_ts
from nbreactive.errors import DataFolderError, NBReactiveError
from nbreactive.services.blobs import Blobs
from nbreactive.services.file_copies import FilesFound, examine_contents

if TYPE_CHECKING:
    from nbreactive.server.parts import Parts

Part = Literal["log", "index", "store.duckdb", "files", "batches"]
Tables = dict[int, tuple[int, str]]

_MEND = {
    "log": "restore the data folder from a backup (nbreactive restore); what the other replicas hold can be exported first",
    "index": "stop the backend, move the folder `index` away and start again: it is made anew",
    "store.duckdb": "stop the backend, move store.duckdb away and start again: it is made anew from the log",
    "batches": "copy the file from a backup (its files/ folder) into batches/; store.duckdb may have its rows still: export them",
    "files": "copy the content from a backup (its files/ folder) or wherever the file came from, or delete the stored file",
}


class Problem(msgspec.Struct, frozen=True):
    """Something that is not as it should be."""

    part: Part
    what: str
    fix: str


class Report(msgspec.Struct, frozen=True):
    """What was looked at and found."""

    timestamp: int
    """Of the last commit in the log."""
    entries: int
    log_bytes: int
    horizon: int
    tables: dict[str, int]
    """Documents by table."""
    problems: list[Problem]
    notes: list[str]
    files: FilesFound = FilesFound()

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def examine_folder(folder: Path, files_at: str | None = None) -> Report:
    """Examine a data folder that nobody serves; its stored files may be elsewhere."""
    if not (folder / "log").is_dir():
        raise DataFolderError(f"{folder} is not a data folder: there is no log in it")
    examination, problems = _examine(Order(str(folder)))
    store = folder / "store.duckdb"
    notes = list(examination.notes)
    inspection: Inspection | None = None
    if not store.exists():
        notes.append("there is no store.duckdb; it is made at the next start")
    else:
        done = _run("nbreactive.columns.inspection", str(store), str(examination.timestamp))
        if done.returncode:
            said = _said(done)
            if "lock" in said.lower() and "conflicting" in said.lower():
                raise DataFolderError(f"{store} is open in another program: {said}")
            problems.append(_problem("store.duckdb", f"it cannot be read: {said}"))
        else:
            inspection = msgspec.json.decode(done.stdout, type=Inspection)
    if inspection is not None and 0 < inspection.applied < examination.timestamp and not examination.damaged:
        again, _ = _examine(Order(str(folder), at=inspection.at, index=False))
        examination = msgspec.structs.replace(examination, tables_at=again.tables_at)
    files = examine_contents(Blobs(folder / "files", files_at), examination.stored)
    problems += _batch_problems(Blobs(folder / FOLDER), examination)
    return _report(examination, problems, inspection, notes, files, examination.timestamp)


async def examine_running(parts: Parts) -> Report:
    """Examine the data folder of a backend that goes on serving."""
    # Nothing drops versions from here on: each part is looked at as of the same moment, while all go on growing
    async with parts.retention.busy:
        with parts.engine.hold() as ts:
            await parts.columns.wait(ts)
            order = Order(str(parts.log.folder.parent), at=ts, tail=await parts.log.tail(), running=True)
            examination, problems = await asyncio.to_thread(_examine, order)
            files = await parts.files.run(examine_contents, parts.files.blobs, examination.stored)
            problems += await parts.files.run(_batch_problems, parts.loads.blobs, examination)
            inspection: Inspection | None = None
            try:
                await parts.columns.wait(ts)  # it may have been started again, with an older file
                inspection = await parts.columns.inspect(ts)
            except NBReactiveError as error:
                problems.append(_problem("store.duckdb", f"it cannot be read: {error.message}"))
        # What the store has by now was durable before
        ends = examination.timestamp if examination.damaged else await last_ts(parts.log)
    return _report(examination, problems, inspection, list(examination.notes), files, ends)


def _examine(order: Order) -> tuple[Examination, list[Problem]]:
    """Look at log and row index in a process of its own: a damaged index may end it."""
    problems: list[Problem] = []
    done = _run("nbreactive.engine._examination", given=msgspec.json.encode(order))
    if done.returncode and order.index:
        problems.append(_problem("index", f"reading it ended the process that did ({_said(done) or done.returncode})"))
        done = _run(
            "nbreactive.engine._examination", given=msgspec.json.encode(msgspec.structs.replace(order, index=False))
        )
    if done.returncode:
        raise DataFolderError(f"the data folder cannot be examined: {_said(done)}")
    return msgspec.json.decode(done.stdout, type=Examination), problems


def _batch_problems(blobs: Blobs, found: Examination) -> list[Problem]:
    """Look at the files of rows in columns."""
    if found.damaged:
        return []
    batches = examine_contents(blobs, found.batches)
    return [
        *(_problem("batches", f"the rows in {sha256} are missing") for sha256 in batches.missing),
        *(_problem("batches", f"the rows in {sha256} are not what was stored") for sha256 in batches.damaged),
    ]


def _report(
    found: Examination,
    problems: list[Problem],
    inspection: Inspection | None,
    notes: list[str],
    files: FilesFound,
    ends: int,
) -> Report:
    """Compare; ``ends`` is the timestamp of the last commit in the log when ``inspection`` was made."""
    problems = [*problems, *(_problem("log", what) for what in found.damaged)]
    problems += [_problem("files", f"the content {sha256} is missing") for sha256 in files.missing if not found.damaged]
    problems += [_problem("files", f"the content {sha256} is not what was stored") for sha256 in files.damaged]
    if files.unnamed and not found.damaged:
        notes.append(
            f"{len(files.unnamed)} contents of files are named by older versions only, or by nothing;"
            " they are deleted when history is"
        )
    problems += [_problem("index", what) for what in found.index_problems]
    names = dict(found.names) | {table.number: table.name for table in Catalog().by_number.values()}
    if found.index_at and not found.damaged:
        ours = found.index_tables
        problems += [_problem("index", what) for what in _differences(found.tables_index, ours, names, "the log")]
    if inspection is not None and not found.damaged:
        if inspection.applied > ends:
            problems.append(
                _problem("log", "it ends before store.duckdb does: an older log, or that of another folder")
            )
        else:
            theirs = found.tables_at if inspection.at < found.timestamp or found.tables_at else found.tables
            problems += [
                _problem("store.duckdb", what) for what in _differences(theirs, inspection.tables, names, "the log")
            ]
        for number, rows in inspection.rows.items():
            wanted = inspection.expected.get(number, 0)
            if rows != wanted:
                what = f"its table {names.get(number, number)!r} has {rows} rows instead of {wanted}"
                problems.append(_problem("store.duckdb", what))
    counts = {names.get(number, str(number)): count for number, (count, _) in found.tables.items()}
    return Report(found.timestamp, found.entries, found.log_bytes, found.horizon, counts, problems, notes, files)


def _differences(wanted: Tables, found: Tables, names: dict[int, str], other: str) -> list[str]:
    said: list[str] = []
    for number in sorted(wanted.keys() | found.keys()):
        name = repr(names.get(number, number))
        count, print_ = wanted.get(number, (0, ""))
        count_found, print_found = found.get(number, (0, ""))
        if count != count_found:
            said.append(f"{name} has {count_found} documents, {other} has {count}")
        elif print_ != print_found:
            said.append(f"documents of {name} are not those of {other}, though as many ({count})")
    return said


def _problem(part: Part, what: str) -> Problem:
    return Problem(part, what, _MEND[part])


def _run(module: str, *arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    # -P: what lies in the working directory is not ours. So the package's own place must be said
    place = str(Path(nbreactive.__file__).resolve().parent.parent)
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [place, os.environ.get("PYTHONPATH")]))}
    command: list[Any] = [sys.executable, "-P", "-m", module, *arguments]
    return subprocess.run(command, input=given, capture_output=True, check=False, env=env)


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else ""
