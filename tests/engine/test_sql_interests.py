from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nbreactive.engine.recent_documents import Changed, RecentDocuments
from nbreactive.engine.sql_interests import SqlJudge, holds
from nbreactive.engine.transactions import Condition, SqlInterest
from nbreactive.values import pack
from nbreactive.values.ids import encode_id

TABLE = 10_001
INDEX = TABLE << 16
OPS = ("=", "<", "<=", ">", ">=")


class Table:
    """One table, its judge, and commits to it."""

    def __init__(self, max_bytes: int = 1 << 20) -> None:
        self.state: Any = SimpleNamespace(documents=RecentDocuments(max_bytes), applied=100)
        self.judge: SqlJudge[str] = SqlJudge(self.state, INDEX)
        self.interests: dict[str, SqlInterest] = {}

    def add(self, owner: str, *conditions: Condition) -> None:
        self.interests[owner] = SqlInterest(INDEX, conditions)
        self.judge.add(self.interests[owner], owner)

    def remove(self, owner: str) -> None:
        self.judge.remove(self.interests.pop(owner), owner)

    def commit(self, *changes: tuple[Any, Any], table: int = TABLE) -> set[str]:
        """Change documents, each from one content to another; return whom that concerns."""
        self.state.applied += 1
        ts = self.state.applied
        ids = [number.to_bytes(16, "big") for number in range(len(changes))]
        self.state.documents.add(
            [
                Changed(ts, table, id, *(None if doc is None else pack(doc) for doc in change))
                for id, change in zip(ids, changes, strict=True)
            ]
        )
        return set(self.judge.concerned(ts, ids))


def equals(field: str, *values: Any) -> Condition:
    return Condition(field, "=" if len(values) == 1 else "in", values)


def test_a_commit_concerns_those_whose_conditions_the_old_or_the_new_document_fulfils() -> None:
    table = Table()
    table.add("red", equals("color", "red"))
    table.add("warm", equals("color", "red", "orange"), Condition("size", ">", [3]))
    table.add("large", Condition("size", ">=", [10]))
    table.add("coloured", Condition("color", "not null"))
    table.add("all")
    assert table.commit((None, {"color": "red", "size": 1})) == {"red", "coloured", "all"}
    assert table.commit(({"color": "red", "size": 5}, {"color": "blue", "size": 5})) == {
        "red",
        "warm",
        "coloured",
        "all",
    }
    assert table.commit(({"size": 12}, None)) == {"large", "all"}
    assert table.commit((None, {}), (None, {"color": "orange", "size": 4})) == {"warm", "coloured", "all"}
    assert table.commit((None, {"color": None})) == {"all"}


def test_who_has_left_is_not_told_and_nothing_is_kept_for_nobody() -> None:
    table = Table()
    table.add("red", equals("color", "red"))
    table.add("again", equals("color", "red", "blue"))
    table.add("big", Condition("size", ">", [3]))
    table.remove("red")
    assert table.commit((None, {"color": "red", "size": 9})) == {"again", "big"}
    table.remove("again")
    table.remove("big")
    assert len(table.judge) == 0
    assert not table.state.documents.tables
    assert table.commit((None, {"color": "red"})) == set()


def test_a_document_is_found_by_its_id() -> None:
    table = Table()
    table.add("first", equals("_id", encode_id(TABLE, bytes(16))))
    table.add("other", equals("_id", encode_id(TABLE, b"\xff" * 16)))
    assert table.commit((None, {})) == {"first"}


def test_a_value_of_another_type_may_be_cast() -> None:
    table = Table()
    table.add("text", equals("n", "5"))
    table.add("number", equals("n", 5))
    table.add("yes", equals("n", True))
    table.add("later", Condition("n", ">", ["2026-01-01"]))
    assert table.commit((None, {"n": 7})) == {"text", "yes", "later"}
    assert table.commit((None, {"n": "5"})) == {"text", "number", "yes", "later"}
    assert table.commit((None, {"n": False})) == {"text", "number", "later"}
    assert table.commit((None, {"n": [1]})) == {"text", "number", "yes", "later"}


def test_what_is_not_known_concerns_everybody() -> None:
    table = Table(max_bytes=2000)
    table.add("red", equals("color", "red"))
    # Written while nobody kept it: the number of keys tells
    assert set(table.judge.concerned(table.state.applied + 1, [bytes(16)])) == {"red"}
    # So much that its older half is forgotten
    assert table.commit(*((None, {"color": "blue"}) for _ in range(40))) == {"red"}


def test_what_one_statement_has_missed() -> None:
    table = Table()
    red = SqlInterest(INDEX, [equals("color", "red")])
    assert table.judge.untouched(red, 100, 101) is None  # nothing is kept
    table.add("somebody", equals("color", "green"))
    before = table.state.applied
    table.commit((None, {"color": "blue"}))
    table.commit((None, {"color": "red"}))
    now = table.state.applied
    assert table.judge.untouched(red, before, now - 1) is True
    assert table.judge.untouched(red, before, now) is False
    assert table.judge.untouched(red, now, now) is True
    assert table.judge.untouched(red, before - 1, now) is None
    table.state.documents.rewind(now - 1)
    assert table.judge.untouched(red, before, now) is True
    table.state.documents.trim(now - 1)
    assert table.judge.untouched(red, before, now) is None
    assert table.judge.untouched(red, now - 1, now) is True


def test_very_many_changes_are_not_judged_one_by_one() -> None:
    table = Table(max_bytes=1 << 26)
    for number in range(30):
        table.add(f"above {number}", Condition("n", ">", [number + 1000]))
    table.add("red", equals("color", "red"))
    told = table.commit(*((None, {"n": 0}) for _ in range(1000)))
    assert told == {f"above {number}" for number in range(30)}


numbers = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([2**53, 2**53 + 1, -(2**53) - 1, 0.0, -0.0, 1e17]),
)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)


@given(
    st.sampled_from(OPS),
    st.one_of(st.tuples(numbers, numbers), st.tuples(texts, texts), st.tuples(st.booleans(), st.booleans())),
)
@example("=", (2**53 + 1, float(2**53)))
@example(">", (2**53 + 1, float(2**53)))
@example(">", (math.nan, 1.0))
def test_whatever_duckdb_lets_through_is_let_through(op: str, pair: tuple[Any, Any]) -> None:
    value, constant = pair
    with duckdb.connect() as connection:
        row = connection.execute(f"SELECT $value {op} $constant", {"value": value, "constant": constant}).fetchone()
    assert row is not None
    judged = holds(Condition("field", op, [constant]))(value)  # type: ignore[arg-type]
    assert judged or not row[0]


@pytest.mark.parametrize(
    ("op", "value", "constant"),
    [("=", 4, 5), ("<", 6, 5), (">", 4.5, 5), ("<=", "b", "a"), (">=", "a", "b"), ("=", "a", "b"), ("=", True, False)],
)
def test_what_cannot_matter_is_kept_out(op: str, value: Any, constant: Any) -> None:
    assert not holds(Condition("field", op, [constant]))(value)  # type: ignore[arg-type]
