"""Pages as live queries on a real deployment: whatever is written, they stay the ordered table, cut into pieces."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from nbreactive.engine.requests import MutationRequest, QueryRequest
from nbreactive.values.json import decode_json
from nbreactive.values.keys import encode_key
from nbreactive.values.packing import pack
from tests.runtime.pager import Pager
from tests.services.running import Deployment, running

MODULE = """
from nbreactive import AppError, PaginationOpts, define_schema, define_table, internal, internal_query, mutation, query, v
schema = define_schema({"rows": define_table(v.any()).index("by_k", ["k"]).index("by_flag_k", ["flag", "k"])})

@query
def list(ctx, opts: PaginationOpts, order: str, direction: str, shown: bool):
    if ctx.db.query("broken").first() is not None:
        raise AppError("broken")
    rows = ctx.db.query("rows")
    if order == "k":
        rows = rows.with_index("by_k")
    elif order == "flag":
        rows = rows.with_index("by_flag_k", lambda q: q.eq("flag", True))
    elif order == "range":
        rows = rows.with_index("by_k", lambda q: q.gte("k", 1).lt("k", "b"))
    rows = rows.order(direction)
    if shown:
        rows = rows.filter(lambda q: q.field("flag") == True)
    return rows.paginate(opts)

@internal_query
def inner(ctx, opts: PaginationOpts):
    return ctx.db.query("rows").with_index("by_k").paginate(opts)

@mutation
def take_page(ctx, opts):
    found = ctx.run_query(internal.m.inner, paginationOpts=opts)
    for row in found["page"]:
        ctx.db.patch(row["_id"], {"flag": False})
    return found

@mutation
def clear(ctx):
    for row in ctx.db.query("rows").collect():
        ctx.db.delete(row["_id"])

@mutation
def insert(ctx, k, flag):
    return ctx.db.get(ctx.db.insert("rows", {"k": k, "flag": flag}))

@mutation
def change(ctx, id, fields):
    ctx.db.patch(id, fields)

@mutation
def delete(ctx, ids):
    for id in ids:
        ctx.db.delete(id)

@query
def whole(ctx):
    return ctx.db.query("rows").with_index("by_k").collect()

@query
def crashes(ctx, opts: PaginationOpts, k: int):
    if ctx.db.query("broken").first() is not None:
        __import__("os")._exit(1)
    return ctx.db.query("rows").with_index("by_k", lambda q: q.gte("k", k)).paginate(opts)

@mutation
def set_broken(ctx, broken):
    for row in ctx.db.query("broken").collect():
        ctx.db.delete(row["_id"])
    if broken:
        ctx.db.insert("broken", {})
"""

KEYS = st.sampled_from([0, 1, 1, 2, 2, 2, 3, "a", "b", None])


class Living:
    """The deployment, and the loop that it lives on."""

    def __init__(self, runner: asyncio.Runner, deployment: Deployment) -> None:
        self.runner = runner
        self.deployment = deployment
        self.engine = deployment.parts.engine
        self.ts = 0

    def mutate(self, path: str, **args: Any) -> Any:
        result = self.runner.run(self.engine.mutate(MutationRequest(path, pack(args))))
        assert result.failure is None, result.failure
        self.ts = result.ts
        return decode_json(result.value)

    def pager(self, count: int, order: str = "k", direction: str = "asc", shown: bool = False, **opts: Any) -> Pager:
        args = {"order": order, "direction": direction, "shown": shown}
        pager = Pager(self.engine, "m:list", args, count, **opts)
        self.settle(pager)
        return pager

    def settle(self, pager: Pager) -> None:
        self.runner.run(pager.settle(self.ts))


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Living]:
    with asyncio.Runner() as runner:
        opened = running(tmp_path_factory.mktemp("living"))
        deployment = runner.run(opened.__aenter__())
        try:
            runner.run(deployment.deploy("m", MODULE))
            yield Living(runner, deployment)
        finally:
            runner.run(opened.__aexit__(None, None, None))


class View:
    """One paginated list, and what it has to show according to a plain list of all rows."""

    def __init__(self, pager: Pager) -> None:
        self.pager = pager
        self.ends: list[tuple[Any, float] | None] = []
        """Where each page ended that was loaded, None: at the end; pages that were split are one here."""
        self._note()

    def place(self, row: dict[str, Any]) -> tuple[Any, float]:
        """What the rows are ordered by."""
        k = b"" if self.pager.args["order"] == "creation" else encode_key(row["k"])
        return k, row["_creationTime"]

    def ordered(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        args = self.pager.args
        if args["order"] == "range":
            low, high = encode_key(1), encode_key("b")
            rows = [row for row in rows if low <= encode_key(row["k"]) < high]
        if args["shown"] or args["order"] == "flag":
            rows = [row for row in rows if row["flag"]]
        return sorted(rows, key=self.place, reverse=args["direction"] == "desc")

    def _note(self) -> None:
        """Note where the page that was loaded last has ended."""
        shown = self.pager.pages[-1].shown
        if shown is None:
            return
        self.ends.append(None if shown["isDone"] else self.place(shown["page"][-1]))

    def load_more(self, count: int) -> None:
        self.pager.load_more(count)

    def covered(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What is to be shown."""
        end = self.ends[-1]
        if end is None:
            return self.ordered(rows)
        down = self.pager.args["direction"] == "desc"
        return [row for row in self.ordered(rows) if (self.place(row) >= end if down else self.place(row) <= end)]


class LivePages(RuleBasedStateMachine):
    """Random writes and loads; after each of them every list is compared with a plain sorted one."""

    def __init__(self, living: Living) -> None:
        super().__init__()
        self.living = living
        self.rows: list[dict[str, Any]] = []
        self.views: list[View] = []
        self.broken = False

    @rule(k=KEYS, flag=st.booleans())
    def insert(self, k: Any, flag: bool) -> None:
        self.rows.append(self.living.mutate("m:insert", k=k, flag=flag))

    @rule(ks=st.lists(KEYS, min_size=3, max_size=12), flag=st.booleans())
    def insert_many(self, ks: list[Any], flag: bool) -> None:
        for k in ks:
            self.insert(k, flag)

    @precondition(lambda self: self.rows)
    @rule(at=st.integers(0, 99), many=st.integers(1, 5))
    def delete(self, at: int, many: int) -> None:
        gone = [self.rows.pop(at % len(self.rows)) for _ in range(min(many, len(self.rows)))]
        self.living.mutate("m:delete", ids=[row["_id"] for row in gone])

    @precondition(lambda self: self.rows)
    @rule(at=st.integers(0, 99), fields=st.fixed_dictionaries({}, optional={"k": KEYS, "flag": st.booleans()}))
    def change(self, at: int, fields: dict[str, Any]) -> None:
        row = self.rows[at % len(self.rows)]
        self.living.mutate("m:change", id=row["_id"], fields=fields)
        row.update(fields)

    @precondition(lambda self: len(self.views) < 4 and not self.broken)
    @rule(
        order=st.sampled_from(["k", "creation", "flag", "range"]),
        direction=st.sampled_from(["asc", "desc"]),
        shown=st.booleans(),
        count=st.integers(1, 4),
        limit=st.sampled_from([None, 1, 3, 4]),
    )
    def open(self, order: str, direction: str, shown: bool, count: int, limit: int | None) -> None:
        # With a filter nobody could tell from the outside where a page ends that a limit cut short.
        opts = {"maximumRowsRead": limit} if limit is not None and not shown else {}
        self.views.append(View(self.living.pager(count, order, direction, shown, **opts)))

    @precondition(lambda self: self.views and not self.broken)
    @rule(at=st.integers(0, 3), count=st.integers(1, 4))
    def load_more(self, at: int, count: int) -> None:
        view = self.views[at % len(self.views)]
        left = len(view.ordered(self.rows)) - len(view.pager.items)
        most = min(count, view.pager.options.get("maximumRowsRead", count))
        if view.pager.load_more(count):
            page = view.pager.pages[-1]
            # Its first result, before it may be split.
            self.living.runner.run(view.pager._update(view.pager.pages, self.living.ts))
            assert page.shown is not None
            assert len(page.shown["page"]) == min(most, left)
            assert page.shown["isDone"] == (most > left)
            view._note()

    @precondition(lambda self: self.views)
    @rule(at=st.integers(0, 3))
    def reconnect(self, at: int) -> None:
        self.views[at % len(self.views)].pager.reconnect()

    @rule()
    def break_or_mend(self) -> None:
        self.broken = not self.broken
        self.living.mutate("m:set_broken", broken=self.broken)

    @invariant()
    def every_list_is_the_ordered_table(self) -> None:
        for view in self.views:
            self.living.settle(view.pager)
            for page in view.pager.pages:
                assert (page.error is not None) == self.broken
            if not self.broken:
                assert view.pager.items == view.covered(self.rows)
                assert view.pager.done == (view.ends[-1] is None)

    def teardown(self) -> None:
        for view in self.views:
            view.pager.close()
        self.living.mutate("m:delete", ids=[row["_id"] for row in self.rows])
        self.living.mutate("m:set_broken", broken=False)


def test_live_pages_are_the_ordered_table(living: Living) -> None:
    """Pages never overlap, never leave a gap, and always equal the ordered table."""
    run_state_machine_as_test(
        lambda: LivePages(living), settings=settings(max_examples=40, stateful_step_count=25, deadline=None)
    )


def ks(pager: Pager) -> list[list[Any]]:
    return [[row["k"] for row in page.shown["page"]] if page.shown else [] for page in pager.pages]


@pytest.fixture
def nine(living: Living) -> Iterator[Living]:
    for k in range(9):
        living.mutate("m:insert", k=k, flag=True)
    yield living
    living.mutate("m:clear")


def three_pages(living: Living, **options: Any) -> Pager:
    pager = living.pager(3, **options)
    for _ in range(2):
        pager.load_more(3)
        living.settle(pager)
    return pager


def test_a_write_in_one_page_runs_no_other_again(nine: Living) -> None:
    pager = three_pages(nine)
    assert ks(pager) == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    # From now on each has its journal, and depends on its interval.
    for page, k in enumerate((1, 4, 7)):
        before = nine.engine.executions["queries"]
        row = nine.mutate("m:insert", k=k, flag=False)
        nine.settle(pager)
        assert [len(shown) for shown in ks(pager)] == [3 + (n == page) for n in range(3)]
        nine.mutate("m:delete", ids=[row["_id"]])
        nine.settle(pager)
        assert nine.engine.executions["queries"] - before == 2
    # Behind the last page that was loaded there is nothing yet that anybody looks at.
    before = nine.engine.executions["queries"]
    nine.mutate("m:insert", k=100, flag=False)
    nine.settle(pager)
    assert nine.engine.executions["queries"] == before
    pager.close()


def test_equal_pages_with_equal_journals_run_once(nine: Living) -> None:
    pagers = [three_pages(nine) for _ in range(4)]
    assert len({page.journal for pager in pagers for page in pager.pages}) == 3
    for _ in range(2):
        before = nine.engine.executions["queries"]
        nine.mutate("m:insert", k=4, flag=True)
        for pager in pagers:
            nine.settle(pager)
        assert nine.engine.executions["queries"] - before == 1
    pagers[0].reconnect()
    before = nine.engine.executions["queries"]
    nine.settle(pagers[0])
    assert pagers[0].items == pagers[1].items
    assert nine.engine.executions["queries"] - before <= 2  # the pages of which nothing is kept under their journals
    # Somebody new begins with a page of his own.
    new = nine.pager(3)
    assert ks(new) == [[0, 1, 2]]
    for pager in [*pagers, new]:
        pager.close()


def test_a_crash_does_not_forget_where_pages_ended(nine: Living) -> None:
    pager = Pager(nine.engine, "m:crashes", {"k": 0}, 3)
    nine.settle(pager)
    nine.mutate("m:insert", k=1, flag=True)
    nine.settle(pager)
    assert ks(pager) == [[0, 1, 1, 2]]
    journal = pager.pages[0].journal
    nine.mutate("m:set_broken", broken=True)
    nine.settle(pager)
    assert (pager.pages[0].error.code, pager.pages[0].journal) == ("FunctionCrashed", journal)
    nine.mutate("m:set_broken", broken=False)
    nine.settle(pager)
    assert (ks(pager), pager.pages[0].error) == ([[0, 1, 1, 2]], None)
    pager.close()


def test_a_deploy_keeps_pages_unless_it_changes_their_query(nine: Living) -> None:
    pager = three_pages(nine)
    nine.mutate("m:insert", k=1, flag=True)
    nine.runner.run(nine.deployment.deploy("m", MODULE + "# the same query\n"))
    nine.settle(pager)
    assert ks(pager) == [[0, 1, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert not any(page.error for page in pager.pages)
    changed = MODULE.replace("if shown:", "if True:").replace('q.field("flag") == True', 'q.field("k") > 1')
    nine.runner.run(nine.deployment.deploy("m", changed))
    nine.settle(pager)
    errors = [page.error for page in pager.pages]
    assert [error.code if error else "" for error in errors] == ["InvalidCursor"] * 3
    assert decode_json(errors[0].data) == {"isConvexSystemError": True, "paginationError": "InvalidCursor"}
    anew = three_pages(nine)
    assert ks(anew) == [[2, 3, 4], [5, 6, 7], [8]]
    nine.runner.run(nine.deployment.deploy("m", MODULE))
    pager.close()
    anew.close()


def test_pages_are_right_at_every_moment_while_others_write(nine: Living) -> None:
    """Several lists of the same query load, grow, split and reconnect while rows come and go."""

    async def write(chance: random.Random) -> None:
        ids: list[str] = []
        for _ in range(40):
            if ids and chance.random() < 0.4:
                gone = [ids.pop(chance.randrange(len(ids)))]
                await nine.deployment.mutate("m:delete", ids=gone)
            else:
                row = await nine.deployment.mutate("m:insert", k=chance.randrange(10), flag=True)
                ids.append(row["_id"])

    async def look(chance: random.Random) -> int:
        pager, looks = Pager(nine.engine, "m:list", {"order": "k", "direction": "asc", "shown": False}, 2), 0
        while not writing.done():
            await pager.settle()
            assert not any(page.error for page in pager.pages)
            now = await nine.engine.query(QueryRequest("m:whole", pack({})), at=pager.ts)
            rows = decode_json(now.value)
            assert pager.items == rows[: len(pager.items)]
            assert not pager.done or pager.items == rows
            looks += 1
            if chance.random() < 0.5:
                pager.load_more(chance.randrange(1, 4))
            elif chance.random() < 0.2:
                pager.reconnect()
            await asyncio.sleep(0)
        pager.close()
        return looks

    async def all_at_once() -> list[int]:
        nonlocal writing
        writing = asyncio.gather(*(write(random.Random(n)) for n in range(4)))
        looks = await asyncio.gather(*(look(random.Random(n)) for n in range(5)))
        await writing
        return looks

    writing: asyncio.Future[Any]
    looks = nine.runner.run(all_at_once())
    assert all(looks)


def test_internal_queries_and_mutations_read_pages_too(nine: Living) -> None:
    first = nine.mutate("m:take_page", opts={"numItems": 2, "cursor": None})
    assert [row["k"] for row in first["page"]] == [0, 1]
    second = nine.mutate("m:take_page", opts={"numItems": 2, "cursor": first["continueCursor"]})
    assert [row["k"] for row in second["page"]] == [2, 3]
