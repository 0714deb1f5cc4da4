"""Tables that change, and what plain DuckDB says to the statements that follow them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import duckdb
import pyarrow as pa

from nbreactive.columns.live import Live, Scratch, TableChange


class Tables:
    """A DuckDB database whose tables are changed commit by commit."""

    def __init__(self, *statements: str) -> None:
        self.connection = duckdb.connect(config={"threads": "1"})
        self.connection.execute("SET GLOBAL TimeZone = 'UTC'")
        for statement in statements:
            self.connection.execute(statement)

    def commit(self, table: str, ids: list[str], *statements: str) -> dict[str, TableChange]:
        """Run statements that change rows with these ids only; return what became of them."""
        old = self.rows(table, ids)
        self.connection.execute("BEGIN")
        for statement in statements:
            self.connection.execute(statement)
        self.connection.execute("COMMIT")
        return {table: TableChange(old, self.rows(table, ids))}

    def put(self, table: str, ids: list[str], rows: pa.Table | None) -> dict[str, TableChange]:
        """Replace the rows with these ids by others, or by none."""
        old = self.rows(table, ids)
        self.connection.execute("BEGIN")
        self.connection.execute(f"DELETE FROM {table} WHERE _id IN (SELECT unnest($ids))", {"ids": ids})
        if rows is not None:
            self.connection.register("given", rows)
            self.connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM given")
            self.connection.unregister("given")
        self.connection.execute("COMMIT")
        return {table: TableChange(old, self.rows(table, ids))}

    def rows(self, table: str, ids: list[str]) -> pa.Table:
        text = f"SELECT * FROM {table} WHERE _id IN (SELECT unnest($ids))"
        return self.connection.sql(text, params={"ids": ids}).to_arrow_table()

    def cursor(self) -> duckdb.DuckDBPyConnection:
        return self.connection.cursor()

    def fresh(self, live: Live, params: Mapping[str, Any] | None = None) -> pa.Table:
        """What plain DuckDB says now."""
        given = {name: value for name, value in (params or {}).items() if re.search(rf"\${name}\b", live.canonical)}
        return self.connection.execute(live.canonical, given or None).to_arrow_table()


def plain(table: pa.Table) -> list[tuple[Any, ...]]:
    """Rows as tuples; names may occur twice."""
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True)) if table.num_columns else []


def assert_same(found: pa.Table, wanted: pa.Table, told: str, largest: float = 0.0) -> None:
    """Compare results: types, order, values; doubles to 1e-9, and what DuckDB's own rounding of large ones leaves."""
    assert [field.type for field in found.schema] == [field.type for field in wanted.schema], told
    ours, theirs = plain(found), plain(wanted)
    if len(ours) == len(theirs) and all(map(lambda a, b: _same(a, b, largest), ours, theirs)):
        return
    differing = [(a, b) for a, b in zip(ours, theirs, strict=False) if not _same(a, b, largest)][:3]
    raise AssertionError(
        f"{told}\n{len(ours)} rows instead of {len(theirs)}; (ours, DuckDB's) that differ: {differing}"
    )


def _same(one: Any, other: Any, largest: float) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        if math.isnan(one) or math.isnan(other):
            return math.isnan(one) and math.isnan(other)
        return one == other or math.isclose(one, other, rel_tol=1e-9, abs_tol=largest * 1e-13)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(_same(a, b, largest) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key], largest) for key in one)
    return bool(one == other)


__all__ = ["Live", "Scratch", "TableChange", "Tables", "assert_same", "plain"]
