"""What a page is told of a table: all of it once, then what has changed."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from nbreactive.notebook.table_rows import TableRows, wire_cell


class Page:
    """What a page makes of what it is told."""

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self.version = 0
        self.wholes = 0

    def hear(self, whole: dict[str, Any] | None, change: dict[str, Any] | None) -> None:
        assert (whole is None) != (change is None)
        if whole is not None:
            self.rows, self.version = whole["rows"], whole["version"]
            self.wholes += 1
        else:
            assert change is not None and change["version"] == self.version + 1
            sent = json.loads(json.dumps(change))
            self.version = sent["version"]
            self.rows = [row for at, count, new in sent["runs"] for row in (*self.rows[at : at + count], *new)]


def take(rows: TableRows, value: Any, limit: int = 1000) -> tuple[Any, Any]:
    return rows.take(value, None, limit, None, None)


_documents = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 3)), unique_by=lambda pair: pair[0], max_size=30
).map(lambda pairs: [{"_id": f"id{n}", "n": value} for n, value in pairs])


@given(st.lists(_documents, min_size=1, max_size=8))
def test_a_page_that_hears_of_changes_has_the_rows(values: list[list[dict[str, Any]]]) -> None:
    rows, page = TableRows(), Page()
    for value in values:
        page.hear(*take(rows, value))
        assert page.rows == [[document["n"], document["_id"]] for document in value]
        assert rows.table["rows"] == page.rows and rows.table["version"] == page.version


def test_of_many_rows_the_changed_one_is_told() -> None:
    value = [{"_id": f"id{n}", "n": n} for n in range(10_000)]
    rows = TableRows()
    take(rows, value, 100_000)
    changed = [*value]
    changed[5000] = {"_id": "id5000", "n": -1}
    _, change = take(rows, changed, 100_000)
    assert change["runs"] == [[0, 5000, [[-1, "id5000"]]], [5001, 4999, []]]
    _, change = take(rows, [{"_id": "new", "n": 1}, *changed[:-1]], 100_000)
    assert change["runs"] == [[0, 0, [[1, "new"]]], [0, 9999, []]]
    assert len(rows.table["rows"]) == 10_000


def test_other_columns_are_told_anew() -> None:
    rows = TableRows()
    take(rows, [{"_id": "a"}, {"_id": "b"}, {"_id": "c"}])
    whole, _ = take(rows, [{"_id": "a"}, {"_id": "b"}, {"_id": "c", "n": 1}])
    assert whole["columns"] == ["n", "_id"] and whole["rows"][0] == [None, "a"]
    whole, change = take(rows, 5)
    assert (whole["rows"], change) == ([[5]], None)


def test_columns_say_what_they_are() -> None:
    at = 1_795_000_000_000
    field = {"fieldType": {"type": "number", "nbreactive": "integer"}, "optional": True}
    declared = {"type": "array", "value": {"type": "object", "value": {"likes": field}}}
    value = [{"_id": "a", "_creationTime": at + 0.5, "due_at": at, "likes": 1, "body": "x"}]
    table, _ = TableRows().take(value, None, 10, None, declared)
    assert dict(zip(table["columns"], table["kinds"], strict=True)) == {
        "_id": "id", "_creationTime": "datetime", "due_at": "datetime", "likes": "integer", "body": "",
    }  # fmt: skip
    assert table["rows"][0][table["columns"].index("due_at")] == at


def test_cells_are_values_as_on_the_wire_and_never_large() -> None:
    assert [wire_cell(x) for x in (None, True, 1, 1.5, "\x1b[31m\u202e", [1, {"a": None}])] == [
        None, True, 1, 1.5, "\x1b[31m\u202e", [1, {"a": None}],
    ]  # fmt: skip
    assert wire_cell(float("nan")).keys() == {"$float"}
    for large in ("x" * 1_000_000, ["y" * 1_000_000], "\ud800lone", b"z" * 1_000_000, object()):
        cell = wire_cell(large)
        assert len(json.dumps(cell)) < 1000 and "$cut" in cell
        json.dumps(cell, ensure_ascii=False).encode()
