"""W5: loading 1,000,000 rows of four columns from Arrow, into a table in columns and into tables of documents.

The floor of the table in columns is bare DuckDB: ``INSERT ... SELECT`` from the same Arrow table into a file. Documents have two
indexes; they are loaded into a table that is new and empty, and into the same one while mutations run beside.
"""

# pyarrow, duckdb and numpy have no stubs, or partial ones
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import asyncio
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Self

import duckdb
import numpy as np
import pyarrow as pa

from nbreactive.client.bulk import Loaded, load
from nbreactive.client.client import Client
from nbreactive.client.target import Target

from .backend import KEY, BenchBackend
from .figures import Figure
from .floors import percentile

_FUNCTIONS = """
from nbreactive import define_schema, define_table, mutation, query, v

fields = {"product": v.string(), "customer": v.integer(), "amount": v.number(), "note": v.string()}
schema = define_schema({
    "facts": define_table(fields, storage="columns"),
    "orders": define_table(fields).index("by_product", ["product"]).index("by_customer", ["customer"]),
    "beside": define_table({"n": v.number()}),
})


@mutation
def add(ctx, n: float):
    ctx.db.insert("beside", {"n": n})


@query
def total(ctx):
    return ctx.db.query("orders").count()
"""
_COUNT = "SELECT count(*) AS many FROM facts"
_REST = 0.005
"""Seconds between two mutations."""


def prepare(backend: BenchBackend) -> None:
    """Add the functions; before the start."""
    (backend.functions / "bulk.py").write_text(_FUNCTIONS)


async def w5(backend: BenchBackend, rows: int) -> list[Figure]:
    """Measure all three."""
    return await asyncio.to_thread(_measure, backend, _orders(rows))


def _orders(rows: int) -> pa.Table:
    choose = np.random.default_rng(1)
    return pa.table(
        {
            "product": [f"product {number}" for number in choose.integers(0, 200, rows)],
            "customer": choose.integers(0, 10_000, rows),
            "amount": choose.random(rows) * 100,
            "note": [f"note {number}" for number in range(rows)],
        }
    )


def _measure(backend: BenchBackend, orders: pa.Table) -> list[Figure]:
    rows = orders.num_rows
    with Client(Target(backend.url, headers={"Authorization": f"Convex {KEY}"})) as client:
        load(client, "facts", orders.slice(0, 100), id="warm")
        statement = client.call("_system/sql:register", {"sql": _COUNT})
        live = client.live("_system/sql:live", {"hash": statement, "params": {}})
        seen = _Results(live)
        floor = _bare(orders)
        begun = time.perf_counter()
        loaded = load(client, "facts", orders)
        _until(lambda: live.value["rows"] == [[rows + 100]])
        columns = time.perf_counter() - begun
        most = len(_parts(loaded)) + 1
        live.close()

        begun = time.perf_counter()
        load(client, "orders", orders)
        empty = time.perf_counter() - begun
        assert client.call("bulk:total") == rows

        with _Beside(client) as beside:
            begun = time.perf_counter()
            load(client, "orders", orders, id="while others write")
            busy = time.perf_counter() - begun
        return [
            Figure("W5", "rows into a table in columns, seen by SQL", rows / columns, "1/s", 0.25, rows / floor, True),
            Figure("W5", "transitions of a live statement per batch", seen.count / most, "", 1.0),
            Figure("W5", "documents into an empty table with two indexes", rows / empty, "1/s", 100_000, None, True),
            Figure("W5", "documents into a live table", rows / busy, "1/s", 40_000, None, True),
            Figure("W5", "mutations beside that, p99", percentile(beside.times, 0.99) * 1000, "ms", 25.0),
        ]


def _bare(orders: pa.Table) -> float:
    """Insert the same rows into a file with nothing around."""
    with tempfile.TemporaryDirectory() as folder:
        connection = duckdb.connect(str(Path(folder, "bare.duckdb")))
        connection.execute("CREATE TABLE facts (product VARCHAR, customer BIGINT, amount DOUBLE, note VARCHAR)")
        connection.register("orders", orders)
        begun = time.perf_counter()
        connection.execute("INSERT INTO facts SELECT * FROM orders")
        took = time.perf_counter() - begun
        connection.close()
    return took


def _parts(loaded: Loaded) -> list[Any]:
    return loaded.ids.chunks


def _until(condition: Any) -> None:
    while not condition():
        time.sleep(0.001)


class _Results:
    """Counts the results of a live query."""

    def __init__(self, live: Any) -> None:
        self.count = 0
        live.watch(self._seen)

    def _seen(self) -> None:
        self.count += 1


class _Beside:
    """Runs mutations, one after the other, for as long as a block lasts."""

    def __init__(self, client: Client) -> None:
        self.times: list[float] = []
        self._client = client
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(_REST):
            begun = time.perf_counter()
            self._client.call("bulk:add", {"n": 1.0})
            self.times.append(time.perf_counter() - begun)
