"""Creation times that documents and stored files bring from elsewhere."""

from __future__ import annotations

import time
from typing import Any

from nbreactive.errors import InvalidValue

_DAY = 86_400_000.0
"""Milliseconds; clocks differ, by a time zone for example."""


def creation_time(value: Any, where: str) -> float:
    """Return a creation time if it can be one: a moment between 1970 and a day from now, in milliseconds.

    Documents are ordered by it, so one from far in the future would stay the newest for ever.

    Examples
    --------
    >>> creation_time(1700000000000, "line 1")
    1700000000000.0
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidValue("_creationTime must be a number: milliseconds since 1970", where)
    if not 0 <= value <= time.time_ns() / 1e6 + _DAY:
        raise InvalidValue(
            f"_creationTime {value!r:.40} is no time between 1970 and now, in milliseconds; mend it, or leave it out",
            where,
        )
    return float(value)
