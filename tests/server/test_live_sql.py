"""Live SQL of a real backend: what is shown is what DuckDB says of the documents as they are, whatever happens to whom."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from nbreactive.client import Client
from nbreactive.client.target import Target
from nbreactive.errors import NBReactiveError
from tests.served import KEY, Served

MODULE = """
from nbreactive import define_schema, define_table, mutation, query, v

schema = define_schema({
    "orders": define_table({"city": v.string(), "price": v.number(), "n": v.integer()}),
    "others": define_table({"x": v.integer()}),
})

@mutation
def add(ctx, city: str, price: float, n: int):
    return ctx.db.insert("orders", {"city": city, "price": price, "n": n})
@mutation
def add_other(ctx, x: int):
    return ctx.db.insert("others", {"x": x})
@mutation
def change(ctx, id: str, price: float):
    ctx.db.patch(id, {"price": price})
@mutation
def drop(ctx, id: str):
    ctx.db.delete(id)
@mutation
def free(ctx, value: object):
    ctx.db.insert("free", {"value": value})
"""
CITIES = ["Bern", "Graz", "Lund", "Oslo"]
STATEMENTS: dict[str, dict[str, Any]] = {
    "SELECT city, count(*) AS many, sum(n) AS n, min(price) AS low, max(price) AS high FROM orders GROUP BY city ORDER BY city": {},
    "SELECT city, n FROM orders WHERE price > $least AND city = $city ORDER BY n, city, price": {
        "least": 3,
        "city": "Bern",
    },
    "SELECT city, price FROM orders ORDER BY price DESC, n, city LIMIT 3": {},
    "SELECT count(*) AS many, sum(n) AS n FROM orders WHERE n BETWEEN 10 AND 60": {},
    "SELECT a.city, count(*) AS pairs FROM orders a JOIN orders b ON a.city = b.city GROUP BY a.city ORDER BY a.city": {},
    "SELECT city, price, rank() OVER (PARTITION BY city ORDER BY price, n) AS place FROM orders ORDER BY city, place, n": {},
}
KEYED = {"Authorization": f"Convex {KEY}"}


def client_of(backend: Served, headers: dict[str, str] | None = None) -> Client:
    return Client(Target(backend.url, headers=KEYED if headers is None else headers))


def until(true: Callable[[], object], what: str = "this") -> None:
    limit = time.monotonic() + 60
    while not true():
        assert time.monotonic() < limit, f"{what} does not become true"
        time.sleep(0.01)


def register(client: Client, text: str) -> str:
    return client.call("_system/sql:register", {"sql": text}, mutation=True)


def watched(client: Client, known: str) -> Any:
    """Subscribe without waiting for the first result, which may be an error."""
    return client.live("_system/sql:live", {"hash": known}, {"wait": False})


def columns_process(backend: Served) -> dict[str, Any]:
    return backend.fetch("/api/admin/status", admin=True)["columns"]


def runs(backend: Served) -> int:
    return backend.fetch("/api/admin/status", admin=True)["executions"]["queries"]


class Model:
    """What the table should hold, and what DuckDB makes of it."""

    def __init__(self) -> None:
        self.orders: dict[str, tuple[str, float, int]] = {}
        self._connection = duckdb.connect()
        self._connection.execute("CREATE TABLE orders (city VARCHAR, price DOUBLE, n BIGINT)")

    def fresh(self, text: str, params: dict[str, Any]) -> list[list[Any]]:
        """Run a statement anew."""
        self._connection.execute("DELETE FROM orders")
        for row in self.orders.values():
            self._connection.execute("INSERT INTO orders VALUES (?, ?, ?)", row)
        return [list(row) for row in self._connection.execute(text, params).fetchall()]

    def close(self) -> None:
        self._connection.close()


def step(client: Client, model: Model, choose: random.Random) -> None:
    """Change one order at random."""
    what = choose.choice(["add", "add", "change", "drop"]) if model.orders else "add"
    id = choose.choice(sorted(model.orders)) if model.orders else ""
    if what == "add":
        row = (choose.choice(CITIES), float(choose.randrange(10)), choose.randrange(100))
        model.orders[client.call("shop:add", dict(zip(("city", "price", "n"), row, strict=True)))] = row
    elif what == "change":
        city, _, n = model.orders[id]
        model.orders[id] = (city, choose.randrange(10) + 0.5, n)
        client.call("shop:change", {"id": id, "price": model.orders[id][1]})
    else:
        del model.orders[id]
        client.call("shop:drop", {"id": id})


def test_every_live_result_is_that_of_a_fresh_run_through_kills_and_restarts(tmp_path: Path) -> None:
    choose = random.Random(7)
    model = Model()
    with Served(tmp_path, {"shop": MODULE}) as backend, client_of(backend) as writer, client_of(backend) as viewer:
        lives = {}
        for text, params in STATEMENTS.items():
            args: dict[str, Any] = {"hash": register(writer, text), "params": params}
            lives[text] = viewer.live("_system/sql:live", args)
            lives[text].wait(60)

        def agree() -> None:
            for text, live in lives.items():
                fresh = model.fresh(text, STATEMENTS[text])
                until(lambda live=live, fresh=fresh: live.value["rows"] == fresh, text)
                assert live.error is None and live.value["complete"] and live.value["total"] == len(fresh)

        for number in range(40):
            step(writer, model, choose)
            agree()
            if number in (10, 25):
                before = columns_process(backend)
                os.kill(before["pid"], signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)
                step(writer, model, choose)
                agree()
                assert columns_process(backend)["pid"] != before["pid"]
        backend.stop()
        backend.start()
        step(writer, model, choose)
        agree()
        for live in lives.values():
            live.close()
    model.close()


def test_a_write_runs_only_those_statements_that_it_can_concern(tmp_path: Path) -> None:
    with Served(tmp_path, {"shop": MODULE}) as backend, client_of(backend) as writer, client_of(backend) as viewer:
        writer.call("shop:add", {"city": "Bern", "price": 1, "n": 7})
        by_number = "SELECT count(*) AS many FROM orders WHERE n = $n"
        args = {"hash": register(writer, by_number)}
        lives = [viewer.live("_system/sql:live", args | {"params": {"n": number}}) for number in range(100)]
        cities = viewer.live("_system/sql:live", {"hash": register(writer, "SELECT city FROM orders WHERE price > 5")})
        for live in [*lives, cities]:
            live.wait(60)
        before = runs(backend)
        writer.call("shop:add_other", {"x": 1})
        assert runs(backend) == before
        writer.call("shop:add", {"city": "Bern", "price": 1, "n": 42})
        until(lambda: lives[42].value["rows"] == [[1]])
        assert runs(backend) == before + 1
        id = writer.call("shop:add", {"city": "Graz", "price": 9, "n": 1000})
        until(lambda: cities.value["rows"] == [["Graz"]])
        assert runs(backend) == before + 2
        writer.call("shop:change", {"id": id, "price": 4})  # it was concerned by what it was
        until(lambda: cities.value["rows"] == [])
        assert runs(backend) == before + 3
        assert [live.value["rows"] for live in lives] == [[[number in (7, 42)]] for number in range(100)]


def test_several_who_ask_the_same_share_a_run_and_windows_share_a_result(tmp_path: Path) -> None:
    with (
        Served(tmp_path, {"shop": MODULE}) as backend,
        client_of(backend) as writer,
        client_of(backend, {}) as one,
        client_of(backend, {}) as other,
    ):
        for number in range(5):
            writer.call("shop:add", {"city": "Bern", "price": number, "n": number})
        args = {"hash": register(writer, "SELECT n FROM orders ORDER BY n")}
        whole = [client.live("_system/sql:live", args) for client in (one, other)]
        window = one.live("_system/sql:live", args | {"offset": 3, "limit": 2})
        for live in [*whole, window]:
            live.wait(60)
        assert window.value["rows"] == [[3], [4]] and window.value["offset"] == 3
        assert window.value["total"] == 5 and not window.value["complete"]
        before = runs(backend)
        writer.call("shop:add", {"city": "Bern", "price": 1, "n": 0})
        until(lambda: window.value["rows"] == [[2], [3]] and all(live.value["total"] == 6 for live in whole))
        assert runs(backend) == before + 2
        assert whole[0].value["columns"] == [{"name": "n", "type": "BIGINT"}]


def test_columns_that_change_with_a_document_show_in_statements_that_it_does_not_concern(tmp_path: Path) -> None:
    with Served(tmp_path, {"shop": MODULE}) as backend, client_of(backend) as client:
        client.call("shop:free", {"value": 1})
        live = client.live("_system/sql:live", {"hash": register(client, "SELECT value FROM free WHERE value = 1")})
        live.wait(60)
        assert live.value["columns"][0]["type"] == "BIGINT"
        client.call("shop:free", {"value": 2.5})
        until(lambda: live.value["columns"][0]["type"] == "DOUBLE")
        assert live.value["rows"] == [[1]]


def test_a_statement_that_fails_is_well_again_when_it_can_be(tmp_path: Path) -> None:
    with Served(tmp_path, {"shop": MODULE}) as backend, client_of(backend) as client:
        later = watched(client, register(client, "SELECT value FROM free ORDER BY value"))
        until(lambda: later.error is not None)
        assert "there is no table 'free'" in str(later.error)
        client.call("shop:free", {"value": 5})
        until(lambda: later.error is None and later.value is not None and later.value["rows"] == [[5]])
        cast = client.live(
            "_system/sql:live", {"hash": register(client, "SELECT CAST(city AS INTEGER) AS c FROM orders")}
        )
        cast.wait(60)
        id = client.call("shop:add", {"city": "Bern", "price": 1, "n": 1})
        until(lambda: cast.error is not None)
        assert "Conversion Error" in str(cast.error)
        client.call("shop:drop", {"id": id})
        until(lambda: cast.error is None and cast.value["rows"] == [])


def test_a_runaway_statement_ends_and_others_go_on(tmp_path: Path) -> None:
    with Served(tmp_path, {"shop": MODULE}) as backend, client_of(backend) as client:
        client.call("shop:add", {"city": "Bern", "price": 1, "n": 1})
        endless = (
            "SELECT count(*) AS many FROM range(10000000) a, range(10000000) b, orders WHERE a.range + b.range = n"
        )
        runaway = watched(client, register(client, endless))
        counted = client.live("_system/sql:live", {"hash": register(client, "SELECT count(*) AS many FROM orders")})
        counted.wait(60)
        client.call("shop:add", {"city": "Bern", "price": 1, "n": 1})
        until(lambda: counted.value["rows"] == [[2]])
        until(lambda: runaway.error is not None)
        assert "took longer than 10 s" in str(runaway.error)


@pytest.mark.parametrize("mode", ["dev", "prod"])
def test_what_viewers_must_not(tmp_path: Path, mode: str) -> None:
    with (
        Served(tmp_path / "one", {"shop": MODULE}, "--mode", mode) as backend,
        client_of(backend) as owner,
        client_of(backend, {}) as viewer,
    ):
        owner.call("shop:add", {"city": "a secret", "price": 1, "n": 1})
        known = register(owner, "SELECT CAST(city AS INTEGER) AS c FROM orders")
        parameter = register(owner, "SELECT count(*) AS many FROM orders WHERE city = $city")

        def refused(path: str, args: Any, kind: str = "query") -> str:
            said = backend.fetch(f"/api/{kind}", {"path": path, "args": args, "format": "json"})
            assert said["status"] == "error", said
            return said["errorMessage"]

        assert "Could not find public function" in refused("_system/sql:register", {"sql": "SELECT 1"}, "mutation")
        assert "Could not find public function" in refused("_system/sql:explain", {"hash": known})
        for wrong in ("0" * 32, "x", "", known.upper(), known + "0", "../etc", "\u00df" * 32):
            assert "there is no SQL statement" in refused("_system/sql:live", {"hash": wrong})
        assert mode == "prod" or "'sql'" in refused("_system/sql:live", {"hash": known, "sql": "SELECT 1"})
        for wrong in (
            {"hash": 7},
            {"hash": known, "params": [1]},
            {"hash": known, "limit": -1},
            {"hash": known, "limit": 10**9},
            {"hash": known, "offset": -5},
            {"hash": known, "offset": 1.5},
            {"hash": known, "sql": "SELECT 1"},
            {"sql": "SELECT 1"},
            {"hash": parameter, "params": {"city": "x" * (2 << 20)}},
            {"hash": parameter, "params": {"town": "Bern"}},
            {"hash": parameter},
        ):
            refused("_system/sql:live", wrong)
        # Neither the text nor a row is in an error
        said = refused("_system/sql:live", {"hash": known})
        assert "SELECT" not in said and "LINE" not in said
        assert mode == "dev" or "secret" not in said
        with pytest.raises(NBReactiveError):
            viewer.live("_system/sql:live", {"hash": known}).wait(30)
        for body, role in (({"sql": "SELECT 1"}, "deploy"), ({"sql": "SELECT 1", "hash": known}, ""), ({}, "")):
            answer = backend.fetch("/api/sql/arrow", body)
            assert role in answer["message"] and answer["code"] == ("Refused" if role else "ProtocolError")
        assert backend.fetch("/api/sql/register", {"sql": "SELECT 1"})["code"] == "Refused"
        for body in ({"hash": "0" * 32}, {"hash": parameter}, {"hash": known}, {"hash": known, "params": 7}):
            answer = backend.fetch("/api/sql/arrow", body)
            assert answer["code"] in ("FunctionNotFound", "SqlError", "ArgumentValidationError")
            assert "SELECT" not in answer["message"]
        with Served(tmp_path / "two", {"shop": MODULE}) as stranger:
            answer = stranger.fetch("/api/sql/arrow", {"hash": known})
            assert answer["code"] == "FunctionNotFound" and "in this deployment" in answer["message"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SELECT 1; SELECT 2",
        "DELETE FROM orders",
        "ATTACH 'x.db'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM nbreactive.history",
        "COPY orders TO 'x.csv'",
        "SELECT getenv('HOME')",
        "not sql at all",
        "SELECT 1 -- " + "x" * 200_000,
    ],
)
def test_what_is_not_registered(shop: Served, text: str) -> None:
    for answer in (
        shop.fetch("/api/sql/register", {"sql": text}, admin=True),
        shop.fetch("/api/sql/arrow", {"sql": text}, admin=True),
    ):
        assert answer["code"] in ("SqlError", "NotAllowed", "LimitExceeded"), answer


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Served(tmp_path_factory.mktemp("shop"), {"shop": MODULE}) as backend:
        yield backend
