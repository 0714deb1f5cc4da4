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
        patch.setattr(postings, "TELLING", rng.choice([0, 2, 8]))
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


def test_words_accents_and_languages_without_spaces(s: Searches) -> None:
    texts = [
        "Die Größe der Straße", "naïve Café-Besucher", "데이터베이스를 검색한다", "검색 엔진", "서울 봄", "東京都の図書館",
        "京都の寺", "中文全文搜索引擎", "全文", "ガギグゲゴ", "カキクケコ",
    ]  # fmt: skip
    s.write([{"text": text} for text in texts])
    assert s.texts("GROSSE strasse") == [texts[0]]
    assert s.texts("cafe") == s.texts("CAFÉ") == s.texts("Cafe\u0301") == [texts[1]]
    assert s.texts("besu") == [texts[1]] and s.texts("besu x") == []
    assert s.texts("데이터베이스") == [texts[2]]
    assert set(s.texts("검색")) == {texts[2], texts[3]}
    assert s.texts("검색 엔진") == [texts[3], texts[2]], "both words come first"
    assert s.texts("봄") == [texts[4]] and s.texts("울") == [texts[4]] and s.texts("서울봄") == []
    assert s.texts("東京") == [texts[5]] and set(s.texts("京都")) == {texts[5], texts[6]}
    assert s.texts("図書館") == [texts[5]] and s.texts("図館") == []
    assert s.texts("搜索引擎") == [texts[7]] and s.texts("全文") == [texts[8], texts[7]]
    assert s.texts("ｶﾞｷﾞ") == [texts[9]] and s.texts("キク") == [texts[10]]
    assert s.texts("") == s.texts("…!") == s.texts("nothing of it") == []


def test_the_order_of_results(s: Searches) -> None:
    for text in ("apple tart", "apple", "apple apple tart cake pie", "an apple of many other words in a row", "apple"):
        s.write([{"text": text}])
    newest = [doc["text"] for doc in s.call("m:run", code="docs.order('desc').collect()")]
    assert newest[0] == "apple"
    found = s.texts("apple")
    assert found == [
        "apple",
        "apple",
        "apple apple tart cake pie",
        "apple tart",
        "an apple of many other words in a row",
    ]
    ids = s.call("m:find", text="apple", filters={})
    created = {doc["_id"]: doc["_creationTime"] for doc in s.call("m:run", code="docs.collect()")}
    assert created[ids[0]] > created[ids[1]], "the newest first where everything else is equal"
    assert s.texts("tart apple")[0] == "apple tart"
    s.write([{"text": "applesauce"}])
    assert s.texts("apple")[-1] == "applesauce", "a whole word counts more than its beginning"
    assert "applesauce" not in s.texts("apple tart")


def test_filters_limits_and_other_fields(s: Searches) -> None:
    s.write([{"text": "tea", "lang": "en", "n": 1}, {"text": "tea"}, {"text": "tea", "lang": None, "n": True}])
    by = 'docs.with_search_index("words", lambda q: q.search("text", "tea")'
    assert s.call("m:run", code=f'{by}.eq("lang", "en")).count()') == 1
    assert s.call("m:run", code=f'{by}.eq("lang", UNSET)).count()') == 1
    assert s.call("m:run", code=f'{by}.eq("lang", None).eq("n", True)).count()') == 1
    assert s.call("m:run", code=f'{by}.eq("n", 1)).unique()["lang"]') == "en"
    assert s.call("m:run", code=f"{by}).limit(2).count()") == 2
    assert s.call("m:run", code=f'[doc["n"] for doc in {by}).filter(lambda q: q.field("n") == 1)]') == [1]
    assert s.call("m:run", code=f"{by}).take(0)") == [] and s.call("m:run", code=f"len({by}).take(9))") == 3
    s.write([{"a": {"b": "deep tea"}}, {"a": "tea"}, {"a": {"b": 5}}])
    deep = 'docs.with_search_index("deep", lambda q: q.search("a.b", "tea")).collect()'
    assert [doc["a"] for doc in s.call("m:run", code=deep)] == [{"b": "deep tea"}]
    s.write([{"text": "coffee", "n": n} for n in range(1100)])
    many = 'docs.with_search_index("words", lambda q: q.search("text", "coffee"))'
    assert s.call("m:run", code=f"len({many}.take(1024))") == 1024
    assert s.call("m:run", code=f'len({many}.filter(lambda q: q.field("n") > 1000).collect())') == 99
    assert "more than 1024 results of a search, at most 1024 are allowed; use take(n)" in s.refused(f"{many}.collect()")
    assert len(pages(s, "coffee", {}, 400)) == 1100


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ('docs.with_search_index("words", lambda q: q)', 'lambda q: q.search("text", text)'.replace('"', "'")),
        ('docs.with_search_index("words", lambda q: None)', "the function returns its q"),
        ('docs.with_search_index("words", lambda q: q.search("title", "x"))', "is of the field 'text', not 'title'"),
        ('docs.with_search_index("words", lambda q: q.search("text", 5))', "is a string, not 5"),
        ('docs.with_search_index("words", lambda q: q.search("text", "a").search("text", "b"))', "is called once"),
        ('docs.with_search_index("words", lambda q: q.eq("lang", "x").search("text", "b"))', "search comes first"),
        (
            'docs.with_search_index("words", lambda q: q.search("text", "b").eq("x", 1))',
            "only by lang, n; add it to its",
        ),
        ('docs.with_search_index("words", lambda q: q.search("text", "b").eq("n", 1).eq("n", 2))', "equals one value"),
        ('docs.with_search_index("words", lambda q: q.search("text", "b")).order("desc")', "best first; remove order"),
        ('docs.order("asc").with_search_index("words", lambda q: q.search("text", "b"))', "an order of its own"),
        ('docs.with_index("by_lang").with_search_index("words", lambda q: q.search("text", "b"))', "has an index"),
        ('docs.with_search_index("none", lambda q: q.search("text", "b"))', "(its search indexes: words, deep); add"),
        ('docs.with_search_index("by_lang", lambda q: q.search("text", "b"))', "is no search index; use with_index"),
        ('docs.with_search_index("near", lambda q: q.search("text", "b"))', "is no search index; use nearest"),
        ('docs.with_index("words")', "is a text index; use with_search_index"),
        ('docs.with_index("nothing")', "has no index 'nothing', only by_id, by_creation_time, by_lang; add"),
        (
            'db.query("missing").with_search_index("words", lambda q: q.search("text", "b"))',
            "there is no table 'missing'",
        ),
    ],
)
def test_what_is_refused(s: Searches, code: str, text: str) -> None:
    assert text in s.refused(f"{code}.collect()")


def test_an_unfinished_word_stands_for_so_many(s: Searches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_plan, "PREFIX_TERMS", 3)
    s.write([{"text": f"word{letter}"} for letter in "edcba"])
    assert set(s.texts("word")) == {"worda", "wordb", "wordc"}
    assert s.texts("wordd") == ["wordd"]


def test_a_search_that_finds_too_much_stops(s: Searches, monkeypatch: pytest.MonkeyPatch) -> None:
    s.write([{"text": "green tea" if n % 2 else "green"} for n in range(300)])
    assert len(s.texts("green x")) == 300
    monkeypatch.setattr(ranking, "MOST_POSTINGS", 100)
    assert 100 <= len(s.texts("green x")) < 300
    cursor = s.call("m:page", text="green", filters={}, paginationOpts={"numItems": 5, "cursor": None})[
        "continueCursor"
    ]
    refused = s.inline.run_now(
        s.house.call("m:page", {"text": "other", "filters": {}, "paginationOpts": {"numItems": 5, "cursor": cursor}})
    )
    assert refused.failure is not None and "InvalidCursor" in refused.failure.message
