from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nbreactive.engine.catalog import MODULES
from nbreactive.values import Int64, pack
from tests.columns._support import NOTES, Database, InProcess, open_as_user, plain, read_table, same, types


def check(store: InProcess, db: Database, name: str = "notes", table: int = NOTES) -> None:
    """The typed table equals the documents, and the history has every version."""
    layout = store.applier.layout(name)
    assert layout is not None
    rows = read_table(store.store.connection, layout)
    expected = db.documents(table)
    assert rows.keys() == expected.keys()
    for id, doc in expected.items():
        assert same(plain(rows[id]), plain(doc)), (rows[id], doc)
    latest = {
        (number, id): (ts, doc)
        for number, id, ts, doc in store.sql(
            "SELECT table_number, id, max(ts), arg_max(CASE WHEN deleted THEN 'gone'::BLOB ELSE doc END, ts)"
            " FROM nbreactive.history GROUP BY ALL"
        )
    }
    assert latest == {key: (ts, b"gone" if doc is None else pack(doc)) for key, (ts, doc) in db.versions.items()}


names = st.sampled_from(["a", "A", "b", "select", "rowid", "__x", "ts", "doc", "nbreactive", "x" * 64])
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.integers(-(2**63), 2**63 - 1).map(Int64),
    st.floats(),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.binary(max_size=8),
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=6
)
documents = st.dictionaries(names, values, max_size=5)
writes = st.lists(
    st.tuples(st.just(NOTES), st.integers(0, 6), st.none() | documents | documents), min_size=1, max_size=4
)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(batches=st.lists(st.lists(writes, min_size=1, max_size=3), min_size=1, max_size=5), crash=st.integers(0, 5))
def test_random_documents_are_read_back(batches: list[list[list[tuple[int, int, dict | None]]]], crash: int) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        db, store = Database(), InProcess(folder)
        store.apply(db.define("notes"))
        for number, batch in enumerate(batches):
            store.apply(*[db.commit(*write) for write in batch])
            if number == crash:
                store = store.crash(folder / "crashed")
            store.apply(*db.entries)  # again: nothing happens twice
        check(store, db)
        store.store.close()
    finally:
        shutil.rmtree(folder)


def test_types_widen_with_the_documents(tmp_path: Path) -> None:
    db, store = Database(), InProcess(tmp_path)
    store.apply(db.define("notes"))
    steps = [
        (None, "JSON"),
        (5, "BIGINT"),
        (Int64(2**62), "BIGINT"),
        (2.5, "JSON"),
    ]
    for n, (value, type_) in enumerate(steps):
        store.apply(db.commit((NOTES, n, {"v": value})))
        assert types(store.store.connection, "notes")["v"] == type_
    store.apply(db.commit((NOTES, 10, {"w": 1, "xs": []})))
    store.apply(db.commit((NOTES, 11, {"w": float("nan"), "xs": [1]})))
    assert types(store.store.connection, "notes") == {
        "_id": "VARCHAR", "_creationTime": "DOUBLE", "v": "JSON", "w": "DOUBLE", "xs": "BIGINT[]"
    }  # fmt: skip
    check(store, db)
    store.store.close()


def test_every_type_of_a_validator(tmp_path: Path) -> None:
    def field(fieldtype: dict, optional: bool = False) -> dict:
        return {"fieldType": fieldtype, "optional": optional}

    number = {"type": "number"}
    validator = {
        "type": "object",
        "value": {
            "i": field({"type": "number", "nbreactive": "integer"}),
            "at": field({"type": "number", "nbreactive": "datetime"}),
            "f": field(number),
            "big": field({"type": "bigint"}),
            "s": field({"type": "string"}, optional=True),
            "to": field({"type": "union", "value": [{"type": "id", "tableName": "notes"}, {"type": "null"}]}),
            "b": field({"type": "bytes"}),
            "ok": field({"type": "boolean"}),
            "kind": field({"type": "union", "value": [{"type": "literal", "value": x} for x in ("x", "y")]}),
            "xs": field({"type": "array", "value": number}),
            "o": field(
                {"type": "object", "value": {"x": field(number), "S": field({"type": "string"}, optional=True)}}
            ),
            "m": field({"type": "record", "keys": {"type": "string"}, "values": field(number)}),
            "any": field({"type": "any"}),
        },
    }
    db, store = Database(), InProcess(tmp_path)
    store.apply(db.define("notes", validator=validator))
    expected = {
        "_id": "VARCHAR",
        "_creationTime": "DOUBLE",
        "i": "BIGINT",
        "at": "TIMESTAMP WITH TIME ZONE",
        "f": "DOUBLE",
        "big": "BIGINT",
        "s": "VARCHAR",
        "to": "VARCHAR",
        "b": "BLOB",
        "ok": "BOOLEAN",
        "kind": "VARCHAR",
        "xs": "DOUBLE[]",
        "o": "STRUCT(x DOUBLE, S VARCHAR)",
        "m": "JSON",
        "any": "JSON",
    }
    assert types(store.store.connection, "notes") == expected
    doc = {"i": 5, "at": 1_700_000_000_123, "f": 1, "big": Int64(-(2**63)), "to": None, "b": b"\0\xff", "ok": True,
           "kind": "x", "xs": [1, 2.5], "o": {"x": 1.0}, "m": {"k": 1}, "any": "text"}  # fmt: skip
    store.apply(db.commit((NOTES, 1, doc), (NOTES, 2, doc | {"at": 0.5, "s": "é\0😀", "o": {"x": 1, "S": "s"}})))
    assert types(store.store.connection, "notes") == expected | {"any": "VARCHAR"}
    check(store, db)
    assert store.sql('SELECT epoch_ms("at"), o.x, xs[2] FROM notes ORDER BY _creationTime LIMIT 1') == [
        (1_700_000_000_123, 1.0, 2.5)
    ]
    # What a declared column cannot hold changes no type: it is in _rest
    store.apply(db.commit((NOTES, 3, doc | {"i": "not a number", "o": {"x": 1, "more": 2}})))
    assert types(store.store.connection, "notes") == expected | {"any": "VARCHAR", "_rest": "JSON"}
    check(store, db)
    store.store.close()


def test_schema_changes(tmp_path: Path) -> None:
    def declared(**fields: str) -> dict:
        value = {name: {"fieldType": {"type": kind}, "optional": True} for name, kind in fields.items()}
        return {"type": "object", "value": value}

    db, store = Database(), InProcess(tmp_path)
    store.apply(db.define("notes"), db.commit((NOTES, 1, {"a": 1, "b": "x"}), (NOTES, 2, {"a": 2})))
    for validator, expected in [
        (declared(a="number", b="string"), {"a": "DOUBLE", "b": "VARCHAR"}),
        (declared(a="number", b="string", c="bytes"), {"a": "DOUBLE", "b": "VARCHAR", "c": "BLOB"}),
        (declared(a="string", b="string"), {"a": "VARCHAR", "b": "VARCHAR", "_rest": "JSON"}),
        (declared(b="string"), {"b": "VARCHAR", "a": "BIGINT"}),
        (None, {"b": "VARCHAR", "a": "BIGINT"}),
    ]:
        store.apply(db.define("notes", validator=validator))
        found = types(store.store.connection, "notes")
        assert found == {"_id": "VARCHAR", "_creationTime": "DOUBLE"} | expected
        check(store, db)
    store.apply(db.define("papers"))
    assert store.applier.layout("notes") is None
    check(store, db, "papers")
    store.store.close()


def test_names_that_collide(tmp_path: Path) -> None:
    db, store = Database(), InProcess(tmp_path)
    tables = ["history", "History", "select", "nbreactive", "duckdb_tables", "sqlite_master", "store", "a_2", "A", "a"]
    for number, name in enumerate(tables, NOTES):
        store.apply(
            db.define(name, number), db.commit((number, 1, {"name": 1, "Name": "x", "name_2": None, "FROM": 2}))
        )
    for number, name in enumerate(tables, NOTES):
        check(store, db, name, number)
    shown = {name: store.applier.layout(name).name for name in tables}  # type: ignore[union-attr]
    assert shown["history"] == "history"
    assert shown["History"] == "History_2"
    assert shown["duckdb_tables"] == "duckdb_tables_2"
    assert (shown["A"], shown["a"]) == ("A", "a_3")
    store.store.close()
    with open_as_user(tmp_path) as connection:
        assert connection.sql('SELECT name, "Name_2", "FROM" FROM history').fetchall() == [(1, "x", 2)]
        assert {name for (name,) in connection.sql("SHOW TABLES").fetchall()} == set(shown.values())


def test_tables_that_are_removed_or_not_for_sql(tmp_path: Path) -> None:
    db, store = Database(), InProcess(tmp_path)
    store.apply(db.define("notes"), db.define("presence", NOTES + 1, ephemeral=True))
    store.apply(db.commit((NOTES, 1, {"a": 1}), (NOTES + 1, 1, {"a": 1}), (MODULES, 5, {"name": "m"})))
    assert store.sql("SHOW TABLES") == [("notes",)]
    assert store.applier.layout("presence") is None
    store.apply(db.commit((1, NOTES, None), (NOTES, 1, None)))
    assert store.sql("SHOW TABLES") == []
    # The same name again is another table
    store.apply(db.define("notes", NOTES + 2), db.commit((NOTES + 2, 9, {"b": 1})))
    check(store, db, "notes", NOTES + 2)
    store.store.close()


def test_wide_documents_keep_the_overflow_in_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbreactive.columns.schema.MAX_INFERRED", 5)
    db, store = Database(), InProcess(tmp_path)
    store.apply(db.define("notes"))
    for n in range(4):
        store.apply(db.commit((NOTES, n, {f"f{n}_{i}": i for i in range(4)})))
    assert len(types(store.store.connection, "notes")) == 2 + 5 + 1
    check(store, db)
    store.store.close()


def test_writing_anew_goes_page_by_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbreactive.columns.apply.PAGE", 7)
    db, store = Database(), InProcess(tmp_path)
    store.apply(db.define("notes"), db.commit(*[(NOTES, n, {"a": n, "b": [n]}) for n in range(50)]))
    store.apply(db.commit((NOTES, 3, {"a": "x"}), (NOTES, 4, None)))
    assert types(store.store.connection, "notes")["a"] == "JSON"
    check(store, db)
    store.store.close()


def test_a_failing_transaction_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    db, store = Database(), InProcess(tmp_path)
    store.apply(db.define("notes"), db.commit((NOTES, 1, {"a": 1})))
    before = store.sql("SELECT * FROM nbreactive.history")
    bad = db.commit((NOTES, 1, {"a": "wider"}), (NOTES, 2, {"new": 1}))
    with monkeypatch.context() as patch:

        def fail(*_: object) -> None:
            raise OSError("no space left on device")

        patch.setattr(store.applier, "_record", fail)
        with pytest.raises(OSError, match="no space"):
            store.apply(bad)
    assert store.sql("SELECT * FROM nbreactive.history") == before
    assert types(store.store.connection, "notes")["a"] == "BIGINT"
    store.apply(bad)
    check(store, db)
    store.store.close()


def test_what_somebody_did_to_the_tables_is_mended(tmp_path: Path) -> None:
    db, store = Database(), InProcess(tmp_path)
    store.apply(db.define("notes"), db.commit((NOTES, 1, {"a": 1})), db.define("b", NOTES + 1))
    store.sql("DROP TABLE notes")
    store.sql("CREATE VIEW notes AS SELECT 1 AS one")
    store.sql("ALTER TABLE b ADD COLUMN mine INT")
    store.sql("CREATE TABLE mine (a INT)")
    store.store.close()
    store = InProcess(tmp_path)
    check(store, db)
    check(store, db, "b", NOTES + 1)
    store.apply(db.define("mine", NOTES + 2), db.commit((NOTES + 2, 1, {"a": 1})))
    assert store.applier.layout("mine").name == "mine_2"  # type: ignore[union-attr]
    store.store.close()


def test_many_random_updates(tmp_path: Path) -> None:
    rng = random.Random(5)
    db, store = Database(), InProcess(tmp_path)
    store.apply(db.define("notes"))
    for _ in range(30):
        entries = [
            db.commit(*[
                (NOTES, rng.randrange(200), rng.choice([None, {"n": rng.randrange(9), "s": str(rng.random())}]))
                for _ in range(rng.randrange(1, 8))
            ])
            for _ in range(rng.randrange(1, 10))
        ]  # fmt: skip
        store.apply(*entries)
    check(store, db)
    store.store.close()
