"""Where jupyter-collaboration is installed, a bar of avatars shows who has the notebook open, though they are in no room."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.conftest import CONFIG, RESULTS
from tests.e2e.people import PATIENCE, Person
from tests.e2e.test_presence import METADATA
from tests.jupyter.servers import JupyterProcess

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("jupyter_collaboration") is None, reason="jupyter-collaboration is not installed"
)
SHARED = CONFIG + '\nc.ServerApp.jpserver_extensions["jupyter_server_ydoc"] = True\n'
SHARED += 'c.ServerApp.jpserver_extensions["jupyter_server_fileid"] = True\n'
SOURCE = "%load_ext nbreactive\nimport nbreactive\nnbreactive.PresenceBar('report', join=False)"


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[JupyterProcess]:
    server = JupyterProcess(tmp_path, SHARED, module="jupyterlab")
    pages = Path(server.environment["JUPYTER_CONFIG_DIR"]) / "labconfig"
    pages.mkdir(parents=True, exist_ok=True)
    (pages / "page_config.json").write_text(
        json.dumps({"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}})
    )
    with server:
        yield server


def test_who_has_the_notebook_open_is_shown_in_it(browser: Browser, shared: JupyterProcess) -> None:
    cell = {"cell_type": "code", "id": "c", "source": SOURCE, "metadata": {}, "outputs": [], "execution_count": None}
    notebook = {"cells": [cell], "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}
    (shared.root / "shared.ipynb").write_text(json.dumps(notebook), "utf-8")
    contexts = [browser.new_context(viewport={"width": 1280, "height": 900}) for _ in range(2)]
    try:
        alice, bob = (Person(name, context, shared) for name, context in zip(("Alice", "Bob"), contexts, strict=True))
        alice.open("shared.ipynb")
        alice.run_all()
        bar = alice.page.locator(".nbr-people")
        expect(bar.get_by_role("img", name="Alice")).to_be_visible(timeout=PATIENCE)
        bob.open("shared.ipynb")
        expect(bar.get_by_role("img", name="Bob")).to_be_visible(timeout=PATIENCE)
        RESULTS.mkdir(exist_ok=True)
        alice.screenshot(RESULTS / "collaboration-alice.png")
        bob.page.goto("about:blank")
        expect(bar.get_by_role("img", name="Bob")).to_have_count(0, timeout=PATIENCE)
        assert not alice.errors
    finally:
        for context in contexts:
            context.close()
