"""Bar 5: histories of a real backend are strictly serializable, and every pushed result is that of its timestamp."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tornado.websocket

from nbreactive.client.client import Client
from nbreactive.client.target import Target
from tests.served import KEY, Served
from tests.simulation.checker import Committed, find_cycle

CLIENTS = 8
CALLS = 60
KEYS = ["a", "b", "c", "d"]

REGISTERS = '''
from nbreactive import define_schema, define_table, mutation, query, v

schema = define_schema({
    "registers": define_table({"key": v.string(), "names": v.array(v.string())}).index("by_key", ["key"]),
})

def register(ctx, key):
    return ctx.db.query("registers").with_index("by_key", lambda q: q.eq("key", key)).unique()

@mutation
def act(ctx, name: str, reads: list[str], writes: list[str]):
    """Read some registers, append to others: what was read is what the next writer must not have changed."""
    seen = {}
    for key in reads:
        found = register(ctx, key)
        seen[key] = found["names"][-1] if found else None
    for key in writes:
        found = register(ctx, key)
        seen[key] = found["names"][-1] if found else None
        if found is None:
            ctx.db.insert("registers", {"key": key, "names": [name]})
        else:
            ctx.db.patch(found["_id"], {"names": [*found["names"], name]})
    return seen

@query
def look(ctx, keys: list[str]):
    return {key: (register(ctx, key) or {"names": [None]})["names"][-1] for key in keys}

@query
def everything(ctx):
    return {row["key"]: row["names"] for row in ctx.db.query("registers")}
'''


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path, {"registers": REGISTERS}) as served:
        yield served


class Watcher:
    """A raw socket that notes every pushed result with its timestamp, in a thread of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.pushed: list[tuple[str, str, Any]] = []
        self.timestamps: list[int] = []
        self.stop = threading.Event()
        self.ready = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._watch()))
        self.thread.start()

    async def _watch(self) -> None:
        socket = await tornado.websocket.websocket_connect(self.url.replace("http", "ws", 1) + "/api/sync")
        hello = {"type": "Connect", "sessionId": "6b0c7a52-4a3b-4c0e-8a35-3b7f5f7e8a11", "connectionCount": 0}
        await socket.write_message(json.dumps({**hello, "lastCloseReason": "InitialConnect", "clientTs": 0}))
        queries = [("registers:everything", {}), ("registers:look", {"keys": KEYS[:2]})]
        added = [
            {"type": "Add", "queryId": number, "udfPath": path, "args": [args]}
            for number, (path, args) in enumerate(queries)
        ]
        change = {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": added}
        await socket.write_message(json.dumps(change))
        while not self.stop.is_set():
            try:
                async with asyncio.timeout(0.2):
                    message = await socket.read_message()
            except TimeoutError:
                continue
            assert isinstance(message, str), "the backend closed the socket"
            transition = json.loads(message)
            if transition["type"] != "Transition":
                continue
            encoded = transition["endVersion"]["ts"]
            self.timestamps.append(int.from_bytes(base64.b64decode(encoded), "little"))
            for update in transition["modifications"]:
                assert update["type"] == "QueryUpdated", update
                path, args = queries[update["queryId"]]
                self.pushed.append((json.dumps([path, args]), encoded, update["value"]))
            self.ready.set()
        socket.close()


@pytest.mark.slow
def test_histories_are_strictly_serializable_and_pushes_are_exact(backend: Served) -> None:
    transactions: list[Committed] = []
    problems: list[str] = []
    watcher = Watcher(backend.url)
    assert watcher.ready.wait(10)

    def work(number: int) -> None:
        rng = random.Random(number)
        target = Target(base=backend.url, headers={"Authorization": f"Convex {KEY}"})
        with Client(target) as client:
            for call in range(CALLS):
                name = f"{number}.{call}"
                start = time.monotonic()
                try:
                    if rng.random() < 0.25:
                        seen = client.call("registers:look", {"keys": rng.sample(KEYS, 2)})
                    else:
                        reads, writes = rng.sample(KEYS, 2), rng.sample(KEYS, rng.choice([1, 1, 2]))
                        seen = client.call("registers:act", {"name": name, "reads": reads, "writes": writes})
                except Exception as error:  # noqa: BLE001 - contention must never reach a client
                    problems.append(f"{name}: {error!r}")
                    return
                transactions.append(Committed(name, seen, start, time.monotonic()))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    watcher.stop.set()
    watcher.thread.join(10)
    assert not problems, problems[:5]
    assert len(transactions) == CLIENTS * CALLS

    versions = backend.call("query", "registers:everything")
    cycle = find_cycle(transactions, versions)
    assert cycle is None, f"not strictly serializable: {cycle}"

    assert len(watcher.pushed) > 20
    assert watcher.timestamps == sorted(watcher.timestamps), "a session went back in time"
    for query, ts, value in watcher.pushed:
        path, args = json.loads(query)
        body = {"path": path, "args": args, "ts": ts, "format": "convex_encoded_json"}
        fresh = backend.fetch("/api/query_at_ts", body)
        assert fresh["value"] == value, f"{path} at {ts}"
