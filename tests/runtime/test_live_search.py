"""Searches as live queries: always what a search finds now, and run again only for writes that concern them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbreactive.engine import postings
from nbreactive.testing import Backend
from nbreactive.values.kinds import UNSET
from tests.runtime.pager import Pager
from tests.runtime.searching import brute_force, some_text

MODULE = """
from nbreactive import PaginationOpts, define_schema, define_table, mutation, query, v
schema = define_schema({
    "docs": define_table(v.any()).search_index("words", search_field="text", filter_fields=["lang", "n"])
})

def search(ctx, text, lang, n):
    def build(q):
        q = q.search("text", text)
        q = q.eq("lang", lang) if lang is not None else q
        return q.eq("n", n) if n is not None else q
    return ctx.db.query("docs").with_search_index("words", build)

@query
def find(ctx, text: str, lang: str | None = None, n: float | None = None, most: int = 1000):
    return [doc["_id"] for doc in search(ctx, text, lang, n).take(most)]

@query
def texts(ctx, text: str, lang: str | None = None):
    return [doc["text"] for doc in search(ctx, text, lang, None).collect()]

@query
def page(ctx, text: str, lang: str | None, opts: PaginationOpts):
    found = search(ctx, text, lang, None).paginate(opts)
    found["page"] = [doc["_id"] for doc in found["page"]]
    return found

@mutation
def add_if_new(ctx, text: str):
    if search(ctx, text, None, None).first() is None:
        ctx.db.insert("docs", {"text": text})
"""


@pytest.fixture
def t() -> Iterator[Backend]:
    with Backend({"m": MODULE}) as running:
        yield running


def runs(t: Backend) -> int:
    return t._machine.engine.executions["queries"]  # pyright: ignore[reportPrivateUsage]


def test_only_writes_of_its_terms_run_a_search_again(t: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postings, "counted", lambda id: False)  # what terms weigh stays as it is
    searches = {
        text: t.live("m:texts", text=text) for text in ("apple", "pear", "plum tart", "검색", "東京", "nothing")
    }
    german = t.live("m:texts", text="apple", lang="de")
    before = runs(t)

    def write(body: Any) -> int:
        nonlocal before
        t.run(body)
        after = runs(t)
        ran, before = after - before, after
        return ran

    ids: dict[str, str] = {}

    def insert(ctx: Any, text: str, **fields: Any) -> None:
        ids[text] = ctx.db.insert("docs", {"text": text, **fields})

    assert write(lambda ctx: insert(ctx, "an apple a day")) == 1
    assert searches["apple"].value == ["an apple a day"]
    assert write(lambda ctx: insert(ctx, "bread and butter")) == 0
    assert write(lambda ctx: insert(ctx, "Apple Strudel", lang="de")) == 2
    assert german.value == ["Apple Strudel"]
    assert write(lambda ctx: insert(ctx, "pear and plum")) == 2
    assert write(lambda ctx: insert(ctx, "검색 엔진을 만들다")) == 1
    assert write(lambda ctx: insert(ctx, "東京都の天気")) == 1
    assert write(lambda ctx: insert(ctx, "京都の東")) == 0
    assert write(lambda ctx: insert(ctx, "tartan")) == 1, "the last word may be unfinished"
    assert write(lambda ctx: insert(ctx, "plu")) == 0
    # What changes beside the text concerns those who show the document
    assert write(lambda ctx: ctx.db.patch(ids["an apple a day"], {"likes": 1})) == 1
    assert write(lambda ctx: ctx.db.patch(ids["bread and butter"], {"likes": 1})) == 0
    # Terms that stay as they are concern nobody, unless the document is shown
    assert write(lambda ctx: ctx.db.patch(ids["bread and butter"], {"text": "butter and apple"})) == 1
    assert write(lambda ctx: ctx.db.patch(ids["an apple a day"], {"lang": "de"})) == 2
    assert set(german.value) == {"Apple Strudel", "an apple a day"}
    assert write(lambda ctx: ctx.db.patch(ids["Apple Strudel"], {"text": 7})) == 2
    assert write(lambda ctx: ctx.db.delete(ids["Apple Strudel"])) == 0
    assert german.value == ["an apple a day"]
    assert searches["nothing"].value == []


def test_a_mutation_that_has_searched_is_run_again_if_its_terms_were_written(t: Backend) -> None:
    for _ in range(2):
        t.mutation("m:add_if_new", text="only once")
    assert t.query("m:texts", text="once") == ["only once"]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_live_searches_are_what_a_scan_finds(seed: int) -> None:
    rng = random.Random(seed)
    with pytest.MonkeyPatch.context() as patch, Backend({"m": MODULE}) as t:
        patch.setattr(postings, "TELLING", rng.choice([0, 8]))
        engine, machine = t._machine.engine, t._machine  # pyright: ignore[reportPrivateUsage]
        watched: list[tuple[dict[str, Any], Any]] = []
        pagers: list[Pager] = []
        for _ in range(8):
            args: dict[str, Any] = {"text": some_text(rng, 3), "lang": rng.choice([None, "ko", "en"])}
            args["n"] = rng.choice([None, 1])
            watched.append((args, t.live("m:find", **args)))
            args = {"text": some_text(rng, 3), "lang": rng.choice([None, "ko", "en"])}
            pagers.append(Pager(engine, "m:page", args, rng.randint(1, 4)))
        ids: list[str] = []

        def write(ctx: Any) -> None:
            for _ in range(rng.randint(1, 6)):
                doc: dict[str, Any] = {
                    "text": some_text(rng),
                    "lang": rng.choice(["ko", "en"]),
                    "n": rng.choice([1, 2]),
                }
                what = rng.random()
                if what < 0.55 or not ids:
                    ids.append(ctx.db.insert("docs", doc))
                elif what < 0.8:
                    field = rng.choice(["text", "lang", "n"])
                    ctx.db.patch(rng.choice(ids), {field: doc[field] if rng.random() < 0.9 else UNSET})
                else:
                    ctx.db.delete(ids.pop(rng.randrange(len(ids))))

        for _ in range(12):
            t.run(write)
            rows: list[Any] = t.run(lambda ctx: ctx.db.query("docs").collect())
            for args, live in watched:
                filters = {name: value for name, value in args.items() if name != "text" and value is not None}
                assert live.value == t.query("m:find", **args)
                assert live.value == brute_force(rows, args["text"], **filters)
            for pager in pagers:
                machine.run(pager.settle())
                if rng.random() < 0.3:
                    pager.load_more(rng.randint(1, 4))
                    machine.run(pager.settle())
                if rng.random() < 0.1:
                    pager.reconnect()
                    machine.run(pager.settle())
                shown = pager.items
                lang = {"lang": pager.args["lang"]} if pager.args["lang"] is not None else {}
                wanted = brute_force(rows, pager.args["text"], **lang)
                assert shown == (wanted if pager.done else wanted[: len(shown)])
        for pager in pagers:
            pager.close()
