"""Avatars from a real kernel, against a real backend."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nbreactive import presence, use_presence
from nbreactive.client.client import Client
from nbreactive.client.target import Target
from nbreactive.notebook.presence_bar import sync_path
from tests.client.fake_server import until
from tests.notebook.kernel import Kernel
from tests.notebook.test_real_kernel import environment
from tests.served import KEY, Served

WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("backend")) as running:
        yield running


@pytest.fixture
def kernel(backend: Served, tmp_path: Path) -> Iterator[Kernel]:
    env = environment(tmp_path, NBREACTIVE_URL=backend.url, NBREACTIVE_ADMIN_KEY=KEY)
    made = Kernel(env, str(tmp_path))
    try:
        made.run("%load_ext nbreactive\nimport nbreactive")
        yield made
    finally:
        made.close()


def shown(kernel: Kernel, code: str) -> tuple[str, Callable[[], dict[str, Any]]]:
    """Show a bar; its comm, and what the page has been told of it."""
    ran = kernel.run(code, "bar")
    assert ran.error is None, ran.error_text
    (display,) = ran.displays
    model = display[WIDGET]["model_id"]
    assert "Grace" not in repr(display)  # nothing of who is there is saved
    return model, lambda: kernel.widgets[model]


def test_the_kernel_is_in_the_room_for_a_page_that_cannot_be_there_itself(backend: Served, kernel: Kernel) -> None:
    with Client(Target(backend.url)) as other:
        people = use_presence("a <room>", deployment=other)
        comm, state = shown(kernel, "nbreactive.PresenceBar('a <room>', {'cell': 1}, most=3)")
        kernel.until(lambda: state()["status"] == "live")
        assert (state()["people"], state()["most"], state()["sync"], state()["joins"]) == ([], 3, "", True)
        kernel.comm(comm, {"type": "views", "count": 1, "relay": True})
        until(lambda: len(people.value) == 1)
        assert people.value[0]["data"] == {"cell": 1}
        kernel.until(lambda: len(state()["people"]) == 1)
        assert state()["people"][0]["initials"] == "G" and state()["people"][0]["color"].startswith("#")
        with presence.join("a <room>", deployment=other):
            kernel.until(lambda: len(state()["people"]) == 2)
        kernel.until(lambda: len(state()["people"]) == 1)
        kernel.comm(comm, {"type": "views", "count": 0, "relay": False})
        until(lambda: people.value == [])
        kernel.comm(comm, {"type": "views", "count": 1, "relay": True})
        until(lambda: len(people.value) == 1)
        kernel.run("1", "bar")  # its cell runs again
        until(lambda: people.value == [])


def test_a_bar_that_only_looks_joins_nothing(backend: Served, kernel: Kernel) -> None:
    with Client(Target(backend.url)) as other:
        comm, state = shown(kernel, "nbreactive.PresenceBar('r', join=False)")
        kernel.comm(comm, {"type": "views", "count": 1, "relay": True})
        with presence.join("r", deployment=other):
            kernel.until(lambda: len(state()["people"]) == 1)
            assert state()["joins"] is False
            people = use_presence("r", deployment=other)
            assert len(people.value[0]["sessions"]) == 1


def test_a_kernel_that_is_killed_is_gone(backend: Served, kernel: Kernel) -> None:
    with Client(Target(backend.url)) as other:
        people = use_presence("k", deployment=other)
        ran = kernel.run("import os\nroom = nbreactive.presence.join('k')\nprint(os.getpid())")
        until(lambda: len(people.value) == 1)
        os.kill(int(ran.text), signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        until(lambda: people.value == [])


def test_a_page_joins_at_the_kernels_own_jupyter_server_only(backend: Served) -> None:
    with Client(Target(backend.url)) as client:
        assert sync_path(client) == ""
        client.target = Target("http://h/nbreactive", "jupyter", health={"deployment": "a/b"})
        assert sync_path(client) == ""
        client.target = Target("http://h/nbreactive", "jupyter", data="/home/a", health={"deployment": "a/b"})
        assert sync_path(client) == "nbreactive/a%2Fb/api/sync"
