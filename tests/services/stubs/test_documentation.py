"""The examples of docs/types.md: what runs runs, and what type checkers are said to find they find."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.services.stubs.project import ROOT, deploy, expected, has_node, pyright, tsc

PAGE = (ROOT / "docs" / "types.md").read_text("utf-8")
BLOCKS = dict(re.findall(r"```(?:python|ts) (\S+)\n(.*?)```", PAGE, re.DOTALL))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = deploy(tmp_path_factory.mktemp("types"), {"posts": BLOCKS["reactive/posts.py"]})
    for name, text in BLOCKS.items():
        (folder / name).write_text(text, "utf-8")
    return folder


@pytest.mark.slow
def test_pyright(project: Path) -> None:
    wrong = ("client.py", "reactive/wrong.py")
    assert pyright(project, "standard", "reactive/*.py") == {
        name: expected(BLOCKS[name], "# error: ") for name in wrong
    }


@pytest.mark.slow
@pytest.mark.skipif(not has_node(), reason="needs node, npm, and the front end's TypeScript")
def test_typescript(project: Path) -> None:
    assert tsc(project) == {"client.ts": expected(BLOCKS["client.ts"], "// error: ")}


def test_every_block_names_its_file() -> None:
    assert len(re.findall(r"(?m)^```(?:python|ts)\b", PAGE)) == len(BLOCKS) == 4
