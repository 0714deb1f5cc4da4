"""Kernels and executed notebooks against the real backend."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from nbreactive.notebook.formats import VEGA_LITE
from tests.notebook.kernel import Kernel
from tests.served import KEY, ROOT, Served

CHAT = """%%reactive deploy chat
from nbreactive import query, mutation

@query
def list_messages(ctx, limit: int = 100):
    return ctx.db.query("messages").order("desc").take(limit)

@mutation
def send(ctx, author: str, body: str):
    return ctx.db.insert("messages", {"author": author, "body": body})
"""
LIVE = "application/vnd.nbreactive.live.v1+json"


def environment(folder: Path, **more: str) -> dict[str, str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "IPYTHONDIR": str(folder), "JUPYTER_RUNTIME_DIR": str(folder)}
    env["JUPYTER_DATA_DIR"] = str(folder / "data-of-jupyter")
    for name in ("JPY_PARENT_PID", "NBREACTIVE_URL", "NBREACTIVE_ADMIN_KEY"):
        env.pop(name, None)
    return env | more


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("backend")) as running:
        yield running


@pytest.fixture
def kernels(backend: Served, tmp_path: Path) -> Iterator[Callable[[str], Kernel]]:
    made: list[Kernel] = []

    def start(notebook: str) -> Kernel:
        path = str(tmp_path / notebook)
        env = environment(tmp_path, NBREACTIVE_URL=backend.url, NBREACTIVE_ADMIN_KEY=KEY, JPY_SESSION_NAME=path)
        kernel = Kernel(env, str(tmp_path))
        made.append(kernel)
        ran = kernel.run("%load_ext nbreactive\nfrom nbreactive import api")
        assert "deployment default on the backend at" in ran.text
        assert ran.text.count("\n") == 1
        return kernel

    yield start
    for kernel in made:
        kernel.close()


def test_a_stale_notebook_is_refused(kernels: Callable[[str], Kernel], tmp_path: Path) -> None:
    """Refused with a diff, nothing changes; --force and rollback work and re-run live queries."""
    al, bo = kernels("al.ipynb"), kernels("bo.ipynb")
    first = al.run(CHAT, "d")
    assert "deployed chat" in first.plain
    assert "query chat.list_messages(limit?)" in first.plain
    assert "unchanged: chat" in al.run(CHAT, "d").plain
    assert al.run("api.chat.send(author='al', body='hi')\nm = api.chat.list_messages.live()\nm", "m").error is None

    changed = CHAT.replace("take(limit)", "take(1 + limit - 1)")
    refused = bo.run(changed, "d")
    assert refused.error is not None
    assert refused.error["ename"] == "StaleModule"
    assert "+    return ctx.db.query" in refused.error_text
    assert "--force" in refused.error_text
    assert "site-packages" not in refused.error_text
    assert "take(limit)" in al.run("%reactive source chat").plain

    assert "deployed chat" in bo.run(changed.replace("deploy chat", "deploy chat --force"), "d").plain
    assert "take(1 + limit - 1)" in al.run("%reactive source chat").plain
    history = al.run("%reactive history chat").plain
    assert "version 2" in history
    assert "as it is" not in history
    assert "-    return ctx.db.query" in al.run("%reactive diff chat 1").plain
    assert "there is no version 99 of chat; there are 1, 2" in al.run("%reactive rollback chat 99").error_text
    assert al.run("%reactive rollback chat").plain == "chat is as it was at version 1 again · now version 3"
    assert "as it was at version 1 again" in al.run("%reactive rollback chat 1").plain
    assert "take(limit)" in al.run("%reactive source chat").plain
    [listed] = al.run("%reactive tables").displays
    assert re.search(r"^messages +1 +\d\d B", listed["text/plain"], re.MULTILINE), listed["text/plain"]
    assert "deployed chat" in al.run(CHAT + "# newer\n", "d").plain

    # on another machine, a kernel of the same notebook reads what its saved outputs have seen
    shutil.rmtree(tmp_path / "data-of-jupyter")
    outputs = [{"output_type": "display_data", "data": {}, "metadata": meta} for meta in first.metadata]
    (tmp_path / "al.ipynb").write_text(json.dumps({"cells": [{"outputs": outputs}]}))
    again = kernels("al.ipynb")
    assert "was made from version 1" in again.run(CHAT + "# mine\n", "d").error_text
    again.run("%reactive source chat")
    assert "deployed chat" in again.run(CHAT + "# mine\n", "d").plain


def test_people_with_notebooks_of_the_same_name_take_a_module_over_and_keep_it(
    kernels: Callable[[str], Kernel], tmp_path: Path
) -> None:
    for person in ("al", "bo"):
        (tmp_path / person).mkdir()
    al, bo = kernels("al/same.ipynb"), kernels("bo/same.ipynb")
    cell = CHAT.replace("deploy chat", "deploy same")
    assert "deployed same" in al.run(cell, "d").plain
    assert "unchanged: same" in bo.run(cell, "d").plain
    refused = bo.run(cell + "# bo's\n", "d").error_text
    assert "it belongs to al/same.ipynb (" in refused
    assert "this copy comes from bo/same.ipynb;" in refused
    assert "deployed same" in bo.run(cell.replace("deploy same", "deploy same --force") + "# bo's\n", "d").plain
    assert "as it was at version" in bo.run("%reactive rollback same").plain
    assert "unchanged: same" in bo.run(cell, "d").plain
    assert "deployed same" in bo.run(cell + "# bo's again\n", "d").plain
    refused = al.run("%reactive remove same").error_text
    assert "was not removed: it belongs to bo/same.ipynb (" in refused and "--force" in refused
    assert bo.run("%reactive remove same").plain.startswith("removed same")
    assert "deployed same" in bo.run(cell, "d").plain
    assert al.run("%reactive remove same --force").plain.startswith("removed same")


def test_the_message_of_a_failed_function_is_said_once(kernels: Callable[[str], Kernel]) -> None:
    kernel = kernels("fails.ipynb")
    source = "%%reactive deploy fails\nfrom nbreactive import query\n\n@query\ndef f(ctx):\n    return [][1]\n"
    assert kernel.run(source, "d").error is None
    text = kernel.run("api.fails.f()", "f").error_text
    assert text.count("IndexError: list index out of range") == 1
    assert text.splitlines()[-3:] == ["asked by", "  this notebook, line 1", "    api.fails.f()"]
    assert 'File "reactive/fails.py", line 5, in f (line 6 of the cell)\n    return [][1]\nasked by' in text
    refused = kernel.run(source.replace("return [][1]", "open('x', 'w')").replace("def f", "def g"), "d2")
    assert refused.error is None
    text = kernel.run("api.fails.g()", "g").error_text
    assert text.startswith("NotAllowed: a query cannot")
    assert text.count("NotAllowed") == 1
    assert "in g (line 6 of the cell)\n    open('x', 'w')\nasked by" in text
    # of what another notebook has deployed since, this cell's lines say nothing
    kernels("other.ipynb").run(
        source.replace("deploy fails", "deploy fails --force").replace("query\n\n", "query\n"), "d"
    )
    text = kernel.run("api.fails.f()", "f").error_text
    assert 'File "reactive/fails.py", line 4, in f\n    return [][1]' in text
    assert "live queries: 0" in kernel.run("%reactive status", "s").plain


def test_a_kernel_that_was_restarted_before_the_notebook_was_saved_deploys_its_own_module(
    kernels: Callable[[str], Kernel],
) -> None:
    mine, changed = CHAT.replace("deploy chat", "deploy own"), CHAT.replace("deploy chat", "deploy own") + "# more\n"
    assert "deployed own" in kernels("d.ipynb").run(mine, "d").plain
    again = kernels("d.ipynb")
    assert "deployed own" in again.run(changed, "d").plain
    # another notebook has seen nothing, and what this one has seen is not newer than what it saw
    assert "StaleModule" in kernels("e.ipynb").run(mine, "d").error_text
    assert "deployed own" in kernels("e.ipynb").run(mine.replace("deploy own", "deploy own --force"), "d").plain
    refused = kernels("d.ipynb").run(mine + "# mine again\n", "d")
    assert "StaleModule" in refused.error_text


def test_a_cell_that_uses_a_notebook_variable_is_refused_at_its_line(kernels: Callable[[str], Kernel]) -> None:
    kernel = kernels("c.ipynb")
    kernel.run("rate = 3")
    ran = kernel.run(
        "%%reactive deploy uses\nfrom nbreactive import query\n\n@query\ndef f(ctx):\n    return rate * 2\n", "u"
    )
    assert ran.error is not None
    text = re.sub(r"\x1b\[\d+m", "", ran.error_text)
    assert "\nCell In[3], line 6, column 12\n" in text
    shown = ["       4 @query", "       5 def f(ctx):", "-----> 6     return rate * 2", " " * 9 + "           ^^^^"]
    assert "\n".join(shown) in text
    assert text.count("the name 'rate'") == 1
    assert "rate" in ran.error_text
    assert "Traceback" not in ran.error_text
    assert "uses" not in kernel.run("%reactive functions").plain


SHIPPED = Path(__file__).parents[2] / "notebooks"
DRAWING = "application/vnd.nbreactive.drawing.v1+json"


def execute(tool: str, folder: Path) -> list[Any]:
    """Execute in.ipynb there, with a backend of its own folder that is started for it; the code cells' outputs."""
    if tool == "nbconvert":
        options = ["nbconvert", "--to", "notebook", "--execute", "in.ipynb", "--output", "out.ipynb"]
    else:
        options = ["papermill", "in.ipynb", "out.ipynb", "--no-progress-bar"]
    try:
        ran = subprocess.run(
            [sys.executable, "-m", *options],
            cwd=folder,
            env=environment(folder),
            capture_output=True,
            text=True,
            timeout=180,
        )
    finally:
        info = folder / ".nbreactive" / "backend.json"
        if info.exists():
            os.kill(json.loads(info.read_text())["pid"], 15)
    assert ran.returncode == 0, ran.stderr
    cells: Any = nbformat.read(folder / "out.ipynb", 4).cells
    code = [cell for cell in cells if cell.cell_type == "code" and cell.source]
    outputs = [cell.outputs for cell in code if "papermill" not in cell.metadata.get("tags", [])]
    assert not [output for cell in outputs for output in cell if output.output_type == "error"]
    return outputs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tool", "name"),
    [
        ("nbconvert", "01-chat"),
        ("nbconvert", "02-live-dashboard"),
        ("papermill", "02-live-dashboard"),
        ("nbconvert", "03-live-sql"),
        ("nbconvert", "04-collaborative-editor"),
    ],
)
def test_the_shipped_notebooks_execute_completely(tool: str, name: str, tmp_path: Path) -> None:
    """Restart & Run All without a page; what is live is there as it was in the end."""
    shutil.copy(SHIPPED / f"{name}.ipynb", tmp_path / "in.ipynb")
    outputs = execute(tool, tmp_path)
    shown = [output.data for cell in outputs for output in cell if "data" in output]
    if name == "03-live-sql":
        assert_live_sql_is_complete(shown)
        return
    if name == "04-collaborative-editor":
        assert [line.split()[1:3] for line in shown[-1]["text/plain"].splitlines()[1:]] == [
            ["2", "somebody"],
            ["1", "somebody"],
        ]
        said = "".join(output.text for cell in outputs for output in cell if output.output_type == "stream")
        assert "CONFLICT · Somebody else has saved meanwhile." in said
        return
    tables = [data[LIVE]["table"] for data in shown if LIVE in data]
    if name == "01-chat":
        [table] = tables  # shown before anybody had said anything, saved with what was said after
        assert [row[table["columns"].index("body")] for row in table["rows"]] == ["Hello from a cell"]
        assert "Hello from a cell" in shown[-1]["text/plain"]
        return
    assert [table["columns"][:3] for table in tables] == [
        ["category", "orders", "revenue"],
        ["region", "category", "amount"],
    ]
    assert [len(table["rows"]) for table in tables] == [5, 8]
    chart, counter = [data for data in shown if DRAWING in data]
    assert chart[VEGA_LITE]["mark"] == {"type": "bar"}
    [rows] = chart[VEGA_LITE]["datasets"].values()
    assert sum(row["orders"] for row in rows) == 3005
    assert "vega" in chart["text/html"]
    assert counter["text/markdown"] == "### 3,005 orders"
    loading = "".join(output.text for cell in outputs for output in cell if output.output_type == "stream")
    assert "orders: 3,000 documents loaded" in loading


def assert_live_sql_is_complete(shown: list[Any]) -> None:
    """Everything as of the end: 25 trips were hired at the stadium after the tables had been shown."""
    frames = [data[LIVE]["frame"] for data in shown if "frame" in data.get(LIVE, {})]
    assert [(frame["total"], len(frame["rows"])) for frame in frames] == [
        (8, 8),
        (47, 20),
        (100_025, 20),
        (1, 1),
        (1, 1),
    ]
    busiest, hours, everything, once, stadium = frames
    assert [column["type"] for column in busiest["columns"]] == ["VARCHAR", "BIGINT", "DOUBLE", "DOUBLE"]
    assert {row[0] for row in everything["rows"]} == {everything["rows"][0][0]}  # the rush, newest first
    assert once["rows"][0][0] == 100_025
    assert stadium["rows"] == [[4048]]
    [chart] = [data for data in shown if DRAWING in data]
    assert chart[VEGA_LITE]["mark"]["type"] == "area"
    [points] = chart[VEGA_LITE]["datasets"].values()
    assert len(points) == hours["total"]
    assert any(data["text/plain"].startswith("kind: ") for data in shown)


def notebook(path: Path) -> nbformat.NotebookNode:
    sources = [
        "%load_ext nbreactive\nfrom nbreactive import api\nimport nbreactive",
        CHAT.replace("deploy chat", "deploy talk"),
        "api.talk.send(author='al', body='<b>saved</b>')",
        "m = api.talk.list_messages.live(limit=5)\nm",
        "m.render(lambda rows: f'{len(rows)} rows')",
    ]
    made = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in sources],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    nbformat.write(made, path)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["nbconvert", "papermill"])
def test_executed_notebooks_have_complete_outputs(tool: str, tmp_path: Path) -> None:
    """With a backend of their own folder, which is started for them."""
    notebook(tmp_path / "in.ipynb")
    out = execute(tool, tmp_path)
    greeting = "".join(output.get("text", "") for output in out[0])
    assert (
        greeting
        == f"deployment default on a backend of this folder · data .nbreactive{os.sep} · shared with whoever uses this folder\n"
    )
    live = out[3][0].data
    assert live[LIVE]["table"]["rows"][0][:2] == ["al", "<b>saved</b>"]
    assert "&lt;b&gt;saved&lt;/b&gt;" in live["text/html"]
    assert out[4][0].data["text/plain"] == "'1 rows'"
