"""Versions, draining, order, and processes that vanish."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from nbreactive.errors import DeployRefused
from tests.runtime.house import bundle, running, until

SLOW = """
import os, time
@query
def version(ctx): return {version}
@query
def wait_for(ctx, path):
    while not os.path.exists(path): time.sleep(0.005)
    return {version}
@mutation
def nothing(ctx): pass
"""


def test_the_systems_own_functions_are_there_before_any_deploy(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as (house, pool):
            outcome = await pool.run(house.call("_system/tables:list", reach="system"))
            assert outcome.failure is not None
            assert outcome.failure.code == "Unavailable"
            await pool.start()
            args = {"table": "orders", "documents": [{"n": 1}, {"n": 2}]}
            assert house.finish(await pool.run(house.call("_system/tables:insert_many", args, reach="system"))) == 2
            rows = house.finish(await pool.run(house.call("_system/tables:rows", {"table": "orders"}, reach="system")))
            assert [row["n"] for row in rows] == [2, 1]
            rows = house.finish(
                await pool.run(
                    house.call("_system/tables:rows", {"table": "orders", "limit": 1, "order": "asc"}, reach="system")
                )
            )
            assert [row["n"] for row in rows] == [1]
            listed = house.finish(await pool.run(house.call("_system/tables:list", reach="system")))
            assert [(table["name"], table["count"]) for table in listed] == [("orders", 2)]
            assert (
                house.finish(await pool.run(house.call("_system/tables:count", {"table": "orders"}, reach="system")))
                == 2
            )
            for reach in ("public", "internal"):
                failure = (await pool.run(house.call("_system/tables:list", reach=reach))).failure
                assert failure is not None
                assert failure.code == "FunctionNotFound"

    asyncio.run(main())


def test_old_versions_drain(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, user_time=60.0) as (house, pool):
            await pool.start()
            await pool.prepare(bundle(1, m=SLOW.format(version=1)))
            await pool.activate(1)
            assert (await pool.run(house.call("m:version"))).failure is not None  # not in use yet
            pool.switch(1)
            assert pool.manifest is not None
            assert [spec.path for spec in pool.manifest.functions] == ["m:nothing", "m:version", "m:wait_for"]
            slow = asyncio.ensure_future(pool.run(house.call("m:wait_for", {"path": str(tmp_path / "go")})))
            await asyncio.sleep(0)
            await pool.prepare(bundle(2, m=SLOW.format(version=2)))
            await pool.activate(2)
            pool.switch(2)
            assert house.finish(await pool.run(house.call("m:version"))) == 2
            pool.switch(1)  # the deploy failed after all
            assert house.finish(await pool.run(house.call("m:version"))) == 1
            pool.switch(2)
            pool.drop(1)
            assert pool.status()["draining"] == 1
            (tmp_path / "go").touch()
            assert house.finish(await slow) == 1
            await until(lambda: pool.status()["draining"] == 0)
            await pool.prepare(bundle(3, m=SLOW.format(version=3)))
            pool.drop(3)
            assert house.finish(await pool.run(house.call("m:version"))) == 2

    asyncio.run(main())


def test_the_same_version_can_be_prepared_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, SLOW.format(version=1)) as (house, pool):
            await pool.prepare(bundle(1, m=SLOW.format(version=11)))
            await pool.activate(1)
            assert house.finish(await pool.run(house.call("m:version"))) == 1
            pool.switch(1)
            assert house.finish(await pool.run(house.call("m:version"))) == 11
            await until(lambda: pool.status()["draining"] == 0)

    asyncio.run(main())


def test_urgent_calls_come_first_and_cancelled_ones_never(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Strictly one after the other, however slow the machine is.
    monkeypatch.setattr("nbreactive.runtime.pool._STUCK_SECONDS", 60.0)

    async def main() -> None:
        async with running(tmp_path, SLOW.format(version=1), workers=1) as (house, pool):
            order: list[str] = []

            async def call(name: str, *, urgent: bool = False) -> None:
                await pool.run(house.call("m:version"), urgent=urgent)
                order.append(name)

            blocked = pool.run(house.call("m:wait_for", {"path": str(tmp_path / "go")}))
            waiting = [asyncio.ensure_future(call(name)) for name in ("a", "b", "c")]
            await asyncio.sleep(0)
            urgent = asyncio.ensure_future(call("urgent", urgent=True))
            await asyncio.sleep(0)
            waiting[1].cancel()
            (tmp_path / "go").touch()
            await asyncio.gather(blocked, urgent, *waiting, return_exceptions=True)
            assert order == ["urgent", "a", "c"]

    asyncio.run(main())


def test_a_lost_zygote_is_replaced(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, SLOW.format(version=1), method="fork", user_time=60.0) as (house, pool):
            deaths: list[int] = []
            pool.on_death = lambda: deaths.append(1)
            slow = asyncio.ensure_future(pool.run(house.call("m:wait_for", {"path": str(tmp_path / "go")})))
            await asyncio.sleep(0)
            zygote = next(p for p in psutil.Process().children() if "nbreactive.runtime.zygote" in p.cmdline())
            before = set(pool.status()["pids"])
            zygote.send_signal(signal.SIGKILL)
            outcome = await slow
            assert outcome.failure is not None
            assert outcome.failure.code == "Unavailable"  # it was not the function: whoever can repeats it
            assert "m:wait_for ran; it has written nothing" in outcome.failure.message
            assert outcome.every
            await until(lambda: pool.status()["idle"] == 3 and not before & set(pool.status()["pids"]))
            assert house.finish(await pool.run(house.call("m:version"))) == 1
            assert deaths
            os.kill(pool.status()["pids"][0], signal.SIGKILL)  # an idle worker
            await until(lambda: pool.status()["idle"] == 3)

    asyncio.run(main())


def test_closing_fails_what_still_runs(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, SLOW.format(version=1), workers=1, user_time=60.0) as (house, pool):
            calls = [
                asyncio.ensure_future(pool.run(house.call("m:wait_for", {"path": str(tmp_path / "go")})))
                for _ in range(3)
            ]
            await asyncio.sleep(0)
            await pool.close()
            for outcome in await asyncio.gather(*calls):
                assert outcome.failure is not None
                assert outcome.failure.code == "Unavailable"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("import time\nwhile True: pass", "took more than 1 s"),
        ("import os\nos._exit(3)", "ended"),
        ("import ctypes\nctypes.string_at(0)", "ended"),
        ("import sys\nsys.exit(3)", "importing it raised SystemExit: 3"),
    ],
)
def test_modules_that_misbehave_while_imported(tmp_path: Path, source: str, text: str) -> None:
    async def main() -> None:
        async with running(tmp_path, import_seconds=1.0) as (_, pool):
            with pytest.raises(DeployRefused, match=text):
                await pool.prepare(bundle(1, m=source))
            await pool.start()

    began = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - began < 60  # not a measurement: it would never end


def test_large_arguments_and_results(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as (house, pool):
            await pool.prepare(bundle(1, m="@query\ndef echo(ctx, x: Any): return x".replace("Any", "list[str]")))
            await pool.activate(1)
            pool.switch(1)
            value: Any = ["x" * 100_000] * 100
            assert house.finish(await pool.run(house.call("m:echo", {"x": value}))) == value

    asyncio.run(main())


MIXED = """
import os
@query
def once(ctx, n: int, how: str = ""):
    if how == "loop":
        while True: pass
    if how == "exit": os._exit(3)
    if how == "memory": return len(bytearray(10 * 1024**3))
    return n
"""


@pytest.mark.parametrize(
    ("how", "code"), [("loop", "FunctionTimeout"), ("exit", "FunctionCrashed"), ("memory", "FunctionOutOfMemory")]
)
def test_calls_that_wait_in_a_worker_survive_it(how: str, code: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, MIXED, workers=2) as (house, pool):
            for n in range(50):  # from now on it is known to be short, so its calls wait in the workers
                assert house.finish(await pool.run(house.call("m:once", {"n": n}))) == n
            begun = time.monotonic()
            calls = [house.call("m:once", {"n": n, "how": how if n in (3, 20) else ""}) for n in range(40)]
            running_calls = [pool.run(call) for call in calls]
            assert any(worker.waiting for group in pool._versions.all() for worker in group.busy)
            outcomes = await asyncio.wait_for(asyncio.gather(*running_calls), 20)
            for n, outcome in enumerate(outcomes):
                if n in (3, 20):
                    assert outcome.failure is not None
                    assert outcome.failure.code == code
                else:
                    assert house.finish(outcome) == n
            assert time.monotonic() - begun < 15
            await until(lambda: not any(group.busy for group in pool._versions.all()))
            assert house.finish(await pool.run(house.call("m:once", {"n": 7}))) == 7

    asyncio.run(main())


def test_unknown_names_are_not_remembered(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, MIXED) as (house, pool):
            for n in range(20):
                assert (await pool.run(house.call(f"m:unknown{n}"))).failure is not None
            assert not pool._durations.short("m:unknown3")

    asyncio.run(main())


def test_what_runs_on_behalf_of_jobs_waits_behind_calls_in_few_processes(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, SLOW.format(version=1), workers=1, user_time=30.0) as (house, pool):
            gate = tmp_path / "gate"
            slow = [pool.run(house.call("m:wait_for", {"path": str(gate)}, job="j")) for _ in range(3)]
            # A call that takes long makes room for others, but not for other jobs.
            await until(lambda: pool.status()["stuck"] == 1)
            for _ in range(5):
                house.finish(await pool.run(house.call("m:version")))
            assert pool.status()["stuck"] == 1
            assert pool.status()["queued"] == 2
            waiting = [pool.run(house.call("m:version", job="j")) for _ in range(10)]
            assert house.finish(await pool.run(house.call("m:version"))) == 1
            assert not any(job.done() for job in waiting)
            gate.touch()
            assert [house.finish(outcome) for outcome in await asyncio.gather(*slow, *waiting)] == [1] * 13

    asyncio.run(main())


def test_jobs_have_their_turn_however_many_calls_there_are(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, SLOW.format(version=1), workers=1) as (house, pool):
            gate = tmp_path / "gate"
            first = pool.run(house.call("m:wait_for", {"path": str(gate)}))
            order: list[str] = []
            calls = [pool.run(house.call("m:version")) for _ in range(40)]
            jobs = [pool.run(house.call("m:version", job="j")) for _ in range(2)]
            for name, futures in (("call", calls), ("job", jobs)):
                for future in futures:
                    future.add_done_callback(lambda _, name=name: order.append(name))
            gate.touch()
            await asyncio.gather(first, *calls, *jobs)
            at = [index for index, name in enumerate(order) if name == "job"]
            assert 4 <= at[0] <= 20
            assert at[0] + 4 <= at[1] <= 35

    asyncio.run(main())
