"""Eight good callers beside one bad call at a time: what the bad one costs the good ones."""

from __future__ import annotations

import asyncio
import itertools
import time

from .backend import BenchBackend
from .client import LoadClient
from .figures import Figure
from .floors import percentile

_BAD = ("spin", "sleep", "memory", "segfault", "exit")


async def _good(backend: BenchBackend, seconds: float) -> list[float]:
    clients = [await LoadClient.connect(backend.url) for _ in range(8)]
    until = time.perf_counter() + seconds
    taken: list[float] = []

    async def keep_calling(client: LoadClient) -> None:
        while (start := time.perf_counter()) < until:
            taken.append(await client.mutate("bench:send", author="good", body="hello") - start)
            await asyncio.sleep(0.005)

    await asyncio.gather(*(keep_calling(client) for client in clients))
    assert not any(client.failures for client in clients)
    for client in clients:
        client.close()
    return taken


async def isolation(backend: BenchBackend, *, quick: bool) -> list[Figure]:
    """Bar 6: delay of good calls at p99, and the time until each bad call has its error."""
    seconds = 5 if quick else 15
    alone = await _good(backend, seconds)
    offender = await LoadClient.connect(backend.url)
    answered: list[float] = []
    good = asyncio.create_task(_good(backend, seconds))
    for number, how in enumerate(itertools.cycle(_BAD)):
        start = time.perf_counter()
        answered.append(await offender.mutate(f"bench:misbehave_{number % 16}", how=how) - start)
        if good.done():
            break
    beside = await good
    offender.close()
    ms = 1000.0
    added = (percentile(beside, 0.99) - percentile(alone, 0.99)) * ms
    return [
        Figure("isolation", "p99 added to good calls", added, "ms", 50),
        Figure("isolation", "slowest error of a bad call", max(answered), "s", 1.5),
    ]
