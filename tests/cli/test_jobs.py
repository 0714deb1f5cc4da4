"""``nbreactive jobs`` and ``%reactive jobs`` against a real backend."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nbreactive.client import connect
from nbreactive.errors import ArgumentError
from nbreactive.notebook.jobs import jobs
from tests.cli.test_commands import nbreactive
from tests.jupyter.servers import wait_for
from tests.served import KEY, Served

SOURCE = """
from nbreactive import cron_jobs, internal, internal_mutation, mutation, query

@internal_mutation
def note(ctx, text: str):
    if text == "bad":
        raise ValueError("no")
    ctx.db.insert("notes", {"text": text})

@mutation
def later(ctx, text: str, ms: float = 3_600_000.0):
    return ctx.scheduler.run_after(ms, internal.m.note, text=text)

@query
def notes(ctx):
    return [row["text"] for row in ctx.db.query("notes").collect()]

crons = cron_jobs()
crons.monthly("tidy up", internal.m.note, {"text": "tidied"}, day=1, hour_utc=0, minute_utc=0)
"""


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("jobs"), {"m": SOURCE}) as served:
        yield served


def later(backend: Served, text: str, ms: float = 3_600_000.0) -> str:
    return backend.call("mutation", "m:later", text=text, ms=ms)


def test_jobs_are_listed_canceled_and_run(backend: Served) -> None:
    first, second, third = later(backend, "first"), later(backend, "second"), later(backend, "third")
    status, out, _ = nbreactive("jobs", "list", at=backend)
    assert status == 0
    assert [line.split()[3:5] for line in out.splitlines()] == [["pending", "m:note"]] * 3 + [["cron", "m:note"]]
    assert "tidy up · has not run yet" in out
    assert nbreactive("jobs", "cancel", first, at=backend)[1] == f"canceled {first}\n"
    status, _, err = nbreactive("jobs", "cancel", first, at=backend)
    assert (status, "has ended before" in err) == (1, True)
    status, _, err = nbreactive("jobs", "run", "tidy", at=backend)
    assert (status, "did you mean the cron job tidy up?" in err) == (1, True)
    assert second in nbreactive("jobs", at=backend)[1]
    at = ("--at", backend.url, "--admin-key", KEY)
    assert (
        nbreactive("jobs", *at, "list", "--limit", "1")[1] == nbreactive("jobs", "list", "--limit", "1", *at)[1] != ""
    )
    assert nbreactive("jobs", "run", second, at=backend)[1] == f"{second} runs now\n"
    wait_for(lambda: backend.call("query", "m:notes") == ["second"])
    said = json.loads(nbreactive("jobs", "list", "--state", "pending", "--json", at=backend)[1])
    assert ([job["_id"] for job in said["scheduled"]], said["crons"]) == ([third], [])
    assert nbreactive("jobs", "run", "tidy up", at=backend)[1].startswith("the cron job tidy up runs now")
    wait_for(lambda: backend.call("query", "m:notes") == ["second", "tidied"])
    wait_for(lambda: "last run" in nbreactive("jobs", "list", at=backend)[1])
    assert nbreactive("jobs", "cancel", "--all", "--function", "m:nothing", at=backend)[1] == "canceled 0 jobs\n"
    assert nbreactive("jobs", "cancel", "--all", at=backend)[1] == "canceled 1 job\n"
    failed = later(backend, "bad", 0.0)
    wait_for(lambda: failed in nbreactive("jobs", "list", "--state", "failed", at=backend)[1])


@pytest.mark.parametrize("words", [(), ("x", "--all"), ("x", "--function", "m:note")])
def test_cancel_takes_one_or_all(backend: Served, words: tuple[str, ...]) -> None:
    status, _, err = nbreactive("jobs", "cancel", *words, at=backend)
    assert (status, "--all" in err) == (1, True)


def test_the_same_in_a_notebook(backend: Served, tmp_path: Path) -> None:
    job = later(backend, "fourth")
    with connect(backend.url, admin_key=KEY) as client:

        def ask(address: str, body: dict[str, Any] | None) -> Any:
            return client.admin("GET" if body is None else "POST", address, body)

        assert [job, "cron"] == [jobs(ask, [])[0][3], jobs(ask, [])[1][1]]
        assert jobs(ask, ["cancel", job]) == [[f"canceled {job}"]]
        assert job in [row[3] for row in jobs(ask, ["canceled"])]
        with pytest.raises(ArgumentError, match="Usage: %reactive jobs"):
            jobs(ask, ["kill", job])
