"""The query builder: ranges, order, filters, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbreactive.errors import InvalidValue
from nbreactive.runtime.filters import FilterBuilder, read_filter
from nbreactive.runtime.inline import InlineExecutor
from nbreactive.values.keys import encode_key
from nbreactive.values.kinds import UNSET, Int64
from tests.runtime.house import House, bundle

SOURCE = """
from nbreactive import define_schema, define_table
schema = define_schema({"posts": define_table(v.any()).index("by_a", ["a", "b"]).index("by_deep", ["x.y"]),
    "orders": define_table({"region": v.string(), "place": v.object({"city": v.string()})}),
    "shops": define_table({"region": v.string(), "place": v.object({"city": v.string()})}),
    "things": define_table(v.union(v.object({"kind": v.string()}), v.object({"size": v.number()})))})
@mutation
def fill(ctx, docs):
    for doc in docs:
        ctx.db.insert("posts", doc)
    ctx.db.insert("shops", {"region": "north", "place": {"city": "x"}})
@query
def run(ctx, code):
    return eval(code, {**globals(), "db": ctx.db, "posts": ctx.db.query("posts")})
"""
DOCS: list[dict[str, Any]] = [
    {"a": "x", "b": 1},
    {"a": "x", "b": 2, "x": {"y": 5}},
    {"a": "x", "b": 3},
    {"a": "y", "b": 1},
    {"a": "y"},
    {"a": None, "b": 0},
    {"b": 9},
    {"a": 5, "b": [1]},
]


class Queries:
    def __init__(self, folder: Path) -> None:
        self.house = House(folder)
        self.inline = InlineExecutor(bundle(1, m=SOURCE), self.house.reader)
        self.house.deploy_schema(self.inline.manifest)
        self.house.finish(self.inline.run_now(self.house.call("m:fill", {"docs": DOCS})))

    def run(self, code: str) -> Any:
        return self.house.finish(self.inline.run_now(self.house.call("m:run", {"code": code})))

    def bs(self, code: str) -> list[Any]:
        return [doc.get("b") for doc in self.run(code)]

    def refused(self, code: str) -> str:
        failure = self.inline.run_now(self.house.call("m:run", {"code": code})).failure
        assert failure is not None
        return failure.message


@pytest.fixture(scope="module")
def q(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Queries]:
    queries = Queries(tmp_path_factory.mktemp("query"))
    yield queries
    queries.house.close()


@pytest.mark.parametrize(
    ("true", "code"),
    [
        (True, 'q.field("gone") == UNSET'),
        (True, 'q.eq(UNSET, q.field("gone"))'),
        (True, 'q.field("gone.deep") == q.field("missing")'),
        (True, 'q.field("gone") != 3'),
        (True, 'q.field("gone") < 3'),
        (True, '~q.field("gone")'),
        (True, '~(q.field("gone") == 3)'),
        (True, '~((q.field("gone") == UNSET) & (q.field("region") == "nowhere"))'),
        (True, '(q.field("gone") == UNSET) & (q.field("region") == "north")'),
        (True, '(q.field("gone") == UNSET) | (q.field("region") == "nowhere")'),
        (True, 'q.field("place.zip") == q.field("gone")'),
        (False, 'q.field("gone")'),
        (False, 'q.field("gone") != UNSET'),
        (False, 'q.field("gone") == None'),
        (False, 'q.field("gone") >= 3'),
        (False, 'q.field("gone") != q.field("missing")'),
        (False, '~(q.field("gone") == UNSET)'),
        (False, '~((q.field("gone") == UNSET) | (q.field("region") == "north"))'),
        (False, '(q.field("gone") > 3) & (q.field("region") == "north")'),
        (False, '(q.field("gone") > 3) | (q.field("region") == "north")'),
        (False, 'q.field("gone") + 1 > 0'),
        (False, '-q.field("gone") < 0'),
    ],
)
def test_filters_on_fields_that_no_document_has_are_allowed_where_they_can_be_true(
    q: Queries, true: bool, code: str
) -> None:
    whole = f'db.query("shops").filter(lambda q: {code}).count()'
    if true:
        assert q.run(whole) == 1
    else:
        assert "documents of 'shops' have no field 'gone', so this is never true; " in q.refused(whole)


@given(st.data())
def test_what_is_refused_for_its_fields_is_true_for_no_document(data: st.DataObject) -> None:
    fields, values = st.sampled_from(["a", "b.c", "gone", "lost.x"]), st.sampled_from([UNSET, None, 0, 1, "x"])
    operators = st.sampled_from(["eq", "neq", "lt", "lte", "gt", "gte"])
    sides = st.one_of(fields.map(lambda name: ("field", name)), values.map(lambda value: ("value", value)))
    leaves = st.tuples(operators, sides, sides)
    trees = st.recursive(
        leaves, lambda tree: st.one_of(tree.map(lambda t: ("not_", t)), st.tuples(st.just("and_"), tree, tree))
    )

    def build(tree: Any, q: FilterBuilder) -> Any:
        kind, *parts = tree
        if kind in ("field", "value"):
            return q.field(parts[0]) if kind == "field" else parts[0]
        return getattr(q, kind)(*(build(part, q) for part in parts))

    tree = data.draw(trees)
    plain = read_filter(lambda q: build(tree, q))
    docs = [{}, {"a": 0}, {"a": 1, "b": {"c": 1}}, {"a": "x", "b": {"c": "y"}}, {"a": None, "b": {}}]
    true = [plain.holds(doc) for doc in docs]
    try:
        checked = read_filter(lambda q: build(tree, q), "docs", ["a", "b"])
    except InvalidValue:
        assert not any(true)
    else:
        assert [checked.holds(doc) for doc in docs] == true
        assert checked.form == plain.form


def test_filters_on_fields_that_the_schema_does_not_have_are_refused(q: Queries) -> None:
    said = q.refused('db.query("orders").filter(lambda q: q.field("regoin") == "north").collect()')
    assert (
        "InvalidValue: q.field('regoin'): documents of 'orders' have no field 'regoin', so this is never true; did you mean 'region'?"
        in said
    )
    said = q.refused('db.query("orders").filter(lambda q: q.eq(q.field("extra.x"), 1)).count()')
    assert "have no field 'extra', so this is never true; the fields are: region, place" in said
    assert "did you mean 'size'?" in q.refused('db.query("things").filter(lambda q: q.field("sise") > 1).first()')
    known = '(q.field("place.city") == "x") | (q.field("_creationTime") > 1) | (q.field("_id") == "x") | (q.field("region") == "x")'
    assert q.run(f'db.query("orders").filter(lambda q: {known}).collect()') == []
    assert (
        q.run('db.query("things").filter(lambda q: (q.field("kind") == "x") & (q.field("size") > 1)).collect()') == []
    )
    assert q.run('db.query("nothing").filter(lambda q: q.field("x") == 1).collect()') == []


def test_ranges(q: Queries) -> None:
    assert q.bs('posts.with_index("by_a", lambda q: q.eq("a", "x")).collect()') == [1, 2, 3]
    assert q.bs('posts.with_index("by_a", lambda q: q.eq("a", "x").gt("b", 1)).collect()') == [2, 3]
    assert q.bs('posts.with_index("by_a", lambda q: q.eq("a", "x").gte("b", 1).lt("b", 3)).collect()') == [1, 2]
    assert q.bs('posts.with_index("by_a", lambda q: q.eq("a", "x").lte("b", 2)).order("desc").collect()') == [2, 1]
    assert q.bs('posts.with_index("by_a", lambda q: q.gt("a", "x")).collect()') == [None, 1]
    assert q.bs('posts.with_index("by_a", lambda q: q.eq("a", UNSET)).collect()') == [9]
    assert q.bs('posts.with_index("by_a", lambda q: q.eq("a", None)).collect()') == [0]
    assert q.bs('posts.with_index("by_a", lambda q: q.eq("a", 5.0)).collect()') == [[1]]
    assert q.bs('posts.with_index("by_deep", lambda q: q.gte("x.y", 5)).collect()') == [2]
    assert q.bs('posts.with_index("by_a").collect()') == [9, 0, [1], 1, 2, 3, None, 1]
    assert q.bs('posts.with_index("by_a", lambda q: q.gt("a", "z").lt("a", "b")).collect()') == []
    assert q.bs('posts.with_index("by_creation_time", lambda q: q.gt("_creationTime", 0)).order("desc").take(2)') == [
        [1],
        9,
    ]
    assert q.bs('posts.with_index("by_id").limit(3).collect()') == [1, 2, 3]


def test_terminals(q: Queries) -> None:
    assert q.run('posts.first()["b"]') == 1
    assert q.bs('posts.order("desc").take(2)') == [[1], 9]
    assert q.run("posts.take(0)") == []
    assert q.run("posts.count()") == 8
    assert q.run("posts.limit(3).count()") == 3
    assert q.run('posts.with_index("by_a", lambda q: q.eq("a", "x")).count()') == 3
    assert q.run('posts.with_index("by_a", lambda q: q.eq("a", "x").gt("b", 1)).count()') == 2
    assert q.run('posts.filter(lambda q: q.field("a") == "x").count()') == 3
    assert q.run('posts.with_index("by_a", lambda q: q.eq("a", None)).unique()["b"]') == 0
    assert q.run('posts.with_index("by_a", lambda q: q.eq("a", "nobody")).unique()') is None
    assert "unique() query returned more than one result from table posts:" in q.refused("posts.unique()")
    assert q.bs("[doc for doc in posts]") == q.bs("posts.full_table_scan().collect()")


def test_filters(q: Queries) -> None:
    assert q.bs('posts.filter(lambda q: (q.field("a") == "x") & (q.field("b") > 1)).collect()') == [2, 3]
    assert q.bs('posts.filter(lambda q: q.and_(q.eq(q.field("a"), "x"), q.gt(q.field("b"), 1))).collect()') == [2, 3]
    assert q.bs('posts.filter(lambda q: ~(q.field("a") == "x") & (q.field("b") == UNSET)).collect()') == [None]
    assert q.bs('posts.filter(lambda q: (q.field("b") == 9) | (q.field("x.y") == 5)).collect()') == [2, 9]
    assert q.bs(
        'posts.filter(lambda q: q.field("a") == "x").filter(lambda q: q.field("b") < 3).order("desc").collect()'
    ) == [2, 1]
    assert q.bs('posts.filter(lambda q: q.field("a") == "x").take(2)') == [1, 2]
    assert q.bs('posts.filter(lambda q: q.field("_id") == db.query("posts").first()["_id"]).collect()') == [1]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ('posts.filter(lambda q: q.field("a") == "x" and q.field("b") > 1).collect()', "& for and"),
        ('posts.filter(lambda q: not q.field("a")).collect()', "~ for not"),
        ('posts.filter(lambda q: 1 < q.field("b") < 3).collect()', "chained comparisons"),
        ('posts.filter(lambda q: q.field("a") + 1 > 1).collect()', "two numbers"),
        ("posts.filter(5)", "takes a function"),
        ("posts.filter(lambda q: 5)", "returns an expression"),
        ('posts.with_index("nope").collect()', "has no index 'nope', only by_id, by_creation_time, by_a, by_deep"),
        ('posts.with_index("by_a", lambda q: q.eq("b", 1)).collect()', "the next field is 'a'"),
        ('posts.with_index("by_a", lambda q: q.gt("a", 1).eq("b", 1)).collect()', "eq comes before"),
        ('posts.with_index("by_a", lambda q: q.gt("a", 1).lt("b", 1)).collect()', "both bounds are on one field"),
        ('posts.with_index("by_a", lambda q: q.gt("a", 1).gte("a", 1)).collect()', "one lower and one upper"),
        ('posts.with_index("by_a", lambda q: 5).collect()', "the function returns its q"),
        ('posts.with_index("by_a").with_index("by_a")', "has an index already"),
        ('posts.order("up")', '"asc" or "desc"'),
        ('posts.order("asc").order("asc")', "has an order already"),
        ("posts.take(-1)", "number of documents"),
        ("posts.take(True)", "number of documents"),
        ("posts[0]", "cannot be indexed"),
        ("len(posts)", "has no len()"),
        ("1 if posts else 2", "no truth value"),
        ("[posts.collect(), posts.collect()]", "was used already"),
        ('[posts.order("asc").collect(), posts.collect()]', "was used already"),
        ("posts", "add .collect()"),
        ("db.query(5)", "named by a string"),
        ('posts.where("likes", 3)', "a query has no 'where'; use .filter(lambda q"),
        ('posts.orderBy("likes")', 'use .order("desc")'),
        ("posts.to_list()", "use .collect()"),
        ("posts.withIndex('by_a')", "did you mean .with_index?"),
        ("posts.zzz()", "it has collect, count"),
        ("posts.filter(lambda p: p['likes'] > 1)", "write q.field('likes')"),
        ("posts.filter(lambda p: p.likes > 1)", "the field of a document is q.field('likes')"),
    ],
)
def test_mistakes_are_named(q: Queries, code: str, text: str) -> None:
    """Case 17 among them: only declared indexes."""
    assert text in q.refused(code)


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.floats(allow_nan=True), st.text(max_size=3), st.just(UNSET),
    st.integers(-5, 5).map(Int64),
)  # fmt: skip


@given(a=VALUES, b=VALUES)
def test_filters_agree_with_index_keys(a: Any, b: Any) -> None:
    q = FilterBuilder()
    doc = {} if a is UNSET else {"a": a}
    left, right = encode_key(a), encode_key(b)
    assert read_filter(lambda _: q.field("a") == b).holds(doc) is (left == right)
    assert read_filter(lambda _: q.field("a") != b).holds(doc) is (left != right)
    assert read_filter(lambda _: q.field("a") < b).holds(doc) is (left < right)
    assert read_filter(lambda _: q.gte(q.field("a"), b)).holds(doc) is (left >= right)


def test_arithmetic() -> None:
    def value(build: Any, **doc: Any) -> bool:
        return read_filter(build).holds(doc)

    assert value(lambda q: q.field("n") * 2 + 1 == 7, n=3)
    assert value(lambda q: 10 - q.field("n") == 7, n=3)
    assert value(lambda q: q.neg(q.field("n")) == -3, n=3)
    assert value(lambda q: q.mod(q.field("n"), 3) == -1, n=-7)
    assert value(lambda q: q.div(q.field("n"), 0) == float("inf"), n=1)
    assert value(lambda q: q.div(q.field("n"), Int64(2)) == Int64(-3), n=Int64(-7))
    assert value(lambda q: q.field("n") % Int64(2) == Int64(-1), n=Int64(-7))
    with pytest.raises(InvalidValue, match="divided by zero"):
        value(lambda q: q.field("n") / Int64(0) == 1, n=Int64(1))


@settings(max_examples=30, deadline=None)
@given(
    stored=st.lists(st.tuples(st.sampled_from("xyz"), st.integers(0, 4)), max_size=12),
    steps=st.lists(
        st.tuples(st.sampled_from(["insert", "delete", "patch"]), st.sampled_from("xyz"), st.integers(0, 9)), max_size=8
    ),
    low=st.integers(0, 4),
    desc=st.booleans(),
)
def test_own_writes_merge_like_a_plain_list(
    tmp_path_factory: pytest.TempPathFactory, stored: list[Any], steps: list[Any], low: int, desc: bool
) -> None:
    source = """
from nbreactive import define_schema, define_table
schema = define_schema({"t": define_table(v.any()).index("by_k", ["k", "n"])})
@mutation
def fill(ctx, rows):
    for k, n in rows: ctx.db.insert("t", {"k": k, "n": n})
@mutation
def work(ctx, steps, low, direction):
    t = lambda: ctx.db.query("t")
    model = t().collect()
    t().with_index("by_k", lambda q: q.eq("k", "x")).count()
    for what, k, n in steps:
        if what == "insert":
            model.append(ctx.db.get(ctx.db.insert("t", {"k": k, "n": n})))
        elif model:
            doc = model[n % len(model)]
            if what == "delete":
                ctx.db.delete(doc["_id"]); model.remove(doc)
            else:
                ctx.db.patch(doc["_id"], {"k": k}); doc["k"] = k
    found = t().with_index("by_k", lambda q: q.eq("k", "x").gte("n", low)).order(direction).collect()
    expected = sorted((d for d in model if d["k"] == "x" and d["n"] >= low), key=lambda d: (d["n"], d["_creationTime"]))
    assert found == expected[:: -1 if direction == "desc" else 1]
    assert list(t()) == sorted(model, key=lambda d: d["_creationTime"])
    for k in "xyz":
        assert t().with_index("by_k", lambda q: q.eq("k", k)).count() == sum(d["k"] == k for d in model)
    assert t().count() == len(model)
"""
    house = House(tmp_path_factory.mktemp("merge"))
    inline = InlineExecutor(bundle(1, m=source), house.reader)
    house.deploy_schema(inline.manifest)
    house.finish(inline.run_now(house.call("m:fill", {"rows": [list(row) for row in stored]})))
    direction = "desc" if desc else "asc"
    args = {"steps": [list(step) for step in steps], "low": low, "direction": direction}
    house.finish(inline.run_now(house.call("m:work", args)))
    house.close()
