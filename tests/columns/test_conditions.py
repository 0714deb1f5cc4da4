"""What a WHERE proves of the rows that can matter: a row that no condition lets through changes no result."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbreactive.columns.conditions import conditions
from nbreactive.columns.schema import Column, Layout, duck_type
from nbreactive.columns.statements import parse
from nbreactive.engine.sql_interests import Filter
from nbreactive.engine.transactions import Condition
from nbreactive.values.columns import BOOLEAN, INTEGER, JSON, NUMBER, STRING

T = Layout(100, "t", "t", (Column("n", "n", INTEGER), Column("x", "x", NUMBER), Column("s", "s", STRING),
                           Column("b", "b", BOOLEAN), Column("j", "j", JSON)))  # fmt: skip
U = Layout(101, "u", "u", (Column("n", "n", INTEGER), Column("name", "name", STRING)))
LAYOUTS = {"t": T, "u": U}
COLUMNS = {"t": ["n", "x", "s", "b", "j"], "u": ["n", "name"]}


def proven(connection: duckdb.DuckDBPyConnection, text: str, params: dict[str, Any]) -> dict[int, list[Condition]]:
    return conditions(parse(connection, text).tree, params, LAYOUTS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT * FROM t WHERE n = 1 AND s <> 'x' AND $a <= x", [("n", "=", [1]), ("x", ">=", [5])]),
        (
            "SELECT * FROM t WHERE n BETWEEN 1 AND $a AND b = true",
            [("n", ">=", [1]), ("n", "<=", [5]), ("b", "=", [True])],
        ),
        ("SELECT * FROM t WHERE s IN ('x', 'y') AND n IS NOT NULL", [("s", "in", ["x", "y"]), ("n", "not null", [])]),
        ("SELECT * FROM t AS q WHERE q.n > -1.5", [("n", ">", [-1.5])]),
        ("SELECT count(*) FROM t JOIN u ON t.n = u.n WHERE t.s = 'x'", [("s", "=", ["x"])]),
        ("SELECT * FROM (SELECT * FROM t WHERE n = 1) WHERE s = 'x'", [("n", "=", [1])]),
        ("WITH c AS (SELECT * FROM t WHERE n = 1) SELECT * FROM c", [("n", "=", [1])]),
        ("SELECT * FROM t WHERE n = 1 OR s = 'x'", None),
        ("SELECT * FROM t WHERE NOT n = 1", None),
        ("SELECT * FROM t WHERE n = x", None),
        ("SELECT * FROM t WHERE n = '1'", None),
        ("SELECT * FROM t WHERE j = 'x' AND n + 0 = 1", None),
        ("SELECT * FROM u LEFT JOIN t ON t.n = u.n WHERE t.s = 'x'", None),
        ("SELECT * FROM t a JOIN t b ON a.n = b.n WHERE a.s = 'x'", None),
        ("SELECT * FROM t WHERE n = 1 UNION ALL SELECT * FROM t", None),
        ("SELECT * FROM t TABLESAMPLE 50% WHERE n = 1", None),
        ("SELECT count(*) FILTER (WHERE n = 1) FROM t", None),
        ("SELECT * FROM t WHERE n IN (SELECT 1)", None),
        ("SELECT * FROM t WHERE s = 'x' COLLATE NOCASE", None),
    ],
)
def test_what_is_proven(text: str, expected: list[tuple[str, str, list[Any]]] | None) -> None:
    with duckdb.connect() as connection:
        params = {"a": 5} if "$a" in text else {}
        found = proven(connection, text, params).get(T.number)
    assert (None if found is None else [(one.field, one.op, list(one.values)) for one in found]) == expected


numbers = st.one_of(st.integers(-2, 3), st.sampled_from([0.5, 1.5]))
rows = st.fixed_dictionaries(
    {},
    optional={
        "n": st.integers(-2, 3),
        "x": st.one_of(numbers, st.sampled_from([float("nan"), float("inf")])),
        "s": st.sampled_from(["x", "y", "", "X"]),
        "b": st.booleans(),
    },
)
tests = st.one_of(
    st.builds("t.{} {} {}".format, st.sampled_from("nx"), st.sampled_from(["=", "<", "<=", ">", ">=", "<>"]), numbers),
    st.builds("{} {} t.{}".format, numbers, st.sampled_from(["=", "<", ">="]), st.sampled_from("nx")),
    st.builds("t.s {} '{}'".format, st.sampled_from(["=", "<", ">=", "<>", "LIKE"]), st.sampled_from(["x", "y", ""])),
    st.builds("t.n BETWEEN {} AND {}".format, st.integers(-1, 2), numbers),
    st.sampled_from(
        ["t.b = true", "t.b", "t.s IN ('x', '')", "t.n IN (1, 2)", "t.x IS NOT NULL", "t.n IS NULL", "t.n = t.x"]
    ),
)
wheres = st.lists(st.one_of(tests, st.builds("({} OR {})".format, tests, tests)), min_size=1, max_size=3).map(
    " AND ".join
)
sources = st.sampled_from(
    [
        "SELECT count(*), sum(t.n) FROM t WHERE {}",
        "SELECT t.* FROM t WHERE {} ORDER BY ALL",
        "SELECT count(*) FROM t JOIN u ON t.n = u.n WHERE {}",
        "SELECT count(*), count(t.s) FROM u LEFT JOIN t ON t.n = u.n WHERE {}",
        "SELECT count(*) FROM t LEFT JOIN u ON t.n = u.n WHERE {}",
        "SELECT name FROM u WHERE EXISTS (SELECT 1 FROM t WHERE t.n = u.n AND {}) ORDER BY ALL",
        "SELECT name FROM u WHERE NOT EXISTS (SELECT 1 FROM t WHERE {}) ORDER BY ALL",
        "SELECT max(c) FROM (SELECT t.s, count(*) AS c FROM t WHERE {} GROUP BY t.s)",
        "SELECT rank() OVER (ORDER BY t.x) FROM t WHERE {} ORDER BY ALL",
    ]
)


@given(sources, wheres, st.lists(rows, max_size=4), st.one_of(st.none(), rows), st.one_of(st.none(), rows))
@settings(max_examples=300, deadline=None)
def test_a_row_that_no_condition_lets_through_changes_nothing(
    source: str, where: str, others: list[dict[str, Any]], old: dict[str, Any] | None, new: dict[str, Any] | None
) -> None:
    text = source.format(where)
    with duckdb.connect() as connection:
        for layout in (T, U):
            columns = ", ".join(f"{column.name} {duck_type(column.kind)}" for column in layout.columns)
            connection.execute(f"CREATE TABLE {layout.name} ({columns})")
        connection.execute("INSERT INTO u VALUES (0, 'zero'), (1, 'one'), (NULL, 'none')")

        def result(row: dict[str, Any] | None) -> list[Any]:
            connection.execute("DELETE FROM t")
            for one in [*others, *([row] if row is not None else [])]:
                connection.execute("INSERT INTO t VALUES (?, ?, ?, ?, NULL)", [one.get(name) for name in "nxsb"])
            return [str(row) for row in connection.execute(text).fetchall()]

        known = proven(connection, text, {}).get(T.number, [])
        lets = Filter(known)
        if result(old) != result(new):
            assert any(row is not None and lets(row) for row in (old, new)), (text, known)
