from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nbreactive.engine.changes import ChangeList, Touch
from nbreactive.engine.read_set import covers, merge

keys = st.binary(min_size=1, max_size=2)
commits = st.lists(st.dictionaries(st.integers(1, 3), st.lists(keys, min_size=1, max_size=3), max_size=3), max_size=15)
reads = st.dictionaries(st.integers(1, 4), st.lists(st.tuples(keys, keys), max_size=4))


@given(commits, st.integers(0, 20), st.integers(0, 20), st.integers(0, 40), reads)
def test_first_touch_agrees_with_a_list(
    several: list[dict[int, list[bytes]]],
    trimmed: int,
    rewound: int,
    since: int,
    read: dict[int, list[tuple[bytes, bytes]]],
) -> None:
    changes = ChangeList(0)
    model: list[tuple[int, dict[int, list[bytes]]]] = []
    for number, touched in enumerate(several, 1):
        changes.add(2 * number, touched)
        model.append((2 * number, touched))
    changes.trim(trimmed)
    changes.rewind(max(changes.start, 2 * rewound))
    changes.add(100, {1: [b"z"]})
    model = [(ts, touched) for ts, touched in model if trimmed < ts <= max(changes.start, 2 * rewound)]
    model.append((100, {1: [b"z"]}))
    since = max(since, changes.start)
    merged = {index_id: merge(several) for index_id, several in read.items()}
    found = changes.first_touch(merged, since)
    hits = [
        (ts, index_id, key)
        for ts, touched in model
        if ts > since
        for index_id, written in touched.items()
        for key in written
        if index_id in merged and covers(merged[index_id], key)
    ]
    if not hits:
        assert found is None
    else:
        assert isinstance(found, Touch)
        assert found.ts == hits[0][0]
        assert tuple(found) in hits
    for index_id in (1, 2, 3):
        expected = [key for ts, touched in model if ts > since for key in touched.get(index_id, ())]
        assert changes.keys_since(index_id, since) == expected


def test_bytes_are_bounded_and_what_is_gone_moves_the_start() -> None:
    changes = ChangeList(0, max_bytes=10_000)
    for ts in range(1, 1001):
        changes.add(ts, {1: [b"k" * 100], 2: [b"%d" % ts]})
    assert changes._bytes <= 10_000
    assert changes.start > 900
    assert changes.keys_since(2, changes.start) == [b"%d" % ts for ts in range(changes.start + 1, 1001)]
    assert len(changes._columns[1].stamps) < 300
    changes.trim(1000)
    assert not changes._columns
    assert changes._bytes == 0
