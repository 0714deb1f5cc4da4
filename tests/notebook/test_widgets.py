"""Forms, numbers, charts, lists and editors from a real kernel, against a real backend; the test is the browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.notebook.kernel import Kernel
from tests.notebook.test_real_kernel import environment
from tests.served import KEY, Served

WIDGET = "application/vnd.jupyter.widget-view+json"
MODULE = '''
from typing import Literal
from nbreactive import AppError, PaginationOpts, mutation, query

@mutation
def answer(ctx, survey: str, name: str, color: Literal["red", "green"], age: int = 0, tags: list[str] | None = None):
    """Take part.

    More about it.
    """
    if name == "taken":
        raise AppError({"field": "name", "message": "is taken"})
    ctx.db.insert("answers", {"survey": survey, "name": name, "color": color, "age": age})
    return len(name)

@query
def answers(ctx):
    return ctx.db.query("answers").collect()

@query
def listed(ctx, opts: PaginationOpts):
    return ctx.db.query("answers").paginate(opts)

@mutation
def create(ctx):
    return ctx.db.insert("docs", {"content": "one two", "version": 1})

@query
def get(ctx, id: str):
    return ctx.db.get(ctx.db.normalize_id("docs", id))

@query
def history(ctx, id: str):
    return [{"content": "before", "version": 0}]

@mutation
def update(ctx, id: str, content: str, version: int):
    doc = ctx.db.get(ctx.db.normalize_id("docs", id))
    if doc["version"] != version:
        raise AppError({"code": "CONFLICT"})
    ctx.db.patch(doc["_id"], {"content": content, "version": version + 1})
'''


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("backend"), {"app": MODULE}) as running:
        yield running


@pytest.fixture
def kernel(backend: Served, tmp_path: Path) -> Iterator[Kernel]:
    kernel = Kernel(environment(tmp_path, NBREACTIVE_URL=backend.url, NBREACTIVE_ADMIN_KEY=KEY), str(tmp_path))
    try:
        kernel.run("%load_ext nbreactive\nimport nbreactive\nfrom nbreactive import api, use_paginated_query")
        yield kernel
    finally:
        kernel.close()


class Shown:
    """A widget as a page has it."""

    def __init__(self, kernel: Kernel, code: str, cell: str | None = None) -> None:
        self.kernel = kernel
        ran = kernel.run(code, cell)
        assert ran.error is None, ran.error_text
        self.comm: str = ran.displays[-1][WIDGET]["model_id"]
        self.heard: list[dict[str, Any]] = []

    @property
    def traits(self) -> dict[str, Any]:
        return self.kernel.widgets[self.comm]

    def say(self, **content: Any) -> None:
        self.kernel.comm(self.comm, content)

    def hear(self) -> dict[str, Any]:
        """The next message to the page."""
        while True:
            heard = self.kernel.client.get_iopub_msg(timeout=30)
            content = heard["content"]
            if heard["msg_type"] == "comm_msg" and content["comm_id"] == self.comm:
                if content["data"].get("method") == "custom":
                    return content["data"]["content"]
                self.traits.update(content["data"].get("state", {}))

    def until(self, condition: Callable[[dict[str, Any]], Any]) -> None:
        self.kernel.until(lambda: condition(self.traits))


FORM = "form = nbreactive.LiveForm(api.app.answer, fixed={'survey': 's'}, labels={'name': 'You'}, on_result=got.append)\nform"


def test_a_form_is_made_of_the_validators_and_the_kernel_calls_for_pages_that_cannot(
    kernel: Kernel, backend: Served
) -> None:
    kernel.run("got = []")
    form = Shown(kernel, FORM)
    assert form.traits["args"]["value"]["color"]["fieldType"]["type"] == "union"
    assert (form.traits["path"], form.traits["kind"], form.traits["fixed"]) == (
        "app:answer",
        "mutation",
        {"survey": "s"},
    )
    assert form.traits["place"] == {"mount": "", "url": backend.url}
    options = form.traits["options"]
    assert (options["title"], options["note"], options["labels"]) == ("Answer", "Take part.", {"name": "You"})
    form.say(type="call", id="1", args={"name": "Ada", "color": "red", "survey": "not this one"})
    assert form.hear() == {"type": "answer", "id": "1", "value": 3}
    form.say(type="call", id="2", args={"name": "Ada", "color": "blue"})
    told = form.hear()
    assert told["error"].startswith("ArgumentValidationError: args.color: expected")
    form.say(type="call", id="3", args={"name": "taken", "color": "red"})
    assert form.hear() == {
        "type": "answer",
        "id": "3",
        "error": "is taken",
        "data": {"field": "name", "message": "is taken"},
    }
    form.say(type="nonsense", id=4)
    form.say(type="result", args={"name": "Bob"}, value=7)  # a page has called by itself
    kernel.run("import time\nwhile len(got) < 2: time.sleep(0.01)")
    assert kernel.run("print(got, form.value, form.given)").text == "[3, 7] 7 {'name': 'Bob'}\n"
    answers = backend.call("query", "app:answers")
    assert [answer["survey"] for answer in answers if answer["name"] == "Ada"] == ["s"]


def test_a_form_says_what_it_cannot_take(kernel: Kernel) -> None:
    for code, said in (
        ("nbreactive.LiveForm(api.app.answr)", "answer"),
        ("nbreactive.LiveForm(api.app.answer, fixed={'nam': 'x'})", "did you mean name?"),
        ("nbreactive.LiveForm(api.app.answer, initial={'age': 'x'})", "initial.age: expected a whole number"),
        ("nbreactive.LiveForm(api.app.answer, multiline=['body'])", "there is no argument 'body'"),
        ("nbreactive.LiveForm(5)", "is not a function"),
    ):
        ran = kernel.run(code)
        assert ran.error is not None and said in ran.error["evalue"], ran.error


def test_a_widget_among_the_fixed_arguments_is_followed(kernel: Kernel) -> None:
    kernel.run("import ipywidgets\nbox = ipywidgets.Text('first')")
    form = Shown(kernel, "nbreactive.LiveForm(api.app.answer, fixed={'survey': box})")
    assert form.traits["fixed"] == {"survey": "first"}
    kernel.run("box.value = 'second'")
    form.until(lambda traits: traits["fixed"] == {"survey": "second"})


def test_a_number_follows_and_says_how_it_has_changed(kernel: Kernel) -> None:
    kernel.run("api.app.answer(survey='n', name='a', color='red')\nanswers = api.app.answers.live()")
    code = "card = nbreactive.LiveValue(answers, 'Answers', of=len, format='{:d} people', period=None, good='up')\ncard"
    card = Shown(kernel, code, "card")
    first = int(card.traits["state"]["text"].split()[0])
    assert (card.traits["state"]["label"], card.traits["state"]["series"]) == ("Answers", [first])
    kernel.run("api.app.answer(survey='n', name='b', color='red')")
    card.until(lambda traits: traits["state"]["text"] == f"{first + 1} people")
    state = card.traits["state"]
    assert (state["direction"], state["good"], state["status"]) == ("up", "up", "live")
    assert state["change"].startswith("+1 people (+")
    assert kernel.run("print(card.value)").text == f"{first + 1}\n"
    failing = Shown(kernel, "nbreactive.LiveValue(answers, of=lambda rows: rows[0]['nothing'])")
    assert (failing.traits["state"]["status"], failing.traits["state"]["message"]) == ("error", "KeyError: 'nothing'")
    kernel.run("1", "card")  # the cell runs again
    assert card.traits["_closed"]


def test_a_list_loads_more_when_the_page_says_that_its_end_is_in_sight(kernel: Kernel) -> None:
    kernel.run("for n in range(5): api.app.answer(survey='l', name=f'p{n}', color='red')")
    kernel.run("pages = use_paginated_query(api.app.listed.options(page_size=2))")
    shown = Shown(kernel, "items = nbreactive.InfiniteList(pages, lambda row: {'title': row['name']})\nitems")
    assert (shown.traits["state"]["status"], len(shown.traits["state"]["items"])) == ("CanLoadMore", 2)
    assert set(shown.traits["state"]["items"][0]) == {"key", "title"}
    shown.say(type="more")
    shown.until(lambda traits: len(traits["state"]["items"]) == 4)
    assert kernel.run("print(items.status)").text == "CanLoadMore\n"
    wrong = Shown(kernel, "nbreactive.InfiniteList(pages, lambda row: {'titel': 1})")
    assert "an item has title, text, note, and no titel" in wrong.traits["state"]["message"]


def test_a_chart_is_a_drawing_of_a_frame(kernel: Kernel) -> None:
    pytest.importorskip("altair")
    kernel.run("import altair as alt\nanswers = api.app.answers.live()")
    ran = kernel.run(
        "nbreactive.LiveChart(answers, lambda df: alt.Chart(df).mark_bar().encode(x='name:N', y='count()'))"
    )
    assert ran.error is None, ran.error_text
    [bundle] = ran.displays
    assert "application/vnd.nbreactive.drawing.v1+json" in bundle
    [rows] = bundle["application/vnd.vegalite.v5+json"]["datasets"].values()
    assert {"name", "color"} <= set(rows[0]) if rows else rows == []


EDITOR = "editor = nbreactive.TextEditor(api.app.get, api.app.update, history=api.app.history, id=doc, label='Notes')\neditor"


def test_an_editor_goes_through_the_kernel_where_its_page_has_no_server(kernel: Kernel, backend: Served) -> None:
    kernel.run("doc = api.app.create()")
    shown = Shown(kernel, EDITOR, "editor")
    assert shown.traits["document"] == {}  # pages that can ask do so
    shown.say(type="relay", open=True)
    shown.until(lambda traits: traits["document"].get("content") == "one two")
    shown.until(lambda traits: traits["people"].get("list") and traits["people"]["mine"])
    assert [person["sessions"][0]["id"] for person in shown.traits["people"]["list"]] == [
        shown.traits["people"]["mine"]
    ]
    shown.say(type="cursor", at=[1, 3])
    shown.until(lambda traits: traits["people"]["list"][0]["data"] == {"at": [1, 3]})
    args = {**shown.traits["args"], "content": "one two three", "version": 1}
    shown.say(type="call", id="a", args=args)
    assert shown.hear() == {"type": "answer", "id": "a", "value": None}
    shown.until(lambda traits: traits["document"]["version"] == 2)
    assert kernel.run("print(editor.value)").text == "one two three\n"
    shown.say(type="call", id="b", args=args)
    assert shown.hear()["data"] == {"code": "CONFLICT"}
    shown.say(type="history", open=True)
    shown.until(lambda traits: traits["edits"] == [{"content": "before", "version": 0}])
    shown.say(type="relay", open=False)
    room = shown.traits["room"]
    kernel.until(lambda: backend.call("query", "nbreactive/presence:list", room=room) == [])
    kernel.run("1", "editor")
    assert shown.traits["_closed"]


def test_an_editor_says_what_its_functions_have_to_be(kernel: Kernel) -> None:
    kernel.run("doc = api.app.create()")
    for code, said in (
        (
            "nbreactive.TextEditor(api.app.update, api.app.update, id=doc)",
            "app:update is a mutation, and load= takes a query",
        ),
        (
            "nbreactive.TextEditor(api.app.get, api.app.update, id=doc, field='text')",
            "app:update takes id, content, version, but not text",
        ),
        ("nbreactive.TextEditor(api.app.get, api.app.update, doc=doc)", "app:get takes id, but not doc"),
        ("nbreactive.TextEditor(api.app.answers, api.app.update)", "has to give a document"),
    ):
        ran = kernel.run(code)
        assert ran.error is not None and said in ran.error["evalue"], ran.error
