"""Creation times follow commits, whatever the clock does: the engine and the runtime have it together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from nbreactive.engine.clock import SystemClock
from nbreactive.engine.engine import Engine
from nbreactive.engine.log import MemoryLog
from nbreactive.engine.requests import MutationRequest, QueryRequest
from nbreactive.engine.row_index import RowIndex
from nbreactive.engine.transactions import Write
from nbreactive.runtime.inline import InlineExecutor
from nbreactive.values import decode_json, pack
from tests.runtime.house import bundle

SOURCE = """
@mutation
def add(ctx, batch: int, many: int):
    for n in range(many):
        ctx.db.insert("t", {"batch": batch, "n": n})

@query
def all(ctx):
    return [[doc["batch"], doc["n"], doc["_creationTime"]] for doc in ctx.db.query("t").collect()]
"""
NOW = time.time_ns()
DAY = 86_400_000_000_000


class Hands(SystemClock):
    """A clock that stands where it was put."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def now_ns(self) -> int:
        return self.now


class Bench:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def add(self, batch: int, many: int) -> None:
        result = await self.engine.mutate(MutationRequest("m:add", pack({"batch": batch, "many": many})))
        assert result.failure is None, result.failure

    async def check(self) -> list[Any]:
        rows = decode_json((await self.engine.query(QueryRequest("m:all", pack({})))).value)
        assert [row[:2] for row in rows] == sorted(row[:2] for row in rows)
        assert len({row[2] for row in rows}) == len(rows)
        return rows


@asynccontextmanager
async def opened(folder: Path, log: MemoryLog, clock: Hands) -> AsyncIterator[Bench]:
    index = RowIndex.open(folder, map_size=1 << 28)
    reader = index.reader()
    executor = InlineExecutor(bundle(1, m=SOURCE), reader)
    engine = await Engine.open(log=log, index=index, executor=executor, clock=clock)
    try:
        yield Bench(engine)
    finally:
        await engine.close()
        reader.close()
        index.close()


@pytest.mark.parametrize("start", [NOW, NOW + 9000 * DAY])
def test_they_increase_while_the_clock_stands_still_and_after_it_was_ahead(tmp_path: Path, start: int) -> None:
    async def main() -> None:
        log, clock = MemoryLog(), Hands(start)
        async with opened(tmp_path, log, clock) as bench:
            for batch in range(6):
                await bench.add(batch, 50)
            clock.now -= DAY
            for batch in range(6, 12):
                await bench.add(batch, 50)
            clock.now += 1
            await bench.add(12, 50)
            await bench.check()
        clock.now -= 100 * DAY
        async with opened(tmp_path, log, clock) as bench:
            for batch in range(13, 18):
                await bench.add(batch, 50)
            rows = await bench.check()
            assert len(rows) == 18 * 50
            assert rows[-1][2] <= bench.engine.applied / 1_000_000 < start / 1_000_000 + 10
            clock.now = start + DAY
            await bench.add(18, 1)
            assert (await bench.check())[-1][2] == pytest.approx(clock.now / 1_000_000, abs=1)

    asyncio.run(main())


def test_they_increase_when_the_clock_goes_back_during_a_call(tmp_path: Path) -> None:
    async def main() -> None:
        clock = Hands()
        async with opened(tmp_path, MemoryLog(), clock) as bench:
            await bench.add(0, 1)
            run = bench.engine.executing._executor.run

            async def back(call: Any, **options: Any) -> Any:
                outcome = await run(call, **options)
                clock.now -= DAY
                return outcome

            bench.engine.executing._executor.run = back  # type: ignore[method-assign]
            clock.now += DAY
            for batch in range(1, 4):
                await bench.add(batch, 5)
            await bench.check()

    asyncio.run(main())


@pytest.mark.parametrize("forged", [float("inf"), float("nan"), 1e300, NOW / 1e6 + 1e9, -1.0])
def test_a_forged_one_does_not_move_the_timestamps(tmp_path: Path, forged: float) -> None:
    async def main() -> None:
        clock = Hands()
        async with opened(tmp_path, MemoryLog(), clock) as bench:
            await bench.add(0, 1)
            table = bench.engine.catalog().table("t")
            assert table is not None
            write = Write(table.number, bytes(16), pack({"batch": 0, "n": 1, "_creationTime": forged}))
            ts = await bench.engine.transact(lambda reader, catalog, ts: [write])
            assert NOW < ts <= NOW + 1_000_000_000

    asyncio.run(main())
