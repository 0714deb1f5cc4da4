"""S1: how fast a storm of scheduled mutations drains, and what a fresh call has to wait meanwhile."""

from __future__ import annotations

import asyncio
import time

from .backend import BenchBackend
from .client import LoadClient
from .figures import Figure
from .floors import percentile
from .writes import IN_FLIGHT, rate

_AT_ONCE = 1000
_EVERY = 0.02


async def storm(backend: BenchBackend, many: int) -> tuple[float, list[float]]:
    """Jobs per second, and the seconds that mutations take which are called meanwhile."""
    before = backend.query("bench:by_job")
    # All of them are due at one moment, when all of them are there.
    when = time.time() * 1000 + 3000 + many / 3
    for first in range(0, many, _AT_ONCE):
        backend.call("mutation", "bench:schedule", first=first, many=_AT_ONCE, when=when)
    assert time.time() * 1000 < when, "it took too long to schedule the jobs"
    caller = await LoadClient.connect(backend.url)
    taken: list[float] = []
    left = many
    await asyncio.sleep(when / 1000 - time.time())
    begun = time.perf_counter()

    async def call() -> None:
        sent = time.perf_counter()
        answered = await caller.mutate("bench:send", author="fresh", body="hello there")
        taken.append(answered - sent)

    calls: list[asyncio.Task[None]] = []
    looked = begun
    while left:
        calls.append(asyncio.create_task(call()))
        await asyncio.sleep(_EVERY)
        if time.perf_counter() - looked > 0.25:
            looked = time.perf_counter()
            left = await asyncio.to_thread(backend.query, "bench:pending")
    elapsed = time.perf_counter() - begun
    await asyncio.gather(*calls)
    done = backend.query("bench:by_job") - before
    assert done == many, f"{done} jobs have run, not {many}"
    assert not caller.failures
    caller.close()
    return many / elapsed, taken


async def s1(backend: BenchBackend, *, quick: bool) -> list[Figure]:
    """A storm of scheduled jobs, measured against W2 just before and after."""
    seconds = 1.5 if quick else 4
    first, _ = await rate(backend.url, "bench:send", seconds, IN_FLIGHT)
    drained, taken = await storm(backend, 20_000 if quick else 100_000)
    second, _ = await rate(backend.url, "bench:send", seconds, IN_FLIGHT)
    return [
        Figure("S1", "scheduled mutations, of W2", drained, "per s", 0.5, (first + second) / 2, at_least=True),
        Figure("S1", "fresh call meanwhile, p99", percentile(taken, 0.99) * 1000, "ms", 100),
    ]
