"""ctx.db: what is read, what is written, what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nbreactive.engine.catalog import COUNTS, count_key, index_id
from nbreactive.engine.transactions import Outcome
from nbreactive.runtime.inline import InlineExecutor
from nbreactive.values.json import decode_json
from tests.runtime.house import House, bundle

SCHEMA = """
from nbreactive import define_schema, define_table
schema = define_schema({
    "posts": define_table({"title": v.string(), "likes": v.integer(), "who": v.optional(v.string()),
                           "at": v.optional(v.datetime())}).index("by_who", ["who", "likes"]),
    "users": define_table({"name": v.string()}),
    "links": define_table({"post": v.id("posts"), "big": v.optional(v.int64())}),
})
"""


class Db:
    """Runs bodies of functions against one house."""

    def __init__(self, folder: Path) -> None:
        self.house = House(folder)
        self._version = 0
        manifest = InlineExecutor(bundle(1, s=SCHEMA), self.house.reader).manifest
        self.house.deploy_schema(manifest)

    def run(self, body: str, kind: str = "mutation", /, **args: Any) -> Outcome:
        """Run a function of that body; ``args`` are its parameters."""
        self._version += 1
        lines = "\n".join(f"    {line}" for line in body.strip("\n").split("\n"))
        source = f"@{kind}\ndef f(ctx{''.join(', ' + name for name in args)}):\n    db = ctx.db\n{lines}\n"
        inline = InlineExecutor(bundle(self._version, m=source), self.house.reader)
        return inline.run_now(self.house.call("m:f", args))

    def do(self, body: str, kind: str = "mutation", /, **args: Any) -> Any:
        """Run and commit; returns the value."""
        return self.house.finish(self.run(body, kind, **args))

    def ask(self, body: str, /, **args: Any) -> Any:
        """Run as a query."""
        return self.do(body, "query", **args)

    def refused(self, body: str, code: str, says: str, kind: str = "mutation", /, **args: Any) -> None:
        """Run something that fails."""
        outcome = self.run(body, kind, **args)
        assert outcome.failure is not None, outcome.value
        assert (outcome.failure.code, says in outcome.failure.message) == (code, True), outcome.failure
        assert not outcome.writes


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Db]:
    db = Db(tmp_path)
    yield db
    db.house.close()


def test_a_document_is_stored_and_read_back(db: Db) -> None:
    id = db.do('return db.insert("posts", {"title": "a", "likes": 1, "who": UNSET})')
    doc = db.ask("return db.get(id)", id=id)
    assert doc == {"_id": id, "_creationTime": doc["_creationTime"], "title": "a", "likes": 1}
    assert doc["_creationTime"] >= 1_790_000_000_000
    assert db.ask('return db.get("posts", id)', id=id) == doc


def test_patch_replace_delete(db: Db) -> None:
    id = db.do('return db.insert("posts", {"title": "a", "likes": 1, "who": "x"})')
    first = db.ask("return db.get(id)", id=id)
    db.do('db.patch(id, {"likes": 2, "who": UNSET})', id=id)
    assert db.ask("return db.get(id)", id=id) == {k: v for k, v in first.items() if k != "who"} | {"likes": 2}
    db.do('db.replace(id, {**db.get(id), "title": "b"})', id=id)
    assert db.ask("return db.get(id)", id=id)["title"] == "b"
    db.do("db.delete(id)", id=id)
    assert db.ask("return db.get(id)", id=id) is None
    db.refused("db.delete(id)", "InvalidId", "there is no document", id=id)
    db.refused('db.patch(id, {"likes": 1})', "InvalidId", "there is no document", id=id)


def test_fields_are_no_keywords(db: Db) -> None:
    id = db.do('return db.insert("posts", {"title": "a", "likes": 1})')
    db.refused("db.patch(id, likes=3)", "InvalidValue", 'db.patch(id, {"likes": ...})', id=id)


def test_a_writer_sees_its_own_writes_everywhere(db: Db) -> None:
    db.do('[db.insert("posts", {"title": str(i), "likes": i, "who": "x"}) for i in range(3)]')
    seen = db.do("""
a = db.insert("posts", {"title": "new", "likes": 1, "who": "x"})
first = db.query("posts").first()
db.delete(first["_id"])
second = db.query("posts").first()
db.patch(second["_id"], {"likes": 9})
rows = db.query("posts").with_index("by_who", lambda q: q.eq("who", "x")).collect()
down = db.query("posts").with_index("by_who", lambda q: q.eq("who", "x").gte("likes", 2)).order("desc").collect()
return [[r["title"] for r in rows], [r["title"] for r in down], db.query("posts").count(),
        db.query("posts").with_index("by_who", lambda q: q.eq("who", "x")).count(),
        db.query("posts").with_index("by_who", lambda q: q.eq("who", "x").eq("likes", 9)).count(), db.get(first["_id"])]
""")
    assert seen == [["new", "2", "1"], ["1", "2"], 3, 3, 1, None]
    assert db.ask('return db.query("posts").count()') == 3


def test_counts_follow_writes_within_a_mutation(db: Db) -> None:
    counts = db.do("""
out = [db.query("posts").count()]
for i in range(4):
    id = db.insert("posts", {"title": "t", "likes": i, "who": "x"})
    out.append(db.query("posts").count())
db.delete(id)
return out + [db.query("posts").count()]
""")
    assert counts == [0, 1, 2, 3, 4, 3]


def test_a_loop_sees_the_state_of_its_beginning(db: Db) -> None:
    db.do('[db.insert("posts", {"title": str(i), "likes": i}) for i in range(40)]')
    titles = db.do("""
out = []
for post in db.query("posts"):
    out.append(post["title"])
    db.insert("posts", {"title": "again", "likes": 0})
    db.patch(post["_id"], {"title": "seen"})
return out
""")
    assert titles == [str(i) for i in range(40)]
    assert db.ask('return db.query("posts").count()') == 80


def test_documents_handed_out_are_copies(db: Db) -> None:
    assert db.do("""
id = db.insert("free", {"tags": [1]})
db.get(id)["tags"].append(2)
doc = {"tags": [3]}
other = db.insert("free", doc)
doc["tags"].append(4)
return [db.get(id)["tags"], db.get(other)["tags"]]
""") == [[1], [3]]


def test_a_table_that_is_likely_to_be_misspelt_is_named_once(db: Db) -> None:
    def said(body: str) -> list[str]:
        return [f"{line.level} {line.text}" for line in db.run(body).logs]

    assert said('return [db.query("post").collect(), db.query("post").count()]') == [
        "WARN ctx.db.query('post'): there is no such table, so it is empty; did you mean 'posts'?"
    ]
    assert said('return db.query("zebras").first()') == [
        "WARN ctx.db.query('zebras'): there is no such table, so it is empty; the schema declares links, posts, users"
    ]
    assert said('db.insert("user", {"a": 1}); db.insert("user", {"a": 2}); return db.query("user").count()') == [
        "WARN ctx.db.insert('user', ...) makes the table 'user', which the schema does not declare; did you mean 'users'?"
    ]
    assert said('return db.query("posts").collect()') == []


def test_what_is_said_of_a_missing_table_makes_no_read(db: Db) -> None:
    reads = db.run('return db.query("post").collect()', "query").reads
    assert reads == db.run('return db.query("post").collect()', "query").reads
    db.do('db.insert("unrelated", {})')
    assert db.run('return db.query("post").collect()', "query").reads == reads


def test_without_a_schema_only_near_names_are_named(tmp_path: Path) -> None:
    house = House(tmp_path)
    try:
        sources = [
            '@mutation\ndef f(ctx):\n    ctx.db.insert("notes", {})\n',
            '@mutation\ndef f(ctx):\n    ctx.db.query("zebras").collect()\n    ctx.db.query("nots").collect()\n',
        ]
        for version, source in enumerate(sources, 1):
            inline = InlineExecutor(bundle(version, m=source), house.reader)
            outcome = inline.run_now(house.call("m:f", {}))
            house.finish(outcome)
        assert [line.text for line in outcome.logs] == [
            "ctx.db.query('nots'): there is no such table, so it is empty; did you mean 'notes'?"
        ]
    finally:
        house.close()


def test_tables_come_into_being(db: Db) -> None:
    assert db.ask('return [db.query("free").collect(), db.query("free").count(), db.query("free").first()]') == [
        [],
        0,
        None,
    ]
    outcome = db.run('return [db.insert("free", {"a": 1}), db.insert("other", {"b": 2}), db.query("free").count()]')
    value = db.house.finish(outcome)
    assert value[2] == 1
    assert db.ask("return [db.get(a)['a'], db.get(b)['b']]", a=value[0], b=value[1]) == [1, 2]
    # Whoever creates a table has read all names, so two who create at once conflict.
    assert outcome.reads[index_id(1, 2)][0][0] == b""


def test_datetimes_are_datetimes_in_python_only(db: Db) -> None:
    id = db.do("""
import datetime
id = db.insert("posts", {"title": "a", "likes": 1, "at": datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)})
assert db.get(id)["at"] == datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
db.patch(id, {"likes": 2})
return id
""")
    assert db.ask("return db.get(id)", id=id)["at"] == 1793491200000


def test_the_schema_is_enforced(db: Db) -> None:
    db.refused('db.insert("posts", {"title": "a", "likes": "1"})', "SchemaError", "posts.likes")
    db.refused('db.insert("posts", {"title": "a"})', "SchemaError", "likes")
    db.refused('db.insert("posts", {"title": "a", "likes": 1, "more": 1})', "SchemaError", "more")
    post = db.do('return db.insert("posts", {"title": "a", "likes": 1})')
    user = db.do('return db.insert("users", {"name": "a"})')
    db.refused('db.patch(post, {"likes": None})', "SchemaError", "posts.likes", post=post)
    db.refused('db.insert("links", {"post": user})', "SchemaError", "links.post", user=user)
    db.do('db.insert("links", {"post": post, "big": 5})', post=post)


@pytest.mark.parametrize(
    "value", ['{"_id": "forged"}', '{"_creationTime": 5}', '{"_x": 1}', '{"$x": 1}', '{"": 1}', '{"ä": 1}', "{1: 1}"]
)
def test_forged_and_odd_fields_are_refused(db: Db, value: str) -> None:
    """Cases 13 and 15."""
    outcome = db.run(f'db.insert("free", {value})')
    assert outcome.failure is not None
    assert outcome.failure.code in {"SchemaError", "InvalidValue"}


def test_system_fields_handed_back_must_be_their_own(db: Db) -> None:
    id = db.do('return db.insert("free", {"a": 1})')
    db.do('db.patch(id, {**db.get(id), "a": 2})', id=id)
    db.refused('db.patch(id, {"_creationTime": 1.0})', "SchemaError", "cannot become", id=id)
    db.refused('db.replace(id, {"_id": "x"})', "SchemaError", "cannot become", id=id)


@pytest.mark.parametrize("text", ["", "x", "1; DROP TABLE posts", "../etc", "a\x00b", "j" * 32, "ä" * 32])
def test_what_is_no_id(db: Db, text: str) -> None:
    """Case 14."""
    db.refused("return db.get(text)", "InvalidId", "is not an id", "query", text=text)
    assert db.ask('return db.normalize_id("posts", text)', text=text) is None


def test_ids_of_other_tables(db: Db) -> None:
    """Case 14."""
    user = db.do('return db.insert("users", {"name": "a"})')
    assert db.ask('return db.normalize_id("posts", id)', id=user) is None
    assert db.ask('return db.normalize_id("users", id)', id=user) == user
    db.refused('return db.get("posts", id)', "InvalidId", "it is one of 'users'", "query", id=user)
    db.refused("return db.get(5)", "InvalidId", "takes the id", "query")
    system = db.ask("from nbreactive.values.ids import encode_id\nreturn encode_id(1, bytes(16))")
    assert db.ask("return db.get(id)", id=system) is None


def test_hostile_text_is_only_text(db: Db) -> None:
    """Case 16."""
    text = "'); DROP TABLE posts;--\u202e<img onerror=x>\x00"
    id = db.do('return db.insert("posts", {"title": text, "likes": 1})', text=text)
    assert db.ask("return db.get(id)", id=id)["title"] == text
    for name in ("posts; DROP", "x" * 65, "1a", "a-b", "ä", ""):
        db.refused("db.insert(name, {})", "InvalidValue", "cannot be the name", name=name)
    db.refused('db.query("_tables").collect()', "NotAllowed", "table of the system", "query")
    db.refused('db.insert("_modules", {})', "NotAllowed", "table of the system")


def test_a_query_cannot_write(db: Db) -> None:
    """Case 26."""
    db.refused('db.insert("posts", {})', "NotAllowed", "a query cannot write", "query")
    db.refused('ctx.run_mutation("m:f")', "NotAllowed", "a query cannot run a mutation", "query")


def test_reads_are_what_was_consumed(db: Db) -> None:
    ids = db.do('return [db.insert("posts", {"title": str(i), "likes": i, "who": "x"}) for i in range(50)]')
    posts = db.house.catalog().table("posts")
    assert posts is not None
    info = posts.index("by_who")
    by_time = posts.index("by_creation_time")
    assert info is not None
    assert by_time is not None

    def touched(outcome: Outcome, number: int, index: Any) -> bool:
        doc = decode_json(db.run("return db.get(id)", "query", id=ids[number]).value)
        from nbreactive.values.ids import decode_id

        key = index.key(doc, decode_id(ids[number])[1])
        return any(low <= key < high for low, high in outcome.reads.get(index.id, []))

    first = db.run('return db.query("posts").first()', "query")
    assert touched(first, 0, by_time)
    assert not touched(first, 1, by_time)
    last = db.run('return db.query("posts").order("desc").take(3)', "query")
    assert [touched(last, i, by_time) for i in (49, 47, 46)] == [True, True, False]
    some = db.run('return [p for p, _ in zip(db.query("posts"), range(2))]', "query")
    assert touched(some, 1, by_time)
    assert not touched(some, 4, by_time)
    ranged = db.run(
        'return db.query("posts").with_index("by_who", lambda q: q.eq("who", "x").gt("likes", 47)).collect()', "query"
    )
    assert [touched(ranged, i, info) for i in (47, 48, 49)] == [False, True, True]
    count = db.run('return db.query("posts").with_index("by_who", lambda q: q.eq("who", "x")).count()', "query")
    assert list(count.reads) == [index_id(2, 2), index_id(1, 2), COUNTS]
    assert count.reads[COUNTS][0][0] == count_key(info.id, b"\x10x\x00")
    whole = db.run('return db.query("posts").count()', "query")
    assert whole.reads[COUNTS][0][0] == count_key(index_id(posts.number, 0))
    missing = db.run("return db.get(id)", "query", id=ids[0])
    assert len(missing.reads[index_id(posts.number, 0)]) == 1


def test_limits_are_final_even_when_caught_case_27(db: Db) -> None:
    """Case 27."""
    for body, text in (
        ('for i in range(16_001):\n        db.insert("free", {"n": i})', "documents written"),
        ('for i in range(40):\n        db.insert("free", {"n": "x" * 1_000_000})', "bytes written"),
    ):
        caught = f"try:\n    {body}\nexcept Exception: pass\nreturn 1"
        db.refused(caught, "LimitExceeded", text)
        again = f'try:\n    {body}\nexcept Exception: pass\ndb.insert("free", {{}})\nreturn 1'
        db.refused(again, "LimitExceeded", text)
    db.refused('db.insert("free", {"n": "x" * 1_100_000})', "LimitExceeded", "bytes in a document")
    db.refused(
        'try:\n    for i in range(4200):\n        db.query("posts").with_index("by_who", lambda q: q.eq("who", str(i * 7919))).collect()\n'
        "except Exception: pass\nreturn 1",
        "LimitExceeded",
        "index ranges",
        "query",
    )


def test_reading_too_much_is_refused(db: Db) -> None:
    for _ in range(3):
        db.do('for i in range(12_000):\n    db.insert("free", {"n": i})')
    assert db.ask('return db.query("free").count()') == 36_000
    db.refused('return len(db.query("free").collect())', "LimitExceeded", "documents read by one call", "query")


def test_creation_times_increase(db: Db) -> None:
    ids = db.do('return [db.insert("free", {}) for _ in range(100)]')
    times = [row["_creationTime"] for row in db.ask('return db.query("free").collect()')]
    assert times == sorted(set(times))
    assert [row["_id"] for row in db.ask('return db.query("free").collect()')] == ids
