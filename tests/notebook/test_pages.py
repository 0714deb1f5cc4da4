"""The examples of some pages of docs/ run, as cells of a notebook, and show what the pages say that they show."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.notebook.kernel import Kernel
from tests.notebook.test_real_kernel import environment
from tests.served import KEY, ROOT, Served

PAGES = (
    "README.md", "docs/actions.md", "docs/coming-from-convex.md", "docs/deployments.md", "docs/environment.md",
    "docs/files.md",
    "docs/limits.md", "docs/logs.md", "docs/pagination.md", "docs/search.md",
    "docs/vectors.md", "docs/widgets.md",
)  # fmt: skip
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def options_of(command: str) -> list[str]:
    """The options of ``nbreactive serve`` in a page, but for its folders."""
    words = shlex.split(command)
    assert words[:3] == ["nbreactive", "serve", "reactive"]
    return [word for word in words[3:] if word not in ("--data", ".nbreactive")]


def shows(said: str, wanted: str) -> bool:
    """Whether the lines are there, one after the other; ``...`` stands for anything within a line."""
    pattern = r"\n".join(r".*?".join(map(re.escape, line.split("..."))) + r".*" for line in wanted.splitlines())
    return re.search(rf"^.*{pattern}$", said, re.MULTILINE) is not None


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_the_page_run(page: str, tmp_path: Path) -> None:
    blocks = BLOCK.findall((ROOT / page).read_text("utf-8"))
    modules = {Path(name).stem: text for kind, name, text in blocks if kind == "python" and name}
    commands = [text for kind, _, text in blocks if kind == "console" and text.startswith("nbreactive")]
    options = [word for text in commands for word in options_of(text)]
    cells = [(at, text) for at, (kind, name, text) in enumerate(blocks) if kind == "python" and not name]
    assert cells
    with Served(tmp_path, modules, *options) as backend:
        kernel = Kernel(environment(tmp_path, NBREACTIVE_URL=backend.url, NBREACTIVE_ADMIN_KEY=KEY), str(tmp_path))
        try:
            kernel.run("%load_ext nbreactive")
            for at, text in cells:
                ran = kernel.run(text)
                assert ran.error is None, ran.error_text
                if at + 1 < len(blocks) and blocks[at + 1][0] == "text":
                    assert shows(f"{ran.text}\n{ran.plain}", blocks[at + 1][2]), (ran.text, ran.plain)
        finally:
            kernel.close()


def test_the_page_of_limits_names_all_that_can_be_set_and_has_the_numbers() -> None:
    from nbreactive.server.limits import Limits, described
    from nbreactive.values import limits

    page = (ROOT / "docs" / "limits.md").read_text("utf-8")
    assert set(re.findall(r"`(\w+)`", page)) >= set(described(Limits()))
    for number in (
        limits.READ_DOCUMENTS, limits.READ_INTERVALS, limits.WRITTEN_DOCUMENTS, limits.ARRAY_ITEMS, limits.OBJECT_FIELDS,
        limits.TABLES, limits.SCHEDULED_FUNCTIONS, limits.CONCURRENT_OPERATIONS, limits.QUERIES_PER_CONNECTION,
    ):  # fmt: skip
        assert f"{number:,}" in page
