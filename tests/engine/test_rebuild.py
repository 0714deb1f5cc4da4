from __future__ import annotations

import random
from pathlib import Path

import pytest

from nbreactive.engine import _rebuild
from nbreactive.engine.row_index import Applied, RowIndex, RowWrite
from nbreactive.errors import DataFolderError
from tests.engine._row_keys_of import keys_of

KEYS = "tests.engine._row_keys_of:keys_of"


def documents(count: int) -> list[_rebuild.Document]:
    choose = random.Random(count)
    texts = [b"a", b"b", b"c" * 395, b"d" * 450 + b"1", b"d" * 450 + b"2", b"e" * 300]
    ids = [number.to_bytes(16, "big") for number in range(count)]
    choose.shuffle(ids)
    return [
        (choose.choice([1, 10_001, 10_002]), id, n + 1, choose.choice(texts) + b"|%d" % n) for n, id in enumerate(ids)
    ]


def everything(index: RowIndex, ts: int, documents: list[_rebuild.Document]) -> list[object]:
    found: list[object] = []
    with index.reader() as reader:
        for table in (1, 10_001, 10_002):
            for slot in range(3):
                found.append(list(reader.scan(table << 8 | slot, b"", None, ts)))
                found.append(list(reader.scan(table << 8 | slot, b"", None, ts, reverse=True)))
        for table, id, _, doc in documents:
            found.append(reader.document(table, id, ts))
            found += [reader.count(counter, ts) for counter in keys_of(b"*")(table, id, doc)[1]]
    return found


@pytest.mark.parametrize("processes", [0, 2])
def test_a_rebuilt_index_equals_the_one_that_was_applied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    monkeypatch.setattr(_rebuild, "BLOCK", 100)
    docs = documents(1234)
    one, two = RowIndex.open(tmp_path / "one"), RowIndex.open(tmp_path / "two")
    for table, id, version, doc in docs:
        keys, counters = keys_of(b"*")(table, id, doc)
        one.apply([Applied(version, [RowWrite(table, id, doc, 0, keys, (), [(counter, 1) for counter in counters])])])
    two.apply([Applied(7, [RowWrite(5, b"x" * 16, b"of before")])])
    seen: list[tuple[bytes, bytes]] = []

    def state(reader: object) -> bytes:
        seen.extend(two.reader().scan(1 << 8, b"", None, 1234))
        return b"*"

    chunks = (docs[start : start + 70] for start in range(0, len(docs), 70))
    two.rebuild(chunks, applied=1234, keys=KEYS, state=state, epoch=9, processes=processes)
    assert len(seen) == sum(table == 1 for table, *_ in docs)
    assert everything(one, 1234, docs) == everything(two, 1234, docs)
    assert (two.applied, two.highest, two.horizon, two.log_position, two.epoch) == (1234, 1234, 1234, 0, 9)
    assert two.trusted
    with two.reader() as reader:
        assert reader.document(5, b"x" * 16, 1234) is None
    for index in (one, two):  # and both go on alike
        table, id, version, doc = docs[3]
        keys, counters = keys_of(b"*")(table, id, doc)
        index.apply([Applied(1300, [RowWrite(table, id, None, version, (), keys, [(key, -1) for key in counters])])])
        index.collect(1300)
    assert everything(one, 1300, docs) == everything(two, 1300, docs)
    one.close()
    two.close()


def test_nothing_is_rebuilt_from_nothing(tmp_path: Path) -> None:
    index = RowIndex.open(tmp_path)
    index.rebuild([], applied=0, keys=KEYS)
    assert index.trusted
    assert index.applied == 0
    index.close()


def test_a_key_process_that_dies_is_reported_and_the_index_stays_untrusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_rebuild, "BLOCK", 100)
    index = RowIndex.open(tmp_path)
    with pytest.raises(DataFolderError, match="exit code 3"):
        index.rebuild([documents(500)], applied=500, keys=KEYS, state=lambda _: b"crash")
    assert not index.trusted
    index.close()
    index = RowIndex.open(tmp_path)
    assert not index.trusted
    assert index.applied == 0
    index.close()
