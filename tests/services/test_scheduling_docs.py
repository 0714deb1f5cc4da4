"""The examples of docs/scheduling.md run: its modules on a backend, its cells in a client."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nbreactive.client import connect, disconnect
from tests.served import KEY, Served

PAGE = (Path(__file__).parents[2] / "docs" / "scheduling.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n# (.+?)\n(.*?)```", PAGE, re.DOTALL)
MODULES = {where.removeprefix("reactive/").removesuffix(".py"): text for where, text in BLOCKS if where.endswith(".py")}
CELLS = [text for where, text in BLOCKS if where == "in a notebook"]


def wait_until(condition: Callable[[], Any], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited for too long"
        time.sleep(0.01)


def test_every_block_is_a_module_or_a_cell() -> None:
    assert len(BLOCKS) == PAGE.count("```python") == len(MODULES) + len(CELLS)


def test_the_examples_do_what_the_page_says(tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    with Served(tmp_path, MODULES) as backend:
        connect(backend.url, admin_key=KEY)
        try:
            for cell in CELLS:
                exec(compile(cell, "docs/scheduling.md", "exec"), names)
            upcoming = names["upcoming"]
            wait_until(lambda: [job["what"] for job in upcoming.value] == ["messages:announce"])
            assert backend.call("query", "messages:secrets") == ["kept"]
            wait_until(lambda: backend.call("query", "chores:done") == ["presence"])
            crons = {cron["name"] for cron in backend.fetch("/api/admin/crons", admin=True)["crons"]}
            assert crons == {"clear presence", "sweep", "digest", "report", "invoices", "backup"}
        finally:
            disconnect()
