from __future__ import annotations

import io
import json

from hypothesis import given
from hypothesis import strategies as st

from nbreactive.engine.transactions import LogLine
from nbreactive.server.logs import Logs


@given(st.text(), st.text())
def test_no_text_forges_a_line_or_colours_a_terminal_case_47(path: str, message: str) -> None:
    stream = io.StringIO()
    Logs(stream).call("r", path, "query", 0.001, "anonymous", "FunctionFailed", message)
    text = stream.getvalue()
    assert text.count("\n") == 1 and text.endswith("\n")
    assert all(32 <= ord(c) < 127 for c in text[:-1])
    assert json.loads(text)["message"] == message[:4096]


def test_the_log_of_calls_is_bounded_and_names_nobody() -> None:
    stream = io.StringIO()
    logs = Logs(stream, keep=10)
    for number in range(100):
        logs.call(
            str(number), "m:f" + "x" * 1000, "mutation", 0.5, "ada@example.com", lines=[LogLine("LOG", "a")] * 1000
        )
    kept = logs.since(0)
    assert (
        [c.request_id for c in kept] == [str(n) for n in range(90, 100)]
        and len(kept[0].path) == 300
        and len(kept[0].lines) == 256
    )
    assert [c.number for c in logs.since(kept[-2].number)] == [kept[-1].number]
    assert "ada" not in stream.getvalue() and kept[0].caller.startswith("user ")


def test_quiet_calls_write_no_line_unless_asked() -> None:
    quiet, verbose = io.StringIO(), io.StringIO()
    Logs(quiet).call("r", "m:f", "query", 0.1, "anonymous")
    Logs(verbose, verbose=True).call("r", "m:f", "query", 0.1, "anonymous")
    assert quiet.getvalue() == "" and json.loads(verbose.getvalue())["path"] == "m:f"
