"""Programs that are told what to do, and say what happens, in JSON lines: the official clients, each in a process."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

SECONDS = 60


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
def program(command: Sequence[str], cwd: Path, prefix: str = "") -> Iterator[Program]:
    running = Program(command, cwd, prefix)
    try:
        yield running
    finally:
        running.close()
