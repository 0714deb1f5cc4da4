from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from nbreactive.engine import _index_builder, _rebuild
from nbreactive.engine._index_builder import Document, Part
from nbreactive.engine.catalog import TABLES, Catalog, IndexInfo, TableInfo, index_id, table_document
from nbreactive.engine.postings import entries_of
from nbreactive.engine.row_index import Applied, RowIndex, RowWrite
from nbreactive.errors import DataFolderError
from nbreactive.values import Int64
from nbreactive.values.packing import pack, unpack
from tests.engine.document_parts import parts

PLAIN, OTHER, UNKNOWN = 10_001, 10_002, 10_009
TEXTS = [
    "a",
    "b",
    "",
    "c" * 395,
    "d" * 450 + "1",
    "d" * 450 + "2",
    "e\0\1",
    "two words, two",
    "검색 엔진",
    None,
    5,
    5.0,
    -0.0,
    True,
    Int64(5),
    [1],
]


def described(number: int, name: str, *indexes: tuple[str, ...]) -> Document:
    infos = [IndexInfo(index_id(number, 2 + n), f"by_{n}", 2 + n, fields) for n, fields in enumerate(indexes)]
    if indexes:
        slot = 2 + len(infos)
        found_by = ("number", "inside.deep")
        infos.append(
            IndexInfo(index_id(number, slot), "words", slot, ("text",), kind="text", filter_fields=found_by),
        )
    doc = table_document(name, number, 1.0, indexes=infos, next_slot=3 + len(indexes))
    return TABLES, number.to_bytes(16, "big"), number - 10_000, pack(doc)


def documents(count: int) -> list[Document]:
    choose = random.Random(count)
    ids = [number.to_bytes(16, "big") for number in range(count)]
    choose.shuffle(ids)
    described_tables = [
        described(PLAIN, "plain", ("text",), ("number", "text"), ("inside.deep", "missing"), ("number",)),
        described(OTHER, "other"),
    ]
    found = described_tables.copy()
    for n, id in enumerate(ids):
        doc: dict[str, Any] = {"number": float(n % 7), "_creationTime": float(n)}
        if choose.random() < 0.8:
            doc["text"] = choose.choice(TEXTS) if n > count // 2 else choose.choice("xyz")
        if choose.random() < 0.8:
            doc["inside"] = choose.choice([{"deep": n % 3}, {"deep": {"er": 1}}, {}, 7])
        found.append((choose.choice([PLAIN, PLAIN, OTHER, UNKNOWN]), id, n + 10, pack(doc)))
    return found


def entries(table: TableInfo | None, doc: bytes, id: bytes) -> tuple[list[tuple[int, bytes]], list[bytes]]:
    """Entries and counters of a document, text included."""
    if table is None:
        return [], []
    keys, counters = table.entries(unpack(doc), id)
    for index in table.text:
        more, counts = entries_of(index, unpack(doc), id)
        keys, counters = [*keys, *more], [*counters, *counts]
    return keys, counters


def catalog_of(documents: Sequence[Document]) -> Catalog:
    return Catalog().changed((id, doc) for table, id, _, doc in documents if table == TABLES)


def everything(index: RowIndex, ts: int, documents: Sequence[Document]) -> list[object]:
    catalog = catalog_of(documents)
    found: list[object] = []
    with index.reader() as reader:
        for table in catalog.by_number.values():
            for info in table.indexes:
                found.append(list(reader.scan(info.id, b"", None, ts)))
                found.append(list(reader.scan(info.id, b"", None, ts, reverse=True)))
        for table, id, _, doc in documents:
            found.append(reader.document(table, id, ts))
            info = catalog.number(table)
            if info is not None:
                found += [reader.count(counter, ts) for counter in entries(info, doc, id)[1]]
    return found


def applied(folder: Path, documents: Sequence[Document]) -> RowIndex:
    """An index that came to be commit by commit."""
    index, catalog = RowIndex.open(folder), catalog_of(documents)
    for table, id, version, doc in documents:
        info = catalog.number(table)
        keys, counters = entries(info, doc, id)
        index.apply([Applied(version, [RowWrite(table, id, doc, 0, keys, (), [(counter, 1) for counter in counters])])])
    return index


@pytest.mark.parametrize("few", [100, 10_000], ids=["processes", "inside"])
@pytest.mark.parametrize("held", [20_000, 1 << 30], ids=["early", "late"])
def test_a_rebuilt_index_equals_the_one_that_was_applied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int, held: int
) -> None:
    monkeypatch.setattr(_index_builder, "BLOCK", 100)
    monkeypatch.setattr(_index_builder, "HELD", held)
    monkeypatch.setattr(_rebuild, "FEW", few)
    docs = documents(1234)
    one, two = applied(tmp_path / "one", docs), RowIndex.open(tmp_path / "two")
    two.apply([Applied(7, [RowWrite(5, b"x" * 16, b"of before")])])
    two.rebuild(parts(docs), applied=2000, epoch=9)
    assert everything(one, 2000, docs) == everything(two, 2000, docs)
    assert (two.applied, two.highest, two.horizon, two.log_position, two.epoch) == (2000, 2000, 2000, 0, 9)
    assert two.trusted
    with two.reader() as reader:
        assert reader.document(5, b"x" * 16, 2000) is None
    table, id, version, doc = next(found for found in docs if found[0] == PLAIN)
    info = catalog_of(docs).number(PLAIN)
    assert info is not None
    keys, counters = entries(info, doc, id)
    for index in (one, two):  # and both go on alike
        index.apply([Applied(2300, [RowWrite(table, id, None, version, (), keys, [(key, -1) for key in counters])])])
        index.collect(2300)
    assert everything(one, 2300, docs) == everything(two, 2300, docs)
    one.close()
    two.close()


def test_nothing_is_rebuilt_from_nothing(tmp_path: Path) -> None:
    index = RowIndex.open(tmp_path)
    index.rebuild([], applied=0)
    assert index.trusted
    assert index.applied == 0
    index.close()


def test_a_building_process_that_dies_is_reported_and_the_index_stays_untrusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_rebuild, "FEW", 100)
    damaged = [*documents(500), (PLAIN, b"x" * 16, 600, b"\xc1")]
    index = RowIndex.open(tmp_path)
    with pytest.raises(DataFolderError, match="exit code 1"):
        index.rebuild(parts(damaged), applied=1000)
    assert not index.trusted
    assert "MessagePack" in capfd.readouterr().err
    index.close()
    index = RowIndex.open(tmp_path)
    assert not index.trusted
    assert index.applied == 0
    index.close()


def test_a_source_that_breaks_off_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_rebuild, "FEW", 100)
    docs = documents(500)

    def broken() -> Iterator[Part]:
        yield from parts(docs[:300])
        raise ConnectionError

    index = RowIndex.open(tmp_path / "two")
    with pytest.raises(ConnectionError):
        index.rebuild(broken(), applied=1000)
    assert not index.trusted
    index.rebuild(parts(docs), applied=1000)  # it is asked again
    one = applied(tmp_path / "one", docs)
    assert everything(one, 1000, docs) == everything(index, 1000, docs)
    index.close()
    one.close()
