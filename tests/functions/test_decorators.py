from __future__ import annotations

import pytest

from nbreactive.errors import DeployRefused, NotAllowed
from nbreactive.functions import Function, internal_mutation, internal_query, mutation, query
from nbreactive.values import UNSET, v


@query
def latest(ctx, limit: int = 100) -> list[Later]:
    """Return the newest messages."""
    return []


Later = str  # hints may name what is defined further down


def test_metadata():
    assert isinstance(latest, Function)
    assert (latest.kind, latest.visibility, latest.name) == ("query", "public", "latest")
    assert latest.args == v.object({"limit": v.optional(v.integer())})
    assert latest.returns == v.array(v.string())
    assert latest.doc == latest.__doc__ == "Return the newest messages."
    assert latest.params == ["limit"]
    assert latest.file == __file__
    assert latest.line == latest.handler.__code__.co_firstlineno
    spec = latest.spec("chat:latest")
    assert (spec.path, spec.kind, spec.doc, spec.line) == ("chat:latest", "query", latest.doc, latest.line)
    assert spec.args == latest.args.to_json()
    assert spec.returns == {"type": "array", "value": {"type": "string"}}


@pytest.mark.parametrize(
    ("decorator", "kind", "visibility"),
    [
        (query, "query", "public"),
        (internal_query, "query", "internal"),
        (mutation, "mutation", "public"),
        (internal_mutation, "mutation", "internal"),
    ],
)
def test_decorators_with_and_without_options(decorator, kind, visibility):
    def f(ctx, a): ...

    for function in (decorator(f), decorator()(f), decorator(args={"a": v.string()}, returns=v.null(), name="g")(f)):
        assert (function.kind, function.visibility) == (kind, visibility)
    assert function.name == "g"
    assert function.args == v.object({"a": v.string()})
    assert function.returns == v.null()
    assert decorator(f).args == v.object({"a": v.any()})
    assert decorator(f).returns is None


def test_names_lose_one_underscore_and_paths_follow_the_module():
    def list_(ctx): ...

    list_.__module__ = "reactive.admin.users"
    assert query(list_).name == "list"
    assert query(list_).path == "admin/users:list"
    assert query(name="deletePost")(list_).path == "admin/users:deletePost"
    assert repr(internal_query(list_)) == "<internal query admin/users:list>"


def test_calling_is_refused_with_the_way_to_do_it():
    with pytest.raises(NotAllowed, match=r"use ctx\.run_query\(latest, \.\.\.\), in notebooks deploy it"):
        latest(None)

    @mutation
    def send(ctx): ...

    with pytest.raises(NotAllowed, match=r"use ctx\.run_mutation\(send"):
        send(None)


def refused(decorate) -> str:
    with pytest.raises(DeployRefused) as caught:
        decorate()
    for issue in caught.value.issues:
        assert issue["file"] == __file__
        assert issue["line"] > 0
        assert issue["reason"] in str(caught.value)
        assert issue["fix"]
    return str(caught.value)


def test_async_queries_are_refused_at_once():
    def decorate():
        @query
        async def f(ctx): ...

    assert refused(decorate) == (
        "f: a query cannot be async; drop async and await: database calls return their results at once"
    )

    def generate():
        @mutation
        async def f(ctx):
            yield 1

    assert "a mutation cannot be async" in refused(generate)

    def plain():
        @mutation
        def f(ctx):
            yield 1

    assert "a mutation cannot yield; return a list" in refused(plain)


def test_names_are_checked():
    def f(ctx): ...

    def _hidden(ctx): ...

    assert 'names that start with "_" are the system\'s; rename it' in refused(lambda: query(_hidden))
    assert "the name of a function cannot be 'a-b'" in refused(lambda: query(name="a-b")(f))
    assert "rename it" in refused(lambda: query(lambda ctx: 1))
    assert query(name="one")(lambda ctx: 1).name == "one"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: 5, "@query decorates functions, not int objects"),
        (lambda: latest, "is a server function already"),
    ],
)
def test_only_functions_are_decorated(make, message):
    with pytest.raises(DeployRefused, match=message):
        query(make())


def test_unknown_options_are_refused():
    def f(ctx): ...

    with pytest.raises(DeployRefused, match="@query has no option 'arg'; the options are args, returns and name"):
        query(arg={})(f)
    assert "returns= takes validators, not <class 'str'>" in refused(lambda: query(returns=str)(f))
    assert "args= takes validators, not [1]" in refused(lambda: query(args=[1])(f))


def make(source: str) -> Function:
    scope: dict = {"query": query, "v": v, "UNSET": UNSET}
    exec(compile(source, __file__, "exec"), scope)
    return scope["f"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("@query\ndef f(): ...", "the handler takes no ctx; make ctx its first parameter"),
        ("@query\ndef f(*, a): ...", "the handler takes no ctx"),
        ("@query\ndef f(**a): ...", "the handler takes no ctx"),
        ("@query\ndef f(ctx, *a): ...", "*a is never filled, as arguments have names; remove it"),
        ("@query\ndef f(ctx, *a, **b): ...", "*a is never filled"),
        ("@query\ndef f(ctx, a, /): ...", "a is positional-only"),
        ("@query\ndef f(ctx, a: 'Foo'): ...", "a: the hint 'Foo' cannot be resolved: name 'Foo' is not defined"),
        ("@query\ndef f(ctx, a: set): ...", "a: the hint set has no validator"),
        (
            "@query(args={'b': v.any()})\ndef f(ctx): ...",
            "it has 'b', which the handler does not take; add a parameter b",
        ),
        ("@query(args={})\ndef f(ctx, a): ...", "it lacks the handler's parameter 'a'; add it, or give it a default"),
        ("@query(args={'a': str})\ndef f(ctx, a): ...", "the field 'a' takes a validator, not a type"),
    ],
)
def test_what_a_deploy_refuses(source, message):
    function = make(source)
    assert message in refused(lambda: function.args)
    assert message in refused(function.spec)


def test_return_hints_are_refused_too():
    function = make("@query\ndef f(ctx) -> 'Foo': ...")
    assert function.args == v.object({})
    assert "f: the return hint: the hint 'Foo' cannot be resolved" in refused(lambda: function.returns)
