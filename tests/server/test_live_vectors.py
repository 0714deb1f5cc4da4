"""Live vector searches of a real backend: what is shown is what was nearest at one moment, and moments do not go back."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

from nbreactive.client import Client
from nbreactive.client.target import Target
from tests.engine.vector_model import Row, agree, cosine, exact
from tests.served import KEY, Served

MODULE = """
from nbreactive import define_schema, define_table, mutation, query, v

schema = define_schema({
    "docs": define_table({"e": v.array(v.number())}).vector_index("near", vector_field="e", dimensions=4),
})

@mutation
def put(ctx, e: list[float]):
    return ctx.db.insert("docs", {"e": e})

@mutation
def move(ctx, id: str, e: list[float]):
    ctx.db.patch(id, {"e": e})

@mutation
def drop(ctx, id: str):
    ctx.db.delete(id)

@query
def near(ctx, e: list[float]):
    return [[document["_score"], document["_id"]] for document in ctx.db.query("docs").nearest("near", e, limit=3)]
"""
OPERATIONS = 200
KEYED = {"Authorization": f"Convex {KEY}"}


def test_every_value_that_is_shown_was_exact_and_few_are_computed(tmp_path: Path) -> None:
    choose = random.Random(21)

    def vector() -> list[float]:
        return [choose.gauss(0, 1) for _ in range(4)]

    queries = [vector() for _ in range(12)]
    shown: list[list[Any]] = [[] for _ in queries]
    states: list[dict[str, list[float]]] = [{}]
    concerned = 0
    with Served(tmp_path, {"m": MODULE}) as backend, Client(Target(backend.url, headers=KEYED)) as client:
        lives = [client.live("m:near", {"e": query}) for query in queries]
        for live, values in zip(lives, shown, strict=True):
            live.observe(lambda change, values=values: values.append(change["new"]), "value")
            live.wait(30)

        def runs() -> int:
            return backend.fetch("/api/admin/status", admin=True)["executions"]["queries"]

        before = runs()
        for _ in range(OPERATIONS):
            now = dict(states[-1])
            what = choose.choice(["put", "put", "move", "drop"]) if now else "put"
            id = choose.choice(sorted(now)) if now else ""
            old = [{near[1] for near in _nearest(now, query)} for query in queries]
            if what == "drop":
                client.call("m:drop", {"id": id})
                del now[id]
            else:
                e = vector()
                id = client.call("m:put", {"e": e}) if what == "put" else id
                if what == "move":
                    client.call("m:move", {"id": id, "e": e})
                now[id] = e
            for query, ids in zip(queries, old, strict=True):
                found = _nearest(states[-1], query)
                close = id in now and (len(found) < 3 or cosine(now[id], query) >= found[-1][0] - 1e-5)
                concerned += id in ids or close
            states.append(now)
        deadline = time.monotonic() + 30
        rows = [Row(id, e, {}) for id, e in states[-1].items()]
        while not all(agree(live.value, rows, query, 3) for live, query in zip(lives, queries, strict=True)):
            assert time.monotonic() < deadline, "waited for too long"
            time.sleep(0.01)
        assert runs() - before <= concerned < OPERATIONS * len(queries) / 2
    for values, query in zip(shown, queries, strict=True):
        at = 0
        for value in values:
            while not agree(value, [Row(id, e, {}) for id, e in states[at].items()], query, 3):
                at += 1
                assert at < len(states), "it never was so, or no more"


def _nearest(state: dict[str, list[float]], query: list[float]) -> list[tuple[float, str]]:
    return exact([Row(id, e, {}) for id, e in state.items()], query, 3)
