"""Nothing in a running backend holds an old view of the row index: LMDB would keep every page since, and the file would grow."""

from __future__ import annotations

import time
from pathlib import Path

import lmdb

from tests.served import Served

MODULE = """
from nbreactive import mutation, query

@mutation
def change(ctx, n: int):
    found = ctx.db.query("one").first()
    if found is None:
        ctx.db.insert("one", {"n": n, "text": "x" * 1000})
    else:
        ctx.db.patch(found["_id"], {"n": n})
    return n

@query
def read(ctx):
    return ctx.db.query("one").first()
"""
LAG = 50
"""Transactions that a view may be behind; the file has hundreds by then."""


def behind(folder: Path) -> list[int]:
    """How many transactions behind each open view is."""
    with lmdb.open(str(folder), readonly=True, max_dbs=32) as env:
        last = int(env.info()["last_txnid"])
        lines = env.readers().splitlines()[1:]
        return [last - int(line.split()[2]) for line in lines if line.split() and line.split()[2] != "-"]


def test_no_view_of_the_row_index_stays_open(tmp_path: Path) -> None:
    with Served(tmp_path, {"one": MODULE}) as backend:
        for n in range(300):
            backend.call("mutation", "one:change", n=n)
            backend.call("query", "one:read")
            if n == 10:  # whatever is done now and then opens what it needs, too
                sql = {"path": "_system/sql:register", "args": {"sql": "SELECT max(n) AS n FROM one"}, "format": "json"}
                statement = backend.fetch("/api/mutation", sql, admin=True)["value"]
                live = {"path": "_system/sql:live", "args": {"hash": statement}, "format": "json"}
                assert backend.fetch("/api/query", live, admin=True)["value"]["rows"] == [[10]]
        deadline = time.monotonic() + 10
        while max(behind(backend.data / "index"), default=0) > LAG and time.monotonic() < deadline:
            time.sleep(0.1)  # a worker that is at work just then
        assert max(behind(backend.data / "index"), default=0) <= LAG
