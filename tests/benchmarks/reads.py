"""W3 and W6: many subscribers, and what an idle subscription costs."""

from __future__ import annotations

import asyncio
import json
import time
from statistics import median
from typing import Any

import tornado.websocket

from .backend import BenchBackend
from .client import LoadClient
from .figures import Figure
from .floors import tornado_broadcast

_SUBSCRIBERS = 200
_ROUNDS = 40


async def _subscriber(
    url: str, path: str, args: dict[str, Any], **hello: Any
) -> tornado.websocket.WebSocketClientConnection:
    address = url.replace("http", "ws", 1) + "/api/sync"
    socket = await tornado.websocket.websocket_connect(address, compression_options={}, max_message_size=1 << 26)
    hello |= {"type": "Connect", "sessionId": "00000000-0000-4000-8000-000000000000", "connectionCount": 0}
    await socket.write_message(json.dumps({**hello, "lastCloseReason": "InitialConnect", "clientTs": 0}))
    added = [{"type": "Add", "queryId": 0, "udfPath": path, "args": [args]}]
    await socket.write_message(
        json.dumps({"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": added})
    )
    await _update(socket)
    return socket


async def _update(socket: tornado.websocket.WebSocketClientConnection) -> str:
    while True:
        message = await socket.read_message()
        assert isinstance(message, str), "the backend closed a subscriber's socket"
        if '"QueryUpdated"' in message or '"QueryDelta"' in message:
            return message


async def _one_of_many(url: str, writer: LoadClient) -> float:
    """Bytes on the wire for one row that is new in a result of 10,000."""
    asked = {"nbreactive": {"version": 1, "deltas": True}}
    socket = await _subscriber(url, "bench:latest", {"limit": 10_000}, **asked)
    received: list[int] = []
    for number in range(_ROUNDS):
        before = _received(socket)
        writer.mutate("bench:send", author="one", body=f"one of many {number}")
        await _update(socket)
        received.append(_received(socket) - before)
    socket.close()
    return median(received)


def _received(socket: tornado.websocket.WebSocketClientConnection) -> int:
    assert socket.protocol is not None
    return getattr(socket.protocol, "_wire_bytes_in")  # noqa: B009 - tornado counts, but tells nobody


async def w3(backend: BenchBackend, w1_median: float) -> list[Figure]:
    """200 subscribers of one query, then 200 subscribers of 200 different index ranges."""
    writer = await LoadClient.connect(backend.url)
    same = [await _subscriber(backend.url, "bench:latest", {"limit": 100}) for _ in range(_SUBSCRIBERS)]
    taken: list[float] = []
    payload = ""
    ran = backend.status()["executions"]["queries"]
    for number in range(_ROUNDS):
        start = time.perf_counter()
        writer.mutate("bench:send", author="same", body=f"round {number}")
        payload, *_ = await asyncio.gather(*(_update(socket) for socket in same))
        taken.append(time.perf_counter() - start)
    executions = (backend.status()["executions"]["queries"] - ran) / _ROUNDS
    for socket in same:
        socket.close()
    floor = await tornado_broadcast(payload, _SUBSCRIBERS)

    different = [
        await _subscriber(backend.url, "bench:by_author", {"author": f"author{number}"})
        for number in range(_SUBSCRIBERS)
    ]
    one: list[float] = []
    ran = backend.status()["executions"]["queries"]
    for number in range(_ROUNDS):
        start = time.perf_counter()
        writer.mutate("bench:send", author=f"author{number}", body="round")
        await _update(different[number])
        one.append(time.perf_counter() - start)
    executions_different = (backend.status()["executions"]["queries"] - ran) / _ROUNDS
    for socket in different:
        socket.close()
    one_of_many = await _one_of_many(backend.url, writer)
    writer.close()
    ms = 1000.0
    return [
        Figure("W3", "200 same, last one served", median(taken[4:]) * ms, "ms", 2.5, floor * ms),
        Figure("W3", "200 same, executions per write", executions, "", 1),
        Figure("W3", "200 ranges, the touched one", median(one[4:]) * ms, "ms", 1.5, w1_median),
        Figure("W3", "200 ranges, executions per write", executions_different, "", 1),
        Figure("W3", "one new row of 10,000, on the wire", one_of_many, "bytes", 1024),
    ]


async def w6(backend: BenchBackend) -> list[Figure]:
    """10,000 idle subscriptions over 100 sockets."""
    clients = [await LoadClient.connect(backend.url) for _ in range(100)]
    warm = [asyncio.create_task(client.updates(1)) for client in clients]
    await asyncio.sleep(0)
    for client in clients:
        client.subscribe(("bench:newest", {"author": "warm"}))
    await asyncio.gather(*warm)
    before = backend.memory()
    for number, client in enumerate(clients):
        done = asyncio.create_task(client.updates(100))
        await asyncio.sleep(0)
        client.subscribe(
            *(("bench:newest", {"author": f"author{(number * 100 + k) % 1000}", "marker": number * 100 + k})
              for k in range(100))
        )  # fmt: skip
        await done
    held = backend.memory() - before
    failures = sum(client.failures for client in clients)
    for client in clients:
        client.close()
    return [
        Figure("W6", "memory per idle subscription", held / 10_000 / 1024, "KiB", 20),
        Figure("W6", "failures of 10,000 subscriptions", failures, "", 0),
    ]
