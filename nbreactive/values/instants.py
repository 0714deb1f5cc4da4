"""Points in the history: what people write for one, as the nanoseconds in which commits are counted."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from nbreactive.errors import InvalidValue

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MOST_MS = 10**15
_LEAST_NS = 10**17
_HOW = "write '2026-11-01 12:00' (UTC), an aware datetime, milliseconds since the epoch, or the timestamp of a commit"


def instant_of(at: Any, where: str = "at") -> int:
    """Return a point in time in nanoseconds since the epoch.

    Parameters
    ----------
    at
        ISO text, which is UTC unless it says otherwise; an aware datetime; a date (its beginning in UTC);
        milliseconds; or the timestamp of a commit, in nanoseconds, as a number or as text.
    where
        What is said of it in errors.

    Examples
    --------
    >>> instant_of("2026-11-01 12:00"), instant_of("2026-11-01T13:00+01:00")
    (1793534400000000000, 1793534400000000000)
    >>> instant_of(1793534400000), instant_of("1793534400000000001")
    (1793534400000000000, 1793534400000000001)
    """
    if isinstance(at, str):
        text = at.strip()
        if text.isascii() and text.isdigit():
            return _of_number(int(text), where)
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            raise InvalidValue(f"{at[:80]!r} is no point in time; {_HOW}", where) from None
        at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    if isinstance(at, datetime):
        return _of_datetime(at, where)
    if isinstance(at, date):
        return _of_datetime(datetime(at.year, at.month, at.day, tzinfo=UTC), where)
    if isinstance(at, int | float) and not isinstance(at, bool):
        return _of_number(at, where)
    raise InvalidValue(f"{at!r:.80} is no point in time; {_HOW}", where)


def moment(ts: int) -> str:
    """Return a timestamp as people read it.

    Examples
    --------
    >>> moment(1793534400123456789)
    '2026-11-01 12:00:00.123 UTC'
    """
    try:
        text = (_EPOCH + timedelta(microseconds=ts // 1000)).isoformat(" ", "milliseconds")
    except OverflowError:
        return f"{ts} ns"
    return text.removesuffix("+00:00") + " UTC"


def _of_datetime(at: datetime, where: str) -> int:
    try:
        offset = at.utcoffset()
    except ValueError:  # pandas' NaT calls itself a datetime
        raise InvalidValue(f"{at!r} is no point in time; {_HOW}", where) from None
    if offset is None:
        raise InvalidValue(
            f"{at!r} has no time zone; use datetime.now(UTC), or value.astimezone() if it is local time", where
        )
    return (at - _EPOCH) // _MICROSECOND * 1000 + int(getattr(at, "nanosecond", 0))  # pandas' timestamps have these


def _of_number(at: float, where: str) -> int:
    if 0 <= at < _MOST_MS:
        return int(at) * 1_000_000 + int((at - int(at)) * 1_000_000)
    if at >= _LEAST_NS and isinstance(at, int) and at < 1 << 63:
        return at
    raise InvalidValue(f"{at!r} is no point in time; {_HOW}", where)
