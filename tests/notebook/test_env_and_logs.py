"""``%reactive env`` and ``%reactive logs`` in a real kernel, against a real backend."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.notebook.kernel import Kernel
from tests.notebook.test_kernel import LIVE, WIDGET
from tests.notebook.test_real_kernel import environment
from tests.served import KEY, Served

MODULE = """
from nbreactive import mutation, query
@query
def key(ctx):
    print("asked for the key")
    return len(ctx.env.get("API_KEY", ""))
@mutation
def fail(ctx, password: str):
    raise RuntimeError("it went wrong")
"""


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("backend"), {"m": MODULE, "other": MODULE}) as running:
        yield running


@pytest.fixture(scope="module")
def kernel(backend: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    folder = tmp_path_factory.mktemp("kernel")
    kernel = Kernel(environment(folder, NBREACTIVE_URL=backend.url, NBREACTIVE_ADMIN_KEY=KEY), str(folder))
    kernel.run("%load_ext nbreactive\nfrom nbreactive import api")
    yield kernel
    kernel.close()


def test_setting_a_variable_shows_no_value_and_reruns_live_queries(kernel: Kernel) -> None:
    assert "no environment variables are set" in kernel.run("%reactive env").plain
    kernel.run("live = api.m.key.live()\nassert live.value == 0")
    said = kernel.run("%reactive env set API_KEY=s3cr3t a=b 'c'")
    assert "set API_KEY" in said.plain and "saved with the notebook" in said.plain and "s3cr3t" not in said.plain
    waiting = "import time\nend = time.monotonic() + 30\nwhile live.value != {}: assert time.monotonic() < end; time.sleep(0.01)"
    assert kernel.run(waiting.format(len("s3cr3t a=b 'c'"))).error is None
    again = kernel.run("%reactive env set OTHER 'as on the command line'")
    assert "set OTHER" in again.plain and "saved with the notebook" in again.plain
    assert "removed OTHER" in kernel.run("%reactive env remove OTHER").plain
    assert "OTHER is not set" in kernel.run("%reactive env remove OTHER").error_text
    listed = kernel.run("%reactive env")
    assert "API_KEY (14 characters)" in listed.plain and "s3cr3t" not in listed.plain
    assert "removed API_KEY" in kernel.run("%reactive env remove API_KEY").plain
    assert kernel.run(waiting.format(0)).error is None


def test_a_file_sets_several_and_wrong_lines_are_not_repeated(kernel: Kernel) -> None:
    (kernel.cwd / ".env").write_text("# comment\nexport A='quoted value'\nB=2\n\n")
    assert "set A, B" in kernel.run("%reactive env set --from-file .env").plain
    assert kernel.run("%reactive env").plain.startswith("A (12 characters)\nB (1 character)")
    (kernel.cwd / "wrong.env").write_text("A=1\njust-s3cr3t\n")
    refused = kernel.run("%reactive env set --from-file wrong.env")
    assert "line 2: write NAME=value" in refused.error_text and "s3cr3t" not in refused.error_text
    assert "cannot be read" in kernel.run("%reactive env set --from-file nothing.env").error_text
    kernel.run("%reactive env remove A\n%reactive env remove B")


def test_without_a_value_it_is_asked_for_where_that_is_possible(kernel: Kernel) -> None:
    # Cells are run with stdin not allowed, as nbconvert and papermill run them.
    refused = kernel.run("%reactive env set API_KEY")
    assert "cannot ask for the value" in refused.error_text
    assert "Usage: %reactive env" in kernel.run("%reactive env what").error_text
    assert "letters, digits and _" in kernel.run("%reactive env set A-B=1").error_text


def test_a_value_that_is_typed_is_nowhere_in_the_output(kernel: Kernel) -> None:
    message = kernel.client.session.msg(
        "execute_request", {"code": "%reactive env set TYPED", "silent": False, "allow_stdin": True}
    )
    kernel.client.shell_channel.send(message)
    asked = kernel.client.get_stdin_msg(timeout=30)
    assert asked["content"]["password"] is True and "TYPED" in asked["content"]["prompt"]
    kernel.client.input("t0p s3cr3t")
    heard = ""
    while True:
        said = kernel.client.get_iopub_msg(timeout=30)
        heard += str(said["content"])
        if said["msg_type"] == "status" and said["content"]["execution_state"] == "idle":
            break
    kernel.client.get_shell_msg(timeout=30)
    assert "set TYPED" in heard and "t0p" not in heard
    assert "TYPED (10 characters)" in kernel.run("%reactive env").plain


def test_logs_show_who_called_what_and_how_it_ended(kernel: Kernel, backend: Served) -> None:
    backend.ask("query", "m:key")
    failed = backend.ask("mutation", "m:fail", password="hunter2")
    backend.ask("query", "other:key")
    text = kernel.run("%reactive logs").text
    assert "query m.key · ok · " in text and "    [LOG] asked for the key" in text
    assert "mutation m.fail · FunctionFailed" in text and "RuntimeError: it went wrong" in text
    request = failed["errorMessage"].partition("[Request ID: ")[2][:16]
    assert request in text and " · anonymous · " in text and "hunter2" not in text
    only = kernel.run("%reactive logs --function m.key -n 1").text
    assert only.count("·") == 4 and "m.key" in only and "other" not in only
    assert "m.key" not in kernel.run("%reactive logs --errors").text
    assert "no such calls" in kernel.run("%reactive logs --function nothing.here").text
    assert "takes a number" in kernel.run("%reactive logs -n x").error_text


def test_following_goes_on_until_it_is_interrupted(kernel: Kernel, backend: Served) -> None:
    heard: list[str] = []
    message = kernel.client.session.msg(
        "execute_request", {"code": "%reactive logs --follow -n 0 --function other", "silent": False}
    )
    kernel.client.shell_channel.send(message)

    def call() -> None:
        while not any("other.key" in text for text in heard):
            backend.ask("query", "other:key")
            time.sleep(0.05)

    caller = threading.Thread(target=call)
    caller.start()
    while True:
        said = kernel.client.get_iopub_msg(timeout=30)
        if said["msg_type"] == "stream":
            if not heard:
                kernel.manager.interrupt_kernel()
            heard.append(said["content"]["text"])
        if said["msg_type"] == "status" and said["content"]["execution_state"] == "idle":
            break
    kernel.client.get_shell_msg(timeout=30)
    caller.join()
    assert "query other.key · ok" in "".join(heard) and "stopped following" in "".join(heard)


def test_who_may_not_deploy_sees_no_log_and_no_variable(backend: Served, tmp_path: Path) -> None:
    kernel = Kernel(environment(tmp_path, NBREACTIVE_URL=backend.url), str(tmp_path))
    kernel.run("%load_ext nbreactive")
    for command in ("%reactive logs", "%reactive env", "%reactive env set X=1"):
        assert "admin key" in kernel.run(command).error_text
    kernel.close()


def test_jobs_are_listed(kernel: Kernel) -> None:
    assert kernel.run("%reactive jobs").plain.strip() == "nothing is scheduled"
    assert "Usage: %reactive jobs" in kernel.run("%reactive jobs kill nothing").error_text


def test_a_reset_says_what_would_go_and_is_asked_for_twice(tmp_path: Path) -> None:
    add = "from nbreactive import mutation\n@mutation\ndef add(ctx, table: str):\n    ctx.db.insert(table, {})\n"
    with Served(tmp_path, {"m": add}) as own:
        for table in ("one", "two", "two"):
            own.call("mutation", "m:add", table=table)
        kernel = Kernel(environment(tmp_path, NBREACTIVE_URL=own.url, NBREACTIVE_ADMIN_KEY=KEY), str(tmp_path))
        try:
            kernel.run("%load_ext nbreactive\nimport nbreactive")
            said = kernel.run("%reactive reset default").error_text
            assert "Nothing was deleted. 3 documents in 2 tables (one, two)" in said
            assert "%reactive reset default --yes" in said
            assert "deployment 'default'" in kernel.run("%reactive reset staging --yes").error_text
            [listed] = kernel.run("%reactive tables").displays
            table = listed[LIVE]["table"]
            assert table["columns"] == ["table", "documents", "size", "schema", "indexes"]
            assert [row[:2] for row in table["rows"]] == [["one", 1], ["two", 2]]
            own.call("mutation", "m:add", table="three")
            state = kernel.widgets[listed[WIDGET]["model_id"]]
            kernel.until(lambda: sorted(row[0] for row in state["table"]["rows"]) == ["one", "three", "two"])
            assert "all its data are deleted" in kernel.run("%reactive reset default --yes").plain
            assert "no tables yet" in kernel.run("%reactive tables").plain
        finally:
            kernel.close()
