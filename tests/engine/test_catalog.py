from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from nbreactive.engine.catalog import (
    BY_ID,
    CREATION_TIME,
    FIRST_USER_TABLE,
    MODULES,
    Catalog,
    IndexInfo,
    count_key,
    index_id,
    table_document,
    table_name,
    table_of,
)
from nbreactive.engine.prepare import prepare
from nbreactive.engine.read_set import covers
from nbreactive.engine.transactions import Write
from nbreactive.values import pack

NUMBER = FIRST_USER_TABLE
INDEX = IndexInfo(index_id(NUMBER, 2), "by_a_b", 2, ("a", "b.c"))
TABLE = table_of(table_document("t", NUMBER, 1.0, indexes=[INDEX], next_slot=3), b"t" * 16)

values = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.text(max_size=3))
documents = st.fixed_dictionaries(
    {CREATION_TIME: st.just(1.0)}, optional={"a": values, "b": st.fixed_dictionaries({"c": values})}
)


def test_system_tables_are_built_in() -> None:
    catalog = Catalog()
    modules = catalog.table("_modules")
    assert modules is not None
    assert modules.number == MODULES
    assert catalog.next_number() == FIRST_USER_TABLE


def test_catalog_follows_its_documents() -> None:
    doc = table_document("t", NUMBER, 1.0, indexes=[INDEX], next_slot=3, ephemeral=True)
    catalog = Catalog().changed([(b"t" * 16, pack(doc))])
    table = catalog.table("t")
    assert table is not None
    assert table.ephemeral
    assert table.index("by_a_b") == INDEX
    assert catalog.number(NUMBER) is table
    assert catalog.next_number() == NUMBER + 1
    renamed = catalog.changed([(b"t" * 16, pack({**doc, "name": "u"}))])
    assert renamed.table("t") is None
    assert renamed.name_of(NUMBER) == "u"
    assert renamed.changed([(b"t" * 16, None)]).number(NUMBER) is None


def test_looking_up_a_name_is_touched_by_that_name_alone() -> None:
    by_name = Catalog().by_number[1].index("by_name")
    assert by_name is not None
    index, interval = table_name("t")
    assert index == by_name.id
    assert covers([interval], by_name.key({"name": "t", CREATION_TIME: 5.0}, b"\xff" * 16))
    assert not covers([interval], by_name.key({"name": "tt", CREATION_TIME: 5.0}, bytes(16)))


@given(documents)
def test_keys_lie_under_the_prefixes_that_are_counted(doc: dict[str, Any]) -> None:
    id = b"i" * 16
    keys, counts = TABLE.entries(doc, id)
    declared = dict(keys)[INDEX.id]
    assert declared == INDEX.key(doc, id)
    assert declared.endswith(id)
    assert counts[0] == count_key(index_id(NUMBER, BY_ID))
    for counter in counts[1:]:
        assert declared.startswith(counter.removeprefix(count_key(INDEX.id)))
    assert len(counts) == 3


@given(st.lists(st.tuples(st.integers(0, 2), st.none() | documents), max_size=12))
def test_puts_dels_and_counts_keep_the_index_in_step(steps: list[tuple[int, dict[str, Any] | None]]) -> None:
    catalog = Catalog().changed([(b"t" * 16, pack(table_document("t", NUMBER, 1.0, indexes=[INDEX], next_slot=3)))])
    stored: dict[bytes, tuple[bytes, int]] = {}
    entries: set[tuple[int, bytes]] = set()
    counters: dict[bytes, int] = {}
    docs: dict[bytes, dict[str, Any]] = {}
    for ts, (which, doc) in enumerate(steps, 1):
        id = bytes([which]) * 16
        previous = stored[id][1] if id in stored else 0
        write = Write(NUMBER, id, pack(doc) if doc is not None else None, previous)
        prepared = prepare([write], lambda _, id: stored.get(id), catalog, {})
        for row in prepared.rows:
            assert not set(row.puts) & entries
            assert set(row.dels) <= entries
            entries = (entries - set(row.dels)) | set(row.puts)
            for counter, delta in row.counts:
                counters[counter] = counters.get(counter, 0) + delta
        if doc is None:
            stored.pop(id, None)
            docs.pop(id, None)
        else:
            stored[id] = (pack(doc), ts)
            docs[id] = doc
        expected: dict[bytes, int] = {}
        for other, current in docs.items():
            for counter in TABLE.count_keys(current):
                expected[counter] = expected.get(counter, 0) + 1
            assert set(TABLE.entries(current, other).keys) <= entries
        assert {counter: number for counter, number in counters.items() if number} == expected
        assert len(entries) == 2 * len(docs)
