"""Rows in order against a sorted list."""

from __future__ import annotations

import bisect
import os
import random
from pathlib import Path

import pyarrow as pa
import pytest

from nbreactive.columns.live import rows as rows_module
from nbreactive.columns.live.rows import KEY, Astray, SortedRows


def table(keys: list[bytes]) -> pa.Table:
    return pa.table({KEY: pa.array(keys, pa.binary()), "n": pa.array([int(key) for key in keys], pa.int64())})


@pytest.mark.parametrize("seed", range(8))
def test_windows_are_those_of_a_sorted_list(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(rows_module, "_IN_MEMORY", chance.choice([0, 16 << 20]))
    model = sorted(b"%05d" % number for number in chance.sample(range(10_000), chance.choice([0, 5, 400])))
    rows = SortedRows(table(model), folder=tmp_path)
    for _ in range(150):
        gone = chance.sample(model, min(len(model), chance.randrange(3)))
        added = [
            key for key in {b"%05d" % chance.randrange(10_000) for _ in range(chance.randrange(4))} if key not in model
        ]
        if gone and chance.random() < 0.3:
            added.append(gone[0])  # changed in place
        rows.change(gone, table(added))
        for key in gone:
            model.remove(key)
        for key in added:
            bisect.insort(model, key)
        assert rows.total == len(model)
        offset, limit = chance.randrange(len(model) + 3), chance.choice([None, 0, 1, 7, 1000])
        wanted = model[offset:] if limit is None else model[offset : offset + limit]
        assert rows.window(offset, limit)["n"].to_pylist() == [int(key) for key in wanted]
    assert os.name != "posix" or list(tmp_path.iterdir()) == [], "files have no name"


def test_a_row_that_was_not_there_is_told() -> None:
    rows = SortedRows(table([b"00001", b"00003"]))
    for key in (b"00000", b"00002", b"00009"):
        with pytest.raises(Astray):
            rows.change([key], None)
    rows.change([b"00001"], None)
    with pytest.raises(Astray):
        rows.change([b"00001"], None)


def test_rows_after_those_that_are_known_are_left_out() -> None:
    rows = SortedRows(table([b"00001", b"00005"]), whole=False)
    rows.change([b"00009"], table([b"00003", b"00007"]))
    assert rows.window()["n"].to_pylist() == [1, 3, 5]
