"""The output of a live object: live with a kernel, honest without one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.e2e.people import PATIENCE, App, Person, write_notebook
from tests.jupyter.servers import JupyterProcess

HOSTILE = "<img src=x onerror=window.hacked=1>"
# A widget with the built front end and the traits of the real one, fed by a thread: no backend is needed here.
SHOW = f"""
import pathlib, threading, time, anywidget, nbreactive, traitlets as t
from IPython.display import display
static = pathlib.Path(nbreactive.__file__).parent / "static"
class Table(anywidget.AnyWidget):
    _esm = (static / "live_table.js").read_text()
    _css = (static / "live_table.css").read_text()
    table = t.Dict().tag(sync=True)
    status = t.Unicode("live").tag(sync=True)
    message = t.Unicode("").tag(sync=True)
    title = t.Unicode("messages").tag(sync=True)
    badge = t.Unicode("").tag(sync=True)
    dimmed = t.Bool(False).tag(sync=True)
    updated = t.Float(0.0).tag(sync=True)
rows = [["Ada", {HOSTILE!r}], ["Bob", "saved"]]
heard = []
table = Table(table=dict(columns=["author", "body"], rows=rows, total=2))
table.on_msg(lambda widget, content, buffers: heard.append(content))
display({{
    "application/vnd.nbreactive.live.v1+json": {{
        "v": 1, "path": "chat:list", "args": {{}}, "title": "messages", "badge": "",
        "table": table.table, "renderedAt": time.time() * 1000,
    }},
    "application/vnd.jupyter.widget-view+json": {{
        "version_major": 2, "version_minor": 1, "model_id": table.model_id,
    }},
    "text/plain": "messages",
}}, raw=True)
"""
PUSH = """
def push():
    time.sleep(0.5)
    table.table = dict(columns=["author", "body"], rows=[*rows, ["Eve", "pushed"]], total=3)
threading.Thread(target=push).start()
time.sleep(3)
"""


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_live_with_a_kernel_and_a_snapshot_without(
    person: Callable[[str], Person], lab: JupyterProcess, app: App
) -> None:
    write_notebook(lab.root / app / "output.ipynb", SHOW, PUSH)
    alice = person("Alice")
    alice.open(f"{app}/output.ipynb", app)
    alice.run_all()
    alice.sees_state("live")
    # pushed by a thread while the kernel was busy, and no text was taken for HTML
    alice.sees("pushed")
    alice.sees(HOSTILE)
    assert alice.page.evaluate("() => window.hacked") is None
    alice.save()

    # The kernel goes while the table is shown: it says so.
    for kernel in lab.request("GET", "api/kernels", token="alice-token").json():
        assert lab.request("DELETE", f"api/kernels/{kernel['id']}", token="alice-token").status == 204
    # Jupyter itself learns of it when it next asks the server, some seconds later.
    expect(alice.page.locator(".nbr-detached:visible")).to_contain_text("no longer live", timeout=PATIENCE)

    # Somebody else opens it after it was changed outside: Jupyter does not trust it, and shows what is safe only.
    file = lab.root / app / "output.ipynb"
    file.with_name("changed.ipynb").write_text(file.read_text().replace("saved", "changed"))
    bob = person("Bob")
    bob.open(f"{app}/changed.ipynb", app)
    assert not bob.trusts_outputs()
    bob.sees("changed")
    bob.sees_state("snapshot of ")
    bob.sees(HOSTILE)
    assert bob.page.evaluate("() => window.hacked") is None
