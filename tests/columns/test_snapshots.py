"""Tables as of any timestamp, with writes on top: whatever was committed since, they are what a model says."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nbreactive.columns.schema import Layout
from nbreactive.columns.snapshots import Snapshot
from nbreactive.engine.catalog import FIRST_USER_TABLE
from nbreactive.engine.transactions import Write
from nbreactive.values import encode_id, pack, unpack
from tests.columns._support import Database, InProcess, internal, plain, read_rows, same

TABLES = [FIRST_USER_TABLE, FIRST_USER_TABLE + 1]
NAMES = ["notes", "Others"]
FIELDS: dict[str, Any] = {
    "type": "object",
    "value": {
        "n": {"fieldType": {"type": "number"}, "optional": True},
        "s": {"fieldType": {"type": "string"}, "optional": True},
    },
}

values = st.one_of(
    st.none(),
    st.integers(-3, 3),
    st.sampled_from([0.5, -1.5]),
    st.sampled_from(["x", ""]),
    st.booleans(),
    st.lists(st.integers(0, 2), max_size=2),
    st.fixed_dictionaries({"a": st.integers(0, 1)}),
)
documents = st.dictionaries(st.sampled_from(["n", "s", "extra", "N"]), values, max_size=3)
writes = st.lists(
    st.tuples(st.sampled_from(TABLES), st.integers(1, 12), st.one_of(st.none(), documents)), min_size=1, max_size=5
)
steps = st.one_of(
    st.tuples(st.just("write"), writes),
    st.tuples(st.just("apply"), st.none()),
    st.tuples(st.just("define"), st.tuples(st.sampled_from(TABLES), st.sampled_from([None, FIELDS]))),
    st.tuples(st.just("drop"), st.sampled_from(TABLES)),
)


class Model:
    """What was true when."""

    def __init__(self) -> None:
        self.database = Database()
        self.tables: dict[int, str] = {}
        self.then: dict[int, tuple[dict[int, str], dict[tuple[int, bytes], dict[str, Any] | None]]] = {}
        for number, name in zip(TABLES, NAMES, strict=True):
            self.define(number, None, name)

    def define(self, number: int, validator: Any, name: str | None = None) -> None:
        self.tables[number] = name or NAMES[TABLES.index(number)]
        self.database.define(self.tables[number], number, validator=validator)
        self.note()

    def drop(self, number: int) -> None:
        if self.tables.pop(number, None) is not None:
            gone = [(number, n, None) for n in range(1, 13)]
            self.database.commit((1, number, None), *gone)
            self.note()

    def write(self, changes: Any) -> None:
        self.database.commit(*[change for change in changes if change[0] in self.tables])
        self.note()

    def note(self) -> None:
        documents = {key: doc for key, (_, doc) in self.database.versions.items()}
        self.then[self.database.ts] = (dict(self.tables), documents)


def own_writes(changes: Any) -> list[Write]:
    last = {(table, n): doc for table, n, doc in changes}
    return [
        Write(table, internal(n), None if doc is None else pack({"_creationTime": float(n), **doc}))
        for (table, n), doc in last.items()
    ]


def check(store: InProcess, model: Model, at: int, own: list[Write]) -> None:
    tables, documents = model.then[at]
    cursor = store.store.cursor()
    cursor.execute("BEGIN TRANSACTION READ ONLY")
    snapshot = Snapshot(cursor, at, own)
    assert {layout.table for layout in snapshot.tables.values()} == set(tables.values())
    layouts: dict[int, Layout] = {layout.number: layout for layout in snapshot.tables.values()}
    for number in tables:
        expected = {
            str(encode_id(number, id)): doc for (of, id), doc in documents.items() if of == number and doc is not None
        }
        for write in own:
            if write.table == number:
                id = str(encode_id(number, write.id))
                expected.pop(id, None)
                if write.doc is not None:
                    expected[id] = unpack(write.doc)
        layout = snapshot.use(layouts[number])
        found = read_rows(cursor, layout, f'"{layout.name}"')
        assert found.keys() == expected.keys()
        for id, doc in expected.items():
            assert same(plain(found[id]), plain(doc)), (found[id], doc)
    cursor.close()


@given(st.lists(steps, min_size=1, max_size=12), st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_timestamp_with_any_writes_on_top(plan: list[Any], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = InProcess(Path(folder))
        model = Model()
        for what, argument in plan:
            if what == "write":
                model.write(argument)
            elif what == "define":
                model.define(*argument)
            elif what == "drop":
                model.drop(argument)
            else:
                store.apply(*model.database.entries)
        store.apply(*model.database.entries)
        moments = sorted(model.then)
        for _ in range(3):
            at = data.draw(st.sampled_from(moments))
            changes = data.draw(st.one_of(st.just([]), writes))
            there = model.then[at][0]
            check(store, model, at, own_writes([change for change in changes if change[0] in there]))
        check(store, model, moments[-1], [])
        store.store.connection.close()


@pytest.mark.parametrize("many", [1, 31, 5000])
def test_many_rows_that_differ(tmp_path: Path, many: int) -> None:
    store, model = InProcess(tmp_path), Model()
    model.write([(TABLES[0], n, {"n": n}) for n in range(1, 6000)])
    then = model.database.ts
    model.write([(TABLES[0], n, {"n": -n} if n % 2 else None) for n in range(1, many + 1)])
    store.apply(*model.database.entries)
    check(store, model, then, [])
    check(store, model, model.database.ts, [])
    check(store, model, then, own_writes([(TABLES[0], n, {"n": "text"}) for n in range(1, 4)]))


def test_a_table_that_a_mutation_has_made(tmp_path: Path) -> None:
    store, model = InProcess(tmp_path), Model()
    store.apply(*model.database.entries)
    number = TABLES[-1] + 1
    made = Database()
    own = [*made.define("made", number).writes, Write(number, internal(1), pack({"_creationTime": 1.0, "a": [1]}))]
    cursor = store.store.cursor()
    cursor.execute("BEGIN TRANSACTION READ ONLY")
    snapshot = Snapshot(cursor, None, own)
    snapshot.use(snapshot.tables["made"])
    assert cursor.execute("SELECT a FROM made").fetchall() == [([1],)]
    cursor.close()
