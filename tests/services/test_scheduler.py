from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from nbreactive.engine.catalog import SCHEDULED
from nbreactive.engine.requests import MutationRequest, QuerySpec
from nbreactive.errors import FunctionNotFound, NotAllowed
from nbreactive.services.changes import Batch
from nbreactive.values.ids import decode_id
from nbreactive.values.json import decode_json
from nbreactive.values.limits import SCHEDULED_ARGS, SCHEDULED_FUNCTIONS
from nbreactive.values.packing import pack
from tests.services.running import Deployment, running

JOBS = """
import asyncio
from datetime import UTC, datetime, timedelta
from nbreactive import AppError, action, api, internal, internal_mutation, mutation, query

@mutation
def later(ctx, numbers: list[int], delay: float = 0):
    return [ctx.scheduler.run_after(delay, internal.jobs.note, number=number) for number in numbers]

@mutation
def at(ctx, when: float):
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=when)
    return [ctx.scheduler.run_at(when, internal.jobs.note, {"number": 1}), ctx.scheduler.run_at(moment, note, number=2)]

@internal_mutation
def note(ctx, number: int):
    ctx.db.insert("notes", {"number": number, "who": ctx.auth.get_user_identity()})
    return number

@mutation
def fails(ctx, how: str):
    ctx.db.insert("notes", {"number": -1})
    if how == "raise":
        raise ValueError("no " + "so " * 1000)
    if how == "app":
        raise AppError({"code": "NO"})
    while True:
        pass

@mutation
def schedule(ctx, function: str, args: dict):
    return ctx.scheduler.run_after(0, function, args)

@mutation
def much(ctx, many: int):
    for number in range(many):
        ctx.scheduler.run_after(0, internal.jobs.busy, number=number)

@mutation
def rolled_back(ctx):
    ctx.scheduler.run_after(0, internal.jobs.note, number=1)
    raise AppError("no")

@mutation
def nested(ctx):
    try:
        ctx.run_mutation(api.jobs.rolled_back)
    except AppError:
        pass
    return ctx.scheduler.run_after(0, internal.jobs.note, number=2)

@mutation
def cancel(ctx, id: str):
    ctx.scheduler.cancel(id)

@mutation
def cancel_own(ctx):
    job = ctx.scheduler.run_after(0, internal.jobs.note, number=1)
    ctx.scheduler.cancel(job)
    return job

@mutation
def chain(ctx, left: int, text: str = ""):
    ctx.db.insert("notes", {"number": left})
    if left:
        ctx.scheduler.run_after(0, api.jobs.chain, left=left - 1)

@query
def numbers(ctx):
    return sorted(note["number"] for note in ctx.db.query("notes").collect())

@query
def people(ctx):
    return [note["who"] for note in ctx.db.query("notes").collect()]

@query
def job(ctx, id: str):
    return ctx.db.system.get(id)

@query
def jobs(ctx, kind: str):
    found = ctx.db.system.query("_scheduled_functions").with_index("by_state", lambda q: q.eq("state.kind", kind))
    return found.collect()

@mutation
def many(ctx, count: int, size: int):
    for _ in range(count):
        ctx.scheduler.run_after(600_000, api.jobs.chain, left=0, text="x" * size)

@mutation
def busy(ctx, number: int):
    for _ in range(1_000_000):
        pass
    ctx.db.insert("notes", {"number": number})

@query
def flag(ctx):
    return ctx.db.query("flags").first() is not None

@mutation
def set_flag(ctx):
    ctx.db.insert("flags", {})

@action
async def waits(ctx):
    while not await ctx.run_query(api.jobs.flag):
        await asyncio.sleep(0.01)
    await ctx.scheduler.run_after(0, internal.jobs.note, number=100)
    await ctx.run_mutation(api.jobs.later, numbers=[101])
    await ctx.run_mutation(internal.jobs.note, number=102)

@query
def tries_to_schedule(ctx):
    ctx.scheduler.run_after(0, internal.jobs.note, number=1)

@query
def secrets(ctx):
    return ctx.db.system.query("_modules").collect()

@action
async def acts(ctx, number: int):
    await ctx.run_mutation(internal.jobs.note, number=number)

@action
async def acts_badly(ctx):
    raise ValueError("bad luck")

@action
async def schedules(ctx, number: int):
    first = await ctx.scheduler.run_after(0, internal.jobs.note, number=number)
    second = await ctx.scheduler.run_after(60_000, internal.jobs.note, number=number)
    await ctx.scheduler.cancel(second)
    return [first, second]
"""


async def until(condition: Callable[[], Awaitable[Any]], seconds: float = 30.0) -> Any:
    """Wait until something holds, and return what it is."""
    deadline = time.monotonic() + seconds
    while not (found := await condition()):
        assert time.monotonic() < deadline, "waited for too long"
        await asyncio.sleep(0.005)
    return found


async def ended(deployment: Deployment, id: str) -> dict[str, Any]:
    """A job that has come to its end."""

    async def look() -> Any:
        job = await deployment.query("jobs:job", id=id)
        return job if job["state"]["kind"] not in ("pending", "inProgress") else None

    return await until(look)


def run(folder: Path, main: Callable[[Deployment], Awaitable[None]]) -> None:
    async def started() -> None:
        async with running(folder) as deployment:
            await deployment.deploy("jobs", JOBS)
            await main(deployment)

    asyncio.run(started())


def test_a_job_runs_once_and_says_so(tmp_path: Path) -> None:
    async def main(deployment: Deployment) -> None:
        before = time.time() * 1000
        [id] = await deployment.mutate("jobs:later", numbers=[7])
        job = await ended(deployment, id)
        assert job["name"] == "jobs:note"
        assert job["args"] == [{"number": 7}]
        assert job["state"] == {"kind": "success"}
        assert before - 1 <= job["scheduledTime"] <= job["completedTime"] <= time.time() * 1000
        assert set(job) == {"_id", "_creationTime", "name", "args", "scheduledTime", "completedTime", "state"}
        assert await deployment.query("jobs:numbers") == [7]

    run(tmp_path, main)


def test_jobs_wait_for_their_time(tmp_path: Path) -> None:
    async def main(deployment: Deployment) -> None:
        now = time.time() * 1000
        ids = await deployment.mutate("jobs:at", when=now + 60_000)
        soon = await deployment.mutate("jobs:later", numbers=[5], delay=200)
        job = await ended(deployment, soon[0])
        assert job["completedTime"] >= job["scheduledTime"] >= now + 200
        assert await deployment.query("jobs:numbers") == [5]
        pending = await deployment.query("jobs:jobs", kind="pending")
        assert {job["_id"] for job in pending} == set(ids)  # a datetime is rounded to microseconds
        assert {job["scheduledTime"] for job in pending} == {now + 60_000} or all(
            abs(job["scheduledTime"] - now - 60_000) < 0.01 for job in pending
        )

    run(tmp_path, main)


def test_what_is_past_runs_at_once_and_in_order(tmp_path: Path) -> None:
    async def main(deployment: Deployment) -> None:
        for id in await deployment.mutate("jobs:at", when=1000.0):
            assert (await ended(deployment, id))["state"] == {"kind": "success"}
        assert await deployment.query("jobs:numbers") == [1, 2]

    run(tmp_path, main)


def test_a_mutation_that_fails_has_scheduled_nothing(tmp_path: Path) -> None:
    async def main(deployment: Deployment) -> None:
        with pytest.raises(AssertionError, match="AppError"):
            await deployment.mutate("jobs:rolled_back")
        id = await deployment.mutate("jobs:nested")
        await ended(deployment, id)
        assert await deployment.query("jobs:numbers") == [2]
        assert [job["_id"] for job in await deployment.query("jobs:jobs", kind="success")] == [id]

    run(tmp_path, main)


FAILURES = [
    ("jobs:fails", {"how": "raise"}, "no so so"),
    ("jobs:fails", {"how": "app"}, "NO"),
    ("jobs:fails", {"how": "loop"}, "took more than 1 s"),
    ("jobs:note", {"number": "one"}, "args.number"),
    ("jobs:acts_badly", {}, "bad luck"),
]


def test_a_function_that_fails_ends_its_job(tmp_path: Path) -> None:
    async def main(deployment: Deployment) -> None:
        for function, args, message in FAILURES:
            id = await deployment.mutate("jobs:schedule", function=function, args=args)
            job = await ended(deployment, id)
            assert job["state"]["kind"] == "failed"
            assert message in job["state"]["error"]
            assert len(job["state"]["error"]) <= 1000
        assert await deployment.query("jobs:numbers") == []
        [again] = await deployment.mutate("jobs:later", numbers=[3])
        assert (await ended(deployment, again))["state"]["kind"] == "success"

    run(tmp_path, main)


REFUSED = [
    ("jobs:nothing", "jobs:nothing"),
    ("jobs:numbers", "jobs:numbers is a query"),
    ("_system/tables:delete", "_system"),
]


def test_what_cannot_be_scheduled_is_refused_when_scheduling(tmp_path: Path) -> None:
    async def main(deployment: Deployment) -> None:
        table = deployment.parts.background.scheduler.table
        for function, message in REFUSED:
            with pytest.raises(AssertionError, match=message):
                await deployment.mutate("jobs:schedule", function=function, args={})
            with pytest.raises((FunctionNotFound, NotAllowed), match=message):
                await table.schedule(function, pack({}), 0)
        assert table.listing() == []

    run(tmp_path, main)


def test_a_job_whose_function_is_gone_fails(tmp_path: Path) -> None:
    async def main(deployment: Deployment) -> None:
        [id] = await deployment.mutate("jobs:later", numbers=[1], delay=600_000)
        await deployment.deploy(
            "jobs",
            JOBS.replace("def note", "def notice")
            .replace("internal.jobs.note", "'jobs:notice'")
            .replace(" note,", " notice,"),
        )
        assert await deployment.parts.background.scheduler.table.run_now(id)
        job = await ended(deployment, id)
        assert job["state"] == {
            "kind": "failed",
            "error": "Could not run the scheduled function 'jobs:note': it is not deployed any more",
        }

    run(tmp_path, main)


def test_canceling(tmp_path: Path) -> None:
    async def main(deployment: Deployment) -> None:
        ids = await deployment.mutate("jobs:later", numbers=[1, 2, 3], delay=100)
        await deployment.mutate("jobs:cancel", id=ids[1])
        own = await deployment.mutate("jobs:cancel_own")
        kinds = [(await ended(deployment, id))["state"]["kind"] for id in [*ids, own]]
        assert kinds == ["success", "canceled", "success", "canceled"]
        assert await deployment.query("jobs:numbers") == [1, 3]
        await deployment.mutate("jobs:cancel", id=ids[0])  # too late: it stays as it is
        assert (await deployment.query("jobs:job", id=ids[0]))["state"]["kind"] == "success"

    run(tmp_path, main)


def test_identity_is_not_passed_on(tmp_path: Path) -> None:
    async def main(deployment: Deployment) -> None:
        request = MutationRequest("jobs:later", pack({"numbers": [1]}), {"issuer": "i", "subject": "ada"})
        result = await deployment.parts.engine.mutate(request)
        assert result.failure is None
        await until(lambda: deployment.query("jobs:numbers"))
        assert await deployment.query("jobs:people") == [None]

    run(tmp_path, main)


def test_jobs_schedule_jobs(tmp_path: Path) -> None:
    async def main(deployment: Deployment) -> None:
        await deployment.mutate("jobs:chain", left=30)

        async def all_there() -> bool:
            return len(await deployment.query("jobs:numbers")) == 31

        await until(all_there)
        assert await deployment.query("jobs:numbers") == list(range(31))

    run(tmp_path, main)


def test_queries_cannot_schedule_and_see_only_what_is_meant_for_them(tmp_path: Path) -> None:
    async def main(deployment: Deployment) -> None:
        with pytest.raises(AssertionError, match="cannot schedule anything"):
            await deployment.query("jobs:tries_to_schedule")
        with pytest.raises(AssertionError, match="_scheduled_functions"):
            await deployment.query("jobs:secrets")

    run(tmp_path, main)


def test_actions_as_jobs_and_jobs_of_actions(tmp_path: Path) -> None:
    async def main(deployment: Deployment) -> None:
        id = await deployment.mutate("jobs:schedule", function="jobs:acts", args={"number": 1})
        assert (await ended(deployment, id))["state"] == {"kind": "success"}
        id = await deployment.mutate("jobs:schedule", function="jobs:schedules", args={"number": 2})
        assert (await ended(deployment, id))["state"] == {"kind": "success"}

        async def both() -> bool:
            return await deployment.query("jobs:numbers") == [1, 2]

        await until(both)
        [canceled] = await deployment.query("jobs:jobs", kind="canceled")
        assert canceled["args"] == [{"number": 2}]

    run(tmp_path, main)


def test_limits_of_what_one_mutation_schedules(tmp_path: Path) -> None:
    async def main(deployment: Deployment) -> None:
        for count, size, message in [
            (SCHEDULED_FUNCTIONS + 1, 1, "1001 functions scheduled by one call, at most 1000"),
            (1, SCHEDULED_ARGS, "bytes of arguments of a scheduled function, at most 4194304"),
            (5, SCHEDULED_ARGS - 100, "bytes of arguments scheduled by one call, at most 16777216"),
        ]:
            with pytest.raises(AssertionError, match=message):
                await deployment.mutate("jobs:many", count=count, size=size)
        table = deployment.parts.background.scheduler.table
        assert table.listing() == []
        await deployment.mutate("jobs:many", count=SCHEDULED_FUNCTIONS, size=1)
        await deployment.mutate("jobs:many", count=1, size=SCHEDULED_ARGS - 100)
        assert len(table.listing("pending", 2000)) == SCHEDULED_FUNCTIONS + 1
        assert await table.cancel_all("jobs:note") == 0
        assert await table.cancel_all("jobs:chain") == SCHEDULED_FUNCTIONS + 1
        assert table.listing("pending") == []

    run(tmp_path, main)


def test_an_action_that_is_canceled_goes_on_but_schedules_nothing(tmp_path: Path) -> None:
    async def main(deployment: Deployment) -> None:
        id = await deployment.mutate("jobs:schedule", function="jobs:waits", args={})

        async def begun() -> bool:
            return (await deployment.query("jobs:job", id=id))["state"]["kind"] == "inProgress"

        await until(begun)
        await deployment.mutate("jobs:cancel", id=id)
        assert (await deployment.query("jobs:job", id=id))["state"] == {"kind": "canceled"}
        await deployment.mutate("jobs:set_flag")
        await until(lambda: deployment.query("jobs:numbers"))
        assert await deployment.query("jobs:numbers") == [102]
        canceled = await deployment.query("jobs:jobs", kind="canceled")
        assert [job["args"] for job in canceled if job["_id"] != id] == [[{"number": 100}], [{"number": 101}]]
        assert (await deployment.query("jobs:job", id=id))["state"] == {"kind": "canceled"}

    run(tmp_path, main)


def test_a_restart_goes_on_with_what_is_pending_and_ends_what_was_interrupted(tmp_path: Path) -> None:
    ids: list[str] = []

    async def first(deployment: Deployment) -> None:
        ids.extend(await deployment.mutate("jobs:later", numbers=[1, 2, 3], delay=600_000))
        table, changes = deployment.parts.background.scheduler.table, deployment.parts.background.jobs.changes
        internal = decode_id(ids[1])[1]

        def interrupt(batch: Batch) -> None:
            document, _ = batch.find(SCHEDULED, internal) or ({}, 0)
            batch.put(SCHEDULED, internal, document | {"name": "jobs:acts", "state": {"kind": "inProgress"}})

        await changes.make(interrupt)
        await deployment.parts.background.stop()
        assert await table.run_now(ids[0])

    async def then() -> None:
        async with running(tmp_path) as deployment:
            assert (await ended(deployment, ids[0]))["state"] == {"kind": "success"}
            error = "Transient error while executing action"
            assert (await ended(deployment, ids[1]))["state"] == {"kind": "failed", "error": error}
            assert (await deployment.query("jobs:job", id=ids[2]))["state"] == {"kind": "pending"}
            assert await deployment.query("jobs:numbers") == [1]

    run(tmp_path, first)
    asyncio.run(then())


def test_what_has_ended_long_ago_is_deleted(tmp_path: Path) -> None:
    async def main(deployment: Deployment) -> None:
        ids = await deployment.mutate("jobs:later", numbers=list(range(20)))
        [pending] = await deployment.mutate("jobs:later", numbers=[99], delay=600_000)
        last = [await ended(deployment, id) for id in ids]
        table = deployment.parts.background.scheduler.table
        kept = 600_000.0
        due = await table.delete_old(kept)
        assert due == min(job["completedTime"] for job in last) + kept
        assert len(table.listing("success")) == 20
        assert await table.delete_old(0) is None
        assert [job["_id"] for job in table.listing()] == [pending]

    run(tmp_path, main)


def test_a_storm_runs_everything_once_and_calls_come_first(tmp_path: Path) -> None:
    async def main(deployment: Deployment) -> None:
        for first in range(0, 2000, 500):
            await deployment.mutate("jobs:later", numbers=list(range(first, first + 500)), delay=100)

        async def all_there() -> bool:
            return len(await deployment.query("jobs:numbers")) == 2000

        await until(all_there, 60)
        assert await deployment.query("jobs:numbers") == list(range(2000))
        # One worker and jobs that take long: whoever calls is served in between
        await deployment.mutate("jobs:much", many=600)
        assert await deployment.query("jobs:flag") is False
        await deployment.mutate("jobs:set_flag")
        table = deployment.parts.background.scheduler.table
        assert len(table.listing("pending")) > 10
        assert await table.cancel_all() > 0

    run(tmp_path, main)


class Listener:
    def __init__(self) -> None:
        self.told = asyncio.Event()

    def invalidated(self) -> None:
        self.told.set()


def test_jobs_are_live(tmp_path: Path) -> None:
    async def main(deployment: Deployment) -> None:
        subscriptions, listener = deployment.parts.engine.subscriptions, Listener()
        subscriptions.add(listener, QuerySpec("jobs:jobs", pack({"kind": "success"})))
        first = await subscriptions.update(listener)
        assert [result.value for _, result in first.changes] == [b"[]"]
        [id] = await deployment.mutate("jobs:later", numbers=[1])
        await asyncio.wait_for(listener.told.wait(), 30)

        async def seen() -> list[Any]:
            update = await subscriptions.update(listener)
            return [decode_json(result.value)[0]["_id"] for _, result in update.changes if result.value != b"[]"]

        assert await until(seen) == [id]

    run(tmp_path, main)
