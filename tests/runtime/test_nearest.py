"""Vector search in functions: against exact search in plain Python, live, with own writes, with filters."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbreactive import api
from nbreactive.errors import InvalidValue
from nbreactive.testing import Backend
from tests.engine.vector_model import Row, agree, cosine, exact

MODULE = """
from typing import Any

from nbreactive import UNSET, action, define_schema, define_table, mutation, query, v

schema = define_schema({
    "docs": define_table(v.any()).vector_index("near", vector_field="e", dimensions=3, filter_fields=["lang", "meta.kind"])
        .index("by_lang", ["lang"]),
    "plain": define_table({"x": v.number()}),
})


@mutation
def put(ctx, doc: Any):
    return ctx.db.insert("docs", doc)


@mutation
def patch(ctx, id: str, fields: Any):
    ctx.db.patch(id, fields)


@mutation
def remove(ctx, id: str):
    ctx.db.delete(id)


def pairs(found):
    return [[document["_score"], document["_id"]] for document in found]


@query
def near(ctx, vector: Any, limit: int = 3, langs: list[str] | None = None, kind: str | None = None, index: str = "near"):
    where = None
    if langs is not None:
        where = lambda q: q.or_(*[q.eq("lang", lang) for lang in langs], *([q.eq("meta.kind", kind)] if kind else []))
    return pairs(ctx.db.query("docs").nearest(index, vector, limit=limit, filter=where))


@query
def near_without(ctx, vector: Any, unwanted: str, limit: int = 3):
    found = ctx.db.query("docs").filter(lambda q: q.neq(q.field("lang"), unwanted)).nearest("near", vector, limit=limit)
    return pairs(found)


@query
def absent(ctx, vector: Any):
    return pairs(ctx.db.query("docs").nearest("near", vector, filter=lambda q: q.eq("lang", UNSET)))


@mutation
def write_and_look(ctx, writes: list[Any], vector: Any, limit: int, langs: list[str] | None = None):
    ids = []
    for what, value in writes:
        if what == "put":
            ids.append(ctx.db.insert("docs", value))
        elif what == "patch":
            ctx.db.patch(value[0], {"e": value[1]})
        else:
            ctx.db.delete(value)
    where = (lambda q: q.or_(*[q.eq("lang", lang) for lang in langs])) if langs else None
    return ids, pairs(ctx.db.query("docs").nearest("near", vector, limit=limit, filter=where))


@action
async def search(ctx, vector: Any, limit: int = 3, lang: str | None = None):
    return await ctx.vector_search("docs", "near", vector=vector, limit=limit, filter=(lambda q: q.eq("lang", lang)) if lang else None)


@action
def search_blocking(ctx, vector: Any):
    return ctx.vector_search("docs", "near", vector=vector)


@query
def wrong(ctx, how: str):
    docs = ctx.db.query("docs")
    if how == "order":
        docs.order("desc").nearest("near", [1.0, 2.0, 3.0])
    elif how == "ordered":
        docs.nearest("by_lang", [1.0, 2.0, 3.0])
    elif how == "with_index":
        docs.with_index("near").collect()
    elif how == "table":
        ctx.db.query("nowhere").nearest("near", [1.0, 2.0, 3.0])
    elif how == "field":
        docs.nearest("near", [1.0, 2.0, 3.0], filter=lambda q: q.eq("n", 1))
    elif how == "and":
        docs.nearest("near", [1.0, 2.0, 3.0], filter=lambda q: q.eq("lang", "ko") and q.eq("lang", "ja"))
    elif how == "true":
        docs.nearest("near", [1.0, 2.0, 3.0], filter=lambda q: True)
    elif how == "many":
        docs.nearest("near", [1.0, 2.0, 3.0], filter=lambda q: q.or_(*[q.eq("lang", str(n)) for n in range(65)]))
"""


@pytest.fixture(scope="module")
def shared() -> Iterator[Backend]:
    with Backend({"m": MODULE}) as backend:
        yield backend


def runs(backend: Backend) -> int:
    return backend._machine.engine.executions["queries"]


def clear(backend: Backend) -> None:
    backend.run(lambda ctx: [ctx.db.delete(document["_id"]) for document in ctx.db.query("docs").collect()])


def row(id: str, doc: dict[str, Any]) -> Row:
    e = doc.get("e")
    vector = e if isinstance(e, list) and len(e) == 3 and all(isinstance(x, float) for x in e) else None
    return Row(id, vector, {"lang": doc.get("lang"), "kind": doc.get("meta", {}).get("kind")})


NUMBER = st.integers(-4, 4).map(float)
VECTOR = st.lists(NUMBER, min_size=3, max_size=3).filter(any)
NO_VECTOR = st.sampled_from([None, [1.0, 2.0], "abc", [0.0, 0.0, 0.0], [1.0, 2.0, "x"], []])
DOC = st.fixed_dictionaries({"e": VECTOR | VECTOR | VECTOR | NO_VECTOR, "lang": st.sampled_from(["ko", "ja", "en"])})
OPERATION = st.tuples(st.sampled_from(["put", "put", "patch", "remove", "rename"]), DOC, st.integers(0, 99))


@settings(max_examples=25, deadline=None)
@given(st.lists(OPERATION, max_size=25), VECTOR, st.integers(1, 4), st.sampled_from([None, ["ko"], ["ja", "en"]]))
def test_a_live_search_is_exact_at_every_step_and_runs_when_it_must(
    shared: Backend, operations: list[Any], query: list[float], limit: int, langs: list[str] | None
) -> None:
    clear(shared)
    rows: dict[str, Row] = {}
    live = shared.live(api.m.near, vector=query, limit=limit, langs=langs)

    def matching() -> list[Row]:
        return [r for r in rows.values() if langs is None or r.filters["lang"] in langs]

    try:
        for what, doc, n in operations:
            before, shown = runs(shared), {id for _, id in live.value}
            least = live.value[-1][0] if len(live.value) == limit else -math.inf
            id = sorted(rows)[n % len(rows)] if rows else ""
            what = what if rows else "put"
            if what == "put":
                id = shared.mutation(api.m.put, doc=doc)
                rows[id] = row(id, doc)
            elif what == "remove":
                shared.mutation(api.m.remove, id=id)
                del rows[id]
            elif what == "rename":  # nothing that the index knows of
                shared.mutation(api.m.patch, id=id, fields={"name": str(n)})
            else:
                shared.mutation(api.m.patch, id=id, fields=doc)
                rows[id] = row(id, doc)
            assert agree(live.value, matching(), query, limit)
            now = next((r for r in matching() if r.id == id and r.vector and any(r.vector)), None)
            near = now is not None and what != "rename" and cosine(now.vector or [], query) >= least - 1e-5
            assert runs(shared) - before <= (1 if near or id in shown else 0)
    finally:
        live.close()


@settings(max_examples=20, deadline=None)
@given(
    st.lists(DOC, max_size=12),
    st.lists(OPERATION, max_size=8),
    VECTOR,
    st.integers(1, 5),
    st.sampled_from([None, ["ko", "en"]]),
)
def test_a_mutation_sees_its_own_writes(
    shared: Backend, docs: list[Any], operations: list[Any], query: list[float], limit: int, langs: list[str] | None
) -> None:
    clear(shared)
    rows = {(id := shared.mutation(api.m.put, doc=doc)): row(id, doc) for doc in docs}
    writes: list[Any] = []
    added: list[dict[str, Any]] = []
    for what, doc, n in operations:
        id = sorted(rows)[n % len(rows)] if rows else ""
        if what == "put" or not rows:
            writes.append(("put", doc))
            added.append(doc)
        elif what == "remove":
            writes.append(("delete", id))
            del rows[id]
        elif isinstance(doc["e"], list) or doc["e"] is None:
            writes.append(("patch", (id, doc["e"])))
            rows[id] = row(id, {"e": doc["e"], "lang": rows[id].filters["lang"]})
    ids, found = shared.mutation(api.m.write_and_look, writes=writes, vector=query, limit=limit, langs=langs)
    rows |= {id: row(id, doc) for id, doc in zip(ids, added, strict=True)}
    there = [r for r in rows.values() if langs is None or r.filters["lang"] in langs]
    assert agree(found, there, query, limit)
    assert shared.query(api.m.near, vector=query, limit=limit, langs=langs) == found


def test_filters(shared: Backend) -> None:
    clear(shared)
    chance = random.Random(7)
    rows: dict[str, Row] = {}
    for n in range(60):
        doc: dict[str, Any] = {"e": [chance.uniform(-1, 1) for _ in range(3)], "meta": {"kind": f"k{n % 4}"}}
        if n % 5:
            doc["lang"] = ["ko", "ja"][n % 2]
        id = shared.mutation(api.m.put, doc=doc)
        rows[id] = row(id, doc)
    query = [0.3, -0.2, 0.9]
    all_rows = list(rows.values())
    for langs in (["ko"], ["ja"], ["ko", "ja"], ["en"]):
        there = [r for r in all_rows if r.filters["lang"] in langs]
        assert agree(shared.query(api.m.near, vector=query, limit=9, langs=langs), there, query, 9)
    there = [r for r in all_rows if r.filters["lang"] == "ko" or r.filters["kind"] == "k1"]
    assert agree(shared.query(api.m.near, vector=query, limit=9, langs=["ko"], kind="k1"), there, query, 9)
    there = [r for r in all_rows if r.filters["lang"] is None]
    assert agree(shared.query(api.m.absent, vector=query), there, query, 10)
    # Any filter of any field: others take the place of what it leaves out
    there = [r for r in all_rows if r.filters["lang"] != "ko"]
    for limit in (1, 7, 200):
        assert agree(shared.query(api.m.near_without, vector=query, unwanted="ko", limit=limit), there, query, limit)


def test_true_is_no_number_of_a_vector(shared: Backend) -> None:
    clear(shared)
    was = shared.mutation(api.m.put, doc={"e": [0.0, -1.0, 0.0]})
    becomes = shared.mutation(api.m.put, doc={"e": [False, False, True]})
    shared.mutation(api.m.patch, id=was, fields={"e": [False, -1.0, False]})
    shared.mutation(api.m.patch, id=becomes, fields={"e": [0.0, 0.0, 1.0]})
    assert [id for _, id in shared.query(api.m.near, vector=[0.0, -1.0, 0.5])] == [becomes]


def test_a_live_search_is_not_run_again_for_another_filter(shared: Backend) -> None:
    clear(shared)
    live = shared.live(api.m.near, vector=[1.0, 0.0, 0.0], langs=["ko"])
    before = runs(shared)
    shared.mutation(api.m.put, doc={"e": [1.0, 0.0, 0.0], "lang": "ja"})
    assert runs(shared) == before
    shared.mutation(api.m.put, doc={"e": [1.0, 0.0, 0.0], "lang": "ko"})
    assert runs(shared) == before + 1
    assert len(live.value) == 1
    live.close()


def test_of_many_live_searches_those_run_again_whose_nearest_changed(shared: Backend) -> None:
    clear(shared)
    chance = random.Random(3)
    vectors = [[chance.gauss(0, 1) for _ in range(3)] for _ in range(400)]
    shared.run(lambda ctx: [ctx.db.insert("docs", {"e": vector, "lang": "ko"}) for vector in vectors] and None)
    queries = [[chance.gauss(0, 1) for _ in range(3)] for _ in range(60)]
    lives = [shared.live(api.m.near, vector=query, limit=2) for query in queries]
    rows = [Row(n, vector, {}) for n, vector in enumerate(vectors)]
    for n in range(20):
        new = [chance.gauss(0, 1) for _ in range(3)]
        concerned = [q for q in queries if cosine(new, q) >= exact(rows, q, 2)[-1][0] - 1e-5]
        before = runs(shared)
        shared.mutation(api.m.put, doc={"e": new, "lang": "ja"})
        assert runs(shared) - before <= len(concerned) < 20
        rows.append(Row(400 + n, new, {}))
        for live, query in zip(lives, queries, strict=True):
            assert [near[0] for near in live.value] == pytest.approx(
                [near[0] for near in exact(rows, query, 2)], abs=1e-6
            )
    for live in lives:
        live.close()


def test_actions_find_ids_and_scores(shared: Backend) -> None:
    clear(shared)
    ids = [
        shared.mutation(api.m.put, doc={"e": [float(n), 1.0, 0.0], "lang": "ko" if n % 2 else "ja"}) for n in range(9)
    ]
    found = shared.action(api.m.search, vector=[1.0, 0.0, 0.0], limit=2)
    assert [near["_id"] for near in found] == [ids[8], ids[7]]
    assert found[0]["_score"] == pytest.approx(8 / math.sqrt(65), abs=1e-6)
    assert [near["_id"] for near in shared.action(api.m.search, vector=[1.0, 0.0, 0.0], lang="ko")] == [
        ids[7],
        ids[5],
        ids[3],
    ]
    assert len(shared.action(api.m.search_blocking, vector=[1, 0, 0])) == 9
    with pytest.raises(InvalidValue, match="list of 3 finite numbers"):
        shared.action(api.m.search, vector=[1.0])


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("order", "nearest has an index, an order and a limit of its own"),
        ("ordered", "has no vector index 'by_lang', only: near"),
        ("with_index", "'near' of table 'docs' is a vector index; use nearest"),
        ("table", "there is no table 'nowhere'"),
        ("field", "no filter field 'n', only: lang, meta.kind"),
        ("and", "q.or_"),
        ("true", "returns a condition"),
        ("many", "65"),
    ],
)
def test_what_cannot_be_asked(shared: Backend, how: str, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        shared.query(api.m.wrong, how=how)


@pytest.mark.parametrize(
    ("vector", "told"),
    [
        ([1.0, 2.0], "a list of 2"),
        ([1.0, 2.0, 3.0, 4.0], "a list of 4"),
        ("abc", "str"),
        ([0.0, 0.0, 0.0], "a list of 3 numbers that are all zero: .*"),
        ([1.0, float("nan"), 0.0], "a list of 3 with NaN or infinity in it"),
        ([1.0, "a", 2.0], "a list of 3 in which not all are numbers"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_vector_to_search_with(shared: Backend, vector: Any, told: str) -> None:
    with pytest.raises(InvalidValue, match=rf"list of 3 finite numbers, not all zero; this is {told}\. The vectors"):
        shared.query(api.m.near, vector=vector)


@pytest.mark.parametrize("limit", [0, -1, 257])
def test_limits_of_a_search(shared: Backend, limit: Any) -> None:
    with pytest.raises(InvalidValue):
        shared.query(api.m.near, vector=[1.0, 2.0, 3.0], limit=limit)
