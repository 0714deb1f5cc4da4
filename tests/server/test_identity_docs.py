"""The examples of docs/identity.md run: against a real issuer, and over the command line."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from nbreactive.client import disconnect
from tests.issuer import Issuer
from tests.served import KEY, Served

PAGE = (Path(__file__).parents[2] / "docs" / "identity.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_examples_do_what_the_page_says(tmp_path: Path) -> None:
    modules = {Path(name).stem: text for kind, name, text in BLOCKS if kind == "python" and name}
    cells = [text for kind, name, text in BLOCKS if kind == "python" and not name]
    commands = [line for kind, _, text in BLOCKS if kind == "console" for line in text.splitlines()]
    assert len(modules) == 2 and len(cells) == 2 and len(commands) == 3
    with Issuer() as issuer:
        modules["auth_config"] = modules["auth_config"].replace("https://issuer.example", issuer.url)
        with Served(tmp_path, modules) as backend:

            def admin(path: str, **args: Any) -> Any:
                return backend.fetch("/api/function", {"path": path, "args": args}, admin=True)

            names: dict[str, Any] = {"url": backend.url, "token": issuer.token("ada", name="Ada"), "key": KEY}
            try:
                for cell in cells:
                    exec(compile(cell, "docs/identity.md", "exec"), names)
                live = names["live"]
                deadline = time.monotonic() + 30
                while live.value != ["hello"]:
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
                admin("rooms:leave", room="lobby", user=f"{issuer.url}|ada")
                while live.value != []:
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
            finally:
                names["owner"].close()
                disconnect()
            said = []
            for command in commands:
                words = [*shlex.split(command)[1:], "--at", str(backend.data), "--admin-key", KEY]
                ran = subprocess.run(
                    [sys.executable, "-m", "nbreactive", *words], capture_output=True, text=True, timeout=60, check=True
                )
                said.append(ran.stdout)
            assert said[0].startswith("nbr_") and "ci" in said[1] and said[2].startswith("revoked ci")


def test_the_page_names_every_field_and_option() -> None:
    from nbreactive.server.claims import _NAMES
    from nbreactive.server.keys import ROLES

    assert all(f"`{name}`" in PAGE for name in _NAMES.values())
    assert all(f"| `{role}` |" in PAGE for role in ROLES)
