from __future__ import annotations

import math
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbreactive.values import decode_json
from nbreactive.values.frames import cells, decode, objects, unique, window_json


@pytest.fixture
def connection() -> duckdb.DuckDBPyConnection:
    made = duckdb.connect(":memory:")
    made.execute("SET TimeZone = 'UTC'")
    return made


def run(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[pa.Table, list[tuple[str, str]]]:
    result = connection.execute(query)
    types = [(column[0], str(column[1])) for column in result.description]
    reader: Any = result.to_arrow_reader(100)
    return reader.read_all(), types


CELLS: list[tuple[str, Any]] = [
    ("1::TINYINT", 1),
    ("9007199254740992::BIGINT", 2**53),
    ("9007199254740993::BIGINT", "9007199254740993"),
    ("18446744073709551615::UBIGINT", "18446744073709551615"),
    ("sum(1)", 1),
    ("170141183460469231731687303715884105727::HUGEINT", "170141183460469231731687303715884105727"),
    ("340282366920938463463374607431768211455::UHUGEINT", "340282366920938463463374607431768211455"),
    ("5::UHUGEINT", 5),
    ("1.50::DECIMAL(10,2)", "1.50"),
    ("-0.001::DECIMAL(10,3)", "-0.001"),
    ("1.5::FLOAT", 1.5),
    ("'inf'::DOUBLE", math.inf),
    ("true", True),
    ("NULL", None),
    ("'text'", "text"),
    ("'ab'::BLOB", b"ab"),
    ("DATE '2020-01-02'", "2020-01-02"),
    ("DATE '12000-01-01'", "12000-01-01"),
    ("DATE 'infinity'", "infinity"),
    ("DATE '-infinity'", "-infinity"),
    ("TIME '10:11:12.5'", "10:11:12.500000"),
    ("TIME '24:00:00'", "24:00:00"),
    ("TIMESTAMP '2020-01-01'", 1577836800000),
    ("TIMESTAMP '2020-01-01 00:00:00.0005'", 1577836800000.5),
    ("TIMESTAMPTZ '2020-01-01 02:00:00+02'", 1577836800000),
    ("TIMESTAMP_NS '2020-01-01'", 1577836800000),
    ("TIMESTAMP_S '2020-01-01'", 1577836800000),
    ("TIMESTAMP 'infinity'", math.inf),
    ("TIMESTAMP '-infinity'", -math.inf),
    ("INTERVAL '1 year 2 months -3 days 3.5 seconds'", "1 year 2 months -3 days 00:00:03.500000"),
    ("INTERVAL 0 DAY", "00:00:00"),
    ("'6f1b2d0e-0000-4000-8000-000000000000'::UUID", "6f1b2d0e-0000-4000-8000-000000000000"),
    ("'b'::ENUM('a', 'b')", "b"),
    ("[1, NULL, 3]", [1, None, 3]),
    ("[[1.5::DECIMAL(5,1)], [], NULL]", [["1.5"], [], None]),
    ("[1, 2, 3]::INTEGER[3]", [1, 2, 3]),
    ("{'a': 1, 'b': [{'at': TIMESTAMP '1970-01-01'}]}", {"a": 1, "b": [{"at": 0}]}),
    ("{'$integer': 1}", {"_$integer": 1}),
    ("row(1, 'x')", {"element1": 1, "element2": "x"}),
    ("MAP {'x': 1}", [{"key": "x", "value": 1}]),
    ("MAP {1: 2}", [{"key": 1, "value": 2}]),
    ("union_value(k := 1)", 1),
    ("""'{"a": [1, {"$integer": "AQAAAAAAAAA="}]}'::JSON""", {"a": [1, 1]}),
    ("""'{"a": 1, "a": 2}'::JSON""", '{"a": 1, "a": 2}'),
]


@pytest.mark.parametrize(("expression", "expected"), CELLS)
def test_cells(connection: duckdb.DuckDBPyConnection, expression: str, expected: Any) -> None:
    table, types = run(connection, f"SELECT {expression} AS cell UNION ALL SELECT NULL")
    found = cells(table.column(0), types[0][1])
    assert sorted(found, key=lambda cell: cell is None) == [expected, None]
    assert type(found[found.index(expected)]) is type(expected) or isinstance(expected, int)
    value = decode_json(window_json(table, types, total=2))
    assert value["columns"] == [{"name": "cell", "type": types[0][1]}]
    assert [row[0] for row in value["rows"]] == found
    assert (value["total"], value["offset"], value["complete"]) == (2, 0, True)


@pytest.mark.parametrize(("expression", "expected"), CELLS)
def test_cells_become_the_same_columns_again(
    connection: duckdb.DuckDBPyConnection, expression: str, expected: Any
) -> None:
    table, types = run(connection, f"SELECT {expression} AS cell UNION ALL SELECT NULL")
    rows = [list(row.values()) for row in objects(table, types)]
    again = decode(types, rows)
    if (
        types[0][1].startswith(("INTERVAL", "UUID", "ENUM", "MAP", "UNION", "JSON", "TUPLE"))
        or len(str(expected)) == 39
    ):
        assert again.schema.types == [pa.string()]
    else:
        assert [list(row.values()) for row in objects(again, types)] == rows
        simple = "[" not in types[0][1] and "(" not in types[0][1]
        assert not simple or again.schema.types == table.schema.types


def test_a_column_without_rows_has_its_type() -> None:
    made = decode([("a", "BIGINT"), ("b", "VARCHAR[]")], [])
    assert made.schema.types == [pa.int64(), pa.list_(pa.string())]


def test_names_are_unique(connection: duckdb.DuckDBPyConnection) -> None:
    table, types = run(connection, "SELECT 1 AS a, 2 AS a, 3 AS A_1")
    assert objects(table, types) == [{"a": 1, "a_1": 2, "A_1_1": 3}]
    assert unique([]) == []


def test_windows(connection: duckdb.DuckDBPyConnection) -> None:
    table, types = run(connection, "SELECT i FROM range(3) r(i)")
    value = decode_json(window_json(table.slice(1, 1), types, total=3, offset=1))
    assert (value["rows"], value["offset"], value["complete"]) == ([[1]], 1, False)


@given(st.lists(st.one_of(st.none(), st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))))))
def test_lists_of_any_shape(values: list[list[int | None] | None]) -> None:
    array = pa.array(values, pa.list_(pa.int64()))
    found = cells(array)
    again = [None if cell is None else [None if item is None else int(item) for item in cell] for cell in found]
    assert again == values
    assert cells(array.slice(1)) == found[1:]


@given(st.lists(st.one_of(st.none(), st.dictionaries(st.sampled_from("ab"), st.floats(allow_nan=False)))))
def test_structs_of_any_shape(values: list[dict[str, float] | None]) -> None:
    array = pa.array(values, pa.struct([("a", pa.float64()), ("b", pa.float64())]))
    expected = [None if value is None else {"a": value.get("a"), "b": value.get("b")} for value in values]
    assert cells(array) == expected
    assert cells(array.slice(1)) == expected[1:]
