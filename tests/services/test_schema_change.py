from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from nbreactive.engine._row_keys import LAST_TABLE, SLOT_MASK
from nbreactive.engine.catalog import TABLES, Catalog, TableInfo, table_document
from nbreactive.engine.row_index import Reader
from nbreactive.engine.transactions import Write
from nbreactive.errors import SchemaError
from nbreactive.values import pack, unpack
from tests.services.running import Deployment, running

MODULE = """
from nbreactive import define_schema, define_table, mutation, query, v

schema = define_schema({{
    "first": define_table({{}}),
    "t": define_table({{"a": v.number(), "b": v.number()}}).index("by_x", ["{field}"]),
    "u": define_table({{"a": v.number()}}).index("by_a", ["a"]),
}})

@mutation
def fill(ctx, n: int):
    for i in range(n):
        ctx.db.insert("t", {{"a": i, "b": n - i}})
        ctx.db.insert("u", {{"a": i}})

@mutation
def change(ctx):
    for doc in ctx.db.query("t").collect():
        ctx.db.patch(doc["_id"], {{"a": doc["a"] + 1, "b": doc["b"] + 1}})

@query
def look(ctx):
    found = []
    for name, index in (("t", "by_x"), ("u", "by_a")):
        found.append(len(ctx.db.query(name).collect()))
        found.append(ctx.db.query(name).count())
        found.append(len(ctx.db.query(name).with_index(index).collect()))
    return found

@query
def ordered(ctx):
    docs = [doc["{field}"] for doc in ctx.db.query("t").with_index("by_x").collect()]
    return docs == sorted(docs)
"""


def table(deployment: Deployment, name: str) -> TableInfo:
    found = deployment.parts.engine.catalog().table(name)
    assert found is not None
    return found


async def age(deployment: Deployment, name: str, next_slot: int) -> None:
    """Make a table look as if it had had many indexes."""
    info = table(deployment, name)

    def change(reader: Reader, catalog: Catalog, ts: int) -> list[Write]:
        found = reader.document(TABLES, info.id, ts)
        assert found is not None
        return [Write(TABLES, info.id, pack({**unpack(found[0]), "next_slot": next_slot}), found[1])]

    await deployment.parts.engine.transact(change)


@pytest.mark.parametrize("slot", [250, SLOT_MASK - 5])
def test_a_table_with_many_indexes_behind_it_leaves_its_neighbours_alone(tmp_path: Path, slot: int) -> None:
    async def main() -> None:
        async with running(tmp_path) as deployment:
            await deployment.deploy("m", MODULE.format(field="a"))
            await deployment.mutate("m:fill", n=10)
            await age(deployment, "t", next_slot=slot)
            for turn in range(6):
                await deployment.deploy("m", MODULE.format(field="ba"[turn % 2]))
                await deployment.mutate("m:change")
                assert await deployment.query("m:look") == [10] * 6
                assert await deployment.query("m:ordered")
            assert table(deployment, "t").indexes[2].slot == slot + 5

    asyncio.run(main())


def test_more_indexes_than_a_table_can_ever_have_are_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as deployment:
            await deployment.deploy("m", MODULE.format(field="a"))
            await deployment.mutate("m:fill", n=10)
            await age(deployment, "t", next_slot=SLOT_MASK + 1)
            before = table(deployment, "t")
            with pytest.raises(SchemaError, match=r"table 't' has had 65,534 indexes, .* another name"):
                await deployment.deploy("m", MODULE.format(field="b"))
            assert table(deployment, "t") == before
            assert await deployment.query("m:look") == [10] * 6

    asyncio.run(main())


def test_more_tables_than_there_can_be_are_refused(tmp_path: Path) -> None:
    free = "from nbreactive import mutation\n\n@mutation\ndef add(ctx, to: str):\n    ctx.db.insert(to, {})\n"

    async def main() -> None:
        async with running(tmp_path) as deployment:
            await deployment.deploy("free", free)
            engine = deployment.parts.engine
            last = Write(TABLES, engine.new_internal(), pack(table_document("a", LAST_TABLE, 1.0)))
            await engine.transact(lambda reader, catalog, ts: [last])
            await deployment.mutate("free:add", to="a")
            with pytest.raises((SchemaError, AssertionError), match=r"no room for the table 'b'.* 55,534 tables"):
                await deployment.mutate("free:add", to="b")
            with pytest.raises(SchemaError, match="no room for the table"):
                await deployment.deploy("m", MODULE.format(field="a"))
            await deployment.mutate("free:add", to="a")

    asyncio.run(main())
