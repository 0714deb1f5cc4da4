"""Tables as of any timestamp in the history, with writes on top of them that are not committed.

A transaction of DuckDB sees what is applied, A. A statement may have to see less (it runs at S < A) or more (a mutation's
own writes). The tables that differ are shadowed, for this one transaction, by temporary views of the same name: the typed
table without the documents that differ, and the versions of those as of S. Which they are is known from the history: what
was written after S, and for each of those the version before (``previous``). So nothing depends on how far the store has
come, and a statement that looks an hour back is answered in the same way.

Columns are those of now, so a field that no document had at S is there, and null. Where the types of now cannot be kept
(a mutation writes text where numbers were), the whole table is made anew as of S.
"""

# pyarrow and duckdb have no stubs, or partial ones: what comes out of them is unknown to the checker
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from nbreactive.columns._project import Doc, Projection, project, survey
from nbreactive.columns.attached import LAYOUTS, VIEWS
from nbreactive.columns.batches import batch_of
from nbreactive.columns.schema import (
    Layout,
    carried,
    complete,
    create_statement,
    declared_layout,
    free_name,
    quote,
)
from nbreactive.engine.catalog import BATCHES, FIRST_USER_TABLE, TABLES
from nbreactive.engine.transactions import Write
from nbreactive.values.packing import unpack

if TYPE_CHECKING:
    import duckdb

_PAGE = 8192
_DESCRIBED = f"SELECT doc FROM nbreactive.history WHERE table_number = {TABLES:d} AND NOT deleted"  # noqa: S608
_FEW = 32
"""Rows that are left out one by one."""


class Snapshot:
    """The tables that one transaction sees.

    Parameters
    ----------
    cursor
        In a transaction; temporary tables and views are made in it.
    at
        The timestamp; None: all that is applied.
    own
        Writes on top of that.
    check
        Called now and then; raises if the statement is to end.
    """

    def __init__(
        self,
        cursor: duckdb.DuckDBPyConnection,
        at: int | None = None,
        own: Sequence[Write] = (),
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._cursor = cursor
        self._check = check
        self._database, self.applied = self._rows("SELECT current_database(), applied FROM nbreactive.state")[0]
        self.at = self.applied if at is None else min(at, self.applied)
        self._later: set[int] = set()
        if self.at < self.applied:
            later = f"SELECT DISTINCT table_number FROM nbreactive.history WHERE ts > {self.at:d}"  # noqa: S608
            self._later = {number for (number,) in self._rows(later)}
        self._mark = ""
        """What tells the temporary tables of one table from those of others."""
        self._own: dict[int, dict[bytes, bytes | None]] = {}
        for write in own:
            self._own.setdefault(write.table, {})[write.id] = write.doc
        self._stored = {
            number: _layout(text) for number, text in self._rows("SELECT number, layout FROM nbreactive.tables")
        }
        self.tables: dict[str, Layout] = self._catalog()
        """Layouts of the tables that there are, by the case-folded names that SQL has for them."""

    def use(self, layout: Layout, name: str = "") -> Layout:
        """Make a table seen as it is to be seen, under a name of its own if one is given; return its columns."""
        number = layout.number
        self._mark = name or str(number)
        if name:
            layout = msgspec.structs.replace(layout, name=name)
        if number < 0:  # of a source outside, which has no other times
            seen = f"{VIEWS}.main.{quote(layout.table)}"
            self._cursor.execute(f"CREATE TEMP VIEW {quote(layout.name)} AS FROM {seen}")
            return layout
        stored = self._stored.get(number)
        if stored is None:
            return self._make_anew(layout)
        if layout.batches:
            if BATCHES in self._later or name:
                self._leave_out_later(layout, stored)
        elif number in self._later or number in self._own:
            return self._shadow(layout, stored)
        elif stored.name != layout.name:
            self._cursor.execute(f"CREATE TEMP VIEW {quote(layout.name)} AS FROM {self._main(stored)}")
        return layout

    def ephemeral(self, name: str) -> bool:
        """Whether there is, or was, a table of that name that is kept in memory alone."""
        described = [unpack(doc) for (doc,) in self._rows(_DESCRIBED)]
        described += [unpack(doc) for doc in self._own.get(TABLES, {}).values() if doc is not None]
        return any(doc["name"].casefold() == name.casefold() and doc.get("ephemeral") for doc in described)

    # ---- which tables there are ------------------------------------------------------------------------------

    def _catalog(self) -> dict[str, Layout]:
        layouts = dict(self._stored)
        if TABLES in self._later or TABLES in self._own:
            # By the ids of the documents that describe them: those that were described otherwise
            known = dict(self._rows("SELECT id, number FROM nbreactive.tables"))
            changed = self._changed(TABLES)
            for id in changed:
                layouts.pop(known.get(id, -1), None)
            for doc in changed.values():
                if doc is None or doc.get("ephemeral"):
                    continue
                number, table = int(doc["number"]), doc["name"]
                stored = self._stored.get(number)
                taken = [layout.name for layout in layouts.values()]
                if stored is not None and stored.table == table:
                    layouts[number] = stored
                    continue
                name = free_name(table, taken)
                layouts[number] = (
                    declared_layout(number, table, name, doc.get("validator"))
                    if stored is None
                    else msgspec.structs.replace(stored, table=table, name=name)
                )
        own = {layout.name.casefold(): layout for number, layout in layouts.items() if number >= FIRST_USER_TABLE}
        return LAYOUTS | own

    # ---- documents -------------------------------------------------------------------------------------------

    def _changed(self, number: int) -> dict[bytes, Doc | None]:
        """Return the documents of a table that differ from what is applied, as they are to be seen."""
        found: dict[bytes, Doc | None] = {}
        if number in self._later:
            rows = self._cursor.execute(
                f"""
                WITH later AS (
                    SELECT id, arg_min(previous, ts) AS previous FROM nbreactive.history
                    WHERE ts > {self.at:d} AND table_number = {number:d} GROUP BY id)
                SELECT later.id, before.doc FROM later LEFT JOIN (
                    SELECT ts, id, doc FROM nbreactive.history
                    WHERE ts <= {self.at:d} AND table_number = {number:d} AND NOT deleted) before
                ON before.ts = later.previous AND before.id = later.id
                """  # noqa: S608 - numbers
            )
            while page := rows.fetchmany(_PAGE):
                self._check()
                found |= {id: None if doc is None else unpack(doc) for id, doc in page}
        for id, doc in self._own.get(number, {}).items():
            found[id] = None if doc is None else unpack(doc)
        return found

    def _pages(self, number: int) -> Iterator[dict[bytes, Doc]]:
        """Yield all documents of a table as they are to be seen, some at a time."""
        own = self._own.get(number, {})
        written = {id: unpack(doc) for id, doc in own.items() if doc is not None}
        if written:
            yield written
        result: Any = self._cursor.sql(
            f"""
            SELECT h.id, h.doc FROM nbreactive.history h JOIN (
                SELECT id, max(ts) AS ts FROM nbreactive.history
                WHERE ts <= {self.at:d} AND table_number = {number:d} GROUP BY id) last USING (id, ts)
            WHERE h.table_number = {number:d} AND h.ts <= {self.at:d} AND NOT h.deleted
            """  # noqa: S608 - numbers
        ).to_arrow_table()
        for batch in result.to_batches(_PAGE):
            self._check()
            ids, docs = (column.to_pylist() for column in batch.columns)
            page = {id: unpack(doc) for id, doc in zip(ids, docs, strict=True) if id not in own}
            if page:
                yield page

    # ---- views -----------------------------------------------------------------------------------------------

    def _leave_out_later(self, layout: Layout, stored: Layout) -> None:
        """Show the first rows only: those of a table in columns are in the order of the commits that brought them."""
        named = f"SELECT doc FROM nbreactive.history WHERE table_number = {BATCHES:d} AND ts <= {self.at:d} ORDER BY ts DESC"  # noqa: S608
        batches = map(batch_of, map(unpack, self._column(named)))
        rows = next((batch.rows_before + batch.rows for batch in batches if batch.table == layout.number), 0)
        self._cursor.execute(
            f"CREATE TEMP VIEW {quote(layout.name)} AS SELECT * FROM {self._main(stored)} WHERE rowid < {rows:d}"  # noqa: S608
        )

    def _shadow(self, layout: Layout, stored: Layout) -> Layout:
        """Put the documents that differ in the place of those that are stored."""
        changed = self._changed(layout.number)
        if not changed:
            if stored.name != layout.name:
                self._cursor.execute(f"CREATE TEMP VIEW {quote(layout.name)} AS FROM {self._main(stored)}")
            return layout
        projection = project(stored, {id: doc for id, doc in changed.items() if doc is not None})
        columns = carried(stored, projection.layout)
        if columns is None:
            return self._make_anew(layout)
        main = self._main(stored)
        ids = [str(id) for id in projection.ids(changed).to_pylist()]
        places: list[int] = []
        for start in range(0, len(ids), _PAGE):
            wanted = ids[start : start + _PAGE]
            marks = ", ".join("?" * len(wanted))
            found = self._cursor.execute(f"SELECT rowid FROM {main} WHERE _id IN ({marks})", wanted)  # noqa: S608
            places += [place for (place,) in found.fetchall()]
        kept = f"SELECT {', '.join(columns)} FROM {main} {self._without(places)}"  # noqa: S608 - quoted
        if projection.count:
            rows = self._table(projection)
            kept += f" UNION ALL SELECT {', '.join(map(quote, projection.layout.types()))} FROM {rows}"  # noqa: S608
        self._cursor.execute(f"CREATE TEMP VIEW {quote(layout.name)} AS {kept}")
        return msgspec.structs.replace(projection.layout, name=layout.name)

    def _without(self, places: list[int]) -> str:
        if not places:
            return ""
        if len(places) <= _FEW:
            return "WHERE " + " AND ".join(f"rowid <> {place:d}" for place in places)
        import pyarrow as pa

        name = quote(f"nbreactive_places_{self._mark}")
        self._cursor.execute(f"CREATE TEMP TABLE {name} (place BIGINT)")
        self._insert(f"temp.{name}", pa.table({"place": pa.array(places, pa.int64())}))
        return f"WHERE rowid NOT IN (SELECT place FROM temp.{name})"  # noqa: S608 - our own text

    def _table(self, projection: Projection) -> str:
        """Make a temporary table of rows; return its name."""
        made = msgspec.structs.replace(projection.layout, name=f"nbreactive_rows_{self._mark}")
        self._cursor.execute(create_statement(made, "temp"))
        self._insert(f"temp.{quote(made.name)}", projection.batch())
        return f"temp.{quote(made.name)}"

    def _make_anew(self, layout: Layout) -> Layout:
        """Make the whole table of its documents."""
        number = layout.number
        pages = list(self._pages(number))
        layout = complete(layout, (found for docs in pages for found in survey(docs.values())))
        self._cursor.execute(create_statement(layout, "temp"))
        for docs in pages:
            self._check()
            projection = project(layout, docs)
            if projection.layout.rest and not layout.rest:
                layout = layout.with_rest()
                self._cursor.execute(f"ALTER TABLE temp.{quote(layout.name)} ADD COLUMN _rest JSON")
            self._insert(f"temp.{quote(layout.name)}", projection.batch())
        return layout

    def _insert(self, table: str, batch: Any) -> None:
        self._cursor.register("nbreactive_batch", batch)
        try:
            self._cursor.execute(f"INSERT INTO {table} BY NAME SELECT * FROM nbreactive_batch")  # noqa: S608
        finally:
            self._cursor.unregister("nbreactive_batch")

    def _main(self, stored: Layout) -> str:
        return f"{quote(self._database)}.main.{quote(stored.name)}"

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        return self._cursor.execute(query).fetchall()

    def _column(self, query: str) -> Iterator[Any]:
        rows = self._cursor.execute(query)
        while page := rows.fetchmany(_FEW):
            yield from (value for (value,) in page)


@lru_cache(1024)
def _layout(text: str) -> Layout:
    return msgspec.json.decode(text, type=Layout)
