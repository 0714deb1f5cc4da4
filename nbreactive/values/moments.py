"""Moments: aware datetimes in Python, milliseconds since the epoch everywhere else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from nbreactive.values._paths import Mismatch

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
EARLIEST = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND
LATEST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND


def to_milliseconds(value: datetime) -> int | float:
    """Return an aware datetime as milliseconds since the epoch: an int when they are whole.

    Examples
    --------
    >>> to_milliseconds(datetime(2026, 11, 1, tzinfo=UTC))
    1793491200000
    """
    try:
        offset = value.utcoffset()
    except ValueError:  # pandas' NaT calls itself a datetime
        raise Mismatch(f"{value!r} is no moment; use None") from None
    if offset is None:
        raise Mismatch(
            "a datetime without a time zone names no moment;"
            " use datetime.now(UTC), or value.astimezone() if it is local time"
        )
    ms, rest = divmod(value - _EPOCH, _MILLISECOND)
    return ms + rest / _MILLISECOND if rest else ms


def from_milliseconds(value: float) -> datetime:
    """Return milliseconds since the epoch as a datetime in UTC.

    Examples
    --------
    >>> from_milliseconds(1793491200000.5).isoformat()
    '2026-11-01T00:00:00.000500+00:00'
    """
    return _EPOCH + timedelta(milliseconds=value)
