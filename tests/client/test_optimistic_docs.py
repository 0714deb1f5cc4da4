"""The examples of docs/optimistic-updates.md, in their order, against a real backend."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import nbreactive.client
from nbreactive.client.client import Client
from nbreactive.client.target import Target
from tests.client.fake_server import until
from tests.served import ROOT, Served


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "optimistic-updates.md").read_text("utf-8")
    module, *examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 3
    with Served(tmp_path, {"posts": module}) as backend:
        ask = {"numItems": 1, "cursor": None}
        until(lambda: backend.ask("query", "posts:list", paginationOpts=ask).get("status") == "success", 30)
        with Client(Target(backend.url)) as client:
            monkeypatch.setattr(nbreactive.client.connecting.process, "client", client)
            nbreactive.client.install()
            for number in range(5):
                backend.call("mutation", "posts:add", title=f"post {number}")
            names: dict[str, Any] = {}
            for example in examples:
                exec(compile(example, "docs/optimistic-updates.md", "exec"), names)
            assert names["post"].value["likes"] == 2
            page = names["page"]
            assert [(row["title"], row["likes"]) for row in page.results] == [
                ("hello", 1), ("the first one", 2), ("post 4", 0), ("post 3", 0), ("post 2", 0),
            ]  # fmt: skip
            assert page.results[0]["_id"] == names["new"]
            assert page.status == "CanLoadMore"
