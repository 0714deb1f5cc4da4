"""``nbreactive keys``, against a backend that runs and a folder that nobody serves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.served import KEY, Served


def nbreactive(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nbreactive", *words], capture_output=True, text=True, timeout=60, check=False
    )


def test_make_list_and_revoke(tmp_path: Path) -> None:
    with Served(tmp_path, {"m": "from nbreactive import query\n@query\ndef one(ctx): return 1\n"}) as backend:
        place = ["--at", backend.url, "--admin-key", KEY]
        made = nbreactive("keys", "create", "ci", "--role", "deploy", *place)
        key = made.stdout.strip()
        assert key.startswith("nbr_") and "not shown again" in made.stderr and key not in made.stderr
        assert nbreactive("run", "m.one", "--at", backend.url, "--admin-key", key).stdout.strip() == "1"
        listed = nbreactive("keys", "list", *place).stdout
        assert "deploy  ci" in listed and key not in listed
        assert "needs the role 'admin'" in nbreactive("keys", "list", "--at", backend.url, "--admin-key", key).stderr
        facts = json.loads(nbreactive("keys", "list", "--json", *place).stdout)
        assert facts[0]["roles"] == ["read", "write", "deploy"] and facts[0]["created_by"] == "admin key"
        assert nbreactive("keys", "revoke", "ci", *place).stdout.startswith("revoked ci")
        assert "opens nothing here" in nbreactive("run", "m.one", "--at", backend.url, "--admin-key", key).stderr
        assert nbreactive("keys", "list", *place).stdout == "no keys\n"


def test_a_folder_that_nobody_serves_and_one_of_several(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for folder in (data, tmp_path / "data-staging"):
        (folder / "log").mkdir(parents=True)
    made = nbreactive("keys", "create", "ci", "--role", "read", "--at", str(data), "--deployment", "staging")
    assert made.stdout.startswith("nbr_"), made.stderr
    assert (tmp_path / "data-staging" / "keys.json").exists() and not (data / "keys.json").exists()
    assert nbreactive("keys", "list", "--at", str(data)).stdout == "no keys\n"


@pytest.mark.parametrize("words", [["create", "x"], ["create", "x", "--role", "root"], ["revoke"], []])
def test_what_cannot_be_meant(words: list[str]) -> None:
    assert nbreactive("keys", *words).returncode == 2
