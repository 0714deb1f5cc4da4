"""docs/front-ends.md: what everything shows where there is no Jupyter server."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.notebook.kernel import Kernel
from tests.notebook.test_real_kernel import environment
from tests.served import ROOT, free_port

PAGE = (ROOT / "docs" / "front-ends.md").read_text("utf-8")
EXAMPLES = dict(re.findall(r"^```python (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
RESULTS = ROOT / "test-results"
WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder as people have one, with functions; the backend that is started in it ends with the test."""
    for name, text in EXAMPLES.items():
        if name != "ipython":
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, "utf-8")
    yield tmp_path
    info = tmp_path / ".nbreactive" / "backend.json"
    if info.exists():
        os.kill(json.loads(info.read_text())["pid"], signal.SIGTERM)


def run(folder: Path, command: list[str], text: str = "") -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment(folder, NO_COLOR="1"),
        input=text,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_script(folder: Path) -> None:
    said = run(folder, ["script.py"])
    assert re.search(r"^0 +tea +3\.5$", said, re.MULTILINE), said
    assert "1 orders" in said or said.count("orders") == 0  # the process may end before the observer is told
    assert re.fullmatch(r"\w{10,}", said.strip().splitlines()[-1]), said
    said = run(folder, ["-c", "from nbreactive import api; q = api.shop.orders.live(); print(q, len(q.value))"])
    assert said == "<live shop:orders · live> 1\n"


def test_a_terminal(folder: Path) -> None:
    options = ["-m", "IPython", "--simple-prompt", "--no-banner", "--no-confirm-exit", "--colors=nocolor"]
    said = run(folder, options, EXAMPLES["ipython"] + "api.shop.order(item='milk', amount=1)\n\napi.shop.nothing()\n")
    assert "deployment default on a backend of this folder" in said
    assert re.search(r"shop.orders · live · snapshot of \d\d:\d\d · 1 row\b", said)
    assert re.search(r"^coffee +4(\.0)? ", said, re.MULTILINE)
    assert said.count("1 orders") == 1 and "2 orders" not in said, "a drawing is printed once"
    assert "till: " in said
    assert "nbreactive.upload(address, path)" in said
    assert "There is no function api.shop.nothing" in said
    assert "application/vnd" not in said and "_esm" not in said


def test_a_kernel_without_a_jupyter_server(folder: Path) -> None:
    """What VS Code has: widgets whose messages go through the kernel, and no page that could reach the backend."""
    kernel = Kernel(environment(folder), str(folder))
    try:
        said = kernel.run("%load_ext nbreactive\nimport nbreactive\nfrom nbreactive import api")
        assert "on a backend of this folder" in said.text
        kernel.run("api.shop.order(item='tea', amount=3.5)")

        def shown(code: str) -> Callable[[], dict[str, Any]]:
            ran = kernel.run(code, code)
            assert ran.error is None, ran.error_text
            [display] = ran.displays
            assert display["text/plain"]
            model = display[WIDGET]["model_id"]
            return lambda: kernel.widgets[model]

        def model_of(state: Callable[[], dict[str, Any]]) -> str:
            return next(model for model, each in kernel.widgets.items() if each is state())

        table = shown("api.shop.orders.live()")
        kernel.until(lambda: len(table()["table"]["rows"]) == 1)
        assert table()["_esm"]  # nothing has to be installed in the front end
        sql = shown("%%reactive sql\nSELECT sum(amount) AS total FROM orders")
        kernel.until(lambda: sql()["frame"]["rows"] == [[3.5]])
        kernel.run("api.shop.order(item='coffee', amount=4)", "order")
        kernel.until(lambda: sql()["frame"]["rows"] == [[7.5]])
        kernel.comm(model_of(table), {"type": "again"})  # as a page does that has missed something
        kernel.until(lambda: len(table()["table"]["rows"]) == 2)

        bar = shown("nbreactive.PresenceBar('till')")
        assert bar()["sync"] == ""
        kernel.comm(model_of(bar), {"type": "views", "count": 1, "relay": True})
        kernel.until(lambda: len(bar()["people"]) == 1)

        upload = shown("f = nbreactive.FileUpload(api.shop.upload_url)\nf")
        assert upload()["files"]["mount"] == ""
        drawn = kernel.run("api.shop.orders.live().render(lambda rows: f'{len(rows)} orders')", "draw")
        assert "2 orders" in drawn.displays[0]["text/plain"]
        kernel.run("api.shop.order(item='milk', amount=1)", "order")
        kernel.until(lambda: any("3 orders" in update.get("text/plain", "") for update in kernel.updates))
    finally:
        kernel.close()


@pytest.mark.browser
def test_marimo(folder: Path) -> None:
    from playwright.sync_api import expect, sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    chromium = os.environ.get("NBREACTIVE_CHROMIUM") or next(filter(None, map(shutil.which, names)))
    port = free_port()
    command = [sys.executable, "-m", "marimo", "run", "app.py", "--headless", "--port", str(port), "--no-token"]
    with (folder / "marimo.log").open("w") as log:
        server = subprocess.Popen(
            command, cwd=folder, env=environment(folder), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        run(folder, ["-c", "from nbreactive import api; api.shop.order(item='tea', amount=3.5)"])
        with sync_playwright() as playwright, playwright.chromium.launch(executable_path=chromium) as browser:
            page = browser.new_page()
            _open(page, f"http://127.0.0.1:{port}", server)
            expect(page.get_by_text("tea", exact=True)).to_be_visible(timeout=60_000)
            expect(page.locator(".nbr-avatar")).to_be_visible(timeout=30_000)
            run(folder, ["-c", "from nbreactive import api; api.shop.order(item='coffee', amount=4)"])
            expect(page.get_by_text("coffee", exact=True)).to_be_visible(timeout=30_000)
            RESULTS.mkdir(exist_ok=True)
            page.screenshot(path=RESULTS / "marimo.png", full_page=True)
    finally:
        server.terminate()
        server.wait(30)


def _open(page: Any, url: str, server: subprocess.Popen[bytes]) -> None:
    """Go to a page as soon as its server answers."""
    from playwright.sync_api import Error

    while True:
        assert server.poll() is None
        try:
            page.goto(url)
        except Error as failure:
            if "ERR_CONNECTION_REFUSED" not in str(failure):
                raise
        else:
            return
