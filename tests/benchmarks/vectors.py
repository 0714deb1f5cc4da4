"""Vector search over 100,000 documents of 384 dimensions: how soon it answers, what it costs writers, whom a write concerns."""

from __future__ import annotations

import random
from statistics import median

from .backend import BenchBackend
from .figures import Figure
from .floors import percentile
from .searching import answers, fill, inserts, live

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
def fill(ctx, table: str, first: int, many: int):
    for number in range(first, first + many):
        lang = "la" if number % 50 == 0 else ("ko", "en", "de", "fr")[number % 4]
        ctx.db.insert(table, {"embedding": vector(number), "lang": lang})


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


async def _queries(backend: BenchBackend, lang: str) -> list[float]:
    choose = random.Random(2)
    searches = [{"embedding": _vector(choose), "lang": lang} for _ in range(_QUERIES)]
    return await answers(backend, "vectors:find", searches)


async def _writes(backend: BenchBackend) -> tuple[list[float], list[float]]:
    choose = random.Random(3)
    documents = [{"embedding": _vector(choose)} for _ in range(_WRITES)]
    return await inserts(backend, "vectors:add", documents, ("vectors", "plain"))


async def _live(backend: BenchBackend) -> tuple[float, list[float]]:
    """Inserts of which each is the nearest of one live search."""
    choose = random.Random(4)
    wanted = [_vector(choose) for _ in range(_LIVE)]
    documents = [
        {"table": "vectors", "embedding": [number + choose.gauss(0, 0.05) for number in choose.choice(wanted)]}
        for _ in range(_ROUNDS)
    ]
    return await live(
        backend, [("vectors:find", {"embedding": vector}) for vector in wanted], "vectors:add", documents, 1
    )


async def vectors(backend: BenchBackend, documents: int) -> list[Figure]:
    """The bars of vector search (at 20,000 documents with ``--quick``)."""
    await fill(backend, "vectors", ("vectors",), documents, _CHUNK)
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
