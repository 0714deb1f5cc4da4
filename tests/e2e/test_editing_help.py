"""Tab, Shift+Tab and a refused deploy, as somebody sees them who writes a notebook."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import expect

from tests.e2e.conftest import RESULTS
from tests.e2e.people import PATIENCE, Person, write_notebook
from tests.jupyter.servers import JupyterProcess

CHAT = '''%%reactive deploy helped
from nbreactive import mutation, query

@query
def listed(ctx):
    return ctx.db.query("helped").collect()

@mutation
def send(ctx, author: str, body: str):
    """Say something to <b>everybody</b>."""
    return ctx.db.insert("helped", {"author": author, "body": body})
'''
WRONG = """%%reactive deploy wrong
from nbreactive import query

@query
def twice(ctx, number: int):
    return number * factor
"""


def test_what_helps_while_one_writes(person: Callable[[str], Person], lab: JupyterProcess) -> None:
    cells = ["%load_ext nbreactive\nfrom nbreactive import api", CHAT, "api.helped.", "api.helped.send(", WRONG]
    write_notebook(Path(lab.root) / "help.ipynb", *cells)
    alice = person("Alice")
    alice.open("help.ipynb")
    page = alice.page
    for index in (0, 1):
        alice.start_cell(index)
    expect(page.locator(".jp-OutputArea-output", has_text="mutation helped.send(author, body)")).to_be_visible(
        timeout=PATIENCE
    )
    alice.wait_for_kernel("idle")

    def at_the_end_of(index: int) -> None:
        page.locator(".jp-CodeCell").nth(index).locator(".cm-content").click()
        page.keyboard.press("Control+End")

    at_the_end_of(2)
    page.keyboard.press("Tab")
    offered = page.locator(".jp-Completer")
    for name in ("listed", "send"):
        expect(offered).to_contain_text(name, timeout=PATIENCE)
    page.screenshot(path=RESULTS / "editing-help-tab.png")
    page.keyboard.press("Escape")

    at_the_end_of(3)
    page.keyboard.press("Shift+Tab")
    tooltip = page.locator(".jp-Tooltip")
    expect(tooltip).to_contain_text("api.helped.send(*, author: str, body: str)", timeout=PATIENCE)
    expect(tooltip).to_contain_text("Say something to <b>everybody</b>.")
    expect(tooltip).to_contain_text("from help.ipynb · version ")
    page.screenshot(path=RESULTS / "editing-help-tooltip.png")
    page.keyboard.press("Escape")
    at_the_end_of(3)
    page.keyboard.press("Tab")
    expect(offered).to_contain_text("author=", timeout=PATIENCE)
    page.keyboard.press("Escape")

    alice.start_cell(4)
    error = page.locator(".jp-CodeCell").nth(4).locator(".jp-OutputArea-output")
    expect(error).to_contain_text("Cell In[3], line 6, column 21", timeout=PATIENCE)
    expect(error).to_contain_text("-----> 6     return number * factor")
    expect(error).to_contain_text("^^^^^^")
    error.scroll_into_view_if_needed()
    page.screenshot(path=RESULTS / "editing-help-refused.png")
