"""The examples of docs/presence.md run: its module on a backend, its cells in a client; its hook is the app's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from nbreactive.client import connect, current, disconnect
from nbreactive.services import presence
from tests.client.fake_server import until
from tests.served import Served

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "presence.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n# (.+?)\n(.*?)```", PAGE, re.DOTALL)
MODULES = {where.removeprefix("reactive/").removesuffix(".py"): text for where, text in BLOCKS if where.endswith(".py")}
CELLS = [text for where, text in BLOCKS if where == "in a notebook"]


def test_every_block_is_a_module_or_a_cell_and_the_hook_is_the_one_that_is_tested() -> None:
    assert len(BLOCKS) == PAGE.count("```python") == len(MODULES) + len(CELLS)
    (hook,) = re.findall(r"```tsx\n// app/presence.tsx\n(.*?)```", PAGE, re.DOTALL)
    assert hook == (ROOT / "tests" / "conformance" / "react" / "app" / "presence.tsx").read_text("utf-8")


def test_the_limits_are_those_of_the_page() -> None:
    limits = dict(re.findall(r"^\| ([^|]+?) \| ([0-9,]+)(?: KiB)? \|$", PAGE, re.MULTILINE))
    assert limits == {
        "`data`": str(presence.DATA_BYTES // 1024),
        "sessions in one room": f"{presence.ROOM_SESSIONS:,}",
        "sessions in all rooms": f"{presence.SESSIONS:,}",
        "rooms of one connection": f"{presence.CONNECTION_SESSIONS:,}",
    }
    assert f"for {presence.TIMEOUT:g} seconds" in PAGE


def test_the_examples_do_what_the_page_says(tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    with Served(tmp_path, MODULES) as backend:
        connect(backend.url)
        try:
            for cell in CELLS:
                exec(compile(cell, "docs/presence.md", "exec"), names)
            people = names["people"]
            until(lambda: people.value and people.value[0]["data"] == {"cell": 4})
            assert current().call("reports:editors", {"report": "report"}) == []  # guests only
            assert [person["name"] for person in people] == ["Guest"]
            names["room"].leave()
            until(lambda: people.value == [])
        finally:
            disconnect()
