"""The examples of docs/bulk.md run, and do what the page says."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import nbreactive
from nbreactive.cli.main import main
from nbreactive.client import disconnect
from tests.served import KEY, Served

PAGE = (Path(__file__).parents[2] / "docs" / "bulk.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_examples_do_what_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = {Path(name).stem: text for kind, name, text in BLOCKS if kind == "python" and name}
    cells = [text for kind, name, text in BLOCKS if kind == "python" and not name]
    (commands,) = [text.splitlines() for kind, how, text in BLOCKS if kind == "console" and not how]
    texts = [text for kind, _, text in BLOCKS if kind == "text"]
    monkeypatch.chdir(tmp_path)
    with Served(tmp_path, modules) as backend:
        nbreactive.connect(backend.url, admin_key=KEY)
        try:
            names: dict[str, Any] = {}
            said: list[str] = []
            for cell in cells:
                out = io.StringIO()
                with contextlib.redirect_stdout(out):
                    exec(compile(cell, "docs/bulk.md", "exec"), names)
                said.append(out.getvalue())
            assert said[0].startswith("1000 ") or "1,000 rows" in said[0]
            assert texts[1] in said[1]
            assert names["pages"].df()["n"].tolist() == [2, 1]
            assert pq.read_metadata("orders.parquet").num_rows == 2000
            assert (tmp_path / "slow.csv").read_text().splitlines() == ['"page","ms"', '"/",12', '"/about",30']
            for command in commands:
                assert main([*shlex.split(command)[1:], "--at", backend.url, "--admin-key", KEY]) == 0
            assert pq.read_table("slow.parquet")["ms"].to_pylist() == [12.0, 30.0]
        finally:
            disconnect()
