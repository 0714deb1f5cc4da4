"""A real backend for tests: ``nbreactive serve`` in a process, on a free port, in a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


class BackendProcess:
    """One running backend."""

    def __init__(self, data: Path, *options: str) -> None:
        self.data = data
        self.key = "k" * 24
        self.log = (data.parent / "backend-test.log").open("ab")
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "nbreactive",
                "serve",
                "--data",
                str(data),
                "--port",
                "0",
                "--admin-key",
                self.key,
                *options,
            ],
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            cwd=data.parent,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("ready "), (line, (data.parent / "backend-test.log").read_text())
        self.url = line.split()[1]

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.log.close()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.log.close()
