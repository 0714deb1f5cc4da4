"""A bulk commit leaves in the row index, journal included, what the same documents leave one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from nbreactive.engine._row_changes import Databases
from nbreactive.engine.bulk import plan_of, prepare_bulk
from nbreactive.engine.catalog import CREATION_TIME, Catalog, IndexInfo, index_id, table_document, table_of
from nbreactive.engine.entries import By, Request, decode_entry, encode_entry
from nbreactive.engine.prepare import prepare
from nbreactive.engine.row_index import Applied, RowIndex
from nbreactive.engine.transactions import Write
from nbreactive.values import UNSET
from nbreactive.values.packing import pack

TABLE = 10_001
INDEXES = (
    IndexInfo(index_id(TABLE, 2), "by_a", 2, ("a",)),
    IndexInfo(index_id(TABLE, 3), "by_b_and_a", 3, ("b", "a")),
    IndexInfo(index_id(TABLE, 4), "by_inner", 4, ("c.x",)),
)
DOCUMENT = table_document("t", TABLE, 1.0, indexes=INDEXES, next_slot=5)
CATALOG = Catalog().changed([(bytes(16), pack(DOCUMENT))])
INFO = table_of(DOCUMENT, bytes(16))

values = st.one_of(st.none(), st.integers(-5, 5), st.floats(allow_nan=True), st.text(max_size=5), st.just("long" * 200))
documents = st.fixed_dictionaries(
    {}, optional={"a": values, "b": values, "c": st.one_of(values, st.fixed_dictionaries({"x": values}))}
)


def contents(index: RowIndex) -> dict[str, list[tuple[bytes, bytes]]]:
    env, dbs = index._env, index._dbs  # pyright: ignore[reportPrivateUsage]
    with env.begin() as txn:
        return {name: list(txn.cursor(db)) for name, db in zip(Databases._fields, dbs, strict=True)}


def keys_of(journal: list[tuple[bytes, bytes]]) -> list[list[bytes]]:
    """All that the records of one commit name, whatever their number and order."""
    merged: list[list[bytes]] = [[], [], [], [], []]
    for _, packed in journal:
        for keys, more in zip(merged, msgspec.msgpack.decode(packed)[:5], strict=True):
            keys += more
    return [sorted(keys) for keys in merged]


@settings(max_examples=60, deadline=None)
@given(st.lists(documents, min_size=1, max_size=30))
def test_it_is_as_if_documents_came_one_by_one(docs: list[dict[str, Any]]) -> None:
    import tempfile

    ids = [(1 << 40 | at).to_bytes(8, "big") + b"12345678" for at in range(len(docs))]
    created = [1_700_000_000_000.0 + at * 1e-3 for at in range(len(docs))]
    packed = [pack({**doc, CREATION_TIME: moment}) for doc, moment in zip(docs, created, strict=True)]
    columns = {name: [doc.get(name, UNSET) for doc in docs] for name in ("a", "b", "c")}
    plan = plan_of(INFO)
    assert plan is not None
    bulk = prepare_bulk(plan, ids, packed, columns, created)
    request = Request(b"i" * 16, b"s" * 16, 7, b"{}")
    writes = [Write(TABLE, id, doc) for id, doc in zip(ids, packed, strict=True)]
    one_by_one = prepare(writes, lambda *_: None, CATALOG, {})
    touched = {index: sorted(keys) for index, keys in one_by_one.touched.items()}
    assert {index: sorted(keys) for index, keys in bulk.touched.items()} == touched
    assert bulk.created == one_by_one.created
    entry, data = bulk.entry(5, 2, request, By("load t", "me"))
    assert data == encode_entry(entry)
    assert decode_entry(data) == entry
    assert entry.writes == writes

    with tempfile.TemporaryDirectory() as folder:
        states: list[dict[str, list[tuple[bytes, bytes]]]] = []
        for name, applied in (
            ("bulk", Applied(5, (), request, bulk=bulk)),
            ("rows", Applied(5, one_by_one.rows, request)),
        ):
            index = RowIndex.open(Path(folder, name))
            index.apply([applied])
            states.append(contents(index))
            assert index.rewind(1) == 1
            left = contents(index)
            index.close()
            assert not any(left[kind] for kind in ("documents", "entries", "counts", "journal", "requests"))
        first, second = states
        assert keys_of(first.pop("journal")) == keys_of(second.pop("journal"))
        assert {kind: first[kind] for kind in ("documents", "entries", "counts", "requests")} == {
            kind: second[kind] for kind in ("documents", "entries", "counts", "requests")
        }


def test_tables_whose_keys_cannot_be_computed_ahead() -> None:
    text = IndexInfo(index_id(TABLE, 5), "by_words", 5, ("a",), kind="text")
    filling = IndexInfo(index_id(TABLE, 5), "by_d", 5, ("d",), state="backfilling")
    for index in (text, filling):
        assert plan_of(table_of(table_document("t", TABLE, 1.0, indexes=(index,), next_slot=6), bytes(16))) is None
    assert plan_of(table_of(table_document("t", TABLE, 1.0, ephemeral=True), bytes(16))) is None
