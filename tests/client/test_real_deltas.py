"""Row deltas end to end: a real backend, the real client, and what passes on the wire between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from nbreactive.client.client import Client
from nbreactive.client.paginated import PaginatedQuery
from nbreactive.client.target import Target
from nbreactive.values.kinds import UNSET
from tests.client.fake_server import until
from tests.conformance.proxy import Proxy
from tests.served import Served

ROWS = 10_000
MODULE = """
from nbreactive import PaginationOpts, mutation, query

@query
def all(ctx):
    return ctx.db.query("rows").collect()

@query
def framed(ctx):
    return {"columns": ["n"], "rows": [[row["n"], row["text"]] for row in ctx.db.query("rows").collect()], "total": 7}

@query
def pages(ctx, opts: PaginationOpts):
    return ctx.db.query("rows").paginate(opts)

@mutation
def fill(ctx, start: int, end: int):
    for n in range(start, end):
        ctx.db.insert("rows", {"n": n, "text": f"the text of row {n}", "deep": {"n": [n]}})

@mutation
def put(ctx, at: int, n: int):
    row = ctx.db.query("rows").filter(lambda q: q.field("text") == f"the text of row {at}").first()
    ctx.db.patch(row["_id"], {"n": n})

@mutation
def drop(ctx, at: int):
    row = ctx.db.query("rows").filter(lambda q: q.field("text") == f"the text of row {at}").first()
    ctx.db.delete(row["_id"])
"""


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("backend"), {"table": MODULE}) as running:
        for start in range(0, ROWS, 2000):
            running.call("mutation", "table:fill", start=start, end=start + 2000)
        yield running


@pytest.fixture
def proxy(backend: Served) -> Iterator[Proxy]:
    with Proxy(backend.port, sealed=True) as running:
        yield running


def ns(rows: Any) -> list[int]:
    return [row["n"] for row in rows]


def test_one_row_of_10000_costs_less_than_1_kb_on_the_wire(backend: Served, proxy: Proxy) -> None:
    with Client(Target(proxy.url)) as client:
        live = client.live("table:all", {})
        framed = client.live("table:framed", {})
        assert len(live.value) == len(framed.value["rows"]) == ROWS
        assert b"permessage-deflate" in proxy.handshakes[-1]
        assert proxy.received > 100_000
        for number in range(1, 4):
            before, rows, received = live.value, framed.value["rows"], proxy.received
            backend.call("mutation", "table:put", at=5000, n=-number)
            until(lambda number=number: live.value[5000]["n"] == -number and framed.value["rows"][5000][0] == -number)
            assert proxy.received - received < 1024  # and that is of two queries
            assert ns(live.value) == [*range(5000), -number, *range(5001, ROWS)]
            assert framed.value["rows"][:5000] == rows[:5000] and framed.value["total"] == 7
            assert live.value[0] == before[0] and live.value[0] is not before[0]
        backend.call("mutation", "table:put", at=5000, n=5000)
        until(lambda: live.value[5000]["n"] == 5000)


def test_results_stay_right_over_lost_connections_and_whole_ones_in_between(backend: Served, proxy: Proxy) -> None:
    with Client(Target(proxy.url)) as client:
        live = client.live("table:all", {})
        for number in range(1, 4):
            client.call("table:put", {"at": 10, "n": -number})
            assert ns(live.value)[8:12] == [8, 9, -number, 11]
            received = proxy.received
            proxy.cut()
            until(lambda number=number: proxy.connections == number + 1)
            until(lambda received=received: live.status == "live" and proxy.received - received > 100_000)
            client.call("table:put", {"at": 11, "n": -number - 10})
            assert ns(live.value)[8:13] == [8, 9, -number, -number - 10, 12]
            client.call("table:put", {"at": 11, "n": 11})
        client.call("table:put", {"at": 10, "n": 10})
        assert ns(live.value) == list(range(ROWS))


def test_optimistic_updates_are_shown_on_top(backend: Served, proxy: Proxy) -> None:
    def put(store: Any, args: dict[str, Any]) -> None:
        rows = store.get_query("table:all")
        assert rows is not UNSET
        rows[args["at"]]["n"] = args["n"] + 0.5
        store.set_query("table:all", {}, rows)

    with Client(Target(proxy.url)) as client:
        live = client.live("table:all", {})
        seen: list[float] = []
        live.observe(lambda change: seen.append(change.new[20]["n"]), "value")
        for number in range(1, 4):
            client.start("table:put", {"at": 20, "n": -number}, put).result()
            assert live.value[20]["n"] == -number
            until(lambda number=number: seen[-1:] == [-number])
        assert set(seen) <= {-0.5, -1, -1.5, -2, -2.5, -3}
        backend.call("mutation", "table:put", at=20, n=20)
        until(lambda: ns(live.value) == list(range(ROWS)))


def test_pages_change_by_their_rows(backend: Served, proxy: Proxy) -> None:
    with Client(Target(proxy.url)) as client:
        pages: PaginatedQuery = client.paginated("table:pages", {}, {"page_size": 1000})
        pages.load_more()
        assert ns(pages.results) == list(range(2000))
        received = proxy.received
        client.call("table:put", {"at": 1500, "n": -1})
        assert ns(pages.results) == [*range(1500), -1, *range(1501, 2000)]
        assert proxy.received - received < 2048
        client.call("table:put", {"at": 1500, "n": 1500})
        client.call("table:drop", {"at": ROWS - 1})
        client.call("table:fill", {"start": ROWS - 1, "end": ROWS})
        assert ns(pages.results) == list(range(2000))
