"""``reactive._generated`` inside of a deployment: its names are known before the tables are."""

from __future__ import annotations

from typing import Any

import pytest

from nbreactive.errors import DeployRefused
from nbreactive.functions.generated import class_names
from nbreactive.functions.specs import Bundle, Manifest, ModuleSource, Origin
from nbreactive.runtime.manifest import load_program, refusal
from nbreactive.values.validators import from_json, v

USES = """
from typing import TypedDict
from nbreactive import define_schema, define_table, query, v
from reactive._generated.api import api, internal
from reactive._generated.server import MutationCtx, QueryCtx
from reactive._generated.data_model import Posts, PostsId
import reactive._generated.data_model as model

class Page(TypedDict):
    posts: list[Posts]
    first: "PostsId | None"

@query
def get(ctx, post_id: PostsId, others: list[PostsId] = ()) -> Posts | None: ...

@query
def page(ctx: QueryCtx, after: None | PostsId) -> Page: ...

@query
def other(ctx, user: model.UsersId) -> str:
    return model.PostsId("x")

schema = define_schema({"posts": define_table({"title": v.string()})})
"""
USERS = (
    'from nbreactive import define_schema, define_table, v\nschema = define_schema({"users": define_table(v.any())})\n'
)


def manifest(**sources: str) -> Manifest:
    modules = tuple(ModuleSource(name, source, Origin("api")) for name, source in sources.items())
    _, found = load_program(Bundle(1, modules))
    if isinstance(found, list):
        raise refusal(found)
    return found


def test_hints_may_name_what_the_schema_makes() -> None:
    specs = {spec.path: spec for spec in manifest(uses=USES, users=USERS).functions}

    def returns(path: str) -> Any:
        return from_json(specs[path].returns or {})

    post = v.object({"_id": v.id("posts"), "_creationTime": v.number(), "title": v.string()})
    assert from_json(specs["uses:get"].args) == v.object(
        {"post_id": v.id("posts"), "others": v.optional(v.array(v.id("posts")))}
    )
    assert returns("uses:get") == v.nullable(post)
    assert from_json(specs["uses:page"].args) == v.object({"after": v.union(v.null(), v.id("posts"))})
    assert returns("uses:page") == v.object({"posts": v.array(post), "first": v.nullable(v.id("posts"))})
    assert from_json(specs["uses:other"].args) == v.object({"user": v.id("users")})


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (USES, r"user: the data model has no type UsersId\s+its types are: Posts, PostsId"),
        ("from reactive._generated.data_model import Posts\nclass More(Posts): ...\n", "write out a TypedDict"),
        ("from reactive._generated import other\n", "cannot import name 'other'"),
        ("import reactive._generated.other\n", "no module 'reactive._generated.other' is deployed"),
    ],
)
def test_what_is_not_there_is_refused_by_name(source: str, message: str) -> None:
    with pytest.raises(DeployRefused, match=message):
        manifest(uses=source)


def test_a_function_that_a_module_below_hides_is_listed() -> None:
    here = "from nbreactive import query\n\n@query\ndef users(ctx): ...\n"
    below = "from nbreactive import query\n\n@query\ndef list_(ctx): ...\n"
    _, found = load_program(
        Bundle(1, (ModuleSource("admin", here, Origin("api")), ModuleSource("admin/users", below, Origin("api"))))
    )
    assert isinstance(found, Manifest)
    assert [spec.path for spec in found.functions] == ["admin/users:list", "admin:users"]


def test_names_of_classes_are_distinct_whatever_the_tables_are_called() -> None:
    tables = ["posts", "Posts", "posts_", "posts_id", "postsId", "any", "true", "typedDict", "x1", "x_1", "id"]
    names = class_names(tables)
    used = [*names.values(), *(f"{name}Id" for name in names.values())]
    assert len(used) == len(set(used)) == 2 * len(tables)
    assert all(name.isidentifier() for name in used)
    assert not {"True", "Any", "TypedDict", "Id"} & set(used)
    assert class_names(reversed(tables)) == names
