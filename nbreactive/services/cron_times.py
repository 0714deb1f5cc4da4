"""When a cron job runs: its occurrences, in milliseconds since the epoch (UTC).

An interval goes on from its previous occurrence. All others are cron expressions, moved by an offset that the name
decides, so that it is always the same: up to a minute, or within the hour where the minute was left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, Final

from cronsim import CronSim

from nbreactive.functions.crons import WEEKDAYS

_SECONDS: Final = {"seconds": 1, "minutes": 60, "hours": 3600}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_SKIPPED: Final = 10_000
"""Occurrences that are counted; further ones are left out of the count."""


def first_after(name: str, schedule: Mapping[str, Any], now: int) -> int:
    """Return when a job that has never run runs first: an interval at once, any other at its first occurrence.

    Examples
    --------
    >>> first_after("tick", {"type": "interval", "seconds": 30}, 1_000)
    1000
    """
    return now if schedule["type"] == "interval" else _next(name, schedule, now)


def next_after(name: str, schedule: Mapping[str, Any], previous: int, now: int) -> tuple[int, int]:
    """Return the first occurrence after ``now``, and how many between it and ``previous`` are skipped.

    Examples
    --------
    >>> next_after("tick", {"type": "interval", "seconds": 30}, 1_000, 1_500)
    (31000, 0)
    >>> next_after("tick", {"type": "interval", "seconds": 30}, 1_000, 95_000)
    (121000, 3)
    """
    if schedule["type"] == "interval":
        every = period_ms(schedule)
        skipped = max(0, (now - previous) // every)
        return previous + (skipped + 1) * every, skipped
    skipped = 0
    at = _next(name, schedule, previous)
    while at <= now:
        skipped += 1
        at = _next(name, schedule, at if skipped < _MOST_SKIPPED else now)
    return at, skipped


def period_ms(schedule: Mapping[str, Any]) -> int:
    """Return the period of an interval."""
    return next(int(schedule[unit]) * seconds for unit, seconds in _SECONDS.items() if unit in schedule) * 1000


def expression_of(schedule: Mapping[str, Any]) -> str:
    """Return the cron expression of a schedule that is no interval.

    Examples
    --------
    >>> expression_of({"type": "weekly", "dayOfWeek": "monday", "hourUTC": 9, "minuteUTC": 30})
    '30 9 * * 1'
    """
    if schedule["type"] == "cron":
        return str(schedule["cronExpr"])
    hour = int(schedule["hourUTC"]) if "hourUTC" in schedule else "*"
    day = int(schedule["day"]) if "day" in schedule else "*"
    weekday = WEEKDAYS.index(schedule["dayOfWeek"]) if "dayOfWeek" in schedule else "*"
    return f"{int(schedule.get('minuteUTC', 0))} {hour} {day} * {weekday}"


def offset_ms(name: str, schedule: Mapping[str, Any]) -> int:
    """Return by how much occurrences are later than their cron expression says."""
    free = schedule["type"] != "cron" and "minuteUTC" not in schedule
    number = int.from_bytes(blake2b(name.encode(), digest_size=8).digest())
    return number % (3_600_000 if free else 60_000)


def _next(name: str, schedule: Mapping[str, Any], after: int) -> int:
    offset = offset_ms(name, schedule)
    # What it finds is later than what it is given, to the second at most
    start = _EPOCH + timedelta(milliseconds=after - offset)
    found = next(CronSim(expression_of(schedule), start))
    return (found - _EPOCH) // timedelta(milliseconds=1) + offset
