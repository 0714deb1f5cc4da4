"""``nbreactive serve --hub`` as a process: what it needs, and when it ends."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.jupyter.servers import free_port, wait_for

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="JupyterHub does not run on Windows")
COMMAND = [sys.executable, "-m", "nbreactive", "serve", "--hub"]


def hub_environment(port: int) -> dict[str, str]:
    return {
        **os.environ,
        "JUPYTERHUB_SERVICE_NAME": "nbreactive",
        "JUPYTERHUB_SERVICE_PREFIX": "/services/nbreactive/",
        "JUPYTERHUB_SERVICE_URL": f"http://127.0.0.1:{port}",
        "JUPYTERHUB_API_TOKEN": "a-token",
        "JUPYTERHUB_CLIENT_ID": "service-nbreactive",
        "JUPYTERHUB_API_URL": f"http://127.0.0.1:{free_port()}/hub/api",  # nobody there
    }


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ask(
    port: int, path: str = "/services/nbreactive/api/query", sent: bytes | None = None, **headers: str
) -> tuple[int, str, str | None]:
    """Status, code and whereto."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET" if sent is None else "POST", path, sent, headers)
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, json.loads(body)["code"] if body else "", answer.headers["Location"]
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("change", "data", "told"),
    [
        ({"JUPYTERHUB_SERVICE_URL": ""}, "data", "a service that a JupyterHub starts"),
        ({"JUPYTERHUB_SERVICE_URL": "http://127.0.0.1"}, "data", "has no port"),
        ({}, None, "folders are absolute; '.nbreactive' is not"),
    ],
)
def test_it_says_what_it_needs(tmp_path: Path, change: dict[str, str], data: str | None, told: str) -> None:
    options = ["--data", str(tmp_path / data)] if data else []
    done = subprocess.run(
        [*COMMAND, *options], env=hub_environment(1) | change, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and told in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_it_ends_with_its_hub(tmp_path: Path) -> None:
    """Also when the Hub is killed: the next one gives its service another token, and the same port."""
    port = free_port()
    hub = "import subprocess, sys; subprocess.Popen(sys.argv[1:]).wait()"
    with (tmp_path / "log").open("wb") as log:
        parent = subprocess.Popen(
            [sys.executable, "-c", hub, *COMMAND, "--data", str(tmp_path / "data")],
            env=hub_environment(port),
            stderr=log,
            stdout=log,
        )
    try:
        wait_for(lambda: listens(port), 60, "the service listens")
        info = tmp_path / "data" / "supervisor.json"
        wait_for(info.exists, 60, "its backend is ready")
        assert ask(port) == (403, "Refused", None)
        assert ask(port, Authorization="token t") == (503, "Unavailable", None)
        assert ask(port, "/services/nbreactive/none/api/query", bytes(1 << 20)) == (403, "Refused", None)
        # What is not passed on would be kept in memory, nobody's bodies, too.
        assert ask(port, "/services/nbreactive/", **{"Content-Length": "1000000"})[0] == 400
        status, _, location = ask(port, Accept="text/html")
        assert status == 302 and location and location.startswith("/hub/api/oauth2/authorize?")
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    wait_for(lambda: not listens(port), 60, "the service has ended")
    wait_for(lambda: not info.exists(), 60, "its backend, too")
