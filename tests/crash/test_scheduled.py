"""SIGKILL with a thousand jobs pending: mutations run exactly once, actions at most once."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.crash.test_disk import Failing
from tests.served import Served

ROUNDS = 5
MUTATIONS = 900
ACTIONS = 100

JOBS = """
from nbreactive import api, define_schema, define_table, internal, internal_action, internal_mutation, mutation, query, v

schema = define_schema({
    "runs": define_table({"round": v.integer(), "number": v.integer(), "kind": v.string()}).index("by_round", ["round"]),
})

@mutation
def schedule(ctx, round: int, mutations: int, actions: int):
    for number in range(mutations):
        ctx.scheduler.run_after(number % 7, internal.jobs.note, round=round, number=number, kind="mutation")
    for number in range(actions):
        ctx.scheduler.run_after(number % 7, internal.jobs.act, round=round, number=number)

@internal_mutation
def note(ctx, round: int, number: int, kind: str):
    ctx.db.insert("runs", {"round": round, "number": number, "kind": kind})

@internal_action
async def act(ctx, round: int, number: int):
    await ctx.run_mutation(internal.jobs.note, round=round, number=number, kind="action")

@query
def runs(ctx, round: int):
    found = ctx.db.query("runs").with_index("by_round", lambda q: q.eq("round", round)).collect()
    return [[run["kind"], run["number"]] for run in found]

@query
def ran(ctx):
    return ctx.db.query("runs").count()

@query
def left(ctx):
    jobs = ctx.db.system.query("_scheduled_functions")
    pending = jobs.with_index("by_state", lambda q: q.eq("state.kind", "pending")).count()
    jobs = ctx.db.system.query("_scheduled_functions")
    return pending + jobs.with_index("by_state", lambda q: q.eq("state.kind", "inProgress")).count()

@query
def ends(ctx, state: str):
    jobs = ctx.db.system.query("_scheduled_functions").with_index("by_state", lambda q: q.eq("state.kind", state))
    return [[job["name"], job["args"][0]["round"], job["args"][0]["number"], job["state"]] for job in jobs]
"""


def _wait(backend: Served, path: str, enough: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not enough(backend.call("query", path)):
        assert time.monotonic() < deadline, f"{path} is {backend.call('query', path)} still"
        time.sleep(0.002)


@pytest.mark.slow
def test_jobs_survive_sigkill_without_running_twice(tmp_path: Path) -> None:
    rng = random.Random(3)
    interrupted = 0
    backend = Served(tmp_path, {"jobs": JOBS}).start()
    try:
        for round_number in range(ROUNDS):
            before = backend.call("query", "jobs:ran")
            backend.call("mutation", "jobs:schedule", round=round_number, mutations=MUTATIONS, actions=ACTIONS)
            for _ in range(2):
                after = min(before + rng.randrange(1, MUTATIONS // 3), round_number * MUTATIONS + MUTATIONS // 2)
                _wait(backend, "jobs:ran", lambda ran, after=after: ran >= after)
                interrupted += backend.call("query", "jobs:left") > 0
                backend.kill()
                backend.start()
                before = backend.call("query", "jobs:ran")
            _wait(backend, "jobs:left", lambda left: left == 0)
            runs = Counter((kind, number) for kind, number in backend.call("query", "jobs:runs", round=round_number))
            assert [runs["mutation", number] for number in range(MUTATIONS)] == [1] * MUTATIONS
            assert max(runs.values()) == 1, "an action ran twice"
            ends = {kind: backend.call("query", "jobs:ends", state=kind) for kind in ("success", "failed")}
            good = {number for name, of, number, _ in ends["success"] if (name, of) == ("jobs:act", round_number)}
            bad = {number for name, of, number, _ in ends["failed"] if (name, of) == ("jobs:act", round_number)}
            assert good | bad == set(range(ACTIONS))
            assert all(runs["action", number] == 1 for number in good)
            for name, _, _, state in ends["failed"]:
                assert (name, state["error"]) == ("jobs:act", "Transient error while executing action")
        assert interrupted > ROUNDS, "the backend was killed when there was nothing to do"
    finally:
        backend.stop()


@pytest.mark.slow
def test_a_disk_that_refuses_delays_jobs_and_repeats_none(tmp_path: Path) -> None:
    many = 300
    backend = Failing(tmp_path, 7)
    (backend.functions / "jobs.py").write_text(JOBS)
    backend.start()
    try:
        for round_number, mode in enumerate(["flaky", "full", "flaky"]):
            backend.call("mutation", "jobs:schedule", round=round_number, mutations=many, actions=10)
            backend.control.write_text(mode)
            for _ in range(30):
                backend.ask("query", "jobs:ran")  # whatever comes of it: meanwhile jobs run
            backend.control.write_text("")
            _wait(backend, "jobs:left", lambda left: left == 0)
            runs = Counter((kind, number) for kind, number in backend.call("query", "jobs:runs", round=round_number))
            assert [runs["mutation", number] for number in range(many)] == [1] * many
            assert max(runs.values()) == 1
    finally:
        backend.stop()
