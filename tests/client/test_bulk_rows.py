"""Rows of all kinds of frames as documents."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from nbreactive.client.bulk_rows import CHUNK_BYTES, chunks, document_of, rows_of
from nbreactive.errors import ArgumentError, InvalidValue


@pytest.mark.parametrize(
    "data",
    [
        pd.DataFrame({"n": [1, 2], "s": ["a", None]}),
        pl.DataFrame({"n": [1, 2], "s": ["a", None]}),
        pa.table({"n": [1, 2], "s": ["a", None]}),
        [{"n": 1, "s": "a"}, {"n": 2, "s": None}],
        {"n": [1, 2], "s": ["a", None]},
        {"n": np.array([1, 2]), "s": np.array(["a", None])},
    ],
)
def test_frames_of_all_kinds_give_the_same_documents(data: Any) -> None:
    total, rows = rows_of(data)
    assert total == 2
    assert [document_of(row, at) for at, row in enumerate(rows)] == [{"n": 1, "s": "a"}, {"n": 2, "s": None}]


def test_values_of_frames() -> None:
    moment = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
    row = {
        "nat": pd.NaT, "na": pd.NA, "nan": float("nan"), "t": pd.Timestamp(moment), "m": moment, "d": dt.date(2026, 1, 2),
        "x": Decimal("1.5"), "f": np.float32(0.5), "i": np.int64(3), "l": np.array([1, 2]), "nested": {"a": [np.nan]},
    }  # fmt: skip
    assert document_of(row, 0) == {
        "nat": None, "na": None, "nan": None, "t": 1793491200000, "m": 1793491200000, "d": "2026-01-02",
        "x": 1.5, "f": 0.5, "i": 3, "l": [1, 2], "nested": {"a": [None]},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"a b": 1}, r"row 7: 'a b' cannot be the name of a field .*df\.rename\(columns=\{'a b': 'a_b'\}\)"),
        ({"t": pd.Timestamp("2026-01-01")}, r"row 7\.t: a moment without a time zone: .*tz_localize"),
        ({"o": object()}, r"row 7\.o: "),
        ({"n": {"x": [2**60]}}, r"row 7\.n\.x\[0\]: "),
        ({"_id": "k1"}, r"row 7: '_id' cannot be loaded.*df\.drop\(columns="),
        ({"_creationTime": 1.0}, r"row 7: '_creationTime' cannot be loaded"),
    ],
)
def test_what_cannot_be_stored_names_the_row_and_the_fix(row: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidValue, match=said):
        document_of(row, 7)


def test_what_has_no_rows_says_so() -> None:
    for data in (5, "text", {"a": [1], "b": [1, 2]}):
        with pytest.raises(ArgumentError):
            rows_of(data)
    with pytest.raises(ArgumentError, match="row 3 is a int"):
        document_of(5, 3)


def test_chunks_are_bounded_in_rows_and_bytes() -> None:
    assert [len(chunk) for chunk in chunks(iter([{"n": n} for n in range(25)]), 10)] == [10, 10, 5]
    large = [{"s": "x" * (CHUNK_BYTES // 2)}] * 3
    assert [len(chunk) for chunk in chunks(iter(large), 10)] == [1, 1, 1]
    assert list(chunks(iter([]), 10)) == []


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (pd.DataFrame([[1, 2, 3]], columns=["a", "b", "a"]), "A column called 'a' is there more than once"),
        (
            pd.DataFrame([[1, 2, 3, 4]], columns=["a", "b", "a", "b"]),
            "Columns called 'a', 'b' are there more than once",
        ),
        (pa.table([[1], [2]], names=["a", "a"]), "A column called 'a' is there more than once"),
        (pd.DataFrame({"a": [1]}, index=pd.Index([5], name="a")), "A column called 'a' is there more than once"),
        (pd.DataFrame({"a": [1]}, index=["x"]), r"no name: .*df\.rename_axis.*df\.reset_index\(drop=True\)"),
        (pd.DataFrame({"a": [1]}, index=pd.MultiIndex.from_tuples([(1, 2)])), r"df\.rename_axis"),
        (pd.Series([1, 2]), r"series\.to_frame\('name'\)"),
        (pl.Series([1, 2]), r"series\.to_frame\('name'\)"),
        (pa.chunked_array([[1, 2]]), "ChunkedArray"),
    ],
)
def test_columns_that_would_be_lost_are_refused(data: Any, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        rows_of(data)


def test_a_named_index_becomes_columns() -> None:
    frame = pd.DataFrame({"n": [1, 2]}, index=pd.Index(["x", "y"], name="key"))
    assert list(rows_of(frame)[1]) == [{"key": "x", "n": 1}, {"key": "y", "n": 2}]
    counted = pd.DataFrame({"a": [1, 1, 2], "b": ["x", "x", "y"]}).groupby(["a", "b"]).agg(n=("a", "size"))
    assert list(rows_of(counted)[1]) == [{"a": 1, "b": "x", "n": 2}, {"a": 2, "b": "y", "n": 1}]
    filtered = pd.DataFrame({"n": [1, 2, 3]}).query("n > 1")  # its index numbers rows, with holes
    assert list(rows_of(filtered)[1]) == [{"n": 2}, {"n": 3}]
