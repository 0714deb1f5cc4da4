"""Tab, ``?`` and Shift+Tab in a real kernel, as front ends ask for them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.notebook.kernel import Kernel
from tests.notebook.test_real_kernel import environment
from tests.served import KEY, Served

CHAT = """%%reactive deploy chat
from nbreactive import query, mutation, internal_mutation

@query
def list_messages(ctx, limit: int = 100):
    return ctx.db.query("messages").order("desc").take(limit)

@mutation
def send(ctx, author: str, body: str):
    \"\"\"Say something.

    Everybody sees it <b>at once</b>.
    \"\"\"
    return ctx.db.insert("messages", {"author": author, "body": body})

@internal_mutation
def sweep(ctx, older: float):
    pass
"""


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("backend")) as running:
        yield running


@pytest.fixture(scope="module")
def kernel(backend: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    folder = tmp_path_factory.mktemp("kernel")
    path = str(folder / "help.ipynb")
    running = Kernel(
        environment(folder, NBREACTIVE_URL=backend.url, NBREACTIVE_ADMIN_KEY=KEY, JPY_SESSION_NAME=path), str(folder)
    )
    assert running.run("%load_ext nbreactive\nimport nbreactive\nfrom nbreactive import *").error is None
    assert running.run(CHAT, "d").error is None
    yield running
    running.close()


def complete(kernel: Kernel, code: str) -> list[str]:
    """What Tab offers where ``|`` is, or at the end."""
    at = code.index("|") if "|" in code else len(code)
    reply = kernel.client.complete(code.replace("|", ""), at, reply=True, timeout=30)["content"]
    assert reply["status"] == "ok"
    return list(reply["matches"])


def inspected(kernel: Kernel, code: str, detail: int = 0) -> dict[str, str]:
    reply = kernel.client.inspect(code, len(code), detail, reply=True, timeout=30)["content"]
    return {kind: re.sub(r"\x1b\[[\d;]*m", "", text) for kind, text in reply["data"].items()}


@pytest.fixture(params=[True, False], ids=["jedi", "no jedi"])
def either(request: pytest.FixtureRequest, kernel: Kernel) -> Kernel:
    kernel.run(f"%config Completer.use_jedi = {request.param}")
    return kernel


@pytest.mark.parametrize(
    ("code", "offered"),
    [
        ("api.", ["chat"]),
        ("x = nbreactive.api.c", ["chat"]),
        ("api.chat.", ["list_messages", "send"]),
        ("print(api.chat.se", ["send"]),
        ("internal.", ["chat"]),
        ("internal.chat.", ["sweep"]),
        ("api.chat.send.", ["aio", "options"]),
        ("api.chat.list_messages.l", ["live"]),
        ("api.chat.send(", ["author=", "body="]),
        ("api.chat.send(author=f(1, 'x, y='), ", ["body="]),
        ("api.chat.send(\n    bo|\n)", ["body="]),
        ("api.chat.list_messages.options(wait=False).live(", ["limit="]),
        ("use_query(api.chat.list_messages, ", ["limit="]),
        ("use_mutation(api.chat.se", ["send"]),
        ("%reactive sta", ["status"]),
        ("%reactive source ", ["chat"]),
        ("%reactive run ch", ["chat.list_messages", "chat.send"]),
        (
            CHAT.replace("    pass", "    ctx.run_mutation(internal.chat.|").replace("import ", "import internal, "),
            ["sweep"],
        ),
    ],
)
def test_tab_offers_what_is_deployed(either: Kernel, code: str, offered: list[str]) -> None:
    assert complete(either, code) == offered


def test_what_has_nothing_to_do_with_it_is_left_to_ipython(either: Kernel) -> None:
    either.run("class Mine:\n    api = 1\n    chat = 2\nmine = Mine()\nauthors = 3")
    assert {"api", "chat"} <= {match.rpartition(".")[2] for match in complete(either, "mine.")}
    assert "author=" not in complete(either, "print(aut")
    assert any("authors" in match for match in complete(either, "api.chat.send(author=aut"))
    assert not any("body" in match for match in complete(either, "api.chat.send(author='bo"))


def test_a_bound_mutation_has_the_arguments_of_its_function(either: Kernel) -> None:
    either.run("send = use_mutation(api.chat.send)")
    assert complete(either, "send(") == complete(either, "send.start(") == ["author=", "body="]


def test_a_deploy_of_somebody_else_is_completed_without_asking(kernel: Kernel, backend: Served) -> None:
    assert "later" not in complete(kernel, "api.")
    (backend.functions / "later.py").write_text("from nbreactive import query\n\n@query\ndef now(ctx): return 1\n")
    kernel.until(lambda: "later" in complete(kernel, "api."))
    (backend.functions / "later.py").unlink()


def test_a_question_mark_says_what_it_is_who_deployed_it_and_its_source(kernel: Kernel) -> None:
    said = inspected(kernel, "api.chat.send")
    assert re.search(r"^Signature: +api\.chat\.send\(\*, author: str, body: str\)$", said["text/plain"], re.MULTILINE)
    assert re.search(r"^Type: +mutation$", said["text/plain"], re.MULTILINE)
    assert "Say something.\n\nEverybody sees it <b>at once</b>." in said["text/plain"]
    assert re.search(
        r"^Deployed: +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d by .+ from help\.ipynb · version \d+",
        said["text/plain"],
        re.MULTILINE,
    )
    assert "@mutation" not in said["text/plain"]
    html = kernel.run("print(get_ipython().object_inspect_mime('api.chat.send')['text/html'])").text
    assert "&lt;b&gt;at once" in html and "<b>" not in html
    source = inspected(kernel, "api.chat.send", 1)["text/plain"]
    assert '@mutation\ndef send(ctx, author: str, body: str):\n    """Say something.' in source
    assert "def sweep" not in source
    assert "Type:      internal mutation" in inspected(kernel, "internal.chat.sweep")["text/plain"]
    assert "list_messages, send" in inspected(kernel, "api.chat")["text/plain"]
    assert "not deployed" in inspected(kernel, "api.chat.nothing")["text/plain"]
    assert "Signature: api.chat.send(" in inspected(kernel, "api.chat.send(author='x', ")["text/plain"]  # Shift+Tab
    assert "Signature: api.chat.list_messages(" in inspected(kernel, "api.chat.list_messages.live")["text/plain"]
    assert "Signature: " in inspected(kernel, "print")["text/plain"]
    kernel.client.execute("api.chat.send??")
    pages = kernel.client.get_shell_msg(timeout=30)["content"]["payload"]
    assert "@mutation" in re.sub(r"\x1b\[[\d;]*m", "", pages[0]["data"]["text/plain"])


def test_tab_connects_to_nothing_and_unloading_leaves_ipython_as_it_was(tmp_path: Path) -> None:
    kernel = Kernel(environment(tmp_path), str(tmp_path))
    try:
        kernel.run("from nbreactive import api, load_ipython_extension, unload_ipython_extension")
        kernel.run(
            "import nbreactive.notebook.magics as m; m.greet = lambda: None; load_ipython_extension(get_ipython())"
        )
        assert complete(kernel, "api.") == []
        assert "author=" not in complete(kernel, "api.chat.send(")
        assert "not connected" in inspected(kernel, "api.chat.send")["text/plain"]
        assert not (tmp_path / ".nbreactive").exists()
        kernel.run("unload_ipython_extension(get_ipython())")
        assert "not connected" not in inspected(kernel, "api.chat.send")["text/plain"]
        ran = kernel.run("c = get_ipython(); print(c.Completer.custom_matchers, c.inspector.mime_hooks)")
        assert ran.text == "[] {}\n"
    finally:
        kernel.close()
