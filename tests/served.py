"""A real ``nbreactive serve`` for tests: a process on a port of its own, killed and started at will."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

KEY = "the-key-of-the-tests"
ROOT = Path(__file__).parent.parent
SECONDS = 60


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Served:
    """One backend on ``folder``: functions in ``folder/reactive``, data in ``folder/data``, log beside them.

    It keeps port and data when it is killed and started again.
    """

    def __init__(
        self, folder: Path, modules: dict[str, str] | None = None, *options: str, env: dict[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.functions = folder / "reactive"
        self.functions.mkdir(parents=True, exist_ok=True)
        for name, source in (modules or {}).items():
            path = self.functions / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source, "utf-8")
        self.options = options
        self.env = env or {}
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_file = folder / "backend.log"
        self.process: subprocess.Popen[str] | None = None

    @property
    def log(self) -> str:
        """What it has written into its log."""
        return self.log_file.read_text("utf-8")

    def command(self) -> list[str]:
        """How it is started."""
        command = [sys.executable, "-m", "nbreactive", "serve", str(self.functions), "--data", str(self.data)]
        return [*command, "--port", str(self.port), "--admin-key", KEY, *self.options]

    def start(self) -> Self:
        """Start the process and wait until it accepts calls."""
        env = {**os.environ, "PYTHONPATH": str(ROOT), **self.env}
        with self.log_file.open("a") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True, env=env
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line.strip() != f"ready {self.url}":
            self.stop()
            raise AssertionError(f"the backend did not start: {line!r}\n{self.log[-4000:]}")
        return self

    def kill(self) -> None:
        """End it as the machine's owner might: no goodbye, at whatever moment."""
        self._end(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)

    def stop(self) -> int | None:
        """End it and return its exit status."""
        return self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> int | None:
        if self.process is None:
            return None
        process, self.process = self.process, None
        if process.poll() is None:
            process.send_signal(how)
        try:
            return process.wait(SECONDS)
        finally:
            if process.stdout is not None:
                process.stdout.close()

    def fetch(self, path: str, body: Any = None, *, admin: bool = False) -> Any:
        """One HTTP request (POST if there is a body), answered with whatever JSON, errors included."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Convex {KEY}"} if admin else {})
        data = json.dumps(body).encode() if body is not None else None
        try:
            request = urllib.request.Request(self.url + path, data, headers)
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return json.loads(error.read())

    def ask(self, kind: str, path: str, **args: Any) -> Any:
        """Call a function over HTTP and return the answer as it came."""
        return self.fetch(f"/api/{kind}", {"path": path, "args": args, "format": "json"})

    def call(self, kind: str, path: str, **args: Any) -> Any:
        """Call a function over HTTP and return its result; raises RuntimeError with the error's text."""
        answer = self.ask(kind, path, **args)
        if answer.get("status") != "success":
            raise RuntimeError(answer.get("errorMessage", str(answer)))
        return answer["value"]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
