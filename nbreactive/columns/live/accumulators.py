"""What an aggregate knows of a group: exact, so that a value that came and went leaves no trace.

Integers and decimals are Python's integers. Doubles are integers as well: every finite one is a multiple of 2 ** -1074,
so a sum of them is one integer, whatever their order and size; NaN and the infinities are counted.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable
from decimal import Context, Decimal
from typing import Any

_SCALE = 1074
_ONE = 1 << _SCALE
KEPT = 8
"""So many of the smallest (largest) values of a group are known; the table is asked again when all of them are gone."""
_EXACT = Context(prec=100)


class Exhausted(Exception):  # noqa: N818 - a state: the table has to be asked
    """The known extremes of a group are gone, and others there may be are not known."""


class Count:
    """count(x): how many are not NULL."""

    __slots__ = ("count",)

    def __init__(self, count: int = 0) -> None:
        self.count = count

    def add(self, value: Any, sign: int) -> None:
        """Take a value in (+1) or out (-1)."""
        if value is not None:
            self.count += sign


class Sum:
    """sum(x), avg(x) of integers, and of decimals by their unscaled integers."""

    __slots__ = ("count", "scale", "total")

    def __init__(self, count: int = 0, total: int | Decimal | None = 0, scale: int = 0) -> None:
        self.count = count
        self.scale = scale
        self.total = self._unscaled(total or 0)

    def add(self, value: int | Decimal | None, sign: int) -> None:
        """Take a value in (+1) or out (-1)."""
        if value is not None:
            self.count += sign
            self.total += sign * self._unscaled(value)

    def sum(self) -> int | Decimal | None:
        """Return the sum, NULL of no values."""
        if not self.count:
            return None
        return Decimal(self.total).scaleb(-self.scale, _EXACT) if self.scale else self.total

    def avg(self) -> float | None:
        """Return the mean, NULL of no values."""
        return self.total / (self.count * 10**self.scale) if self.count else None

    def _unscaled(self, value: int | Decimal) -> int:
        return int(value.scaleb(self.scale, _EXACT)) if isinstance(value, Decimal) else int(value) * 10**self.scale


class FloatSum:
    """sum(x), avg(x) of doubles.

    Examples
    --------
    >>> total = FloatSum()
    >>> for value in (1e17, 0.1, math.inf, math.nan):
    ...     total.add(value, 1)
    >>> for value in (1e17, math.inf, math.nan):
    ...     total.add(value, -1)
    >>> total.sum(), total.avg()
    (0.1, 0.1)
    """

    __slots__ = ("count", "infinite", "nan", "negative", "total")

    def __init__(self) -> None:
        self.count = self.total = self.nan = self.infinite = self.negative = 0

    def add(self, value: float | None, sign: int) -> None:
        """Take a value in (+1) or out (-1)."""
        if value is None:
            return
        self.count += sign
        if math.isfinite(value):
            top, bottom = float(value).as_integer_ratio()
            self.total += sign * (top << (_SCALE + 1 - bottom.bit_length()))
        elif math.isnan(value):
            self.nan += sign
        elif value > 0:
            self.infinite += sign
        else:
            self.negative += sign

    def add_bits(self, exponent: int, mantissas: int, count: int, negative: bool) -> None:
        """Take in ``count`` doubles with one biased exponent: the sum of their (signed) mantissas, without the hidden bit.

        Of the exponent that stands for NaN and infinities, ``mantissas`` is 0 for infinities.
        """
        self.count += count
        if exponent < 2047:
            hidden = 0 if exponent == 0 else count << 52
            self.total += (mantissas + (-hidden if negative else hidden)) << max(exponent - 1, 0)
        elif mantissas:
            self.nan += count
        elif negative:
            self.negative += count
        else:
            self.infinite += count

    def sum(self) -> float | None:
        """Return the sum, rounded once; NULL of no values."""
        return self._value(_ONE)

    def avg(self) -> float | None:
        """Return the mean, rounded once; NULL of no values."""
        return self._value(_ONE * self.count)

    def _value(self, by: int) -> float | None:
        if not self.count:
            return None
        if self.nan or (self.infinite and self.negative):
            return math.nan
        if self.infinite or self.negative:
            return math.inf if self.infinite else -math.inf
        try:
            return self.total / by
        except OverflowError:
            return math.inf if self.total > 0 else -math.inf


class Extremes:
    """min(x), max(x): the smallest (largest) few values, in order, each as often as it occurs.

    ``whole`` tells whether there are no others.
    """

    __slots__ = ("_order", "_values", "_whole")

    def __init__(self, order: Callable[[Any], Any], values: Iterable[Any] = ()) -> None:
        self._order = order
        self._values = sorted(values, key=order)[:KEPT]
        self._whole = len(self._values) < KEPT

    def add(self, value: Any, sign: int) -> None:
        """Take a value in (+1) or out (-1)."""
        if value is None:
            return
        key = self._order(value)
        values = self._values
        if sign > 0:
            if self._whole or (values and key < self._order(values[-1])):
                insort(values, value, key=self._order)
                if len(values) > KEPT:
                    values.pop()
                    self._whole = False
            return
        place = bisect_left(values, key, key=self._order)
        if place < len(values) and self._order(values[place]) == key:
            del values[place]
            # Equal ones beyond those that are kept take its place when the table is asked

    def value(self) -> Any:
        """Return the extreme, NULL of no values; Exhausted if the table has to be asked for it."""
        if self._values:
            return self._values[0]
        if not self._whole:
            raise Exhausted
        return None


def ascending(value: Any) -> Any:
    """Return what orders values as DuckDB does: NaN is the greatest.

    Examples
    --------
    >>> sorted([math.nan, 1.0, -math.inf, math.inf], key=ascending)
    [-inf, 1.0, inf, nan]
    """
    if not isinstance(value, float):
        return value
    return (True, 0.0) if math.isnan(value) else (False, value)


class Descending:
    """What orders values the other way round."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = ascending(value)

    def __lt__(self, other: Descending) -> bool:
        return other._value < self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Descending) and (other._value == self._value)

    def __hash__(self) -> int:
        return hash(self._value)
