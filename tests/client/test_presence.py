"""Being in rooms from Python, against a real backend, with real processes."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import nbreactive.client
from nbreactive import presence, use_presence
from nbreactive.client.client import Client
from nbreactive.client.target import Target
from nbreactive.errors import LimitExceeded, NBReactiveError, NotConnected
from tests.client.fake_server import until
from tests.served import KEY, ROOT, Served

IN_A_ROOM = """
import sys
from nbreactive import presence
from nbreactive.client import connect
connect(sys.argv[1])
room = presence.join("r", {"cell": 1})
print("in", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path) as served:
        yield served


def person(backend: Served, name: str) -> Client:
    """A client in the name of somebody."""
    who = base64.b64encode(json.dumps({"issuer": "i", "subject": name.lower(), "name": name}).encode()).decode()
    return Client(Target(backend.url, headers={"Authorization": f"Convex {KEY}:{who}"}))


@contextmanager
def in_a_room(backend: Served) -> Iterator[subprocess.Popen[str]]:
    """Another process that is in the room ``r``."""
    with subprocess.Popen(
        [sys.executable, "-c", IN_A_ROOM, backend.url],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "in\n"
            yield process
        finally:
            process.kill()


def names(people: Any) -> list[str]:
    return [one["name"] for one in people.value]


def test_two_people_see_each_other_come_change_and_go(backend: Served) -> None:
    with person(backend, "Ada") as ada, person(backend, "Grace") as grace:
        people = use_presence("r", deployment=ada)
        assert people.value == []
        room = presence.join("r", {"cell": 1}, deployment=ada)
        until(lambda: names(people) == ["Ada"])
        with presence.join("r", deployment=grace) as other:
            until(lambda: names(people) == ["Ada", "Grace"])
            assert people.value[0]["user"] == room.user != other.user
            assert [one["id"] for one in people.value[0]["sessions"]] == [room.session]
            for cell in range(200):
                room.update({"cell": cell})
            until(lambda: people.value[0]["data"] == {"cell": 199})
        until(lambda: names(people) == ["Ada"])
        frame = people.df()
        assert list(frame["name"]) == ["Ada"] and str(frame["joined"].dtype).startswith("datetime64")
        assert frame["sessions"].dtype.kind == "i" and repr(frame["data"][0]) == "{'cell': 199}"
        assert list(frame["sessions"]) == [1] and len(people) == 1 and people[0]["initials"] == "A"
        room.leave()
        until(lambda: names(people) == [])
        assert list(people.df().columns) == list(frame.columns)


def test_the_same_room_is_joined_once_and_another_one_can_be_joined_after_leaving(backend: Served) -> None:
    with person(backend, "Ada") as ada:
        room = presence.join("r", 1, deployment=ada)
        assert presence.join("r", 2, deployment=ada) is room
        people = use_presence("r", deployment=ada)
        until(lambda: people.value and people.value[0]["data"] == 2 and len(people.value[0]["sessions"]) == 1)
        room.leave()
        room.leave()
        with pytest.raises(NBReactiveError, match="has left"):
            room.update(3)
        again = presence.join("r", deployment=ada)
        assert again is not room and not again.left and room.left
        with pytest.raises(LimitExceeded):
            presence.join("q", "x" * 5000, deployment=ada)


def test_rooms_of_another_deployment_are_other_rooms(tmp_path: Path) -> None:
    with Served(tmp_path, {}, "--also", "second") as backend:
        nbreactive.client.connect(backend.url, admin_key=KEY)
        try:
            here, there = use_presence("r"), use_presence("r", deployment="second")
            with presence.join("r", deployment="second"):
                until(lambda: names(there) == ["Guest"])
                assert here.value == [] and use_presence("r", deployment="default").value == []
            with pytest.raises(NotConnected, match="no deployment"):
                presence.join("r", deployment="nowhere")
        finally:
            nbreactive.client.disconnect()


def test_observers_hear_of_who_comes(backend: Served) -> None:
    with person(backend, "Ada") as ada, person(backend, "Grace") as grace:
        heard: list[int] = []
        people = use_presence("r", deployment=ada)
        people.observe(lambda change: heard.append(len(change.new)), "value")
        presence.join("r", deployment=grace)
        until(lambda: heard == [1])


def test_a_process_that_ends_leaves_however_it_ends(backend: Served) -> None:
    with person(backend, "Ada") as ada:
        people = use_presence("r", deployment=ada)
        with in_a_room(backend) as process:
            until(lambda: names(people) == ["Guest"])
            assert people.value[0]["guest"]
            assert process.stdin is not None
            process.stdin.close()
            process.wait(30)
            until(lambda: names(people) == [])
        with in_a_room(backend) as process:
            until(lambda: names(people) == ["Guest"])
            process.kill()
            until(lambda: names(people) == [])


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be stopped here")
@pytest.mark.slow
def test_a_process_that_does_nothing_any_more_is_gone_after_a_while_and_back_when_it_goes_on(backend: Served) -> None:
    with person(backend, "Ada") as ada:
        people = use_presence("r", deployment=ada)
        with in_a_room(backend) as process:
            until(lambda: names(people) == ["Guest"])
            process.send_signal(signal.SIGSTOP)
            until(lambda: names(people) == [], 60)
            process.send_signal(signal.SIGCONT)
            until(lambda: names(people) == ["Guest"], 60)
            until(lambda: people.value[0]["data"] == {"cell": 1})


def test_everybody_is_back_with_what_they_show_after_the_backend_was_killed(backend: Served) -> None:
    with person(backend, "Ada") as ada, person(backend, "Grace") as grace:
        people = use_presence("r", deployment=grace)
        presence.join("r", {"cell": 7}, deployment=ada)
        until(lambda: names(people) == ["Ada"])
        backend.kill()
        until(lambda: people.status != "live")
        backend.start()
        until(lambda: people.status == "live" and names(people) == ["Ada"], 60)
        assert people.value[0]["data"] == {"cell": 7}
