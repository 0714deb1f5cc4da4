"""Bar 4: SIGKILL at random moments under eight writers loses nothing, repeats nothing, and clients recover."""

from __future__ import annotations

import base64
import random
import threading
import time
from pathlib import Path

import pytest

from nbreactive.client.client import Client
from nbreactive.client.target import Target
from tests.served import KEY, Served

ROUNDS = 20
WRITERS = 8

LEDGER = """
from nbreactive import define_schema, define_table, mutation, query, v

schema = define_schema({
    "entries": define_table({"writer": v.integer(), "number": v.integer()}).index("by_writer", ["writer", "number"]),
    "totals": define_table({"writer": v.integer(), "entries": v.integer()}).index("by_writer", ["writer"]),
})

@mutation
def add(ctx, writer: int, number: int):
    ctx.db.insert("entries", {"writer": writer, "number": number})
    total = ctx.db.query("totals").with_index("by_writer", lambda q: q.eq("writer", writer)).unique()
    if total is None:
        ctx.db.insert("totals", {"writer": writer, "entries": 1})
    else:
        ctx.db.patch(total["_id"], {"entries": total["entries"] + 1})
    return number

@query
def of_writer(ctx, writer: int):
    rows = ctx.db.query("entries").with_index("by_writer", lambda q: q.eq("writer", writer)).collect()
    total = ctx.db.query("totals").with_index("by_writer", lambda q: q.eq("writer", writer)).unique()
    return {"numbers": [row["number"] for row in rows], "total": total["entries"] if total else 0}

@query
def how_many(ctx):
    return ctx.db.query("entries").count()
"""


def _timestamp(backend: Served) -> int:
    return int.from_bytes(base64.b64decode(backend.fetch("/api/query_ts", {})["ts"]), "little")


@pytest.mark.slow
def test_sigkill_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    rng = random.Random(20)
    backend = Served(tmp_path, {"ledger": LEDGER}).start()
    acknowledged = [0] * WRITERS
    problems: list[str] = []
    done = threading.Event()
    clients = [
        Client(Target(base=backend.url, headers={"Authorization": f"Convex {KEY}"}), patience=60)
        for _ in range(WRITERS)
    ]

    def write(writer: int) -> None:
        number = 0
        while not done.is_set():
            try:
                answer = clients[writer].call("ledger:add", {"writer": writer, "number": number})
            except Exception as error:  # noqa: BLE001 - whatever reaches a client here is the finding
                problems.append(f"writer {writer}, entry {number}: {error!r}")
                return
            if answer != number:
                problems.append(f"writer {writer}: entry {number} was answered with {answer}")
            number += 1
            acknowledged[writer] = number

    seen: list[int] = []
    watcher = clients[0].live("ledger:how_many", {})
    watcher.observe(lambda change: seen.append(change["new"]), "value")
    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(WRITERS)]
    for thread in threads:
        thread.start()
    newest = 0
    try:
        for _round in range(ROUNDS):
            # every client is back and has written before the next kill, which comes at a random moment after that
            before, more = list(acknowledged), rng.randrange(1, 200)
            deadline = time.monotonic() + 60
            while not problems and (
                any(now <= then for now, then in zip(acknowledged, before, strict=True))
                or sum(acknowledged) < sum(before) + more
            ):
                assert time.monotonic() < deadline, "a client did not recover"
                time.sleep(0.001)
            newest = max(newest, _timestamp(backend))
            backend.kill()
            backend.start()
            after = _timestamp(backend)
            assert after >= newest, f"the timestamp went back by {newest - after} ns"
        done.set()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive(), "a client did not recover"
        assert not problems, problems[:5]
        for writer in range(WRITERS):
            found = backend.call("query", "ledger:of_writer", writer=writer)
            assert found["numbers"] == list(range(acknowledged[writer])), f"writer {writer}"
            assert found["total"] == acknowledged[writer]
        total = sum(acknowledged)
        deadline = time.monotonic() + 10
        while watcher.value != total and time.monotonic() < deadline:
            time.sleep(0.01)
        assert watcher.value == total, "the live query did not catch up"
        assert seen == sorted(seen), "a live count of an append-only table went back"
        assert total > ROUNDS
    finally:
        done.set()
        for client in clients:
            client.close()
        backend.stop()
