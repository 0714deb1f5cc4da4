"""W1 through the Jupyter server: what the authenticated proxy adds."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from statistics import median

from .backend import BenchBackend
from .figures import Figure
from .writes import one_by_one

_TOKEN = "benchmark-token"


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


async def proxy(*, quick: bool) -> list[Figure]:
    """W1 through the Jupyter mount, and straight to the port of a backend with as many documents."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "root" / "reactive").mkdir(parents=True)
        shutil.copy(Path(__file__).with_name("functions.py"), folder / "root" / "reactive" / "bench.py")
        port = _free_port()
        homes = {
            key: str(folder / key.lower())
            for key in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "HOME", "IPYTHONDIR")
        }
        command = [sys.executable, "-m", "jupyter_server", f"--ServerApp.root_dir={folder / 'root'}"]
        command += [f"--ServerApp.port={port}", "--ServerApp.ip=127.0.0.1", f"--IdentityProvider.token={_TOKEN}"]
        command += ["--ServerApp.open_browser=False"] + (["--allow-root"] if os.geteuid() == 0 else [])
        with (folder / "jupyter.log").open("w") as log:
            child = subprocess.Popen(command, env={**os.environ, **homes}, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}/nbreactive"
            headers = {"Authorization": f"token {_TOKEN}"}
            _wait(url, headers)
            many = 300 if quick else 1500
            taken = await one_by_one(url, many, headers)
        finally:
            child.terminate()
            child.wait(30)
        backend = BenchBackend(folder / "direct")
        backend.start()
        try:
            direct = await one_by_one(backend.url, many)
        finally:
            backend.stop()
    return [Figure("W1", "through the Jupyter proxy, p50", median(taken) * 1000, "ms", 2, median(direct) * 1000)]


def _wait(url: str, headers: dict[str, str]) -> None:
    deadline = time.monotonic() + 60
    body = b'{"path": "bench:ping", "args": {}}'
    while True:
        request = urllib.request.Request(f"{url}/api/query", body, headers | {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request) as answer:
                if b'"success"' in answer.read():
                    return
        except (urllib.error.URLError, ConnectionError):
            pass
        if time.monotonic() > deadline:
            raise TimeoutError("the Jupyter-hosted backend did not answer within 60 s")
        time.sleep(0.1)


if __name__ == "__main__":
    for line in asyncio.run(proxy(quick=True)):
        print(line.as_json())
