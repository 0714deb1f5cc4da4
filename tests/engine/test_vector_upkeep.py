"""Vector indexes that are missing or damaged are made anew beside everything else; files do not keep what is dead."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from nbreactive.engine._index_builder import Part
from nbreactive.engine._vector_files import FOREVER, VectorFile, paths
from nbreactive.engine._vector_search import nearest
from nbreactive.engine.catalog import TABLES, IndexInfo, index_id, table_document
from nbreactive.engine.clock import SystemClock
from nbreactive.engine.engine import Engine
from nbreactive.engine.engine_limits import EngineLimits
from nbreactive.engine.log import MemoryLog
from nbreactive.engine.requests import QuerySpec
from nbreactive.engine.row_index import RowIndex
from nbreactive.engine.transactions import Call, Nearest, Outcome, Write
from nbreactive.engine.vector_values import normalised, search_intervals
from nbreactive.values.json import encode_json
from nbreactive.values.packing import pack, unpack
from tests.engine.document_parts import parts
from tests.engine.vector_model import Row, agree

TABLE, INDEX = 10_001, index_id(10_001, 2)
INFO = IndexInfo(INDEX, "near", 2, ("e",), "ready", "vector", ("lang",), 3)
TABLE_ID = bytes(15) + b"\x01"
QUERIES = ([1.0, 0.0, 0.0], [-1.0, 2.0, 0.5], [0.1, -0.7, -0.2])


class Searches:
    """Runs live queries: a search of the index at the snapshot."""

    def __init__(self, index: RowIndex) -> None:
        self.index = index

    async def run(self, call: Call, *, urgent: bool = False) -> Outcome:
        query = normalised(unpack(call.args)["vector"], 3)
        assert query is not None
        reads = {INDEX: search_intervals([])}
        with self.index.reader() as reader:
            view = reader.vectors(INDEX)
            if view is None or view.note.since > call.snapshot:
                return Outcome(value=b'"building"', reads=reads, interests=[Nearest(INDEX, [], query)])
            found = nearest(view, query, 3, call.snapshot, [])
        least = found[-1][0] if len(found) == 3 else float("-inf")
        value = encode_json([[score, id.hex()] for score, id in found])
        return Outcome(value=value, reads=reads, interests=[Nearest(INDEX, [], query, least)])


class World:
    """An engine on a folder, and what should be in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "index"
        self.log = MemoryLog()
        self.rows: dict[bytes, list[float] | None] = {}
        self.versions: dict[bytes, int] = {}
        self.made = 0

    @contextlib.asynccontextmanager
    async def running(self, source: Any = None) -> AsyncIterator[Engine]:
        index = RowIndex.open(self.folder, map_size=1 << 28)
        engine = await Engine.open(
            log=self.log,
            index=index,
            executor=Searches(index),
            clock=SystemClock(),
            limits=EngineLimits(keep_seconds=0.0),
            source=source,
        )
        self.engine, self.index = engine, index
        try:
            yield engine
        finally:
            await engine.close()
            index.close()

    async def declare(self, *indexes: IndexInfo) -> None:
        doc = table_document("docs", TABLE, 1.0, indexes=indexes, next_slot=2 + len(indexes))
        found = self.engine._state.document(TABLES, TABLE_ID)
        await self.engine.transact(lambda *_: [Write(TABLES, TABLE_ID, pack(doc), found[1] if found else 0)])

    async def write(self, changes: dict[bytes, list[float] | None]) -> None:
        """Write vectors; an empty list is a document without one, None is none."""
        writes = [
            Write(
                TABLE,
                id,
                pack({"_creationTime": 1.0, "e": e, "lang": "ko"}) if e is not None else None,
                self.versions.get(id, 0),
            )
            for id, e in changes.items()
            if e is not None or id in self.versions
        ]
        ts = await self.engine.transact(lambda *_: writes)
        for id, e in changes.items():
            if e is None:
                self.rows.pop(id, None)
                self.versions.pop(id, None)
            else:
                self.rows[id] = e
                self.versions[id] = ts

    def id(self) -> bytes:
        self.made += 1
        return self.made.to_bytes(8, "big") * 2

    def view(self) -> Any:
        with self.index.reader() as reader:
            return reader.vectors(INDEX)

    def check(self) -> None:
        view = self.view()
        assert view is not None
        assert view.note.since <= self.engine.applied
        rows = [Row(id, e, {}) for id, e in self.rows.items()]
        for query in QUERIES:
            wanted = normalised(query, 3)
            assert wanted is not None
            assert agree(nearest(view, wanted, 5, self.engine.applied, []), rows, query, 5)


class Documents:
    """Everything that an engine has, as a source of whole documents gives it."""

    def __init__(self, engine: Engine) -> None:
        self.applied = engine.durable
        with engine.reader() as reader:
            self.found = [
                (table, id, version, doc)
                for table in (TABLES, TABLE)
                for _, id, doc, version in reader.scan_documents(index_id(table, 0), b"", None, self.applied)
            ]

    def __iter__(self) -> Iterator[Part]:
        return parts(self.found)


async def until(condition: Any) -> None:
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("waited for too long")


def vector(chance: random.Random) -> list[float]:
    return [chance.uniform(-1, 1) for _ in range(3)]


async def some(world: World, count: int, chance: random.Random) -> None:
    for start in range(0, count, 500):
        await world.write({world.id(): vector(chance) for _ in range(min(500, count - start))})


async def written(world: World, count: int, chance: random.Random) -> tuple[Path, Path]:
    """Fill the index with an engine that is closed then; return its files."""
    async with world.running():
        await world.declare(INFO)
        await some(world, count, chance)
        note = world.index.vectors.notes[INDEX]
    return paths(world.folder / "vectors", INDEX, note.token)


async def made_anew(world: World, engine: Engine) -> None:
    """Wait until the index is there again, and look what is in it."""
    await until(lambda: engine.vector_upkeep.built == 1)
    world.check()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_new_table_has_its_index_from_the_start(world: World) -> None:
    async def main() -> None:
        async with world.running() as engine:
            await world.declare(INFO)
            world.check()
            await some(world, 20, random.Random(1))
            world.check()
            assert engine.vector_upkeep.built == 0

    asyncio.run(main())


def test_a_backfill_puts_stored_documents_into_a_new_index_while_they_change(world: World) -> None:
    async def main() -> None:
        chance = random.Random(2)
        async with world.running() as engine:
            await world.declare()
            await some(world, 1500, chance)
            await world.declare(IndexInfo(INDEX, "near", 2, ("e",), "backfilling", "vector", ("lang",), 3))
            filling = asyncio.create_task(engine.backfill("docs", INDEX))
            while not filling.done():
                ids = chance.sample(sorted(world.rows), 5)
                await world.write({ids[0]: vector(chance), ids[1]: None, ids[2]: [], world.id(): vector(chance)})
            await filling
            await world.declare(INFO)
            world.check()
            assert engine.vector_upkeep.built == 0
        async with world.running():
            world.check()

    asyncio.run(main())


@pytest.mark.parametrize("damage", ["rows", "vectors", "both", "a byte"])
def test_what_is_missing_or_damaged_is_made_anew_while_documents_change(world: World, damage: str) -> None:
    async def main() -> None:
        chance = random.Random(3)
        rows, vectors = await written(world, 1500, chance)
        if damage == "a byte":
            with vectors.open("r+b") as file:
                file.seek(700 * 12)
                file.write(b"\x00\x00\x80\x3f")
        else:
            for path in (rows, vectors):
                if damage in (path.suffix[1:], "both"):
                    path.unlink()
        async with world.running() as engine:
            seen: list[tuple[int, int]] = []

            def built() -> bool:
                seen.extend((found.documents, found.total) for found in engine.vector_upkeep.progress.values())
                return engine.vector_upkeep.built == 1

            if damage != "a byte":
                assert world.view() is None or not world.view().note.complete
            while not built():
                ids = chance.sample(sorted(world.rows), 4)
                await world.write({ids[0]: vector(chance), ids[1]: None, ids[2]: [], world.id(): vector(chance)})
                await asyncio.sleep(0)
            world.check()
            assert not engine.vector_upkeep.progress
            assert any(0 < done < total for done, total in seen)
            await world.write({world.id(): vector(chance)})
            world.check()
        async with world.running() as engine:
            world.check()
            assert engine.vector_upkeep.built == 0

    asyncio.run(main())


def test_a_row_index_that_is_not_believed_is_made_from_the_log_with_its_vectors(world: World) -> None:
    async def main() -> None:
        async with world.running():
            await world.declare(INFO)
            await some(world, 700, random.Random(9))
            await world.write(dict.fromkeys(sorted(world.rows)[:50]))
        (world.folder / "marker.json").unlink()
        async with world.running() as engine:
            world.check()
            assert engine.vector_upkeep.built == 0

    asyncio.run(main())


def test_a_row_index_that_is_made_from_whole_documents_gets_its_vectors_afterwards(world: World) -> None:
    async def main() -> None:
        chance = random.Random(10)
        async with world.running() as engine:
            await world.declare(INFO)
            await some(world, 700, chance)
            documents = Documents(engine)
        (world.folder / "marker.json").unlink()

        async def source(consume: Any) -> None:
            consume(documents)

        async with world.running(source=source) as engine:
            await world.write({world.id(): vector(chance), sorted(world.rows)[3]: None})
            await made_anew(world, engine)

    asyncio.run(main())


def test_a_live_search_is_answered_once_its_index_is_made_anew(world: World) -> None:
    class Client:
        asked = 0

        def invalidated(self) -> None:
            self.asked += 1

    async def main() -> None:
        chance = random.Random(4)
        (await written(world, 3000, chance))[0].unlink()
        async with world.running() as engine:
            client = Client()
            engine.subscriptions.add(client, QuerySpec("m:near", pack({"vector": QUERIES[0]}), None))
            first = await engine.subscriptions.update(client)
            assert first.changes[0][1].value == b'"building"'
            await until(lambda: client.asked > 0)
            second = await engine.subscriptions.update(client)
            assert engine.vector_upkeep.built == 1
            found = [(score, bytes.fromhex(id)) for score, id in unpack_json(second.changes[0][1].value)]
            assert agree(found, [Row(id, e, {}) for id, e in world.rows.items()], QUERIES[0], 3)

    asyncio.run(main())


def unpack_json(value: bytes) -> Sequence[Any]:
    import json

    return json.loads(value)


def test_snapshots_from_before_an_index_was_made_anew_are_not_answered(world: World) -> None:
    async def main() -> None:
        (await written(world, 100, random.Random(5)))[0].unlink()
        async with world.running() as engine:
            before = engine.applied
            await made_anew(world, engine)
            assert before < world.view().note.since <= engine.applied

    asyncio.run(main())


def test_files_of_which_most_rows_are_dead_are_written_anew(world: World) -> None:
    async def main() -> None:
        chance = random.Random(6)
        async with world.running() as engine:
            await world.declare(INFO)
            await some(world, 1000, chance)
            first = world.index.vectors.notes[INDEX]
            written = 1000
            while world.index.vectors.notes[INDEX].token == first.token:
                written += 51
                ids = chance.sample(sorted(world.rows), 60)
                await world.write(
                    {id: vector(chance) for id in ids[:50]} | dict.fromkeys(ids[50:55]) | {world.id(): vector(chance)}
                )
                world.check()
            world.check()
            note = world.index.vectors.notes[INDEX]
            assert note.rows < written
            file = world.index.vectors.file(INDEX)
            assert file is not None
            assert file.live == len(world.rows)
            assert not file.damage(0, note.rows)
            await world.write({world.id(): vector(chance)})
            world.check()
            # The files before it are deleted
            await until(lambda: len(list((world.folder / "vectors").iterdir())) == 2)
            assert engine.vector_upkeep.built == 0
        async with world.running():
            world.check()

    asyncio.run(main())


@pytest.mark.skipif(os.name == "nt", reason="Windows does not let anybody delete a file that is open")
def test_files_that_are_deleted_while_they_are_used_are_made_anew(world: World) -> None:
    async def main() -> None:
        chance = random.Random(11)
        async with world.running() as engine:
            await world.declare(INFO)
            await some(world, 50, chance)
            paths(world.folder / "vectors", INDEX, world.index.vectors.notes[INDEX].token)[1].unlink()
            await made_anew(world, engine)
            await world.write({world.id(): vector(chance)})
            world.check()

    asyncio.run(main())


def test_an_index_that_is_gone_leaves_no_files(world: World) -> None:
    async def main() -> None:
        async with world.running():
            await world.declare(INFO)
            await some(world, 10, random.Random(7))
            assert list((world.folder / "vectors").iterdir())
            await world.declare()
            await world.write({world.id(): [1.0, 0.0, 0.0]})
            await until(lambda: not list((world.folder / "vectors").iterdir()))
            assert world.view() is None

    asyncio.run(main())


def test_an_index_without_room_is_made_when_there_is_some(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        (await written(world, 50, random.Random(8)))[0].unlink()

        def flush(self: VectorFile) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(VectorFile, "flush", flush)
            async with world.running() as engine:
                await asyncio.sleep(0.05)
                assert engine.vector_upkeep.built == 0
                assert world.view().note.since == FOREVER
        async with world.running() as engine:
            await made_anew(world, engine)

    asyncio.run(main())
