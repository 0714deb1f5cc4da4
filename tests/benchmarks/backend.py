"""A real backend for the benchmarks: ``nbreactive serve`` with the functions of ``functions.py``."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

KEY = "benchmark-key"


class BenchBackend:
    """One ``nbreactive serve`` process on a data folder which outlives it."""

    def __init__(self, folder: Path, *, workers: int = 2) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.functions = folder / "reactive"
        self.functions.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(__file__).with_name("functions.py"), self.functions / "bench.py")
        self.workers = workers
        self.process: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self) -> float:
        """Start it; returns the seconds until it answered a query."""
        begun = time.perf_counter()
        log = (self.folder / "backend.log").open("a")
        command = [sys.executable, "-m", "nbreactive", "serve", str(self.functions), "--data", str(self.data)]
        command += ["--port", "0", "--admin-key", KEY, "--workers", str(self.workers)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("ready "):
                self.url = line.split()[1].rstrip("/")
                break
        else:
            raise RuntimeError(f"the backend did not start; see {self.folder / 'backend.log'}")
        self.query("bench:ping")
        return time.perf_counter() - begun

    def request(self, path: str, body: Any = None) -> Any:
        """One HTTP request with the admin key."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Convex {KEY}", "Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data, headers)) as answer:
            return json.loads(answer.read())

    def call(self, kind: str, path: str, **args: Any) -> Any:
        """Call a function over HTTP."""
        answer = self.request(f"/api/{kind}", {"path": path, "args": args, "format": "json"})
        if answer["status"] != "success":
            raise RuntimeError(answer)
        return answer["value"]

    def query(self, path: str, **args: Any) -> Any:
        """Call a query over HTTP, once the functions are deployed."""
        deadline = time.monotonic() + 30
        while True:
            try:
                return self.call("query", path, **args)
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def status(self) -> dict[str, Any]:
        """What the backend says of itself."""
        return self.request("/api/admin/status")

    def memory(self) -> int:
        """Bytes of memory of the backend process, without file-backed pages (LMDB's map is page cache)."""
        assert self.process is not None
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
        return 0

    def stop(self, how: int = signal.SIGTERM) -> None:
        """End it, gently or not."""
        if self.process is not None and self.process.poll() is None:
            os.kill(self.process.pid, how)
            self.process.wait(60)
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None
