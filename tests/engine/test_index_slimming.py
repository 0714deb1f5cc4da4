from __future__ import annotations

import contextlib
from pathlib import Path

import lmdb

from nbreactive.engine.catalog import index_id
from nbreactive.engine.row_index import Applied, RowIndex, RowWrite

TABLE = 10_001


def written(index: RowIndex, rounds: int, many: int = 50) -> dict[bytes, bytes]:
    ts, before = index.applied, 0
    docs: dict[bytes, bytes] = {}
    for _ in range(rounds):
        ts += 1
        docs = {n.to_bytes(2, "big") * 8: b"%d" % ts * 300 for n in range(many)}
        index.apply([Applied(ts, [RowWrite(TABLE, id, doc, before) for id, doc in docs.items()])])
        before = ts
    return docs


def held(index: RowIndex) -> dict[bytes, bytes]:
    with index.reader() as reader:
        rows = reader.scan_documents(index_id(TABLE, 0), b"", None, index.applied)
        return {id: doc for _, id, doc, _ in rows}


def test_a_file_that_is_mostly_free_is_written_anew_when_it_is_opened(tmp_path: Path) -> None:
    index = RowIndex.open(tmp_path)
    index.trust()
    docs = written(index, 300)
    applied, file = index.applied, tmp_path / "data.mdb"
    while index.collect(applied) >= 1000:
        pass
    index.close()
    before = file.stat().st_size
    again = RowIndex.open(tmp_path)
    assert again.trusted
    assert (again.applied, held(again)) == (applied, docs)
    assert file.stat().st_size < before / 10
    docs = written(again, 2)
    again.close()
    small = file.stat()
    last = RowIndex.open(tmp_path)
    assert last.trusted and held(last) == docs
    last.close()
    assert file.stat().st_ino == small.st_ino
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.mdb", "lock.mdb", "marker.json"]


def test_pages_that_deletions_have_left_half_empty_are_filled(tmp_path: Path) -> None:
    index = RowIndex.open(tmp_path)
    index.trust()
    docs = written(index, 150, 500)
    while index.collect(index.applied) >= 1000:
        pass
    index.close()
    again = RowIndex.open(tmp_path)
    assert again.trusted and held(again) == docs
    again.close()
    assert (tmp_path / "data.mdb").stat().st_size < 1.5 * sum(map(len, docs.values()))


def test_a_file_of_a_version_that_had_fewer_parts_is_written_anew(tmp_path: Path) -> None:
    index = RowIndex.open(tmp_path)
    index.trust()
    docs = written(index, 300)
    while index.collect(index.applied) >= 1000:
        pass
    index.close()
    before = (tmp_path / "data.mdb").stat().st_size
    with contextlib.closing(lmdb.open(str(tmp_path), max_dbs=8)) as env, env.begin(write=True) as txn:
        txn.drop(env.open_db(b"requests", txn))
    with contextlib.closing(RowIndex.open(tmp_path)) as again:
        assert again.trusted and held(again) == docs
    assert (tmp_path / "data.mdb").stat().st_size < before / 10


def test_a_crash_between_copy_and_marker_leaves_a_file_that_is_not_believed(tmp_path: Path) -> None:
    index = RowIndex.open(tmp_path)
    index.trust()
    written(index, 3)
    index.close()
    copy = (tmp_path / "data.mdb").read_bytes()
    (tmp_path / "copy").write_bytes(copy)
    (tmp_path / "copy").replace(tmp_path / "data.mdb")
    again = RowIndex.open(tmp_path)
    assert not again.trusted and not again.applied
    again.close()
