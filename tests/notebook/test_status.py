"""The status line always says whose the deployment is and who can see it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nbreactive.client.target import Target
from nbreactive.errors import ArgumentError
from nbreactive.notebook.magics import function_path, module_name
from nbreactive.notebook.status import backend_lines, status_line


def line(target: Target) -> str:
    client: Any = SimpleNamespace(target=target)
    return status_line(client)


def test_two_servers_of_two_users_say_that_nothing_is_shared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    health = {"ok": True, "deployment": "default", "shared_with": "nobody"}
    own = Target(
        "http://h/nbreactive", "jupyter", label="your server", data=str(tmp_path / ".nbreactive"), health=health
    )
    assert line(own) == "deployment default on your server · data .nbreactive/ · shared with nobody"
    joined = Target(
        "http://h/nbreactive", "jupyter", label="the server at http://h", health=health | {"shared_with": "al, bo"}
    )
    assert line(joined) == "deployment default on the server at http://h · shared with al, bo"


def test_backends_say_who_reaches_them(tmp_path: Path) -> None:
    backend = Target("http://h:3210", "backend", label="the backend at http://h:3210", health={"deployment": "shop"})
    assert line(backend) == "deployment shop on the backend at http://h:3210 · shared with everyone who can reach it"
    elsewhere = Target("http://h", "standalone", label="a backend of this folder", data=str(tmp_path))
    assert f"data {tmp_path}/ · shared with whoever uses this folder" in line(elsewhere)


def test_indexes_that_are_made_anew_are_told() -> None:
    one = {"table": "posts", "name": "by_words", "documents": 1200, "total": 90_000}
    lines = backend_lines({"version": "1", "mode": "lone", "indexes_made_anew": [one]})
    assert lines[-1] == "  index by_words of posts is being made anew: 1,200 of 90,000 documents"


def test_functions_and_modules_as_people_write_them() -> None:
    assert {function_path(n) for n in ("chat.send", "chat:send", "api.chat.send")} == {"chat:send"}
    assert function_path("admin.users.list") == "admin/users:list"
    with pytest.raises(ArgumentError, match=r"MODULE\.FUNCTION"):
        function_path("chat")
    assert {module_name(n) for n in ("admin/users", "admin.users", "reactive/admin/users.py")} == {"admin/users"}
