from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbreactive.engine.read_set import END, ReadSetBuilder, covers, merge, point, touches, union
from nbreactive.errors import LimitExceeded

keys = st.binary(max_size=3)
intervals = st.lists(st.tuples(keys, keys), max_size=12)


def _within(several: list[tuple[bytes, bytes]], key: bytes) -> bool:
    return any(low <= key < high for low, high in several)


@given(intervals, keys)
def test_merging_changes_nothing_but_the_form(several: list[tuple[bytes, bytes]], key: bytes) -> None:
    merged = merge(several)
    assert covers(merged, key) == _within(several, key)
    assert all(low < high for low, high in merged)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(merged))


@given(
    st.lists(st.tuples(st.integers(1, 3), keys, keys), max_size=20), st.dictionaries(st.integers(1, 4), st.lists(keys))
)
def test_touches_is_what_it_says(read: list[tuple[int, bytes, bytes]], written: dict[int, list[bytes]]) -> None:
    builder = ReadSetBuilder(limit=1000)
    for index_id, low, high in read:
        builder.add(index_id, low, high)
    expected = any(i == j and low <= key < high for i, low, high in read for j, ks in written.items() for key in ks)
    assert touches(builder.build(), written) == expected


@given(intervals, intervals, keys)
def test_union_holds_both(a: list[tuple[bytes, bytes]], b: list[tuple[bytes, bytes]], key: bytes) -> None:
    joined = union({7: merge(a)}, {7: merge(b)})
    assert covers(joined.get(7, []), key) == (_within(a, key) or _within(b, key))


def test_limit_counts_what_is_left_after_merging() -> None:
    builder = ReadSetBuilder(limit=10)
    for number in range(1000):
        builder.add_point(1, bytes([0, number % 5]))
    for number in range(100):
        builder.add(2, bytes([number]), bytes([number + 1]))
    with pytest.raises(LimitExceeded, match="at most 10 separate index ranges"):
        for number in range(100):
            builder.add_point(3, bytes([number]))


def test_point_holds_one_key() -> None:
    low, high = point(b"ab")
    assert low <= b"ab" < high
    assert not low <= b"ab\x00" < high
    assert END > b"\xff" * 16
