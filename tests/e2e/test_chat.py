"""The main job: two people, one notebook each, and what one sends shows in the other's table."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.people import App, Person
from tests.jupyter.servers import JupyterProcess

CHAT = Path(__file__).parents[2] / "notebooks" / "01-chat.ipynb"
# Busy only when somebody asks for it, so that the notebook can be run as a whole before.
LONG_CELL = """
import pathlib, time
if pathlib.Path("busy").exists():
    time.sleep(20)
"""


def bring_notebook(folder: Path) -> int:
    """Put a copy of the chat notebook there, with a long cell at its end; the index of that cell."""
    notebook = json.loads(CHAT.read_text())
    cell = {
        "cell_type": "code",
        "id": "long",
        "source": LONG_CELL,
        "metadata": {},
        "outputs": [],
        "execution_count": None,
    }
    notebook["cells"].append(cell)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "01-chat.ipynb").write_text(json.dumps(notebook))
    return len(notebook["cells"]) - 1


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_what_one_sends_shows_in_the_others_table(
    person: Callable[[str], Person], lab: JupyterProcess, app: App
) -> None:
    people = [person("Alice"), person("Bob")]
    for somebody in people:
        folder = f"{app}-{somebody.name.lower()}"
        long_cell = bring_notebook(lab.root / folder)
        somebody.open(f"{folder}/01-chat.ipynb", app)
        somebody.run_all()
        somebody.sees_state("live")
    alice, bob = people

    # both ways, and nobody runs a cell
    alice.says(f"hello Bob, in {app}")
    bob.sees(f"hello Bob, in {app}")
    bob.says(f"hello Alice, in {app}")
    alice.sees(f"hello Alice, in {app}")

    # also while the kernel of the one who listens is busy
    (lab.root / f"{app}-bob" / "busy").touch()
    bob.start_cell(long_cell)
    bob.wait_for_kernel("busy")
    alice.says(f"are you busy, in {app}?")
    bob.sees(f"are you busy, in {app}?")
    assert bob.kernel_status() == "busy"

    # what people write is text
    alice.says(f"<b onclick=alert(1)>bold in {app}</b>")
    bob.sees(f"<b onclick=alert(1)>bold in {app}</b>")
    expect(bob.table.locator("b")).to_have_count(0)
    assert alice.errors == []
    assert bob.errors == []


def test_the_table_says_when_the_backend_is_away_and_comes_back(
    person: Callable[[str], Person], lab: JupyterProcess
) -> None:
    bring_notebook(lab.root / "away")
    alice = person("Alice")
    alice.open("away/01-chat.ipynb")
    alice.run_all()
    alice.sees_state("live")
    alice.says("before")
    alice.sees("before")
    status = lab.request("GET", "nbreactive/api/admin/status", token="alice-token").json()
    # from outside, and hard: a backend that died
    os.kill(status["pid"], signal.SIGKILL)
    alice.says("after")
    alice.sees("after")
    alice.sees("before")
    alice.sees_state("live")
