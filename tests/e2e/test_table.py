"""The table as people work with it: sorted, filtered, laid out, selected, copied, edited; with what is hostile in it."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

from tests.e2e import axe
from tests.e2e.conftest import RESULTS
from tests.e2e.people import PATIENCE, App, Person, write_notebook
from tests.jupyter.servers import JupyterProcess

SETUP = """
%load_ext nbreactive
import nbreactive, ipywidgets
from nbreactive import api
"""
MODULE = """%%reactive deploy {module}
from nbreactive import mutation, query, v, Id, UNSET, AppError, define_schema, define_table

schema = define_schema({{
    "{module}": define_table({{
        "title": v.string(), "likes": v.integer(), "due_at": v.datetime(), "done": v.boolean(),
        "status": v.union(v.literal("draft"), v.literal("public")), "link": v.string(),
    }})
}})

@query
def list_(ctx):
    return ctx.db.query("{module}").collect()

@mutation
def add(ctx, title: str, likes: int, link: str, due: float):
    ctx.db.insert("{module}", {{"title": title, "likes": likes, "due_at": due, "done": False, "status": "draft", "link": link}})

@mutation
def update(ctx, post_id: Id["{module}"], title: str = UNSET, likes: int = UNSET, done: bool = UNSET, **updates):
    if likes is not UNSET and likes < 0:
        raise AppError("likes cannot be negative")
    ctx.db.patch(post_id, updates)
"""
HOSTILE = [
    "<img src=x onerror=window.hacked=1>",
    "javascript:window.hacked=2",
    "\\x1b[31mred",
    "abc\\u202etxt.exe",
    "[x](javascript:window.hacked=3)",
]
FILL = """
hostile = [{hostile}]
for i, title in enumerate([*hostile, "x" * 600_000, *(f"post {{n}}" for n in range(60))]):
    link = "javascript:window.hacked=4" if i % 2 else f"https://example.org/{{i}}"
    api.{module}.add(title=title, likes=i, link=link, due=1_795_000_000_000 + i * 3_600_000)
"""
SHOW = """
posts = api.{module}.list.live()
view = nbreactive.LiveTable(posts, edit=api.{module}.update, selection="many", formats={{"likes": ",.0f"}}, height=300)
view
"""
CHOSEN = """
label = ipywidgets.Label("none")
view.observe(lambda change: setattr(label, "value", ",".join(sorted(row["title"] for row in view.selected_rows))), "selected")
label
"""
BUSY = "import time; time.sleep(30)"
DARK = "() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})"
LIGHT = "() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Light'})"


def column(table: Locator, name: str) -> Locator:
    return table.get_by_role("columnheader").filter(has_text=re.compile(f"^{name}"))


def cell(table: Locator, row: int, name: str) -> Locator:
    index = column(table, name).get_attribute("aria-colindex")
    return table.locator(f"[role=row][aria-rowindex='{row + 2}'] [role=gridcell][aria-colindex='{index}']")


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_a_table_to_work_with(person: Callable[[str], Person], lab: JupyterProcess, app: App) -> None:
    module = f"posts_{app}"
    hostile = ", ".join(f'"{text}"' for text in HOSTILE)
    code = [text.format(module=module, hostile=hostile) for text in (SETUP, MODULE, FILL, SHOW, CHOSEN, BUSY)]
    write_notebook(lab.root / module / "posts.ipynb", *code)
    alice = person("Alice")
    alice.context.grant_permissions(["clipboard-read", "clipboard-write"])
    alice.open(f"{module}/posts.ipynb", app)
    for index in range(5):
        alice.start_cell(index)
        if index == 2:
            alice.wait_for_kernel("idle")
    page = alice.page
    table = alice.table
    grid = table.get_by_role("grid")
    expect(grid).to_have_attribute("aria-rowcount", "67", timeout=PATIENCE)

    # what is hostile is text, and short
    expect(cell(table, 0, "title")).to_have_text(HOSTILE[0])
    expect(cell(table, 2, "title")).to_have_text("\\u001b[31mred")
    expect(cell(table, 3, "title")).to_have_text("abc\\u202etxt.exe")
    expect(cell(table, 5, "title")).to_have_text("x" * 500 + "…")
    assert cell(table, 0, "link").locator("a").get_attribute("href") == "https://example.org/0"
    expect(cell(table, 1, "link").locator("a")).to_have_count(0)
    assert table.locator("img").count() == 0
    assert grid.locator("[role=row]").count() < 50
    axe.check(page, ".nbr-live")

    assert re.fullmatch(r"2026-11-\d\d \d\d:\d\d:\d\d", cell(table, 0, "due_at").inner_text())

    # sorted, filtered
    column(table, "likes").click()
    column(table, "likes").click()
    expect(column(table, "likes")).to_have_attribute("aria-sort", "descending")
    expect(cell(table, 0, "title")).to_have_text("post 59")
    table.get_by_label("Filter rows").fill("post 1")
    expect(table.locator(".nbr-count")).to_have_text("11 of 66 rows")
    table.get_by_label("Filter rows").press("Enter")
    expect(grid).to_be_focused()

    # selected and copied, by the keyboard
    page.keyboard.press("Control+Home")
    page.keyboard.press(" ")
    page.keyboard.press("ArrowDown")
    page.keyboard.press(" ")
    expect(page.locator(".widget-label").last).to_have_text("post 18,post 19", timeout=PATIENCE)
    page.keyboard.press("Control+c")
    copied = page.evaluate("() => navigator.clipboard.readText()")
    assert [line.split("\t")[0] for line in copied.split("\n")] == ["post 19", "post 18"]

    # the menu of a column, by the keyboard
    page.keyboard.press("Control+Home")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Alt+ArrowDown")
    menu = table.get_by_role("dialog")
    expect(menu).to_be_visible()
    axe.check(page, ".nbr-live")
    page.keyboard.press("Escape")
    expect(menu).to_have_count(0)
    expect(grid).to_be_focused()

    # drawn wider, and dragged
    width = column(table, "title").bounding_box()["width"]  # type: ignore[index]
    edge = column(table, "title").locator(".nbr-edge").bounding_box()
    assert edge is not None
    page.mouse.move(edge["x"] + 2, edge["y"] + 8)
    page.mouse.down()
    page.mouse.move(edge["x"] + 62, edge["y"] + 8)
    page.mouse.up()
    assert abs(column(table, "title").bounding_box()["width"] - width - 60) < 4  # type: ignore[index]
    first = table.locator(".nbr-column").nth(0).bounding_box()
    likes = column(table, "likes").bounding_box()
    assert first is not None and likes is not None
    page.mouse.move(likes["x"] + 15, likes["y"] + 10)
    page.mouse.down()
    page.mouse.move(first["x"] + 10, first["y"] + 10, steps=5)
    page.mouse.up()
    expect(column(table, "likes")).to_have_attribute("aria-colindex", "2")

    # edited: refused with why, then taken
    cell(table, 0, "likes").dblclick()
    editor = table.get_by_label("likes of row 1")
    expect(editor).to_have_value("25")
    editor.fill("a few")
    editor.press("Enter")
    expect(table.locator(".nbr-trouble")).to_contain_text("a whole number")
    axe.check(page, ".nbr-live")
    editor.fill("-1")
    editor.press("Enter")
    expect(table.locator(".nbr-bubble")).to_contain_text("likes cannot be negative", timeout=PATIENCE)
    expect(cell(table, 0, "likes")).to_have_text("25")
    axe.check(page, ".nbr-live")
    page.screenshot(path=RESULTS / f"table-{app}-light.png")
    page.evaluate(DARK)
    page.wait_for_function("() => document.body.dataset.jpThemeLight === 'false'", timeout=PATIENCE)
    expect(page.locator("#jupyterlab-splash")).to_have_count(0, timeout=PATIENCE)
    axe.check(page, ".nbr-live")
    page.screenshot(path=RESULTS / f"table-{app}-dark.png")
    page.evaluate(LIGHT)
    page.wait_for_function("() => document.body.dataset.jpThemeLight === 'true'", timeout=PATIENCE)

    # while the kernel is busy, too; and the kernel learns of it
    alice.start_cell(5)
    alice.wait_for_kernel("busy")
    cell(table, 0, "likes").dblclick()
    editor.fill("1000")
    editor.press("Enter")
    done = cell(table, 0, "likes")
    expect(done).to_have_text("1,000", timeout=5_000)
    expect(done).not_to_have_class(re.compile("nbr-pending"), timeout=5_000)
    assert alice.kernel_status() == "busy"
    assert page.evaluate("() => window.hacked") is None
    assert alice.errors == []
