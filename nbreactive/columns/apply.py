"""Commits into store.duckdb: one transaction for documents, typed tables and the ts up to which all is applied.

The history takes every write as it is. A typed table is a projection of the latest documents: rows of changed documents
are deleted by a join on ``_id`` and inserted again, as Arrow batches. Documents that a column cannot hold widen it; where
DuckDB cannot alter the column without loss, the table is written anew from the history, inside the same transaction.
Commits at or below the applied ts are skipped, so anything may be applied again.
"""

# pyarrow and duckdb have no stubs, or partial ones: what comes out of them is unknown to the checker
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from nbreactive.columns._frames import Commit
from nbreactive.columns._project import Projection, project, survey
from nbreactive.columns.batches import FOLDER, batch_of, gathered
from nbreactive.columns.database import Store
from nbreactive.columns.documents import LATEST
from nbreactive.columns.schema import Layout, alterable, complete, create_statement, declared_layout, free_name, quote
from nbreactive.engine.catalog import BATCHES, TABLES
from nbreactive.values.packing import unpack

PAGE = 8192
"""Rows at a time when a table is written anew."""


class TableChanges:
    """What a batch of commits does to the documents of one table."""

    def __init__(self) -> None:
        self.latest: dict[bytes, bytes | None] = {}
        self.replaced: set[bytes] = set()
        """Documents that may have a row already."""

    def add(self, id: bytes, doc: bytes | None, previous: int) -> None:
        """Note one write; later ones win."""
        if previous and id not in self.latest:
            self.replaced.add(id)
        self.latest[id] = doc


class _Table(msgspec.Struct, frozen=True):
    id: bytes
    layout: Layout
    validator: dict[str, Any] | None


class Applier:
    """Applies commits to an open store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._connection = store.connection
        self._tables: dict[int, _Table] = {}
        self._views = {
            name
            for (name,) in self._rows("SELECT view_name FROM duckdb_views() WHERE internal AND view_name IS NOT NULL")
        }
        for number, id, layout, validator in self._rows("SELECT number, id, layout, validator FROM nbreactive.tables"):
            decoded = msgspec.json.decode(layout, type=Layout)
            self._tables[number] = _Table(id, decoded, msgspec.json.decode(validator) if validator else None)
        self._mend()

    @property
    def applied(self) -> int:
        """Every commit up to this ts is in the store."""
        return self._store.applied

    @property
    def folder(self) -> Path:
        """Where the rows of tables are that are kept in columns."""
        return self._store.folder / FOLDER

    def layouts(self) -> dict[int, Layout]:
        """Return the layouts of all tables, by number."""
        return {number: table.layout for number, table in self._tables.items()}

    def layout(self, table: str) -> Layout | None:
        """Return the layout of a user's table."""
        return next((known.layout for known in self._tables.values() if known.layout.table == table), None)

    def apply(self, commits: Sequence[Commit]) -> int:
        """Apply commits, in order; return the applied ts."""
        commits = [commit for commit in commits if commit.ts > self.applied]
        if not commits:
            return self.applied
        changes: dict[int, TableChanges] = {}
        for commit in commits:
            for write in commit.writes:
                changes.setdefault(write.table, TableChanges()).add(write.id, write.doc, write.previous)
        described = changes.get(TABLES)
        tables, anew = self._describe(described.latest) if described else (dict(self._tables), set[int]())

        projections: dict[int, Projection] = {}
        for number, change in changes.items():
            table = tables.get(number)
            if table is None:
                continue
            docs = {id: unpack(doc) for id, doc in change.latest.items() if doc is not None}
            projections[number] = projection = project(table.layout, docs)
            tables[number] = msgspec.structs.replace(table, layout=projection.layout)

        statements = self._alterations(tables, anew)
        with self._transaction(bool(statements or anew)):
            self._append_history(commits)
            for statement in statements:
                self._connection.execute(statement)
            for number in anew:
                tables[number] = self._write_anew(tables[number])
            for number, projection in projections.items():
                if number not in anew:
                    self._write_rows(projection, changes[number].replaced)
            for number, docs in _batches_in(commits).items():
                if number in tables and number not in anew:
                    self._insert_batches(tables[number].layout, docs)
            self._record(tables)
            self._connection.execute("UPDATE nbreactive.state SET applied = ?", [commits[-1].ts])
        self._tables = tables
        self._store.applied = commits[-1].ts
        return self.applied

    # ---- which tables there are ----------------------------------------------------------------------------------

    def _describe(self, described: dict[bytes, bytes | None]) -> tuple[dict[int, _Table], set[int]]:
        """Return the tables after changes of ``_tables``, and those that must be written anew."""
        documents = {id: None if doc is None else unpack(doc) for id, doc in described.items()}
        wanted = {
            int(doc["number"]): (id, doc)
            for id, doc in documents.items()
            if doc is not None and not doc.get("ephemeral")
        }
        tables = {
            number: table for number, table in self._tables.items() if table.id not in documents or number in wanted
        }
        taken = self._views | self._relations() - {table.layout.name for table in self._tables.values()}
        anew = set[int]()
        for number, (id, doc) in sorted(wanted.items()):
            old = tables.pop(number, None)
            others = [table.layout.name for table in tables.values()]
            name = free_name(doc["name"], [*taken, *others])
            validator = doc.get("validator")
            layout = declared_layout(number, doc["name"], name, validator, doc.get("storage", "rows"))
            if old is None or old.layout.batches != layout.batches:
                anew.add(number)
            elif old.layout.table == doc["name"] and old.validator == validator:
                layout = old.layout
            else:
                layout = complete(layout, self._survey(number))
                if old.layout.rest or alterable(old.layout, layout) is None:
                    anew.add(number)
            tables[number] = _Table(id, layout, validator)
        return tables, anew

    def _relations(self) -> set[str]:
        """Names in ``main``, whoever made them."""
        here = "schema_name = 'main' AND database_name = current_database()"
        query = f"""SELECT table_name FROM duckdb_tables() WHERE {here}
                    UNION ALL SELECT view_name FROM duckdb_views() WHERE {here}"""  # noqa: S608 - our own text
        return {name for (name,) in self._rows(query)}

    def _alterations(self, tables: dict[int, _Table], anew: set[int]) -> list[str]:
        """Return the statements that lead from the tables of now to ``tables``; adds to ``anew`` where none do."""
        statements: list[str] = []
        for number, old in self._tables.items():
            new = tables.get(number)
            if new is not None and number not in anew:
                altering = alterable(old.layout, new.layout)
                if altering is not None:
                    statements += altering
                    continue
                anew.add(number)
            statements.append(f"DROP TABLE IF EXISTS main.{quote(old.layout.name)}")
        return statements

    def _record(self, tables: dict[int, _Table]) -> None:
        for number in self._tables.keys() | tables.keys():
            old, new = self._tables.get(number), tables.get(number)
            if old == new:
                continue
            self._connection.execute("DELETE FROM nbreactive.tables WHERE number = ?", [number])
            if new is not None:
                validator = None if new.validator is None else msgspec.json.encode(new.validator).decode()
                layout = msgspec.json.encode(new.layout).decode()
                self._connection.execute(
                    "INSERT INTO nbreactive.tables VALUES (?, ?, ?, ?)", [number, new.id, layout, validator]
                )

    def _mend(self) -> None:
        """Write typed tables anew that somebody changed with another DuckDB."""
        query = """SELECT table_name, column_name, data_type FROM duckdb_columns()
                   WHERE schema_name = 'main' AND database_name = current_database()"""
        found: dict[str, dict[str, str]] = {}
        for table, column, type_ in self._rows(query):
            found.setdefault(table, {})[column] = type_.replace('"', "")  # quoted only where DuckDB must
        broken = [
            number
            for number, table in self._tables.items()
            if found.get(table.layout.name) != {name: t.replace('"', "") for name, t in table.layout.types().items()}
        ]
        if not broken:
            return
        tables = dict(self._tables)
        with self._transaction(ddl=True):
            for number in broken:
                name = tables[number].layout.name
                kind = "VIEW" if name in self._views_of_others() else "TABLE"
                self._connection.execute(f"DROP {kind} IF EXISTS main.{quote(name)}")
                tables[number] = self._write_anew(tables[number])
            self._record(tables)
        self._tables = tables

    def _views_of_others(self) -> set[str]:
        query = """SELECT view_name FROM duckdb_views()
                   WHERE schema_name = 'main' AND database_name = current_database()"""
        return {name for (name,) in self._rows(query)}

    # ---- rows --------------------------------------------------------------------------------------------------

    def _append_history(self, commits: Iterable[Commit]) -> None:
        rows = [(commit.ts, write) for commit in commits for write in commit.writes]
        if not rows:
            return
        docs = [write.doc for _, write in rows]
        batch = pa.table(
            {
                "ts": pa.array([ts for ts, _ in rows], pa.int64()),
                "table_number": pa.array([write.table for _, write in rows], pa.int32()),
                "id": pa.array([write.id for _, write in rows], pa.binary()),
                "doc": pa.array(docs, pa.binary()),
                "deleted": pa.array([doc is None for doc in docs], pa.bool_()),
                "previous": pa.array([write.previous for _, write in rows], pa.int64()),
            }
        )
        self._insert("nbreactive.history", batch)

    def _write_rows(self, projection: Projection, replaced: set[bytes]) -> None:
        table = f"main.{quote(projection.layout.name)}"
        if replaced:
            batch = pa.table({"id": projection.ids(replaced)})
            with self._registered(batch):
                self._connection.execute(f"DELETE FROM {table} USING batch WHERE {table}._id = batch.id")  # noqa: S608
        if projection.count:
            self._insert(table, projection.batch())

    def _write_anew(self, table: _Table) -> _Table:
        """Create a typed table and fill it from the history."""
        if table.layout.batches:
            self._connection.execute(create_statement(table.layout))
            named = LATEST.format(where=f"WHERE table_number = {BATCHES:d}")
            found = self._rows(f"SELECT doc FROM ({named}) ORDER BY ts, id")  # noqa: S608 - our own text
            docs = (unpack(doc) for (doc,) in found)
            self._insert_batches(table.layout, (doc for doc in docs if batch_of(doc).table == table.layout.number))
            return table
        layout = complete(table.layout, self._survey(table.layout.number))
        self._connection.execute(create_statement(layout))
        for docs in self._pages(table.layout.number):
            projection = project(layout, docs)
            if projection.layout.rest and not layout.rest:
                layout = layout.with_rest()
                self._connection.execute(f"ALTER TABLE main.{quote(layout.name)} ADD COLUMN _rest JSON")
            self._write_rows(projection, set())
        return msgspec.structs.replace(table, layout=layout)

    def _insert_batches(self, layout: Layout, docs: Iterable[dict[str, Any]]) -> None:
        for rows in gathered(self.folder, layout, docs):
            self._insert(f"main.{quote(layout.name)}", rows)

    def _survey(self, number: int) -> Iterator[tuple[str, Any]]:
        for docs in self._pages(number):
            yield from survey(docs.values())

    def _pages(self, number: int) -> Iterator[dict[bytes, Any]]:
        """Yield the latest documents of a table, some at a time; what waits may spill to disk."""
        latest = LATEST.format(where=f"WHERE table_number = {number:d}")
        # Numbered by ourselves: rows that a transaction has just written have no dense rowids yet
        self._connection.execute(
            f"CREATE OR REPLACE TEMP TABLE latest AS SELECT row_number() OVER () AS n, id, doc FROM ({latest})"  # noqa: S608
        )
        start = 1
        while rows := self._connection.execute(
            "SELECT id, doc FROM latest WHERE n >= ? AND n < ?", [start, start + PAGE]
        ).fetchall():
            yield {id: unpack(doc) for id, doc in rows}
            start += PAGE
        self._connection.execute("DROP TABLE latest")

    # ---- DuckDB ------------------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self, ddl: bool) -> Generator[None]:
        """Everything or nothing; changes of schema between two checkpoints, so that no log mixes them with rows."""
        if ddl:
            self._store.checkpoint()
        self._connection.execute("BEGIN")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
        if ddl:
            self._store.checkpoint()

    def _insert(self, table: str, batch: pa.Table) -> None:
        with self._registered(batch):
            self._connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM batch")  # noqa: S608

    @contextmanager
    def _registered(self, batch: pa.Table) -> Generator[None]:
        self._connection.register("batch", batch)
        try:
            yield
        finally:
            self._connection.unregister("batch")

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(query).fetchall()


def _batches_in(commits: Iterable[Commit]) -> dict[int, list[dict[str, Any]]]:
    """Return the documents that bring new rows to tables that are kept in columns, by table, in their order."""
    found: dict[int, list[dict[str, Any]]] = {}
    for commit in commits:
        for write in commit.writes:
            if write.table == BATCHES and write.doc is not None:
                doc = unpack(write.doc)
                found.setdefault(batch_of(doc).table, []).append(doc)
    return found
