"""The slider that moves a live query through time, against the real backend."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import nbreactive
from nbreactive import api
from nbreactive.client import threads
from nbreactive.client.client import Client
from nbreactive.client.target import Target
from nbreactive.functions.references import set_caller
from nbreactive.notebook.history import NOW, History
from tests.client.fake_server import until
from tests.served import KEY, Served

SHOP = """
from nbreactive import mutation, query

@query
def items(ctx):
    return [order["item"] for order in ctx.db.query("orders").collect()]

@mutation
def order(ctx, item: str):
    ctx.db.insert("orders", {"item": item})

@mutation
def note(ctx):
    ctx.db.insert("notes", {})
"""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with Served(tmp_path_factory.mktemp("history"), {"shop": SHOP}) as backend:
        client = nbreactive.connect(backend.url, admin_key=KEY)
        yield client
        nbreactive.client.disconnect()
        set_caller(None)


@pytest.fixture
def orders(client: Client) -> list[str]:
    """The items that there are; the last three were ordered just now."""
    for item in ("tea", "coffee", "<b>cake</b>"):
        client.call(api.shop.order, {"item": item})
        client.call(api.shop.note)
    return client.call(api.shop.items)


def stops(history: History) -> list[int]:
    return [ts for _, ts in history.slider.options]


def test_a_query_goes_through_time(client: Client, orders: list[str]) -> None:
    history = api.shop.items.live().history(limit=20)
    try:
        assert history.live.value == orders
        assert history.slider.value == NOW
        assert stops(history)[-1] == NOW
        tea = [ts for ts in stops(history)[:-1] if history._changes[ts]["function"] == "shop:order"][-3]
        history.slider.value = tea
        until(lambda: history.live.value == orders[:-2])
        assert "after shop:order" in history._said.value
        assert "as of" in history.live.title
        history.travel()
        until(lambda: history.live.value == orders)
        client.call(api.shop.order, {"item": "milk"})
        until(lambda: history.live.value == [*orders, "milk"])
        history.refresh()
        assert history._changes[stops(history)[-2]]["function"] == "shop:order"
    finally:
        history.close()
    assert history.live.status == "closed"


def test_dragging_asks_for_the_last_time_only(client: Client, orders: list[str]) -> None:
    history = nbreactive.history(api.shop.items)
    try:
        asked: list[Any] = []
        travel = history.live.travel
        history.live.travel = lambda at=None: (asked.append(at), travel(at))  # type: ignore[method-assign]
        for ts in stops(history)[-7:-1]:
            history.slider.value = ts
        assert threads.callbacks().settle(10)
        assert asked[-1] == stops(history)[-2]
        assert len(asked) <= 2
        until(lambda: history.live.value == orders)
    finally:
        history.close()


def test_results_of_sql_go_through_time(client: Client, orders: list[str]) -> None:
    frame = nbreactive.sql("SELECT count(*) AS n FROM orders WHERE item <> $item", item="nothing")
    history = nbreactive.history(frame, limit=5)
    try:
        until(lambda: history.live.value == [{"n": len(orders)}])
        for ts in stops(history)[:-1]:
            history.travel(ts)
            count = len(client.call(api.shop.items.options(at=ts)))
            until(lambda count=count: history.live.value == [{"n": count}])
        history.travel()
        client.call(api.shop.order, {"item": "sugar"})
        until(lambda: history.live.value == [{"n": len(orders) + 1}])
    finally:
        history.close()
        frame.close()


def test_a_select_is_taken_as_it_is(client: Client, orders: list[str]) -> None:
    history = nbreactive.history("SELECT count(*) AS n FROM orders WHERE item <> $item", item="nothing", limit=4)
    try:
        until(lambda: history.live.value == [{"n": len(orders)}])
        history.travel(stops(history)[0])
        until(lambda: history.live.value == [{"n": len(client.call(api.shop.items.options(at=stops(history)[0])))}])
    finally:
        history.close()


def test_connecting_once_more_to_the_same_place_ends_nothing(
    client: Client, orders: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    live = nbreactive.sql("SELECT count(*) AS n FROM orders")
    monkeypatch.setattr("nbreactive.client.discovery.find", lambda *given: _found(client))
    assert nbreactive.connect() is client
    assert live.status == "live"
    with nbreactive.connect(current=False) as beside:
        assert beside is not client
    assert not client.closed
    live.close()


async def _found(client: Client) -> Target:
    return Target(client.target.base, headers=dict(client.target.headers))


def test_a_table_stops_at_its_own_commits(client: Client, orders: list[str]) -> None:
    history = nbreactive.history("orders", limit=3)
    try:
        assert len(stops(history)) == 4
        assert history.live.total == len(orders)
        history.slider.value = stops(history)[0]
        until(lambda: history.live.total == len(orders) - 2)
        assert len(history.live.value) == len(orders) - 2
        assert len(history.live.df()) == len(orders) - 2
        assert "<b>" not in history._said.value
        history.refresh()
        assert history.slider.value == stops(history)[0]
    finally:
        history.close()
