"""The backend of a Jupyter server: started when it is needed, again when it ends, drained at the end."""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
from pathlib import Path

import pytest

from tests.jupyter.servers import JupyterProcess, wait_for

FAKE = [sys.executable, str(Path(__file__).with_name("fake_backend.py"))]
CONFIG = f"c.NBReactiveApp.backend_command = {FAKE!r}\n"


def pid(server: JupyterProcess) -> int:
    answer = server.request("GET", "nbreactive/api/x", token="alice-token")
    assert answer.status == 200, answer.body
    return answer.json()["pid"]


def state(server: JupyterProcess) -> str:
    return server.request("GET", "nbreactive/api/health", token="alice-token").json()["backend"]


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return (
        "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2][:3] if Path("/proc").exists() else True
    )


def test_from_the_first_use_to_the_end(tmp_path: Path) -> None:
    data = tmp_path / "root" / ".nbreactive"
    with JupyterProcess(tmp_path, CONFIG) as server:
        assert state(server) == "idle"
        assert not data.exists()
        first = pid(server)
        assert state(server) == "running"
        arguments = json.loads((data / "arguments.json").read_text())
        assert arguments[:2] == ["serve", str(tmp_path / "root" / "reactive")]
        assert "--require-auth" in arguments
        # what proves that we are the proxy is for this user's eyes only
        info = data / "supervisor.json"
        assert stat.S_IMODE(info.stat().st_mode) == 0o600
        assert json.loads(info.read_text())["secret"] not in " ".join(arguments)

        # it dies: it is back without anybody asking for it
        assert server.request("POST", "nbreactive/api/die", b"{}", token="alice-token").status == 503
        second = pid_after(server, first)
        assert "dying as told" in server.log.read_text()

        os.kill(second, signal.SIGKILL)
        third = pid_after(server, second)
        server.stop()
        assert (data / f"drained-{third}").exists()
        assert not alive(third)
        assert not info.exists()


def pid_after(server: JupyterProcess, before: int) -> int:
    def other() -> int:
        answer = server.request("GET", "nbreactive/api/x", token="alice-token")
        return answer.json()["pid"] if answer.status == 200 and answer.json()["pid"] != before else 0

    return wait_for(other, what="another backend")


def test_no_secret_of_jupyter_reaches_the_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "of the hub")
    monkeypatch.setenv("JPY_API_TOKEN", "of the hub")
    monkeypatch.setenv("JUPYTER_TOKEN", "of the server")
    with JupyterProcess(tmp_path, CONFIG) as server:
        pid(server)
        environment = (tmp_path / "root" / ".nbreactive" / "environment.json").read_text()
    assert "of the hub" not in environment
    assert "of the server" not in environment


def test_a_backend_that_cannot_start_says_why(tmp_path: Path) -> None:
    data = tmp_path / "root" / ".nbreactive"
    data.mkdir(parents=True)
    (data / "broken").touch()
    with JupyterProcess(tmp_path, CONFIG) as server:
        answer = server.request("GET", "nbreactive/api/x", token="alice-token")
        assert answer.status == 503
        assert "the data folder is broken, on purpose" in answer.json()["message"]
        assert answer.headers["Retry-After"] == "1"
        (data / "broken").unlink()
        assert pid_after(server, 0)


def test_a_second_server_on_the_folder_attaches_and_takes_over(tmp_path: Path) -> None:
    data = tmp_path / "shared"
    config = f"{CONFIG}c.NBReactiveApp.data_dir = {str(data)!r}\n"
    with JupyterProcess(tmp_path / "one", config) as one, JupyterProcess(tmp_path / "two", config) as two:
        backend = pid(one)
        assert pid(two) == backend
        assert (state(one), state(two)) == ("running", "attached")
        health = two.request("GET", "nbreactive/api/health", token="alice-token").json()
        assert "another Jupyter server" in health["shared_with"]
        one.stop()
        assert not alive(backend)
        own = pid_after(two, backend)
        assert state(two) == "running"
        assert alive(own)


def test_a_killed_server_leaves_no_backend_behind(tmp_path: Path) -> None:
    server = JupyterProcess(tmp_path, CONFIG).wait()
    backend = pid(server)
    server.process.kill()
    server.process.wait()
    wait_for(lambda: not alive(backend), what="the backend of a killed server ends")
