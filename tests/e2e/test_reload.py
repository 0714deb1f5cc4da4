"""A page that is loaded again while its kernel lives: tables and drawings are live again, without running a cell."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.e2e.people import PATIENCE, App, Person, write_notebook
from tests.jupyter.servers import JupyterProcess

DEPLOY = """
%load_ext nbreactive
from nbreactive import api
from IPython.display import HTML
"""
MODULE = """%%reactive deploy {module}
from nbreactive import query, mutation

@query
def notes(ctx):
    return ctx.db.query("{module}").take(100)

@mutation
def add(ctx, text: str, more: str = ""):
    ctx.db.insert("{module}", {{"text": text, "more": more, "also": more, "and_also": more}})
"""
TABLE = "api.{module}.notes.live()"
DRAWING = """
notes = api.{module}.notes.live()
notes.render(lambda rows: HTML("<h3>" + ", ".join(row["text"] for row in rows) + "</h3>"))
"""


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_live_again_after_a_reload(person: Callable[[str], Person], lab: JupyterProcess, app: App) -> None:
    module = f"reload_{app}"
    cells = [text.format(module=module) for text in (DEPLOY, MODULE, f"api.{module}.add(text='first')", TABLE, DRAWING)]
    write_notebook(lab.root / module / "alice.ipynb", *cells)
    adds = [f"api.{module}.add(text='{text}')" for text in ("meanwhile", "second", "third")]
    write_notebook(lab.root / module / "bob.ipynb", DEPLOY, *adds, f"api.{module}.add(text='wide', more='wide ' * 40)")
    alice, bob = person("Alice"), person("Bob")
    alice.open(f"{module}/alice.ipynb", app)
    alice.run_all()
    alice.sees_state("live")
    drawing = alice.page.locator(".nbr-drawing h3")
    expect(drawing).to_have_text("first", timeout=PATIENCE)
    alice.save()
    bob.open(f"{module}/bob.ipynb", app)
    bob.start_cell(0)

    # What happened while nobody looked is there, and so is what happens next.
    alice.page.goto("about:blank")
    bob.start_cell(1)
    bob.page.wait_for_function(
        "() => window.jupyterapp.shell.currentWidget.content.widgets[1].model.executionCount !== null",
        timeout=PATIENCE,
    )
    alice.open(f"{module}/alice.ipynb", app)
    alice.sees_state("live")
    alice.sees("meanwhile")
    expect(drawing).to_have_text("first, meanwhile", timeout=PATIENCE)
    for index, text in ((2, "second"), (3, "third")):
        alice.reload()
        bob.start_cell(index)
        alice.sees(text)
        alice.sees_state("live")
        expect(drawing).to_have_text(re.compile(f"{text}$"), timeout=PATIENCE)
    expect(alice.page.locator(".nbr-detached:visible")).to_have_count(0, timeout=PATIENCE)

    # Many and wide columns scroll in the frame of the table, and leave the notebook its width.
    bob.start_cell(4)
    expect(alice.table.get_by_role("row")).to_have_count(6, timeout=PATIENCE)
    assert alice.table.evaluate("""table => {
        const scroll = table.querySelector('.nbr-grid');
        const output = table.closest('.jp-OutputArea-output');
        const inside = table.getBoundingClientRect().right <= output.closest('.jp-Cell').getBoundingClientRect().right;
        return inside && output.scrollWidth <= output.clientWidth && scroll.scrollWidth > scroll.clientWidth;
    }""")

    # The kernel is restarted: a page that is loaded afterwards asks for rows by itself; the drawing says what to do.
    alice.save()
    alice.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.restartKernel()")
    alice.wait_for_kernel("idle")
    alice.reload()
    alice.sees_state("live")
    notes = alice.page.locator(".nbr-detached:visible")
    expect(notes.filter(has_text="no longer live")).to_have_count(1, timeout=PATIENCE)
    assert alice.errors == []
