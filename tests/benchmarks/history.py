"""10,000,000 updates of 1,000 documents, then retention: how much is left, who notices, and how soon it starts again."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from nbreactive.services.streams import records

from .backend import KEY, BenchBackend
from .client import LoadClient
from .figures import Figure
from .floors import percentile

DOCUMENTS = 1000
_CLIENTS = 8
_SECONDS = 20
_MINUTE = 75
"""The row index keeps all versions of a minute, and needs a moment to forget them."""
_FUNCTIONS = """
import random

from nbreactive import mutation, query

WORDS = "the of and a to in is you that it he was for on are as with his they I at be this have from or one had by word but not what all were we when your can said there use an each which she do how their if will up other about out many then them these so some her would make like him into time has look two more write go see number no way could people my than first water been call who oil its now find long down day did get come made may part".split()

def body(number, revision):
    choose = random.Random(number * 1000003 + revision)
    return " ".join(choose.choices(WORDS, k=200))

@mutation
def begin(ctx, many: int):
    for number in range(many):
        ctx.db.insert("records", {"number": number, "revision": 0, "body": body(number, 0)})

@mutation
def update(ctx, revision: int, half: int):
    start = body(half, revision)
    docs = ctx.db.query("records").order("desc" if half else "asc").take(500)
    for number, doc in enumerate(docs):
        ctx.db.patch(doc["_id"], {"revision": revision, "body": start[number % 900:] + start[:number % 900]})

@mutation
def touch(ctx, id: str):
    doc = ctx.db.get(id)
    ctx.db.patch(id, {"revision": doc["revision"] + 1})

@query
def one(ctx, id: str):
    return ctx.db.get(id)["revision"]

@query
def ids(ctx):
    return [doc["_id"] for doc in ctx.db.query("records").collect()]

@query
def sums(ctx):
    return [doc["revision"] for doc in ctx.db.query("records").collect()]
"""


def prepare(backend: BenchBackend) -> None:
    """Add the functions; before the start."""
    (backend.functions / "history.py").write_text(_FUNCTIONS)


def _sizes(data: Path) -> dict[str, int]:
    def size(pattern: str) -> int:
        return sum(path.stat().st_blocks * 512 for path in data.glob(pattern) if path.is_file())

    return {"log": size("log/*"), "index": size("index/*"), "store.duckdb": size("store.duckdb*")}


def _live_bytes(backend: BenchBackend) -> int:
    """The documents themselves, packed."""
    request = urllib.request.Request(backend.url + "/api/admin/documents", headers={"Authorization": f"Convex {KEY}"})
    with urllib.request.urlopen(request) as answer:
        return sum(
            len(id) + len(doc) for kind, content in records(answer.read) if kind == b"b" for id, doc in content[1]
        )


async def _steady(backend: BenchBackend, ids: list[str], until: asyncio.Event) -> list[float]:
    """Latencies of live queries whose documents are changed at 200 per second (open loop), until the event."""
    clients = [await LoadClient.connect(backend.url) for _ in range(_CLIENTS)]
    for client, id in zip(clients, ids, strict=False):
        client.subscribe(("history:one", {"id": id}))
        await client.updates(1)
    taken: list[float] = []
    waiting: set[asyncio.Task[None]] = set()
    begun, sent = time.perf_counter(), 0

    async def one(number: int, planned: float) -> None:
        # Answer and new result come in one write
        taken.append(await clients[number].mutate("history:touch", id=ids[number]) - planned)

    while not until.is_set():
        while sent < (time.perf_counter() - begun) * 200:
            waiting.add(asyncio.create_task(one(sent % _CLIENTS, begun + sent / 200)))
            sent += 1
        await asyncio.sleep(0.0005)
    await asyncio.gather(*waiting)
    assert not any(client.failures for client in clients)
    for client in clients:
        client.close()
    return taken


async def _for(seconds: float, backend: BenchBackend, ids: list[str]) -> list[float]:
    until = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, until.set)
    return await _steady(backend, ids, until)


def _caught_up(backend: BenchBackend) -> None:
    while True:
        status = backend.status()
        if status["columns"]["applied"] >= int(status["durable_ts"]):
            return
        time.sleep(0.2)


def _update(backend: BenchBackend, first: int, after: int) -> None:
    """Change all documents, once for each revision."""
    begun = time.perf_counter()
    for revision in range(first, after):
        for half in range(2):
            backend.call("mutation", "history:update", revision=revision, half=half)
        if revision % 100 == 0:
            sys.stderr.write(f"\r{revision * DOCUMENTS:,} updates, {time.perf_counter() - begun:.0f} s\033[K")
    sys.stderr.write("\n")
    _caught_up(backend)


def _forget(backend: BenchBackend) -> dict[str, Any]:
    return backend.request("/api/admin/retention", {"keep": "0s"})


async def s2(backend: BenchBackend, updates: int) -> list[Figure]:
    """Bar 6: what is left of the files, and, with a tenth of the updates more, who notices that history goes."""
    backend.query("history:ids")
    # Over HTTP: the answers to requests of sessions are kept for a day, which is no history of documents
    backend.call("mutation", "history:begin", many=DOCUMENTS)
    revisions = updates // DOCUMENTS
    _update(backend, 1, revisions + 1)
    before = _sizes(backend.data)
    begun = time.perf_counter()
    report = _forget(backend)
    trimming = time.perf_counter() - begun
    running = _sizes(backend.data)
    live = _live_bytes(backend)
    await asyncio.sleep(_MINUTE)
    expected: list[int] = backend.query("history:sums")
    assert sum(expected) == revisions * DOCUMENTS
    backend.stop()
    cold = backend.start()
    assert backend.query("history:sums") == expected
    left = _sizes(backend.data)
    backend.stop()
    shutil.rmtree(backend.data / "index")
    rebuilt = backend.start()
    assert backend.query("history:sums") == expected
    sys.stderr.write(
        f"live documents {live:,} bytes; files before {before}, after retention while running {running},"
        f" after a restart {left}; {report}\n"
    )
    _update(backend, revisions + 1, revisions + max(1, revisions // 10) + 1)
    ids: list[str] = backend.query("history:ids")
    quiet = await _for(_SECONDS, backend, ids)
    until = asyncio.Event()
    writing = asyncio.create_task(_steady(backend, ids, until))
    await asyncio.sleep(1)
    begun = time.perf_counter()
    await asyncio.to_thread(_forget, backend)
    await asyncio.sleep(max(0.0, 5 - (time.perf_counter() - begun)))
    until.set()
    disturbed = await writing
    total = (revisions + max(1, revisions // 10)) * DOCUMENTS + len(quiet) + len(disturbed)
    assert sum(backend.query("history:sums")) == total
    return [
        Figure("S2", "files after retention and a restart, against the documents", sum(left.values()), "B", 3.0, live),
        Figure("S2", "cold start", cold, "s", 8.0),
        Figure("S2", "cold start without a row index", rebuilt, "s", 8.0),
        Figure(
            "S2",
            "live query p50, 200 writes/s, during retention",
            percentile(disturbed, 0.5) * 1e3,
            "ms",
            2.0,
            percentile(quiet, 0.5) * 1e3,
        ),
        Figure(
            "S2",
            "live query p99, 200 writes/s, during retention",
            percentile(disturbed, 0.99) * 1e3,
            "ms",
            5.0,
            percentile(quiet, 0.99) * 1e3,
        ),
        Figure("S2", "retention itself", trimming, "s", 600.0),
    ]
