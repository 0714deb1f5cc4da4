"""W1 and W2: how long one durable mutation takes to its subscriber, and how many are acknowledged per second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from statistics import median

from .backend import BenchBackend
from .client import LoadClient
from .figures import Figure
from .floors import Commits, percentile

IN_FLIGHT = 64


async def one_by_one(url: str, many: int, headers: dict[str, str] | None = None) -> list[float]:
    """Seconds from sending a mutation to another socket's new "latest 100", one at a time."""
    writer = await LoadClient.connect(url, headers)
    reader = await LoadClient.connect(url, headers)
    first = asyncio.create_task(reader.updates(1))
    await asyncio.sleep(0)
    reader.subscribe(("bench:latest", {"limit": 100}))
    await first
    taken: list[float] = []
    for number in range(many):
        seen = asyncio.get_running_loop().create_future()
        reader.on_update = lambda now, _many, seen=seen: seen.done() or seen.set_result(now)
        start = time.perf_counter()
        acknowledged = writer.mutate("bench:send", author="writer", body=f"hello {number}")
        taken.append(await seen - start)
        await acknowledged
    assert not writer.failures
    assert not reader.failures
    writer.close()
    reader.close()
    return taken[many // 10 :]


async def at_a_rate(url: str, per_second: float, seconds: float) -> list[float]:
    """Seconds from the planned time of each mutation to the subscriber's update that holds it (open loop)."""
    writers = [await LoadClient.connect(url) for _ in range(8)]
    reader = await LoadClient.connect(url)
    first = asyncio.create_task(reader.updates(1))
    await asyncio.sleep(0)
    reader.subscribe(("bench:total", {}))
    await first
    pending: list[float] = []
    taken: list[float] = []

    def arrived(now: float, _many: int) -> None:
        taken.extend(now - sent for sent in pending)
        pending.clear()

    reader.on_update = arrived
    begun = time.perf_counter()
    sent = 0
    while (elapsed := time.perf_counter() - begun) < seconds:
        while sent < elapsed * per_second:
            pending.append(begun + sent / per_second)
            writers[sent % len(writers)].mutate("bench:send", author="rate", body="tick")
            sent += 1
        await asyncio.sleep(0.0005)
    await asyncio.gather(*(writer.mutate("bench:send", author="rate", body="last") for writer in writers))
    assert not sum(client.failures for client in (*writers, reader))
    for client in (*writers, reader):
        client.close()
    return taken


async def _watchers(url: str) -> AsyncIterator[LoadClient]:
    for number in range(10):
        client = await LoadClient.connect(url)
        client.subscribe(("bench:newest", {"author": "rate" if number else "load", "marker": number}))
        yield client


async def rate(url: str, path: str, seconds: float, in_flight: int, live: str | None = None) -> tuple[float, int]:
    """Acknowledged mutations per second with ``in_flight`` sockets, and how many failed."""
    watchers = [client async for client in _watchers(url)]
    if live:
        watchers[0].subscribe((live, {}))
    clients = [await LoadClient.connect(url) for _ in range(in_flight)]
    acknowledged = 0
    begun = time.perf_counter()
    until = begun + seconds

    async def keep_writing(client: LoadClient) -> None:
        nonlocal acknowledged
        while time.perf_counter() < until:
            if path == "bench:bump":
                await client.mutate(path, name="hot")
            else:
                await client.mutate(path, author="load", body="hello there")
            acknowledged += 1

    await asyncio.gather(*(keep_writing(client) for client in clients))
    elapsed = time.perf_counter() - begun
    failures = sum(client.failures for client in (*clients, *watchers))
    for client in (*clients, *watchers):
        client.close()
    return acknowledged / elapsed, failures


async def w1(backend: BenchBackend, *, quick: bool) -> list[Figure]:
    """One durable mutation to another subscriber of "latest 100 of 10,000"."""
    floor, taken = Commits(), list[float]()
    for _ in range(3 if quick else 10):
        floor.sample()
        taken += await one_by_one(backend.url, 100 if quick else 200)
    floor.sample()
    slow = await at_a_rate(backend.url, 500, 10 if quick else 300)
    ms, commit = 1000.0, floor.seconds * 1000
    return [
        Figure("W1", "mutation to subscriber, p50", median(taken) * ms, "ms", 2.5, commit),
        Figure("W1", "mutation to subscriber, p99", percentile(taken, 0.99) * ms, "ms", 8, commit),
        Figure("W1", "at 500/s, p99.9", percentile(slow, 0.999) * ms, "ms", 50, commit),
    ]


async def w2(backend: BenchBackend, *, quick: bool) -> list[Figure]:
    """Acknowledged durable mutations per second."""
    failures = 0

    async def measure(path: str, in_flight: int, live: str | None = None) -> tuple[float, float]:
        """The rate, and the rate of bare commits around it."""
        nonlocal failures
        floor, rates = Commits(), list[float]()
        for _ in range(2 if quick else 5):
            floor.sample()
            reached, failed = await rate(backend.url, path, 1.5 if quick else 2, in_flight, live)
            rates.append(reached)
            failures += failed
        floor.sample()
        return sum(rates) / len(rates), floor.per_second

    with suppress(RuntimeError):
        backend.call("mutation", "bench:bump", name="hot")
    before = backend.query("bench:counter", name="hot")
    one, one_floor = await measure("bench:send", 1)
    many, many_floor = await measure("bench:send", IN_FLIGHT)
    hot, hot_floor = await measure("bench:bump", IN_FLIGHT)
    counted, _ = await measure("bench:send", IN_FLIGHT, live="bench:total")
    assert backend.query("bench:counter", name="hot") > before
    return [
        Figure("W2", "1 in flight", one, "per s", 0.8, one_floor, at_least=True),
        Figure("W2", "64 in flight", many, "per s", 4, many_floor, at_least=True, goal=8),
        Figure("W2", "64 on one counter", hot, "per s", 1, hot_floor, at_least=True),
        Figure("W2", "64 beside a live count", counted, "per s", 0.7, many, at_least=True),
        Figure("W2", "errors that reached a client", failures, "", 0),
    ]
