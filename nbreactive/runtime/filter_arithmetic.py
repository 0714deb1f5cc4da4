"""Arithmetic of filters, on numbers of one type, as Convex has it: dividing by zero gives what JavaScript gives."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from nbreactive.errors import InvalidValue
from nbreactive.values.kinds import UNSET, Int64


def is_number(value: Any) -> bool:
    """Whether it is a number of either type."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def arithmetic(name: str, apply: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
    """Return ``apply(a, b)``, of the type of both."""
    if not is_number(a) or not is_number(b) or isinstance(a, Int64) is not isinstance(b, Int64):
        raise InvalidValue(
            f"q.{name} needs two numbers of one type, not {_shown(a)} and {_shown(b)}; test for the field first:"
            ' q.and_(q.neq(q.field("f"), UNSET), ...)'
        )
    result = apply(a, b)
    return Int64(result) if isinstance(a, Int64) else result


def _shown(value: Any) -> str:
    return "an absent field" if value is UNSET else f"{type(value).__name__} {value!r:.40}"


def divide(a: Any, b: Any) -> Any:
    """Divide; whole numbers of 64 bits towards zero."""
    if isinstance(a, Int64):
        if not b:
            raise InvalidValue("q.div: an int64 divided by zero; test for zero first")
        quotient = abs(a) // abs(b)
        return quotient if (a < 0) == (b < 0) else -quotient
    if b:
        return a / b
    return math.nan if not a or math.isnan(a) else math.copysign(math.inf, a) * math.copysign(1.0, b)


def modulo(a: Any, b: Any) -> Any:
    """Return the remainder, with the sign of ``a``."""
    if isinstance(a, Int64):
        if not b:
            raise InvalidValue("q.mod: an int64 divided by zero; test for zero first")
        return int(a) - int(b) * divide(a, b)
    return math.fmod(a, b) if b and math.isfinite(a) else math.nan
