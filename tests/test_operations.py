"""Every command of docs/operations.md is run, in order, against a deployment that serves meanwhile."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_exchange import FUNCTIONS
from tests.served import KEY, ROOT, Served

PAGE = ROOT / "docs" / "operations.md"


@pytest.mark.skipif(sys.platform == "win32", reason="the page is written for a POSIX shell")
def test_the_commands_of_the_page_do_what_it_says(tmp_path: Path) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines()]
    assert len(commands) >= 10
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "nbreactive").write_text(f'#!/bin/sh\nexec {sys.executable} -m nbreactive "$@"\n')
    (tools / "nbreactive").chmod(0o755)
    backend = Served(tmp_path, {"notes": FUNCTIONS})
    backend.data = tmp_path / ".nbreactive"
    with backend:
        backend.call("mutation", "notes:fill", n=5)
        env = {
            **os.environ,
            "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "NBREACTIVE_ADMIN_KEY": KEY,
            "NBREACTIVE_URL": backend.url,
        }
        said = ""
        for command in commands:
            done = subprocess.run(
                ["/bin/sh", "-c", command], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            said += done.stdout
        assert len(backend.call("query", "notes:everything")["users"]) == 5
    assert said.count("all is well") == 2 and '"healthy":true' in said
    assert "verified" in said and '"horizon"' in said and "2 documents imported" in said
    assert {"today.nbr", "restored", "all.zip", "users.zip"} <= {path.name for path in tmp_path.iterdir()}
