"""Saved outputs in a notebook just opened, untrusted, without any kernel: live for whoever looks, over one connection."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Locator, expect

from nbreactive.notebook.display import LIVE_MIME
from tests.e2e.conftest import RESULTS
from tests.e2e.people import PATIENCE, App, Person, write_notebook
from tests.jupyter.servers import JupyterProcess

SETUP = """
%load_ext nbreactive
import nbreactive
from nbreactive import api, use_paginated_query
from nbreactive.values import Int64
"""
MODULE = """%%reactive deploy {module}
from nbreactive import query, mutation, v, PaginationOpts

@query
def notes(ctx, limit: int = 100):
    return ctx.db.query("{module}").order("desc").take(limit)

@query
def newest(ctx):
    return ctx.db.query("{module}").order("desc").first()

@query
def count(ctx) -> int:
    return ctx.db.query("{module}").count()

@query
def pages(ctx, opts: PaginationOpts):
    return ctx.db.query("{module}").paginate(opts)

@query
def me(ctx):
    return [{{"name": ctx.auth.get_user_identity()["name"]}}]

@mutation
def add(ctx, text: str, more=None):
    ctx.db.insert("{module}", {{"zeta": text, "alpha": more}})
"""
HOSTILE = "<img src=x onerror=window.hacked=1>"
ADD = f"api.{{module}}.add(text={HOSTILE!r}, more={{{{'n': Int64(5), 'big': [2.5, 1.0, None], 'raw': b'abc'}}}})"
OUTPUTS = (
    "api.{module}.notes.live()",
    "api.{module}.newest.live()",
    "api.{module}.count.live()",
    "use_paginated_query(api.{module}.pages.options(page_size=1))",
    "api.{module}.me.live()",
    "nbreactive.table('{module}')",
)
# Every socket of a page, so that a test can count them and cut them.
SOCKETS = """
window.sockets = [];
window.WebSocket = class extends WebSocket {
    constructor(...args) { super(...args); window.sockets.push(this); }
};
"""
OURS = "sockets.filter(({ url }) => url.includes('/nbreactive/'))"


def outputs(somebody: Person) -> Locator:
    """The live tables on a person's page."""
    return somebody.page.locator(".nbr-live:visible")


def texts(table: Locator) -> list[str]:
    """The cells of a table, and above them its columns."""
    return table.locator("th, td, [role=columnheader], [role=gridcell]").all_inner_texts()


def shows(table: Locator, text: str) -> None:
    """Wait until a table has a cell with this text."""
    expect(table.locator("td, [role=gridcell]").get_by_text(text, exact=True).first).to_be_visible(timeout=PATIENCE)


def is_in_state(table: Locator, text: str) -> None:
    """Wait until a table says how it stands."""
    expect(table.locator(".nbr-state")).to_have_text(re.compile(text), timeout=PATIENCE)


def end_kernels(lab: JupyterProcess, notebook: str) -> None:
    """End the kernel of a notebook."""
    sessions = lab.request("GET", "api/sessions", token="alice-token").json()
    for kernel in [session["kernel"]["id"] for session in sessions if session["path"] == notebook]:
        assert lab.request("DELETE", f"api/kernels/{kernel}", token="alice-token").status == 204


def sent_on(notebook: Path) -> str:
    """Change a notebook outside Jupyter, as a mail or a repository would: nobody trusts it, and no kernel is named."""
    copy = notebook.with_name("sent.ipynb")
    copy.write_text(notebook.read_text().replace('"kernelspec"', '"no_kernelspec"'))
    return f"{notebook.parent.name}/sent.ipynb"


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_every_saved_output_is_live_without_a_kernel(
    person: Callable[[str], Person], lab: JupyterProcess, app: App
) -> None:
    module = f"outputs_{app}"
    code = [text.format(module=module) for text in (SETUP, MODULE, ADD, *OUTPUTS)]
    write_notebook(lab.root / module / "alice.ipynb", *code)
    write_notebook(
        lab.root / module / "more.ipynb",
        SETUP,
        f"api.{module}.add(text='second')",
        f"%reactive remove {module} --force",
    )
    alice, bob = person("Alice"), person("Bob")
    alice.open(f"{module}/alice.ipynb", app)
    alice.run_all()
    expect(outputs(alice)).to_have_count(len(OUTPUTS), timeout=PATIENCE)
    for at in range(len(OUTPUTS)):
        is_in_state(outputs(alice).nth(at), "^live$")
    by_kernel = [texts(outputs(alice).nth(at)) for at in range(len(OUTPUTS))]
    alice.save()
    end_kernels(lab, f"{module}/alice.ipynb")
    cells = json.loads((lab.root / module / "alice.ipynb").read_text())["cells"]
    assert cells[7]["outputs"][0]["data"][LIVE_MIME]["table"]["rows"] == []  # they depend on who looks

    asked: list[str] = []
    bob.page.on("request", lambda request: asked.append(request.url))
    bob.page.add_init_script(SOCKETS)
    bob.look_at(sent_on(lab.root / module / "alice.ipynb"), app)
    expect(outputs(bob)).to_have_count(len(OUTPUTS), timeout=PATIENCE)
    assert not bob.trusts_outputs()
    for at in range(len(OUTPUTS)):
        is_in_state(outputs(bob).nth(at), "^live$")
    # Jupyter has begun a new kernel, which knows nothing of these outputs: nor is it needed
    bob.wait_for_kernel("idle")
    end_kernels(lab, f"{module}/sent.ipynb")
    # laid out as the kernel does, with the rows that whoever looks may see
    by_page = [texts(outputs(bob).nth(at)) for at in range(len(OUTPUTS))]
    assert by_page[4] == [*by_kernel[4][:-1], "Bob"]
    assert [*by_page[:4], by_page[5]] == [*by_kernel[:4], by_kernel[5]]
    assert bob.page.evaluate("() => window.hacked") is None
    assert bob.page.evaluate(f"() => {OURS}.length") == 1

    # somebody else writes
    alice.open(f"{module}/more.ipynb", app)
    alice.start_cell(0)
    alice.start_cell(1)
    shows(outputs(bob).nth(0), "second")
    shows(outputs(bob).nth(2), "2")
    shows(outputs(bob).nth(5), "second")
    # the next page of a list
    outputs(bob).nth(3).get_by_role("button", name="Load more").click()
    shows(outputs(bob).nth(3), "second")

    RESULTS.mkdir(exist_ok=True)
    outputs(bob).nth(0).scroll_into_view_if_needed()
    bob.page.screenshot(path=RESULTS / f"outputs-{app}-light.png")
    bob.page.evaluate("() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
    bob.page.wait_for_function("() => document.body.dataset.jpThemeLight === 'false'", timeout=PATIENCE)
    expect(outputs(bob).nth(0)).not_to_have_css("background-color", "rgb(255, 255, 255)", timeout=PATIENCE)
    expect(bob.page.locator("#jupyterlab-splash")).to_have_count(0, timeout=PATIENCE)
    bob.page.screenshot(path=RESULTS / f"outputs-{app}-dark.png")

    # a connection that breaks comes back; what was written meanwhile is there
    bob.page.evaluate(f"() => {OURS}.forEach(socket => socket.close())")
    alice.start_cell(1)
    shows(outputs(bob).nth(2), "3")
    is_in_state(outputs(bob).nth(2), "^live$")

    # the functions go: it is said, above the last rows
    alice.start_cell(2)
    is_in_state(outputs(bob).nth(0), "^gone, rows of ")
    shows(outputs(bob).nth(0), "second")
    is_in_state(outputs(bob).nth(5), "^live$")

    # whoever is signed out sees that, and the last rows
    bob.context.clear_cookies()
    bob.page.evaluate(f"() => {OURS}.forEach(socket => socket.close())")
    is_in_state(outputs(bob).nth(5), "^signed out, rows of ")
    shows(outputs(bob).nth(5), "second")

    own = urlsplit(lab.url).netloc
    assert {urlsplit(url).netloc for url in asked if url.startswith(("http", "ws"))} == {own}
    assert {urlsplit(url).netloc for url in bob.page.evaluate("() => sockets.map(({ url }) => url)")} == {own}
    assert alice.errors == []
    assert bob.errors == []


MANY = 20
SHOW_MANY = f"""
from IPython.display import display
for limit in range(1, {MANY + 1}):
    display(api.many.notes.live(limit=limit))
"""
# The setting, as its editor changes it.
SET = """async value => {
    const app = window.jupyterapp;
    const tokens = [...app.pluginRegistry._services.keys()];
    const registry = await app.resolveRequiredService(tokens.find(({ name }) => name.endsWith(':ISettingRegistry')));
    await registry.set('nbreactive:plugin', 'liveOutputs', value);
}"""


def test_many_outputs_share_a_connection_and_obey_the_setting(
    person: Callable[[str], Person], lab: JupyterProcess
) -> None:
    code = [text.format(module="many") for text in (SETUP, MODULE, "api.many.add(text='first')")]
    write_notebook(lab.root / "many" / "alice.ipynb", *code, SHOW_MANY)
    write_notebook(lab.root / "many" / "more.ipynb", SETUP, "api.many.add(text='second')", "api.many.add(text='third')")
    alice, bob = person("Alice"), person("Bob")
    asked: list[str] = []
    alice.page.on("request", lambda request: asked.append(request.url))
    alice.page.add_init_script(SOCKETS)
    alice.open("many/alice.ipynb")
    alice.run_all()
    expect(outputs(alice)).to_have_count(MANY, timeout=PATIENCE)
    is_in_state(outputs(alice).last, "^live$")
    alice.save()
    end_kernels(lab, "many/alice.ipynb")

    bob.page.add_init_script(SOCKETS)
    bob.look_at(sent_on(lab.root / "many" / "alice.ipynb"))
    live = bob.page.locator(".nbr-live[data-status=live]:visible")
    expect(live).to_have_count(MANY, timeout=PATIENCE)
    assert bob.page.evaluate(f"() => {OURS}.length") == 1

    alice.open("many/more.ipynb")
    alice.start_cell(0)
    alice.start_cell(1)
    expect(live.get_by_text("second", exact=True)).to_have_count(MANY, timeout=PATIENCE)

    saved = bob.page.locator(".nbr-live[data-status=snapshot]:visible")
    try:
        bob.page.evaluate(SET, "trusted")  # which this notebook is not
        expect(saved).to_have_count(MANY, timeout=PATIENCE)
        expect(saved.get_by_text("second", exact=True)).to_have_count(0)
        bob.page.evaluate(SET, "never")
        alice.start_cell(2)
        bob.page.reload()
        expect(saved).to_have_count(MANY, timeout=PATIENCE)
        expect(saved.get_by_text("first", exact=True)).to_have_count(MANY)
        assert bob.page.evaluate(f"() => {OURS}.length") == 0
    finally:
        bob.page.evaluate(SET, "always")
    expect(live.get_by_text("third", exact=True)).to_have_count(MANY, timeout=PATIENCE)
    own = urlsplit(lab.url).netloc
    assert {urlsplit(url).netloc for url in asked if url.startswith(("http", "ws"))} == {own}
    assert alice.errors == []
    assert bob.errors == []
