"""nbreactive in a real kernel, against the small server of the client's tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.fake_server import FakeServer, until
from tests.notebook.kernel import Kernel

LIVE = "application/vnd.nbreactive.live.v1+json"
WIDGET = "application/vnd.jupyter.widget-view+json"
FORGET = """
from nbreactive.notebook.lifecycle import cells, drop_outputs
cells.end_all()
drop_outputs(get_ipython(), list(Out))
m = q = two = None
gc.collect()
"""
ROOT = str(Path(__file__).parent.parent.parent)


@pytest.fixture(scope="module")
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    yield fake
    fake.close()


@pytest.fixture(scope="module")
def shared_kernel(server: FakeServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    folder = tmp_path_factory.mktemp("kernel")
    static = folder / "static"
    static.mkdir()
    (static / "live_table.js").write_text("export default { render() {} };")
    (static / "live_table.css").write_text("")
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([ROOT, os.environ.get("PYTHONPATH", "")]),
        "NBREACTIVE_URL": server.url,
        "IPYTHONDIR": str(folder),
        "JUPYTER_RUNTIME_DIR": str(folder),
    }
    env.pop("JPY_PARENT_PID", None)
    kernel = Kernel(env, str(folder))
    setup = f"import pathlib, nbreactive.notebook.table_widget as t; t.STATIC = pathlib.Path({str(static)!r})"
    assert kernel.run(setup).error is None
    assert kernel.run("%load_ext nbreactive").text.startswith("deployment default on the backend at http://127.0.0.1")
    assert kernel.run("from nbreactive import api\nimport nbreactive, ipywidgets, gc").error is None
    yield kernel
    kernel.close()


@pytest.fixture
def kernel(server: FakeServer, shared_kernel: Kernel) -> Kernel:
    shared_kernel.drain(0.01)
    shared_kernel.run(FORGET, "reset")
    until(lambda: server.query_count == 0)
    server.messages.clear()
    return shared_kernel


def test_the_bundle_serves_every_front_end(server: FakeServer, kernel: Kernel) -> None:
    server.add("al", "hi")
    ran = kernel.run("api.chat.list_messages.live(limit=20)", "a")
    assert ran.error is None
    assert len(ran.displays) == 1
    bundle = ran.displays[0]
    assert set(bundle) == {LIVE, WIDGET, "text/html", "text/plain"}
    payload = bundle[LIVE]
    assert (payload["v"], payload["path"], payload["args"]) == (1, "chat:list_messages", {"limit": 20})
    assert payload["table"] == {"columns": ["author", "body"], "rows": [["al", "hi"]], "total": 1}
    state = kernel.widgets[bundle[WIDGET]["model_id"]]
    assert (state["status"], state["table"]["rows"]) == ("live", [["al", "hi"]])
    assert "<td>hi</td>" in bundle["text/html"]
    assert "al      hi" in bundle["text/plain"]


def test_a_view_follows_while_the_kernel_is_busy(server: FakeServer, kernel: Kernel) -> None:
    ran = kernel.run("m = api.chat.list_messages.live()\nm", "a")
    model = ran.displays[0][WIDGET]["model_id"]
    busy = kernel.client.session.msg(
        "execute_request",
        {"code": "import time\nwhile not pathlib.Path('go').exists(): time.sleep(0.01)", "silent": False, "store_history": True,
         "user_expressions": {}, "allow_stdin": False, "stop_on_error": True},
    )  # fmt: skip
    kernel.client.shell_channel.send(busy)
    server.add("bo", "while busy")
    kernel.until(lambda: kernel.widgets[model]["table"]["rows"] == [["bo", "while busy"]])
    (kernel.cwd / "go").touch()
    kernel.client.get_shell_msg(timeout=20)
    kernel.drain(0.05)
    (kernel.cwd / "go").unlink()


def test_a_view_shows_how_it_stands(server: FakeServer, kernel: Kernel) -> None:
    ran = kernel.run("m = api.chat.list_messages.live()\nm", "a")
    state = kernel.widgets[ran.displays[0][WIDGET]["model_id"]]
    server.stop_listening()
    kernel.until(lambda: state["status"] == "reconnecting")
    assert state["message"]
    server.listen_again()
    kernel.until(lambda: state["status"] == "live")
    kernel.run("m.close()")
    kernel.until(lambda: state["status"] == "closed")


def test_errors_print_the_users_lines_only(kernel: Kernel) -> None:
    ran = kernel.run("def ask():\n    return api.chat.refuse()\nask()", "e")
    assert ran.error is not None
    assert ran.error["ename"] == "AppError"
    text = ran.error_text
    assert "AppError: {'code': 'NO'}" in text or "AppError: Server Error" in text
    assert "this notebook, line 2, in ask\n    return api.chat.refuse()" in text
    assert "nbreactive/client" not in text
    assert "Traceback" not in text


def test_a_mutation_shows_in_the_same_cell_and_prints_its_log(server: FakeServer, kernel: Kernel) -> None:
    ran = kernel.run(
        "m = api.chat.list_messages.live()\napi.chat.send(author='me', body='x')\nprint(len(m.value))", "s"
    )
    assert ran.error is None
    assert "chat:send [LOG] sent" in ran.text
    assert ran.text.rstrip().endswith("1")


def test_render_draws_again_in_place(server: FakeServer, kernel: Kernel) -> None:
    code = "from IPython.display import HTML\nm = api.chat.list_messages.live()\nm.render(lambda rows: HTML(f'<b>{len(rows)} rows</b>'))"
    ran = kernel.run(code, "r")
    assert ran.error is None
    assert [display["text/html"] for display in ran.displays] == ["<b>0 rows</b>"]
    server.add("al", "x")
    kernel.until(lambda: kernel.updates and kernel.updates[-1].get("text/html") == "<b>1 rows</b>")
    kernel.run(
        "two = nbreactive.render(lambda a, b: f'{len(a)} and {len(b)}', m, api.chat.only.live(author='al'))\ntwo", "r2"
    )
    server.add("al", "y")
    kernel.until(lambda: kernel.updates[-1].get("text/plain") == "'2 and 2'")


def test_a_failing_drawing_says_where(server: FakeServer, kernel: Kernel) -> None:
    ran = kernel.run("def draw(rows):\n    return 1 / len(rows)\napi.chat.list_messages.live().render(draw)", "f")
    assert "ZeroDivisionError" in ran.displays[0]["text/plain"]
    assert "this notebook, line 2, in draw" in ran.displays[0]["text/plain"]
    server.add("al", "x")
    kernel.until(lambda: kernel.updates and kernel.updates[-1].get("text/plain") == "1.0")


@pytest.mark.slow
def test_reruns_moves_and_deleted_outputs_leave_one_subscription(server: FakeServer, kernel: Kernel) -> None:
    rss = "import psutil\nprint(psutil.Process().memory_info().rss)"
    cell = "api.chat.only.live(author='al')"
    for number in range(20):
        server.add("al", f"message {number}")
    kernel.run("slider = ipywidgets.IntSlider()\nq = api.chat.list_messages.live(limit=slider)\nq", "slider")

    def rerun(times: int) -> None:
        for _ in range(times):
            assert kernel.run(cell, "live").error is None

    rerun(100)
    before = int(kernel.run(f"gc.collect()\n{rss}").text)
    rerun(200)
    for number in range(50):
        kernel.run(f"slider.value = {number + 1}")
    kernel.run("1", deleted=["slider"])
    kernel.run("del q\ngc.collect()")
    until(lambda: server.query_count == 1, 20)
    after = int(kernel.run(f"gc.collect()\n{rss}").text)
    print(f"kernel memory: {(after - before) / 2**20:+.2f} MB")
    assert abs(after - before) <= 5 * 2**20
    kernel.drain(0.05)
    assert len(kernel.live_tables()) == 1
    assert int(kernel.run("print(len(nbreactive.client.connected().live_queries))").text) == 1
    kernel.run("None", "live")
    until(lambda: server.query_count == 0)


def test_observers_of_a_cell_end_when_it_runs_again(server: FakeServer, kernel: Kernel) -> None:
    kernel.run("m = api.chat.list_messages.live()\nheard = []", "m")
    for _ in range(3):
        kernel.run("m.observe(lambda change: heard.append(1), 'value')", "o")
    server.add("al", "x")
    until(lambda: kernel.run("print(len(heard))").text == "1\n")


def test_a_view_that_is_on_no_page_sleeps_and_wakes(server: FakeServer, kernel: Kernel) -> None:
    kernel.run("t.UNSEEN = 0.05")
    ran = kernel.run("api.chat.list_messages.live()", "v")
    kernel.run("drop_outputs(get_ipython(), list(Out))")
    model = ran.displays[0][WIDGET]["model_id"]
    kernel.comm(model, {"type": "views", "count": 1})
    kernel.run("gc.collect()")
    assert server.query_count == 1
    kernel.comm(model, {"type": "views", "count": 0})
    until(lambda: (kernel.run("gc.collect()"), server.query_count == 0)[1])
    server.add("al", "while away")
    kernel.comm(model, {"type": "views", "count": 1})
    kernel.until(lambda: kernel.widgets[model]["table"]["rows"] == [["al", "while away"]])
    kernel.run("t.UNSEEN = 30.0")


def test_config_of_snapshots(server: FakeServer, kernel: Kernel) -> None:
    for number in range(5):
        server.add("al", str(number))
    assert kernel.run("%config NBReactive.snapshot_rows = 2").error is None
    bundle = kernel.run("api.chat.list_messages.live()", "c").displays[0]
    assert len(bundle[LIVE]["table"]["rows"]) == 2
    assert bundle[LIVE]["table"]["total"] == 5
    assert "2 of 5 rows" in bundle["text/html"]
    assert len(kernel.widgets[bundle[WIDGET]["model_id"]]["table"]["rows"]) == 5
    kernel.run("%config NBReactive.snapshot_rows = 20")


def test_a_missing_front_end_says_the_fix_and_keeps_the_snapshot(server: FakeServer, kernel: Kernel) -> None:
    kernel.run("built, t.STATIC = t.STATIC, pathlib.Path('nowhere')")
    bundle = kernel.run("api.chat.list_messages.live()", "x").displays[0]
    assert WIDGET not in bundle
    assert "./dev build" in bundle["text/html"]
    kernel.run("t.STATIC = built")


def test_magics(server: FakeServer, kernel: Kernel) -> None:
    assert "query      chat.list_messages()   All messages.\n" in kernel.run("%reactive functions").plain
    assert "connection: open" in kernel.run("%reactive status").plain
    assert "%reactive connect" in kernel.run("%reactive").plain
    assert kernel.run('%reactive run chat.send {"author": "$x", "body": "{y}"}').plain == "1"
    assert server.messages == [{"author": "$x", "body": "{y}"}]
    assert "Did you mean 'status'?" in kernel.run("%reactive statu").error_text
    helped = kernel.run("%reactive help").plain
    assert "%reactive rollback MODULE [VERSION]" in helped
    assert (
        "%reactive tables\n      the tables, how many documents they have, how large they are, and their indexes, live\n"
        in helped
    )
    assert (
        helped.count("\n      ") == helped.count("%reactive ") - 1
    )  # each command says what it does; one has an example
    assert "Usage: %reactive rollback MODULE [VERSION]" in kernel.run("%reactive rollback").error_text
    assert "It knows: connect, status," in kernel.run("%reactive nonsense").error_text
    assert "is not a version" in kernel.run("%reactive rollback chat one").error_text
    ran = kernel.run("%%reactive deploy chat --force\nx = 1\n", "d")
    assert ran.error is None
    sent = server.deploys[-1]
    assert sent["modules"][0]["source"] == "x = 1\n"
    assert (sent["force"], sent["base"]) == (True, {"chat": None})
    assert sent["modules"][0]["origin"]["kind"] == "cell"
    assert "nbreactive" in ran.metadata[0]
    ran = kernel.run("print('x' in dir())")
    assert ran.text == "False\n"


def test_a_paginated_query_has_a_button_for_more(server: FakeServer, kernel: Kernel) -> None:
    for number in range(5):
        server.add("al", str(number))
    ran = kernel.run("nbreactive.use_paginated_query(api.chat.pages.options(page_size=2))", "pages")
    assert ran.error is None
    model = ran.displays[0][WIDGET]["model_id"]
    state = kernel.widgets[model]
    assert (len(state["table"]["rows"]), state["more"], state["status"]) == (2, "more", "live")
    for rows, more in ((4, "more"), (5, "")):
        kernel.comm(model, {"type": "more"})
        kernel.until(lambda rows=rows, more=more: (len(state["table"]["rows"]), state["more"]) == (rows, more))
    server.add("al", "5")
    kernel.until(lambda: len(state["table"]["rows"]) == 6)
