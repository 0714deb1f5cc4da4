from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbreactive.functions.crons import WEEKDAYS
from nbreactive.services.cron_times import expression_of, first_after, next_after, offset_ms, period_ms

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE = 60_000


def ms(*date: int) -> int:
    return (datetime(*date, tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1)  # type: ignore[misc]


def moment(at: float) -> datetime:
    return EPOCH + timedelta(milliseconds=at)


# ---- a model that looks at every minute --------------------------------------------------------------------


def field(text: str, least: int, most: int) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        low, high = (least, most) if span == "*" else (int(span.split("-")[0]), int(span.split("-")[-1]))
        if step and "-" not in span and span != "*":
            high = most
        found.update(range(low, high + 1, int(step or 1)))
    return found


def holds(expression: str, at: datetime) -> bool:
    minute, hour, day, month, weekday = expression.split()
    days = at.day in field(day, 1, 31)
    weekdays = at.isoweekday() % 7 in {number % 7 for number in field(weekday, 0, 7)}
    both = day.startswith("*") or weekday.startswith("*")
    return (
        at.minute in field(minute, 0, 59)
        and at.hour in field(hour, 0, 23)
        and at.month in field(month, 1, 12)
        and (days and weekdays if both else days or weekdays)
    )


def brute_force(expression: str, after: datetime) -> datetime:
    at = after.replace(second=0, microsecond=0) + timedelta(minutes=1)
    any_time = " ".join(["*", "*", *expression.split()[2:]])
    while not holds(expression, at):
        # Days on which nothing can be are left out as a whole.
        next_day = at.replace(hour=0, minute=0) + timedelta(days=1)
        at = at + timedelta(minutes=1) if holds(any_time, at) else next_day
    return at


def parts(least: int, most: int) -> st.SearchStrategy[str]:
    number = st.integers(least, most)
    span = st.tuples(number, number).map(lambda ends: f"{min(ends)}-{max(ends)}")
    step = st.integers(1, most).map(lambda by: f"*/{by}")
    return st.one_of(st.just("*"), number.map(str), span, step, st.lists(number, min_size=1, max_size=3).map(_list))


def _list(numbers: list[int]) -> str:
    return ",".join(map(str, numbers))


expressions = st.tuples(parts(0, 59), parts(0, 23), parts(1, 28), parts(1, 12), parts(0, 6)).map(" ".join)


@settings(max_examples=100, deadline=None)
@given(expressions, st.integers(ms(1999, 12, 1), ms(2101, 1, 1)))
def test_cron_expressions_are_what_a_search_minute_by_minute_finds(expression: str, after: int) -> None:
    schedule = {"type": "cron", "cronExpr": expression}
    at, skipped = next_after("name", schedule, after, after)
    offset = offset_ms("name", schedule)
    expected = brute_force(expression, moment(after - offset))
    assert moment(at) == expected + timedelta(milliseconds=offset)
    assert skipped == 0 and 0 <= offset < MINUTE


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 10_000), st.integers(0, 10**12), st.integers(0, 10**9))
def test_intervals_keep_their_anchor(seconds: int, previous: int, later: int) -> None:
    schedule = {"type": "interval", "seconds": seconds}
    now = previous + later
    at, skipped = next_after("tick", schedule, previous, now)
    assert now < at <= now + seconds * 1000
    assert (at - previous) % (seconds * 1000) == 0
    assert skipped == (at - previous) // (seconds * 1000) - 1


@settings(max_examples=50, deadline=None)
@given(expressions, st.integers(ms(2020, 1, 1), ms(2030, 1, 1)), st.integers(1, 20))
def test_what_is_skipped_is_counted(expression: str, start: int, many: int) -> None:
    schedule = {"type": "cron", "cronExpr": expression}
    at = previous = next_after("n", schedule, start, start)[0]
    for _ in range(many):
        at = next_after("n", schedule, at, at)[0]
    following, skipped = next_after("n", schedule, previous, at)
    assert skipped == many
    assert following == next_after("n", schedule, at, at)[0]


@pytest.mark.parametrize(
    ("schedule", "expression"),
    [
        ({"type": "hourly", "minuteUTC": 5}, "5 * * * *"),
        ({"type": "daily", "hourUTC": 9, "minuteUTC": 30}, "30 9 * * *"),
        *(
            ({"type": "weekly", "dayOfWeek": day, "hourUTC": 1, "minuteUTC": 2}, f"2 1 * * {number}")
            for number, day in enumerate(WEEKDAYS)
        ),
        ({"type": "monthly", "day": 31, "hourUTC": 0, "minuteUTC": 0}, "0 0 31 * *"),
    ],
)
def test_schedules_are_cron_expressions(schedule: dict[str, Any], expression: str) -> None:
    assert expression_of(schedule) == expression


def occurrences(schedule: dict[str, Any], after: int, many: int) -> list[datetime]:
    found: list[datetime] = []
    for _ in range(many):
        after = next_after("n", schedule, after, after)[0]
        found.append(moment(after).replace(second=0, microsecond=0))
    return found


def test_days_that_a_month_does_not_have_are_left_out() -> None:
    schedule = {"type": "monthly", "day": 31, "hourUTC": 0, "minuteUTC": 0}
    assert [(at.month, at.day) for at in occurrences(schedule, ms(2026, 1, 31, 1), 4)] == [
        (3, 31),
        (5, 31),
        (7, 31),
        (8, 31),
    ]


def test_leap_days_and_the_year_2100_which_has_none() -> None:
    schedule = {"type": "cron", "cronExpr": "0 0 29 2 *"}
    assert [at.year for at in occurrences(schedule, ms(2092, 1, 1), 4)] == [2092, 2096, 2104, 2108]


def test_either_day_will_do_where_both_are_given() -> None:
    schedule = {"type": "cron", "cronExpr": "0 0 1 * 1"}
    days = [(at.month, at.day) for at in occurrences(schedule, ms(2026, 5, 25, 1), 4)]
    assert days == [(6, 1), (6, 8), (6, 15), (6, 22)]
    assert [at.day for at in occurrences(schedule, ms(2026, 6, 29, 1), 2)] == [1, 6]


def test_the_offset_is_stable_and_within_the_hour_where_the_minute_is_left_out() -> None:
    free: dict[str, Any] = {"type": "hourly"}
    offsets = {name: offset_ms(name, free) for name in map(str, range(200))}
    assert offsets == {name: offset_ms(name, free) for name in offsets}
    assert 0 <= min(offsets.values()) < 600_000 and 3_000_000 < max(offsets.values()) < 3_600_000
    fixed = {"type": "hourly", "minuteUTC": 0}
    assert all(0 <= offset_ms(name, fixed) < MINUTE for name in offsets)


def test_an_interval_runs_first_at_once_and_others_at_their_time() -> None:
    now = ms(2026, 3, 1, 12, 30)
    assert first_after("n", {"type": "interval", "hours": 2}, now) == now
    assert period_ms({"type": "interval", "hours": 2}) == 7_200_000
    assert now < first_after("n", {"type": "daily", "hourUTC": 12, "minuteUTC": 31}, now) <= now + 2 * MINUTE
