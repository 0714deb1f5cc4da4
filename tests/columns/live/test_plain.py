"""Sort keys are DuckDB's bytes, and comparisons its answers."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbreactive.columns.live.evaluate import sort_key
from nbreactive.columns.live.plain import comparisons, passes, sort_key_of
from nbreactive.columns.live.tree import parse, rewrite

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "BIGINT": st.integers(-(2**63), 2**63 - 1),
    "HUGEINT": st.integers(-(10**38), 10**38),
    "INTEGER": st.integers(-(2**31), 2**31 - 1),
    "TINYINT": st.integers(-128, 127),
    "DOUBLE": st.floats() | st.sampled_from([0.0, -0.0, 5e-324, -5e-324, 1e17]),
    "VARCHAR": st.text(st.characters(codec="utf-8"), max_size=6),
    "BOOLEAN": st.booleans(),
}
VALUE_0 = {"BIGINT": 0, "DOUBLE": 0.0}
HOWS = [f"{way} NULLS {end}" for way in ("ASC", "DESC") for end in ("FIRST", "LAST")]


@pytest.fixture(scope="module")
def connection():
    with duckdb.connect() as connection:
        yield connection


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_sort_keys_are_duckdbs(connection: duckdb.DuckDBPyConnection, data: st.DataObject) -> None:
    types = data.draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=3))
    hows = [data.draw(st.sampled_from(HOWS)) for _ in types]
    values = [data.draw(st.none() | VALUES[type_]) for type_ in types]
    columns = [
        (f"CAST($v{number} AS {type_})", how) for number, (type_, how) in enumerate(zip(types, hows, strict=True))
    ]
    params = {f"v{number}": value for number, value in enumerate(values)}
    key = sort_key_of(types, hows)
    assert key is not None
    assert (key(values),) == connection.execute(f"SELECT {sort_key(columns)}", params).fetchone()


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_comparisons_are_duckdbs(connection: duckdb.DuckDBPyConnection, data: st.DataObject) -> None:
    type_ = data.draw(st.sampled_from(["BIGINT", "DOUBLE", "VARCHAR"]))
    compare = data.draw(st.sampled_from(["=", "<>", "<", "<=", ">", ">="]))
    number = st.decimals(-1000, 1000, places=2) | st.sampled_from(["100.25", "0.1"])
    literal = {
        "BIGINT": st.integers(-5, 5) | st.integers(-(10**14), 10**14),
        "DOUBLE": number | st.integers(-5, 5),
        "VARCHAR": st.sampled_from(["''", "'a'", "'zoë'", "'B'"]),
    }[type_]
    constant = data.draw(literal)
    near = st.just(None) if type_ == "VARCHAR" else st.just(float(float(constant)) if type_ == "DOUBLE" else constant)
    value = data.draw(
        near | VALUES[type_] | st.sampled_from(["a", "B", "zoë"] if type_ == "VARCHAR" else [VALUE_0[type_]])
    )
    where = parse(connection, f"SELECT 1 FROM t WHERE c {compare} {constant}")["where_clause"]
    named = rewrite(
        where, lambda node: {**node, "column_names": ["t", "c"]} if node.get("class") == "COLUMN_REF" else None
    )
    found = comparisons(named, {"c": type_}, {})
    assert found is not None
    (theirs,) = connection.execute(f"SELECT CAST($v AS {type_}) {compare} {constant}", {"v": value}).fetchone() or ()
    assert passes({"c": value}, found) is bool(theirs)


@pytest.mark.parametrize(
    "where", ["c + 1 = 2", "c = 1.5", "c = 12345678901234567890", "c = 'x'", "c IS NULL", "c = 1 OR c = 2"]
)
def test_other_conditions_are_left_to_duckdb(connection: duckdb.DuckDBPyConnection, where: str) -> None:
    node = parse(connection, f"SELECT 1 FROM t WHERE {where}")["where_clause"]
    named = rewrite(
        node, lambda node: {**node, "column_names": ["t", "c"]} if node.get("class") == "COLUMN_REF" else None
    )
    assert comparisons(named, {"c": "BIGINT"}, {}) is None
