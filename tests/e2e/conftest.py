"""A JupyterLab with Notebook 7 beside it, and people with browsers of their own."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from tests.e2e.people import Person
from tests.jupyter.servers import JupyterProcess

RESULTS = Path(__file__).parents[2] / "test-results"
CONFIG = """
c.LabApp.expose_app_in_browser = True
c.JupyterNotebookApp.expose_app_in_browser = True
"""
# News ask for consent in a pop-up. Shared editing may be installed in this environment; its server half is off here.
NOT_WANTED = (
    "@jupyterlab/apputils-extension:announcements",
    "@jupyter/collaboration-extension",
    "@jupyter/docprovider-extension",
)
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    path = os.environ.get("NBREACTIVE_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        pytest.fail("There is no Chromium: `./dev test` finds or installs one; or name it in NBREACTIVE_CHROMIUM.")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path)
        yield running
        running.close()


@pytest.fixture(scope="package")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterProcess]:
    server = JupyterProcess(tmp_path_factory.mktemp("lab"), CONFIG, module="jupyterlab")
    # Cells out of sight are taken out of the page otherwise, and could not be looked at.
    settings = Path(server.environment["JUPYTERLAB_SETTINGS_DIR"]) / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "tracker.jupyterlab-settings").write_text(json.dumps({"windowingMode": "none"}))
    pages = Path(server.environment["JUPYTER_CONFIG_DIR"]) / "labconfig"
    pages.mkdir(parents=True, exist_ok=True)
    (pages / "page_config.json").write_text(json.dumps({"disabledExtensions": dict.fromkeys(NOT_WANTED, True)}))
    with server:
        yield server


@pytest.fixture
def person(browser: Browser, lab: JupyterProcess, request: pytest.FixtureRequest) -> Iterator[Callable[[str], Person]]:
    """Bring somebody in: ``person("Alice")``. Their screens are kept in test-results/."""
    contexts: list[BrowserContext] = []
    people: list[Person] = []

    def bring(name: str) -> Person:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        context.set_default_timeout(60_000)
        contexts.append(context)
        people.append(Person(name, context, lab))
        return people[-1]

    yield bring
    RESULTS.mkdir(exist_ok=True)
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    for somebody in people:
        somebody.screenshot(RESULTS / f"{name}-{somebody.name.lower()}.png")
    for context in contexts:
        context.close()
