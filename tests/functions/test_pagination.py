"""The hints and validators of pages: what they stand for in signatures, in JSON and as values."""

from __future__ import annotations

from typing import Any, TypedDict

import pytest

import nbreactive
from nbreactive import (
    PaginationOpts,
    PaginationResult,
    pagination_opts_validator,
    pagination_result_validator,
    query,
    v,
)
from nbreactive.errors import ArgumentError, DeployRefused, InvalidCursor, from_wire
from nbreactive.functions import bind
from nbreactive.functions.hints import validator_of
from nbreactive.values.validators import from_json

WIRE = {"numItems": 5.0, "cursor": None, "id": 1.0}


class Row(TypedDict):
    n: int


def test_a_hinted_parameter_is_the_argument_of_convexs_clients() -> None:
    @query
    def rows(ctx: Any, opts: PaginationOpts, author: str) -> None: ...

    assert rows.spec("m:rows").args["value"].keys() == {"paginationOpts", "author"}
    bound = bind(rows, {"paginationOpts": WIRE, "author": "a"})
    assert bound == {"opts": {"numItems": 5, "cursor": None, "id": 1}, "author": "a"}
    opts = bound["opts"]
    assert isinstance(opts, PaginationOpts)
    assert (opts.num_items, opts.cursor, opts.end_cursor, opts.maximum_rows_read) == (5, None, None, None)
    with pytest.raises(ArgumentError, match=r"args\.paginationOpts: .*"):
        bind(rows, {"author": "a"})
    with pytest.raises(ArgumentError, match=r"paginationOpts: is missing"):
        bind(rows, {"opts": WIRE, "author": "a"})
    with pytest.raises(ArgumentError, match=r"args\.paginationOpts\.numItems"):
        bind(rows, {"paginationOpts": {"numItems": "5", "cursor": None}, "author": "a"})


def test_its_own_name_may_be_the_same_and_it_may_have_a_default() -> None:
    @query
    def same(ctx: Any, paginationOpts: PaginationOpts) -> None: ...

    @query
    def default(ctx: Any, opts: PaginationOpts = PaginationOpts(7)) -> None: ...  # noqa: B008

    @query
    def collected(ctx: Any, opts: PaginationOpts, title: str = "", **rest: Any) -> None: ...

    assert bind(same, {"paginationOpts": WIRE})["paginationOpts"].num_items == 5
    assert bind(default, {"paginationOpts": WIRE})["opts"].num_items == 5
    assert bind(default, {}) == {}
    bound = bind(collected, {"paginationOpts": WIRE, "title": "t", "other": 1})
    assert bound["rest"] == {"title": "t", "other": 1}
    assert bound["opts"].num_items == 5


def test_explicit_validators_know_the_hint_too() -> None:
    args = {"paginationOpts": pagination_opts_validator, "n": v.number()}

    @query(args=args)
    def hinted(ctx: Any, opts: PaginationOpts, n: Any) -> None: ...

    @query(args=args)
    def named(ctx: Any, paginationOpts: Any, n: Any) -> None: ...

    assert bind(hinted, {"paginationOpts": WIRE, "n": 1})["opts"].num_items == 5
    assert bind(named, {"paginationOpts": WIRE, "n": 1})["paginationOpts"].num_items == 5

    @query(args=args)
    def lacks(ctx: Any, n: Any) -> None: ...

    with pytest.raises(DeployRefused, match="paginationOpts"):
        lacks.spec("m:lacks")


def test_a_function_reads_one_page() -> None:
    @query
    def two(ctx: Any, a: PaginationOpts, b: PaginationOpts) -> None: ...

    @query
    def also(ctx: Any, a: PaginationOpts, paginationOpts: Any) -> None: ...

    for function in (two, also):
        with pytest.raises(DeployRefused, match="more than one parameter"):
            function.spec("m:f")


def test_results_as_hints() -> None:
    assert validator_of(PaginationResult[Row]) == pagination_result_validator(v.object({"n": v.integer()}))
    assert validator_of(PaginationResult) == pagination_result_validator(v.any())
    assert validator_of("PaginationResult[int]", {"PaginationResult": PaginationResult}).to_json() == (
        pagination_result_validator(v.integer()).to_json()
    )
    found = {"page": [1], "isDone": True, "continueCursor": "c", "splitCursor": None, "pageStatus": "SplitRequired"}
    loaded = pagination_result_validator(v.integer()).load(found)
    assert isinstance(loaded, PaginationResult)
    assert (loaded.page, loaded.is_done, loaded.continue_cursor) == ([1], True, "c")
    assert (loaded.split_cursor, loaded.page_status) == (None, "SplitRequired")
    short = pagination_result_validator(v.any()).load({"page": [], "isDone": True, "continueCursor": "c"})
    assert (short.split_cursor, short.page_status) == (None, None)


def test_the_json_forms_are_convexs() -> None:
    fields = pagination_opts_validator.to_json()["value"]
    assert {name: field["optional"] for name, field in fields.items()} == {
        "numItems": False, "cursor": False, "endCursor": True, "id": True, "maximumRowsRead": True, "maximumBytesRead": True,
    }  # fmt: skip
    assert fields["cursor"]["fieldType"] == {"type": "union", "value": [{"type": "string"}, {"type": "null"}]}
    assert from_json(pagination_opts_validator.to_json()) == pagination_opts_validator
    assert fields["numItems"]["fieldType"]["type"] == "number"


def test_options_made_in_python() -> None:
    opts = PaginationOpts(3, "c", end_cursor="e", maximum_rows_read=9, maximum_bytes_read=99)
    assert opts == {"numItems": 3, "cursor": "c", "endCursor": "e", "maximumRowsRead": 9, "maximumBytesRead": 99}
    assert pagination_opts_validator.check(opts) == opts
    assert nbreactive.PaginationOpts is PaginationOpts


def test_an_invalid_cursor_is_one_for_convexs_hooks_on_every_way() -> None:
    data = {"isConvexSystemError": True, "paginationError": "InvalidCursor"}
    assert (InvalidCursor().data, InvalidCursor().code) == (data, "InvalidCursor")
    assert "InvalidCursor" in str(InvalidCursor())
    rebuilt = from_wire("InvalidCursor", "told", data=data)
    assert isinstance(rebuilt, InvalidCursor)
    assert (rebuilt.message, rebuilt.data) == ("told", data)
