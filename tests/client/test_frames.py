from __future__ import annotations

import builtins
import sys
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from nbreactive.client import frames
from nbreactive.errors import MissingPackage
from nbreactive.values import Int64

ROW = {
    "type": "object",
    "value": {
        "n": {"fieldType": {"type": "number", "nbreactive": "integer"}, "optional": True},
        "at": {"fieldType": {"type": "number", "nbreactive": "datetime"}, "optional": False},
        "text": {"fieldType": {"type": "string"}, "optional": False},
    },
}
ROWS = {"type": "array", "value": ROW}
TYPES = {"n": pa.int64(), "at": pa.timestamp("ms", "UTC"), "text": pa.string()}


def types(table: pa.Table) -> dict[str, pa.DataType]:
    return dict(zip(table.column_names, table.schema.types, strict=True))


@pytest.mark.parametrize(
    "validator",
    [
        ROW,
        ROWS,
        {"type": "union", "value": [ROWS, {"type": "null"}]},
        {"type": "object", "value": {"page": {"fieldType": ROWS}, "isDone": {"fieldType": {"type": "boolean"}}}},
    ],
)
def test_types_come_from_the_validator_even_without_rows(validator: dict[str, Any]) -> None:
    assert types(frames.to_arrow([], validator)) == TYPES
    assert types(frames.to_arrow(None, validator)) == TYPES
    table = frames.to_arrow([{"at": 1000, "text": "x"}, {"n": 2, "at": 1, "text": "y"}], validator)
    assert types(table) == TYPES
    assert table.to_pylist()[0] == {"n": None, "at": datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), "text": "x"}


def test_an_empty_result_has_its_columns() -> None:
    for columns in (["a", "b"], ("a", "b")):
        table = frames.to_arrow([], columns)
        assert table.column_names == ["a", "b"]
        assert list(frames.to_pandas([], columns).columns) == ["a", "b"]
        assert frames.to_polars([], columns).columns == ["a", "b"]
    assert frames.to_arrow([]).num_columns == 0


def test_rows_of_every_shape() -> None:
    assert frames.to_arrow({"a": 1}).to_pylist() == [{"a": 1}]
    assert frames.to_arrow({"page": [{"a": 1}], "isDone": True}).to_pylist() == [{"a": 1}]
    assert frames.to_arrow([1, 2.5]).to_pylist() == [{"value": 1.0}, {"value": 2.5}]
    assert frames.to_arrow(7).to_pylist() == [{"value": 7}]
    assert frames.to_arrow([{"a": 1}, 2]).to_pylist() == [{"value": '{"a":1}'}, {"value": "2"}]
    assert frames.to_arrow([None, None]).num_rows == 2


def test_the_time_of_creation_is_a_moment() -> None:
    rows = [{"_creationTime": 1793491200000.25}, {"_creationTime": 1793491200001}, {"_creationTime": None}]
    said = {"type": "object", "value": {"_creationTime": {"fieldType": {"type": "number"}, "optional": False}}}
    for columns in (None, ["_creationTime"], said):
        table = frames.to_arrow(rows, columns)
        assert types(table) == {"_creationTime": pa.timestamp("us", "UTC")}
        assert table["_creationTime"].to_pylist()[0] == datetime(2026, 11, 1, 0, 0, 0, 250, UTC)
        assert str(frames.to_pandas(rows, columns)["_creationTime"].dtype) == "datetime64[us, UTC]"
    assert frames.to_arrow([{"_creationTime": "soon"}]).to_pylist() == [{"_creationTime": "soon"}]
    sink = pa.BufferOutputStream()
    whole = pa.table({"_id": ["x"], "_creationTime": [1793491200000.25]})
    with pa.ipc.new_stream(sink, whole.schema) as writer:
        writer.write_table(whole)
    assert types(frames.from_ipc(sink.getvalue().to_pybytes()))["_creationTime"] == pa.timestamp("us", "UTC")


def test_columns_are_in_a_sensible_order() -> None:
    rows = [{"_creationTime": 1.0, "_id": "x", "b": 1, "a": 2, "c": 3}]
    assert frames.to_arrow(rows).column_names == ["_id", "_creationTime", "b", "a", "c"]
    assert frames.to_arrow(rows, ["a", "b"]).column_names == ["_id", "_creationTime", "a", "b", "c"]


def test_values_keep_their_types() -> None:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    rows = [
        {"i": 1, "big": Int64(2**62), "b": b"\0", "o": {"x": 1}, "xs": [1], "mixed": 1, "at": moment, "ok": True},
        {"i": None, "big": 3, "b": None, "o": {"y": "s"}, "xs": [2.5], "mixed": "one", "at": None, "ok": None},
    ]
    table = frames.to_arrow(rows)
    assert types(table) == {
        "i": pa.int64(),
        "big": pa.int64(),
        "b": pa.binary(),
        "o": pa.struct([("x", pa.int64()), ("y", pa.string())]),
        "xs": pa.list_(pa.float64()),
        "mixed": pa.string(),
        "at": pa.timestamp("ms", "UTC"),
        "ok": pa.bool_(),
    }
    assert table.column("mixed").to_pylist() == ["1", '"one"']
    frame = frames.to_pandas(rows)
    assert frame["i"].dtype == "Int64"
    assert frame["ok"].dtype == "boolean"
    assert frame["big"].tolist() == [2**62, 3]
    assert str(frame["at"].dtype) == "datetime64[ms, UTC]"
    assert frames.to_polars(rows)["i"].to_list() == [1, None]


def test_values_decide_where_the_validator_does_not_hold() -> None:
    table = frames.to_arrow([{"n": "text", "at": float("nan"), "text": 5}], ROWS)
    assert table.to_pylist()[0]["n"] == "text"
    assert table.to_pylist()[0]["text"] == 5


def test_an_empty_object_is_not_null() -> None:
    assert frames.to_arrow([{"o": {}}, {"o": {"x": None}}, {"o": None}]).num_rows == 3


def test_streams_are_read_by_others() -> None:
    class Result:
        def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
            return frames.to_stream([{"a": 1}, {"a": 2}], None, requested_schema)

    assert pa.table(Result()).to_pylist() == [{"a": 1}, {"a": 2}]
    assert pl.DataFrame(Result())["a"].to_list() == [1, 2]
    assert pd.DataFrame.from_arrow(Result())["a"].tolist() == [1, 2]


def test_a_table_comes_back_from_ipc() -> None:
    table = pa.table({"a": [1, None]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    assert frames.from_ipc(sink.getvalue().to_pybytes()) == table


@pytest.mark.parametrize("name", ["pandas", "polars"])
def test_a_missing_package_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    convert = frames.to_pandas if name == "pandas" else frames.to_polars
    with pytest.raises(MissingPackage, match=rf"nbreactive\[{name}\]"):
        convert([{"a": 1}])
    assert issubclass(MissingPackage, builtins.ImportError)
