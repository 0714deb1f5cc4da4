from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nbreactive import cron_jobs, internal, internal_mutation
from nbreactive.errors import InvalidValue
from nbreactive.functions.crons import CronJobs
from nbreactive.values.packing import unpack

TICK = internal.jobs.tick


def test_jobs_carry_their_schedule_in_the_form_of_convex() -> None:
    crons = cron_jobs()
    crons.interval("a", TICK, seconds=30)
    crons.interval("b", TICK, {"x": 1}, minutes=5)
    crons.hourly("c", TICK)
    crons.hourly("d", TICK, minute_utc=0)
    crons.daily("e", TICK, hour_utc=9, minute_utc=30)
    crons.weekly("f", TICK, day_of_week="monday", hour_utc=9)
    crons.monthly("g", TICK, day=31, hour_utc=0, minute_utc=59)
    crons.cron("h", "0  2 * * *", TICK, {"keep": 7})
    assert [(job.name, job.schedule) for job in crons.jobs] == [
        ("a", {"type": "interval", "seconds": 30}),
        ("b", {"type": "interval", "minutes": 5}),
        ("c", {"type": "hourly"}),
        ("d", {"type": "hourly", "minuteUTC": 0}),
        ("e", {"type": "daily", "hourUTC": 9, "minuteUTC": 30}),
        ("f", {"type": "weekly", "dayOfWeek": "monday", "hourUTC": 9}),
        ("g", {"type": "monthly", "day": 31, "hourUTC": 0, "minuteUTC": 59}),
        ("h", {"type": "cron", "cronExpr": "0 2 * * *"}),
    ]
    assert {job.function for job in crons.jobs} == {"jobs:tick"}
    assert [unpack(job.args) for job in crons.jobs if job.name in "abh"] == [{}, {"x": 1}, {"keep": 7}]
    assert crons.jobs[1].line == crons.jobs[0].line + 1


def test_a_function_of_the_same_module_can_be_named_directly() -> None:
    @internal_mutation
    def tick(ctx: Any) -> None: ...

    crons = cron_jobs()
    crons.interval("a", tick, seconds=1)
    assert crons.jobs[0].function == tick.path


WRONG: list[tuple[Callable[[CronJobs], None], str]] = [
    (lambda c: c.interval("a", TICK), "one of seconds, minutes and hours"),
    (lambda c: c.interval("a", TICK, seconds=1, minutes=1), "one of seconds, minutes and hours"),
    (lambda c: c.interval("a", TICK, seconds=0), "seconds is a whole number from 1"),
    (lambda c: c.interval("a", TICK, seconds=1.5), "seconds is a whole number"),  # type: ignore[arg-type]
    (lambda c: c.hourly("a", TICK, minute_utc=60), "minute_utc is a whole number from 0 to 59"),
    (lambda c: c.daily("a", TICK, hour_utc=24), "hour_utc is a whole number from 0 to 23"),
    (lambda c: c.weekly("a", TICK, day_of_week="Monday", hour_utc=1), "day_of_week is one of sunday"),  # type: ignore[arg-type]
    (lambda c: c.monthly("a", TICK, day=32, hour_utc=1), "day is a whole number from 1 to 31"),
    (lambda c: c.cron("a", "* * * *", TICK), "five fields"),
    (lambda c: c.cron("a", "* * * * * *", TICK), "five fields"),
    (lambda c: c.cron("a", "61 * * * *", TICK), "is never true"),
    (lambda c: c.cron("a", "0 0 30 2 *", TICK), "Bad day-of-month"),
    (lambda c: c.hourly("", TICK), "printable ASCII"),
    (lambda c: c.hourly("ä", TICK), "printable ASCII"),
    (lambda c: c.hourly("a" * 201, TICK), "201 characters"),
    (lambda c: c.hourly("a", "jobs:tick"), "runs a reference"),  # type: ignore[arg-type]
    (lambda c: c.hourly("a", TICK, {"x": {1}}), "a set is not a value"),
    (lambda c: c.hourly("a", TICK, hour_utc=3), "'a': .*'hour_utc'; crons.hourly takes .*minute_utc"),  # type: ignore[call-arg]
    (lambda c: c.daily("a", TICK), "'hour_utc'; crons.daily takes .* hour_utc, minute_utc"),  # type: ignore[call-arg]
    (lambda c: c.cron("a", "* * * * *"), "crons.cron takes a name, what it runs, and an expression"),  # type: ignore[call-arg]
]


@pytest.mark.parametrize(("define", "message"), WRONG)
def test_what_is_wrong_is_said(define: Callable[[CronJobs], None], message: str) -> None:
    crons = cron_jobs()
    with pytest.raises(InvalidValue, match=message):
        define(crons)
    assert crons.jobs == []
