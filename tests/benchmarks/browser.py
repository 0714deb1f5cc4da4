"""A notebook in JupyterLab and Chromium, for what only a browser can measure."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.e2e.people import Person, write_notebook
from tests.jupyter.servers import JupyterProcess

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextmanager
def notebook_in_a_browser(*cells: str) -> Generator[tuple[Person, JupyterProcess]]:
    """Open a notebook of these cells; nothing is run yet."""
    chromium = os.environ.get("NBREACTIVE_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        lab = JupyterProcess(Path(folder), module="jupyterlab", config="c.LabApp.expose_app_in_browser = True")
        with lab, playwright.chromium.launch(executable_path=chromium) as browser:
            write_notebook(lab.root / "notebook.ipynb", *cells)
            context = browser.new_context(viewport={"width": 1280, "height": 1400})
            context.set_default_timeout(60_000)
            alice = Person("Alice", context, lab)
            alice.open("notebook.ipynb")
            yield alice, lab
