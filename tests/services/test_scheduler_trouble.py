"""Scheduled functions when something goes wrong: disks, workers, deploys, and too much at once."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from nbreactive.engine.catalog import SCHEDULED
from nbreactive.engine.scheduled import job_document
from nbreactive.errors import DeployRefused, LimitExceeded, ReadOnly
from nbreactive.server.parts import Parts, PartsConfig
from nbreactive.services import jobs as services_jobs
from nbreactive.services import scheduled_jobs, scheduler
from nbreactive.services.changes import Batch
from nbreactive.services.jobs import Job
from nbreactive.services.schema_change import SchemaChange
from nbreactive.values.ids import decode_id, encode_id
from nbreactive.values.limits import SCHEDULED_ARGS
from nbreactive.values.packing import pack
from tests.crash.failing_backend import FailingDisk
from tests.services.running import Deployment, running
from tests.services.test_scheduler import ended, until

JOBS = """
import asyncio, os, time
from nbreactive import action, api, internal, internal_mutation, mutation, query

@mutation
def schedule(ctx, function: str, args: dict, delay: float = 0):
    return ctx.scheduler.run_after(delay, function, args)

@mutation
def lingering(ctx, many: int, delay: float = 0):
    for number in range(many):
        ctx.scheduler.run_after(delay, api.jobs.lingers, number=number)

@internal_mutation
def note(ctx, number: int):
    ctx.db.insert("notes", {"number": number})

@internal_mutation
def holds(ctx, number: int, path: str):
    ctx.db.insert("notes", {"number": number})
    while not os.path.exists(path):
        time.sleep(0.002)

@internal_mutation
def dies(ctx, number: int, path: str):
    ctx.db.insert("notes", {"number": number})
    if not os.path.exists(path):
        os._exit(3)

@query
def numbers(ctx):
    return sorted(note["number"] for note in ctx.db.query("notes").collect())

@query
def job(ctx, id: str):
    return ctx.db.system.get(id)

@query
def flag(ctx):
    return ctx.db.query("flags").first() is not None

@mutation
def set_flag(ctx):
    ctx.db.insert("flags", {})

@action
async def lingers(ctx, number: int):
    while not await ctx.run_query(api.jobs.flag):
        await asyncio.sleep(0.2)
    await ctx.run_mutation(internal.jobs.note, number=number)
"""


def run(folder: Path, main: Callable[[Deployment], Awaitable[None]], **options: Any) -> None:
    async def started() -> None:
        async with running(folder, **options) as deployment:
            if not deployment.parts.deployer.version:
                await deployment.deploy("jobs", JOBS)
            async with asyncio.timeout(90):
                await main(deployment)

    asyncio.run(started())


async def schedule(deployment: Deployment, function: str, delay: float = 0, **args: Any) -> str:
    return await deployment.mutate("jobs:schedule", function=f"jobs:{function}", args=args, delay=delay)


async def busy(deployment: Deployment) -> None:
    """Wait until a worker runs something."""

    async def look() -> bool:
        return deployment.parts.pool.status()["busy"] > 0

    await until(look)


async def succeeded(deployment: Deployment, id: str) -> bool:
    """Wait for the end of a job without asking a worker."""
    table = deployment.parts.background.scheduler.table

    async def look() -> list[Any]:
        return [job for job in table.listing() if job["_id"] == id and job["state"]["kind"] in ("success", "failed")]

    return (await until(look))[0]["state"] == {"kind": "success"}


@contextmanager
def full_disk(control: Path) -> Iterator[None]:
    control.write_text("full")
    try:
        yield
    finally:
        control.write_text("")


# ---- what is changed while it runs -----------------------------------------------------------------------------------


def test_a_job_that_is_hurried_while_it_runs_runs_once(tmp_path: Path) -> None:
    async def main(deployment: Deployment) -> None:
        id = await schedule(deployment, "holds", number=1, path=str(tmp_path / "go"))
        await busy(deployment)
        assert await deployment.parts.background.scheduler.table.run_now(id)
        (tmp_path / "go").touch()
        assert (await ended(deployment, id))["state"] == {"kind": "success"}
        assert await deployment.query("jobs:numbers") == [1]

    run(tmp_path, main)


@pytest.mark.parametrize("seconds", [-60, 60])
def test_a_job_whose_time_is_changed_while_it_runs_runs_at_its_new_time(tmp_path: Path, seconds: int) -> None:
    async def main(deployment: Deployment) -> None:
        parts = deployment.parts
        id = await schedule(deployment, "holds", number=1, path=str(tmp_path / "go"))
        internal = decode_id(id)[1]

        def move(batch: Batch) -> None:
            document, _ = batch.find(SCHEDULED, internal) or ({}, 0)
            batch.put(SCHEDULED, internal, document | {"scheduledTime": document["scheduledTime"] + seconds * 1000})

        await busy(deployment)
        await parts.background.jobs.changes.make(move)
        (tmp_path / "go").touch()
        if seconds > 0:
            other = await schedule(deployment, "note", number=2)
            await ended(deployment, other)
            assert (await deployment.query("jobs:job", id=id))["state"] == {"kind": "pending"}
            assert await deployment.query("jobs:numbers") == [2]
            assert await parts.background.scheduler.table.run_now(id)
        assert (await ended(deployment, id))["state"] == {"kind": "success"}
        assert 1 in await deployment.query("jobs:numbers")

    run(tmp_path, main)


# ---- workers ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is tried in a year."""
    monkeypatch.setattr(services_jobs, "_FIRST_DELAY", 3e7)
    monkeypatch.setattr(services_jobs, "_LONGEST_DELAY", 3e7)


def kill_zygote() -> None:
    for process in psutil.Process().children():
        with suppress(psutil.ZombieProcess):
            if "nbreactive.runtime.zygote" in process.cmdline():
                process.send_signal(signal.SIGKILL)


def test_a_job_whose_worker_went_with_its_parent_is_run_again(tmp_path: Path) -> None:
    async def main(deployment: Deployment) -> None:
        id = await schedule(deployment, "holds", number=1, path=str(tmp_path / "go"))
        await busy(deployment)
        kill_zygote()
        (tmp_path / "go").touch()
        assert await succeeded(deployment, id)
        assert await deployment.query("jobs:numbers") == [1]

    run(tmp_path, main)


@pytest.mark.usefixtures("patient")
def test_run_now_does_not_wait_for_the_next_attempt(tmp_path: Path) -> None:
    async def main(deployment: Deployment) -> None:
        calls: list[float] = []
        jobs, delay = deployment.parts.background.jobs, deployment.parts.background.jobs.delay
        jobs.delay = lambda job: calls.append(delay(job)) or calls[-1]  # type: ignore[method-assign]
        id = await schedule(deployment, "holds", number=1, path=str(tmp_path / "go"))
        await busy(deployment)
        kill_zygote()

        async def waits() -> bool:
            return bool(calls)

        await until(waits)
        assert calls[0] > 1e7
        (tmp_path / "go").touch()
        assert await deployment.parts.background.scheduler.table.run_now(id)
        assert await succeeded(deployment, id)

    run(tmp_path, main)


def test_a_mutation_that_crashes_is_tried_a_few_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services_jobs, "_FIRST_DELAY", 0.01)

    async def main(deployment: Deployment) -> None:
        pool = deployment.parts.pool
        id = await schedule(deployment, "dies", number=1, path=str(tmp_path / "nothing"))
        state = (await ended(deployment, id))["state"]
        assert state["kind"] == "failed"
        assert "jobs:dies ended its process" in state["error"]
        assert pool.status()["crashes"] == 4
        await deployment.deploy("jobs", JOBS + "\n")  # ends the pause that four crashes are close to
        id = await schedule(deployment, "dies", number=1, path=str(tmp_path / "mended"))

        async def crashed() -> bool:
            return pool.status()["crashes"] > 4

        await until(crashed)
        (tmp_path / "mended").touch()
        assert (await ended(deployment, id))["state"] == {"kind": "success"}
        assert await deployment.query("jobs:numbers") == [1]

    run(tmp_path, main)


# ---- too much --------------------------------------------------------------------------------------------------------


def test_actions_that_have_no_place_hold_no_mutation_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "_WAITING", 10)
    monkeypatch.setattr(scheduler, "_FETCH", 7)
    monkeypatch.setattr(scheduler, "_SLICE", 5)
    many = 2 * scheduler.ACTIONS + 40

    async def main(deployment: Deployment) -> None:
        await deployment.mutate("jobs:lingering", many=many)
        await deployment.mutate("jobs:lingering", many=3, delay=600_000)
        ids = [await schedule(deployment, "note", number=1000 + number) for number in range(3)]
        for id in ids:
            assert (await ended(deployment, id))["state"] == {"kind": "success"}
        table = deployment.parts.background.scheduler.table
        assert len(table.listing("inProgress", 1000)) == scheduler.ACTIONS
        assert len(table.listing("pending", 1000)) == many + 3 - scheduler.ACTIONS
        await deployment.mutate("jobs:set_flag")

        async def all_there() -> bool:
            return len(await deployment.query("jobs:numbers")) == many + 3

        await until(all_there, 60)
        assert await deployment.query("jobs:numbers") == [*range(many), 1000, 1001, 1002]

    run(tmp_path, main)


def test_actions_schedule_as_many_as_mutations_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(deployment: Deployment) -> None:
        table, later = deployment.parts.background.scheduler.table, time.time() * 1000 + 600_000
        big = pack({"number": "x" * (SCHEDULED_ARGS - 100)})
        ids = await asyncio.gather(*(table.schedule("jobs:note", big, later) for _ in range(12)))
        assert len(set(ids)) == 12
        monkeypatch.setattr(scheduled_jobs, "SCHEDULED_OUTSTANDING", 13)
        last = await table.schedule("jobs:note", pack({"number": 1}), later)
        with pytest.raises(LimitExceeded, match="14 scheduled functions that have not run yet, at most 13"):
            await table.schedule("jobs:note", pack({"number": 1}), later)
        assert await table.cancel(last)
        await table.schedule("jobs:note", pack({"number": 1}), later)
        assert await table.cancel_all() == 13

    run(tmp_path, main)


# ---- disks -----------------------------------------------------------------------------------------------------------


def test_a_start_ends_what_was_interrupted_however_large_and_whatever_the_disk_says(tmp_path: Path) -> None:
    many, text = 12, "x" * (SCHEDULED_ARGS - 200)
    ids = [number.to_bytes(16, "big") for number in range(1, many + 1)]
    control = tmp_path / "control"

    async def first(deployment: Deployment) -> None:
        source = "from nbreactive import cron_jobs, internal_mutation\n\n@internal_mutation\ndef tick(ctx): pass\n"
        await deployment.deploy("ticks", source + "crons = cron_jobs()\ncrons.interval('tick', tick, seconds=1)\n")
        await deployment.parts.background.stop()

        def interrupted(id: bytes, batch: Batch) -> None:
            document = job_document("jobs:lingers", {"number": text}, 0, batch.created())
            batch.put(SCHEDULED, id, document | {"state": {"kind": "inProgress"}})

        for id in ids:
            await deployment.parts.background.jobs.changes.make(lambda batch, id=id: interrupted(id, batch))

    async def full() -> None:
        parts = await Parts.open(PartsConfig(tmp_path / "data", workers=1, files=FailingDisk(control, 1)))
        try:
            with full_disk(control):
                await parts.begin()
                deployment = Deployment(parts)
                assert await deployment.query("jobs:numbers") == []
                with pytest.raises(ReadOnly):
                    await deployment.mutate("jobs:set_flag")
                await parts.background.stop()
                await parts.background.close()  # without waiting for room
                assert len(parts.background.scheduler.table.listing("inProgress")) == many
        finally:
            await parts.close()

    async def then(deployment: Deployment) -> None:
        for id in ids:
            state = (await ended(deployment, str(encode_id(SCHEDULED, id))))["state"]
            assert state == {"kind": "failed", "error": "Transient error while executing action"}

    run(tmp_path / "data", first)
    asyncio.run(full())
    run(tmp_path / "data", then, files=FailingDisk(control, 1))


def test_attempts_are_never_far_apart(tmp_path: Path) -> None:
    async def main(deployment: Deployment) -> None:
        jobs = deployment.parts.background.jobs
        job = Job(SCHEDULED, bytes(16), 0, {}, "jobs:note", "mutation")
        delays = [jobs.delay(job) for _ in range(2000)]
        assert delays[0] < 1 < delays[3]
        assert max(delays) <= 40

    run(tmp_path, main)


def test_jobs_run_when_there_is_room_on_the_disk_again(tmp_path: Path) -> None:
    control = tmp_path / "control"
    control.write_text("")

    async def main(deployment: Deployment) -> None:
        calls: list[float] = []
        jobs, delay = deployment.parts.background.jobs, deployment.parts.background.jobs.delay
        jobs.delay = lambda job: calls.append(delay(job)) or calls[-1]  # type: ignore[method-assign]
        ids = [await schedule(deployment, "note", 200, number=number) for number in range(20)]

        async def refused() -> bool:
            return len(calls) > 5

        with full_disk(control):
            await until(refused)
        for id in ids:
            assert (await ended(deployment, id))["state"] == {"kind": "success"}
        assert await deployment.query("jobs:numbers") == list(range(20))

    run(tmp_path / "data", main, files=FailingDisk(control, 1))


# ---- deploys ---------------------------------------------------------------------------------------------------------


def test_a_deploy_that_is_undone_fails_no_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    control = tmp_path / "control"
    control.write_text("")
    undoing, go = asyncio.Event(), asyncio.Event()
    abandon = SchemaChange.abandon

    async def slowly(self: SchemaChange) -> None:
        undoing.set()
        await go.wait()
        await abandon(self)

    monkeypatch.setattr(SchemaChange, "abandon", slowly)
    without = JOBS.replace("def note(", "def notice(").replace("internal.jobs.note", "internal.jobs.notice")

    async def main(deployment: Deployment) -> None:
        id = await schedule(deployment, "note", 600_000, number=1)
        with full_disk(control):
            deploying = asyncio.create_task(deployment.deploy("jobs", without))
            await undoing.wait()
        table = deployment.parts.background.scheduler.table
        assert await table.run_now(id)
        other = await table.schedule("jobs:note", pack({"number": 2}), 0)  # as an action may that runs meanwhile
        for _ in range(20):
            await deployment.mutate("jobs:set_flag")
        go.set()
        with pytest.raises(ReadOnly):
            await deploying
        for job in (id, other):
            assert (await ended(deployment, job))["state"] == {"kind": "success"}
        assert await deployment.query("jobs:numbers") == [1, 2]

    run(tmp_path / "data", main, files=FailingDisk(control, 1))


def test_what_is_due_runs_once_the_modules_are_repaired(tmp_path: Path) -> None:
    module = f"""
import os
if os.path.exists({str(tmp_path / "broken")!r}):
    raise ValueError("broken for now")
{JOBS}
from nbreactive import cron_jobs
crons = cron_jobs()
crons.interval("ticking", internal.jobs.note, {{"number": 7}}, seconds=1)
"""

    async def first(deployment: Deployment) -> None:
        await deployment.deploy("jobs", module)
        await schedule(deployment, "note", 100, number=1)

    async def then(deployment: Deployment) -> None:
        assert deployment.parts.deployer.problem is not None
        with pytest.raises(DeployRefused):
            await deployment.deploy("jobs", module + "\n1 / 0\n", force=True)
        listed = deployment.parts.background.crons.listing
        before = len(listed()[0]["logs"])
        (tmp_path / "broken").unlink()
        await deployment.deploy("jobs", module + "\n", force=True)

        async def ticked() -> bool:
            return len([log for log in listed()[0]["logs"] if log["status"]["kind"] == "success"]) > 1

        await until(ticked)
        assert before < 5

        async def noted() -> bool:
            return 1 in await deployment.query("jobs:numbers")

        await until(noted)

    run(tmp_path / "data", first)
    (tmp_path / "broken").touch()
    run(tmp_path / "data", then)
