from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from nbreactive.engine._index_builder import Document
from nbreactive.engine.catalog import (
    BY_CREATION_TIME,
    CREATION_TIME,
    FIRST_DECLARED,
    TABLES,
    Catalog,
    IndexInfo,
    count_key,
    index_id,
    table_document,
)
from nbreactive.engine.clock import SystemClock
from nbreactive.engine.engine import Engine
from nbreactive.engine.engine_limits import EngineLimits
from nbreactive.engine.log import Faults, MemoryLog
from nbreactive.engine.prepare import index_entries
from nbreactive.engine.recovery import Source
from nbreactive.engine.requests import MutationRequest, QueryRequest, QuerySpec
from nbreactive.engine.row_index import RowIndex
from nbreactive.engine.subscriptions import Subscription
from nbreactive.engine.transactions import Write
from nbreactive.errors import AppError, InvalidValue, Overloaded, ReadOnly
from nbreactive.values import decode_json, pack, unpack
from tests.engine.document_parts import parts
from tests.engine.plain_executor import PlainExecutor, Transaction


def add(tx: Transaction, args: Any) -> str:
    return tx.insert("notes", args).hex()


def bump(tx: Transaction, args: Any) -> int:
    rows = tx.scan("notes", "by_creation_time")
    doc = rows[0]
    n = doc["n"] + 1
    tx.put("notes", bytes.fromhex(doc["_id"]), {"n": n})
    return n


def everything(tx: Transaction, args: Any) -> list[Any]:
    return [row["n"] for row in tx.scan("notes", "by_creation_time")]


def one(tx: Transaction, args: Any) -> Any:
    found = tx.get("notes", bytes.fromhex(args))
    return found["n"] if found is not None else None


def total(tx: Transaction, args: Any) -> int:
    return tx.count("notes")


def refuse(tx: Transaction, args: Any) -> None:
    tx.insert("notes", {"n": -1})
    raise AppError("no")


def me(tx: Transaction, args: Any) -> Any:
    if tx.count("notes") < 2:
        return "nobody asked"
    return (tx.identity or {}).get("subject")


def nothing(tx: Transaction, args: Any) -> int:
    return tx.count("notes")


FUNCTIONS = {f.__name__: f for f in (add, bump, everything, one, total, refuse, me, nothing)}


class Told:
    def __init__(self) -> None:
        self.times = 0
        self.event = asyncio.Event()

    def invalidated(self) -> None:
        self.times += 1
        self.event.set()


def source_of(documents: list[Document], applied: int) -> Source:
    """What a row index is filled from: these documents, as of then."""

    class Documents:
        def __init__(self) -> None:
            self.applied = applied

        def __iter__(self) -> Any:
            return parts(sorted(documents))

    async def source(consume: Callable[[Any], None]) -> None:
        consume(Documents())

    return source


class Bench:
    """An engine over a real row index."""

    def __init__(self, folder: Path, log: MemoryLog, **limits: Any) -> None:
        self.folder = folder
        self.log = log
        self.limits = EngineLimits(**limits)
        self.functions: dict[str, Any] = dict(FUNCTIONS)

    async def start(self) -> Bench:
        self.index = RowIndex.open(self.folder, map_size=1 << 26)
        self.executor = PlainExecutor(self.index, self.functions, lambda: asyncio.sleep(0))
        self.engine = await Engine.open(
            log=self.log,
            index=self.index,
            executor=self.executor,
            clock=SystemClock(),
            random=random.Random(1),
            limits=self.limits,
        )
        return self

    async def stop(self) -> None:
        await self.engine.close()
        self.index.close()

    async def kill(self) -> None:
        await self.engine.abandon()
        self.index.close()

    async def mutate(self, path: str, args: Any = None, **more: Any) -> Any:
        result = await self.engine.mutate(MutationRequest(path, pack(args), **more))
        if result.failure is not None:
            raise AppError(result.failure.message)
        return decode_json(result.value)

    async def query(self, path: str, args: Any = None, at: int | None = None, **more: Any) -> Any:
        return decode_json((await self.engine.query(QueryRequest(path, pack(args), **more), at)).value)


Body = Callable[[Bench], Coroutine[Any, Any, None]]


def run(folder: Path, body: Body, faults: Faults | None = None, **limits: Any) -> None:
    async def main() -> None:
        bench = await Bench(folder, MemoryLog(1, faults), **limits).start()
        try:
            async with asyncio.timeout(30):
                await body(bench)
        finally:
            await bench.kill()

    asyncio.run(main())


def test_mutation_then_query(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        id = await bench.mutate("add", {"n": 1})
        assert await bench.query("one", id) == 1
        assert await bench.query("total") == 1
        assert bench.engine.durable == bench.engine.applied

    run(tmp_path, body)


def test_failure_writes_nothing(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        with pytest.raises(AppError, match="no"):
            await bench.mutate("refuse")
        assert await bench.query("total") == 0

    run(tmp_path, body)


def test_contended_counter_never_errors_and_loses_nothing(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        await bench.mutate("add", {"n": 0})
        answers = await asyncio.gather(*(bench.mutate("bump") for _ in range(64)))
        assert sorted(answers) == list(range(1, 65))
        assert await bench.query("everything") == [64]
        # Lanes: far fewer runs than 64 * 64 / 2.
        assert bench.engine.executions["mutations"] < 250

    run(tmp_path, body)


def test_exclusive_slot_ends_a_losing_streak(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        await bench.mutate("add", {"n": 0})
        disturbed = 0

        async def slow_bump() -> None:
            # Before each of its runs ends, somebody else has committed - unless it has the slot.
            nonlocal disturbed
            others: list[asyncio.Task[Any]] = []
            plain = FUNCTIONS["bump"]

            def bump_slowly(tx: Transaction, args: Any) -> int:
                nonlocal disturbed
                disturbed += 1
                others.append(asyncio.ensure_future(bench.mutate("bump", disturbed)))
                return plain(tx, args)

            bench.functions["slow"] = bump_slowly

            async def pause() -> None:
                if bench.executor.runs[-1].path == "slow":
                    for _ in range(40):
                        await asyncio.sleep(0)

            bench.executor.pause = pause
            await bench.mutate("slow")
            await asyncio.gather(*others)

        await slow_bump()
        assert await bench.query("everything") == [disturbed + 1]
        assert disturbed <= 6

    run(tmp_path, body)


def test_same_request_runs_once_also_after_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await Bench(tmp_path, MemoryLog()).start()
        session = {"session": b"s" * 16, "request_number": 7}
        first, second = await asyncio.gather(
            bench.mutate("add", {"n": 1}, **session), bench.mutate("add", {"n": 1}, **session)
        )
        assert first == second
        assert await bench.mutate("add", {"n": 1}, **session) == first
        await bench.kill()
        await bench.start()
        assert await bench.mutate("add", {"n": 1}, **session) == first
        assert await bench.query("total") == 1
        # Another person with the same session and number is another request.
        await bench.mutate("add", {"n": 1}, identity={"subject": "eve"}, **session)
        assert await bench.query("total") == 2
        await bench.stop()

    asyncio.run(main())


def test_mutations_of_a_session_run_in_order(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        session = b"s" * 16
        await asyncio.gather(*(bench.mutate("add", {"n": n}, session=session, request_number=n) for n in range(20)))
        rows = await bench.query("everything")
        assert sorted(rows) == list(range(20))
        with bench.engine.reader() as reader:
            info = bench.engine.catalog().table("notes")
            assert info is not None
            stamps = [
                (version, packed)
                for _, _, packed, version in reader.scan_documents(info.indexes[0].id, b"", None, bench.engine.applied)
            ]
        from nbreactive.values import unpack

        assert [unpack(packed)["n"] for _, packed in sorted(stamps)] == list(range(20))

    run(tmp_path, body)


def test_overload_is_refused_before_it_starts(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        results = await asyncio.gather(*(bench.mutate("add", {"n": n}) for n in range(8)), return_exceptions=True)
        refused = [r for r in results if isinstance(r, Overloaded)]
        assert len(refused) == 5
        assert await bench.query("total") == 3

    run(tmp_path, body, mutations=3)


def test_query_at_an_older_timestamp(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        await bench.mutate("add", {"n": 1})
        then = bench.engine.durable
        await bench.mutate("bump")
        assert await bench.query("everything", at=then) == [1]
        assert await bench.query("everything") == [2]
        with pytest.raises(InvalidValue, match="cannot be read"):
            await bench.query("everything", at=bench.engine.applied + 1)

    run(tmp_path, body)


def test_update_has_all_queries_at_one_timestamp_and_only_what_changed(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        await bench.mutate("add", {"n": 1})
        told = Told()
        subs = bench.engine.subscriptions
        a = subs.add(told, QuerySpec("everything", pack(None)))
        b = subs.add(told, QuerySpec("total", pack(None)))
        update = await subs.update(told)
        assert _values(update.changes) == {a: [1], b: 1}
        await bench.mutate("bump")
        assert told.times == 1
        update = await subs.update(told)
        assert _values(update.changes) == {a: [2]}
        assert update.ts == bench.engine.durable
        assert (await subs.update(told)).changes == []

    run(tmp_path, body)


def _values(changes: Any) -> dict[Subscription, Any]:
    return {subscription: decode_json(result.value) for subscription, result in changes}


def test_equal_subscriptions_share_one_execution_and_one_encoding(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        await bench.mutate("add", {"n": 1})
        subs = bench.engine.subscriptions
        listeners = [Told() for _ in range(20)]
        for number, told in enumerate(listeners):
            subs.add(told, QuerySpec("everything", pack(None), {"subject": str(number)}))
        before = bench.engine.executions["queries"]
        updates = await asyncio.gather(*(subs.update(told) for told in listeners))
        assert bench.engine.executions["queries"] == before + 1
        assert len({id(update.changes[0][1].value) for update in updates}) == 1
        await bench.mutate("bump")
        updates = await asyncio.gather(*(subs.update(told) for told in listeners))
        assert bench.engine.executions["queries"] == before + 2
        assert {update.changes[0][1].value for update in updates} == {b"[2]"}
        # A late one gets the kept result.
        late = Told()
        subs.add(late, QuerySpec("everything", pack(None)))
        assert (await subs.update(late)).changes[0][1].value == b"[2]"
        assert bench.engine.executions["queries"] == before + 2

    run(tmp_path, body)


def test_identity_is_shared_only_while_nobody_reads_it(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        await bench.mutate("add", {"n": 1})
        subs = bench.engine.subscriptions
        listeners = [Told() for _ in range(3)]
        held = [subs.add(told, QuerySpec("me", pack(None), {"subject": f"u{n}"})) for n, told in enumerate(listeners)]
        await asyncio.gather(*(subs.update(told) for told in listeners))
        assert bench.engine.executions["queries"] == 1
        await bench.mutate("add", {"n": 2})
        updates = await asyncio.gather(*(subs.update(told) for told in listeners))
        assert [_values(update.changes)[s] for update, s in zip(updates, held, strict=True)] == ["u0", "u1", "u2"]
        assert bench.engine.executions["queries"] == 4
        await bench.mutate("add", {"n": 3})
        updates = await asyncio.gather(*(subs.update(told) for told in listeners))
        assert [update.changes for update in updates] == [[], [], []]

    run(tmp_path, body)


def test_touch_during_an_update_is_not_lost(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        await bench.mutate("add", {"n": 1})
        told = Told()
        subs = bench.engine.subscriptions
        held = subs.add(told, QuerySpec("everything", pack(None)))
        seen: Any = None
        # First runs, re-runs, and writes at every point between them.
        for expected in range(2, 30):
            update = asyncio.ensure_future(subs.update(told))
            for _ in range(expected % 9):
                await asyncio.sleep(0)
            await bench.mutate("bump")
            seen = _values((await update).changes).get(held, seen)
            while seen != [expected]:
                await told.event.wait()
                told.event.clear()
                seen = _values((await subs.update(told)).changes).get(held, seen)

    run(tmp_path, body)


def test_removed_subscriptions_leave_nothing_behind(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        await bench.mutate("add", {"n": 1})
        subs = bench.engine.subscriptions
        told = Told()
        held = [subs.add(told, QuerySpec("one", pack("00" * 16 if n % 2 else f"{n:032x}"))) for n in range(50)]
        await subs.update(told)
        for subscription in held:
            subs.remove(subscription)
            subs.remove(subscription)
        subs.close(told)
        assert len(subs) == 0
        runs = bench.engine._runs
        assert not runs._map._maps
        assert runs._cache.bytes > 0
        for live in list(runs._cache._results):
            runs._cache.drop(live)
            runs._forget(live)
        assert not runs._queries

    run(tmp_path, body)


def test_periodic_query_runs_again_without_a_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbreactive.engine.runs.MIN_PERIOD", 1)

    async def body(bench: Bench) -> None:
        ticks = 0

        def ticking(tx: Transaction, args: Any) -> int:
            nonlocal ticks
            ticks += 1
            tx.every = 1
            return ticks

        bench.functions["ticking"] = ticking
        told = Told()
        subs = bench.engine.subscriptions
        held = subs.add(told, QuerySpec("ticking", pack(None)))
        for expected in range(1, 4):
            assert _values((await subs.update(told)).changes) == {held: expected}
            await told.event.wait()
            told.event.clear()
        subs.remove(held)

    run(tmp_path, body)


def test_disk_refuses_then_recovers(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        await bench.mutate("add", {"n": 1})
        told = Told()
        subs = bench.engine.subscriptions
        held = subs.add(told, QuerySpec("everything", pack(None)))
        assert _values((await subs.update(told)).changes) == {held: [1]}
        bench.log.faults.refuse = 1.0
        with pytest.raises(ReadOnly, match="disk is full"):
            await bench.mutate("bump")
        assert await bench.query("everything") == [1]
        assert (await subs.update(told)).changes == []
        bench.log.faults.refuse = 0.0
        assert await bench.mutate("bump") == 2
        assert _values((await subs.update(told)).changes) == {held: [2]}

    run(tmp_path, body)


def test_nothing_is_released_from_a_flush_that_fails(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        await bench.mutate("add", {"n": 1})
        told = Told()
        subs = bench.engine.subscriptions
        held = subs.add(told, QuerySpec("everything", pack(None)))
        await subs.update(told)
        bench.log.faults.refuse = 1.0
        bench.log.faults.delay = 50
        mutation = asyncio.ensure_future(bench.mutate("bump"))
        await told.event.wait()
        update = asyncio.ensure_future(subs.update(told))
        query = asyncio.ensure_future(bench.query("everything"))
        with pytest.raises(ReadOnly):
            await mutation
        assert (await update).changes == []
        assert await query == [1]
        assert held.hash

    run(tmp_path, body)


def test_killed_engine_comes_back_without_what_was_not_durable(tmp_path: Path) -> None:
    async def main() -> None:
        log = MemoryLog(3, Faults(delay=0))
        bench = await Bench(tmp_path, log).start()
        await bench.mutate("add", {"n": 1})
        last = bench.engine.durable
        log.faults.delay = 10_000
        lost = asyncio.ensure_future(bench.mutate("bump"))
        while bench.engine.applied == last:
            await asyncio.sleep(0)
        ahead = bench.engine.applied
        await bench.kill()
        lost.cancel()
        log.faults.delay = 0
        await bench.start()
        assert await bench.query("everything") == [1]
        assert bench.engine.applied > ahead
        assert await bench.mutate("bump") == 2
        await bench.stop()
        await bench.start()
        assert await bench.query("everything") == [2]
        await bench.stop()

    asyncio.run(main())


def test_absent_index_is_filled_from_the_log(tmp_path: Path) -> None:
    async def main() -> None:
        log = MemoryLog()
        bench = await Bench(tmp_path / "a", log).start()
        await bench.mutate("add", {"n": 1})
        await bench.mutate("bump")
        await bench.stop()
        other = await Bench(tmp_path / "b", log).start()
        assert await other.query("everything") == [2]
        assert await other.query("total") == 1
        await other.stop()

    asyncio.run(main())


def test_absent_index_is_filled_from_documents_and_the_rest_of_the_log(tmp_path: Path) -> None:
    async def main() -> None:
        log = MemoryLog()
        bench = await Bench(tmp_path / "a", log).start()
        await bench.mutate("add", {"n": 1})
        await bench.mutate("add", {"n": 5})
        applied = bench.engine.durable
        documents: list[Document] = []
        with bench.engine.reader() as reader:
            for table in bench.engine.catalog().by_number.values():
                found = reader.scan_documents(table.indexes[0].id, b"", None, applied)
                documents += [(table.number, id, version, packed) for _, id, packed, version in found]
        position = await log.tail()
        await bench.mutate("bump")
        await bench.stop()
        await log.trim(position)

        source = source_of(documents, applied)
        index = RowIndex.open(tmp_path / "b", map_size=1 << 26)
        executor = PlainExecutor(index, FUNCTIONS)
        engine = await Engine.open(log=log, index=index, executor=executor, clock=SystemClock(), source=source)
        result = await engine.query(QueryRequest("everything", pack(None)))
        assert sorted(decode_json(result.value)) in ([2, 5], [1, 6])
        assert (await engine.query(QueryRequest("total", pack(None)))).value == b"2"
        await engine.close()
        index.close()

    asyncio.run(main())


@asynccontextmanager
async def _closing(entries: AsyncIterator[Any]) -> AsyncIterator[AsyncIterator[Any]]:
    try:
        yield entries
    finally:
        await entries.aclose()  # type: ignore[attr-defined]


def test_watchers_get_every_durable_entry_in_order(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        await bench.mutate("add", {"n": 1})
        bench.engine._feed._max_bytes = 600  # most of it must come from the log
        stamps: list[int] = []
        wanted = 30

        async def watch() -> None:
            async with _closing(bench.engine.watch_entries(0)) as entries:
                async for batch in entries:
                    stamps.extend(entry.ts for entry in batch)
                    if len(stamps) >= wanted:
                        return

        watcher = asyncio.ensure_future(watch())
        for _ in range(wanted - 1):
            await bench.mutate("bump")
        await watcher
        logged = [entry async for batch in bench.log.read() for entry in batch.entries]
        from nbreactive.engine.entries import decode_entry

        assert stamps == [decode_entry(data).ts for data in logged]

    run(tmp_path, body)


async def _make_table(bench: Bench, name: str, *, ephemeral: bool = False, state: str | None = None) -> None:
    """Create a table, or give an existing one an index ``by_n``."""

    def change(reader: Any, catalog: Catalog, ts: int) -> list[Write]:
        info = catalog.table(name)
        number = info.number if info is not None else catalog.next_number()
        indexes = [IndexInfo(index_id(number, 2), "by_n", FIRST_DECLARED, ("n",), state)] if state else []  # type: ignore[arg-type]
        doc = table_document(name, number, 1.0, indexes=indexes, next_slot=3, ephemeral=ephemeral)
        id = info.id if info is not None else bench.engine.new_internal()
        found = reader.document(TABLES, id, ts)
        return [Write(TABLES, id, pack(doc), found[1] if found else 0)]

    await bench.engine.transact(change)


def _by_n(bench: Bench) -> int:
    info = bench.engine.catalog().table("notes")
    assert info is not None
    return info.indexes[FIRST_DECLARED].id


def _index(bench: Bench, name: str = "notes") -> tuple[list[int], list[int], int]:
    """What by_n holds, what it should hold, and the sum of its counters."""
    from nbreactive.values import unpack

    info = bench.engine.catalog().table(name)
    assert info is not None
    by_n = info.index("by_n")
    assert by_n is not None
    ts = bench.engine.applied
    with bench.engine.reader() as reader:
        docs = [unpack(p)["n"] for _, _, p, _ in reader.scan_documents(info.indexes[0].id, b"", None, ts)]
        rows = [unpack(p)["n"] for _, _, p, _ in reader.scan_documents(by_n.id, b"", None, ts)]
        counted = sum(reader.count(count_key(by_n.id, by_n.prefix([n])), ts) for n in set(docs))
    return rows, sorted(docs), counted


def test_backfill_beside_writes_misses_and_doubles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbreactive.engine.backfill.CHUNK_DOCUMENTS", 3)

    def churn(tx: Transaction, args: Any) -> None:
        rows = tx.scan("notes", "by_creation_time")
        chosen = random.Random(args).sample(rows, 3)
        tx.put("notes", bytes.fromhex(chosen[0]["_id"]), {"n": args})
        tx.put("notes", bytes.fromhex(chosen[1]["_id"]), None)
        tx.put("notes", bytes.fromhex(chosen[2]["_id"]), {"n": chosen[2]["n"]})
        tx.insert("notes", {"n": -args})

    async def body(bench: Bench) -> None:
        bench.functions["churn"] = churn
        for n in range(100):
            await bench.mutate("add", {"n": n})
        await _make_table(bench, "notes", state="backfilling")
        filling = asyncio.ensure_future(bench.engine.backfill("notes", _by_n(bench)))
        n = 0
        while not filling.done():
            n += 1
            bench.log.faults.refuse = 0.2 if n % 5 == 0 else 0.0
            with suppress(ReadOnly):
                await bench.mutate("churn", n)
        bench.log.faults.refuse = 0.0
        await filling
        await bench.mutate("churn", 1000)
        await _make_table(bench, "notes", state="ready")
        await bench.mutate("churn", 2000)
        rows, docs, counted = _index(bench)
        assert rows == docs
        assert counted == len(docs) == 100
        assert n > 5

    run(tmp_path, body)


def test_interrupted_backfill_goes_on_after_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbreactive.engine.backfill.CHUNK_DOCUMENTS", 3)

    async def main() -> None:
        bench = await Bench(tmp_path, MemoryLog()).start()
        for n in range(30):
            await bench.mutate("add", {"n": n})
        await _make_table(bench, "notes", state="backfilling")
        filling = asyncio.ensure_future(bench.engine.backfill("notes", _by_n(bench)))
        while not bench.engine._state.filled:
            await asyncio.sleep(0)
        await bench.mutate("bump")
        await bench.kill()
        filling.cancel()
        await bench.start()
        await bench.mutate("add", {"n": 99})
        await bench.engine.backfill("notes", _by_n(bench))
        await _make_table(bench, "notes", state="ready")
        rows, docs, counted = _index(bench)
        assert rows == docs
        assert counted == len(docs) == 31
        await bench.stop()

    asyncio.run(main())


def test_index_made_ready_at_once_is_built_at_once_also_from_the_log(tmp_path: Path) -> None:
    async def main() -> None:
        log = MemoryLog()
        bench = await Bench(tmp_path / "a", log).start()
        for n in range(10):
            await bench.mutate("add", {"n": -n})
        await _make_table(bench, "notes", state="ready")
        await bench.mutate("bump")
        assert _index(bench)[0] == _index(bench)[1]
        await bench.stop()
        other = await Bench(tmp_path / "b", log).start()
        rows, docs, counted = _index(other)
        assert rows == docs
        assert counted == 10
        await other.stop()

    asyncio.run(main())


def test_ephemeral_tables_are_live_but_never_logged(tmp_path: Path) -> None:
    async def main() -> None:
        log = MemoryLog()
        bench = await Bench(tmp_path, log).start()
        await _make_table(bench, "notes", ephemeral=True)
        position = await log.tail()
        told = Told()
        held = bench.engine.subscriptions.add(told, QuerySpec("everything", pack(None)))
        await bench.engine.subscriptions.update(told)
        await bench.mutate("add", {"n": 1})
        assert await log.tail() == position
        assert _values((await bench.engine.subscriptions.update(told)).changes) == {held: [1]}
        last = bench.engine.applied
        await bench.stop()
        await bench.start()
        assert await bench.query("everything") == []
        assert await bench.query("total") == 0
        assert bench.engine.applied > last
        await bench.stop()

    asyncio.run(main())


def test_workers_are_not_trusted(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        await bench.mutate("add", {"n": 1})

        def reserved(tx: Transaction, args: Any) -> None:
            tx.writes[2, bytes(16)] = Write(2, bytes(16), pack({"name": "m", CREATION_TIME: 1.0}))

        def unknown(tx: Transaction, args: Any) -> None:
            tx.writes[12345, bytes(16)] = Write(12345, bytes(16), pack({CREATION_TIME: 1.0}))

        def huge(tx: Transaction, args: Any) -> None:
            tx.insert("notes", {"n": "x" * (3 << 20)})

        def malformed(tx: Transaction, args: Any) -> None:
            tx.writes[10001, b"short"] = Write(10001, b"short", pack({CREATION_TIME: 1.0}))

        def no_document(tx: Transaction, args: Any) -> None:
            tx.writes[10001, bytes(16)] = Write(10001, bytes(16), pack([1]))

        def taken(tx: Transaction, args: Any) -> None:
            tx._catalog = Catalog()
            tx.create("other")

        for function in (reserved, unknown, huge, malformed, no_document, taken):
            bench.functions["bad"] = function
            with pytest.raises(InvalidValue):
                await bench.mutate("bad")
        assert await bench.query("everything") == [1]
        bench.functions["bad"] = reserved
        await bench.mutate("bad", reach="system")

    run(tmp_path, body)


def test_transact_sees_the_newest_state_and_its_errors_come_back(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        await bench.mutate("add", {"n": 1})

        def fail(reader: Any, catalog: Catalog, ts: int) -> list[Write]:
            raise AppError("mine")

        with pytest.raises(AppError, match="mine"):
            await bench.engine.transact(fail)
        since = bench.engine.applied

        def rewrite(reader: Any, catalog: Catalog, ts: int) -> list[Write]:
            info = catalog.table("notes")
            assert info is not None
            [(_, id)] = reader.scan(index_id(info.number, BY_CREATION_TIME), b"", None, ts)
            found = reader.document(info.number, id, ts)
            return [Write(info.number, id, pack({"n": 100, CREATION_TIME: 5.0}), found[1])]

        await asyncio.gather(bench.mutate("bump"), bench.engine.transact(rewrite), bench.mutate("bump"))
        value = (await bench.query("everything"))[0]
        assert value in (100, 101, 102)
        info = bench.engine.catalog().table("notes")
        assert info is not None
        assert len(list(bench.engine.changed_since(info.number, since))) == 1

    run(tmp_path, body)


def test_old_versions_are_collected(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        await bench.mutate("add", {"n": 0})
        for _ in range(40):
            await bench.mutate("bump")
        while bench.engine._housekeeping.slice():
            pass
        assert bench.index.horizon >= bench.engine.durable - 10
        assert await bench.query("everything") == [40]
        await bench.mutate("bump")
        assert await bench.query("everything") == [41]

    run(tmp_path, body, keep_seconds=0.0)


@pytest.mark.slow
def test_ten_thousand_subscriptions_on_a_hundred_listeners(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        import tracemalloc

        ids = [await bench.mutate("add", {"n": n}) for n in range(3)]
        subs = bench.engine.subscriptions
        bench.executor.pause = None
        tracemalloc.start()
        listeners = [Told() for _ in range(100)]
        for number, told in enumerate(listeners):
            for n in range(100):
                subs.add(told, QuerySpec("one", pack(f"{number * 100 + n:032x}")))
            await subs.update(told)
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(subs) == 10_000
        assert held / 10_000 < 20 * 1024
        # One of them will be bumped; the listener that is told has subscribed to that one alone.
        extra = {subs.add(told, QuerySpec("one", pack(id))): told for told, id in zip(listeners, ids, strict=False)}
        for told in listeners[:3]:
            await subs.update(told)
        before = bench.engine.executions["queries"]
        await bench.mutate("bump")
        assert sum(told.times for told in listeners) == 1
        [(changed, told)] = [(subscription, told) for subscription, told in extra.items() if told.times]
        assert list(_values((await subs.update(told)).changes)) == [changed]
        assert bench.engine.executions["queries"] == before + 1

    run(tmp_path, body)


def test_a_listener_that_fails_takes_nothing_from_the_others_nor_from_the_feed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        bench = await Bench(tmp_path, MemoryLog(1, None)).start()
        ends: list[Any] = []

        def broken(end: Any) -> None:
            raise OSError(28, "No space left on device")

        for n in range(3):
            request = MutationRequest(path="add", args=pack({"n": n}), session=b"s" * 16, request_number=n)
            bench.engine.begin(request, broken)
            bench.engine.begin(request, ends.append)
        async with asyncio.timeout(10):
            while len(ends) < 3:
                await asyncio.sleep(0.01)
        seen = 0
        async for entries in bench.engine.watch_entries(0):
            seen += sum(write.doc is not None for entry in entries for write in entry.writes if write.table > 10_000)
            if seen == 3:
                break
        assert [end.failure for end in ends] == [None] * 3
        await bench.stop()

    asyncio.run(asyncio.wait_for(main(), 30))
    assert "could not be given" in caplog.text


def test_a_backfill_that_met_a_rebuild_counts_every_document_once(tmp_path: Path) -> None:
    async def main() -> None:
        log = MemoryLog(1, None)
        bench = await Bench(tmp_path / "a", log).start()
        await _make_table(bench, "notes", state="backfilling")
        for n in range(5):
            await bench.mutate("add", {"n": n})
        applied, catalog = bench.engine.applied, bench.engine.catalog()
        table = next(table for table in catalog.by_number.values() if table.name == "notes")
        [wanted] = [found for found in table.indexes if found.state == "backfilling"]
        with bench.engine.reader() as reader:
            documents: list[Document] = sorted(
                (other.number, id, version, packed)
                for other in catalog.by_number.values()
                for _, id, packed, version in reader.scan_documents(other.indexes[0].id, b"", None, applied)
            )
        position = await log.tail()
        await bench.mutate("add", {"n": 5})
        await bench.stop()
        await log.trim(position)

        source = source_of(documents, applied)
        index = RowIndex.open(tmp_path / "b", map_size=1 << 26)
        executor = PlainExecutor(index, FUNCTIONS, lambda: asyncio.sleep(0))
        engine = await Engine.open(log=log, index=index, executor=executor, clock=SystemClock(), source=source)
        await engine.backfill("notes", wanted.id)
        with engine.reader() as reader:
            entries = list(reader.scan(wanted.id, b"", None, engine.applied))
            assert len(entries) == 6
            for _, id, packed, _ in reader.scan_documents(table.indexes[0].id, b"", None, engine.applied):
                for key in index_entries(wanted, unpack(packed), id)[1]:
                    assert reader.count(key, engine.applied) == 1
        await engine.close()
        index.close()

    asyncio.run(main())
