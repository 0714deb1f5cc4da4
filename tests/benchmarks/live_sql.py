"""W4: SQL over many rows, live: how soon one inserted row shows, what a run as a whole costs, whom a write concerns."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import duckdb

from nbreactive.client import Client
from nbreactive.client.bulk import load
from nbreactive.client.target import Target

from .backend import KEY, BenchBackend
from .client import LoadClient
from .figures import Figure
from .searching import live
from .writes import one_by_one

_CITIES = 100
_LIVE = 100
_ROUNDS = 50
_BATCH = 1_000_000
_PATH = "_system/sql:live"
_FUNCTIONS = """
from nbreactive import define_schema, define_table, mutation, query, v

fields = {"city": v.string(), "price": v.number(), "n": v.integer()}
schema = define_schema({
    "sales": define_table(fields),
    "few": define_table(fields),
    "facts": define_table(fields, storage="columns"),
})


@mutation
def sell(ctx, n: int, table: str = "sales"):
    ctx.db.insert(table, {"city": f"city{n % 100}", "price": n * 0.25, "n": n})
"""
GROUPS = "SELECT city, count(*) AS many, sum(price) AS total FROM {table} GROUP BY city"
WHOLE = "SELECT city, median(price) AS middle, count(DISTINCT n) AS different FROM {table} GROUP BY city ORDER BY city"
ONE = "SELECT count(*) AS many, sum(price) AS total FROM sales WHERE city = $city"


def prepare(backend: BenchBackend) -> None:
    """Add the functions; before the start."""
    (backend.functions / "shop.py").write_text(_FUNCTIONS)


def _rows(first: int, many: int) -> Any:
    """Return rows as Arrow, made by DuckDB."""
    with duckdb.connect() as connection:
        return connection.sql(
            f"SELECT 'city' || (n % {_CITIES}) AS city, n * 0.25 AS price, n FROM range({first}, {first + many}) t(n)"
        ).to_arrow_table()


def _fill(client: Client, table: str, rows: int) -> None:
    for first in range(0, rows, _BATCH):
        begun = time.perf_counter()
        load(client, table, _rows(first, min(_BATCH, rows - first)))
        sys.stderr.write(f"\r{first:,} of {table}, {time.perf_counter() - begun:.0f} s\033[K")
    sys.stderr.write("\n")


async def _shown(url: str, args: dict[str, Any], numbers: Iterable[int], table: str = "sales") -> list[float]:
    """Seconds from sending a mutation that inserts one row to the new result at another socket."""
    writer = await LoadClient.connect(url)
    taken = await _watched(url, args, [lambda n=n: writer.mutate("shop:sell", n=n, table=table) for n in numbers])
    assert not writer.failures
    writer.close()
    return taken


async def _loaded(
    client: Client, url: str, args: dict[str, Any], numbers: Iterable[int]
) -> tuple[list[float], list[float]]:
    """Seconds from beginning to load one row into the table in columns to the new result, and to the end of the load."""
    ends: list[float] = []

    def one(rows: Any) -> None:
        begun = time.perf_counter()
        load(client, "facts", rows)
        ends.append(time.perf_counter() - begun)

    loop = asyncio.get_running_loop()
    loads = [partial(loop.run_in_executor, None, one, _rows(number, 1)) for number in numbers]
    return await _watched(url, args, loads), ends


async def _watched(url: str, args: dict[str, Any], writes: Iterable[Callable[[], Awaitable[object]]]) -> list[float]:
    reader = await LoadClient.connect(url)
    first = asyncio.create_task(reader.updates(1))
    await asyncio.sleep(0)
    reader.subscribe((_PATH, args))
    await first
    taken: list[float] = []
    for write in writes:
        seen = asyncio.get_running_loop().create_future()
        reader.on_update = lambda now, _many, seen=seen: seen.done() or seen.set_result(now)
        start = time.perf_counter()
        acknowledged = write()
        taken.append(await asyncio.wait_for(seen, 60) - start)
        await acknowledged
    assert not reader.failures
    reader.close()
    return taken[len(taken) // 10 :]


def _plain(folder: Path, rows: int) -> float:
    """Seconds in which plain DuckDB, as it comes, runs the statement over the same rows in a file of its own."""
    copied = _rows(0, rows)  # noqa: F841 - DuckDB finds it
    with duckdb.connect(folder / "plain.duckdb") as connection:
        connection.execute("CREATE TABLE sales AS SELECT * FROM copied")
        connection.execute("CHECKPOINT")
        taken: list[float] = []
        for _ in range(8):
            begun = time.perf_counter()
            connection.execute(WHOLE.format(table="sales")).fetchall()
            taken.append(time.perf_counter() - begun)
    return median(taken)


async def w4(backend: BenchBackend, *, quick: bool) -> list[Figure]:
    """The bars of live SQL (at a tenth of the rows with ``--quick``)."""
    documents, facts, few = (100_000, 1_000_000, 10_000) if quick else (1_000_000, 10_000_000, 10_000)
    headers = {"Authorization": f"Convex {KEY}"}
    with Client(Target(backend.url, headers=headers)) as client:

        def known(text: str) -> str:
            return client.call("_system/sql:register", {"sql": text}, mutation=True)

        groups = {table: {"hash": known(GROUPS.format(table=table))} for table in ("sales", "few", "facts")}
        for table, rows in (("sales", documents), ("few", few), ("facts", facts)):
            await asyncio.to_thread(_fill, client, table, rows)
        base, loads = list[float](), list[float]()
        taken: dict[str, list[float]] = {table: [] for table in groups}
        rows, many = 0, 100 if quick else 200
        for _ in range(3 if quick else 8):  # in turns: a machine is not equally fast all the time
            base += await one_by_one(backend.url, many)
            for table in ("sales", "few"):
                taken[table] += await _shown(backend.url, groups[table], range(rows, rows + many), table)
            shown, ends = await _loaded(client, backend.url, groups["facts"], range(rows, rows + many // 10))
            taken["facts"] += shown
            loads += ends
            rows += many
        whole = await _shown(backend.url, {"hash": known(WHOLE.format(table="sales"))}, range(20))
        plain = await asyncio.to_thread(_plain, backend.folder, documents)
        one = known(ONE)
        statements = [(_PATH, {"hash": one, "params": {"city": f"city{number}"}}) for number in range(_LIVE)]
        runs, _ = await live(backend, statements, "shop:sell", [{"n": number * 7} for number in range(_ROUNDS)], 1)
    ms, floor = 1000.0, median(base) * 1000
    return [
        Figure("W4", f"GROUP BY of {documents:,}, p50", median(taken["sales"]) * ms, "ms", 2, floor),
        Figure("W4", f"flat: to that of {few:,}", median(taken["sales"]) * ms, "ms", 1.3, median(taken["few"]) * ms),
        Figure("W4", f"one row loaded to {facts:,}", median(taken["facts"]) * ms, "ms", 2, floor),
        Figure("W4", "loading it, until load() returns", median(loads) * ms, "ms", 3, floor),
        Figure("W4", "run as a whole, p50", median(whole) * ms, "ms", 3, plain * ms),
        Figure("W4", f"runs per write, of {_LIVE} statements", runs, "", 1),
    ]
