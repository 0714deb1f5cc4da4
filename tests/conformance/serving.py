"""A real ``nbreactive serve`` in a process of its own, and programs that talk to it in JSON lines."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

SECONDS = 60


class Serve:
    """One backend that can be killed and started again on the same port and data."""

    def __init__(self, folder: Path, modules: dict[str, str], *options: str, env: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.functions = folder / "functions"
        self.functions.mkdir(parents=True, exist_ok=True)
        for name, source in modules.items():
            (self.functions / f"{name}.py").write_text(source, "utf-8")
        self.port = free_port()
        self.options = options
        self.env = env or {}
        self.process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.folder / "serve.log").read_text("utf-8")

    def start(self) -> None:
        command = [
            sys.executable,
            "-m",
            "nbreactive",
            "serve",
            str(self.functions),
            "--data",
            str(self.folder / "data"),
        ]
        command += ["--port", str(self.port), "--admin-key", "key", *self.options]
        with (self.folder / "serve.log").open("a") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **self.env},
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line.strip() != f"ready {self.url}":
            self.stop()
            raise AssertionError(f"{line!r}\n{self.log}")

    def kill(self) -> None:
        """As if the machine's owner had pulled it: no goodbye."""
        self._end(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)

    def stop(self) -> int | None:
        return self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> int | None:
        if self.process is None:
            return None
        process, self.process = self.process, None
        if process.poll() is None:
            process.send_signal(how)
        try:
            code = process.wait(SECONDS)
        finally:
            if process.stdout:
                process.stdout.close()
        return code

    def call(self, path: str, body: Any = None, *, admin: bool = False) -> Any:
        data = json.dumps(body).encode() if body is not None else None
        headers = {"Content-Type": "application/json"} | ({"Authorization": "Convex key"} if admin else {})
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return json.loads(error.read())


class Program:
    """A client in a process of its own: sends commands, collects what it says per command."""

    def __init__(self, command: Sequence[str], cwd: Path, prefix: str = "") -> None:
        self._prefix = prefix
        self._process = subprocess.Popen(
            command,
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._said: dict[int, queue.Queue[Any]] = {}
        self._lock = threading.Lock()
        self._number = 0
        self.noise: list[str] = []
        self._threads = [
            threading.Thread(target=self._listen, args=(self._process.stdout, True), daemon=True),
            threading.Thread(target=self._listen, args=(self._process.stderr, False), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _listen(self, stream: Any, answers: bool) -> None:
        for line in stream:
            if not answers or not line.startswith(self._prefix) or not line.strip():
                self.noise.append(line)
                continue
            try:
                message = json.loads(line.removeprefix(self._prefix))
                number = message["id"]
            except (ValueError, KeyError, TypeError):
                self.noise.append(line)
                continue
            self._queue(number).put(message)

    def _queue(self, number: int) -> queue.Queue[Any]:
        with self._lock:
            return self._said.setdefault(number, queue.Queue())

    def send(self, what: str, path: str = "", args: Any = None) -> int:
        self._number += 1
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": self._number, "what": what, "path": path, "args": args}) + "\n")
        self._process.stdin.flush()
        return self._number

    def next(self, number: int) -> Any:
        try:
            return self._queue(number).get(timeout=SECONDS)
        except queue.Empty:
            raise AssertionError("".join(self.noise)) from None

    def ask(self, what: str, path: str = "", args: Any = None) -> Any:
        return self.next(self.send(what, path, args))

    def until(self, number: int, condition: Callable[[Any], bool]) -> Any:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            found = self.next(number)
            if condition(found):
                return found
        raise AssertionError("".join(self.noise))

    def close(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        for thread in self._threads:
            thread.join(10)
        for stream in (self._process.stdout, self._process.stderr):
            if stream:
                stream.close()


@contextlib.contextmanager
def serve(folder: Path, modules: dict[str, str], *options: str, env: dict[str, str] | None = None) -> Iterator[Serve]:
    backend = Serve(folder, modules, *options, env=env)
    backend.start()
    try:
        yield backend
    finally:
        backend.stop()


@contextlib.contextmanager
def program(command: Sequence[str], cwd: Path, prefix: str = "") -> Iterator[Program]:
    running = Program(command, cwd, prefix)
    try:
        yield running
    finally:
        running.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
