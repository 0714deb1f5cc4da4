"""Reading pages: where they begin and end, what they depend on, what they refuse."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbreactive.engine.catalog import Catalog
from nbreactive.engine.read_set import touches
from nbreactive.engine.transactions import Failure, Outcome
from nbreactive.runtime.inline import InlineExecutor
from nbreactive.values.ids import decode_id
from nbreactive.values.json import decode_json
from tests.runtime.house import NOW, House, bundle

SOURCE = """
from nbreactive import PaginationOpts, PaginationResult, define_schema, define_table
schema = define_schema({"posts": define_table(v.any()).index("by_k", ["k", "n"])})

@mutation
def fill(ctx, rows):
    return [ctx.db.insert("posts", row) for row in rows]
@mutation
def put(ctx, id, fields=None):
    ctx.db.delete(id) if fields is None else ctx.db.patch(id, fields)

def read(ctx, opts, code="posts"):
    return eval(code, {**globals(), "db": ctx.db, "posts": ctx.db.query("posts")}).paginate(opts)
@query
def page(ctx, opts: PaginationOpts, code="posts"):
    return read(ctx, opts, code)
@internal_query
def hidden(ctx, opts: PaginationOpts):
    return read(ctx, opts)
@query
def raw(ctx, opts):
    return ctx.db.query("posts").paginate(opts)
@query
def attributes(ctx, opts: PaginationOpts):
    found = ctx.db.query("posts").paginate(opts)
    found.page = [row["n"] for row in found.page]
    told = [opts.num_items, opts.cursor, opts.end_cursor, opts.maximum_rows_read, opts.maximum_bytes_read]
    return [told, found.page, found.is_done, found.continue_cursor == found["continueCursor"], found.split_cursor, found.page_status]
@query
def typed(ctx, opts: PaginationOpts) -> PaginationResult[int]:
    found = ctx.db.query("posts").paginate(opts)
    return {**found, "page": [row["n"] for row in found.page]}
@query
def wrongly_typed(ctx, opts: PaginationOpts) -> PaginationResult[str]:
    return ctx.db.query("posts").paginate(opts)
@query
def twice(ctx, opts: PaginationOpts):
    read(ctx, opts)
    return read(ctx, opts)
@query
def recovers(ctx, opts: PaginationOpts):
    try:
        return read(ctx, opts)
    except AppError as error:
        return [error.data, read(ctx, PaginationOpts(1))["page"][0]["n"]]
@query
def nested(ctx, opts: PaginationOpts, others):
    first = ctx.run_query(api.m.typed, paginationOpts=opts)
    second = ctx.run_query(internal.m.hidden, paginationOpts=opts)
    own = read(ctx, opts, 'posts.order("desc")')
    more = [ctx.run_query(typed, {"paginationOpts": PaginationOpts(n)}).page for n in others]
    return [first.page, [row["n"] for row in second["page"]], [row["n"] for row in own.page], more]
@mutation
def own_writes(ctx, opts: PaginationOpts, rows, gone):
    for row in rows:
        ctx.db.insert("posts", row)
    for id in gone:
        ctx.db.delete(id)
    return read(ctx, opts, 'posts.with_index("by_k")')
@query
def absent(ctx, opts: PaginationOpts):
    return ctx.db.query("later").paginate(opts)
@mutation
def appear(ctx, rows):
    for row in rows:
        ctx.db.insert("later", row)
"""
BY_K = 'posts.with_index("by_k")'


class Pages:
    def __init__(self, folder: Path, rows: list[Any] | None = None, key: bytes = b"k", mode: Any = "dev") -> None:
        self.house = House(folder)
        self.inline = InlineExecutor(bundle(1, m=SOURCE), self.house.reader, cursor_key=key, mode=mode)
        self.house.deploy_schema(self.inline.manifest)
        self.ids: list[str] = self.call("m:fill", rows=rows) if rows else []

    def run(self, path: str, journal: str | None = None, /, **args: Any) -> Outcome:
        return self.inline.run_now(self.house.call(path, args, journal=journal, reach="internal"))

    def call(self, path: str, /, **args: Any) -> Any:
        return self.house.finish(self.run(path, **args))

    def page(
        self, count: int = 3, cursor: str | None = None, code: str = BY_K, journal: str | None = None, **opts: Any
    ) -> tuple[dict[str, Any], Outcome]:
        outcome = self.run("m:page", journal, paginationOpts={"numItems": count, "cursor": cursor, **opts}, code=code)
        return self.house.finish(outcome), outcome

    def ns(self, *args: Any, **opts: Any) -> list[Any]:
        return [row.get("n") for row in self.page(*args, **opts)[0]["page"]]

    def all(self, count: int, code: str = BY_K) -> list[list[Any]]:
        pages, cursor, done = [], None, False
        while not done:
            found = self.page(count, cursor, code)[0]
            pages.append([row.get("n") for row in found["page"]])
            cursor, done = found["continueCursor"], found["isDone"]
        return pages

    def failure(self, path: str = "m:page", /, **args: Any) -> Failure:
        failure = self.run(path, **args).failure
        assert failure is not None
        return failure

    def concerns(self, outcome: Outcome, id: str) -> bool:
        """Whether what a call has read is concerned by a write of a document as it is stored now."""
        table, internal = decode_id(id)
        self.house.reader.renew()
        stored = self.house.reader.document(table, internal, self.house.ts)
        assert stored is not None
        from nbreactive.values.packing import unpack

        info = Catalog.load(self.house.reader, self.house.ts).number(table)
        assert info is not None
        keys: dict[int, list[bytes]] = {}
        for index, key in info.keys(unpack(stored[0]), internal):
            keys.setdefault(index, []).append(key)
        return touches(outcome.reads, keys)


def rows(count: int) -> list[dict[str, Any]]:
    return [{"k": "x", "n": n} for n in range(count)]


@pytest.fixture
def seven(tmp_path: Path) -> Iterator[Pages]:
    pages = Pages(tmp_path, rows(7))
    yield pages
    pages.house.close()


def test_pages_follow_each_other_to_the_end(seven: Pages) -> None:
    assert seven.all(3) == [[0, 1, 2], [3, 4, 5], [6]]
    assert seven.all(3, 'posts.order("desc")') == [[6, 5, 4], [3, 2, 1], [0]]
    assert seven.all(7) == [[0, 1, 2, 3, 4, 5, 6], []]
    assert seven.all(9) == [[0, 1, 2, 3, 4, 5, 6]]
    assert seven.all(2, BY_K[:-1] + ', lambda q: q.eq("k", "x").gt("n", 1).lt("n", 5)).order("desc")') == [
        [4, 3],
        [2],
    ]
    assert sorted(n for page in seven.all(2, 'posts.with_index("by_id")') for n in page) == list(range(7))
    assert seven.all(2, 'posts.with_index("by_k", lambda q: q.eq("k", "y"))') == [[]]
    assert seven.all(2, 'posts.filter(lambda q: q.field("n") % 2 == 1)') == [[1, 3], [5]]


def test_the_result_on_the_wire_and_in_functions(seven: Pages) -> None:
    found, outcome = seven.page(3)
    assert list(json.loads(outcome.value)) == ["continueCursor", "isDone", "page", "pageStatus", "splitCursor"]
    assert (found["isDone"], found["pageStatus"]) == (False, None)
    assert found["splitCursor"] and seven.page(2)[0]["splitCursor"] is None
    opts = {"numItems": 2.0, "cursor": None, "id": 7.0, "maximumRowsRead": 9}
    told = seven.call("m:attributes", paginationOpts=opts)
    assert told == [[2, None, None, 9, None], [0, 1], False, True, None, None]
    assert seven.call("m:typed", paginationOpts=opts)["page"] == [0, 1]
    assert seven.call("m:raw", opts={"numItems": 1, "cursor": None})["page"][0]["n"] == 0
    assert "returns.page[0]: expected a string" in seven.failure("m:wrongly_typed", paginationOpts=opts).message


def test_a_run_with_its_journal_covers_what_the_page_covered(seven: Pages) -> None:
    first, outcome = seven.page(3)
    seven.call("m:fill", rows=[{"k": "x", "n": 0.5}, {"k": "x", "n": 2.5}, {"k": "a", "n": -1}])
    assert seven.ns(3) == [-1, 0, 0.5]
    again, rerun = seven.page(3, journal=outcome.journal)
    assert [row["n"] for row in again["page"]] == [-1, 0, 0.5, 1, 2]
    assert (again["continueCursor"], rerun.journal) == (first["continueCursor"], outcome.journal)
    assert seven.ns(3, first["continueCursor"]) == [2.5, 3, 4]
    for id in seven.ids[:3]:
        seven.call("m:put", id=id)
    assert seven.ns(3, journal=outcome.journal) == [-1, 0.5]
    assert seven.ns(3, first["continueCursor"]) == [2.5, 3, 4]


def test_the_last_page_takes_whatever_is_appended(seven: Pages) -> None:
    last, outcome = seven.page(5, seven.page(5)[0]["continueCursor"])
    assert last["isDone"] and [row["n"] for row in last["page"]] == [5, 6]
    seven.call("m:fill", rows=[{"k": "x", "n": n} for n in range(7, 13)])
    again = seven.page(5, seven.page(5)[0]["continueCursor"], journal=outcome.journal)[0]
    assert again["isDone"] and [row["n"] for row in again["page"]] == list(range(5, 13))
    nothing = seven.page(5, again["continueCursor"])[0]
    assert nothing["isDone"] and nothing["page"] == []


def test_an_end_cursor_wins_over_the_journal(seven: Pages) -> None:
    one, two, outcome = seven.page(1)[0], seven.page(2)[0], seven.page(5)[1]
    between = seven.page(9, one["continueCursor"], journal=outcome.journal, endCursor=two["continueCursor"])[0]
    assert [row["n"] for row in between["page"]] == [1]
    assert between["continueCursor"] == two["continueCursor"]
    assert not between["isDone"]
    end = seven.page(9)[0]["continueCursor"]
    rest = seven.page(1, one["continueCursor"], endCursor=end)[0]
    assert rest["isDone"] and [row["n"] for row in rest["page"]] == [1, 2, 3, 4, 5, 6]
    assert seven.ns(1, one["continueCursor"], endCursor=one["continueCursor"]) == []
    assert seven.ns(1, two["continueCursor"], endCursor=one["continueCursor"]) == []
    assert seven.ns(2, endCursor=None) == [0, 1]


@pytest.mark.parametrize("code", [BY_K, BY_K + '.order("desc")'])
def test_a_page_depends_on_its_interval_only(seven: Pages, code: str) -> None:
    ids = seven.ids if "desc" not in code else seven.ids[::-1]
    first, _ = seven.page(2, code=code)
    _, second = seven.page(2, first["continueCursor"], code)
    assert [seven.concerns(second, id) for id in ids] == [False, False, True, True, False, False, False]
    _, again = seven.page(2, first["continueCursor"], code, journal=second.journal)
    assert again.reads == second.reads
    low, high = (1.5, 3.5) if "desc" not in code else (2.5, 4.5)
    inside, below, above = seven.call(
        "m:fill", rows=[{"k": "x", "n": 3 if code == BY_K else 5}, {"k": "x", "n": low - 1}, {"k": "x", "n": high + 1}]
    )
    assert not seven.concerns(second, below)
    assert not seven.concerns(second, above)
    # Behind the last row, or before the first one: equal values are in the order of creation.
    assert not seven.concerns(second, inside)
    (between,) = seven.call("m:fill", rows=[{"k": "x", "n": 2.5 if code == BY_K else 3.5}])
    assert seven.concerns(second, between)


def test_filters_count_after_the_rows_that_they_drop(seven: Pages) -> None:
    code = 'posts.filter(lambda q: q.field("n") > 3)'
    found, outcome = seven.page(2, code=code)
    assert [row["n"] for row in found["page"]] == [4, 5]
    assert [seven.concerns(outcome, id) for id in seven.ids] == [True] * 6 + [False]
    # A document that begins to pass the filter appears in the page whose interval it lies in.
    seven.call("m:put", id=seven.ids[0], fields={"n": 10})
    assert seven.ns(2, code=code, journal=outcome.journal) == [10, 4, 5]


def test_limits_cut_a_new_page_short(seven: Pages) -> None:
    code = 'posts.filter(lambda q: q.field("n") > 3)'
    found, outcome = seven.page(2, code=code, maximumRowsRead=5)
    assert ([row["n"] for row in found["page"]], found["pageStatus"]) == ([4], "SplitRequired")
    assert [seven.concerns(outcome, id) for id in seven.ids] == [True] * 5 + [False] * 2
    # Both halves are whole, and together what was cut short.
    first = seven.page(2, code=code, maximumRowsRead=5, endCursor=found["splitCursor"])[0]
    second = seven.page(2, found["splitCursor"], code, maximumRowsRead=5, endCursor=found["continueCursor"])[0]
    assert [first["page"], [row["n"] for row in second["page"]]] == [[], [4]]
    assert (first["pageStatus"], second["pageStatus"]) == (None, None)
    assert second["continueCursor"] == found["continueCursor"]
    assert seven.ns(2, found["continueCursor"], code, maximumRowsRead=5) == [5, 6]
    # Two rows are split into one and one: clients show nothing of a page until that is done.
    short = seven.page(3, maximumRowsRead=2)[0]
    assert ([row["n"] for row in short["page"]], short["pageStatus"]) == ([0, 1], "SplitRequired")
    assert seven.ns(3, maximumRowsRead=2, endCursor=short["splitCursor"]) == [0]
    assert seven.ns(3, short["splitCursor"], maximumRowsRead=2, endCursor=short["continueCursor"]) == [1]
    # Nobody can split one row: clients would wait for ever if it were required.
    short = seven.page(2, code=code, maximumRowsRead=1)[0]
    assert (short["page"], short["pageStatus"], short["splitCursor"], short["isDone"]) == (
        [], "SplitRecommended", None, False,
    )  # fmt: skip
    assert seven.page(2, maximumBytesRead=1)[0]["page"][0]["n"] == 0
    assert seven.all(2, code) == [[4, 5], [6]]


def test_a_page_that_outgrew_its_limit_must_be_split(seven: Pages) -> None:
    found, outcome = seven.page(4, maximumRowsRead=6)
    assert found["pageStatus"] is None
    seven.call("m:fill", rows=[{"k": "x", "n": 0.5}])
    grown, rerun = seven.page(4, maximumRowsRead=6, journal=outcome.journal)
    assert (len(grown["page"]), grown["pageStatus"]) == (5, "SplitRecommended")
    seven.call("m:fill", rows=[{"k": "x", "n": 1.5}, {"k": "x", "n": 2.5}])
    over, rerun = seven.page(4, maximumRowsRead=6, journal=rerun.journal)
    assert over["pageStatus"] == "SplitRequired"
    assert over["continueCursor"] == found["continueCursor"]
    halves = [
        seven.page(4, maximumRowsRead=6, endCursor=over["splitCursor"])[0],
        seven.page(4, over["splitCursor"], maximumRowsRead=6, endCursor=over["continueCursor"])[0],
    ]
    assert [row["n"] for half in halves for row in half["page"]] == [0, 0.5, 1, 1.5, 2, 2.5, 3]
    assert [half["pageStatus"] for half in halves] == [None, None]
    # It waits for the row on which it was cut short: without that one it is whole.
    assert seven.concerns(rerun, seven.ids[3])
    seven.call("m:put", id=seven.ids[3])
    whole = seven.page(4, maximumRowsRead=6, journal=rerun.journal)[0]
    assert ([row["n"] for row in whole["page"]], whole["pageStatus"]) == ([0, 0.5, 1, 1.5, 2, 2.5], "SplitRecommended")


def test_splitting_always_comes_to_an_end(seven: Pages) -> None:
    """However low the limit: of three rows two halves are made, of two none."""

    def leaves(cursor: str | None, end: str) -> list[Any]:
        found = seven.page(1, cursor, endCursor=end, maximumRowsRead=1, maximumBytesRead=1)[0]
        if found["splitCursor"] is None:
            assert found["pageStatus"] != "SplitRequired"
            return [row["n"] for row in found["page"]]
        assert found["splitCursor"] not in (cursor, end)
        return leaves(cursor, found["splitCursor"]) + leaves(found["splitCursor"], end)

    assert leaves(None, seven.page(9)[0]["continueCursor"]) == list(range(7))


def test_limits_of_the_transaction_are_limits_of_the_page(tmp_path: Path) -> None:
    pages = Pages(tmp_path, [{"n": n, "text": "x" * 1_000_000} for n in range(15)])
    for _ in range(2):
        pages.call("m:fill", rows=[{"n": n, "text": "x" * 1_000_000} for n in range(10)])
    found = pages.page(35, code="posts")[0]
    assert (len(found["page"]), found["pageStatus"]) == (15, "SplitRequired")
    pages.house.close()


def test_long_pages_should_be_split(tmp_path: Path) -> None:
    pages = Pages(tmp_path, rows(6144))
    found, outcome = pages.page(6144, code="posts")
    assert (len(found["page"]), found["pageStatus"]) == (6144, None)
    pages.call("m:put", id=pages.ids[0], fields={"k": "y"})
    assert pages.page(6144, code="posts", journal=outcome.journal)[0]["pageStatus"] is None
    _, longest = pages.page(6145, code="posts")
    pages.call("m:fill", rows=rows(1))
    found, outcome = pages.page(6145, code="posts", journal=longest.journal)
    assert (len(found["page"]), found["pageStatus"], found["isDone"]) == (6145, "SplitRecommended", True)
    assert [len(pages.page(1, code="posts", endCursor=found["splitCursor"])[0]["page"])] == [6145 // 2 + 1]
    pages.house.close()


OTHER_QUERIES = [
    "posts",
    BY_K + '.order("desc")',
    BY_K[:-1] + ', lambda q: q.eq("k", "x"))',
    BY_K[:-1] + ', lambda q: q.gt("k", "x"))',
    BY_K + '.filter(lambda q: q.field("n") > 3)',
    BY_K + '.filter(lambda q: q.field("n") > 4)',
    BY_K + '.filter(lambda q: q.field("n") >= 3)',
    BY_K + '.filter(lambda q: q.field("m") > 3)',
    BY_K + '.filter(lambda q: (q.field("n") > 3) & True)',
    BY_K + '.filter(lambda q: (q.field("n") > 3) | True)',
    BY_K + '.filter(lambda q: ~(q.field("n") > 3))',
    BY_K + '.filter(lambda q: q.field("n") + 1 > 3)',
    BY_K + ".filter(lambda q: True)",
    'db.query("later")',
]


def test_a_cursor_fits_no_other_query(seven: Pages) -> None:
    cursors: list[str] = []
    for code in [BY_K, *OTHER_QUERIES]:
        found = seven.page(1, code=code)[0]
        cursors.append(found["continueCursor"])
        assert seven.page(1, found["continueCursor"], code)[0]
    for code, own in zip([BY_K, *OTHER_QUERIES], cursors, strict=True):
        for cursor in cursors:
            opts = {"numItems": 1, "cursor": cursor}
            ending = {"numItems": 1, "cursor": None, "endCursor": cursor}
            refused = [seven.run("m:page", paginationOpts=each, code=code).failure for each in (opts, ending)]
            assert [failure.code if failure else "" for failure in refused] == ["InvalidCursor" * (cursor != own)] * 2
    assert seven.page(1, cursors[0], BY_K + '.order("asc")')[0]


def test_a_filter_of_any_size_has_a_form(seven: Pages) -> None:
    code = 'posts.filter(lambda q: __import__("functools").reduce(lambda a, b: a & b, [q.field("n") < n for n in range(99, 9, -1)]))'
    found = seven.page(3, code=code)[0]
    assert seven.ns(3, found["continueCursor"], code) == [3, 4, 5]


@pytest.mark.parametrize("mode", ["dev", "prod"])
def test_invalid_cursors_say_so_as_convex_does(tmp_path: Path, mode: str) -> None:
    pages = Pages(tmp_path, rows(3), mode=mode)
    good = pages.page(1)[0]["continueCursor"]
    other = InlineExecutor(bundle(1, m=SOURCE), pages.house.reader, cursor_key=b"another")
    raw = base64.urlsafe_b64decode(good + "=" * (-len(good) % 4))
    turned = base64.urlsafe_b64encode(raw[:-1] + bytes((raw[-1] ^ 1,))).decode().rstrip("=")
    for cursor in ("", "x", "\u00e9", good[:-1], good + "A", good + "=", good.swapcase(), turned, "A" * 100_000):
        failure = pages.failure(paginationOpts={"numItems": 1, "cursor": cursor}, code=BY_K)
        assert failure.code == "InvalidCursor"
        assert failure.data is not None
        assert decode_json(failure.data) == {"isConvexSystemError": True, "paginationError": "InvalidCursor"}
        assert ("InvalidCursor" in failure.message) == (mode == "dev")
    call = pages.house.call("m:page", {"paginationOpts": {"numItems": 1, "cursor": good}, "code": BY_K})
    lost = other.run_now(call).failure
    assert lost is not None
    assert lost.code == "InvalidCursor"
    pages.house.close()


def test_cursors_hide_what_they_hold(tmp_path: Path) -> None:
    pages = Pages(tmp_path, [{"k": "very secret", "n": 1}] * 4, key=secrets.token_bytes(32))
    found, outcome = pages.page(3)
    assert outcome.journal is not None
    texts = [found["continueCursor"], found["splitCursor"], outcome.journal]
    for text in texts:
        assert b"secret" not in base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    assert len(set(texts)) == 3
    assert pages.page(3)[0]["continueCursor"] == found["continueCursor"]
    pages.house.close()


def test_what_cannot_be_the_journal_is_refused_as_convex_does(seven: Pages) -> None:
    _, of_another = seven.page(5, code='posts.order("desc")')
    first, _ = seven.page(1)
    refused = ("x", ",", "," * 100_000, "\u00e9", "\ud800", first["continueCursor"], of_another.journal)
    for journal in refused:
        failure = seven.run("m:page", journal, paginationOpts={"numItems": 3, "cursor": None}, code=BY_K).failure
        assert failure is not None and failure.code == "InvalidCursor"
        assert failure.data is not None
        assert decode_json(failure.data) == {"isConvexSystemError": True, "paginationError": "InvalidCursor"}
        assert "the journal" in failure.message
        # Where the end is given, and where no page is read, nobody asks for it.
        assert seven.ns(3, journal=journal, endCursor=first["continueCursor"]) == [0]
        assert seven.run("m:fill", journal, rows=[]).failure is None
    assert seven.ns(3, journal="") == [0, 1, 2]
    # A page that begins elsewhere (the function finds its own beginning) is a new one.
    _, of_the_next = seven.page(5, first["continueCursor"])
    assert first["continueCursor"] != of_the_next.journal
    assert seven.ns(3, journal=of_the_next.journal) == [0, 1, 2]
    # A cursor is no journal, nor a journal a cursor.
    journal = seven.page(3)[1].journal
    assert seven.failure(paginationOpts={"numItems": 1, "cursor": journal}, code=BY_K).code == "InvalidCursor"


@pytest.mark.parametrize(
    ("path", "args", "code", "text"),
    [
        ("m:page", {"paginationOpts": {"numItems": 0, "cursor": None}}, "NoDocumentsForPagination", "1 or more"),
        ("m:page", {"paginationOpts": {"numItems": -1, "cursor": None}}, "NoDocumentsForPagination", "1 or more"),
        ("m:page", {"paginationOpts": {"numItems": 32_001, "cursor": None}}, "PageSizeTooLarge", "at most 32000"),
        ("m:page", {"paginationOpts": {"numItems": 1.5, "cursor": None}}, "ArgumentValidationError", "numItems"),
        ("m:page", {"paginationOpts": {"cursor": None}}, "ArgumentValidationError", "numItems"),
        ("m:page", {"paginationOpts": {"numItems": 1}}, "ArgumentValidationError", "cursor"),
        ("m:page", {"opts": {"numItems": 1, "cursor": None}}, "ArgumentValidationError", "paginationOpts"),
        ("m:twice", {"paginationOpts": {"numItems": 1, "cursor": None}}, "MultiplePaginatedDatabaseQueries", "one page"),
        ("m:raw", {"opts": 5}, "InvalidValue", "PaginationOpts(20)"),
        ("m:raw", {"opts": {"numItems": 1}}, "InvalidValue", "paginate.cursor"),
        (
            "m:page",
            {"paginationOpts": {"numItems": 1, "cursor": None}, "code": "posts.limit(3)"},
            "InvalidValue",
            "remove limit",
        ),
    ],
)  # fmt: skip
def test_mistakes_have_convexs_codes(seven: Pages, path: str, args: Any, code: str, text: str) -> None:
    failure = seven.failure(path, **args)
    assert (failure.code, text in failure.message) == (code, True), failure.message


def test_a_query_is_used_once_by_a_page_too(seven: Pages) -> None:
    code = "(lambda q: (q.collect(), q)[1])(posts)"
    assert "was used already" in seven.failure(paginationOpts={"numItems": 1, "cursor": None}, code=code).message


def test_a_function_may_begin_anew_by_itself(seven: Pages) -> None:
    told = seven.call("m:recovers", paginationOpts={"numItems": 2, "cursor": "of old"})
    assert told == [{"isConvexSystemError": True, "paginationError": "InvalidCursor"}, 0]
    journal = seven.page(2, code='posts.order("desc")')[1].journal
    again = seven.run("m:recovers", journal, paginationOpts={"numItems": 2, "cursor": None})
    assert seven.house.finish(again)[1] == 0


def test_functions_that_are_called_have_a_page_each(seven: Pages) -> None:
    opts = {"numItems": 2, "cursor": None}
    outcome = seven.run("m:nested", paginationOpts=opts, others=[1, 3])
    assert seven.house.finish(outcome) == [[0, 1], [0, 1], [6, 5], [[0], [0, 1, 2]]]
    seven.call("m:put", id=seven.ids[0])
    seven.call("m:fill", rows=[{"k": "x", "n": 7}])
    again = seven.run("m:nested", outcome.journal, paginationOpts=opts, others=[1, 3])
    assert seven.house.finish(again) == [[1], [1], [7, 6, 5], [[], [1, 2]]]
    assert again.journal == outcome.journal
    assert seven.call("m:nested", paginationOpts=opts, others=[]) == [[1, 2], [1, 2], [7, 6], []]
    # More of them than a journal holds are read all the same.
    assert len(seven.call("m:nested", paginationOpts=opts, others=[1] * 100)[3]) == 100


def test_mutations_see_their_own_writes(seven: Pages) -> None:
    args = {"rows": [{"k": "x", "n": 0.5}, {"k": "x", "n": 9}], "gone": [seven.ids[0], seven.ids[2]]}
    outcome = seven.run("m:own_writes", paginationOpts={"numItems": 3, "cursor": None}, **args)
    assert outcome.failure is None
    found = decode_json(outcome.value)
    assert [row["n"] for row in found["page"]] == [0.5, 1, 3]
    rest = seven.run("m:own_writes", paginationOpts={"numItems": 9, "cursor": found["continueCursor"]}, **args)
    assert [row["n"] for row in decode_json(rest.value)["page"]] == [4, 5, 6, 9]


def test_a_table_that_comes_into_being(seven: Pages) -> None:
    opts = {"numItems": 2, "cursor": None}
    outcome = seven.run("m:absent", paginationOpts=opts)
    found = seven.house.finish(outcome)
    assert (found["page"], found["isDone"]) == ([], True)
    seven.call("m:appear", rows=[{"n": n} for n in range(3)])
    again = seven.house.finish(seven.run("m:absent", outcome.journal, paginationOpts=opts))
    assert ([row["n"] for row in again["page"]], again["isDone"]) == ([0, 1, 2], True)
    assert seven.house.finish(seven.run("m:absent", paginationOpts={"numItems": 2, "cursor": found["continueCursor"]}))[
        "isDone"
    ]
    assert len(seven.call("m:absent", paginationOpts=opts)["page"]) == 2


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2), st.floats(-2, 2), st.sampled_from(["", "a", "a\0", "a\1", "b"]),
    st.sampled_from(["x" * 399, "x" * 400, "x" * 401, "x" * 500 + "y", "x" * 500 + "z"]), st.binary(max_size=2),
)  # fmt: skip


@settings(max_examples=40)
@given(
    stored=st.lists(st.tuples(VALUES, VALUES), max_size=14),
    own=st.lists(st.tuples(VALUES, VALUES), max_size=4),
    gone=st.sets(st.integers(0, 13)),
    size=st.integers(1, 5),
)
def test_pages_are_the_ordered_table(
    tmp_path_factory: pytest.TempPathFactory, stored: list[Any], own: list[Any], gone: set[int], size: int
) -> None:
    """Values of every type, equal keys, keys too long for the index, own writes: the pages are the query in pieces."""
    pages = Pages(tmp_path_factory.mktemp("pages"), [{"k": k, "n": n} for k, n in stored])
    for direction in ("asc", "desc"):
        for code in (f'posts.with_index("by_k").order("{direction}")', f'posts.order("{direction}")'):
            whole = pages.page(100, code=code)[0]["page"]
            found: list[Any] = []
            cursor, done, ends = None, False, []
            while not done:
                page = pages.page(size, cursor, code)[0]
                assert len(page["page"]) <= size
                found += page["page"]
                cursor, done = page["continueCursor"], page["isDone"]
                ends.append(cursor)
            assert found == whole
            # Any two neighbouring pages as one, by their ends.
            if len(ends) > 2:
                both = pages.page(1, ends[0], code, endCursor=ends[2])[0]["page"]
                assert both == whole[size : 3 * size]
    ids = [pages.ids[n] for n in gone if n < len(pages.ids)]
    args = {"rows": [{"k": k, "n": n} for k, n in own], "gone": ids}

    def with_writes(count: int, cursor: str | None) -> Any:
        # The same ids and creation times in every run, as if it were one.
        given = {**args, "paginationOpts": {"numItems": count, "cursor": cursor}}
        call = pages.house.call("m:own_writes", given, now=NOW, seed=bytes(16))
        outcome = pages.inline.run_now(call)
        assert outcome.failure is None
        return decode_json(outcome.value)

    whole = with_writes(99, None)["page"]
    assert len(whole) == len(stored) - len(ids) + len(own)
    found, cursor, done = [], None, False
    while not done:
        page = with_writes(size, cursor)
        found += page["page"]
        cursor, done = page["continueCursor"], page["isDone"]
    assert found == whole
    pages.house.close()
