"""What pyright, at its strictest, finds in users' files: exactly the mistakes."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.services.stubs.project import ROOT, deploy, expected, pyright

GOOD = """
import asyncio
from typing import assert_type

import traitlets

import nbreactive
from nbreactive.client import LiveQuery, PaginatedQuery
from nbreactive import SKIP, UNSET, ActionCtx, BlockingActionCtx, mutation, use_mutation, use_paginated_query, use_query
from nbreactive.values.kinds import Int64
from reactive._generated.api import api, internal
from reactive._generated.data_model import Anything, Events, Posts, PostsId, Users, UsersId
from reactive._generated.server import MutationCtx, QueryCtx


class Slider(traitlets.HasTraits):
    value = traitlets.Int(3)


post, user = PostsId("p"), UsersId("u")
found = api.posts.get(post_id=post)
assert found is not None
assert_type(found["title"], str)
assert_type(found["_id"], PostsId)
assert_type(found["at"], float)  # milliseconds outside of functions
assert_type([each["likes"] for each in api.posts.list(author_id=user, limit=3)], list[int])
api.posts.list(author_id=None, order="asc")
assert_type(api.posts.add(title="x", author_id=user, tags=("a", "b")), PostsId)
assert_type(api.posts.import_({"from": 3, "to": {"a-b": b"raw"}}), Int64)
api.posts.deletePost(self="x", str="y")
assert_type(api.posts["live"]({"from": "x"}), dict[str, float])
assert_type(api.admin(n=3), int)
assert_type(api.admin.default(n=3), int)
assert_type(api.admin.users.list(), list[str])
internal.posts.like(post_id=post, by=3)

query = api.posts.titles.live()
assert_type(query.value, list[str])
plain: LiveQuery = api.posts.list.options(wait=False).live(limit=Slider(), author_id=nbreactive.SKIP, order="asc")
api.posts.list.live(limit=plain)


assert_type(use_query(api.posts.titles).value, list[str])
assert_type(use_query(api.posts.list.options(wait=False), limit=Slider(), author_id=SKIP).value[0]["likes"], int)
assert_type(use_query(api.posts["live"], {"from": "x"}).value, dict[str, float])
assert_type(use_query(api.posts.get, SKIP).value == use_query(api.posts.get, post_id=post).value, bool)
rows = use_paginated_query(api.posts.pages.options(page_size=20), author_id=user)
rows.load_more()
assert_type(rows.results[0]["title"], str)
assert_type(rows.value[0]["at"], float)
assert_type(use_paginated_query(api.posts.pages, SKIP).results[0]["_id"], PostsId)
print(use_paginated_query(api.posts.pages, author_id=Slider()), use_paginated_query(api.posts.loose).status)
add = use_mutation(api.posts.add)
assert_type(add(title="x", author_id=user), PostsId)
assert_type(add.start(title="x", author_id=user).result(), PostsId)
shown = use_mutation(internal.posts.like).with_optimistic_update(lambda store, args: print(store, args["post_id"]))
assert_type(shown(post_id=post, by=1), None)
assert_type(use_mutation(api.posts.import_)({"from": 3}), Int64)
anything = nbreactive.api.chat
assert_type(use_query(anything.list, n=3), LiveQuery)
assert_type(use_query("chat:list", SKIP), LiveQuery)
assert_type(use_paginated_query(anything.list, author="me"), PaginatedQuery)
use_mutation(anything.send).with_optimistic_update(print)(body="x")


async def outside() -> None:
    assert_type(await api.posts.titles.aio(), list[str])
    assert_type(await add.aio(title="x", author_id=user), PostsId)
    await asyncio.gather(api.posts.list.aio(limit=2), api.posts.add.aio(title="t", author_id=user))


def a_query(ctx: QueryCtx, post_id: PostsId) -> None:
    inside = ctx.run_query(api.posts.get, post_id=post_id)
    assert_type(inside, Posts | None)
    assert inside is not None
    assert_type(inside["at"].year, int)  # a datetime inside of functions
    ctx.run_query(nbreactive.api.any.thing, goes=True)
    assert_type(ctx.db.get(post_id), Posts | None)
    assert_type(ctx.db.get("posts", post_id), Posts | None)
    mine = ctx.db.query("posts").with_index("by_author", lambda q: q.eq("author_id", user)).order("desc")
    assert_type(mine.take(3), list[Posts])
    found = ctx.db.query("posts").with_search_index("words", lambda q: q.search("title", "x").eq("author_id", user))
    assert_type(found.filter(lambda q: q.field("likes") > 3).first(), Posts | None)
    near = ctx.db.query("pictures").nearest("near", [1, 0.5, 0], limit=3, filter=lambda q: q.or_(q.eq("name", "x")))
    assert_type([(picture["_score"], picture["name"]) for picture in near], list[tuple[float, str]])
    assert_type([person["role"] for person in ctx.db.query("users").filter(lambda q: q.field("name") == "Ada")][0:1], list[str])
    assert_type(ctx.db.normalize_id("users", "text"), UsersId | None)


def a_mutation(ctx: MutationCtx, post_id: PostsId) -> None:
    assert_type(ctx.run_query(api.admin.users.list), list[str])
    assert_type(ctx.run_mutation(internal.posts.like, post_id=post_id, by=0.5), None)
    assert_type(ctx.db.insert("users", {"name": "Ada", "role": "admin"}), UsersId)
    ctx.db.insert("events", {"kind": "b"})
    ctx.db.insert("anything", {"at": "all"})
    ctx.db.patch(post_id, {"likes": 3, "cover": nbreactive.UNSET})
    post = ctx.db.get(post_id)
    if post is not None:
        post["likes"] += 1
        ctx.db.replace(post_id, post)
    ctx.db.delete(post_id)
    assert_type(ctx.db.query("users").first(), Users | None)
    ctx.scheduler.cancel(ctx.scheduler.run_after(1000, internal.posts.like, post_id=post_id, by=1))
    ctx.scheduler.run_at(0, api.posts.summarize, post_id=post_id)
    ctx.scheduler.run_after(0, nbreactive.internal.any.thing, goes=True)


async def an_action(ctx: ActionCtx, post_id: PostsId) -> str:
    await asyncio.gather(ctx.run_query(api.posts.titles), ctx.run_mutation(api.posts.add, title="x", author_id=user))
    await ctx.scheduler.run_after(1000, internal.posts.like, post_id=post_id, by=1)
    return await ctx.run_action(api.posts.summarize, post_id=post_id)


def a_blocking_action(ctx: BlockingActionCtx, post_id: PostsId) -> str:
    return ctx.run_action(api.posts.summarize, post_id=post_id)


@mutation
def update(ctx: MutationCtx, post_id: PostsId, title: str = UNSET, tags: list[str] | None = UNSET, **more: int) -> None:
    if title is not UNSET:
        assert_type(title, str)
        ctx.db.patch(post_id, {"title": title, "cover": UNSET})


def kinds(event: Events, anything: Anything) -> float:
    return event["n"] if event["kind"] == "a" else anything["whatever"]
"""
BAD = """
from nbreactive import SKIP, ActionCtx, mutation, use_mutation, use_paginated_query, use_query
from reactive._generated.api import api, internal
from reactive._generated.data_model import Events, PostsId, UsersId
from reactive._generated.server import MutationCtx, QueryCtx

post, user = PostsId("p"), UsersId("u")
api.posts.add(title=1, author_id=user)  # error: reportArgumentType
api.posts.add(titel="x", title="x", author_id=user)  # error: reportCallIssue
api.posts.add(title="x")  # error: reportCallIssue
api.posts.add("x", user)  # error: reportCallIssue
api.posts.get(post_id=user)  # error: reportArgumentType
api.posts.get(post_id="a text")  # error: reportArgumentType
api.posts.list(order="up")  # error: reportArgumentType
api.posts.add(title="x", author_id=user, tags=[1])  # error: reportArgumentType
api.posts.import_({"from": 3, "until": 4})  # error: reportArgumentType
api.posts.list.live(limit="many")  # error: reportArgumentType
api.posts.list.live(limits=3)  # error: reportCallIssue
api.posts.add.live(title="x", author_id=user)  # error: reportAttributeAccessIssue reportUnknownMemberType
api.posts.like(post_id=post, by=3)  # error: reportAttributeAccessIssue reportUnknownMemberType
api.chat.send(body="x")  # error: reportAttributeAccessIssue reportUnknownMemberType
api.admin()  # error: reportCallIssue
number: int = api.posts.titles()  # error: reportAssignmentType
use_query(api.posts.list, limits=3)  # error: reportCallIssue
use_query(api.posts.list, limit="many")  # error: reportArgumentType reportCallIssue
use_query(api.posts.get)  # error: reportCallIssue
use_query(api.posts.add, title="x", author_id=user)  # error: reportArgumentType reportCallIssue
names: list[int] = use_query(api.posts.titles).value  # error: reportAssignmentType
use_paginated_query(api.posts.pages, author=user)  # error: reportCallIssue
use_paginated_query(api.posts.pages, author_id=post)  # error: reportArgumentType reportCallIssue
use_paginated_query(api.posts.pages, paginationOpts=SKIP)  # error: reportCallIssue
use_paginated_query(api.posts.titles)  # error: reportArgumentType reportCallIssue
print(use_paginated_query(api.posts.pages).results[0]["titel"])  # error: reportGeneralTypeIssues reportUnknownArgumentType
use_mutation(api.posts.add)(titel="x", author_id=user)  # error: reportCallIssue
use_mutation(api.posts.add)(title=1, author_id=user)  # error: reportArgumentType
use_mutation(api.posts.add).start(title="x")  # error: reportCallIssue
use_mutation(api.posts.titles)  # error: reportArgumentType reportCallIssue
number = use_mutation(api.posts.add)(title="x", author_id=user)  # error: reportAssignmentType


async def outside() -> None:
    await api.posts.get.aio(post_id=3)  # error: reportArgumentType


def a_query(ctx: QueryCtx) -> None:
    ctx.run_query(api.posts.get, post_id=3)  # error: reportArgumentType
    ctx.run_query(api.posts.get, id=post)  # error: reportCallIssue
    ctx.run_query(api.posts.get, post_id=post)["title"]  # error: reportOptionalSubscript
    print(ctx.enw)  # error: reportAttributeAccessIssue reportUnknownArgumentType reportUnknownMemberType
    ctx.db.insert("users", {})  # error: reportAttributeAccessIssue reportUnknownMemberType
    print(ctx.db.query("posts").with_index("by_title").first())  # error: reportArgumentType
    print(ctx.db.query("posts").with_search_index("by_author", lambda q: q.search("title", "x")).first())  # error: reportArgumentType
    ctx.db.query("users").nearest  # error: reportAttributeAccessIssue reportUnknownMemberType
    print(ctx.db.query("pictures").nearest("by_name", [1.0]))  # error: reportArgumentType
    ctx.db.query("users").with_search_index  # error: reportAttributeAccessIssue reportUnknownMemberType
    print([each["titel"] for each in ctx.db.query("posts")])  # error: reportGeneralTypeIssues reportUnknownArgumentType


def a_mutation(ctx: MutationCtx) -> None:
    ctx.run_mutation(internal.posts.like, post_id=post, by="x")  # error: reportArgumentType
    ctx.db.insert("users", {"name": "Ada"})  # error: reportArgumentType reportCallIssue
    ctx.db.insert("users", {"name": "Ada", "role": "king"})  # error: reportArgumentType reportCallIssue
    ctx.db.patch(post, {"title": 3})  # error: reportArgumentType reportCallIssue
    ctx.scheduler.run_after(1000, internal.posts.like, post_id=post, by="x")  # error: reportArgumentType
    ctx.scheduler.run_after(1000, internal.posts.like, post_id=post)  # error: reportCallIssue
    ctx.scheduler.run_after(1000, api.posts.titles)  # error: reportArgumentType reportCallIssue
    ctx.run_mutation(api.posts.titles)  # error: reportArgumentType reportCallIssue
    ctx.run_query(api.posts.add, title="x", author_id=user)  # error: reportArgumentType reportCallIssue


async def an_action(ctx: ActionCtx) -> int:
    return await ctx.run_action(api.posts.summarize, post_id=post)  # error: reportReturnType


@mutation
def update(ctx: MutationCtx, title: str = None, likes: int = "x") -> None:  # error: reportArgumentType
    ctx.db.patch(post, {"title": likes})  # error: reportArgumentType reportCallIssue


def kinds(event: Events) -> float:
    return event["n"]  # error: reportGeneralTypeIssues reportUnknownVariableType
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return deploy(tmp_path_factory.mktemp("project"))


@pytest.mark.slow
def test_pyright_finds_the_mistakes_and_nothing_else(project: Path) -> None:
    (project / "good.py").write_text(GOOD)
    (project / "bad.py").write_text(BAD)
    found = pyright(project)
    assert found == {"bad.py": expected(BAD, "# error: ")}, "neither good.py nor the generated files have problems"


def test_the_generated_files_can_be_imported_where_the_folder_is_on_the_path(project: Path) -> None:
    script = """
        import typing
        from reactive._generated.api import api, internal
        from reactive._generated.data_model import Events, Posts, PostsId, UsersId
        from nbreactive import Id
        import nbreactive
        assert api is nbreactive.api and internal is nbreactive.internal
        assert repr(api.posts.import_) == "api.posts.import_"
        assert PostsId("x") == "x" and type(PostsId("x")) is Id
        from nbreactive.functions.hints import validator_of
        assert repr(validator_of(PostsId)) == "v.id('posts')"
        assert Posts.__required_keys__ == {"_id", "_creationTime", "title", "author_id", "at", "likes"}
        assert typing.get_type_hints(Posts, include_extras=True)["author_id"] == UsersId
        assert len(typing.get_args(Events)) == 2
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(script)]
    subprocess.run(command, cwd=project, env={"PYTHONPATH": f"{ROOT}:."}, check=True)
