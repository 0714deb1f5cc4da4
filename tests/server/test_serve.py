"""``nbreactive serve`` as a process: its life, its data folder, its admin API."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.served import KEY, Served
from tests.server.fakes import Wire

MODULE = """
from nbreactive import internal_query, mutation, query

@mutation
def add(ctx, text: str):
    return ctx.db.insert("notes", {"text": text})

@query
def texts(ctx):
    return [d["text"] for d in ctx.db.query("notes").collect()]

@internal_query
def hidden(ctx):
    return 1
"""


def start(
    folder: Path, *options: str, stdin: Any = subprocess.DEVNULL, **env: str
) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "nbreactive", "serve", "--data", str(folder), "--port", "0", *options]
    process = subprocess.Popen(
        command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ, **env}
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def finish(process: subprocess.Popen[str]) -> int:
    try:
        return process.wait(30)
    finally:
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def test_ready_line_info_file_own_admin_key_and_sigterm(tmp_path: Path) -> None:
    process, ready = start(tmp_path)
    assert ready.startswith("ready http://127.0.0.1:")
    url = ready.removeprefix("ready ")
    info = json.loads((tmp_path / "backend.json").read_text())
    assert info["pid"] == process.pid and info["url"] == url
    key = (tmp_path / "admin.key").read_text()
    request = urllib.request.Request(url + "/api/admin/modules", headers={"Authorization": f"Convex {key}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert json.loads(answer.read()) == {"version": 0, "modules": []}
    second, line = start(tmp_path)
    assert line == "" and finish(second) == 1
    process.terminate()
    assert finish(process) == 0
    assert not (tmp_path / "backend.json").exists()


def test_ends_with_its_standard_input_if_asked(tmp_path: Path) -> None:
    process, ready = start(
        tmp_path, stdin=subprocess.PIPE, NBREACTIVE_EXIT_WITH_STDIN="1", NBREACTIVE_ADMIN_KEY="from the environment"
    )
    assert ready.startswith("ready ") and not (tmp_path / "admin.key").exists()
    assert process.stdin is not None
    process.stdin.close()
    process.stdin = None
    assert finish(process) == 0


def test_ends_when_nobody_is_connected(tmp_path: Path) -> None:
    process, ready = start(tmp_path, "--idle-exit", "0.2")
    assert ready.startswith("ready ")
    assert finish(process) == 0


def test_a_data_folder_in_use_names_its_backend_case_45(tmp_path: Path) -> None:
    with Served(tmp_path, {"m": MODULE}) as backend:
        command = [sys.executable, "-m", "nbreactive", "serve", "--data", str(tmp_path / "data"), "--port", "0"]
        other = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert other.returncode == 1 and backend.url in other.stderr and "--data" in other.stderr
        assert backend.fetch("/api/query", {"path": "m:texts", "args": {}})["value"] == []
        port = [*command[:-3], str(tmp_path / "else"), "--port", str(backend.port)]
        taken = subprocess.run(port, capture_output=True, text=True, timeout=60, check=False)
        assert taken.returncode == 1 and "choose another --port" in taken.stderr


def test_the_admin_api(tmp_path: Path) -> None:
    with Served(tmp_path, {}) as backend:

        def admin(path: str, body: Any = None) -> Any:
            return backend.fetch(f"/api/admin/{path}", body, admin=True)

        cell = {"kind": "cell", "label": "a.ipynb", "key": "a"}
        done = admin("deploy", {"modules": [{"name": "m", "source": MODULE, "origin": cell}], "base": {"m": None}})
        assert (
            done["version"] == 1
            and not done["unchanged"]
            and {f["path"] for f in done["modules"][0]["functions"]} == {"m:add", "m:texts", "m:hidden"}
        )
        stale = admin(
            "deploy", {"modules": [{"name": "m", "source": MODULE + "\n# more", "origin": {**cell, "key": "b"}}]}
        )
        assert stale["code"] == "StaleModule" and "+# more" in stale["diff"] and stale["current"]["version"] == 1
        broken = admin("deploy", {"modules": [{"name": "m", "source": "x = (", "origin": cell}]})
        assert broken["code"] == "DeployRefused" and broken["issues"][0]["line"] == 1
        assert admin("deploy", {"modules": 5})["code"] == "ProtocolError"

        def paths(answer: Any) -> set[str]:
            return {f["path"] for f in answer["functions"]}

        assert paths(backend.fetch("/api/admin/functions")) == {"m:add", "m:texts"} and "m:hidden" in paths(
            admin("functions")
        )
        backend.fetch("/api/mutation", {"path": "m:add", "args": {"text": "one"}})
        admin("deploy", {"modules": [{"name": "m", "source": MODULE + "\n# two", "origin": cell}], "base": {"m": 1}})
        assert [d["version"] for d in admin("history?module=m")["deploys"]] == [2, 1]
        assert "-# two" not in admin("source?module=m&version=1")["source"]
        assert "+# two" in admin("source?module=m&diff=1")["diff"]
        unknown = admin("rollback", {"module": "m", "version": 99})
        assert unknown["message"] == "there is no version 99 of m; there are 1, 2"
        back = admin("rollback", {"module": "m"})
        assert (back["version"], back["to"]) == (3, 1)
        assert admin("modules")["modules"][0]["origin"] == cell
        (table,) = [t for t in admin("tables")["tables"] if t["name"] == "notes"]
        assert table["documents"] == 1
        request = urllib.request.Request(
            backend.url + "/api/admin/rows?table=notes", headers={"Authorization": f"Convex {KEY}"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            import pyarrow as pa

            assert pa.ipc.open_stream(answer.read()).read_all().column("text").to_pylist() == ["one"]
        assert (
            admin("rows?table=nowhere")["code"] == "FunctionNotFound"
            and admin("rows?table=_modules")["code"] == "FunctionNotFound"
        )
        status = admin("status")
        assert status["executions"]["mutations"] >= 1 and status["columns"]["running"] and status["code_version"] == 3
        assert any(c["path"] == "m:add" for c in admin("logs")["calls"])


def test_reset_deletes_everything_and_clients_come_back(tmp_path: Path) -> None:
    with Served(tmp_path, {"m": MODULE}) as backend:
        backend.fetch("/api/mutation", {"path": "m:add", "args": {"text": "one"}})
        assert backend.fetch("/api/admin/reset", {"confirm": "yes"}, admin=True)["code"] == "Refused"
        assert backend.fetch("/api/query", {"path": "m:texts", "args": {}})["value"] == ["one"]
        assert backend.fetch("/api/admin/reset", {"confirm": "default"}, admin=True) == {"reset": True}
        assert backend.fetch("/api/query", {"path": "m:texts", "args": {}})["value"] == []
        backend.fetch("/api/mutation", {"path": "m:add", "args": {"text": "two"}})
        backend.kill()
        backend.start()
        assert backend.fetch("/api/query", {"path": "m:texts", "args": {}})["value"] == ["two"]

        async def main() -> None:
            from tornado.websocket import websocket_connect

            wire = Wire(await websocket_connect(backend.url.replace("http", "ws") + "/api/sync"))
            wire.hello()
            wire.subscribe(0, (0, "m:texts", {}))
            assert (await wire.until("Transition"))["modifications"][0]["value"] == ["two"]
            wire.connection.close()
            await wire.closed()

        asyncio.run(main())


def test_sigterm_lets_a_running_mutation_be_answered(tmp_path: Path) -> None:
    slow = (
        MODULE
        + "\n\n@mutation\ndef slow(ctx):\n    n = 0\n    for i in range(3_000_000):\n        n += i\n    return n\n"
    )

    async def main(backend: Served) -> None:
        from tornado.websocket import websocket_connect

        wire = Wire(await websocket_connect(backend.url.replace("http", "ws") + "/api/sync"))
        wire.hello()
        wire.mutate(0, "m:slow")
        wire.mutate(1, "m:add", text="x")
        await asyncio.to_thread(_executions, backend, 1)
        assert backend.process is not None
        backend.process.terminate()
        assert (await wire.until("MutationResponse"))["requestId"] == 0
        code, _ = await wire.closed()
        assert code == 1012

    with Served(tmp_path, {"m": slow}) as backend:
        asyncio.run(main(backend))


def _executions(backend: Served, least: int) -> None:
    with contextlib.suppress(AssertionError):
        while backend.fetch("/api/admin/status")["executions"]["mutations"] < least:
            pass


@pytest.mark.parametrize("arguments", [["serve", "--port", "x"], ["nothing"], [], ["serve", "--mode", "other"]])
def test_wrong_arguments(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nbreactive", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2 and "usage" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM there")
def test_sigterm_before_it_is_ready_while_a_file_is_imported_without_end(tmp_path: Path) -> None:
    functions, begun = tmp_path / "reactive", tmp_path / "begun"
    functions.mkdir()
    (functions / "m.py").write_text(f"open({str(begun)!r}, 'w').close()\nwhile True: pass\n")
    command = [sys.executable, "-m", "nbreactive", "serve", str(functions), "--data", str(tmp_path / "data")]
    process = subprocess.Popen(
        [*command, "--port", "0"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 30
        while not begun.exists():
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.01)
        process.terminate()
        said, errors = process.communicate(timeout=8)  # well before it would have been ready anyway
        assert (process.returncode, said, errors) == (0, "", "")
    finally:
        process.kill()
        process.communicate()


def test_sigterm_during_a_deploy_that_does_not_end(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    backend = Served(tmp_path).start()
    endless = {
        "name": "m",
        "source": f"open({str(begun)!r}, 'w').close()\nwhile True: pass\n",
        "origin": {"kind": "api"},
    }

    def deploy() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            backend.fetch("/api/admin/deploy", {"modules": [endless]}, admin=True)

    deploying = threading.Thread(target=deploy)
    deploying.start()
    try:
        deadline = time.monotonic() + 30
        while not begun.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        status = backend.stop()
        deploying.join()
    assert status == 0 and "Traceback" not in backend.log
