"""Index keys sort as values do; the comparator here is written from the rules, without a look at the bytes."""

from __future__ import annotations

import math
import struct
from functools import cmp_to_key

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbreactive.errors import InvalidValue
from nbreactive.values import UNSET, Id, Int64, encode_fields, encode_key, successor
from nbreactive.values.keys import END, encode_column
from tests.values._strategies import scalars, text, values

RANKS = [type(UNSET), type(None), Int64, float, bool, str, bytes, list, dict]
keyed = values | st.just(UNSET)


def rank(value: object) -> int:
    return RANKS.index(float if type(value) is int else type(value))


def sign(one, other) -> int:
    return (one > other) - (one < other)


def float_order(number: float) -> tuple[int, float, int]:
    """-NaN < -inf < ... < -0.0 < 0.0 < ... < inf < NaN; NaNs by their payload."""
    negative = math.copysign(1, number) < 0
    payload = struct.unpack(">Q", struct.pack(">d", number))[0] & (2**63 - 1) if math.isnan(number) else 0
    group = -2 if math.isnan(number) and negative else 2 if math.isnan(number) else 0
    return (
        group,
        0.0 if math.isnan(number) else number,
        -payload if negative and payload else payload or (0 if negative else 1),
    )


def compare(one: object, other: object) -> int:
    if rank(one) != rank(other):
        return sign(rank(one), rank(other))
    if one is UNSET or one is None:
        return 0
    if isinstance(one, Int64 | bool | bytes):
        return sign(one, other)
    if isinstance(one, int | float):
        return sign(float_order(float(one)), float_order(float(other)))
    if isinstance(one, str):
        return sign(one.encode(), other.encode())
    if isinstance(one, dict):
        one = [part for key in sorted(one) for part in (key, one[key])]
        other = [part for key in sorted(other) for part in (key, other[key])]
    for mine, theirs in zip(one, other, strict=False):
        if order := compare(mine, theirs):
            return order
    return sign(len(one), len(other))


@given(keyed, keyed)
def test_keys_sort_as_values_do(one, other):
    assert sign(encode_key(one), encode_key(other)) == compare(one, other)


@given(st.lists(keyed, min_size=2, max_size=2), st.lists(keyed, min_size=2, max_size=2))
def test_joined_keys_sort_by_the_first_field_then_the_second(one, other):
    expected = compare(one[0], other[0]) or compare(one[1], other[1])
    assert sign(encode_fields(one), encode_fields(other)) == expected


@given(st.lists(keyed, max_size=20))
def test_sorting_by_key_is_sorting_by_value(items):
    by_key = sorted(map(encode_key, items))
    assert by_key == [encode_key(item) for item in sorted(items, key=cmp_to_key(compare))]


@given(keyed, keyed)
def test_no_key_is_a_prefix_of_another(one, other):
    first, second = encode_key(one), encode_key(other)
    assert first == second or not second.startswith(first)


@given(st.binary(max_size=6), st.binary(max_size=6))
def test_successor_bounds_exactly_the_keys_with_a_prefix(prefix, tail):
    assert prefix <= prefix + tail < successor(prefix)


@given(st.binary(min_size=1, max_size=4).filter(lambda b: b.strip(b"\xff")), st.binary(max_size=5))
def test_nothing_between_a_prefix_and_its_successor_lacks_the_prefix(prefix, key):
    assert key.startswith(prefix) == (prefix <= key < successor(prefix))


@given(text, text, scalars)
def test_an_equality_range_holds_the_equal_and_no_other(wanted, found, second):
    low = encode_key(wanted)
    assert (low <= encode_fields([found, second]) < successor(low)) == (wanted == found)


def test_end_is_after_every_key_and_every_id():
    assert successor(b"") == successor(b"\xff" * 3) == END
    assert encode_key({"z": [b"\xff" * 99]}) < b"\xff" * 16 < END


def test_the_cross_type_order_is_the_documented_one():
    # The order of the reference: absent < null < Int64 < numbers < false < true < string < bytes < array < object
    ladder = [
        UNSET, None, Int64(-5), Int64(2**62), -math.nan, -math.inf, -2, -0.0, 0, 1e-9, 1, 1.5, 2**53, math.inf,
        math.nan, False, True, "", "\x00", "a", "a\x00", "a\x01", "aa", "b", "é", "\uffff", "😀", b"", b"\x00", b"a",
        [], [None], [1], [1, 1], [2], ["a"], {}, {"a": 1}, {"a": 1, "b": 1}, {"a": 2}, {"b": 1},
    ]  # fmt: skip
    encoded = [encode_key(value) for value in ladder]
    assert encoded == sorted(encoded)
    assert len(set(encoded)) == len(encoded)


def test_ints_and_floats_are_one_type_and_ids_are_strings():
    assert encode_key(7) == encode_key(7.0) != encode_key(Int64(7))
    assert encode_key(Id("k1")) == encode_key("k1")
    assert encode_fields([Id("k1"), 1]) == encode_fields(["k1", 1.0])


def test_other_things_are_refused():
    with pytest.raises(InvalidValue, match="a set cannot be compared with an index"):
        encode_key({1})
    with pytest.raises(InvalidValue):
        encode_fields(["a", object()])


@given(st.lists(st.text()) | st.lists(st.floats()) | st.lists(st.sampled_from([0.0, -0.0, 1.5, float("inf"), "a", 1])))
def test_a_column_is_encoded_as_its_values_are(column: list) -> None:
    assert encode_column(column) == [encode_key(value) for value in column]
