"""What is measured of every kind of search: filling its table, answers, what the index costs writers, live searches."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

from .backend import BenchBackend
from .client import LoadClient

Args = dict[str, Any]


async def fill(backend: BenchBackend, module: str, tables: Iterable[str], documents: int, chunk: int) -> None:
    """Fill tables by ``fill`` of a module, and let its ``total`` say that all is there."""
    client = await LoadClient.connect(backend.url)
    begun = time.perf_counter()
    for table in tables:
        for first in range(0, documents, chunk):
            await client.mutate(f"{module}:fill", table=table, first=first, many=min(chunk, documents - first))
            assert not client.failures
            sys.stderr.write(f"\r{first:,} of {table}, {time.perf_counter() - begun:.0f} s\033[K")
        assert backend.query(f"{module}:total", table=table) == documents
    client.close()
    sys.stderr.write("\n")


async def answers(backend: BenchBackend, path: str, searches: Iterable[Args]) -> list[float]:
    """Seconds of searches, one at a time; each has to be another one, so that none is answered from the cache."""
    client = await LoadClient.connect(backend.url)
    taken: list[float] = []
    for args in searches:
        update = asyncio.create_task(client.updates(1))
        await asyncio.sleep(0)
        start = time.perf_counter()
        client.subscribe((path, args))
        await update
        taken.append(time.perf_counter() - start)
    assert not client.failures
    client.close()
    return taken


async def inserts(
    backend: BenchBackend, path: str, documents: Sequence[Args], tables: tuple[str, str]
) -> tuple[list[float], list[float]]:
    """Seconds of inserts into a table with the index and into one without, in turns; the first tenth does not count."""
    client = await LoadClient.connect(backend.url)
    taken: dict[str, list[float]] = {table: [] for table in tables}
    for number, document in enumerate(documents):
        for table in tables if number % 2 else reversed(tables):
            start = time.perf_counter()
            taken[table].append(await client.mutate(path, table=table, **document) - start)
    assert not client.failures
    client.close()
    skipped = len(documents) // 10
    return taken[tables[0]][skipped:], taken[tables[1]][skipped:]


async def live(
    backend: BenchBackend, searches: Sequence[tuple[str, Args]], path: str, documents: Sequence[Args], concerned: int
) -> tuple[float, list[float]]:
    """Runs of live searches for each insert, and seconds until as many have been seen as it concerns."""
    reader, writer = await LoadClient.connect(backend.url), await LoadClient.connect(backend.url)
    first = asyncio.create_task(reader.updates(len(searches)))
    await asyncio.sleep(0)
    reader.subscribe(*searches)
    await first
    taken: list[float] = []
    ran = backend.status()["executions"]["queries"]
    for document in documents:
        seen = asyncio.create_task(reader.updates(concerned))
        await asyncio.sleep(0)
        start = time.perf_counter()
        writer.mutate(path, **document)
        await seen
        taken.append(time.perf_counter() - start)
    runs = (backend.status()["executions"]["queries"] - ran) / len(documents)
    assert not reader.failures
    assert not writer.failures
    reader.close()
    writer.close()
    return runs, taken
