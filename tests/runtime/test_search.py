"""Full-text search: what it finds, in which order, and what it refuses."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbreactive.engine import postings
from nbreactive.runtime import ranking, search_plan
from nbreactive.runtime.inline import InlineExecutor
from tests.runtime.house import House, bundle
from tests.runtime.searching import brute_force, some_text

SOURCE = """
from nbreactive import define_schema, define_table, PaginationOpts
schema = define_schema({
    "docs": define_table(v.any())
        .search_index("words", search_field="text", filter_fields=["lang", "n"])
        .search_index("deep", search_field="a.b").index("by_lang", ["lang"])
        .vector_index("near", vector_field="e", dimensions=2),
})
@mutation
def write(ctx, puts, changes, dels, searches):
    ids = [ctx.db.insert("docs", doc) for doc in puts]
    for id, doc in changes:
        ctx.db.replace(id, doc)
    for id in dels:
        ctx.db.delete(id)
    found = [find(ctx, text, filters) for text, filters in searches]
    return {"ids": ids, "found": found, "all": ctx.db.query("docs").collect()}
def search(ctx, text, filters):
    def build(q):
        q = q.search("text", text)
        for name, value in filters.items():
            q = q.eq(name, UNSET if value == "UNSET" else value)
        return q
    return ctx.db.query("docs").with_search_index("words", build)
def find(ctx, text, filters):
    return [doc["_id"] for doc in search(ctx, text, filters).collect()]
@query(name="find")
def find_(ctx, text, filters):
    return find(ctx, text, filters)
@query
def page(ctx, text, filters, opts: PaginationOpts):
    return search(ctx, text, filters).paginate(opts)
@query
def run(ctx, code):
    return eval(code, {**globals(), "db": ctx.db, "docs": ctx.db.query("docs")})
"""
LANGS = ("ko", "en", None, "UNSET")


class Searches:
    def __init__(self, folder: Path) -> None:
        self.house = House(folder)
        self.inline = InlineExecutor(bundle(1, m=SOURCE), self.house.reader)
        self.house.deploy_schema(self.inline.manifest)

    def call(self, path: str, **args: Any) -> Any:
        return self.house.finish(self.inline.run_now(self.house.call(path, args)))

    def write(self, puts: Any = (), changes: Any = (), dels: Any = (), searches: Any = ()) -> Any:
        return self.call("m:write", puts=list(puts), changes=list(changes), dels=list(dels), searches=list(searches))

    def texts(self, text: str, **filters: Any) -> list[str]:
        by_id = {doc["_id"]: doc["text"] for doc in self.call("m:run", code="docs.collect()")}
        return [by_id[id] for id in self.call("m:find", text=text, filters=filters)]

    def refused(self, code: str) -> str:
        failure = self.inline.run_now(self.house.call("m:run", {"code": code})).failure
        assert failure is not None
        return failure.message


@pytest.fixture
def s(tmp_path: Path) -> Iterator[Searches]:
    searches = Searches(tmp_path)
    yield searches
    searches.house.close()


def expected(documents: list[Any], text: str, filters: dict[str, Any]) -> list[str]:
    from nbreactive.values.kinds import UNSET

    return brute_force(documents, text, **{k: UNSET if v == "UNSET" else v for k, v in filters.items()})


def a_document(rng: random.Random) -> dict[str, Any]:
    doc: dict[str, Any] = {"text": some_text(rng) if rng.random() < 0.95 else rng.choice([None, 5, ["x"]])}
    lang = rng.choice(LANGS)
    if lang != "UNSET":
        doc["lang"] = lang
    doc["n"] = rng.choice([0, 1, 1.0, True, False, "1"])
    return doc


def a_search(rng: random.Random) -> tuple[str, dict[str, Any]]:
    text = some_text(rng, 4)[: rng.randint(1, 30)]
    filters: dict[str, Any] = {}
    if rng.random() < 0.5:
        filters["lang"] = rng.choice(LANGS)
    if rng.random() < 0.3:
        filters["n"] = rng.choice([0, 1, True, "1"])
    return text, filters


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), plan=st.sampled_from(["usual", "looks", "among", "streams"]))
def test_results_are_those_of_a_brute_force_scan(
    tmp_path_factory: pytest.TempPathFactory, seed: int, plan: str
) -> None:
    rng = random.Random(seed)
    s = Searches(tmp_path_factory.mktemp("search"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postings, "SAMPLE", rng.choice([1, 2, 8]))
        if plan != "usual":
            patch.setattr(search_plan, "_FEW", 10_000 if plan == "looks" else 0)
            patch.setattr(search_plan, "_POSTINGS_PER_LOOK", 10**9 if plan == "among" else 0)
            patch.setattr(ranking, "POSTINGS_PER_READ", rng.choice([0, 8, 10**9]))
            patch.setattr(ranking, "_FIRST_BATCH", rng.choice([1, 2, 5, 32]))
            patch.setattr(search_plan, "_FIRST_CHUNK", rng.choice([1, 3, 32]))
        try:
            alive: list[str] = []
            for _ in range(rng.randint(1, 5)):
                rng.shuffle(alive)
                gone, changed = alive[: rng.randint(0, 3)], alive[3:8]
                searches = [a_search(rng) for _ in range(5)]
                done = s.write(
                    [a_document(rng) for _ in range(rng.randint(0, 25))],
                    [(id, a_document(rng)) for id in changed],
                    gone,
                    searches,
                )
                alive = [doc["_id"] for doc in done["all"]]
                # What the mutation itself has seen, its own writes included, then what everybody sees
                for (text, filters), found in zip(searches, done["found"], strict=True):
                    assert found == expected(done["all"], text, filters)
                    assert s.call("m:find", text=text, filters=filters) == found
                for text, filters in searches[:2]:
                    assert pages(s, text, filters, rng.randint(1, 4)) == s.call("m:find", text=text, filters=filters)
        finally:
            s.house.close()


def pages(s: Searches, text: str, filters: dict[str, Any], count: int) -> list[str]:
    found: list[str] = []
    cursor = None
    while True:
        page = s.call("m:page", text=text, filters=filters, paginationOpts={"numItems": count, "cursor": cursor})
        found += [doc["_id"] for doc in page["page"]]
        cursor = page["continueCursor"]
        if page["isDone"]:
            return found
