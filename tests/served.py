"""A real ``nbreactive serve`` for tests: a process on a free (then fixed) port, killed and started at will."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any, Self

KEY = "test-key"


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Served:
    """One backend on ``folder``: functions in ``folder/reactive``, data in ``folder/data``."""

    def __init__(self, folder: Path, modules: dict[str, str], *options: str, data: Path | None = None) -> None:
        self.folder = folder
        self.data = data or folder / "data"
        self.functions = folder / "reactive"
        self.functions.mkdir(parents=True, exist_ok=True)
        for name, source in modules.items():
            path = self.functions / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
        self.options = options
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "backend.log"
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> Served:
        """Start the process and wait until it accepts calls."""
        command = [sys.executable, "-m", "nbreactive", "serve", str(self.functions), "--data", str(self.data)]
        command += ["--port", str(self.port), "--admin-key", KEY, *self.options]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("ready "):
                return self
        raise RuntimeError(f"the backend did not start:\n{self.log.read_text()[-4000:]}")

    def kill(self) -> None:
        """End it as a power cut would end a process: SIGKILL, at whatever moment."""
        self.stop(signal.SIGKILL)

    def stop(self, how: int = signal.SIGTERM) -> None:
        """End it and wait."""
        if self.process is None:
            return
        if self.process.poll() is None:
            os.kill(self.process.pid, how)
            self.process.wait(60)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None

    def post(self, path: str, body: Any = None, *, admin: bool = True) -> Any:
        """One HTTP request, decoded."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Convex {KEY}"} if admin else {})
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data, headers), timeout=60) as answer:
            return json.loads(answer.read())

    def call(self, kind: str, path: str, **args: Any) -> Any:
        """Call a function over HTTP; raises RuntimeError with the error's text."""
        answer = self.post(f"/api/{kind}", {"path": path, "args": args, "format": "json"})
        if answer["status"] != "success":
            raise RuntimeError(answer["errorMessage"])
        return answer["value"]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()
