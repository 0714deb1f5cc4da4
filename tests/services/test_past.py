"""Queries as of earlier times, against the real backend."""

from __future__ import annotations

import datetime as dt
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nbreactive import api, internal
from nbreactive.client.client import Client
from nbreactive.client.protocol import encode_ts
from nbreactive.client.target import Target
from nbreactive.errors import HistoryGone, InvalidValue, NotAllowed, Refused
from tests.client.fake_server import until
from tests.served import KEY, Served

SHOP = """
from nbreactive import define_schema, define_table, internal_mutation, internal_query, mutation, query, v

schema = define_schema({
    "orders": define_table({"item": v.string(), "amount": v.integer()})
        .index("by_item", ["item"]).search_index("search_item", search_field="item"),
})

@query
def orders(ctx):
    return [(each["item"], each["amount"]) for each in ctx.db.query("orders").collect()]

@query
def amounts(ctx, item: str):
    def found():
        return ctx.db.query("orders").with_index("by_item", lambda q: q.eq("item", item))

    return [each["amount"] for each in found().collect()] + [found().count()]

@query
def searched(ctx, text: str):
    found = ctx.db.query("orders").with_search_index("search_item", lambda q: q.search("item", text))
    return [each["item"] for each in found.take(10)]

@query
def now(ctx):
    return ctx.now()

@query
def page(ctx, paginationOpts):
    return ctx.db.query("orders").paginate(paginationOpts)

@mutation
def order(ctx, item: str, amount: int):
    return ctx.db.insert("orders", {"item": item, "amount": amount})

@mutation
def many(ctx, count: int):
    for number in range(count):
        ctx.db.insert("orders", {"item": f"item {number}", "amount": number})

@mutation
def change(ctx, id: str, amount: int):
    ctx.db.patch(id, {"amount": amount})

@mutation
def cancel(ctx, id: str):
    ctx.db.delete(id)

@query
def public_before(ctx, at: float):
    return ctx.db.at(at).query("orders").count()

@internal_query
def amounts_at(ctx, ats: list[str]):
    return [sorted(each["amount"] for each in ctx.db.at(at).query("orders").collect()) for at in ats]

@internal_query
def difference(ctx, at: str):
    return ctx.db.query("orders").count() - ctx.db.at(at).query("orders").count()

@query
def caught(ctx, at: str):
    try:
        return ctx.db.at(at).query("orders").count()
    except Exception:
        return "caught"

@internal_query
def by_sql(ctx, at: str):
    return ctx.db.sql("SELECT n.item, o.amount AS then, n.amount AS now FROM orders n JOIN orders o AT $at USING (_id)", at=at)

@query
def public_by_sql(ctx):
    return ctx.db.sql("SELECT count(*) AS n FROM orders AT ('2026-01-01')")

@query
def total(ctx):
    return ctx.db.sql("SELECT sum(amount)::DOUBLE AS total FROM orders")[0]["total"]

@internal_mutation
def restore(ctx, id: str, at: str):
    ctx.db.patch(id, {"amount": ctx.db.at(at).get(id)["amount"]})
"""


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("past"), {"shop": SHOP}) as running:
        yield running


@pytest.fixture(scope="module")
def admin(backend: Served) -> Iterator[Client]:
    with Client(Target(backend.url, headers={"Authorization": f"Convex {KEY}"})) as client:
        yield client


class Story:
    """Three states of a table, each with the timestamp of the commit that made it."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.item = f"tea {time.monotonic_ns()}"
        self.id = client.call(api.shop.order, {"item": self.item, "amount": 1})
        self.ordered = last(client)
        client.call(api.shop.change, {"id": self.id, "amount": 2})
        self.changed = last(client)
        client.call(api.shop.cancel, {"id": self.id})
        self.canceled = last(client)

    def amounts(self, at: Any) -> list[int]:
        """The amounts of this item, and how many the index counts."""
        return self.client.call(api.shop.amounts.options(at=at), {"item": self.item})


def last(client: Client) -> str:
    """The timestamp of the last commit."""
    return client.admin("GET", "changes?limit=1")["changes"][0]["ts"]


@pytest.fixture
def story(admin: Client) -> Story:
    return Story(admin)


def start_without_index(served: Served) -> None:
    """Start again with a row index that has nothing but what is now, as it has after a minute."""
    served.stop()
    shutil.rmtree(served.data / "index")
    served.start()


def age(client: Client) -> None:
    """Change the environment: what was before is read from row indexes of its own then, however recent it is."""
    client.admin("POST", "environment", {"changes": [{"name": "AGE", "value": str(time.monotonic_ns())}]})


@pytest.mark.parametrize("old", [False, True], ids=["recent", "old"])
def test_a_query_gives_what_was(admin: Client, story: Story, old: bool) -> None:
    if old:
        age(admin)
    assert story.amounts(int(story.ordered) - 1) == [0]
    assert story.amounts(story.ordered) == [1, 1]
    assert story.amounts(int(story.changed)) == [2, 1]
    assert story.amounts(story.canceled) == [0]
    assert admin.call(api.shop.amounts, {"item": story.item}) == [0]


@pytest.mark.parametrize("old", [False, True], ids=["recent", "old"])
def test_searches_pages_and_clocks_are_of_then_too(admin: Client, story: Story, old: bool) -> None:
    if old:
        age(admin)
    assert story.item in admin.call(api.shop.searched.options(at=story.changed), {"text": story.item.split()[1]})
    assert admin.call(api.shop.searched, {"text": story.item.split()[1]}) == []
    first = {"paginationOpts": {"numItems": 1000, "cursor": None}}
    shown = admin.call(api.shop.page.options(at=story.changed), first)["page"]
    assert story.id in [row["_id"] for row in shown]
    assert admin.call(api.shop.now.options(at=story.changed)) == int(story.changed) // 1_000_000


def test_a_moment_is_written_in_many_ways(admin: Client, story: Story) -> None:
    after = dt.datetime.fromtimestamp(int(story.changed) // 1_000_000 / 1000 + 0.001, dt.UTC)
    if int(story.canceled) <= int(after.timestamp() * 1000) * 1_000_000:
        after = None  # the machine was too fast for milliseconds
    for at in [after, after.isoformat(), after.timestamp() * 1000] if after is not None else []:
        assert story.amounts(at) == [2, 1]
    with pytest.raises(InvalidValue, match=r"has no time zone; use datetime\.now"):
        story.amounts(dt.datetime(2026, 11, 1))  # noqa: DTZ001 - that is the point
    with pytest.raises(InvalidValue, match="has not come yet"):
        story.amounts("2126-11-01")


def test_a_live_query_of_then_stays(admin: Client, story: Story) -> None:
    age(admin)
    with admin.live(api.shop.amounts, {"item": story.item}, {"at": story.ordered}) as then:
        assert then.value == [1, 1]
        assert then.status == "live"
        with admin.live(api.shop.amounts, {"item": story.item}) as now:
            runs = admin.admin("GET", "status")["executions"]["queries"]
            admin.call(api.shop.order, {"item": story.item, "amount": 7})
            until(lambda: now.value == [7, 1])
            assert then.value == [1, 1]
            assert admin.admin("GET", "status")["executions"]["queries"] == runs + 1


def test_a_live_query_travels_and_comes_back(admin: Client, story: Story) -> None:
    with admin.live(api.shop.amounts, {"item": story.item}) as live:
        assert live.value == [0]
        live.travel(story.ordered)
        until(lambda: live.value == [1, 1])
        live.travel(story.changed)
        until(lambda: live.value == [2, 1])
        assert "as of" in live.title
        live.travel(None)
        until(lambda: live.value == [0])
        admin.call(api.shop.order, {"item": story.item, "amount": 9})
        until(lambda: live.value == [9, 1])


def test_nobody_else_sees_what_was_deleted(backend: Served, story: Story) -> None:
    with Client(Target(backend.url)) as anybody:
        with pytest.raises(Refused, match="role 'deploy'"):
            anybody.call(api.shop.amounts.options(at=story.changed), {"item": story.item})
        with pytest.raises(Refused, match="role 'deploy'"):
            anybody.live(api.shop.amounts, {"item": story.item}, {"at": story.changed})
        with pytest.raises(NotAllowed, match="internal_query"):
            anybody.call(api.shop.public_before, {"at": int(story.changed) / 1e6})


def test_functions_read_other_times(admin: Client, story: Story) -> None:
    _read_other_times(admin, story)


def _read_other_times(client: Client, story: Story) -> None:
    ats = [story.ordered, story.changed, story.canceled]
    ordered, changed, canceled = client.call(internal.shop.amounts_at, {"ats": ats})
    assert changed == sorted([*canceled, 2])
    assert ordered == sorted([*canceled, 1])
    assert client.call(internal.shop.difference, {"at": story.changed}) == -1


def test_functions_read_other_times_from_the_history(tmp_path: Path) -> None:
    with Served(tmp_path, {"shop": SHOP}) as served:
        with Client(Target(served.url, headers={"Authorization": f"Convex {KEY}"})) as client:
            story = Story(client)
            id = client.call(api.shop.order, {"item": "cake", "amount": 5})
            then = last(client)
            client.call(api.shop.change, {"id": id, "amount": 50})
        start_without_index(served)
        with Client(Target(served.url, headers={"Authorization": f"Convex {KEY}"})) as client:
            assert client.call(api.shop.caught, {"at": story.changed}) == 1
            client.call(internal.shop.restore, {"id": id, "at": then})
            assert client.call(api.shop.orders) == [["cake", 5]]
            client.call(api.shop.cancel, {"id": id})
            _read_other_times(client, story)
            assert len(client.admin("GET", "status")["past"]) == 4
            with pytest.raises(InvalidValue, match="earlier times read by one call"):
                ats = [str(int(story.ordered) - number) for number in range(4)]
                client.call(internal.shop.amounts_at, {"ats": ats})


def test_a_live_query_may_compare_with_then(admin: Client, story: Story) -> None:
    age(admin)
    with admin.live(internal.shop.difference, {"at": story.changed}) as live:
        assert live.value == -1
        admin.call(api.shop.order, {"item": story.item, "amount": 1})
        until(lambda: live.value == 0)


def test_a_mutation_may_bring_back_what_was(admin: Client) -> None:
    id = admin.call(api.shop.order, {"item": "cake", "amount": 5})
    then = last(admin)
    admin.call(api.shop.change, {"id": id, "amount": 50})
    age(admin)
    admin.call(internal.shop.restore, {"id": id, "at": then})
    assert ("cake", 5) in [tuple(row) for row in admin.call(api.shop.orders)]


def test_what_is_kept_is_bounded_and_goes_with_the_backend(tmp_path: Path) -> None:
    with Served(tmp_path, {"shop": SHOP}) as served:
        with Client(Target(served.url, headers={"Authorization": f"Convex {KEY}"})) as client:
            story = Story(client)
            age(client)
            for at in (story.ordered, story.changed, story.ordered):
                story.amounts(at)
            past = client.admin("GET", "status")["past"]
            assert [each["state"] for each in past] == ["ready", "ready"]
            assert len(list((served.data / "past").iterdir())) == 2
            age(client)  # which makes them old
            story.amounts(story.canceled)
            until(lambda: len(list((served.data / "past").iterdir())) == 1)
        served.stop()
        assert not (served.data / "past").exists()


def test_before_the_horizon_nothing_is_known(tmp_path: Path) -> None:
    with Served(tmp_path, {"shop": SHOP}) as served:
        with Client(Target(served.url, headers={"Authorization": f"Convex {KEY}"})) as client:
            story = Story(client)
            age(client)
            report = served.fetch("/api/admin/retention", {"keep": "0s"}, admin=True)
            assert report["horizon"] > int(story.canceled)
        start_without_index(served)
        with Client(Target(served.url, headers={"Authorization": f"Convex {KEY}"})) as client:
            story.client = client
            with pytest.raises(HistoryGone, match="from when on history is kept"):
                story.amounts(story.changed)
            with pytest.raises(HistoryGone, match="from when on history is kept"):
                client.call(internal.shop.amounts_at, {"ats": [story.changed]})
            assert story.amounts(int(time.time() * 1000)) == [0]


def test_over_http(backend: Served, admin: Client, story: Story) -> None:
    body = {"path": "shop:amounts", "args": {"item": story.item}, "at": story.changed}
    assert backend.fetch("/api/query", body, admin=True)["value"] == [2, 1]
    assert "deploy" in backend.fetch("/api/query", body)["errorMessage"]
    age(admin)
    ts = encode_ts(int(story.changed))
    body = {"path": "shop:amounts", "args": {"item": story.item}, "ts": ts}
    assert backend.fetch("/api/query_at_ts", body, admin=True)["value"] == [2, 1]


def test_sql_inside_of_functions(backend: Served, admin: Client, story: Story) -> None:
    id = admin.call(api.shop.order, {"item": "bread", "amount": 3})
    then = last(admin)
    total = admin.call(api.shop.total)
    with admin.live(internal.shop.by_sql, {"at": then}) as live:
        assert {"item": "bread", "then": 3, "now": 3} in live.value
        admin.call(api.shop.change, {"id": id, "amount": 4})
        until(lambda: {"item": "bread", "then": 3, "now": 4} in live.value)
    assert admin.call(api.shop.total) == total + 1
    assert admin.call(api.shop.total.options(at=then)) == total
    age(admin)
    assert admin.call(api.shop.total.options(at=then)) == total
    with Client(Target(backend.url)) as anybody, pytest.raises(NotAllowed, match="AT shows what may have been deleted"):
        anybody.call(api.shop.public_by_sql)
    assert admin.call(api.shop.public_by_sql) == [{"n": 0}]


def test_live_sql_of_then_never_runs_again(admin: Client, story: Story) -> None:
    then = admin.call("_system/sql:register", {"sql": f"SELECT count(*) AS n FROM orders AT ({story.changed})"})
    both = f"SELECT (SELECT count(*) FROM orders AT ({story.changed})) AS past, (SELECT count(*) FROM orders) AS now"
    now = admin.call("_system/sql:register", {"sql": both})
    with (
        admin.live("_system/sql:live", {"hash": then, "params": {}}) as constant,
        admin.live("_system/sql:live", {"hash": now, "params": {}}) as live,
    ):
        (count,) = constant.value["rows"][0]
        (past, here) = live.value["rows"][0]
        assert past == count
        until(lambda: admin.admin("GET", "status")["subscriptions"] == 2)  # those of other tests are over
        runs = admin.admin("GET", "status")["executions"]["queries"]
        admin.call(api.shop.order, {"item": "salt", "amount": 3})
        until(lambda: live.value["rows"] == [[past, here + 1]])
        assert constant.value["rows"] == [[count]]
        assert admin.admin("GET", "status")["executions"]["queries"] == runs + 1
