"""Live SQL in a browser: another person's writes, widgets, a million rows, and saved outputs without a kernel."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

from tests.e2e.conftest import RESULTS
from tests.e2e.people import PATIENCE, App, Person, write_notebook
from tests.jupyter.servers import JupyterProcess

SETUP = """
%load_ext nbreactive
import nbreactive, ipywidgets
from nbreactive import api
"""
MODULE = """%%reactive deploy {module}
from nbreactive import mutation

@mutation
def place(ctx, item: str, amount: float):
    ctx.db.insert("{module}", {{"item": item, "amount": amount}})
"""
FILL = "for item, amount in [('pear', 2.5), ('plum', 4.0), ('<b>fig</b>', 1.25)]: api.{module}.place(item=item, amount=amount)"
WIDGET = "least = ipywidgets.FloatText(value=0, description='Least')\nleast"
SQL = "%%reactive sql sales <<\nSELECT item, sum(amount) AS total, count(*) AS n FROM {module} WHERE amount >= $least GROUP BY item ORDER BY item"
MILLION = (
    "%%reactive sql\nSELECT n, 'row ' || n AS name, (SELECT count(*) FROM {module}) AS sales FROM range(1000000) t(n)"
)
LAST = 999_999


def cells(table: Locator, column: int) -> Locator:
    """The cells of a column, of the rows that are in the page."""
    return table.locator(f"[role=gridcell][aria-colindex='{column}']")


def row(table: Locator, number: int) -> Locator:
    """The row of that number, which is here and not awaited."""
    return table.locator(f"[role=row][aria-rowindex='{number + 2}']:not(.nbr-awaited)")


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_live_sql_with_a_kernel_and_without(person: Callable[[str], Person], lab: JupyterProcess, app: App) -> None:
    module = f"sales_{app}"
    code = [text.format(module=module) for text in (SETUP, MODULE, FILL, WIDGET, SQL, MILLION)]
    write_notebook(lab.root / module / "alice.ipynb", *code)
    write_notebook(
        lab.root / module / "bob.ipynb",
        SETUP,
        f"api.{module}.place(item='apple', amount=3.0)",
        f"api.{module}.place(item='pear', amount=10.0)",
    )
    alice, bob = person("Alice"), person("Bob")
    alice.open(f"{module}/alice.ipynb", app)
    alice.run_all()
    sales, million = alice.page.locator(".nbr-live:visible").nth(0), alice.page.locator(".nbr-live:visible").nth(1)
    expect(cells(sales, 1)).to_have_text(["<b>fig</b>", "pear", "plum"], timeout=PATIENCE)
    expect(sales.get_by_role("grid")).to_have_attribute("aria-rowcount", "4")
    expect(million.get_by_role("grid")).to_have_attribute("aria-rowcount", str(LAST + 2))

    # somebody else writes
    bob.open(f"{module}/bob.ipynb", app)
    bob.start_cell(0)
    bob.start_cell(1)
    expect(cells(sales, 1)).to_have_text(["<b>fig</b>", "apple", "pear", "plum"], timeout=PATIENCE)
    expect(cells(million, 3).first).to_have_text("4", timeout=PATIENCE)

    # a widget moves
    least = alice.page.locator(".widget-text input")
    least.fill("3")
    least.press("Enter")
    expect(cells(sales, 1)).to_have_text(["apple", "plum"], timeout=PATIENCE)

    # the middle of a million rows, and its end by the keyboard; what is there is live
    grid = million.get_by_role("grid")
    grid.evaluate("grid => { grid.scrollTop = grid.scrollHeight / 2; }")
    middle = grid.locator("[role=row]:not(.nbr-awaited) [role=gridcell][aria-colindex='2']")
    expect(middle.nth(5)).to_have_text(re.compile(r"^row (49|50)\d{4}$"), timeout=PATIENCE)
    grid.press("Control+End")
    expect(row(million, LAST).get_by_role("gridcell").nth(1)).to_have_text(f"row {LAST}", timeout=PATIENCE)
    active = grid.evaluate("grid => document.getElementById(grid.getAttribute('aria-activedescendant')).textContent")
    assert active == "4"  # the last column
    assert grid.locator("[role=row]").count() < 60
    bob.start_cell(2)
    expect(row(million, LAST).get_by_role("gridcell").nth(2)).to_have_text("5", timeout=PATIENCE)
    expect(cells(sales, 1)).to_have_text(["apple", "pear", "plum"], timeout=PATIENCE)

    million.scroll_into_view_if_needed()
    alice.page.screenshot(path=RESULTS / f"live-sql-{app}-light.png")
    alice.page.evaluate("() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
    alice.page.wait_for_function("() => document.body.dataset.jpThemeLight === 'false'", timeout=PATIENCE)
    expect(sales).not_to_have_css("background-color", "rgb(255, 255, 255)", timeout=PATIENCE)
    expect(alice.page.locator("#jupyterlab-splash")).to_have_count(0, timeout=PATIENCE)
    alice.page.screenshot(path=RESULTS / f"live-sql-{app}-dark.png")
    alice.page.evaluate(
        "() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Light'})"
    )
    alice.save()

    # without the kernel the saved output is live all the same, for who opens it
    alice.page.goto("about:blank")
    sessions = lab.request("GET", "api/sessions", token="alice-token").json()
    [kernel] = [session["kernel"]["id"] for session in sessions if session["path"] == f"{module}/alice.ipynb"]
    assert lab.request("DELETE", f"api/kernels/{kernel}", token="alice-token").status == 204
    saved = lab.root / module / "alice.ipynb"
    saved.with_name("saved.ipynb").write_text(saved.read_text().replace('"kernelspec"', '"no_kernelspec"'))
    eve = person("Alice")
    eve.page.goto(
        f"{lab.url}/{'doc/tree' if app == 'lab' else 'notebooks'}/{module}/saved.ipynb?token=alice-token&reset"
    )
    again = eve.page.locator(".nbr-live:visible").nth(0)
    expect(again.locator(".nbr-state")).to_have_text("live", timeout=PATIENCE)
    # with the parameters with which it was shown first, and it says so
    expect(again.locator(".nbr-badge")).to_have_text("least = 0.0")
    expect(cells(again, 1)).to_have_text(["<b>fig</b>", "apple", "pear", "plum"], timeout=PATIENCE)
    expect(cells(again, 3)).to_have_text(["1", "1", "2", "1"])
    bob.start_cell(2)
    expect(cells(again, 3)).to_have_text(["1", "1", "3", "1"], timeout=PATIENCE)
    assert alice.errors == []
    assert eve.errors == []
