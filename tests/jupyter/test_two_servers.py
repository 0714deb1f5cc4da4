"""Two people with a Jupyter server each: nothing is shared until one of them connects to the other's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.jupyter.servers import JupyterProcess

# What a kernel does, without its messages: an IPython shell in a process that has a kernel's environment.
SHELL = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for line in sys.stdin:
    result = shell.run_cell(line.rstrip("\\n").replace("\\x1f", "\\n"))
    print("\\x1e" + ("ok" if result.success else "failed"), flush=True)
"""


class Kernel:
    """Runs cells one by one; gives what each of them printed."""

    def __init__(self, server: JupyterProcess) -> None:
        environment = {**server.environment, "JPY_PARENT_PID": str(server.process.pid), "NO_COLOR": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", SHELL],
            env=environment,
            cwd=server.root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, cell: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(cell.replace("\n", "\x1f") + "\n")
        self._process.stdin.flush()
        lines: list[str] = []
        for line in self._process.stdout:
            if line.startswith("\x1e"):
                assert line.strip("\x1e\n") == "ok", "".join(lines)
                return "".join(lines)
            lines.append(line)
        raise AssertionError(f"the kernel ended: {''.join(lines)}")

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


DEPLOY = """%%reactive deploy notes
from nbreactive import mutation, query
@query
def texts(ctx):
    return [n["text"] for n in ctx.db.query("notes").collect()]
@mutation
def add(ctx, text: str):
    ctx.db.insert("notes", {"text": text})
"""
WAIT = """
import time
deadline = time.monotonic() + 30
while texts.value != {wanted!r}:
    assert time.monotonic() < deadline, texts.value
    time.sleep(0.02)
"""


@pytest.mark.slow
def test_nothing_is_shared_until_somebody_connects(tmp_path: Path) -> None:
    with (
        JupyterProcess(tmp_path / "ann", people=False) as ann,
        JupyterProcess(tmp_path / "ben", people=False) as ben,
    ):
        first, second = Kernel(ann), Kernel(ben)
        for kernel in (first, second):
            said = kernel.run("%load_ext nbreactive")
            assert "nobody" in said
            kernel.run("from nbreactive import api")
            kernel.run(DEPLOY)
            kernel.run('api.notes.add(text="mine")')
            kernel.run("texts = api.notes.texts.live()")
        # each has its own data: one note, not two
        for kernel in (first, second):
            assert kernel.run("print(texts.value)").strip() == "['mine']"

        # Ben joins Ann, with the address that she sent him.
        token = re.search(r"token = '([^']+)'", (tmp_path / "ann" / "config.py").read_text()).group(1)  # type: ignore[union-attr]
        said = second.run(f"%reactive connect {ann.url}/lab?token={token}")
        assert token not in said
        assert str(ann.port) in said
        second.run("texts = api.notes.texts.live()")
        second.run('api.notes.add(text="from Ben")')
        first.run(WAIT.format(wanted=["mine", "from Ben"]))
        first.run('api.notes.add(text="from Ann")')
        second.run(WAIT.format(wanted=["mine", "from Ben", "from Ann"]))
        first.close()
        second.close()
