"""Tables to work with, from a real kernel, against a real backend: edits and selections of a page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.notebook.kernel import Kernel
from tests.notebook.test_real_kernel import environment
from tests.served import KEY, Served

WIDGET = "application/vnd.jupyter.widget-view+json"
MODULE = """%%reactive deploy posts
from nbreactive import AppError, Id, UNSET, mutation, query

@query
def all_posts(ctx):
    return ctx.db.query("posts").collect()

@mutation
def add(ctx, title: str):
    return ctx.db.insert("posts", {"title": title, "likes": 0})

@mutation
def update(ctx, post_id: Id["posts"], title: str = UNSET, likes: int = UNSET, **updates):
    if likes is not UNSET and likes < 0:
        raise AppError("likes cannot be negative")
    ctx.db.patch(post_id, updates)

@mutation
def strict(ctx, id: Id["posts"], title: str, likes: int):
    pass

@mutation
def nameless(ctx, title: str):
    pass
"""


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("backend")) as running:
        yield running


@pytest.fixture
def kernel(backend: Served, tmp_path: Path) -> Iterator[Kernel]:
    env = environment(tmp_path, NBREACTIVE_URL=backend.url, NBREACTIVE_ADMIN_KEY=KEY)
    made = Kernel(env, str(tmp_path))
    try:
        made.run("%load_ext nbreactive\nimport nbreactive\nfrom nbreactive import api")
        assert made.run(MODULE).error is None
        yield made
    finally:
        made.close()


def shown(kernel: Kernel, code: str) -> str:
    ran = kernel.run(code)
    assert ran.error is None, ran.error_text
    (display,) = ran.displays
    return display[WIDGET]["model_id"]


def cells(kernel: Kernel, column: str) -> list[Any]:
    return eval(kernel.run(f"print([row[{column!r}] for row in posts.value])").text)


def test_edits_and_selections_of_a_page(kernel: Kernel) -> None:
    kernel.run("ids = [api.posts.add(title=title) for title in ('first', 'second')]")
    kernel.run("posts = api.posts.all_posts.live()\nview = posts.table(edit=api.posts.update, selection='many')")
    comm = shown(kernel, "view")
    state = kernel.widgets[comm]
    assert state["table"]["kinds"] == ["", "", "datetime", "id"]
    assert state["options"]["edit"] == {
        "path": "posts:update",
        "id": "post_id",
        "wrap": "",
        "fields": {
            "title": {"kind": "text", "nullable": False, "options": []},
            "likes": {"kind": "integer", "nullable": False, "options": []},
        },
    }
    [first, second] = eval(kernel.run("print(ids)").text)
    kernel.comm(comm, {"type": "call", "id": "1", "document": first, "field": "likes", "value": 7})
    kernel.until(lambda: cells(kernel, "likes") == [7, 0])
    kernel.comm(comm, {"type": "call", "id": "2", "document": first, "field": "likes", "value": -7})
    kernel.comm(comm, {"type": "call", "id": "3", "document": first, "field": "_creationTime", "value": 7})
    kernel.comm(comm, {"type": "call", "id": "4", "document": second, "field": "title", "value": "2nd"})
    kernel.until(lambda: cells(kernel, "title") == ["first", "2nd"])
    assert cells(kernel, "likes") == [7, 0]
    kernel.run(f"view.selected = [{second!r}]")
    assert kernel.run("print([row['title'] for row in view.selected_rows])").text.strip() == "['2nd']"
    kernel.until(lambda: kernel.widgets[comm]["selected"] == [second])


def test_any_field_of_a_table(kernel: Kernel) -> None:
    kernel.run("one = api.posts.add(title='one')")
    comm = shown(kernel, "nbreactive.LiveTable('posts', edit=True)")
    one = kernel.run("print(one)").text.strip()
    assert kernel.widgets[comm]["options"]["edit"]["path"] == "_system/tables:patch"
    kernel.run("posts = nbreactive.table('posts')")
    kernel.comm(comm, {"type": "call", "id": "1", "document": one, "field": "title", "value": "two"})
    kernel.until(lambda: cells(kernel, "title")[0] == "two")


def test_a_function_of_the_notebook(kernel: Kernel) -> None:
    kernel.run("one = api.posts.add(title='one')\nposts = api.posts.all_posts.live()")
    kernel.run("def edit(id, title): api.posts.update(post_id=id, title=title.upper())")
    comm = shown(kernel, "posts.table(edit=edit)")
    one = kernel.run("print(one)").text.strip()
    kernel.comm(comm, {"type": "call", "id": "1", "document": one, "field": "title", "value": "two"})
    kernel.until(lambda: "TWO" in cells(kernel, "title"))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("posts.table(edit=api.posts.strict)", "needs title, likes each time: give them defaults"),
        ("posts.table(edit=api.posts.nameless)", 'no argument for the document that is edited: call one of them id'),
        ("posts.table(edit=api.posts.all_posts)", "is a query, and edits are made by mutations"),
        ("posts.table(edit=True)", "edit=True is for whole tables"),
        ("posts.table(edit=api.posts.nothing)", "There is no function api.posts.nothing"),
        ("posts.table(selection='two')", "selection is 'none', 'one' or 'many', not 'two'"),
        ("nbreactive.LiveTable([1])", "A table shows a live query"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said(kernel: Kernel, code: str, said: str) -> None:
    kernel.run("posts = api.posts.all_posts.live()")
    ran = kernel.run(code)
    assert said in ran.error_text.replace("\n", " ")
