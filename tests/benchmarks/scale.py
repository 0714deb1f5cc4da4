"""At 1,000,000 documents with two indexes: starting, counting, adding an index, memory."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from statistics import median

from .backend import BenchBackend
from .client import LoadClient
from .figures import Figure
from .floors import percentile

_CHUNK = 4000
_COUNTS = 2000


async def fill(backend: BenchBackend, documents: int) -> None:
    """Insert messages until there are ``documents``, by mutations of 4,000."""
    there = backend.query("bench:total")
    client = await LoadClient.connect(backend.url)
    while there < documents:
        many = min(_CHUNK, documents - there)
        await client.mutate("bench:fill", first=there, many=many)
        assert not client.failures
        there += many
    client.close()


async def _steady(backend: BenchBackend, seconds: float) -> list[float]:
    """Latencies of acknowledged mutations at 200 per second (open loop)."""
    clients = [await LoadClient.connect(backend.url) for _ in range(8)]
    taken: list[float] = []
    begun = time.perf_counter()
    sent = 0
    waiting: set[asyncio.Task[None]] = set()

    async def one(client: LoadClient, planned: float) -> None:
        taken.append(await client.mutate("bench:send", author="steady", body="tick") - planned)

    while (elapsed := time.perf_counter() - begun) < seconds:
        while sent < elapsed * 200:
            waiting.add(asyncio.create_task(one(clients[sent % 8], begun + sent / 200)))
            sent += 1
        await asyncio.sleep(0.0005)
    await asyncio.gather(*waiting)
    for client in clients:
        client.close()
    return taken


def _count_seconds(backend: BenchBackend, number: int) -> float:
    """Seconds of one ``count()``: many in one call, less a call with hardly any; other arguments are another query."""
    start = time.perf_counter()
    backend.query("bench:totals", times=number)
    middle = time.perf_counter()
    backend.query("bench:totals", times=number + _COUNTS)
    return (time.perf_counter() - middle - (middle - start)) / _COUNTS


async def scale(backend: BenchBackend, documents: int) -> list[Figure]:
    """The bars at 1,000,000 documents (fewer with ``--quick``)."""
    await fill(backend, documents)
    peak = backend.memory()
    counts = [_count_seconds(backend, number) for number in range(15)]

    backend.stop()
    shutil.rmtree(backend.data / "index")
    cold = backend.start()
    peak = max(peak, backend.memory())

    quiet = await _steady(backend, 20)
    writing = asyncio.create_task(_steady(backend, 20))
    await asyncio.sleep(1)
    module = backend.functions / "bench.py"
    text = module.read_text()
    module.write_text(text.replace('.index("by_timestamp"', '.index("by_body", ["body"]).index("by_timestamp"'))
    while "by_body" not in str(backend.request("/api/admin/tables")):
        await asyncio.sleep(0.2)
        assert not writing.done(), "the new index was not begun within 20 s"
    busy = await writing
    peak = max(peak, backend.memory())

    backend.stop(signal.SIGKILL)
    after_kill = backend.start()
    peak = max(peak, backend.memory())
    assert backend.query("bench:total") >= documents
    ms = 1000.0
    return [
        Figure("scale", f"count() of {documents:,}", median(counts) * ms, "ms", 0.2),
        Figure("scale", "start without row index", cold, "s", 8),
        Figure("scale", "start after SIGKILL", after_kill, "s", 2),
        Figure("scale", "backend memory, peak", peak / 1e6, "MB", 500),
        Figure(
            "scale", "p99 added by adding an index",
            (percentile(busy, 0.99) - percentile(quiet, 0.99)) * ms, "ms", 10,
        ),
    ]  # fmt: skip
