"""One seeded run: engines on one log, clients that read and write, subscribers, and everything that can go wrong."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable
from typing import Any

from nbreactive.engine.catalog import CREATION_TIME, TABLES, Catalog, table_document
from nbreactive.engine.engine import Engine
from nbreactive.engine.engine_limits import EngineLimits
from nbreactive.engine.entries import Entry, decode_entry
from nbreactive.engine.log import Faults, MemoryLog
from nbreactive.engine.requests import MutationRequest, QueryRequest, QuerySpec
from nbreactive.engine.transactions import Write
from nbreactive.errors import Unavailable
from nbreactive.values import decode_json, pack, unpack
from tests.engine.plain_executor import PlainExecutor, Transaction
from tests.simulation.checker import Committed, find_cycle
from tests.simulation.memory_index import MemoryIndex
from tests.simulation.virtual_loop import VirtualClock, VirtualLoop

REGISTERS, ITEMS = 10_001, 10_002
KEYS = 3


class Violation(AssertionError):
    """What the engine promises did not hold."""


def _register(key: int) -> bytes:
    return bytes([key]) * 16


def change(tx: Transaction, args: Any) -> Any:
    """Read some registers, then write some, and maybe add an item."""
    seen = look(tx, args)
    for key in args["writes"]:
        tx.put("registers", _register(key), {"v": args["name"]})
    if args["insert"]:
        tx.insert("items", {"v": args["name"]})
    return seen


def look(tx: Transaction, args: Any) -> Any:
    """Read some registers, and maybe all items and their number."""
    seen: dict[str, Any] = {"registers": {}}
    for key in args["reads"]:
        found = tx.get("registers", _register(key))
        assert found is not None
        seen["registers"][f"r{key}"] = found["v"]
    if args["scan"]:
        seen["items"] = sorted(row["v"] for row in tx.scan("items", "by_creation_time"))
        seen["count"] = tx.count("items")
    return seen


class Node:
    """A machine: its engine dies and comes back, its row index stays, mostly."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.index = MemoryIndex()
        self.clock = VirtualClock(world.loop, world.random.uniform(-0.5, 0.5))
        self.engine: Engine | None = None
        self.up = asyncio.Event()

    async def start(self) -> None:
        world = self.world
        self.log = world.log.node()
        self.dead = asyncio.Event()
        executor = PlainExecutor(self.index, {"change": change, "look": look}, world.pause)
        self.engine = await Engine.open(
            log=self.log,
            index=self.index,  # type: ignore[arg-type]
            executor=executor,
            clock=self.clock,
            random=random.Random(world.random.random()),
            limits=EngineLimits(crowd=world.crowd),
            shared=world.shared,
        )
        self.up.set()

    async def crash(self) -> None:
        assert self.engine is not None
        self.up.clear()
        self.dead.set()
        self.log.crash()
        await self.engine.abandon()
        self.engine = None
        if self.world.random.random() < 0.2:
            self.index = MemoryIndex()
        await self.world.pause()
        self.clock.skew += self.world.random.uniform(-0.2, 0.2)
        await self.start()


class World:
    """Everything of one seed; ``run`` raises :class:`Violation`."""

    def __init__(self, seed: int, loop: VirtualLoop) -> None:
        self.random = random.Random(seed)
        self.loop = loop
        self.shared = self.random.random() < 0.7
        # Most worlds are small, so that there can be many of them.
        self.clients, self.operations, self.subscribers = (4, 8, 4) if self.random.random() < 0.1 else (3, 4, 2)
        self.crowd = self.random.choice([1, 12])
        self.faults = Faults()
        self.log = MemoryLog(seed, self.faults)
        self.nodes = [Node(self, number) for number in range(3 if self.shared else 1)]
        self.moment = 0
        self.answered: dict[str, tuple[Any, float]] = {}
        self.asked: dict[str, float] = {}
        self.looked: list[tuple[str, Any, float, float]] = []
        self.shown: list[tuple[int, Any, Any]] = []

    def tick(self) -> int:
        """Return a number that grows: the order of events, for real time."""
        self.moment += 1
        return self.moment

    async def pause(self) -> None:
        for _ in range(self.random.randrange(6)):
            await asyncio.sleep(0)
        if self.random.random() < 0.05:
            await asyncio.sleep(self.random.random() * 0.01)

    async def run(self) -> None:
        await self.nodes[0].start()
        await self._set_up()
        for node in self.nodes[1:]:
            await node.start()
        self.faults.refuse = self.random.choice([0.0, 0.1, 0.3])
        self.faults.unknown = self.random.choice([0.0, 0.1, 0.3])
        self.faults.delay = self.random.choice([0, 3, 10, 30])
        subscribers = [asyncio.ensure_future(self._subscriber(n)) for n in range(self.subscribers)]
        chaos = asyncio.ensure_future(self._chaos())
        async with asyncio.timeout(300):
            await asyncio.gather(*(self._client(n) for n in range(self.clients)))
            chaos.cancel()
            await asyncio.gather(chaos, return_exceptions=True)
            self.faults.refuse = self.faults.unknown = 0.0
            await asyncio.sleep(1)
        for subscriber in subscribers:
            subscriber.cancel()
        await asyncio.gather(*subscribers, return_exceptions=True)
        for node in self.nodes:
            if node.engine is not None:
                await node.engine.abandon()
        await self._judge()

    async def _set_up(self) -> None:
        engine = self.nodes[0].engine
        assert engine is not None

        def create(reader: Any, catalog: Catalog, ts: int) -> list[Write]:
            tables = [
                table_document(name, number, 1.0) for name, number in (("registers", REGISTERS), ("items", ITEMS))
            ]
            writes = [Write(TABLES, bytes([200 + n]) * 16, pack(doc)) for n, doc in enumerate(tables)]
            registers = pack({"v": None, CREATION_TIME: 1.0})
            return writes + [Write(REGISTERS, _register(key), registers) for key in range(KEYS)]

        await engine.transact(create)
        while not engine.idle:
            await asyncio.sleep(0)

    async def _chaos(self) -> None:
        while True:
            await asyncio.sleep(self.random.expovariate(150))
            node = self.random.choice(self.nodes)
            if node.engine is not None and self.random.random() < 0.5:
                await node.crash()
            else:
                node.clock.skew += self.random.uniform(-0.1, 0.1)

    async def _on(self, node: Node, work: Awaitable[Any]) -> Any:
        """Wait for an answer, or for the node's death."""
        task, dead = asyncio.ensure_future(work), asyncio.ensure_future(node.dead.wait())
        try:
            await asyncio.wait([task, dead], return_when=asyncio.FIRST_COMPLETED)
            if not task.done() or task.cancelled():
                raise Unavailable("the node is dead")
            return task.result()
        finally:
            dead.cancel()
            task.cancel()

    async def _client(self, number: int) -> None:
        session = bytes([number]) * 16
        node = self.random.choice(self.nodes)
        for operation in range(self.operations):
            await self.pause()
            name = f"c{number}.{operation}"
            args = {
                "name": name,
                "reads": self.random.sample(range(KEYS), self.random.randint(0, 2)),
                "writes": self.random.sample(range(KEYS), self.random.choice([0, 1, 1, 2])),
                "scan": self.random.random() < 0.3,
                "insert": self.random.random() < 0.3,
            }
            mutation = bool(args["writes"]) or args["insert"]
            start = self.tick()
            self.asked[name] = start
            while True:
                await node.up.wait()
                engine = node.engine
                assert engine is not None
                try:
                    if mutation:
                        request = MutationRequest("change", pack(args), None, "public", session, operation)
                        result = await self._on(node, engine.mutate(request))
                    else:
                        start = self.tick()
                        result = await self._on(node, engine.query(QueryRequest("look", pack(args))))
                except Unavailable:
                    await self.pause()
                    await asyncio.sleep(0.001)
                    node = self.random.choice(self.nodes)
                    continue
                assert result.failure is None, result.failure
                if mutation:
                    self.answered[name] = (decode_json(result.value), self.tick())
                else:
                    self.looked.append((name, decode_json(result.value), start, self.tick()))
                    self.shown.append((result.ts, args, decode_json(result.value)))
                break

    async def _subscriber(self, number: int) -> None:
        last = 0
        wanted = [
            {"reads": sorted(self.random.sample(range(KEYS), 2)), "scan": self.random.random() < 0.5} for _ in range(2)
        ]
        while True:
            node = self.random.choice(self.nodes)
            await node.up.wait()
            engine = node.engine
            assert engine is not None
            told = _Told()
            # Some are asked by everybody, so that runs are shared.
            specs = [QuerySpec("look", pack(args)) for args in (*wanted, {"reads": [0], "scan": True})]
            held = {engine.subscriptions.add(told, spec): unpack(spec.args) for spec in specs}
            values: dict[Any, Any] = {}
            try:
                for _ in range(self.random.randint(3, 30)):
                    update = await self._on(node, engine.subscriptions.update(told, at_least=last))
                    if update.ts < last:
                        raise Violation(f"subscriber {number} went back from {last} to {update.ts}")
                    last = update.ts
                    for subscription, result in update.changes:
                        assert result.failure is None, result.failure
                        values[subscription] = decode_json(result.value)
                    for subscription, args in held.items():
                        self.shown.append((update.ts, args, values[subscription]))
                    await self._on(node, told.event.wait())
                    told.event.clear()
                engine.subscriptions.close(told)
            except Unavailable:
                await asyncio.sleep(0.001)

    async def _judge(self) -> None:
        entries = [decode_entry(data) async for batch in self.log.read() for data in batch.entries]
        stamps = [entry.ts for entry in entries]
        if stamps != sorted(set(stamps)):
            raise Violation("timestamps of the log do not grow")
        versions, happened = _history(entries)
        for name, (value, _) in self.answered.items():
            if name not in happened:
                raise Violation(f"{name} was acknowledged and is lost")
            if happened[name] != value:
                raise Violation(f"{name} was answered {value}, recorded {happened[name]}")
        for ts, args, value in self.shown:
            expected = _fresh(entries, ts, args)
            if value != expected:
                raise Violation(f"shown at {ts} for {args}: {value}, a fresh run gives {expected}")
        transactions = [
            Committed(
                name,
                _reads(seen, versions["items"]),
                self.asked[name],
                self.answered[name][1] if name in self.answered else float("inf"),
            )
            for name, seen in happened.items()
        ]
        transactions += [
            Committed(("look", name), _reads(seen, versions["items"]), start, end)
            for name, seen, start, end in self.looked
        ]
        cycle = find_cycle(transactions, versions)
        if cycle is not None:
            raise Violation(f"not strictly serializable: {cycle}")


class _Told:
    def __init__(self) -> None:
        self.event = asyncio.Event()

    def invalidated(self) -> None:
        self.event.set()


def _history(entries: list[Entry]) -> tuple[dict[str, list[str]], dict[str, Any]]:
    """Who wrote what in which order, and what each has seen."""
    versions: dict[str, list[str]] = {"items": []} | {f"r{key}": [] for key in range(KEYS)}
    happened: dict[str, Any] = {}
    for entry in entries:
        name = ""
        for write in entry.writes:
            if write.table < REGISTERS or write.doc is None or unpack(write.doc)["v"] is None:
                continue
            name = unpack(write.doc)["v"]
            versions["items" if write.table == ITEMS else f"r{write.id[0]}"].append(name)
        if entry.request is not None:
            if name in happened:
                raise Violation(f"{name} was applied twice")
            happened[name] = decode_json(entry.request.result)
    return versions, happened


def _fresh(entries: list[Entry], ts: int, args: Any) -> Any:
    """What ``look`` gives at ``ts``, by the log alone."""
    registers: dict[str, Any] = dict.fromkeys(f"r{key}" for key in range(KEYS))
    items: list[str] = []
    for entry in entries:
        if entry.ts > ts:
            break
        for write in entry.writes:
            if write.doc is not None and write.table == REGISTERS:
                registers[f"r{write.id[0]}"] = unpack(write.doc)["v"]
            elif write.doc is not None and write.table == ITEMS:
                items.append(unpack(write.doc)["v"])
    seen: dict[str, Any] = {"registers": {f"r{key}": registers[f"r{key}"] for key in args["reads"]}}
    if args["scan"]:
        seen |= {"items": sorted(items), "count": len(items)}
    return seen


def _reads(seen: Any, items: list[str]) -> dict[Any, Any]:
    reads: dict[Any, Any] = dict(seen["registers"])
    if "items" in seen:
        count = len(seen["items"])
        if seen["count"] != count or sorted(items[:count]) != seen["items"]:
            raise Violation(f"items were seen as {seen['items']} (count {seen['count']}), written as {items}")
        reads["items"] = items[count - 1] if count else None
    return reads
