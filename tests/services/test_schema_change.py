from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nbreactive.engine._row_keys import LAST_TABLE, SLOT_MASK
from nbreactive.engine.applied import _build
from nbreactive.engine.catalog import TABLES, Catalog, TableInfo, table_document
from nbreactive.engine.row_index import Reader, RowWrite
from nbreactive.engine.transactions import Write
from nbreactive.errors import SchemaError
from nbreactive.values import pack
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


async def change_table(deployment: Deployment, info: TableInfo) -> None:
    def change(reader: Reader, catalog: Catalog, ts: int) -> list[Write]:
        found = reader.document(TABLES, info.id, ts)
        assert found is not None
        doc = table_document(
            info.name,
            info.number,
            1.0,
            indexes=info.indexes,
            next_slot=info.next_slot,
            validator=info.validator,
            module=info.module,
        )
        return [Write(TABLES, info.id, pack(doc), found[1])]

    await deployment.parts.engine.transact(change)


async def age(deployment: Deployment, name: str, next_slot: int) -> None:
    """Make a table look as if it had had many indexes."""
    await change_table(deployment, replace(table(deployment, name), next_slot=next_slot))


@pytest.mark.parametrize("slot", [253, SLOT_MASK - 5])
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


def test_an_index_whose_fields_change_is_filled_before_the_flip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left to be built inside the commit that flips, which holds up everybody."""
    built: list[int] = []

    def build(*args: Any) -> list[RowWrite]:
        rows = _build(*args)
        built.append(len(rows))
        return rows

    monkeypatch.setattr("nbreactive.engine.applied._build", build)

    async def main() -> None:
        async with running(tmp_path) as deployment:
            await deployment.deploy("m", MODULE.format(field="a"))
            await deployment.mutate("m:fill", n=500)
            built.clear()
            deploy = asyncio.create_task(deployment.deploy("m", MODULE.format(field="b")))
            while not deploy.done():
                await deployment.mutate("m:fill", n=1)
                assert await deployment.query("m:ordered")
            await deploy
            assert built == [0]
            assert len(set(await deployment.query("m:look"))) == 1
            assert await deployment.query("m:ordered")
            assert len(table(deployment, "t").indexes) == 3

    asyncio.run(main())


def test_an_index_that_was_being_replaced_when_the_process_ended_stays(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as deployment:
            await deployment.deploy("m", MODULE.format(field="a"))
            await deployment.mutate("m:fill", n=10)
            before = table(deployment, "t").indexes[2]
            left = replace(before, id=before.id + 1, slot=before.slot + 1, fields=("b",), state="backfilling")
            await change_table(
                deployment, replace(table(deployment, "t"), indexes=(*table(deployment, "t").indexes, left))
            )
            await deployment.mutate("m:change")
            assert await deployment.query("m:ordered")
            await deployment.deploy("m", MODULE.format(field="a") + "# again")
            assert table(deployment, "t").indexes[2:] == (before,)
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
