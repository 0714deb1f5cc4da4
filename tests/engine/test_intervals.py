from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from nbreactive.engine.intervals import IntervalMap, ReadSetMap

keys = st.binary(max_size=2)
steps = st.lists(st.tuples(st.booleans(), keys, keys, st.integers(0, 3)), max_size=60)


@given(steps, st.lists(keys, min_size=1, max_size=8))
def test_map_agrees_with_a_list(several: list[tuple[bool, bytes, bytes, int]], probes: list[bytes]) -> None:
    real: IntervalMap[int] = IntervalMap()
    model: set[tuple[bytes, bytes, int]] = set()
    for add, low, high, owner in several:
        if low >= high:
            high = low + b"\x00"
        if add:
            real.add(low, high, owner)
            model.add((low, high, owner))
        elif model:
            low, high, owner = sorted(model)[len(low) % len(model)]
            real.remove(low, high, owner)
            model.discard((low, high, owner))
        else:
            real.remove(low, high, owner)
        for key in probes:
            found = sorted(real.stab(key))
            assert found == sorted(owner for low, high, owner in model if low <= key < high)
    assert bool(real) == bool(model)


def test_equal_intervals_share_a_node_and_vanish_with_their_last_owner() -> None:
    real: IntervalMap[int] = IntervalMap()
    for owner in range(1000):
        real.add(b"a", b"c", owner)
    assert real._root is not None
    assert real._root.left is None
    assert real._root.right is None
    assert list(real.stab(b"b")) == list(range(1000))
    for owner in range(1000):
        real.remove(b"a", b"c", owner)
    assert not real


def test_lookup_among_many_ranges_visits_few_nodes() -> None:
    real: IntervalMap[int] = IntervalMap()
    numbers = list(range(10_000))
    random.Random(1).shuffle(numbers)
    for number in numbers:
        key = b"%08d" % number
        real.add(key, key + b"\xff", number)

    def depth(node: object) -> int:
        return 0 if node is None else 1 + max(depth(node.left), depth(node.right))  # type: ignore[attr-defined]

    assert depth(real._root) < 60
    assert list(real.stab(b"00005000\x01")) == [5000]


def test_read_sets_are_found_once_and_forgotten_whole() -> None:
    real: ReadSetMap[str] = ReadSetMap()
    reads = {1: [(b"a", b"b"), (b"c", b"d")], 2: [(b"x", b"x\x00")]}
    real.add(reads, "one")
    real.add({1: [(b"a", b"z")]}, "two")
    assert sorted(real.touched({1: [b"a", b"c"], 2: [b"x"], 3: [b"a"]})) == ["one", "two"]
    assert list(real.touched({2: [b"y"]})) == []
    real.remove(reads, "one")
    assert list(real.touched({1: [b"a"], 2: [b"x"]})) == ["two"]
    real.remove({1: [(b"a", b"z")]}, "two")
    assert not real._maps
