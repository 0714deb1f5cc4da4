"""Vector search over 100,000 documents of 384 dimensions: how soon it answers, what it costs writers, whom a write concerns."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from statistics import median

from .backend import BenchBackend
from .client import LoadClient
from .figures import Figure
from .floors import percentile

_DIMENSIONS = 384
_CHUNK = 500
_QUERIES = 200
_WRITES = 300
_LIVE = 500
_ROUNDS = 100
_FUNCTIONS = """
import random

from nbreactive import define_schema, define_table, mutation, query, v

fields = {"embedding": v.array(v.number()), "lang": v.string()}
schema = define_schema({
    "vectors": define_table(fields).vector_index(
        "near", vector_field="embedding", dimensions=DIMENSIONS, filter_fields=["lang"]
    ),
    "plain": define_table(fields),
})


def vector(seed):
    choose = random.Random(seed)
    return [choose.gauss(0, 1) for _ in range(DIMENSIONS)]


@mutation
def fill(ctx, first: int, many: int):
    for number in range(first, first + many):
        lang = "la" if number % 50 == 0 else ("ko", "en", "de", "fr")[number % 4]
        ctx.db.insert("vectors", {"embedding": vector(number), "lang": lang})


@mutation
def add(ctx, table: str, embedding: list[float]):
    ctx.db.insert(table, {"embedding": embedding, "lang": "en"})


@query
def total(ctx, table: str):
    return ctx.db.query(table).count()


@query
def find(ctx, embedding: list[float], lang: str = ""):
    where = (lambda q: q.eq("lang", lang)) if lang else None
    found = ctx.db.query("vectors").nearest("near", embedding, limit=10, filter=where)
    return [[document["_id"], document["_score"]] for document in found]
"""


def prepare(backend: BenchBackend) -> None:
    """Add the functions; before the start."""
    (backend.functions / "vectors.py").write_text(_FUNCTIONS.replace("DIMENSIONS", str(_DIMENSIONS)))


def _vector(choose: random.Random) -> list[float]:
    return [choose.gauss(0, 1) for _ in range(_DIMENSIONS)]


async def _fill(backend: BenchBackend, documents: int) -> None:
    client = await LoadClient.connect(backend.url)
    begun = time.perf_counter()
    for first in range(0, documents, _CHUNK):
        await client.mutate("vectors:fill", first=first, many=min(_CHUNK, documents - first))
        assert not client.failures
        sys.stderr.write(f"\r{first:,} vectors, {time.perf_counter() - begun:.0f} s\033[K")
    assert backend.query("vectors:total", table="vectors") == documents
    client.close()
    sys.stderr.write("\n")


async def _queries(backend: BenchBackend, lang: str) -> list[float]:
    """Seconds of searches, each with another vector, so that none is answered from the cache; one at a time."""
    client = await LoadClient.connect(backend.url)
    choose, taken = random.Random(2), list[float]()
    for _ in range(_QUERIES):
        wanted = _vector(choose)
        update = asyncio.create_task(client.updates(1))
        await asyncio.sleep(0)
        start = time.perf_counter()
        client.subscribe(("vectors:find", {"embedding": wanted, "lang": lang}))
        await update
        taken.append(time.perf_counter() - start)
    assert not client.failures
    client.close()
    return taken


async def _writes(backend: BenchBackend) -> tuple[list[float], list[float]]:
    """Seconds of inserts with the index and without, in turns."""
    client = await LoadClient.connect(backend.url)
    choose = random.Random(3)
    taken: dict[str, list[float]] = {"vectors": [], "plain": []}
    for number in range(_WRITES):
        embedding = _vector(choose)
        for table in ("vectors", "plain") if number % 2 else ("plain", "vectors"):
            start = time.perf_counter()
            taken[table].append(await client.mutate("vectors:add", table=table, embedding=embedding) - start)
    assert not client.failures
    client.close()
    skipped = _WRITES // 10
    return taken["vectors"][skipped:], taken["plain"][skipped:]


async def _live(backend: BenchBackend) -> tuple[float, list[float]]:
    """Runs of live searches per insert of which one is the nearest, and seconds until that is seen."""
    reader, writer = await LoadClient.connect(backend.url), await LoadClient.connect(backend.url)
    choose, taken = random.Random(4), list[float]()
    wanted = [_vector(choose) for _ in range(_LIVE)]
    first = asyncio.create_task(reader.updates(_LIVE))
    await asyncio.sleep(0)
    reader.subscribe(*(("vectors:find", {"embedding": vector}) for vector in wanted))
    await first
    ran = backend.status()["executions"]["queries"]
    for _ in range(_ROUNDS):
        near = [number + choose.gauss(0, 0.05) for number in choose.choice(wanted)]
        seen = asyncio.create_task(reader.updates(1))
        await asyncio.sleep(0)
        start = time.perf_counter()
        writer.mutate("vectors:add", table="vectors", embedding=near)
        await seen
        taken.append(time.perf_counter() - start)
    runs = (backend.status()["executions"]["queries"] - ran) / _ROUNDS
    assert not reader.failures
    assert not writer.failures
    reader.close()
    writer.close()
    return runs, taken


async def vectors(backend: BenchBackend, documents: int) -> list[Figure]:
    """The bars of vector search (at 20,000 documents with ``--quick``)."""
    await _fill(backend, documents)
    queries, filtered = await _queries(backend, ""), await _queries(backend, "la")
    with_index, without = await _writes(backend)
    runs, seen = await _live(backend)
    ms = 1000.0
    name = f"{documents:,} x {_DIMENSIONS}"
    return [
        Figure("vectors", f"top 10 of {name}, p50", median(queries) * ms, "ms", 20),
        Figure("vectors", "top 10, p95", percentile(queries, 0.95) * ms, "ms", 100),
        Figure("vectors", "top 10 of one in fifty, p50", median(filtered) * ms, "ms", 10),
        Figure(
            "vectors", "insert, with the index against without", median(with_index) * ms, "ms", 2, median(without) * ms
        ),
        Figure("vectors", f"{_LIVE} live searches, runs per insert near one", runs, "", 2),
        Figure("vectors", f"{_LIVE} live searches, seen", median(seen) * ms, "ms", 50),
    ]
