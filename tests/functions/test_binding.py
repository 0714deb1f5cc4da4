# ruff: noqa: F821, UP037 (tables inside Id[...] look like forward references)
"""How calls reach handlers: absent is not null, and **kwargs holds what was sent."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from nbreactive.errors import ArgumentError, DeployRefused, LimitExceeded
from nbreactive.functions import bind, mutation, query
from nbreactive.values import UNSET, Id, encode_id, v

POST = encode_id(10_001, bytes(16))


@dataclass
class Point:
    x: int
    y: int = 7


@mutation
def update(ctx, post_id: Id["posts"], title: str = UNSET, content: str = UNSET, **updates):
    """The example of the documentation."""
    inner = (ctx, updates)
    return post_id, title, content, inner[1]


def call(function, args, ctx=None):
    return function.handler(ctx, **bind(function, args))


@pytest.mark.parametrize(
    ("sent", "updates"),
    [
        ({}, {}),
        ({"title": "x"}, {"title": "x"}),
        ({"content": "y", "title": "x"}, {"title": "x", "content": "y"}),
        ({"title": UNSET}, {}),
    ],
)
def test_updates_hold_only_what_the_caller_sent(sent, updates):
    post, title, content, found = call(update, {"post_id": POST, **sent})
    assert (post, found) == (POST, updates)
    assert title is updates.get("title", UNSET)
    assert content is updates.get("content", UNSET)


def test_updates_take_declared_names_only():
    with pytest.raises(
        ArgumentError, match="args: there is no argument 'author'; the arguments are: post_id, title, content"
    ):
        bind(update, {"post_id": POST, "author": "me"})


def test_the_twin_of_a_handler_is_the_same_function_to_people():
    assert update.handler.__name__ == "update"
    assert update.handler.__doc__ == "The example of the documentation."
    assert update.handler.__code__.co_filename == __file__
    assert update.params == ["post_id", "title", "content"]
    factor = 2

    @mutation
    def closure(ctx, n: int = 1, *, m: int = 5, **rest):
        return n * factor, m, rest

    assert call(closure, {"m": 3}) == (2, 3, {"m": 3})
    assert call(closure, {}) == (2, 5, {})


def test_a_default_that_was_not_sent_is_not_an_update():
    @mutation
    def like(ctx, n: int = 1, **rest):
        return n, rest

    assert call(like, {}) == (1, {})
    assert call(like, {"n": 1}) == (1, {"n": 1})


def test_hinted_kwargs_take_other_names():
    @mutation
    def add(ctx, table: str, at: datetime = UNSET, **fields: int):
        return table, at, fields

    moment = datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert add.args == v.any()
    assert call(add, {"table": "t", "at": 1000, "a": 1, "b": 2.0}) == ("t", moment, {"at": moment, "a": 1, "b": 2})
    with pytest.raises(ArgumentError, match=r"args\.a: expected a whole number, got the string 'x'"):
        bind(add, {"table": "t", "a": "x"})
    with pytest.raises(ArgumentError, match=r"args\.table: is missing"):
        bind(add, {"a": 1})
    with pytest.raises(ArgumentError, match="the arguments of a call are an object"):
        bind(add, [1])

    @mutation
    def insert(ctx, **document: Any):
        return document

    assert call(insert, {"a": [1], "from": "x"}) == {"a": [1], "from": "x"}


def test_kwargs_that_would_always_be_empty_are_refused():
    @mutation
    def insert(ctx, table: str, **document):
        return document

    with pytest.raises(DeployRefused, match=r"\*\*document would always be empty.*write \*\*document: Any"):
        _ = insert.args


def test_explicit_arguments_reach_parameters_and_kwargs():
    @query(args={"from": v.integer(), "to": v.optional(v.integer()), "step": v.optional(v.integer())})
    def span(ctx, to, step=2, **rest):
        return to, step, rest

    assert call(span, {"from": 1}) == (UNSET, 2, {"from": 1})
    assert call(span, {"from": 1, "to": 5, "step": 3}) == (5, 3, {"from": 1, "to": 5, "step": 3})


def test_unions_of_objects_as_arguments():
    shape = v.union(v.object({"a": v.datetime()}), v.object({"b": v.integer()}))

    @query(args=shape)
    def one(ctx, a, b):
        return a, b

    assert call(one, {"a": 0}) == (datetime(1970, 1, 1, tzinfo=UTC), UNSET)
    assert call(one, {"b": 3.0}) == (UNSET, 3)

    @query(args=v.any())
    def free(ctx, a=1):
        return a

    assert call(free, {"a": 5}) == 5
    with pytest.raises(ArgumentError, match="args: there is no argument 'b'; the arguments are: a"):
        bind(free, {"b": 5})
    with pytest.raises(ArgumentError, match="the arguments of a call are an object, not 5"):
        bind(free, 5)


def test_absent_arguments_are_the_default_or_unset_and_null_is_null():
    @query(args={"a": v.optional(v.string()), "b": v.nullable(v.string()), "c": v.optional(v.integer())})
    def f(ctx, a, b, c=5):
        return a, b, c

    assert call(f, {"b": None}) == (UNSET, None, 5)
    with pytest.raises(ArgumentError, match=r"args\.a: expected a string, got null; leave the field out"):
        bind(f, {"a": None, "b": None})
    with pytest.raises(ArgumentError, match=r"args\.b: is missing"):
        bind(f, {})


def test_a_default_of_none_takes_null():
    @query
    def f(ctx, limit: int = None, note: str | None = None, any_=None):  # noqa: RUF013
        return limit, note, any_

    assert f.args == v.object(
        {
            "limit": v.optional(v.nullable(v.integer())),
            "note": v.optional(v.nullable(v.string())),
            "any_": v.optional(v.any()),
        }
    )
    assert call(f, {"limit": None, "any_": None}) == (None, None, None)


def test_arguments_are_loaded():
    @query
    def f(ctx, at: datetime, where: Point, path: list[Point] = UNSET):
        return at, where, path

    at = datetime(1970, 1, 1, tzinfo=UTC)
    assert call(f, {"at": 0, "where": {"x": 1}}) == (at, Point(1, 7), UNSET)
    assert call(f, {"at": at, "where": Point(1, 2), "path": [{"x": 3}]}) == (at, Point(1, 2), [Point(3)])


def test_tables_of_ids_are_checked():
    assert bind(update, {"post_id": POST}, table_of=lambda _: "posts")["post_id"] == POST
    with pytest.raises(
        ArgumentError, match=r"args\.post_id: expected an id of the table 'posts', got one of the table"
    ):
        bind(update, {"post_id": POST}, table_of=lambda _: "users")


def test_wrapped_handlers_get_their_keywords():
    def logged(handler):
        @functools.wraps(handler)
        def wrapper(ctx, **kwargs):
            return "logged", handler(ctx, **kwargs)

        return wrapper

    @query
    @logged
    def f(ctx, a: int, b: int = 2):
        return a, b

    assert f.args == v.object({"a": v.integer(), "b": v.optional(v.integer())})
    assert call(f, {"a": 1}) == ("logged", (1, 2))

    @query
    @logged
    def g(ctx, a: int = UNSET, **rest: Any):
        return a, rest

    assert call(g, {"a": 1, "z": 3}) == ("logged", (1, {"z": 3}))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"title": 5, "post_id": POST}, "args.title: expected a string, got the number 5"),
        ({"titel": "x", "post_id": POST}, "args: there is no argument 'titel'; did you mean title?"),
        ({"post": POST}, "args.post_id: is missing; expected an id of the table 'posts'. There is no argument 'post'"),
        ({}, "args.post_id: is missing; expected an id of the table 'posts'"),
        ({"post_id": "'); DROP TABLE posts; --"}, "args.post_id: expected an id of the table 'posts'; "),
        (None, "args: expected an object, got null"),
        ([], "args: expected an object, got an array of 0 items"),
    ],
)
def test_wrong_arguments_name_the_path(args, message):
    with pytest.raises(ArgumentError) as caught:
        bind(update, args)
    assert str(caught.value).startswith(message)


def test_arguments_over_limits():
    @query
    def f(ctx, a): ...

    deep: object = 1
    for _ in range(1000):
        deep = [deep]
    for value, message in (
        (deep, "nested deeper"),
        ([0] * 8193, "8193 items"),
        ({f"f{i}": 1 for i in range(1025)}, "1025"),
    ):
        with pytest.raises(LimitExceeded, match=message):
            bind(f, {"a": value})


def test_the_handler_of_a_call_may_change_its_arguments():
    args = {"post_id": POST, "title": "x"}
    kwargs = bind(update, args)
    kwargs["updates"]["more"] = 1
    assert args == {"post_id": POST, "title": "x"}
    assert bind(update, args)["updates"] == {"title": "x"}
