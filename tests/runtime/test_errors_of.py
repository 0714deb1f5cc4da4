"""What callers are told of failures that went through several functions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nbreactive import api
from nbreactive.errors import AppError, ArgumentError, FunctionFailed, FunctionNotFound, NBReactiveError
from nbreactive.runtime.errors_of import failure_of
from nbreactive.testing import Backend

SOURCE = """
from nbreactive import AppError, action, api, mutation, query

@mutation
def put(ctx, text: str):
    if text == "app":
        raise AppError({"code": "NO"})
    raise ValueError("no " + text)

@action
async def ask(ctx, text: str):
    await ctx.run_mutation(api.m.put, text=text)

@action
async def twice(ctx, text: str):
    await ctx.run_action(api.m.ask, text=text)

@action
async def wrong(ctx):
    await ctx.run_mutation(api.m.put, texte="a")

@action
async def lost(ctx):
    return await ctx.run_query(api.m.putt)

@query
def texts(ctx):
    return ["a"]

@action
async def forgets(ctx, how: str):
    found = ctx.run_query(api.m.texts)
    if how == "returns":
        return found
    if how == "sends":
        return await ctx.run_mutation(api.m.put, text=found)
    return {"index": lambda: found[0], "loop": lambda: [each for each in found], "count": lambda: len(found)}[how]()

@action
def caught(ctx):
    try:
        ctx.run_mutation(api.m.put, text="b")
    except Exception as error:
        raise ValueError(f"it said: {error}") from error
"""


def line(text: str) -> int:
    return SOURCE.split("\n").index(f"    {text}") + 1


@pytest.fixture
def t() -> Iterator[Backend]:
    with Backend({"m": SOURCE}) as made:
        yield made


def text_of(t: Backend, name: str, kind: type[NBReactiveError], **args: str) -> str:
    with pytest.raises(kind) as raised:
        t.action(api.m[name], **args)
    text = str(raised.value)
    assert text.count("Server Error") <= 1, text
    assert text.count("Uncaught") <= 1, text
    return text


def test_a_failure_keeps_its_words_through_every_action(t: Backend) -> None:
    asked = f"    at ask (reactive/m.py:{line('await ctx.run_mutation(api.m.put, text=text)')})"
    for name, above in (
        ("ask", ""),
        ("twice", f"    at twice (reactive/m.py:{line('await ctx.run_action(api.m.ask, text=text)')})"),
    ):
        for given, said, kind in (
            ("x", "ValueError: no x", FunctionFailed),
            ("app", "{'code': 'NO'}", AppError),
        ):
            text = text_of(t, name, kind, text=given)
            assert f"{said}\n    at put (reactive/m.py:" in text
            assert f"\n{asked}" in text
            assert above in text
            assert "FunctionFailed" not in text
            assert "AppError" not in text


def test_wrong_arguments_of_what_an_action_runs(t: Backend) -> None:
    text = text_of(t, "wrong", ArgumentError)
    assert text.count("ArgumentValidationError") <= 1
    call = 'await ctx.run_mutation(api.m.put, texte="a")'
    assert f"    at wrong (reactive/m.py:{line(call)})" in text


def test_what_an_action_does_not_find_is_said_with_its_line(t: Backend) -> None:
    text = text_of(t, "lost", FunctionNotFound)
    assert "'m:putt'" in text
    assert f"    at lost (reactive/m.py:{line('return await ctx.run_query(api.m.putt)')})" in text
    with pytest.raises(FunctionNotFound) as raised:
        t.query(api.m.nothing)
    assert "    at " not in str(raised.value), "nobody's line is to blame"


def test_a_forgotten_await_is_named(t: Backend) -> None:
    for how in ("returns", "sends", "index", "loop", "count"):
        with pytest.raises(NBReactiveError, match=r"write `await ctx\.run_query\(\.\.\.\)`"):
            t.action(api.m.forgets, how=how)


def test_what_an_action_makes_of_a_failure_is_its_own(t: Backend) -> None:
    assert text_of(t, "caught", FunctionFailed).startswith("ValueError: it said: ")


def test_in_production_no_words_and_no_lines() -> None:
    inner = failure_of(ValueError("s3cr3t"), "7f", production=True)
    outer = failure_of(FunctionFailed(inner.message), "7f", production=True)
    assert inner.message == outer.message == "[Request ID: 7f] Server Error"
