"""What a person does in a notebook page, in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import BrowserContext, Error, Locator, Page, expect

from tests.jupyter.servers import JupyterProcess

App = Literal["lab", "notebook"]
_PAGES = {"lab": "doc/tree", "notebook": "notebooks"}
# Cold caches and shared machines: patience costs nothing when all is well.
PATIENCE = 60_000


class Person:
    """Somebody at a browser of their own, signed in with their own token."""

    def __init__(self, name: str, context: BrowserContext, server: JupyterProcess) -> None:
        self.name = name
        self.context = context
        self.page: Page = context.new_page()
        self.errors: list[str] = []
        self.page.on("pageerror", self._note_error)
        self._server = server

    def _note_error(self, error: Error) -> None:
        # Ours only (the extension, or a widget's module); Jupyter's own pages are not free of errors.
        if "nbreactive" in (error.stack or "") or "blob:" in (error.stack or ""):
            self.errors.append(error.stack or error.message)

    def open(self, path: str, app: App = "lab") -> None:
        """Open a notebook and wait for its kernel."""
        self.page.goto(f"{self._server.url}/{_PAGES[app]}/{path}?token={self.name.lower()}-token&reset")
        self._wait_for_notebook()

    def look_at(self, path: str, app: App = "lab") -> None:
        """Open a notebook, whether it finds a kernel or not."""
        self.page.goto(f"{self._server.url}/{_PAGES[app]}/{path}?token={self.name.lower()}-token&reset")
        expect(self.page.locator(".jp-Notebook")).to_be_visible(timeout=PATIENCE)

    def reload(self) -> None:
        """Press F5."""
        self.page.reload()
        self._wait_for_notebook()

    def _wait_for_notebook(self) -> None:
        expect(self.page.locator(".jp-Notebook")).to_be_visible(timeout=PATIENCE)
        self.wait_for_kernel("idle")

    def wait_for_kernel(self, status: str) -> None:
        """Wait until the kernel is idle, or busy."""
        found = "() => { const w = window.jupyterapp.shell.currentWidget; const k = w?.sessionContext?.session?.kernel;"
        self.page.wait_for_function(f"{found} return k?.status === '{status}' }}", timeout=PATIENCE)

    def kernel_status(self) -> str:
        """What the kernel is doing now."""
        return self.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status")

    def trusts_outputs(self) -> bool:
        """Whether Jupyter trusts the outputs of this notebook."""
        cells = "window.jupyterapp.shell.currentWidget.content.widgets"  # those without outputs are always trusted
        return self.page.evaluate(f"() => {cells}.every(({{ model }}) => model.trusted)")

    def run_all(self) -> None:
        """Run every cell, and wait for the last one."""
        self.command("notebook:run-all-cells")

    def start_cell(self, index: int) -> None:
        """Run one cell without waiting for it."""
        select = f"window.jupyterapp.shell.currentWidget.content.activeCellIndex = {index};"
        self.page.evaluate(f"() => {{ {select} window.jupyterapp.commands.execute('notebook:run-cell'); }}")

    def command(self, name: str) -> None:
        """Execute a command of the application, to its end."""
        self.page.evaluate(f"async () => {{ await window.jupyterapp.commands.execute('{name}'); }}")

    def save(self) -> None:
        """Save the notebook."""
        self.command("docmanager:save")

    @property
    def table(self) -> Locator:
        """The first live table of the page that is shown."""
        return self.page.locator(".nbr-live:visible").first

    def sees(self, text: str) -> None:
        """Wait until the live table has a cell with ``text``."""
        expect(self.table.get_by_role("gridcell", name=text, exact=True)).to_be_visible(timeout=PATIENCE)

    def sees_state(self, text: str) -> None:
        """Wait until the live table says that it is in this state."""
        expect(self.table.locator(".nbr-state")).to_contain_text(text, timeout=PATIENCE)

    def says(self, text: str) -> None:
        """Type into the form of the chat notebook, and press Enter."""
        field = self.page.get_by_placeholder("Say something, press Enter")
        field.scroll_into_view_if_needed()
        field.fill(text)
        field.press("Enter")

    def screenshot(self, path: Path) -> None:
        """Keep what is on the screen, with the table in sight."""
        if self.page.locator(".nbr-live:visible").count():
            self.table.scroll_into_view_if_needed()
        self.page.screenshot(path=path)


def write_notebook(path: Path, *cells: str) -> None:
    """A notebook of code cells."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nodes: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "id": f"cell-{i}",
            "source": source,
            "metadata": {},
            "outputs": [],
            "execution_count": None,
        }
        for i, source in enumerate(cells)
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": kernel, "cells": nodes}))
