"""``cron_jobs()``: functions that run again and again, at times given in UTC.

``crons = cron_jobs()`` at the top level of a module, then one call for each job. Names are unique in a deployment. What a
job runs is looked up when this is deployed; its arguments are checked when it runs.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, ParamSpec, cast

from nbreactive.errors import InvalidValue
from nbreactive.functions.decorators import Function
from nbreactive.functions.references import Reference
from nbreactive.functions.specs import CronSpec
from nbreactive.values.checks import check_value
from nbreactive.values.limits import CRON_NAME, over
from nbreactive.values.packing import pack

Weekday = Literal["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"]
WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
Args = Mapping[str, Any]
P = ParamSpec("P")


def _explained(method: Callable[P, None]) -> Callable[P, None]:
    """Say what a method takes where Python would say only what it does not."""
    signature = inspect.signature(method)
    takes = ", ".join(name for name, p in signature.parameters.items() if p.kind is p.KEYWORD_ONLY)

    @functools.wraps(method)
    def checked(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            what = f"crons.{method.__name__} takes a name, what it runs, and {takes or 'an expression between them'}"
            raise _wrong(args[1] if len(args) > 1 else kwargs.get("name", ""), f"{error}; {what}") from None
        method(*args, **kwargs)

    return checked


class CronJobs:
    """The cron jobs of one module; made by :func:`cron_jobs`.

    Where the minute may be left out and is, each job gets one of its own, always the same, so that not everything runs
    at the full hour; the second is such a one in any case, except with :meth:`interval`.
    """

    def __init__(self) -> None:
        self.jobs: list[CronSpec] = []

    @_explained
    def interval(
        self,
        name: str,
        reference: Reference | Function,
        args: Args | None = None,
        *,
        seconds: int | None = None,
        minutes: int | None = None,
        hours: int | None = None,
    ) -> None:
        """Run every so many seconds, minutes or hours, beginning with the deploy.

        Parameters
        ----------
        name
            Names the job, in text of one's own.
        reference
            The mutation or action that runs: ``internal.jobs.tick``.
        args
            Its arguments.
        seconds, minutes, hours
            How often; one of them.
        """
        given = {"seconds": seconds, "minutes": minutes, "hours": hours}
        found = [(unit, many) for unit, many in given.items() if many is not None]
        if len(found) != 1:
            raise _wrong(name, "interval takes one of seconds, minutes and hours; write seconds=30")
        unit, many = found[0]
        _whole(name, unit, many, 1, 10**9)
        self._add(name, reference, args, {"type": "interval", unit: many})

    @_explained
    def hourly(
        self, name: str, reference: Reference | Function, args: Args | None = None, *, minute_utc: int | None = None
    ) -> None:
        """Run once an hour, at a minute of it."""
        self._add(name, reference, args, {"type": "hourly", **_minute(name, minute_utc)})

    @_explained
    def daily(
        self,
        name: str,
        reference: Reference | Function,
        args: Args | None = None,
        *,
        hour_utc: int,
        minute_utc: int | None = None,
    ) -> None:
        """Run once a day."""
        self._add(name, reference, args, {"type": "daily", **_hour(name, hour_utc), **_minute(name, minute_utc)})

    @_explained
    def weekly(
        self,
        name: str,
        reference: Reference | Function,
        args: Args | None = None,
        *,
        day_of_week: Weekday,
        hour_utc: int,
        minute_utc: int | None = None,
    ) -> None:
        """Run once a week, on ``"sunday"`` ... ``"saturday"``."""
        if day_of_week not in WEEKDAYS:
            raise _wrong(name, f"day_of_week is one of {', '.join(WEEKDAYS)}, not {day_of_week!r:.60}")
        times = {**_hour(name, hour_utc), **_minute(name, minute_utc)}
        self._add(name, reference, args, {"type": "weekly", "dayOfWeek": day_of_week, **times})

    @_explained
    def monthly(
        self,
        name: str,
        reference: Reference | Function,
        args: Args | None = None,
        *,
        day: int,
        hour_utc: int,
        minute_utc: int | None = None,
    ) -> None:
        """Run once a month, on a day of it: one from the 29th on is left out in months which do not have it."""
        _whole(name, "day", day, 1, 31)
        times = {**_hour(name, hour_utc), **_minute(name, minute_utc)}
        self._add(name, reference, args, {"type": "monthly", "day": day, **times})

    @_explained
    def cron(self, name: str, expression: str, reference: Reference | Function, args: Args | None = None) -> None:
        """Run when a cron expression says so: minute, hour, day of the month, month, day of the week (0 is Sunday).

        Where both days are given, either will do: ``"0 9 1 * mon"`` is the 1st and every Monday.
        """
        problem = expression_problem(expression)
        if problem:
            raise _wrong(name, problem)
        self._add(name, reference, args, {"type": "cron", "cronExpr": " ".join(expression.split())})

    def _add(self, name: str, reference: Any, args: Args | None, schedule: dict[str, Any]) -> None:
        if not isinstance(name, str) or not name.isascii() or not name.isprintable() or not name:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidValue(f"a cron job is named by printable ASCII text, not {name!r:.80}; rename it")
        if len(name) > CRON_NAME:
            raise InvalidValue(over("characters in the name of a cron job", len(name), CRON_NAME, "use a shorter one"))
        if not isinstance(reference, (Reference, Function)):
            raise _wrong(name, f"it runs a reference such as internal.jobs.tick, not {reference!r:.60}")
        given = check_value(dict(args or {}), f"the arguments of cron job {name!r}", datetimes=True)
        line = sys._getframe(3).f_lineno  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        self.jobs.append(CronSpec(name, schedule, reference.path, pack(given), line=line))

    def __repr__(self) -> str:
        return f"<cron jobs: {', '.join(job.name for job in self.jobs) or 'none'}>"


def cron_jobs() -> CronJobs:
    """Begin a list of cron jobs: ``crons = cron_jobs()`` at the top level of a module.

    Examples
    --------
    >>> from nbreactive import internal
    >>> crons = cron_jobs()
    >>> crons.interval("clear presence", internal.presence.clear, seconds=30)
    >>> crons.daily("digest", internal.emails.digest, {"limit": 10}, hour_utc=9, minute_utc=0)
    >>> crons.cron("backup", "0 2 * * *", internal.backup.run)
    >>> crons
    <cron jobs: clear presence, digest, backup>
    """
    return CronJobs()


def expression_problem(expression: object) -> str:
    """Return why something is no cron expression, or an empty string.

    Examples
    --------
    >>> expression_problem("*/5 * * * mon-fri")
    ''
    >>> expression_problem("0 0 30 2 *")
    "the cron expression '0 0 30 2 *' is never true (Bad day-of-month); mend that field"
    """
    from cronsim import CronSim, CronSimError  # here, as most modules and no kernels need it

    text = cast("Any", expression)
    if not isinstance(text, str) or len(text) > 200 or len(text.split()) != 5:
        fields = "minute, hour, day of the month, month, day of the week"
        return f'a cron expression has five fields ({fields}), as "0 2 * * *" has; {expression!r:.80} is none'
    try:
        next(CronSim(text, datetime(2000, 1, 1, tzinfo=UTC)))
    except (CronSimError, StopIteration) as error:
        return f"the cron expression {text!r} is never true ({str(error) or 'for 50 years'}); mend that field"
    return ""


def _minute(name: str, minute: int | None) -> dict[str, int]:
    return {"minuteUTC": _whole(name, "minute_utc", minute, 0, 59)} if minute is not None else {}


def _hour(name: str, hour: int) -> dict[str, int]:
    return {"hourUTC": _whole(name, "hour_utc", hour, 0, 23)}


def _whole(name: str, what: str, value: Any, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise _wrong(name, f"{what} is a whole number from {least} to {most}, not {value!r:.60}")
    return value


def _wrong(name: object, what: str) -> InvalidValue:
    return InvalidValue(f"cron job {name!r:.80}: {what}")
