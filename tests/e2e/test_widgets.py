"""Forms, numbers, charts, lists and the editor, used as people use them: in Lab and Notebook, light and dark, by keyboard."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e import axe
from tests.e2e.people import PATIENCE, App, Person, write_notebook
from tests.jupyter.servers import JupyterProcess

RESULTS = Path(__file__).parents[2] / "test-results"
BEGIN = """%load_ext nbreactive
import altair as alt
import nbreactive
from ipywidgets import HBox
from nbreactive import api, use_paginated_query
"""
SURVEY = '''%%reactive deploy survey
from datetime import datetime
from typing import Literal
from nbreactive import AppError, PaginationOpts, mutation, query

@mutation
def answer(ctx, name: str, age: int, color: Literal["red", "green", "blue"], tags: list[str], comment: str = "",
           newsletter: bool = False, born: datetime | None = None):
    """Three questions, and nobody is identified."""
    if name == "taken":
        raise AppError({"field": "name", "message": "somebody has answered as taken already"})
    return ctx.db.insert("answers", {"name": name, "age": age, "color": color, "tags": tags})

@query
def answers(ctx):
    return ctx.db.query("answers").collect()

@query
def listed(ctx, opts: PaginationOpts):
    return ctx.db.query("posts").order("desc").paginate(opts)

@mutation
def fill(ctx):
    for n in range(60):
        ctx.db.insert("posts", {"title": f"Post {n}", "body": "What it says."})
'''
FORM = "nbreactive.LiveForm(api.survey.answer, multiline=['comment'], labels={'born': 'Born on'}, success='Thank you!')"
CARD = """answers = api.survey.answers.live()
HBox([nbreactive.LiveValue(answers, "Answers", of=len, good="up"),
      nbreactive.LiveValue(answers, "Mean age", of=lambda rows: sum(r["age"] for r in rows) / max(len(rows), 1), format=".1f")])"""
CHART = """def bars(df):
    return alt.Chart(df, width=300, height=120).mark_bar().encode(x="color:N", y="count()")
nbreactive.LiveChart(answers, bars)"""
LIST = """if not api.survey.listed(paginationOpts={"numItems": 1, "cursor": None})["page"]: api.survey.fill()
posts = use_paginated_query(api.survey.listed.options(page_size=10))
nbreactive.InfiniteList(posts, lambda post: {"title": post["title"], "text": post["body"]}, label="Posts", height=240)"""
SEED = """api.survey.answer(name="Zoe", age=30, color="red", tags=[])"""
BUSY = "import time, pathlib\nwhile not pathlib.Path('done').exists(): time.sleep(0.05)"


def dark(page: Page) -> None:
    theme = "JupyterLab Dark"
    page.evaluate(f"() => window.jupyterapp.commands.execute('apputils:change-theme', {{ theme: '{theme}' }})")
    expect(page.locator("body[data-jp-theme-light='false']")).to_have_count(1, timeout=PATIENCE)


def picture(locator: Locator, name: str) -> None:
    RESULTS.mkdir(exist_ok=True)
    locator.scroll_into_view_if_needed()
    locator.screenshot(path=RESULTS / f"widget-{name}.png")


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_a_survey(person: Callable[[str], Person], lab: JupyterProcess, app: App) -> None:
    write_notebook(lab.root / f"survey-{app}" / "survey.ipynb", BEGIN, SURVEY, SEED, FORM, CARD, CHART, LIST, BUSY)
    alice = person("Alice")
    page = alice.page
    alice.open(f"survey-{app}/survey.ipynb", app)
    for index in range(7):
        alice.start_cell(index)
    card = page.get_by_role("group", name="Answers")
    expect(card.locator(".nbr-metric-value")).to_be_visible(timeout=PATIENCE)
    chart = page.locator(".nbr-drawing")
    expect(chart.locator("canvas, svg.marks").first).to_be_visible(timeout=PATIENCE)
    before = int(card.locator(".nbr-metric-value").inner_text())
    page.evaluate("() => { window.drawn = document.querySelector('.nbr-drawing :is(canvas, svg.marks)'); }")

    # the list loads more as one scrolls, until there is no more
    posts = page.locator(".nbr-feed")
    expect(posts.locator("li").first).to_be_visible(timeout=PATIENCE)
    page.wait_for_function(
        """() => {
            const scroll = document.querySelector('.nbr-feed-scroll');
            scroll.scrollTo(0, scroll.scrollHeight);
            return scroll.nextElementSibling.textContent.includes('that is all');
        }""",
        timeout=PATIENCE,
    )
    expect(posts.get_by_role("status")).to_contain_text("60 items, that is all", timeout=PATIENCE)

    # while the kernel works, by keyboard alone
    alice.start_cell(7)
    alice.wait_for_kernel("busy")
    form = page.locator(".nbr-form")
    form.get_by_label("Name").focus()
    page.keyboard.type("Ada")
    page.keyboard.press("Enter")
    expect(form.get_by_text("is missing; expected a whole number")).to_be_visible()
    expect(form.get_by_label("Age")).to_be_focused()
    page.keyboard.type("old")
    page.keyboard.press("Tab")
    expect(form.get_by_label("Color")).to_be_focused()
    page.keyboard.type("b")  # is a shortcut of the notebook, which is not heard here
    expect(page.locator(".jp-Notebook .jp-Cell")).to_have_count(8)
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    expect(form.get_by_label("Color")).to_have_value("2")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # adds a tag
    expect(form.get_by_label("Tags 1", exact=True)).to_be_focused()
    page.keyboard.type("first")
    page.keyboard.press("Enter")
    expect(form.get_by_text("expected a whole number, got the string 'old'")).to_be_visible()
    form.get_by_label("Age").fill("36")
    form.get_by_label("Name").fill("taken")
    page.keyboard.press("Enter")
    expect(form.locator(".nbr-problem:visible")).to_have_text("somebody has answered as taken already")
    picture(form, f"form-{app}-errors")
    form.get_by_label("Name").fill("Ada")
    page.keyboard.press("Enter")
    expect(form.get_by_role("status")).to_have_text("Thank you!")
    assert alice.kernel_status() == "busy"
    expect(card.locator(".nbr-metric-value")).to_have_text(str(before + 1), timeout=PATIENCE)
    expect(card.locator(".nbr-metric-change")).to_contain_text("+1")
    assert page.evaluate("() => window.drawn === document.querySelector('.nbr-drawing :is(canvas, svg.marks)')")
    axe.check(page, ".nbr-form", ".nbr-metric", ".nbr-feed")
    (lab.root / f"survey-{app}" / "done").touch()
    alice.wait_for_kernel("idle")
    pictures = {"card": page.locator(".jupyter-widgets.widget-hbox").first, "chart": chart, "list": posts, "form": form}
    for name, locator in pictures.items():
        picture(locator, f"{name}-{app}-light")
    if app == "lab":
        dark(page)
        expect(chart.locator("canvas, svg.marks").first).to_be_visible(timeout=PATIENCE)
        axe.check(page, ".nbr-form", ".nbr-metric", ".nbr-feed")
        for name, locator in pictures.items():
            picture(locator, f"{name}-{app}-dark")
    assert alice.errors == []


EDITOR_NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "04-collaborative-editor.ipynb"


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_two_people_write_one_text(person: Callable[[str], Person], lab: JupyterProcess, app: App) -> None:
    people = [person("Alice"), person("Bob")]
    for somebody in people:
        folder = lab.root / f"editor-{app}-{somebody.name.lower()}"
        folder.mkdir()
        (folder / EDITOR_NOTEBOOK.name).write_text(EDITOR_NOTEBOOK.read_text("utf-8"), "utf-8")
        somebody.open(f"{folder.name}/{EDITOR_NOTEBOOK.name}", app)
        somebody.run_all()
        expect(somebody.page.locator(".nbr-editor-text")).to_be_editable(timeout=PATIENCE)
    alice, bob = people
    texts = [somebody.page.locator(".nbr-editor-text") for somebody in people]
    text = texts[0].input_value()
    # each sees the other's caret
    texts[0].focus()
    alice.page.keyboard.press("Control+Home")
    expect(bob.page.locator(".nbr-editor-flag", has_text="Alice")).to_have_count(1, timeout=PATIENCE)
    expect(bob.page.locator(".nbr-editor-people")).to_contain_text("also here: Alice")
    # both write at once, at different places
    texts[1].focus()
    bob.page.keyboard.press("Control+End")
    for letter in "abc":
        alice.page.keyboard.type(letter)
        bob.page.keyboard.type(letter)
    for somebody, shown in zip(people, texts, strict=True):
        expect(shown).to_have_value(f"abc{text}abc", timeout=PATIENCE)
        expect(somebody.page.locator(".nbr-editor-state")).to_have_text("saved", timeout=PATIENCE)
    picture(alice.page.locator(".nbr-editor"), f"editor-{app}-light")
    # earlier versions come back
    history = alice.page.locator(".nbr-editor-history")
    history.locator("summary").click()
    first = history.get_by_role("button", name=re.compile("Restore version 1 ")).first
    first.click()
    expect(texts[1]).to_have_value(re.compile("It opens at nine"), timeout=PATIENCE)
    expect(texts[1]).not_to_have_value(re.compile("Moby-Dick"))
    # the same words at once: both versions are shown, and one is chosen. While Bob composes a character nothing is taken or saved
    texts[1].dispatch_event("compositionstart")
    texts[1].fill("Bob's text")
    texts[0].fill("Alice's text")
    expect(alice.page.locator(".nbr-editor-state")).to_have_text("saved", timeout=PATIENCE)
    texts[1].dispatch_event("compositionend")
    conflict = bob.page.get_by_role("group", name="Two versions")
    expect(conflict.locator("pre")).to_have_text("Alice's text", timeout=PATIENCE)
    axe.check(bob.page, ".nbr-editor")
    picture(bob.page.locator(".nbr-editor"), f"editor-{app}-conflict")
    conflict.get_by_role("button", name="Take theirs").press("Enter")
    expect(texts[1]).to_have_value("Alice's text")
    expect(conflict).to_be_hidden()
    if app == "lab":
        dark(alice.page)
        axe.check(alice.page, ".nbr-editor")
        picture(alice.page.locator(".nbr-editor"), f"editor-{app}-dark")
    assert alice.errors == bob.errors == []
