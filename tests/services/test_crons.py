from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from nbreactive.engine.clock import SystemClock
from nbreactive.errors import DeployRefused, FunctionNotFound, Unavailable
from nbreactive.server import parts as server_parts
from nbreactive.services.crons import Crons
from tests.services.running import Deployment, running
from tests.services.test_scheduler import until

JOBS = """
import asyncio
from nbreactive import action, api, cron_jobs, internal, internal_action, internal_mutation, mutation, query

@internal_mutation
def tick(ctx, who: str = "nobody"):
    print("ticking")
    ctx.db.insert("ticks", {"who": who})
    return "tock"

@internal_mutation
def fails(ctx):
    ctx.db.insert("ticks", {"who": "failure"})
    raise ValueError("no " * 1000)

@internal_action
async def acts(ctx):
    await ctx.run_mutation(internal.jobs.tick, who="action")
    await asyncio.sleep(2.2)

@query
def ticks(ctx):
    return sorted(tick["who"] for tick in ctx.db.query("ticks").collect())

crons = cron_jobs()
"""


def run(folder: Path, main: Callable[[Deployment], Awaitable[None]]) -> None:
    async def started() -> None:
        async with running(folder) as deployment:
            await main(deployment)

    asyncio.run(started())


def listed(deployment: Deployment) -> dict[str, dict[str, Any]]:
    return {cron["name"]: cron for cron in deployment.parts.background.crons.listing()}


async def ended(deployment: Deployment, name: str, many: int = 1) -> dict[str, Any]:
    """A cron job once it has so many results."""

    async def look() -> Any:
        cron = listed(deployment)[name]
        return cron if len(cron["logs"]) >= many and cron["state"] == {"kind": "pending"} else None

    return await until(look)


def test_an_interval_runs_at_once_and_then_waits(tmp_path: Path) -> None:
    async def main(deployment: Deployment) -> None:
        before = time.time() * 1000
        await deployment.deploy("jobs", JOBS + 'crons.interval("a b", tick, {"who": "a"}, hours=1)\n')
        cron = await ended(deployment, "a b")
        assert cron["function"] == "jobs:tick"
        assert cron["nextRun"] == cron["lastRun"] + 3_600_000
        assert before - 1 <= cron["lastRun"] <= time.time() * 1000
        [log] = cron["logs"]
        assert log["status"] == {"kind": "success", "result": '"tock"'}
        assert log["logLines"] == ["[LOG] ticking"]
        assert log["ts"] == cron["lastRun"]
        assert await deployment.query("jobs:ticks") == ["a"]

    run(tmp_path, main)


def test_deploys_change_what_they_define_and_nothing_else(tmp_path: Path) -> None:
    def module(*crons: str) -> str:
        return JOBS + "\n".join(crons) + "\n"

    same = 'crons.interval("same", tick, {"who": "same"}, hours=1)'

    async def main(deployment: Deployment) -> None:
        await deployment.deploy("jobs", module(same, 'crons.daily("other", tick, hour_utc=9)'))
        first = await ended(deployment, "same")
        other = listed(deployment)["other"]
        assert other["logs"] == [] and other["nextRun"] > time.time() * 1000
        changed = 'crons.interval("same", internal.jobs.tick, {"who": "changed"}, hours=1)'
        await deployment.deploy("jobs", module(changed, 'crons.daily("other", tick, hour_utc=10)'))
        now = listed(deployment)
        assert (now["same"]["nextRun"], now["same"]["args"]) == (first["nextRun"], [{"who": "changed"}])
        assert now["other"]["nextRun"] != other["nextRun"]
        await deployment.deploy("jobs", module('crons.interval("same", tick, {"who": "again"}, hours=2)'))
        assert set(listed(deployment)) == {"same"}
        again = await ended(deployment, "same", 2)
        assert again["nextRun"] == again["lastRun"] + 7_200_000
        assert await deployment.query("jobs:ticks") == ["again", "same"]
        await deployment.deploy("jobs", module())
        assert listed(deployment) == {}
        await deployment.deploy("jobs", module('crons.hourly("same", tick)'))
        assert listed(deployment)["same"]["logs"] == []

    run(tmp_path, main)


def test_results_are_kept_but_not_all(tmp_path: Path) -> None:
    async def main(deployment: Deployment) -> None:
        module = JOBS + 'crons.daily("seldom", tick, hour_utc=0)\ncrons.interval("bad", fails, hours=5)\n'
        await deployment.deploy("jobs", module)
        crons = deployment.parts.background.crons
        planned = listed(deployment)["seldom"]["nextRun"]
        for number in range(1, 8):
            await until(lambda: run_now(crons, "seldom"))

            async def ticked(number: int = number) -> bool:
                return len(await deployment.query("jobs:ticks")) == number

            await until(ticked)
        cron = await ended(deployment, "seldom", 5)
        assert cron["nextRun"] == planned
        assert len(cron["logs"]) == 5
        bad = await ended(deployment, "bad")
        [log] = bad["logs"]
        assert log["status"]["kind"] == "failed" and len(log["status"]["error"]) <= 1000
        assert bad["nextRun"] == bad["lastRun"] + 5 * 3_600_000
        with pytest.raises(FunctionNotFound, match="bad, seldom"):
            await crons.run_now("nothing")

    run(tmp_path, main)


async def run_now(crons: Crons, name: str) -> bool:
    """Run a cron job once its last run is over."""
    try:
        await crons.run_now(name)
    except Unavailable:
        return False
    return True


def test_runs_do_not_overlap_and_what_is_skipped_is_logged(tmp_path: Path) -> None:
    async def main(deployment: Deployment) -> None:
        told: list[str] = []
        deployment.parts.background.crons.on_event = lambda name, *_args, **_fields: told.append(name)
        await deployment.deploy("jobs", JOBS + 'crons.interval("slow", acts, seconds=1)\n')
        cron = await ended(deployment, "slow", 2)
        await deployment.deploy("jobs", JOBS)
        kinds = [log["status"]["kind"] for log in cron["logs"]]
        assert kinds[:2] == ["success", "canceled"]
        skipped = cron["logs"][1]["status"]["skipped"]
        assert skipped >= 2
        assert told[0] == (f"Skipping {skipped:.0f} run(s) of slow because multiple scheduled runs are in the past")
        assert cron["logs"][1]["logLines"] == told[:1]
        assert cron["nextRun"] == cron["lastRun"] + (skipped + 1) * 1000

    run(tmp_path, main)


class Later(SystemClock):
    """A clock that is some hours ahead."""

    def now_ns(self) -> int:
        return super().now_ns() + 10 * 3_600_000_000_000 + 60_000_000_000


def test_what_was_missed_while_the_backend_was_down_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[dict[str, Any]] = []

    async def first(deployment: Deployment) -> None:
        await deployment.deploy("jobs", JOBS + 'crons.interval("hourly", tick, hours=1)\n')
        found.append(await ended(deployment, "hourly"))

    async def then(deployment: Deployment) -> None:
        cron = await ended(deployment, "hourly", 2)
        assert cron["logs"][1]["status"] == {"kind": "canceled", "skipped": 10}
        assert cron["nextRun"] == found[0]["nextRun"] + 10 * 3_600_000
        assert await deployment.query("jobs:ticks") == ["nobody"]

    run(tmp_path, first)
    monkeypatch.setattr(server_parts, "SystemClock", Later)
    run(tmp_path, then)


REFUSED = [
    ('crons.hourly("x", tick)\ncrons.hourly("x", tick)', "defined twice, here and in reactive/jobs.py"),
    ('crons.hourly("x", internal.jobs.tock)', "jobs:tock, which is not deployed"),
    ('crons.hourly("x", api.jobs.ticks)', "jobs:ticks, which is a query"),
    ('crons.interval("x", tick, seconds=-1)', "seconds is a whole number"),
]


def test_crons_that_cannot_be_are_refused_with_file_and_line(tmp_path: Path) -> None:
    async def main(deployment: Deployment) -> None:
        await deployment.deploy("jobs", JOBS)
        for lines, message in REFUSED:
            source = JOBS + lines + "\n"
            with pytest.raises(DeployRefused) as refused:
                await deployment.deploy("jobs", source, force=True)
            [issue] = refused.value.issues
            assert message in issue["reason"]
            assert issue["file"] == "reactive/jobs.py"
            assert issue["line"] == source.count("\n")
        with pytest.raises(DeployRefused, match=r"reactive/jobs\.py"):
            await deployment.deploy(
                "more",
                'from nbreactive import cron_jobs, internal\ncrons = cron_jobs()\ncrons.hourly("y", internal.jobs.tick)\n',
            )
            await deployment.deploy("jobs", JOBS + 'crons.hourly("y", tick)\n', force=True)
        assert set(listed(deployment)) == {"y"}

    run(tmp_path, main)


def test_an_action_that_a_cron_job_runs_schedules_functions(tmp_path: Path) -> None:
    source = """
from nbreactive import cron_jobs, internal, internal_action, internal_mutation, query

@internal_action
async def begin(ctx):
    await ctx.scheduler.run_after(0, internal.chain.go_on)

@internal_mutation
def go_on(ctx):
    ctx.db.insert("steps", {"done": True})

@query
def steps(ctx):
    return ctx.db.query("steps").count()

crons = cron_jobs()
crons.interval("chain", internal.chain.begin, hours=1)
"""

    async def main(deployment: Deployment) -> None:
        await deployment.deploy("chain", source)

        async def done() -> bool:
            return await deployment.query("chain:steps") == 1

        await until(done)
        assert (await ended(deployment, "chain"))["logs"][0]["status"]["kind"] == "success"

    run(tmp_path, main)
