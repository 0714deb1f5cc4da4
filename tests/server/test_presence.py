"""The doors to rooms: who may, who may not, and what the log says of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nbreactive.client.client import Client
from nbreactive.client.target import Target
from nbreactive.errors import NBReactiveError
from tests.client.fake_server import until
from tests.served import KEY, Served

ROOM = {"room": "r", "session": "s"}


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path, {}, "--require-auth") as served:
        yield served


def key(backend: Served, *roles: str) -> str:
    """A key of the deployment with these roles only."""
    return backend.fetch("/api/admin/keys", {"name": "a key", "roles": list(roles)}, admin=True)["key"]


def test_who_may_not_read_is_told_nothing_and_cannot_be_seen(backend: Served) -> None:
    for kind, name, args in (
        ("query", "list", {"room": "r"}),
        ("mutation", "join", ROOM),
        ("mutation", "heartbeat", ROOM),
        ("mutation", "leave", ROOM),
        ("function", "join", ROOM),
    ):
        answer = backend.ask(kind, f"nbreactive/presence:{name}", **args)
        assert answer.get("status") != "success" and "signed-in callers only" in json.dumps(answer)
    with Client(Target(backend.url, headers={"Authorization": f"Convex {KEY}"})) as owner:
        assert owner.call("nbreactive/presence:list", {"room": "r"}) == []


def test_whoever_may_read_may_be_seen(backend: Served) -> None:
    reader = Target(backend.url, headers={"Authorization": f"Convex {key(backend, 'read')}"})
    with Client(Target(backend.url, headers={"Authorization": f"Convex {KEY}"})) as owner, Client(reader) as client:
        people = owner.live("nbreactive/presence:list", {"room": "r"})
        joined = client.call("nbreactive/presence:join", ROOM)
        until(lambda: [person["user"] for person in people.value] == [joined["user"]])
        with pytest.raises(NBReactiveError, match="role 'write'"):
            client.call("_system/tables:insert_many", {"table": "t", "documents": []})


def test_over_http_in_every_spelling(tmp_path: Path) -> None:
    with Served(tmp_path) as backend:
        for path in ("nbreactive/presence:join", "nbreactive/presence.js:join"):
            assert set(backend.call("mutation", path, **ROOM)) == {"user", "session"}
        assert backend.call("function", "nbreactive/presence:heartbeat", **ROOM) == {"joined": False}
        assert len(backend.call("function", "nbreactive/presence:list", room="r")) == 1
        assert backend.call("query", "nbreactive/presence:list", room="another") == []
        for kind, path in (("mutation", "nbreactive/presence:enter"), ("mutation", "nbreactive/other:join")):
            assert "Could not find public function" in backend.ask(kind, path, **ROOM)["errorMessage"]
        assert backend.call("mutation", "nbreactive/presence:leave", **ROOM) is None
        assert backend.call("query", "nbreactive/presence:list", room="r") == []


def test_heartbeats_are_not_in_the_log_and_what_fails_is(tmp_path: Path) -> None:
    with Served(tmp_path) as backend:
        backend.call("mutation", "nbreactive/presence:join", **ROOM)
        backend.ask("mutation", "nbreactive/presence:join", room="r")
        lines: list[Any] = backend.fetch("/api/admin/logs?limit=100", admin=True)["calls"]
        calls = [line for line in lines if line.get("path") == "nbreactive/presence:join"]
        assert [line["code"] for line in calls] == ["ArgumentValidationError"]
