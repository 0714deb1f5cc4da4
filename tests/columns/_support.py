"""Commits for store.duckdb, a model of what must be in it, and ways to read it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import duckdb

from nbreactive.columns._frames import Commit, Open
from nbreactive.columns.apply import Applier
from nbreactive.columns.database import Store
from nbreactive.engine.catalog import FIRST_USER_TABLE, TABLES
from nbreactive.engine.entries import Entry
from nbreactive.engine.transactions import Write
from nbreactive.values import decode_json, encode_id, pack, unpack

NOTES = FIRST_USER_TABLE


def internal(n: int) -> bytes:
    return (1_700_000_000_000 + n).to_bytes(6, "big") + n.to_bytes(10, "big")


class Database:
    """What an engine would commit: documents by table, and the entries that made them."""

    def __init__(self) -> None:
        self.ts = 100
        self.entries: list[Entry] = []
        self.versions: dict[tuple[int, bytes], tuple[int, dict[str, Any] | None]] = {}

    def commit(self, *writes: tuple[int, int, dict[str, Any] | None]) -> Entry:
        """Write documents: (table, n, document or None)."""
        self.ts += 7
        made: dict[tuple[int, bytes], Write] = {}
        for table, n, doc in writes:
            id = internal(n)
            stored = None if doc is None else {"_creationTime": float(n), **doc}
            previous = self.versions.get((table, id), (0, None))[0]
            if doc is None and previous == 0:
                continue
            made[table, id] = Write(table, id, None if stored is None else pack(stored), previous)
        for key, write in made.items():
            self.versions[key] = (self.ts, None if write.doc is None else unpack(write.doc))
        self.entries.append(Entry(self.ts, 0, list(made.values())))
        return self.entries[-1]

    def define(self, name: str, number: int = NOTES, *, n: int | None = None, **more: Any) -> Entry:
        """Create or change a table."""
        doc = {"name": name, "number": number, "indexes": [], "next_slot": 2, "validator": None, "ephemeral": False}
        return self.commit((TABLES, number if n is None else n, doc | more))

    def documents(self, table: int = NOTES) -> dict[str, dict[str, Any]]:
        """The live documents of a table by id."""
        return {
            str(encode_id(number, id)): doc
            for (number, id), (_, doc) in self.versions.items()
            if number == table and doc is not None
        }

    async def read_log(self, after: int) -> AsyncIterator[Sequence[Entry]]:
        """The log, as the supervisor reads it."""
        entries = [entry for entry in self.entries if entry.ts > after]
        for start in range(0, len(entries), 10):
            await asyncio.sleep(0)
            yield entries[start : start + 10]


def commits(entries: Sequence[Entry]) -> list[Commit]:
    return [Commit(entry.ts, list(entry.writes)) for entry in entries]


class InProcess:
    """Store and applier without a process."""

    def __init__(self, folder: Path, tail: int | None = None) -> None:
        self.folder = folder
        self.store = Store(Open(str(folder / "store.duckdb"), "256MB", 1, tail))
        self.applier = Applier(self.store)

    def apply(self, *entries: Entry) -> int:
        return self.applier.apply(commits(entries))

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        return self.store.connection.execute(query).fetchall()

    def crash(self, to: Path) -> InProcess:
        """Open what a process killed now would leave: the files as they are, nothing checkpointed."""
        to.mkdir()
        for file in self.folder.glob("store.duckdb*"):
            if file.is_file():
                shutil.copy(file, to / file.name)
        self.store.connection.close()
        return InProcess(to)


def open_as_user(folder: Path) -> duckdb.DuckDBPyConnection:
    """Open the file as its owner would when the backend is down."""
    connection = duckdb.connect(str(folder / "store.duckdb"), read_only=True)
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def types(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    query = "SELECT column_name, data_type FROM duckdb_columns() WHERE schema_name = 'main' AND table_name = ?"
    return dict(connection.execute(query, [table]).fetchall())


def read_table(connection: duckdb.DuckDBPyConnection, applier_layout: Any) -> dict[str, dict[str, Any]]:
    """Read a typed table back into documents (None = null or absent), through its layout."""
    quoted = '"' + applier_layout.name.replace('"', '""') + '"'
    return read_rows(connection, applier_layout, f"main.{quoted}")


def read_rows(connection: duckdb.DuckDBPyConnection, layout: Any, source: str) -> dict[str, dict[str, Any]]:
    """Read whatever has the columns of a layout back into documents."""
    table = connection.sql(f"SELECT * FROM {source}").to_arrow_table()
    documents: dict[str, dict[str, Any]] = {}
    for row in table.to_pylist():
        doc = {column.field: _back(column.kind, row[column.name]) for column in layout.columns}
        if row.get("_rest"):
            doc |= decode_json(row["_rest"])
        documents[doc.pop("_id")] = doc
    return documents


def _back(kind: Any, value: Any) -> Any:
    if value is None:
        return None
    if kind.name == "json":
        return decode_json(value)
    if kind.name == "list":
        return [_back(kind.element, item) for item in value]
    if kind.name == "struct":
        return {name: _back(field, value[name]) for name, field in kind.fields}
    if kind.name == "datetime":
        return value.timestamp() * 1000
    return value


def plain(doc: dict[str, Any]) -> dict[str, Any]:
    """A document as a row can show it: without fields that are null."""
    return {field: value for field, value in doc.items() if value is not None}


def same(one: Any, other: Any) -> bool:
    """Equality in which NaN equals itself, and absent struct fields are null."""
    if isinstance(one, dict) and isinstance(other, dict):
        return all(same(one.get(key), other.get(key)) for key in one.keys() | other.keys())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and one != one:
        return isinstance(other, float) and other != other
    numbers = type(one) in (int, float) and type(other) in (int, float)
    return one == other and (numbers or isinstance(one, type(other)) or isinstance(other, type(one)))
