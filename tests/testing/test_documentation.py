"""Every example of docs/testing.md runs, as a project of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "testing.md").read_text("utf-8")


def write_examples(folder: Path) -> list[str]:
    """Write each code block into the file that it names."""
    names: list[str] = []
    for name, text in re.findall(r"```python (\S+)\n(.*?)```", PAGE, re.DOTALL):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
        names.append(name)
    return names


@pytest.mark.slow
def test_the_examples_pass(tmp_path: Path) -> None:
    names = write_examples(tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\naddopts = -p no:cacheprovider\n")
    command = [sys.executable, "-m", "pytest", "-q", "--rootdir", str(tmp_path), str(tmp_path)]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    tests = sum(len(re.findall(r"(?m)^def test_", (tmp_path / name).read_text())) for name in names)
    assert f"{tests} passed" in done.stdout
    assert "```python\n" not in PAGE, "every block names its file, so every block is run"
