"""Row rules: who sees, counts, inserts and changes which rows, and at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbreactive import api, internal
from nbreactive.errors import DeployRefused, FunctionFailed, InvalidId, InvalidValue, RuleRefused
from nbreactive.functions.rules import TableRules, rules
from nbreactive.testing import Backend

CHAT = """
from nbreactive import (
    Id, PaginationOpts, api, define_schema, define_table, internal, internal_mutation, internal_query, action, mutation, query,
    rules, v, AppError, RuleRefused,
)

schema = define_schema({
    "messages": define_table({"room": v.string(), "body": v.string(), "author": v.string()}).index("by_room", ["room"]),
    "notes": define_table({"text": v.string(), "owner": v.string(), "vector": v.array(v.number())})
        .search_index("by_text", search_field="text", filter_fields=["owner"])
        .vector_index("by_vector", vector_field="vector", dimensions=2, filter_fields=["owner"]),
    "members": define_table({"room": v.string(), "user": v.string()}).index("by_room_user", ["room", "user"]),
})


def me(ctx):
    identity = ctx.auth.get_user_identity()
    return identity["subject"] if identity else ""


def is_member(ctx, doc):
    return ctx.db.query("members").with_index("by_room_user", lambda q: q.eq("room", doc["room"]).eq("user", me(ctx))).first() is not None


rules(
    "messages",
    read=is_member,
    insert=lambda ctx, doc: doc["author"] == me(ctx) and is_member(ctx, doc),
    modify=lambda ctx, doc: doc["author"] == me(ctx) and is_member(ctx, doc),
)
rules("notes", read=lambda ctx, doc: doc["owner"] == me(ctx))
rules("rooms", read=True)
rules("sealed", insert=True)
rules("broken", read=lambda ctx, doc: ctx.db.query("members").first())
rules("failing", read=lambda ctx, doc: doc["missing"] > 1)


@query
def get(ctx, id: str): return ctx.db.get(id)
@query
def listed(ctx, table: str = "messages", order: str = "asc", take: int = 100):
    return [doc.get("body") for doc in ctx.db.query(table).order(order).take(take)]
@query
def iterated(ctx): return [doc["body"] for doc in ctx.db.query("messages")]
@query
def in_room(ctx, room: str):
    return [doc["body"] for doc in ctx.db.query("messages").with_index("by_room", lambda q: q.eq("room", room)).collect()]
@query
def filtered(ctx, body: str):
    return [doc["body"] for doc in ctx.db.query("messages").filter(lambda q: q.field("body") == body).collect()]
@query
def counts(ctx, room: str):
    messages = ctx.db.query("messages")
    by_room = ctx.db.query("messages").with_index("by_room", lambda q: q.eq("room", room))
    ranged = ctx.db.query("messages").with_index("by_room", lambda q: q.gte("room", room))
    return [messages.count(), by_room.count(), ranged.count(), ctx.db.query("messages").limit(1).count()]
@query
def first(ctx): return ctx.db.query("messages").first()
@query
def only(ctx): return ctx.db.query("messages").unique()
@query
def page(ctx, opts: PaginationOpts): return ctx.db.query("messages").paginate(opts)
def _found(ctx): return ctx.db.query("notes").with_search_index("by_text", lambda q: q.search("text", "hello"))
@query
def searched(ctx): return [sorted(doc["text"] for doc in _found(ctx).collect()), len(_found(ctx).take(1)), _found(ctx).count()]
@query
def searched_page(ctx, opts: PaginationOpts): return _found(ctx).paginate(opts)
@query
def nearest(ctx): return [doc["text"] for doc in ctx.db.query("notes").nearest("by_vector", [1.0, 0.0], limit=2)]
@internal_mutation
def add_note(ctx, text: str, owner: str, vector: list[float]):
    ctx.db.insert("notes", {"text": text, "owner": owner, "vector": vector})
@query
def nested(ctx): return ctx.run_query(api.chat.listed)
@query
def trusted(ctx): return ctx.run_query(internal.chat.everything)
@internal_query
def everything(ctx): return [doc["body"] for doc in ctx.db.query("messages")]
@internal_query
def everything_publicly(ctx): return ctx.run_query(api.chat.listed)
@query
def table(ctx, name: str): return [ctx.db.query(name).count(), ctx.db.query(name).collect(), ctx.db.query(name).first()]
@mutation
def send(ctx, room: str, body: str, author: str): return ctx.db.insert("messages", {"room": room, "body": body, "author": author})
@mutation
def patch(ctx, id: str, fields: dict): ctx.db.patch(id, fields)
@mutation
def replace(ctx, id: str, doc: dict): ctx.db.replace(id, doc)
@mutation
def delete(ctx, id: str): ctx.db.delete(id)
@mutation
def put(ctx, table: str): return ctx.db.insert(table, {"body": "x"})
@mutation
def tries(ctx, id: str):
    try: ctx.db.patch(id, {"body": "changed"})
    except RuleRefused: return ctx.db.get(id)["body"]
@mutation
def leaves(ctx, room: str):
    row = ctx.run_query(internal.chat.membership, room=room)
    before = ctx.db.query("messages").count()
    ctx.run_mutation(internal.chat.remove, id=row["_id"])
    return [before, ctx.db.query("messages").count()]
@internal_query
def membership(ctx, room: str):
    return ctx.db.query("members").with_index("by_room_user", lambda q: q.eq("room", room).eq("user", me(ctx))).unique()
@internal_mutation
def remove(ctx, id: str): ctx.db.delete(id)
@internal_mutation
def join(ctx, room: str, user: str): return ctx.db.insert("members", {"room": room, "user": user})
@internal_mutation
def write(ctx, room: str, body: str, author: str): return ctx.db.insert("messages", {"room": room, "body": body, "author": author})
@internal_mutation
def fill(ctx, table: str): return ctx.db.insert(table, {"body": "x", "missing": None})
@action
async def acts(ctx): return [await ctx.run_query(api.chat.listed), await ctx.run_query(internal.chat.everything)]
@mutation
def later(ctx): ctx.scheduler.run_after(0, api.chat.send, room="a", body="later", author="ada")
"""


class Room:
    """Ada is in room a, Bob in both, and there are a message of each in each."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.ada, self.bob = (backend.with_identity({"subject": name, "issuer": "t"}) for name in ("ada", "bob"))
        self.member = backend.mutation(internal.chat.join, room="a", user="ada")
        for room in "ab":
            backend.mutation(internal.chat.join, room=room, user="bob")
        self.ids: dict[str, Any] = {
            body: backend.mutation(internal.chat.write, room=body[0], body=body, author=body[2:])
            for body in ("a ada", "a bob", "b ada", "b bob")
        }


@pytest.fixture
def room() -> Iterator[Room]:
    with Backend({"chat": CHAT}) as backend:
        yield Room(backend)


def test_reading(room: Room) -> None:
    ada, bob, nobody = room.ada, room.bob, room.backend
    everything = list(room.ids)
    for who, seen in ((ada, everything[:2]), (bob, everything), (nobody, [])):
        assert who.query(api.chat.listed) == seen
        assert who.query(api.chat.listed, order="desc") == seen[::-1]
        assert who.query(api.chat.listed, take=1) == seen[:1]
        assert who.query(api.chat.iterated) == seen
        assert who.query(api.chat.nested) == seen
        assert who.query(api.chat.in_room, room="b") == seen[2:]
        assert who.query(api.chat.filtered, body="b bob") == seen[3:]
        in_room, ranged = len([body for body in seen if body[0] == "b"]), len(seen[2:])
        assert who.query(api.chat.counts, room="b") == [len(seen), in_room, ranged, min(len(seen), 1)]
        assert (who.query(api.chat.first) or {}).get("body") == (seen[0] if seen else None)
        for body, id in room.ids.items():
            assert (who.query(api.chat.get, id=id) is not None) == (body in seen)
        assert who.query(api.chat.trusted) == everything  # internal: its code decides
        assert who.query(api.chat.everything_publicly) == seen
        assert who.action(api.chat.acts) == [seen, everything]
    assert nobody.query(api.chat.only) is None  # and not "more than one"
    with pytest.raises(InvalidValue, match="more than one"):
        ada.query(api.chat.only)


def test_pages_have_what_may_be_read_and_no_gaps(room: Room) -> None:
    for n in range(20):
        room.backend.mutation(internal.chat.write, room="ab"[n % 2], body=f"{n}", author="x")
    for who, rooms in ((room.ada, "a"), (room.bob, "ab"), (room.backend, "")):
        seen: list[str] = []
        cursor: str | None = None
        for _ in range(20):
            page = who.query(api.chat.page, paginationOpts={"numItems": 3, "cursor": cursor})
            assert all(row["room"] in rooms for row in page["page"]) and len(page["page"]) <= 3
            assert len(page["page"]) == 3 or page["isDone"]
            seen += [row["body"] for row in page["page"]]
            cursor = page["continueCursor"]
            if page["isDone"]:
                break
        assert seen == who.query(api.chat.listed)


def test_searches_find_what_may_be_read(room: Room) -> None:
    for number in range(6):
        owner = ("ada", "bob")[number % 2]
        args = {"text": f"hello {number}", "owner": owner, "vector": [1.0, number / 10]}
        room.backend.mutation(internal.chat.add_note, **args)
    for who, texts in ((room.ada, ["hello 0", "hello 2", "hello 4"]), (room.bob, ["hello 1", "hello 3", "hello 5"])):
        assert who.query(api.chat.searched) == [texts, 1, 3]
        assert who.query(api.chat.nearest) == texts[:2]  # the nearest that may be seen, however many are nearer
        page = who.query(api.chat.searched_page, paginationOpts={"numItems": 2, "cursor": None})
        assert {row["text"] for row in page["page"]} < set(texts) and len(page["page"]) == 2
    assert room.backend.query(api.chat.searched) == [[], 0, 0] and room.backend.query(api.chat.nearest) == []


def test_writing(room: Room) -> None:
    ada, bob = room.ada, room.bob
    mine, his, hidden = room.ids["a ada"], room.ids["a bob"], room.ids["b ada"]
    sent = ada.mutation(api.chat.send, room="a", body="new", author="ada")
    assert ada.query(api.chat.get, id=sent)["body"] == "new"
    for room_, author in (("b", "ada"), ("a", "bob")):
        with pytest.raises(RuleRefused, match="insert is not allowed by the row rules of 'messages'"):
            ada.mutation(api.chat.send, room=room_, body="x", author=author)
    ada.mutation(api.chat.patch, id=mine, fields={"body": "mended"})
    with pytest.raises(RuleRefused, match="patch"):
        ada.mutation(api.chat.patch, id=his, fields={"body": "forged"})
    with pytest.raises(RuleRefused, match="delete"):
        ada.mutation(api.chat.delete, id=his)
    # What it would become counts, too: nothing moves where one may not put it.
    for fields in ({"room": "b"}, {"author": "bob"}):
        with pytest.raises(RuleRefused, match="modify"):
            ada.mutation(api.chat.patch, id=mine, fields=fields)
    with pytest.raises(RuleRefused):
        ada.mutation(api.chat.replace, id=mine, doc={"room": "b", "body": "x", "author": "ada"})
    # What one may not see is not there, in the same words.
    said = []
    for id in (hidden, sent):
        if id == sent:
            bob.backend_delete = room.backend.mutation(internal.chat.remove, id=sent)  # type: ignore[attr-defined]
        for change in (
            lambda id: ada.mutation(api.chat.patch, id=id, fields={}),
            lambda id: ada.mutation(api.chat.delete, id=id),
        ):
            with pytest.raises(InvalidId) as caught:
                change(id)
            said.append(caught.value.message.replace(id, "ID"))
    assert said[:2] == said[2:]
    assert bob.mutation(api.chat.tries, id=mine) == "mended"  # caught: nothing was written
    ada.mutation(api.chat.delete, id=mine)
    assert ada.query(api.chat.listed) == ["a bob"]
    # In one transaction, its own writes are seen by the rules.
    assert room.ada.mutation(api.chat.leaves, room="a") == [1, 0]


def test_a_revoked_membership_empties_live_queries_at_once(room: Room) -> None:
    ada, counts = room.ada.live(api.chat.listed), room.ada.live(api.chat.counts, room="a")
    bob = room.bob.live(api.chat.listed)
    assert ada.value == ["a ada", "a bob"] and counts.value == [2, 2, 2, 1]
    room.backend.mutation(internal.chat.remove, id=room.member)
    assert ada.value == [] and counts.value == [0, 0, 0, 0]
    assert len(bob.value) == 4
    room.backend.mutation(internal.chat.join, room="b", user="ada")
    assert ada.value == ["b ada", "b bob"]


def test_tables_without_a_rule_are_closed_once_there_are_rules(room: Room) -> None:
    for name in ("members", "rooms", "sealed", "other"):
        room.backend.mutation(
            internal.chat.fill if name != "members" else internal.chat.join,
            **({"table": name} if name != "members" else {"room": "a", "user": "x"}),
        )
    for who in (room.ada, room.backend):
        assert who.query(api.chat.table, name="members") == who.query(api.chat.table, name="other") == [0, [], None]
        assert who.query(api.chat.table, name="sealed") == [0, [], None]
        assert who.query(api.chat.table, name="rooms")[0] == 1
        assert who.mutation(api.chat.put, table="sealed")
        for closed in ("rooms", "other", "never_there"):
            with pytest.raises(RuleRefused):
                who.mutation(api.chat.put, table=closed)


def test_errors_of_rules_are_the_developer_s(room: Room) -> None:
    room.backend.mutation(internal.chat.fill, table="broken")
    room.backend.mutation(internal.chat.fill, table="failing")
    with pytest.raises(InvalidValue, match="the read rule of 'broken' returned"):
        room.ada.query(api.chat.listed, table="broken")
    with pytest.raises(FunctionFailed, match="TypeError") as caught:
        room.ada.query(api.chat.listed, table="failing")
    assert 'rules("failing"' in caught.value.trace


def test_scheduled_public_functions_obey_as_nobody(room: Room) -> None:
    room.ada.mutation(api.chat.later)
    room.backend.finish_scheduled_functions()
    assert room.backend.scheduled_functions()[0]["state"]["kind"] == "failed"
    assert "later" not in room.bob.query(api.chat.listed)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ('rules("posts", read=True)\nrules("posts", read=True)', "has rules twice"),
        ('rules("_storage", read=True)', "the system's"),
        ('rules("posts", read="yes")', "takes True, or a plain function"),
        ('async def mine(ctx, doc): return True\nrules("posts", read=mine)', "takes True, or a plain function"),
        ('rules("posts", read=lambda doc: True)', "two arguments"),
        ('def inside(): rules("posts", read=True)\ninside()', "top level of a module"),
        ('rules("posts", reed=True)', "reed"),
    ],
)
def test_rules_that_are_no_rules_are_refused_at_deploy(source: str, reason: str) -> None:
    with pytest.raises(DeployRefused, match=reason), Backend({"m": f"from nbreactive import rules\n{source}\n"}):
        pass


def test_rules_outside_of_a_deployed_module_would_do_nothing() -> None:
    with pytest.raises(InvalidValue, match="no effect"):
        rules("posts", read=True)
    assert TableRules("posts", True, False, False).spec("m").operations == ("read",)


def test_without_rules_nothing_is_in_the_way() -> None:
    source = "from nbreactive import query\n@query\ndef kind(ctx): return type(ctx.db).__name__\n"
    with Backend({"m": source}) as backend:
        assert backend.query(api.m.kind) == "DatabaseReader"
    with Backend({"m": source + "from nbreactive import rules\nrules('posts', read=True)\n"}) as backend:
        assert backend.query(api.m.kind) == "RuledReader"


NAMES = st.sampled_from(["ada", "bob", "eve"])
ROOMS = st.sampled_from("abc")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("join"), ROOMS, NAMES), st.tuples(st.just("leave"), ROOMS, NAMES), st.tuples(st.just("write"), ROOMS, NAMES)
    ),
    max_size=12,
)  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(STEPS)
def test_what_is_seen_is_what_the_rules_say_whatever_happens(steps: list[tuple[str, str, str]]) -> None:
    with Backend({"chat": CHAT}) as backend:
        people = {name: backend.with_identity({"subject": name, "issuer": "t"}) for name in ("ada", "bob", "eve")}
        live = {name: who.live(api.chat.listed) for name, who in people.items()}
        members: dict[tuple[str, str], Any] = {}
        written: list[tuple[str, str]] = []
        for number, (what, room, name) in enumerate(steps):
            if what == "join" and (room, name) not in members:
                members[room, name] = backend.mutation(internal.chat.join, room=room, user=name)
            elif what == "leave" and (room, name) in members:
                backend.mutation(internal.chat.remove, id=members.pop((room, name)))
            elif what == "write":
                body = f"{number}"
                if (room, name) in members:
                    people[name].mutation(api.chat.send, room=room, body=body, author=name)
                    written.append((room, body))
                else:
                    with pytest.raises(RuleRefused):
                        people[name].mutation(api.chat.send, room=room, body=body, author=name)
            for who, shown in live.items():
                expected = [body for room_, body in written if (room_, who) in members]
                assert shown.value == expected
                assert people[who].query(api.chat.counts, room="a")[0] == len(expected)
