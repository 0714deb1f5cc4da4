"""The command line against real backends: a folder from nothing, functions, data, variables, logs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.served import KEY, ROOT, SECONDS, Served, free_port

SOURCE = """
from nbreactive import AppError, action, api, internal_query, mutation, query

@mutation
def add(ctx, n: int, note: str = ""):
    print("adding", n)
    return ctx.db.insert("numbers", {"n": n, "note": note})

@query
def numbers(ctx):
    return [row["n"] for row in ctx.db.query("numbers").collect()]

@internal_query
def hidden(ctx):
    return {"big": 2**60 if False else 1, "env": ctx.env.get("GREETING")}

@action
def fails(ctx):
    raise AppError({"code": "NO"})
"""


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("cli"), {"m": SOURCE}) as served:
        yield served


def nbreactive(*words: str, at: Served | None = None, cwd: Path | None = None, **more: Any) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "nbreactive", *words]
    command += ["--at", at.url, "--admin-key", KEY] if at is not None else []
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env, timeout=100, check=False, **more)
    return done.returncode, done.stdout, done.stderr


def test_run_calls_functions_of_every_kind_and_reach(backend: Served) -> None:
    status, out, err = nbreactive("run", "m.add", "n=3", "note=a word", at=backend)
    assert (status, err) == (0, "[LOG] adding 3\n")
    assert json.loads(out)
    assert nbreactive("run", "m:add", '{"n": 4}', at=backend)[0] == 0
    assert json.loads(nbreactive("run", "m.numbers", at=backend)[1]) == [3, 4]
    assert json.loads(nbreactive("run", "m.hidden", at=backend)[1])["big"] == 1


def test_run_says_what_went_wrong(backend: Served) -> None:
    status, out, err = nbreactive("run", "m.fails", at=backend)
    assert (status, json.loads(out)) == (1, {"code": "NO"})
    assert "AppError" in err
    assert "Could not find public function" in nbreactive("run", "m.absent", at=backend)[2]
    assert "write name=value" in nbreactive("run", "m.numbers", "nonsense", at=backend)[2]
    status, _, err = nbreactive("run", "m.numbers", "--at", backend.url, "--admin-key", "wrong")
    assert (status, "the admin key is wrong" in err) == (1, True)


def test_run_finds_the_backend_of_a_data_folder_and_starts_one_where_none_is(backend: Served, tmp_path: Path) -> None:
    assert json.loads(nbreactive("run", "m.numbers", "--at", str(backend.data), "--admin-key", KEY)[1])
    with Served(tmp_path, {"m": SOURCE}) as other:
        other.call("mutation", "m:add", n=9)
    assert json.loads(nbreactive("run", "m.numbers", "--at", str(other.data), "--admin-key", KEY)[1]) == [9]


def test_the_key_of_the_environment_is_not_that_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBREACTIVE_ADMIN_KEY", "of another deployment")
    (tmp_path / "data" / "log").mkdir(parents=True)
    at = ("--at", str(tmp_path / "data"))
    assert nbreactive("env", "set", "GREETING=hello", *at)[:2] == (0, "set GREETING\n")  # nobody serves it
    own = (tmp_path / "data" / "admin.key").read_text().strip()
    monkeypatch.delenv("NBREACTIVE_ADMIN_KEY")
    command = [sys.executable, "-m", "nbreactive", "serve", "--data", at[1], "--port", "0", "--also", "prod"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[1]
        monkeypatch.setenv("NBREACTIVE_ADMIN_KEY", "of another deployment")
        assert nbreactive("env", "get", "GREETING", *at)[1] == "hello\n"
        assert "the admin key is wrong" in nbreactive("env", "get", "GREETING", "--at", url)[2]
        monkeypatch.setenv("NBREACTIVE_ADMIN_KEY", own)
        assert nbreactive("env", "get", "GREETING", "--at", url)[1] == "hello\n"
        status, _, err = nbreactive("env", "list", "--at", f"{url}/produ")
        assert (status, f"{url} has no deployment 'produ'; it has: default, prod" in err) == (1, True)
        process.terminate()


def test_before_anything_is_served(tmp_path: Path) -> None:
    status, _, err = nbreactive("run", "chat.send", cwd=tmp_path)
    assert (status, "`nbreactive dev` makes one" in err) == (1, True)


def test_a_command_on_a_folder_that_nobody_serves_begins_no_jobs(tmp_path: Path) -> None:
    source = """
from nbreactive import internal, internal_mutation, mutation, query

@mutation
def later(ctx):
    ctx.scheduler.run_after(0, internal.jobs.note)

@internal_mutation
def note(ctx):
    ctx.db.insert("notes", {})

@query
def seen(ctx):
    states = [job["state"]["kind"] for job in ctx.db.system.query("_scheduled_functions").collect()]
    return [states, len(ctx.db.query("notes").collect())]
"""
    with Served(tmp_path, {"jobs": source}, "--no-jobs") as backend:
        backend.call("mutation", "jobs:later")
        assert backend.call("query", "jobs:seen") == [["pending"], 0]
    command = ("run", "jobs.later", "--at", str(backend.data), "--admin-key", KEY)
    assert nbreactive(*command)[0] == nbreactive(*command)[0] == 0
    looked = nbreactive("run", "jobs.seen", "--at", str(backend.data), "--admin-key", KEY)[1]
    assert json.loads(looked) == [["pending"] * 3, 0]
    backend.options = ()
    with backend:
        deadline = time.monotonic() + SECONDS
        while backend.call("query", "jobs:seen") != [["success"] * 3, 3]:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_watching_a_query(backend: Served) -> None:
    command = [
        sys.executable,
        "-m",
        "nbreactive",
        "run",
        "m.numbers",
        "--watch",
        "--at",
        backend.url,
        "--admin-key",
        KEY,
    ]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        before = _value(process.stdout)
        backend.call("mutation", "m:add", n=77)
        assert _value(process.stdout) == [*before, 77]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def _value(lines: Any) -> Any:
    text = ""
    while True:
        text += lines.readline()
        try:
            return json.loads(text)
        except ValueError:
            assert len(text) < 10_000


def test_data_shows_tables_and_documents(backend: Served) -> None:
    backend.call("mutation", "m:add", n=5, note="a\tb")
    assert "numbers" in nbreactive("data", at=backend)[1]
    table = nbreactive("data", "numbers", "--limit", "1", at=backend)[1].splitlines()
    assert table[0].split()[:2] == ["n", "note"] or "note" in table[0]
    assert "a b" in table[2]
    rows = [json.loads(line) for line in nbreactive("data", "numbers", "--format", "jsonl", at=backend)[1].splitlines()]
    assert rows[0]["n"] == 5
    oldest_first = nbreactive("data", "numbers", "--format", "json", "--order", "asc", at=backend)[1]
    assert json.loads(oldest_first) == rows[::-1]
    assert nbreactive("data", "_storage", at=backend)[0] == 0
    status, out, err = nbreactive("data", "number", at=backend)
    assert (status, out, "there is no table 'number'; there is numbers" in err) == (1, "", True)


def test_variables(backend: Served) -> None:
    assert nbreactive("env", "set", "GREETING=hello you", at=backend)[0] == 0
    assert nbreactive("env", "get", "GREETING", at=backend)[1] == "hello you\n"
    assert nbreactive("env", "set", "SECRET", at=backend, input="from a pipe\n")[1] == "set SECRET\n"
    assert nbreactive("env", "list", at=backend)[1] == "GREETING=hello you\nSECRET=from a pipe\n"
    assert json.loads(nbreactive("run", "m.hidden", at=backend)[1])["env"] == "hello you"
    assert nbreactive("env", at=backend)[1] == "GREETING=hello you\nSECRET=from a pipe\n"
    assert nbreactive("env", "remove", "SECRET", at=backend)[0] == 0
    status, out, err = nbreactive("env", "remove", "SECRET", at=backend)
    assert (status, out, "SECRET is not set" in err) == (1, "", True)
    status, _, err = nbreactive("env", "get", "SECRET", at=backend)
    assert (status, "SECRET is not set" in err) == (1, True)


def test_logs(backend: Served) -> None:
    backend.call("mutation", "m:add", n=6)
    backend.ask("action", "m:fails")
    out = nbreactive("logs", at=backend)[1]
    assert "mutation m.add · ok" in out
    assert "adding 6" in out
    errors = [json.loads(line) for line in nbreactive("logs", "--errors", "--json", at=backend)[1].splitlines()]
    assert {"m:fails"} <= {one["path"] for one in errors}
    assert all(one["code"] for one in errors)
    assert nbreactive("logs", "--function", "m:add", "-n", "1", at=backend)[1].count("m.add") == 1


def test_a_folder_from_nothing_to_a_deployment(backend: Served, tmp_path: Path) -> None:
    assert "chat.py" in nbreactive("init", cwd=tmp_path)[1]
    status, _, err = nbreactive("init", cwd=tmp_path)
    assert (status, "is there already" in err) == (1, True)
    assert (tmp_path / ".gitignore").read_text() == ".nbreactive/\n"
    done = json.loads(nbreactive("deploy", "reactive", "--json", at=backend, cwd=tmp_path)[1])
    assert not done["unchanged"]
    (tmp_path / "reactive" / "second.py").write_text("x = 1\n")
    assert "2 modules deployed" in nbreactive("deploy", at=backend, cwd=tmp_path)[1]
    (tmp_path / "reactive" / "second.py").unlink()
    assert "1 module deployed" in nbreactive("deploy", at=backend, cwd=tmp_path)[1]
    assert (tmp_path / "reactive" / "_generated" / "api.pyi").exists()
    assert json.loads(nbreactive("run", "chat.send", "author=me", "body=hi", at=backend)[1])
    assert "nothing had changed" in nbreactive("deploy", at=backend, cwd=tmp_path)[1]

    chat = tmp_path / "reactive" / "chat.py"
    text = chat.read_text()
    chat.write_text(text + "\nimport not_there\n")
    status, _, err = nbreactive("deploy", at=backend, cwd=tmp_path)
    assert (status, "reactive/chat.py:" in err, "nothing has changed" in err) == (1, True, True)
    chat.rename(chat.with_name("talk.py"))
    chat.with_name("talk.py").write_text(text)
    assert "removed: chat" in nbreactive("deploy", at=backend, cwd=tmp_path)[1]
    assert json.loads(nbreactive("run", "talk.list_messages", at=backend)[1])[0]["body"] == "hi"


def test_dev_serves_and_says_what_happens(tmp_path: Path) -> None:
    nbreactive("init", cwd=tmp_path)
    port = free_port()
    command = [sys.executable, "-m", "nbreactive", "dev", "--port", str(port), "--admin-key", KEY]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, cwd=tmp_path) as process:
        assert process.stdout is not None
        seen = ""
        while "ready" not in seen or "deployed" not in seen:
            seen += process.stdout.readline()
        place = str(tmp_path / ".nbreactive")
        assert nbreactive("run", "chat.send", "author=me", "body=hi", "--at", place, "--admin-key", KEY)[0] == 0
        while "mutation chat.send · ok" not in seen:
            seen += process.stdout.readline()
        process.terminate()
        assert process.wait(60) in (0, -signal.SIGTERM)
    with socket.create_server(("127.0.0.1", port)):
        words = ("dev", "--data", "another", "--port", str(port))
        status, out, err = nbreactive(*words, cwd=tmp_path)
    assert (status, "deployed" in out + err, "choose another --port" in out + err) == (1, False, True)
    status, _, err = nbreactive("dev", "nowhere", cwd=tmp_path)
    assert (status, "nbreactive init nowhere" in err) == (1, True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion(shell: str) -> None:
    status, out, _ = nbreactive("completion", shell)
    assert status == 0
    assert "deploy" in out


def test_what_is_no_option_is_refused() -> None:
    status, _, err = nbreactive("data", "--nonsense")
    assert (status, "unrecognized arguments: --nonsense" in err) == (2, True)
