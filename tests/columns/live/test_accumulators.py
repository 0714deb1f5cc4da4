"""Accumulators against what all values that are there say, computed at once and exactly."""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbreactive.columns.live.accumulators import Count, Descending, Exhausted, Extremes, FloatSum, Sum, ascending


def steps(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[tuple[bool, Any]]]:
    """Values that come; True takes one away that is there."""
    return st.lists(st.tuples(st.booleans(), st.none() | values), max_size=40)


def there_after(accumulator: Any, taken: list[tuple[bool, Any]]) -> list[Any]:
    there: list[Any] = []
    for away, value in taken:
        if away and there:
            gone = there.pop(len(there) // 2)
            accumulator.add(gone, -1)
        else:
            there.append(value)
            accumulator.add(value, 1)
    return [value for value in there if value is not None]


@given(steps(st.floats()))
def test_sums_of_doubles_are_exact(taken: list[tuple[bool, Any]]) -> None:
    total = FloatSum()
    there = there_after(total, taken)
    found = total.sum()
    if not there:
        assert found is None
        return
    assert found is not None
    special = {value for value in there if not math.isfinite(value)}
    if any(map(math.isnan, special)) or {math.inf, -math.inf} <= special:
        assert math.isnan(found)
    elif special:
        assert found == special.pop()
    else:
        exact = sum(map(Fraction, there), Fraction(0))
        try:
            assert found == float(exact)
        except OverflowError:
            assert math.isinf(found) and (found > 0) == (exact > 0)


@given(st.lists(st.floats(), min_size=1))
def test_sums_begin_with_the_bits_of_doubles(values: list[float]) -> None:
    one, other = FloatSum(), FloatSum()
    parts: dict[tuple[int, bool, bool], list[int]] = {}
    for value in values:
        one.add(value, 1)
        (bits,) = struct.unpack(">Q", struct.pack(">d", value))
        exponent, mantissa, negative = (bits >> 52) & 2047, bits & ((1 << 52) - 1), bool(bits >> 63)
        parts.setdefault((exponent, negative, mantissa == 0 and exponent == 2047), []).append(mantissa)
    for (exponent, negative, _), mantissas in parts.items():
        total = -sum(mantissas) if negative else sum(mantissas)
        other.add_bits(exponent, total, len(mantissas), negative)
    assert (repr(one.sum()), repr(one.avg())) == (repr(other.sum()), repr(other.avg()))


@given(steps(st.integers(-(2**63), 2**63)))
def test_integers_and_counts(taken: list[tuple[bool, Any]]) -> None:
    total, count = Sum(), Count()
    there = there_after(total, taken)
    assert total.sum() == (sum(there) if there else None)
    assert total.avg() == (sum(there) / len(there) if there else None)
    assert there_after(count, taken) == there
    assert count.count == len(there)


@given(steps(st.decimals(-(10**15), 10**15, places=2)))
def test_decimals(taken: list[tuple[bool, Any]]) -> None:
    total = Sum(scale=2)
    there = there_after(total, taken)
    assert total.sum() == (sum(map(Fraction, there)) if there else None)


@pytest.mark.parametrize("order", [ascending, Descending])
@given(taken=steps(st.integers(0, 6)))
def test_extremes_are_right_or_ask(order: Any, taken: list[tuple[bool, Any]]) -> None:
    extremes = Extremes(order)
    there = there_after(extremes, taken)
    try:
        found = extremes.value()
    except Exhausted:
        assert there
        return
    assert found == (min(there, key=order) if there else None)
