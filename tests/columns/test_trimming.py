from __future__ import annotations

import asyncio
import random
from pathlib import Path

import duckdb
import pytest

from nbreactive.columns import trimming
from nbreactive.columns._frames import Open
from nbreactive.columns.database import Store
from nbreactive.columns.inspection import inspect
from nbreactive.columns.supervisor import Columns
from nbreactive.columns.trimming import trim, wasteful
from nbreactive.engine.fingerprint import of_documents, texts
from tests.columns._support import NOTES, Database, InProcess

VERSIONS = "SELECT ts, table_number, id, doc, deleted FROM nbreactive.history ORDER BY ts, table_number, id"


def states(db: Database, upto: int) -> dict[tuple[int, bytes], tuple[int, bytes | None]]:
    """The newest versions at a timestamp, deletions included."""
    found: dict[tuple[int, bytes], tuple[int, bytes | None]] = {}
    for entry in db.entries:
        if entry.ts <= upto:
            for write in entry.writes:
                found[write.table, write.id] = (entry.ts, write.doc)
    return found


def expected(db: Database, horizon: int) -> list[tuple[object, ...]]:
    kept = {(table, id): ts for (table, id), (ts, doc) in states(db, horizon).items() if doc is not None}
    return sorted(
        (entry.ts, write.table, write.id, write.doc, write.doc is None)
        for entry in db.entries
        for write in entry.writes
        if entry.ts > horizon or kept.get((write.table, write.id)) == entry.ts
    )


def busy(seed: int, rounds: int) -> Database:
    db, choose = Database(), random.Random(seed)
    db.define("notes")
    for _ in range(rounds):
        db.commit(
            *(
                (NOTES, n, None if choose.random() < 0.2 else {"x": choose.random()})
                for n in choose.sample(range(30), 5)
            )
        )
    return db


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95, 1.0])
def test_what_was_replaced_or_deleted_by_the_horizon_goes_and_nothing_else(tmp_path: Path, share: float) -> None:
    db = busy(int(share * 100), 80)
    open_ = InProcess(tmp_path)
    open_.apply(*db.entries)
    horizon = db.entries[int(len(db.entries) * share) - 1].ts
    before = len(open_.sql(VERSIONS))
    assert trim(open_.store.connection, horizon) == before - len(expected(db, horizon))
    assert sorted(open_.sql(VERSIONS)) == expected(db, horizon)
    assert trim(open_.store.connection, horizon) == 0
    db.commit((NOTES, 3, {"x": 7.0}), (NOTES, 4, None))
    open_.apply(db.entries[-1])
    open_.store.close()
    again = InProcess(tmp_path)
    assert sorted(again.sql(VERSIONS)) == expected(db, horizon)
    assert len(again.sql("SELECT * FROM notes")) == len(db.documents())
    again.store.close()


def test_the_file_becomes_short_and_keeps_what_others_made_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trimming, "_WORTHWHILE", 1 << 20)
    db, choose = Database(), random.Random(1)
    db.define("notes")
    for _ in range(12):
        db.commit(*((NOTES, n, {"x": choose.randbytes(4000).hex()}) for n in range(250)))
    open_ = InProcess(tmp_path)
    open_.apply(*db.entries)
    open_.sql("CREATE TABLE mine AS SELECT 42 AS answer; CREATE VIEW seen AS SELECT answer FROM mine")
    file = tmp_path / "store.duckdb"
    open_.sql("CHECKPOINT")
    before = file.stat().st_size
    assert trim(open_.store.connection, db.ts) == 11 * 250
    assert wasteful(open_.store.connection) or file.stat().st_size < before / 3
    open_.store.close()
    store = Store(Open(str(file), "256MB", 1, rewrite=True))
    assert not store.set_aside and store.applied == db.ts
    assert file.stat().st_size < before / 3
    assert store.connection.execute("SELECT answer FROM seen").fetchall() == [(42,)]
    assert store.connection.execute("SELECT count(*) FROM notes").fetchall() == [(250,)]
    assert sorted(store.connection.execute(VERSIONS).fetchall()) == expected(db, db.ts)
    store.close()
    assert [path.name for path in tmp_path.iterdir()] == ["store.duckdb"]


def test_a_rewrite_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    db = busy(3, 5)
    open_ = InProcess(tmp_path)
    open_.apply(*db.entries)
    open_.store.close()

    def full(path: Path) -> None:
        raise OSError(28, "no space")

    monkeypatch.setattr(trimming, "_sync", full)
    store = Store(Open(str(tmp_path / "store.duckdb"), "256MB", 1, rewrite=True))
    assert store.applied == db.ts and not store.set_aside
    store.close()


def test_a_store_that_ends_before_what_the_log_has_dropped_begins_anew(tmp_path: Path) -> None:
    db = busy(4, 20)
    open_ = InProcess(tmp_path)
    open_.apply(*db.entries[:10])
    open_.store.close()
    store = Store(Open(str(tmp_path / "store.duckdb"), "256MB", 1, horizon=db.entries[9].ts))
    assert store.applied == db.entries[9].ts and not store.set_aside
    store.close()
    store = Store(Open(str(tmp_path / "store.duckdb"), "256MB", 1, horizon=db.entries[9].ts + 1))
    assert store.applied == 0 and store.set_aside
    store.close()


def test_the_process_trims_rewrites_and_goes_on_applying(tmp_path: Path) -> None:
    db, choose = Database(), random.Random(1)
    db.define("notes")
    for _ in range(30):
        db.commit(*((NOTES, n, {"x": choose.randbytes(4000).hex()}) for n in range(250)))

    async def go() -> None:
        columns = Columns(tmp_path, read_log=db.read_log, memory_limit="256MB")
        await columns.start(tail=db.ts)
        await columns.wait(db.ts)
        assert await columns.trim(db.ts) == 29 * 250
        horizon = db.ts
        for _ in range(3):
            await columns.feed([db.commit((NOTES, 1, {"x": "new"}))])
        await columns.wait(db.ts)
        found = await columns.inspect(horizon)
        stored = [(number, id, ts, doc) for (number, id), (ts, doc) in states(db, horizon).items() if doc is not None]
        assert found.tables == texts(of_documents(stored))
        assert (found.at, found.applied) == (horizon, db.ts)
        assert found.rows[NOTES] == found.expected[NOTES] == 250
        await columns.close()

    asyncio.run(go())
    with duckdb.connect(str(tmp_path / "store.duckdb"), read_only=True) as connection:
        assert len(connection.execute(VERSIONS).fetchall()) == 251 + 3
        assert inspect(connection, db.ts).rows[NOTES] == 250
    assert (tmp_path / "store.duckdb").stat().st_size < 12 << 20
