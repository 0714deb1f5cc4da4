"""The official command line, unchanged, against a backend of ours: ``npx convex env`` and ``npx convex logs``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.test_npm_client import NPM, _official_client
from tests.served import KEY, Served

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("node") is None or shutil.which("npm") is None, reason="needs node and npm"),
]
assert _official_client  # the fixture that installs the client

MODULE = """
from nbreactive import AppError, mutation, query

@query
def hello(ctx, name: str):
    print("hello", name)
    return ctx.env.get("GREETING", "hi")

@mutation
def crash(ctx):
    raise ValueError("no good")
"""


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path, {"m": MODULE}) as running:
        yield running


def start(backend: Served, *arguments: str) -> subprocess.Popen[str]:
    home = backend.folder / "home"
    home.mkdir(exist_ok=True)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "CONVEX_SELF_HOSTED_URL": backend.url,
        "CONVEX_SELF_HOSTED_ADMIN_KEY": KEY,
        "CI": "1",
        "NO_COLOR": "1",
    }
    return subprocess.Popen(
        ["node", str(NPM / "node_modules" / "convex" / "bin" / "main.js"), *arguments],
        cwd=NPM,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(backend: Served, *arguments: str) -> str:
    out, errors = start(backend, *arguments).communicate(timeout=60)
    return out + errors


def test_env_set_list_get_and_remove(backend: Served) -> None:
    assert "Successfully set GREETING" in run(backend, "env", "set", "GREETING", "good day")
    assert backend.call("query", "m:hello", name="x") == "good day"
    assert "Successfully set EMPTY" in run(backend, "env", "set", "EMPTY=a=b")
    listed = run(backend, "env", "list", "--include-values")
    assert sorted(listed.split("\n"))[-2:] == ["EMPTY=a=b", "GREETING=good day"] and "CONVEX_CLOUD_URL" not in listed
    assert run(backend, "env", "get", "GREETING").strip() == "good day"
    assert "not found" in run(backend, "env", "get", "NOBODY")
    run(backend, "env", "remove", "GREETING")
    assert backend.call("query", "m:hello", name="x") == "hi"
    refused = run(backend, "env", "set", "CONVEX_CLOUD_URL", "http://x")
    assert "set by the backend itself" in refused


def test_logs_show_calls_their_lines_and_errors(backend: Served) -> None:
    backend.ask("query", "m:hello", name="before")
    following = start(backend, "logs", "--history", "5", "--success")
    assert following.stdout is not None
    first = following.stdout.readline()
    assert "[CONVEX Q(m:hello)]" in first and "[LOG]" in first and "hello before" in first
    assert "Function executed in" in following.stdout.readline()
    backend.ask("query", "m:hello", name="after")
    assert "hello after" in following.stdout.readline()
    assert "Function executed in" in following.stdout.readline()
    backend.ask("mutation", "m:crash")
    crashed = following.stdout.readline()
    assert "[CONVEX M(m:crash)]" in crashed and "Server Error" in crashed
    assert "ValueError: no good" in following.stdout.readline()
    following.kill()
    following.communicate()
    structured = start(backend, "logs", "--history", "1", "--jsonl")
    assert structured.stdout is not None
    entry = json.loads(structured.stdout.readline())
    structured.kill()
    structured.communicate()
    assert entry["identifier"] == "m:crash" and entry["udfType"] == "Mutation" and entry["kind"] == "Completion"


def test_a_wrong_key_is_told(backend: Served) -> None:
    process = start(backend, "logs", "--admin-key", "wrong", "--url", backend.url)
    out, errors = process.communicate(timeout=60)
    assert process.returncode != 0 and "admin key" in out + errors
