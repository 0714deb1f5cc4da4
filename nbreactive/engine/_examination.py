"""The process of the doctor: reads every frame of the log and every page of the row index, and changes nothing.

The order is JSON on standard input, the examination JSON on standard output.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import lmdb
import msgspec

from nbreactive.engine import _trust
from nbreactive.engine._frames import (
    COMPACT_HEADER_BYTES,
    HEADER_BYTES,
    Damaged,
    frames,
    read_compact_header,
    read_header,
)
from nbreactive.engine.catalog import BATCHES, BY_ID, STORAGE, TABLES, Catalog, TableInfo
from nbreactive.engine.entries import Entry, decode_entry
from nbreactive.engine.files import Disk
from nbreactive.engine.fingerprint import Fingerprint, Fold, hash_document, texts
from nbreactive.engine.postings import entries_of, unfinished
from nbreactive.engine.row_index import Reader, RowIndex
from nbreactive.engine.vector_values import vector_row
from nbreactive.errors import NBReactiveError
from nbreactive.values.packing import unpack

if TYPE_CHECKING:
    from nbreactive.engine.vector_store import VectorView

Tables = dict[int, tuple[int, str]]


class Order(msgspec.Struct, frozen=True):
    """What to look at."""

    folder: str
    at: int = 0
    """A timestamp at which the tables shall be described, too; 0: none."""
    tail: int = 0
    """The position at which the log ends while it grows; 0: at its end."""
    index: bool = True
    running: bool = False
    """Whether a backend writes meanwhile."""


class Examination(msgspec.Struct):
    """What was found."""

    timestamp: int = 0
    entries: int = 0
    log_bytes: int = 0
    horizon: int = 0
    tables: Tables = {}
    """At the end of the log."""
    tables_at: Tables = {}
    """At the timestamp of the order."""
    tables_index: Tables = {}
    """At the timestamp at which the index was looked at."""
    index_at: int = 0
    index_tables: Tables = {}
    """In the index."""
    names: dict[int, str] = {}
    damaged: list[str] = []
    """What is wrong with the log."""
    index_problems: list[str] = []
    notes: list[str] = []
    stored: dict[str, int] = {}
    """Contents that the stored files at the end of the log name: checksum and size."""
    batches: dict[str, int] = {}
    """Files of rows in columns that are named there: checksum and size."""


def main() -> int:
    """Examine one data folder."""
    if os.name == "posix":
        os.nice(10)
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    found = Examination()
    folder = Path(order.folder)
    stops = [order.at] if order.at else []
    with contextlib.ExitStack() as opened:
        index = _open_index(folder, found, opened) if order.index else None
        if index is not None:
            found.index_at = order.at or index.applied
            stops.append(found.index_at)
        states = _log(folder / "log", order.tail, sorted(stops), found)
        found.tables_at = states.get(order.at, {})
        if index is not None and not found.damaged:
            if found.index_at > found.timestamp:  # commits that were never durable, or of ephemeral tables alone
                found.index_at = max(found.timestamp, index.horizon)
            found.tables_index = states.get(found.index_at, found.tables)
            try:
                with index.reader() as reader:
                    _index(reader, found)
            except (lmdb.Error, NBReactiveError) as error:
                found.index_problems.append(f"it cannot be read: {error}")
    sys.stdout.buffer.write(msgspec.json.encode(found))
    return 0


# ---- the log -----------------------------------------------------------------------------------------------------


def _log(folder: Path, tail: int, stops: list[int], found: Examination) -> dict[int, Tables]:
    """Read the log; return the tables at the timestamps ``stops``, as far as it comes."""
    fold, states = Fold(), dict[int, Tables]()
    stored: dict[bytes, tuple[str, int]] = {}
    waiting = list(stops)
    for entry in _entries(folder, tail, found):
        while waiting and entry.ts > waiting[0]:
            states[waiting.pop(0)] = texts(fold.prints)
        if entry.ts <= found.timestamp:
            found.damaged.append(f"the entry {entry.ts} comes after {found.timestamp}")
        fold.entry(entry)
        found.timestamp = entry.ts
        found.entries += 1
        for write in entry.writes:
            if write.table == TABLES and write.doc is not None:
                doc = unpack(write.doc)
                found.names[int(doc["number"])] = doc["name"]
            elif write.table == STORAGE and write.doc is not None:
                doc = unpack(write.doc)
                stored[write.id] = doc["sha256"], int(doc["size"])
            elif write.table == STORAGE:
                stored.pop(write.id, None)
            elif write.table == BATCHES and write.doc is not None:
                doc = unpack(write.doc)
                if "hash" in doc:  # few rows are in the document
                    found.batches[doc["hash"]] = int(doc["bytes"])
    found.stored = dict(stored.values())
    found.tables = texts(fold.prints)
    return states | dict.fromkeys(waiting, found.tables)


def _entries(folder: Path, tail: int, found: Examination) -> Iterator[Entry]:
    files = Disk()
    position = 0
    names = sorted(name for name in files.names(folder) if name.endswith(".log") and name[:-4].isdigit())
    for number, name in enumerate(names):
        path = folder / name
        if int(name[:-4]) < position:
            found.notes.append(f"{path} was replaced by a compact segment and is removed at the next start")
            continue
        with contextlib.closing(files.open(path)) as file:
            size = file.size()
            found.log_bytes += size
            header = read_compact_header(file)
            base = header.base if header is not None else read_header(file)
            if base is None or base != position or base != int(name[:-4]):
                found.damaged.append(f"{path}: its header is damaged, or a segment before it is missing")
                return
            if header is not None:
                found.horizon = max(found.horizon, header.horizon)
            offset = COMPACT_HEADER_BYTES if header is not None else HEADER_BYTES
            try:
                for behind, at, entries in frames(file, offset, size, base, compact=header is not None):
                    offset, position = behind, at
                    yield from map(decode_entry, entries)
                    if position == tail:
                        return
            except Damaged as damaged:
                rest = file.read(damaged.offset, size - damaged.offset)
                last = number == len(names) - 1
                if last and not rest.strip(b"\0"):
                    continue  # zeros written ahead
                what = "an append that was cut short, or damage" if last else "damage"
                found.damaged.append(f"{path} at offset {damaged.offset}: {what}, after batch {damaged.position}")
                return
            except NBReactiveError as error:
                found.damaged.append(f"{path} behind offset {offset}: {error.message}")
                return


# ---- the row index -----------------------------------------------------------------------------------------------


def _open_index(folder: Path, found: Examination, opened: contextlib.ExitStack) -> RowIndex | None:
    if not (folder / "index" / "data.mdb").exists():
        found.notes.append("there is no row index; it is made at the next start")
        return None
    if not _trust.believed(folder / "index"):
        found.notes.append(
            "the row index is not believed (a copy, or after a power cut); it is made anew at the next start"
        )
        return None
    try:
        index = RowIndex.open(folder / "index", readonly=True)
        opened.callback(index.close)
    except (lmdb.Error, NBReactiveError) as error:
        found.index_problems.append(f"it cannot be opened: {error}")
        return None
    return index


def _index(reader: Reader, found: Examination) -> None:
    """Compare every entry of every index with the documents."""
    ts = found.index_at
    catalog = Catalog.load(reader, ts)
    tables: dict[int, Fingerprint] = {}
    for table in catalog.by_number.values():
        if table.ephemeral:
            continue
        remade = [index for index in table.text if unfinished(reader, index.id, ts)]
        found.notes.extend(f"the search index {table.name!r}.{index.name} is being made anew" for index in remade)
        declared = {
            index.id for index in (*table.ordered, *table.text) if index.state == "ready" and index not in remade
        }
        declared.add(table.indexes[1].id)
        vectors = _vector_views(reader, table, ts, found)
        wanted_vectors = {index: Fingerprint() for index in vectors}
        wanted = {index: Fingerprint() for index in declared}
        documents = tables[table.number] = Fingerprint()
        for _, id, doc, version in reader.scan_documents(table.indexes[BY_ID].id, b"", None, ts):
            documents.add(hash_document(id, version, doc))
            fields = unpack(doc)
            text = (entry for index in table.text for entry in entries_of(index, fields, id)[0])
            for index, key in (*table.entries(fields, id).keys, *text):
                if index in declared:
                    wanted[index].add(hash_document(id, 0, key))
            for index in table.vector:
                row = vector_row(index, fields) if index.id in vectors else None
                if row is not None:
                    wanted_vectors[index.id].add(hash_document(id, 0, row.codes + row.data))
        found.index_problems += _entries_of(reader, table, wanted, ts)
        found.index_problems += _vectors_of(table, vectors, wanted_vectors, ts)
    found.index_tables = texts(tables)


def _entries_of(reader: Reader, table: TableInfo, wanted: dict[int, Fingerprint], ts: int) -> Iterator[str]:
    for index in table.indexes:
        if index.id not in wanted:
            continue
        stored = Fingerprint()
        for key, id in reader.scan(index.id, b"", None, ts):
            stored.add(hash_document(id, 0, key))
        if stored != wanted[index.id]:
            yield f"the entries of {table.name!r}.{index.name} are not those of its documents"


def _vector_views(reader: Reader, table: TableInfo, ts: int, found: Examination) -> dict[int, VectorView]:
    """Return the vector indexes that can be compared, by id, and note why others cannot."""
    views: dict[int, VectorView] = {}
    for index in table.vector:
        try:
            view = reader.vectors(index.id)
        except NBReactiveError as error:
            problem = f"the vectors of {table.name!r}.{index.name} cannot be read: {error.message}"
            found.index_problems.append(f"{problem}; they are made anew while the backend runs")
            continue
        if view is not None and view.note.since <= ts:
            views[index.id] = view
        elif index.state == "ready":
            found.notes.append(f"the vector index {table.name!r}.{index.name} is being made anew")
    return views


def _vectors_of(
    table: TableInfo, views: dict[int, VectorView], wanted: dict[int, Fingerprint], ts: int
) -> Iterator[str]:
    for index in table.vector:
        view = views.get(index.id)
        if view is None:
            continue
        stored = Fingerprint()
        for id, codes, data in view.at(ts):
            stored.add(hash_document(id, 0, codes + data))
        if stored != wanted[index.id]:
            yield f"the vectors of {table.name!r}.{index.name} are not those of its documents"


if __name__ == "__main__":
    sys.exit(main())
