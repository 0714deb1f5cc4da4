"""Scalar expressions over a few rows, evaluated by DuckDB itself: its NULLs, casts, overflows, dates.

They run in a small database in memory, beside the one with the tables: nothing waits for anything there, and a statement
that is bound again and again takes some tenths of a millisecond. Where expressions are over a join, they run where the
tables are. Rows come through one Arrow stream, registered once.
"""

# pyarrow and duckdb have no stubs, or partial ones: what comes out of them is unknown to the checker
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import duckdb
import pyarrow as pa

from nbreactive.columns.schema import quote

CHANGED = "__changed"
"""What the changed rows are called in FROM."""
_ROWS = "__rows"
_BATCH = 1 << 20

warnings.filterwarnings("ignore", "Arrow output on a DB-API result", UserWarning)  # see _read_few


class Scratch:
    """A database in memory for expressions; one serves all statements.

    Parameters
    ----------
    memory_limit
        As DuckDB writes it.
    """

    def __init__(self, memory_limit: str = "256MB") -> None:
        self._connection = duckdb.connect(config={"threads": "1", "memory_limit": memory_limit})
        for setting in (
            "GLOBAL TimeZone = 'UTC'",
            "autoinstall_known_extensions = false",
            "autoload_known_extensions = false",
            "python_enable_replacements = false",
            "enable_external_access = false",
        ):
            self._connection.execute(f"SET {setting}")

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a connection for one statement."""
        cursor = self._connection.cursor()
        cursor.execute("PRAGMA disable_optimizer")  # a few rows: planning is all that it costs
        return cursor

    @cached_property
    def aggregates(self) -> frozenset[str]:
        """The names of DuckDB's aggregate functions."""
        text = "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'aggregate'"
        return frozenset(name for (name,) in self._connection.cursor().execute(text).fetchall())

    def close(self) -> None:
        """Close the database."""
        self._connection.close()


class _Stream:
    """What DuckDB scans: whatever rows there are at that moment."""

    def __init__(self) -> None:
        self.rows: pa.Table = pa.table({})

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.rows.__arrow_c_stream__(requested_schema)


class Evaluator:
    """One SELECT over given rows.

    Parameters
    ----------
    cursor
        Where it runs; None if that is told with each run.
    columns
        The columns that it uses of the given rows, and their DuckDB types.
    select
        The statement; the given rows are ``__changed`` in it.
    params
        Values of the parameters that are in it.
    """

    def __init__(
        self, cursor: duckdb.DuckDBPyConnection | None, columns: Mapping[str, str], select: str, params: dict[str, Any]
    ) -> None:
        self.columns = list(columns)
        typed = ", ".join(f"CAST({quote(name)} AS {type_}) AS {quote(name)}" for name, type_ in columns.items())
        self._text = f"WITH {CHANGED} AS (SELECT {typed} FROM {_ROWS}) {select}"  # noqa: S608 - quoted; a checked statement's
        self._cursor = cursor
        self._params = params
        self._stream = _Stream()
        self._schema: pa.Schema | None = None
        self._statement: Any = None

    def run(self, rows: pa.Table, cursor: duckdb.DuckDBPyConnection | None = None) -> pa.Table:
        """Return the result for ``rows``, which have the columns."""
        if cursor is not None:
            cursor.register(_ROWS, rows)
            try:
                return read(cursor, self._text, self._params)
            finally:
                cursor.unregister(_ROWS)
        assert self._cursor is not None
        self._stream.rows = rows
        if rows.schema != self._schema:
            self._cursor.register(_ROWS, self._stream)
            self._statement = self._cursor.extract_statements(self._text)[0]
            self._schema = rows.schema
        return _read_few(self._cursor, self._statement, self._params)

    def interrupt(self) -> None:
        """End what is being evaluated."""
        if self._cursor is not None:
            self._cursor.interrupt()

    def close(self) -> None:
        """Give the connection back."""
        if self._cursor is not None:
            with contextlib.suppress(duckdb.Error):
                self._cursor.close()


def read(cursor: duckdb.DuckDBPyConnection, text: str, params: Mapping[str, Any]) -> pa.Table:
    """Run a statement and return all of its result."""
    return cursor.sql(text, params=dict(params) or None).to_arrow_table(_BATCH)


def _read_few(cursor: duckdb.DuckDBPyConnection, statement: Any, params: Mapping[str, Any]) -> pa.Table:
    """Run a statement that has few rows: this way it is bound once; that the rows are copied costs nothing."""
    return (cursor.execute(statement, params) if params else cursor.execute(statement)).to_arrow_table()


def pick(params: Mapping[str, Any], wanted: frozenset[str]) -> dict[str, Any]:
    """Return the parameters that a statement has: DuckDB refuses others."""
    return {name: value for name, value in params.items() if name.casefold() in wanted}


def sort_key(expressions: Sequence[tuple[str, str]]) -> str:
    """Return the expression of a BLOB whose bytes are in the order of ORDER BY ``expressions``.

    The constant at its end keeps DuckDB from making an integer of short keys.
    """
    parts = [f"{text}, '{how}'" for text, how in expressions]
    return f"create_sort_key({', '.join([*parts, repr(''), repr('ASC NULLS LAST')])})"
