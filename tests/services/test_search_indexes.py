"""Search indexes in a whole deployment: new ones for old documents, new definitions, lost row indexes."""

from __future__ import annotations

import asyncio
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from nbreactive.engine import _index_builder, text_upkeep
from nbreactive.engine.backfill import backfill
from nbreactive.engine.requests import QueryRequest, QuerySpec
from nbreactive.engine.transactions import Failure
from nbreactive.services.doctor import examine_folder
from nbreactive.values.packing import pack
from tests.runtime.searching import brute_force, some_text
from tests.services.running import Deployment, running

MODULE = """
from nbreactive import define_schema, define_table, mutation, query, v
schema = define_schema({"docs": define_table(v.any())INDEXES})

@mutation
def put(ctx, docs: list):
    return [ctx.db.insert("docs", doc) for doc in docs]

@mutation
def change(ctx, id: str, text: str):
    ctx.db.patch(id, {"text": text})

@mutation
def delete(ctx, id: str):
    ctx.db.delete(id)

@query
def rows(ctx):
    return ctx.db.query("docs").collect()

@query
def find(ctx, text: str, lang: str | None = None):
    def build(q):
        q = q.search("text", text)
        return q.eq("lang", lang) if lang else q
    return [doc["_id"] for doc in ctx.db.query("docs").with_search_index("words", build).collect()]
"""
WORDS = '.search_index("words", search_field="text")'
FILTERED = '.search_index("words", search_field="text", filter_fields=["lang"])'
SEARCHES = ("live query", "데이터 que", "검색", "cafe", "東京 x", "strasse fox")


def module(indexes: str) -> str:
    return MODULE.replace("INDEXES", indexes)


async def agree(deployment: Deployment, *langs: str | None) -> None:
    rows = await deployment.query("m:rows")
    for text in SEARCHES:
        for lang in langs:
            filters = {"lang": lang} if lang else {}
            assert await deployment.query("m:find", text=text, lang=lang) == brute_force(rows, text, **filters)


class Live:
    """One live search."""

    def __init__(self, deployment: Deployment) -> None:
        self.subscriptions = deployment.parts.engine.subscriptions
        self.subscriptions.add(self, QuerySpec("m:find", pack({"text": "live"})))
        self.failure: Failure | None = None
        self.told = False

    def invalidated(self) -> None:
        self.told = True

    async def update(self) -> None:
        self.told = False
        for _, result in (await self.subscriptions.update(self)).changes:
            self.failure = result.failure


def some_documents(rng: random.Random, many: int) -> list[dict[str, Any]]:
    return [{"text": some_text(rng), "lang": rng.choice(["ko", "en"])} for _ in range(many)]


def test_indexes_are_made_while_documents_are_written_and_made_again_when_they_change(tmp_path: Path) -> None:
    async def main() -> None:
        rng = random.Random(1)
        async with running(tmp_path) as deployment:
            await deployment.deploy("m", module(""))
            ids = await deployment.mutate("m:put", docs=some_documents(rng, 300))
            for indexes, langs in ((FILTERED, [None, "ko"]), (WORDS, [None])):
                made = asyncio.create_task(deployment.deploy("m", module(indexes)))
                while not made.done():
                    await deployment.mutate("m:change", id=rng.choice(ids), text=some_text(rng))
                    ids += await deployment.mutate("m:put", docs=some_documents(rng, 2))
                    await deployment.mutate("m:delete", id=ids.pop(rng.randrange(len(ids))))
                await made
                await agree(deployment, *langs)
            with pytest.raises(AssertionError, match="cannot filter by 'lang', only by nothing"):
                await deployment.query("m:find", text="x", lang="ko")
        report = await asyncio.to_thread(examine_folder, tmp_path)
        assert report.healthy, report

    asyncio.run(main())


@pytest.mark.parametrize("large", [False, True])
def test_a_lost_row_index_comes_back_with_what_searches_find(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    async def main() -> None:
        rng = random.Random(2)
        async with running(tmp_path) as deployment:
            await deployment.deploy("m", module(FILTERED))
            ids = await deployment.mutate("m:put", docs=some_documents(rng, 500))
            await agree(deployment, None, "ko")
        shutil.rmtree(tmp_path / "index")
        looked = asyncio.Event()
        if large:
            monkeypatch.setattr(_index_builder, "TEXT_ENTRIES", 100)

            async def later(*args: Any, **options: Any) -> None:
                await looked.wait()
                await backfill(*args, **options)

            monkeypatch.setattr(text_upkeep, "backfill", later)
        async with running(tmp_path) as deployment:
            engine = deployment.parts.engine
            live = Live(deployment)
            await live.update()
            assert (live.failure is not None) == large
            one = {"table": "docs", "name": "words", "documents": 0, "total": 500}
            assert engine.indexes_made_anew == ([one] if large else [])
            seen: list[int] = []
            looked.set()
            while True:
                # Everything else goes on, and what is written meanwhile is found afterwards
                ids += await deployment.mutate("m:put", docs=some_documents(rng, 3))
                await deployment.mutate("m:change", id=rng.choice(ids), text=some_text(rng))
                await deployment.mutate("m:delete", id=ids.pop(rng.randrange(len(ids))))
                seen += [one["documents"] for one in engine.indexes_made_anew]
                result = await engine.query(QueryRequest("m:find", pack({"text": "live"})))
                if result.failure is None:
                    break
                assert "is being made anew; try again in a moment" in result.failure.message
            # A live query that was refused meanwhile is run again by itself
            while live.failure is not None:
                assert live.told, "the index is complete, and nobody said so"
                await live.update()
            assert seen == sorted(seen)
            await agree(deployment, None, "ko")
        async with running(tmp_path) as deployment:
            await agree(deployment, None, "ko")
        report = await asyncio.to_thread(examine_folder, tmp_path)
        assert report.healthy, report

    asyncio.run(main())
