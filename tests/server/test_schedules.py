from __future__ import annotations

import time
from pathlib import Path

from tests.served import Served

JOBS = """
from nbreactive import cron_jobs, internal, internal_mutation, mutation, query

@mutation
def later(ctx, number: int):
    return ctx.scheduler.run_after(600_000, internal.jobs.note, number=number)

@internal_mutation
def note(ctx, number: int):
    print("noting", number)
    ctx.db.insert("notes", {"number": number})

@query
def notes(ctx):
    return [note["number"] for note in ctx.db.query("notes").collect()]

crons = cron_jobs()
crons.daily("nightly", note, {"number": 100}, hour_utc=2)
"""


def test_looking_at_jobs_canceling_them_and_running_them_now(tmp_path: Path) -> None:
    with Served(tmp_path, {"jobs": JOBS}) as backend:

        def scheduled(state: str) -> list[str]:
            found = backend.fetch(f"/api/admin/scheduled?state={state}", admin=True)["scheduled"]
            return [job["_id"] for job in found]

        def wait_for(notes: list[int]) -> None:
            deadline = time.monotonic() + 30
            while backend.call("query", "jobs:notes") != notes:
                assert time.monotonic() < deadline, backend.call("query", "jobs:notes")
                time.sleep(0.01)

        ids = [backend.call("mutation", "jobs:later", number=number) for number in range(4)]
        assert scheduled("pending") == ids
        [first, *_] = backend.fetch("/api/admin/scheduled", admin=True)["scheduled"]
        assert set(first) == {"_id", "_creationTime", "name", "scheduledTime", "state"}
        assert backend.fetch("/api/admin/scheduled/run", {"id": ids[1]}, admin=True) == {"due": True}
        wait_for([1])
        assert backend.fetch("/api/admin/scheduled/run", {"id": ids[1]}, admin=True) == {"due": False}
        assert backend.fetch("/api/admin/scheduled/cancel", {"id": ids[2]}, admin=True) == {"canceled": 1}
        assert backend.fetch("/api/admin/scheduled/cancel", {"id": ids[2]}, admin=True) == {"canceled": 0}
        of_others = {"all": True, "function": "jobs:later"}
        assert backend.fetch("/api/admin/scheduled/cancel", of_others, admin=True) == {"canceled": 0}
        assert backend.fetch("/api/admin/scheduled/cancel", {"all": True}, admin=True) == {"canceled": 2}
        assert (scheduled("pending"), scheduled("success")) == ([], [ids[1]])
        assert sorted(scheduled("canceled")) == sorted([ids[0], ids[2], ids[3]])

        [cron] = backend.fetch("/api/admin/crons", admin=True)["crons"]
        assert (cron["name"], cron["schedule"]) == ("nightly", {"type": "daily", "hourUTC": 2})
        assert backend.fetch("/api/admin/scheduled/run", {"cron": "nightly"}, admin=True) == {"due": True}
        wait_for([1, 100])
        assert '"path": "jobs:note"' in backend.log
        assert "noting 100" in backend.log


def test_only_who_may_deploy_sees_and_changes_jobs_and_mistakes_are_said(tmp_path: Path) -> None:
    with Served(tmp_path, {"jobs": JOBS}) as backend:
        id = backend.call("mutation", "jobs:later", number=1)
        for path, body in [
            ("/api/admin/scheduled", None),
            ("/api/admin/crons", None),
            ("/api/admin/scheduled/cancel", {"id": id}),
            ("/api/admin/scheduled/run", {"id": id}),
        ]:
            assert backend.fetch(path, body)["code"] == "Refused"
        for path, body, message in [
            ("/api/admin/scheduled?state=new", None, "state is one of pending"),
            ("/api/admin/scheduled/cancel", {}, '"id"'),
            ("/api/admin/scheduled/cancel", {"id": "x"}, "x"),
            ("/api/admin/scheduled/run", {"id": id, "cron": "nightly"}, "cron job"),
            ("/api/admin/scheduled/run", {"cron": "daily"}, "the cron jobs are: nightly"),
        ]:
            assert message in backend.fetch(path, body, admin=True)["message"]
        assert backend.fetch("/api/admin/scheduled?state=pending", admin=True)["scheduled"][0]["_id"] == id
