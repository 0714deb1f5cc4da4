from __future__ import annotations

from pathlib import Path

from nbreactive.engine.catalog import index_id
from nbreactive.engine.row_index import Applied, RowIndex, RowWrite

TABLE = 10_001


def written(index: RowIndex, rounds: int) -> dict[bytes, bytes]:
    ts, before = index.applied, 0
    docs: dict[bytes, bytes] = {}
    for _ in range(rounds):
        ts += 1
        docs = {bytes([n]) * 16: b"%d" % ts * 300 for n in range(50)}
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
