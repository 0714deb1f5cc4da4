"""Which call is next: against a model of what was added, in whatever order."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from nbreactive.engine.transactions import Call
from nbreactive.runtime.call_queue import CallQueue
from nbreactive.runtime.handles import Job, Worker

SOMEBODY = cast("Worker", object())


def call(path: str, *, behind: bool = False) -> Job:
    return Job(Call(path, b"", job="a job" if behind else ""), cast("Any", None), 1.0)


def taken(queue: CallQueue, *, first: bool = True, behind: bool = True) -> str:
    """The path of the next call, if there is room for those that go first, and for those behind."""
    found = queue.take(lambda _, late: SOMEBODY if (behind if late else first) else None)
    if found is None:
        return ""
    job, worker = found
    assert worker is SOMEBODY
    assert not job.queued
    return job.call.path


def test_urgent_calls_go_first_and_those_of_jobs_last() -> None:
    queue = CallQueue()
    jobs = {path: call(path, behind=path == "job") for path in ("job", "a", "b", "urgent")}
    for path, job in jobs.items():
        queue.add(job, urgent=path == "urgent")
    assert len(queue) == 4
    assert all(job.queued for job in jobs.values())
    assert [taken(queue) for _ in range(2)] == ["urgent", "a"]
    queue.put_back(jobs["a"])
    assert [taken(queue) for _ in range(4)] == ["a", "b", "job", ""]
    assert not queue


def test_a_call_on_behalf_of_a_job_is_taken_after_eight_others() -> None:
    queue = CallQueue()
    for number in range(20):
        queue.add(call(f"call {number}"), urgent=False)
        queue.add(call(f"job {number}", behind=True), urgent=False)
    order = [taken(queue) for _ in range(20)]
    assert [index for index, path in enumerate(order) if path.startswith("job")] == [8, 17]
    assert taken(queue, first=False, behind=False) == ""
    for number in range(6):
        assert taken(queue, behind=False) == f"call {18 + number}" or number >= 2
    assert taken(queue).startswith("job 2")


@given(st.lists(st.sampled_from(["first", "behind", "urgent", "take", "clear"]), max_size=60))
def test_nothing_is_lost_or_taken_twice(steps: list[str]) -> None:
    queue, waiting = CallQueue(), set[str]()
    for number, step in enumerate(steps):
        if step == "take":
            path = taken(queue)
            assert bool(path) == bool(waiting)
            waiting.discard(path)
        elif step == "clear":
            assert {job.call.path for job in queue.clear()} == waiting
            waiting.clear()
        else:
            queue.add(call(str(number), behind=step == "behind"), urgent=step == "urgent")
            waiting.add(str(number))
        assert len(queue) == len(waiting)
