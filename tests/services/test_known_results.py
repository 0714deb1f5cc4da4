"""What is sent along with a question about a result that the columns process has: what has changed, and may matter."""

from __future__ import annotations

from typing import Any

from nbreactive.engine.catalog import Catalog, table_document
from nbreactive.engine.recent_documents import Changed, RecentDocuments
from nbreactive.engine.transactions import Condition
from nbreactive.services.known_results import MOST_CHANGES, KnownResult
from nbreactive.values import pack

ORDERS = 10_001
RED = Condition("color", "=", ["red"])


def catalog(*names: str) -> Catalog:
    documents = [
        (bytes([place]) * 16, pack(table_document(name, ORDERS + place, 0.0))) for place, name in enumerate(names)
    ]
    return Catalog().changed(documents)


class House:
    """A result at 100, and commits after it."""

    def __init__(self, *conditions: Condition) -> None:
        self.documents = RecentDocuments()
        self.catalog = catalog("orders", "others")
        self.known = KnownResult(self.documents)
        self.known.name([("orders", conditions)], self.catalog, 100)
        self.known.at = 100

    def commit(self, ts: int, id: int, old: Any, new: Any) -> None:
        packed = [None if doc is None else pack(doc) for doc in (old, new)]
        self.documents.add([Changed(ts, ORDERS, bytes([id]) * 16, *packed)])

    def changes(self, upto: int) -> list[tuple[int, Any, Any]] | None:
        found = self.known.changes(upto, self.catalog)
        return found and [(row.id[0], row.old, row.new) for change in found for row in change.rows]


def test_each_document_is_sent_once_as_it_was_and_as_it_is() -> None:
    house = House()
    house.commit(101, 1, None, {"n": 1})
    house.commit(102, 1, {"n": 1}, {"n": 2})
    house.commit(103, 2, {"n": 5}, None)
    house.commit(104, 3, None, {"n": 1})
    house.commit(105, 3, {"n": 1}, None)
    assert house.changes(105) == [(1, None, pack({"n": 2})), (2, pack({"n": 5}), None)]
    assert house.changes(101) == [(1, None, pack({"n": 1}))]
    assert house.changes(100) == []
    assert house.changes(99) is None


def test_what_no_condition_lets_through_is_left_out() -> None:
    house = House(RED)
    house.commit(101, 1, None, {"color": "blue"})
    house.commit(102, 2, {"color": "red"}, {"color": "blue"})
    house.commit(103, 3, None, {"color": "red"})
    assert [id for id, _, _ in house.changes(103) or ()] == [2, 3]


def test_what_is_forgotten_or_too_much_or_about_another_table_makes_it_anew() -> None:
    house = House(RED)
    for ts in range(101, 103 + MOST_CHANGES):
        house.commit(ts, 1, {"color": "blue"}, {"color": "green"})
    assert house.changes(101 + MOST_CHANGES) is None
    assert house.changes(150) == []
    house.documents.trim(120)
    assert house.changes(150) is None
    other = House(RED)
    other.catalog = catalog("orders", "others").changed([(bytes(16), None)])
    assert other.changes(150) is None
    house.known.close()
    assert not house.documents.tables


def test_what_did_not_concern_it_may_be_forgotten() -> None:
    house = House(RED)
    house.commit(101, 1, None, {"color": "blue"})
    house.commit(110, 2, None, {"color": "red"})
    house.known.unchanged(105)
    house.documents.trim(103)
    assert [id for id, _, _ in house.changes(110) or ()] == [2]
    house.known.name([("orders", [RED])], house.catalog, 100)  # made anew, as of an earlier moment
    house.known.at = 100
    assert house.changes(110) is None


def test_several_tables_and_conditions_of_which_one_suffices() -> None:
    house = House()
    house.known.name([("orders", [RED]), ("orders", [Condition("n", ">", [5])]), ("others", [])], house.catalog, 100)
    house.commit(101, 1, None, {"color": "blue", "n": 1})
    house.commit(102, 2, None, {"color": "blue", "n": 9})
    house.commit(103, 3, None, {"color": "red"})
    assert [id for id, _, _ in house.changes(103) or ()] == [2, 3]
    assert len(house.known.interests) == 2
