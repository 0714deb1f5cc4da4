from __future__ import annotations

import copy
import pickle

import pytest

from nbreactive.errors import ArgumentError, NotAllowed
from nbreactive.functions import Reference, api, internal, reference
from nbreactive.functions.references import refuse_calls, set_caller


class Recorder:
    """A caller that tells what it was asked."""

    def call(self, ref, args):
        return "call", ref.path, args

    def live(self, ref, args, options):
        return "live", ref.path, args, dict(options)

    def aio(self, ref, args):
        return "aio", ref.path, args

    def paths(self):
        return ["chat:send", "chat:list", "admin/users:list"]


@pytest.fixture
def caller():
    recorder = Recorder()
    before = set_caller(recorder)
    yield recorder
    set_caller(before)


@pytest.mark.parametrize(
    ("ref", "path", "shown"),
    [
        (api.chat.send, "chat:send", "api.chat.send"),
        (api.admin.users.list, "admin/users:list", "api.admin.users.list"),
        (api.chat, "chat:default", "api.chat"),
        (api.live.query, "live:query", "api['live'].query"),
        (api.chat["live"], "chat:live", "api.chat['live']"),
        (api.posts.import_, "posts:import", "api.posts.import_"),
        (api.posts.list_, "posts:list_", "api.posts.list_"),
        (internal.jobs.tick, "jobs:tick", "internal.jobs.tick"),
        (reference("admin/users.js:list"), "admin/users:list", "api.admin.users.list"),
        (reference("chat", internal=True), "chat:default", "internal.chat.default"),
    ],
)
def test_chains_are_paths(ref, path, shown):
    assert isinstance(ref, Reference)
    assert ref.path == path
    assert repr(ref) == shown
    assert eval(repr(ref), {"api": api, "internal": internal}) == ref
    assert pickle.loads(pickle.dumps(ref)) == copy.deepcopy(ref) == ref


def test_references_are_keys():
    assert {api.a.b: 1}[reference("a:b")] == 1
    assert api.a.b != internal.a.b
    assert api.a.b != api.a.c
    assert api.a.b != "a:b"
    assert api.a.b.options(at=1) != api.a.b
    assert pickle.loads(pickle.dumps(api)) is api
    assert repr(internal) == "internal"


def test_tools_that_look_for_methods_find_none():
    for name in (
        "_repr_html_",
        "_ipython_display_",
        "__wrapped__",
        "__array__",
        "_ipython_canary_method_should_not_exist_",
    ):
        assert not hasattr(api.chat.send, name)
        assert not hasattr(api, name)


def test_calls_go_to_the_caller(caller):
    assert api.chat.send(body="hi") == ("call", "chat:send", {"body": "hi"})
    assert api.chat.send({"from": 1}) == ("call", "chat:send", {"from": 1})
    assert api.chat.send() == ("call", "chat:send", {})
    assert api.chat.send.aio(body="hi") == ("aio", "chat:send", {"body": "hi"})
    listed = api.chat.list.options(page_size=20).options(at="2026-11-01", page_size=30)
    assert listed.live(limit=5) == ("live", "chat:list", {"limit": 5}, {"page_size": 30, "at": "2026-11-01"})


def test_arguments_are_keywords_or_one_dict(caller):
    for args, kwargs in (((1,), {}), (({}, {}), {}), (({"a": 1},), {"b": 2})):
        with pytest.raises(ArgumentError, match="arguments are keywords, or one dict"):
            api.chat.send(*args, **kwargs)


def test_completion_shows_what_is_deployed(caller):
    assert dir(api) == ["admin", "chat"]
    assert "send" in dir(api.chat)
    assert dir(api.admin) == sorted(["users", "aio", "live", "options", "path"])


def test_inside_workers_references_are_names():
    before = set_caller(None)
    try:
        assert dir(api) == []
        refuse_calls()
        for use in (api.chat.send, api.chat.send.live, api.chat.send.aio):
            with pytest.raises(
                NotAllowed, match=r"api\.chat\.send is only a name.*use ctx\.run_query\(api\.chat\.send"
            ):
                use(body="hi")
    finally:
        set_caller(before)
