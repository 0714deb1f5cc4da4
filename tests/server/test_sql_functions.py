"""``ctx.db.sql`` in functions of a real backend."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from nbreactive.client import Client
from nbreactive.client.target import Target
from tests.served import KEY, Served

MODULE = """
from datetime import UTC, datetime
from decimal import Decimal
from nbreactive import (
    action, api, define_schema, define_table, internal_query, mutation, query, v
)

schema = define_schema({
    "orders": define_table({"city": v.string(), "price": v.number(), "n": v.integer(), "ordered": v.optional(v.datetime())}),
    "seen": define_table({"x": v.integer()}, ephemeral=True),
})

@mutation
def add(ctx, city: str, price: float, n: int):
    return ctx.db.insert("orders", {"city": city, "price": price, "n": n})
@mutation
def insert(ctx, table: str, document: object):
    return ctx.db.insert(table, document)
@mutation
def see(ctx): ctx.db.insert("seen", {"x": 1})
@query
def by_city(ctx, least: float):
    return ctx.db.sql("SELECT city, count(*) AS many, sum(n) AS total FROM orders WHERE price >= $least GROUP BY city ORDER BY city",
                      least=least)
@query
def of(ctx, city: str):
    return {"rows": ctx.db.sql("SELECT n FROM orders WHERE city = $city ORDER BY n", city=city)}
@query
def both(ctx, city: str):
    first = ctx.db.query("orders").first()
    return [first["city"] if first else None, len(ctx.db.sql("SELECT * FROM orders WHERE city = $city", city=city))]
@query
def any(ctx, text: str): return ctx.db.sql(text)
@query
def typed(ctx) -> list[dict]: return ctx.db.sql("SELECT 1 AS one")
@query
def forms(ctx):
    rows = ctx.db.sql("SELECT city, sum(n) AS n, 1.50::DECIMAL(4,2) AS d FROM orders GROUP BY city ORDER BY city")
    assert rows[0] == rows.rows()[0] and list(rows) == rows.rows() and len(rows) == len(rows.rows()) and rows == rows.rows()
    assert rows.arrow().column("d").to_pylist()[0] == Decimal("1.50")
    assert rows.df()["city"].tolist() == rows.pl()["city"].to_list() == [row["city"] for row in rows]
    return repr(rows)
@query
def since(ctx, moment: str):
    when = datetime.fromisoformat(moment)
    return ctx.db.sql("SELECT count(*) AS many FROM orders WHERE ordered >= $when", when=when)[0]["many"]
@mutation
def at(ctx, moment: str):
    ctx.db.insert("orders", {"city": "Bern", "price": 1.0, "n": 1, "ordered": datetime.fromisoformat(moment)})
@mutation
def own(ctx, city: str):
    total = "SELECT count(*) AS many, sum(n) AS n FROM orders WHERE city = $city"
    before = ctx.db.sql(total, city=city)[0]
    id = ctx.db.insert("orders", {"city": city, "price": 1.0, "n": 100})
    inserted = ctx.db.sql(total, city=city)[0]
    ctx.db.patch(id, {"n": 7})
    patched = ctx.db.sql(total, city=city)[0]
    ctx.db.delete(id)
    deleted = ctx.db.sql(total, city=city)[0]
    ctx.db.insert("fresh", {"a": {"b": [1, None]}, "c": "x"})
    return [before, inserted, patched, deleted, ctx.db.sql("SELECT a, c FROM fresh")]
@mutation
def spend(ctx, city: str, most: int):
    spent = ctx.db.sql("SELECT coalesce(sum(n), 0) AS n FROM orders WHERE city = $city", city=city)[0]["n"]
    if spent < most:
        ctx.db.insert("orders", {"city": city, "price": 1.0, "n": 1})
    return spent
@query
def slow(ctx):
    return ctx.db.sql("SELECT count(*) AS many FROM range(30000000) r(x) WHERE hash(x) % 7 = 3 OR hash(x + 1) % 11 = 2")[0]["many"] > 0
@query
def many(ctx):
    for n in range(101): ctx.db.sql("SELECT $n AS n", n=n)
@action
async def acts(ctx): return await ctx.run_query(api.shop.by_city, least=0.0)
"""


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Served(tmp_path_factory.mktemp("sql"), {"shop": MODULE}) as served:
        for city, price, n in (("Bern", 1.0, 1), ("Bern", 5.0, 2), ("Oslo", 9.0, 4)):
            served.call("mutation", "shop:add", city=city, price=price, n=n)
        yield served


def until(true: Callable[[], object], what: str) -> None:
    limit = time.monotonic() + 60
    while not true():
        assert time.monotonic() < limit, f"{what} does not become true"
        time.sleep(0.01)


def refused(backend: Served, kind: str, path: str, **args: Any) -> str:
    answer = backend.ask(kind, path, **args)
    assert answer["status"] == "error", answer
    return answer["errorMessage"]


def test_rows_are_returned_as_they_are(backend: Served) -> None:
    expected = [{"city": "Bern", "many": 1, "total": 2}, {"city": "Oslo", "many": 1, "total": 4}]
    assert backend.call("query", "shop:by_city", least=2.0) == expected
    assert backend.call("query", "shop:of", city="Bern") == {"rows": [{"n": 1}, {"n": 2}]}
    assert backend.call("query", "shop:typed") == [{"one": 1}]
    assert "3 rows" not in backend.call("query", "shop:forms")
    assert len(backend.call("action", "shop:acts")) == 2


def test_a_mutation_sees_what_it_has_written(backend: Served) -> None:
    before, inserted, patched, deleted, fresh = backend.call("mutation", "shop:own", city="Graz")
    assert before == deleted == {"many": 0, "n": None}
    assert (inserted, patched) == ({"many": 1, "n": 100}, {"many": 1, "n": 7})
    assert fresh == [{"a": {"b": [1, None]}, "c": "x"}]
    assert backend.call("query", "shop:any", text="SELECT count(*) AS n FROM fresh") == [{"n": 1}]


def test_moments_are_parameters(backend: Served) -> None:
    backend.call("mutation", "shop:at", moment="2026-11-01T12:00:00+00:00")
    assert backend.call("query", "shop:since", moment="2026-11-01T13:00:00+01:00") == 1
    assert backend.call("query", "shop:since", moment="2026-11-01T12:00:01+00:00") == 0
    assert "without a time zone" in refused(backend, "query", "shop:since", moment="2026-11-01T12:00:00")


def test_what_is_wrong_is_said(backend: Served) -> None:
    def said(text: str) -> str:
        return refused(backend, "query", "shop:any", text=text)

    assert "LINE 1" in said("SELECT nope FROM orders")
    assert "there is no table 'nothing' in SQL: there are" in said("SELECT * FROM nothing")
    assert "only SELECT is run, not DELETE" in said("DELETE FROM orders")
    assert "ctx.now()" in said("SELECT now()")
    assert "at most 100 are allowed" in refused(backend, "query", "shop:many")
    backend.call("mutation", "shop:see")
    assert "'seen' is ephemeral" in said("SELECT * FROM seen")
    assert "parameter $city" in said("SELECT * FROM orders WHERE city = $city")


def test_waiting_for_a_statement_is_not_the_functions_time_and_holds_nobody_up(backend: Served) -> None:
    answers: list[Any] = []
    slow = threading.Thread(target=lambda: answers.append(backend.call("query", "shop:slow")))
    slow.start()
    for _ in range(20):
        backend.call("query", "shop:typed")
    slow.join()
    assert answers == [True]
    endless = "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT max(n) FROM r"
    assert "took longer than" in refused(backend, "query", "shop:any", text=endless)
    assert backend.call("query", "shop:typed") == [{"one": 1}]


def test_mutations_that_read_sums_are_serializable(backend: Served) -> None:
    def spend() -> None:
        for _ in range(4):
            backend.call("mutation", "shop:spend", city="Lund", most=5)

    threads = [threading.Thread(target=spend) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert backend.call("query", "shop:any", text="SELECT sum(n) AS n FROM orders WHERE city = 'Lund'") == [{"n": 5}]


def test_a_live_query_runs_again_when_a_row_matters_to_it(backend: Served) -> None:
    def runs() -> int:
        return backend.fetch("/api/admin/status", admin=True)["executions"]["queries"]

    with Client(Target(backend.url, headers={"Authorization": f"Convex {KEY}"})) as client:
        of = client.live("shop:of", {"city": "Riga"})
        both = client.live("shop:both", {"city": "Riga"})
        new = client.live("shop:any", {"text": "SELECT x FROM comes"}, {"wait": False})
        until(lambda: of.value == {"rows": []}, "no rows")
        until(lambda: both.value == ["Bern", 0], "no rows")
        until(lambda: new.error is not None, "an error")
        before = runs()
        backend.call("mutation", "shop:add", city="Vaduz", price=1.0, n=1)
        backend.call("mutation", "shop:add", city="Riga", price=1.0, n=2)
        until(lambda: of.value == {"rows": [{"n": 2}]}, "the row")
        until(lambda: both.value == ["Bern", 1], "the row")
        assert runs() - before <= 3 + 2  # `both` reads the table in another way, too
        backend.call("mutation", "shop:insert", table="comes", document={"x": 1})
        until(lambda: new.value == [{"x": 1}], "the table")
