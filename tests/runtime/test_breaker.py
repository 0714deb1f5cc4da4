"""A function that kills its workers again and again is not run for a while."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from nbreactive.runtime import breaker as breaker_module
from nbreactive.runtime.breaker import Breaker
from tests.runtime.house import bundle, running

SOURCE = """
import os, time
@query
def fine(ctx): return 1
@query
def bad(ctx): os._exit(3)
@query
def unless(ctx, path: str):
    if not os.path.exists(path): os._exit(3)
    return "mended"
@query
def slow(ctx): time.sleep(60)
@query
def memory(ctx): return len(bytearray(10 * 2**30))
"""


def test_five_kills_within_a_minute() -> None:
    breaker = Breaker()
    for second in (0, 20, 40, 58):
        breaker.killed("f", second)
        assert not breaker.remaining("f", second)
    breaker.killed("f", 61)  # five, but within 61 s
    assert not breaker.remaining("f", 61)
    breaker.killed("f", 62)
    assert breaker.remaining("f", 62) == 30
    assert breaker.paused(62) == {"f": 30}
    breaker.killed("f", 63)  # was running already
    assert breaker.remaining("f", 91.5) == 0.5
    assert not breaker.remaining("f", 92)
    assert not breaker.remaining("other", 62)


def test_pauses_grow_until_a_call_ends_well() -> None:
    breaker = Breaker()
    now = 0.0
    for _ in range(5):
        breaker.killed("f", now)
    pauses: list[float] = []
    for _ in range(6):
        pauses.append(breaker.remaining("f", now))
        now += pauses[-1]
        breaker.killed("f", now)
    assert pauses == [30, 60, 120, 240, 300, 300]
    breaker.went_well("f", now)  # one that was running all the time says nothing
    assert breaker.remaining("f", now) == 300
    breaker.went_well("f", now + 300)
    assert not breaker
    breaker.killed("f", now + 301)
    assert not breaker.remaining("f", now + 301)


@pytest.mark.parametrize(
    ("name", "code"), [("bad", "FunctionCrashed"), ("slow", "FunctionTimeout"), ("memory", "FunctionOutOfMemory")]
)
def test_a_bad_function_is_not_run_for_a_while(tmp_path: Path, name: str, code: str) -> None:
    async def main() -> None:
        async with running(tmp_path, SOURCE, user_time=0.5, memory_bytes=128 << 20) as (house, pool):
            codes: list[str] = []
            for _ in range(5):
                failure = (await pool.run(house.call(f"m:{name}"))).failure
                assert failure is not None
                codes.append(failure.code)
            assert codes == [code] * 5
            ran = pool.status()["calls"]
            for _ in range(3):
                outcome = await pool.run(house.call(f"m:{name}"))
                assert outcome.failure is not None
                assert outcome.failure.code == "Unavailable"
                assert f"m:{name} was stopped 5 times within 60 s" in outcome.failure.message
                assert "it will be tried again in " in outcome.failure.message
                assert 0 < outcome.every <= 30_000  # a live query asks again by itself
            assert pool.status()["calls"] == ran
            assert list(pool.status()["paused"]) == [f"m:{name}"]
            assert house.finish(await pool.run(house.call("m:fine"))) == 1

            await pool.prepare(bundle(2, m=SOURCE))
            await pool.activate(2)
            pool.switch(2)
            failure = (await pool.run(house.call(f"m:{name}"))).failure
            assert failure is not None
            assert failure.code == code  # it was run
            assert pool.status()["paused"] == {}

    asyncio.run(main())


def test_it_is_tried_again_after_the_pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker_module, "FIRST_PAUSE_SECONDS", 0.3)
    file = tmp_path / "mended"

    async def main() -> None:
        async with running(tmp_path, SOURCE) as (house, pool):
            call = lambda: pool.run(house.call("m:unless", {"path": str(file)}))  # noqa: E731
            while not pool.status()["paused"]:
                await call()
            file.touch()
            while (outcome := await call()).failure is not None:
                assert outcome.failure.code == "Unavailable"
                await asyncio.sleep(0.01)
            assert house.finish(outcome) == "mended"
            assert pool.status()["paused"] == {}

    asyncio.run(main())


def test_a_crowd_of_bad_calls_ends_soon(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, SOURCE, user_time=0.5) as (house, pool):
            outcomes = await asyncio.gather(*(pool.run(house.call("m:slow")) for _ in range(100)))
            codes = [outcome.failure.code for outcome in outcomes if outcome.failure is not None]
            assert set(codes) == {"FunctionTimeout", "Unavailable"}
            assert codes.count("FunctionTimeout") < 15
            assert house.finish(await pool.run(house.call("m:fine"))) == 1

    asyncio.run(main())
