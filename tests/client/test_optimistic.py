"""Optimistic updates and paginated queries of real clients of a real backend."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nbreactive.client
from nbreactive import PaginationOpts, api, insert_at_top, update_in_page, use_mutation, use_paginated_query
from nbreactive.client import SKIP, threads
from nbreactive.client.client import Client
from nbreactive.client.target import Target
from nbreactive.errors import AppError, ArgumentError, FunctionNotFound, NBReactiveError, NotAllowed
from nbreactive.values.kinds import UNSET
from tests.client.fake_server import until
from tests.served import Served

POSTS = """
from nbreactive import AppError, PaginationOpts, mutation, query

@query
def all(ctx):
    return ctx.db.query("posts").order("desc").collect()

@query
def list(ctx, opts: PaginationOpts, author: str = "al"):
    return ctx.db.query("posts").filter(lambda q: q.field("author") == author).order("desc").paginate(opts)

@mutation
def add(ctx, body: str, author: str = "al", fail: bool = False):
    if fail:
        raise AppError("no")
    return ctx.db.insert("posts", {"body": body, "author": author, "likes": 0})

@mutation
def like(ctx, body: str):
    post = ctx.db.query("posts").filter(lambda q: q.field("body") == body).first()
    ctx.db.patch(post["_id"], {"likes": post["likes"] + 1})
"""


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("backend"), {"posts": POSTS}) as running:
        until(lambda: running.ask("query", "posts:all").get("status") == "success", 30)
        yield running


@pytest.fixture
def client(backend: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    with Client(Target(backend.url)) as made:
        monkeypatch.setattr(nbreactive.client.connecting.process, "client", made)
        nbreactive.client.install()
        yield made


def bodies(rows: list[dict[str, Any]], start: str = "") -> list[str]:
    return [row["body"] for row in rows if row["body"].startswith(start)]


def added(store: Any, args: dict[str, Any]) -> None:
    """Show a post that was sent at once."""
    post = {"_id": "new", "_creationTime": 0, "body": args["body"], "author": "al", "likes": 0}
    rows = store.get_query(api.posts.all)
    if rows is not UNSET:
        store.set_query(api.posts.all, {}, [post, *rows])
    insert_at_top(store, api.posts.list, post, {"author": "al"})


def test_the_view_changes_before_the_server_has_answered(client: Client) -> None:
    live = api.posts.all.live()
    add = use_mutation(api.posts.add).with_optimistic_update(added)
    seen: list[list[str]] = []
    live.observe(lambda change: seen.append(bodies(change.new, "early")), "value")
    started = [add.start(body=f"early {number}", fail=number == 1) for number in range(3)]
    assert {"early 0", "early 2"} <= set(bodies(live.value))
    assert started[0].result(10)
    with pytest.raises(AppError):
        started[1].result(10)
    started[2].result(10)
    assert bodies(live.value, "early") == ["early 2", "early 0"]
    assert all(post["_id"] != "new" for post in live.value)
    done = threading.Event()
    threads.callbacks().post(object(), done.set)
    assert done.wait(10)
    for view in seen:
        assert len(view) == len(set(view)), seen
    assert all("early 0" in view for view in seen), seen
    assert asyncio.run(add.aio(body="early 3"))
    assert add(body="early 4")
    assert bodies(live.value, "early") == ["early 4", "early 3", "early 2", "early 0"]


def test_an_update_that_raises_is_the_callers_and_sends_nothing(client: Client) -> None:
    live = api.posts.all.live()
    before = live.value

    def broken(store: Any, args: dict[str, Any]) -> None:
        store.set_query(api.posts.all, {}, [])
        raise KeyError("mine")

    add = use_mutation(api.posts.add).with_optimistic_update(broken)
    for attempt in (lambda: add(body="x"), lambda: add.start(body="x"), lambda: asyncio.run(add.aio(body="x"))):
        with pytest.raises(KeyError, match="mine"):
            attempt()
    assert live.value is before
    assert "x" not in bodies(api.posts.all())


def test_arguments_that_do_not_fit_are_said_before_what_the_update_makes_of_them(client: Client) -> None:
    live = api.posts.all.live()

    def liked(store: Any, args: dict[str, Any]) -> None:
        store.set_query(api.posts.all, {}, [{"body": args["body"]}])

    like = use_mutation(api.posts.like).with_optimistic_update(liked)
    for attempt in (lambda: api.posts.like("x"), lambda: like("x"), lambda: like.start("x"), lambda: like(["x"], b=1)):
        with pytest.raises(ArgumentError, match=r"keywords, or one dict, .*write api\.posts\.like\("):
            attempt()
    for mutation in (like, like.start, lambda **args: asyncio.run(like.aio(**args))):
        with pytest.raises(ArgumentError, match="post") as raised:
            mutation(post="x")
        assert "body" in str(raised.value)
    with pytest.raises(ArgumentError, match="post"):
        api.posts.like(post="x")
    assert live.error is None


def test_only_mutations_are_used_as_such(client: Client) -> None:
    ran: list[Any] = []
    for use in (
        use_mutation(api.posts.all),
        use_mutation(api.posts.all).with_optimistic_update(lambda *_: ran.append(1)),
    ):
        for attempt in (use, lambda use=use: asyncio.run(use.aio()), lambda use=use: use.start().result(10)):
            with pytest.raises(ArgumentError, match=r"api\.posts\.all is a query.*make it live, api\.posts\.all\.live"):
                attempt()
    assert use_mutation(api.posts.add)(body="one that is")


def test_an_update_that_sets_what_is_not_deployed_says_so(client: Client) -> None:
    live = api.posts.all.live()

    def misspelt(store: Any, args: dict[str, Any]) -> None:
        store.set_query(api.posts.all, {}, [{"body": "seen for a moment"}])
        store.set_query(api.posts.alll, {}, [])

    add = use_mutation(api.posts.add).with_optimistic_update(misspelt)
    for attempt in (lambda: add(body="typo"), lambda: add.start(body="typo")):
        with pytest.raises(FunctionNotFound, match=r"no function api\.posts\.alll .*Did you mean api\.posts\.all"):
            attempt()
    until(lambda: "seen for a moment" not in bodies(live.value))
    assert "typo" not in bodies(api.posts.all())
    other = use_mutation(api.posts.add).with_optimistic_update(lambda store, _: store.set_query(api.posts.list, {}, []))
    assert other(body="nobody looks at it"), "what is deployed and not live here may be set"


def test_what_updates_may_not_do(client: Client) -> None:
    live = api.posts.all.live()
    like = use_mutation(api.posts.add)
    kept: list[Any] = []

    def calls(store: Any, args: dict[str, Any]) -> None:
        kept.append(store)
        like.with_optimistic_update(added).start(body="nested")

    with pytest.raises(NBReactiveError, match="inside an optimistic update"):
        like.with_optimistic_update(calls)(body="outer")
    with pytest.raises(NotAllowed, match="has returned"):
        kept[0].get_query(api.posts.all)

    async def later(store: Any, args: dict[str, Any]) -> None:
        """Not allowed."""

    for update in (later, 5):
        with pytest.raises(ArgumentError):
            like.with_optimistic_update(update)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="asynchronous"):
        like.with_optimistic_update(lambda store, args: later(store, args))(body="outer")
    with pytest.raises(ArgumentError, match="already"):
        like.with_optimistic_update(added).with_optimistic_update(added)
    assert not {"nested", "outer"} & set(bodies(live.value))
    assert "optimistic" not in repr(like)


def test_copies_are_changed_and_results_are_not(client: Client) -> None:
    live = api.posts.all.live()
    before = [dict(row) for row in live.value]

    def spoil(store: Any, args: dict[str, Any]) -> None:
        for query in store.get_all_queries(api.posts.all):
            query.value.clear()
        args.clear()

    use_mutation(api.posts.add).with_optimistic_update(spoil)(body="spoiled")
    assert live.value[1:] == before
    assert live.value[0]["body"] == "spoiled"


def test_an_observer_may_start_a_mutation(client: Client) -> None:
    live = api.posts.all.live()
    add = use_mutation(api.posts.add).with_optimistic_update(added)
    raised: list[BaseException] = []

    def follow(change: Any) -> None:
        if bodies(change.new)[0] == "first":
            started = add.start(body="second")
            try:
                started.result()
            except NBReactiveError as failure:
                raised.append(failure)

    live.observe(follow, "value")
    add(body="first")
    until(lambda: "second" in bodies(live.value) and live.value[0]["_id"] != "new")
    assert all("hold every view back" in str(failure) for failure in raised)


def test_a_failure_that_nobody_asks_for_is_logged(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    use_mutation(api.posts.add).start(body="lost", fail=True)
    until(lambda: "posts:add failed: AppError: no" in caplog.text)


def test_a_list_grows_a_page_at_a_time_and_stays_live(client: Client, backend: Served) -> None:
    for number in range(7):
        api.posts.add(body=f"page {number}", author="bo")
    page = use_paginated_query(api.posts.list.options(page_size=3), author="bo")
    assert bodies(page.results) == ["page 6", "page 5", "page 4"]
    assert (page.status, page.is_loading, len(page)) == ("CanLoadMore", False, 3)
    page.load_more(2)
    assert bodies(page.value) == [f"page {number}" for number in (6, 5, 4, 3, 2)]
    page.load_more()
    assert (len(page.results), page.status) == (7, "Exhausted")
    page.load_more()  # there is no more
    backend.call("mutation", "posts:like", body="page 3")
    until(lambda: page.results[3]["likes"] == 1)
    assert list(page.df()["likes"]) == [0, 0, 0, 1, 0, 0, 0]
    for number in range(7, 14):  # more than twice a page: it is split
        api.posts.add(body=f"page {number}", author="bo")
    until(lambda: bodies(page.results) == [f"page {number}" for number in range(13, -1, -1)])
    until(lambda: page._pages is not None and len(page._pages._pages) >= 4)

    def liked(store: Any, args: dict[str, Any]) -> None:
        more = lambda row: {**row, "likes": row["likes"] + 1} if row["body"] == args["body"] else row  # noqa: E731
        update_in_page(store, api.posts.list, more)

    like = use_mutation(api.posts.like).with_optimistic_update(liked)
    pending = like.start(body="page 0")
    assert page.results[-1]["likes"] == 1
    pending.result(10)
    assert page.results[-1]["likes"] == 1
    page.close()
    assert page.state == "closed"


def test_who_mixes_up_pages_and_single_results_is_told_the_fix(client: Client) -> None:
    for attempt, fix in (
        (lambda: use_paginated_query(api.posts.list, page_size=3), r"use_paginated_query\(api\.posts\.list\.options\("),
        (
            lambda: use_paginated_query(api.posts.all),
            r"api\.posts\.all does not read pages.*use_query\(api\.posts\.all",
        ),
        (lambda: api.posts.list(), r"use_paginated_query\(api\.posts\.list, "),
        (lambda: api.posts.list.live(), r"use_paginated_query\(api\.posts\.list, "),
        (lambda: asyncio.run(api.posts.list.aio()), r"use_paginated_query\(api\.posts\.list, "),
    ):
        with pytest.raises(ArgumentError, match=fix):
            attempt()
    assert "page" in api.posts.list(paginationOpts=PaginationOpts(20)), "as the message says"


def test_pages_begin_again_when_arguments_change(client: Client) -> None:
    import traitlets

    class Box(traitlets.HasTraits):
        value = traitlets.Any()

    api.posts.add(body="of cy", author="cy")
    box = Box(value=SKIP)
    page = use_paginated_query(api.posts.list, author=box)
    assert (page.results, page.status) == ([], "LoadingFirstPage")
    box.value = "cy"
    until(lambda: bodies(page.results) == ["of cy"])
    box.value = "nobody"
    until(lambda: page.results == [] and page.status == "Exhausted")
    with pytest.raises(ArgumentError, match="rows from 1"):
        use_paginated_query(api.posts.list.options(page_size=0))
    with pytest.raises(ArgumentError, match=r"does not return a page|paginationOpts"):
        use_paginated_query(api.posts.all)


STEPS = st.sampled_from(["add", "add", "add", "fail", "other", "wait", "drop"])


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(st.lists(STEPS, min_size=10, max_size=40))
def test_whatever_two_people_do_no_view_is_wrong(client: Client, backend: Served, steps: list[str]) -> None:
    """Every value that live queries take is looked at: nothing twice, nothing dropped that was applied."""
    live, start = api.posts.all.live(), f"{uuid.uuid4()} "
    page = use_paginated_query(api.posts.list.options(page_size=3), author="al")
    add = use_mutation(api.posts.add).with_optimistic_update(added)
    views: dict[str, list[list[str]]] = {"all": [bodies(live.value, start)], "pages": [bodies(page.value, start)]}
    for name, query in (("all", live), ("pages", page)):
        query.announce = lambda name=name, query=query: views[name].append(bodies(query.value, start))  # type: ignore[method-assign]
    started: dict[str, Any] = {}
    for number, step in enumerate(steps):
        body = f"{start}{number}"
        if step in ("add", "fail"):
            started[body] = add.start(body=body, fail=step == "fail")
            assert body in bodies(live.value) or step == "fail"
            assert body in bodies(page.value) or step == "fail"
        elif step == "other":
            backend.call("mutation", "posts:add", body=f"{start}other {number}")
        elif step == "wait":
            for call in list(started.values())[:-1]:
                call.exception(20)
        else:
            client._thread.submit(_drop(client)).result()
    good = {body for body, call in started.items() if call.exception(20) is None}
    assert good == {f"{start}{number}" for number, step in enumerate(steps) if step == "add"}
    others = {f"{start}other {number}" for number, step in enumerate(steps) if step == "other"}
    until(lambda: set(bodies(live.value, start)) == set(bodies(page.value, start)) == good | others)
    truth = api.posts.all()
    assert live.value == truth
    assert page.value == [post for post in truth if post["author"] == "al"][: len(page.value)]
    for seen in views.values():
        shown: set[str] = set()
        for view in seen:
            assert len(view) == len(set(view)), view
            assert shown <= set(view), sorted(shown - set(view))
            shown |= set(view) & good
    live.close()
    page.close()


async def _drop(client: Client) -> None:
    socket = client.connection._socket
    if socket is not None:
        socket.close()
