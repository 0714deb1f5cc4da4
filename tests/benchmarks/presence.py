"""P1: a room of 100 people, each with a heartbeat every 5 s and a live list of the others: what it costs, and how soon it shows."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from pathlib import Path

from .backend import BenchBackend
from .client import LoadClient
from .figures import Figure
from .floors import percentile

PEOPLE = 100
EVERY = 5.0
ROOM = "the room"


def processor_seconds(root: int) -> float:
    """Seconds of processor time that a process and everything below it have used, also those that have ended."""
    ticks, seen = 0, [root]
    for pid in seen:
        with contextlib.suppress(OSError, ValueError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:13]))
            for task in Path(f"/proc/{pid}/task").iterdir():
                seen += map(int, (task / "children").read_text().split())
    return ticks / os.sysconf("SC_CLK_TCK")


async def share(backend: BenchBackend, seconds: float) -> float:
    """Percent of one core that the backend and all its processes use while this waits."""
    assert backend.process is not None
    used, begun = processor_seconds(backend.process.pid), time.perf_counter()
    await asyncio.sleep(seconds)
    return 100 * (processor_seconds(backend.process.pid) - used) / (time.perf_counter() - begun)


@contextlib.asynccontextmanager
async def beating(clients: list[LoadClient], beat: Callable[[int], Awaitable[float]]) -> AsyncGenerator[None]:
    """Let everybody send a heartbeat every 5 s, evenly spread."""

    async def heart(number: int) -> None:
        await asyncio.sleep(number * EVERY / len(clients))
        while True:
            begun = time.perf_counter()
            await beat(number)
            await asyncio.sleep(max(begun + EVERY - time.perf_counter(), 0))

    hearts = [asyncio.create_task(heart(number)) for number in range(len(clients))]
    try:
        await asyncio.sleep(EVERY)
        yield
    finally:
        for one in hearts:
            one.cancel()
        await asyncio.gather(*hearts, return_exceptions=True)


async def _shown(clients: list[LoadClient], change: Callable[[], object]) -> float:
    """Milliseconds from a change until the last of the others has been sent it."""
    begun = time.perf_counter()
    waiting = [asyncio.create_task(client.updates(1)) for client in clients]
    await asyncio.sleep(0)
    change()
    await asyncio.gather(*waiting)
    return (time.perf_counter() - begun) * 1000


async def presence(backend: BenchBackend, *, quick: bool) -> list[Figure]:
    """One room, and the same heartbeats as mutations of a deployed function."""
    seconds = 10.0 if quick else 30.0
    clients = [await LoadClient.connect(backend.url) for _ in range(PEOPLE)]
    for number, client in enumerate(clients):
        await client.mutate("nbreactive/presence:join", room=ROOM, session=str(number), data={"cell": number})
    for client in clients:
        first = asyncio.create_task(client.updates(1))
        await asyncio.sleep(0)
        client.subscribe(("nbreactive/presence:list", {"room": ROOM}))
        await first

    def built_in(number: int) -> Awaitable[float]:
        return clients[number].mutate("nbreactive/presence:heartbeat", room=ROOM, session=str(number))

    def deployed(number: int) -> Awaitable[float]:
        return clients[number].mutate("bench:beat", room=ROOM, session=str(number))

    joins: list[float] = []
    leaves: list[float] = []
    ends: list[float] = []
    async with beating(clients, built_in):
        runs = backend.status()["executions"]
        own = await share(backend, seconds)
        after = backend.status()["executions"]
        for number in range(5 if quick else 20):
            guest = await LoadClient.connect(backend.url)
            call = partial(guest.mutate, room=ROOM, session=f"guest {number}")
            joins.append(await _shown(clients, partial(call, "nbreactive/presence:join")))
            if number % 2:
                leaves.append(await _shown(clients, partial(call, "nbreactive/presence:leave")))
                guest.close()
            else:
                ends.append(await _shown(clients, guest.close))
    async with beating(clients, deployed):
        mutations = await share(backend, seconds)
    assert after == runs, f"heartbeats have run functions: {runs}, {after}"
    assert not any(client.failures for client in clients)
    for client in clients:
        client.close()
    return [
        Figure("P1", "100 people, heartbeats", own, "% of a core", 5),
        Figure("P1", "of that through a worker", own, "% of a core", 1, mutations),
        Figure("P1", "join shown to all, slowest", max(joins), "ms", 1000),
        Figure("P1", "join shown to all, median", percentile(joins, 0.5), "ms", 1000),
        Figure("P1", "leave shown to all, slowest", max(leaves), "ms", 1000),
        Figure("P1", "connection ended, slowest", max(ends), "ms", 1000),
    ]
