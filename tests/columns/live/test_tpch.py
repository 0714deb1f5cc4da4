"""All queries of TPC-H live, while its tables change: after every commit as plain DuckDB says.

Scale 0.01 here; `NBREACTIVE_TPCH_SCALE=0.1 ./dev test tests/columns/live/test_tpch.py` is the larger one.
"""

from __future__ import annotations

import os
import random

import numpy as np
import pyarrow as pa

from nbreactive.columns.live import TableChange
from tests.columns.live._support import Live, Scratch, Tables, assert_same
from tests.columns.live._tpch import MAINTAINED, QUERIES, Generator

SCALE = float(os.environ.get("NBREACTIVE_TPCH_SCALE", "0.01"))
COMMITS = int(os.environ.get("NBREACTIVE_TPCH_COMMITS", "25"))


def test_all_queries_follow_all_changes() -> None:
    generator, chance, scratch = Generator(SCALE), random.Random(22), Scratch()
    tables = Tables()
    for name, rows in generator.tables():
        tables.connection.register("given", rows)
        tables.connection.execute(f"CREATE TABLE {name} AS SELECT * FROM given")
        tables.connection.unregister("given")
    lives = {number: Live(text, {}, scratch) for number, text in QUERIES.items()}
    for number, live in lives.items():
        live.load(tables.cursor())
        assert_same(live.window(), tables.fresh(live), f"query {number}")
    assert {number for number, live in lives.items() if live.explain().kind != "rerun"} == MAINTAINED
    assert sum(live.total > 0 for live in lives.values()) >= 20, "most of them find something"

    for commit in range(COMMITS):
        changes = change(tables, generator, chance)
        for number, live in lives.items():
            live.update(changes, tables.cursor)
            assert_same(live.window(), tables.fresh(live), f"query {number}, commit {commit}\n{live.explain()}")
    assert lives[1].explain().reruns == lives[6].explain().reruns == 1
    scratch.close()


def change(tables: Tables, generator: Generator, chance: random.Random) -> dict[str, TableChange]:
    """Do what a shop does: an order comes, is changed, is taken back; a customer or a part is another one."""
    orders = generator.orders
    kind = chance.choice(["order", "order", "lines", "lines", "price", "price", "cancel", "customer", "part", "supply"])
    key = chance.randrange(1, orders + 1)
    if kind == "order":
        generator.orders += 1
        order, lines = generator.order(np.array([orders + 1]))
        return tables.put("orders", order["_id"].to_pylist(), order) | tables.put(
            "lineitem", lines["_id"].to_pylist(), lines
        )
    if kind == "cancel":
        lines = [
            id for (id,) in tables.connection.execute(f"SELECT _id FROM lineitem WHERE l_orderkey = {key}").fetchall()
        ]
        return tables.put("orders", [str(key)], None) | tables.put("lineitem", lines, None)
    if kind in ("lines", "price"):
        ids = [
            id for (id,) in tables.connection.execute(f"SELECT _id FROM lineitem WHERE l_orderkey = {key}").fetchall()
        ]
        if kind == "lines" and ids:
            return tables.put("lineitem", ids[:1], None)
        shipped = f"DATE '199{chance.randrange(3, 7)}-09-{chance.randrange(1, 28):02}'"
        return tables.commit(
            "lineitem",
            ids,
            "UPDATE lineitem SET l_discount = 0.06, l_quantity = 7, l_extendedprice = l_extendedprice * 2,"
            f" l_shipdate = {shipped}, l_returnflag = 'R' WHERE l_orderkey = {key}",
        )
    if kind == "supply":
        part = chance.randrange(1, generator.parts + 1)
        rows: pa.Table = generator.partsupp(np.array([part]))
        return tables.put("partsupp", rows["_id"].to_pylist(), rows)
    number = chance.randrange(1, (generator.customers if kind == "customer" else generator.parts) + 1)
    rows = (generator.customer if kind == "customer" else generator.part)(np.array([number]))
    return tables.put(kind, [str(number)], rows)
