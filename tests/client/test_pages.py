"""Pages of paginated queries: splits, cursors that are known no more, and updates at their place."""

from __future__ import annotations

from typing import Any

import pytest

from nbreactive.client.local_store import LocalStore
from nbreactive.client.page_updates import insert_at_bottom_if_loaded, insert_at_position, insert_at_top, update_in_page
from nbreactive.client.pages import Page, Pages
from nbreactive.client.protocol import Outcome, encode_args
from nbreactive.errors import AppError, ArgumentError, FunctionFailed
from nbreactive.values.kinds import UNSET

INVALID = AppError({"isConvexSystemError": True, "paginationError": "InvalidCursor"})


def result(
    rows: list[Any], end: str, *, middle: str | None = None, status: str | None = None, done: bool = False
) -> Outcome:
    value = {"page": rows, "isDone": done, "continueCursor": end, "splitCursor": middle, "pageStatus": status}
    return Outcome(value=value)


def first(size: int = 2) -> tuple[Pages, Page]:
    pages = Pages("m:list", size)
    return pages, pages.first


def test_pages_follow_each_other() -> None:
    pages, one = first()
    assert pages.look().status == "LoadingFirstPage"
    assert pages.load_more(2) is None
    one.outcome = result([1, 2], "b")
    assert (pages.look().rows, pages.look().status) == ([1, 2], "CanLoadMore")
    two = pages.load_more(5)
    assert two is not None
    assert two.opts == {"numItems": 5, "cursor": "b", "id": one.opts["id"]}
    assert (pages.look().rows, pages.look().status) == ([1, 2], "LoadingMore")
    assert pages.load_more(2) is None
    two.outcome = result([3], "c", done=True)
    assert (pages.look().rows, pages.look().status) == ([1, 2, 3], "Exhausted")
    two.outcome = Outcome(error=FunctionFailed("no"))
    look = pages.look()
    assert (look.status, look.rows, look.restart) == ("Error", None, False)


@pytest.mark.parametrize("status", [None, "SplitRecommended", "SplitRequired"])
def test_a_large_page_is_replaced_when_both_halves_are_there(status: str | None) -> None:
    pages, one = first()
    one.outcome = result([1], "e")
    pages.look()
    one.outcome = result([1, 2, 3, 4, 5], "e", middle="c", status=status)
    look = pages.look()
    left, right = look.opened
    assert left.opts == {**one.opts, "endCursor": "c"}
    assert right.opts == {**one.opts, "cursor": "c", "endCursor": "e"}
    # What is shown already stays, but a page that was cut short is not the whole one.
    assert look.rows == (None if status == "SplitRequired" else [1, 2, 3, 4, 5])
    left.outcome = result([1, 2, 3], "c")
    assert not pages.look().closed
    right.outcome = result([4, 5], "e")
    look = pages.look()
    assert (look.closed, look.rows, look.status, look.opened) == ([one], [1, 2, 3, 4, 5], "CanLoadMore", [])
    assert pages.all() == [left, right]


def test_a_first_page_that_was_cut_short_is_not_shown() -> None:
    pages, one = first()
    one.outcome = result([1], "e", middle="c", status="SplitRequired")
    look = pages.look()
    assert (look.rows, look.status, len(look.opened)) == (None, "LoadingMore", 2)


def test_a_cursor_that_is_known_no_more_means_to_begin_again() -> None:
    pages, one = first()
    one.outcome = Outcome(error=INVALID)
    assert not pages.look().restart  # nothing would be different
    one.outcome = result([1], "b")
    pages.look()
    two = pages.load_more(1)
    assert two is not None
    two.outcome = Outcome(error=INVALID)
    assert pages.look().restart
    two.outcome = Outcome(error=FunctionFailed("Uncaught InvalidCursor: again"))
    assert pages.look().restart


def test_what_is_no_page_says_how_to_make_one() -> None:
    pages, one = first()
    one.outcome = Outcome(value=[1])
    error = pages.look().error
    assert isinstance(error, ArgumentError)
    assert ".paginate(opts)" in error.message


def lists(*pages: tuple[Any, Any, list[float], str, bool], id: int = 1, **args: Any) -> dict[Any, Any]:
    """Pages as a store has them: (cursor, endCursor, rows, continueCursor, isDone)."""
    shown: dict[Any, Any] = {}
    for cursor, end, rows, after, done in pages:
        opts = {"numItems": 2, "cursor": cursor, "id": id} | ({"endCursor": end} if end else {})
        value = result([{"n": n} for n in rows], after, done=done)
        shown["m:list", encode_args({**args, "paginationOpts": opts})] = value
    return shown


def rows(store: LocalStore) -> list[list[float]]:
    return [[row["n"] for row in query.value["page"]] for query in store.get_all_queries("m:list")]


SPLITTING = lists((None, None, [1, 2, 3, 4], "d", False), (None, "b", [1, 2], "b", False), ("b", "d", [3, 4], "d", False),
                  ("d", None, [6, 7], "g", False), ("g", None, [], "h", False), ("h", None, [9], "z", True))  # fmt: skip


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (0, [[0, 1, 2, 3, 4], [0, 1, 2], [3, 4], [6, 7], [], [9]]),
        (2.5, [[1, 2, 2.5, 3, 4], [1, 2, 2.5], [3, 4], [6, 7], [], [9]]),
        (5, [[1, 2, 3, 4, 5], [1, 2], [3, 4, 5], [6, 7], [], [9]]),
        (8, [[1, 2, 3, 4], [1, 2], [3, 4], [6, 7, 8], [], [9]]),
        (10, [[1, 2, 3, 4], [1, 2], [3, 4], [6, 7], [], [9, 10]]),
    ],
)
def test_an_item_comes_where_it_belongs_and_into_both_halves(n: float, expected: list[list[float]]) -> None:
    store = LocalStore(SPLITTING)
    insert_at_position(store, "m:list", {"n": n}, key=lambda row: [row["n"]], order="asc")
    assert rows(store) == expected


def test_where_a_place_is_not_loaded_nothing_is_inserted() -> None:
    store = LocalStore(lists((None, None, [9, 8], "b", False)))
    for n in (7, 8.5):
        insert_at_position(store, "m:list", {"n": n}, key=lambda row: row["n"], order="desc")
    insert_at_bottom_if_loaded(store, "m:list", {"n": 0})
    assert rows(store) == [[9, 8.5, 8]]
    with pytest.raises(ArgumentError, match="as in the query"):
        insert_at_position(store, "m:list", {"n": 1}, key=lambda row: row["n"], order="up")  # type: ignore[arg-type]


def test_updates_are_for_the_lists_that_are_meant() -> None:
    one = lists((None, None, [1], "a", True), room="x")
    store = LocalStore(one | lists((None, None, [1], "a", True), id=2, room="y"))
    insert_at_top(store, "m:list", {"n": 0}, {"room": "x"})
    insert_at_bottom_if_loaded(store, "m:list", {"n": 2}, {"room": "y"})
    assert rows(store) == [[0, 1], [1, 2]]
    update_in_page(store, "m:list", lambda row: UNSET if row["n"] == 1 else {"n": row["n"] * 10})
    assert rows(store) == [[0], [20]]
    assert [row["n"] for outcome in one.values() for row in outcome.value["page"]] == [1]
