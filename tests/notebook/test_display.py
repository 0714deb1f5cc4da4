"""What a live query shows: text, always as what it is (reference/platform.md 4.4, case 31)."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbreactive.errors import AppError, DeployRefused, StaleModule
from nbreactive.notebook import display
from nbreactive.notebook.cells import LONGEST, cell, safe_text, table_of
from nbreactive.notebook.errors_view import error_text
from nbreactive.notebook.notebook_file import saved_versions

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "</td></tr></table><iframe src=javascript:alert(1)>",
    "javascript:alert(1)",
    '" onmouseover="alert(1)',
    "\x1b[31mred\x1b[0m",
    "abc\u202etxt.exe",
    "a\u2066b\u200b\ufeffc",
    "nul\x00bel\x07",
    "\ud800lone",
]


class Live:
    """As much of a live query as its display needs."""

    def __init__(self, value: Any, **more: Any) -> None:
        self.value, self.path, self.args, self.columns = value, "m:f", {}, None
        self.error, self.message, self.title, self.state = None, "", "m:f", "live"
        self.identity_read = self.dimmed = False
        self.moments: frozenset[str] = frozenset()
        self.total, self.deployment, self.at, self.closed = None, "default", 0, False
        self.place, self.bound, self.declared = {"mount": "nbreactive/default", "url": ""}, {}, None
        self.__dict__.update(more)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[Any] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def shown(live: Live) -> Tags:
    parser = Tags()
    parser.feed(display.page(live, display.snapshot(live), "note <b>"))
    parser.close()
    return parser


@pytest.mark.parametrize("text", HOSTILE)
def test_case_31_hostile_texts_are_text_everywhere(text: str) -> None:
    """Case 31."""
    live = Live([{text: text, "nested": {"deep": [text]}}], title=text, error=AppError({"why": text}), message=text)
    page = shown(live)
    assert page.tags <= {"table", "caption", "thead", "tbody", "tr", "th", "td", "p"}
    assert page.attributes == []
    assert safe_text(text) in page.text
    plain = display.plain(live, display.snapshot(live))
    for made in (page.text, plain, json.dumps(table_of(live.value)), error_text(AppError(text))):
        assert not any(ord(char) < 32 and char not in "\n\t" for char in made)
        assert not set(made) & set("\u202e\u2066\u200b\ufeff\x1b\x7f")
        made.encode()


@given(st.text())
def test_safe_text_can_always_be_shown(text: str) -> None:
    made = safe_text(text)
    made.encode()
    assert len(text) > LONGEST or "\x1b" not in made
    if text.isascii() and text.isprintable() and len(text) <= LONGEST:
        assert made == text


def test_cells_are_scalars() -> None:
    assert [cell(x) for x in (None, True, 1, 1.5, 2**60, float("nan"), b"abc", [1, {"a": b"x"}])] == [
        None, True, 1, 1.5, str(2**60), "nan", "<3 bytes>", '[1, {"a": "<1 bytes>"}]',
    ]  # fmt: skip
    assert len(cell("x" * 10_000)) == LONGEST + 1


def test_shapes_of_results() -> None:
    assert table_of({"page": [{"a": 1}], "isDone": True, "continueCursor": ""})["columns"] == ["a"]
    assert table_of({"a": 1})["rows"] == [["a", 1]]
    assert table_of(5) == {"columns": ["value"], "rows": [[5]], "total": 1}
    assert table_of([1, 2])["rows"] == [[1], [2]]
    assert table_of(None)["total"] == 0
    assert table_of([], ["a", "_id", "b"])["columns"] == ["a", "b", "_id"]
    assert table_of([{"a": 1}] * 50, None, 10)["total"] == 50


def test_moments_are_a_matter_of_the_column() -> None:
    at, later = 1_795_000_000_000, 4_102_444_800_000  # the year 2100
    assert [isinstance(row[0], str) for row in table_of([{"due_at": at}, {"due_at": later}, {"due_at": None}])["rows"]] == [
        True, True, False,
    ]  # fmt: skip
    assert table_of([{"due_at": at}, {"due_at": 3}])["rows"] == [[at], [3]]
    assert table_of([{"n": at}])["rows"] == [[at]]


def test_columns_are_in_the_order_that_people_count_in() -> None:
    row = dict.fromkeys(sorted(f"col{i}" for i in range(12)), 1)
    assert table_of([row, {"another": 1}])["columns"] == [*(f"col{i}" for i in range(12)), "another"]


def test_one_document_is_not_called_rows() -> None:
    text = shown(Live({"a": 1, "b": 2, "c": 3})).text
    assert "1 document" in text and "3 rows" not in text


def test_functions_that_read_who_asks_save_no_rows() -> None:
    live = Live([{"secret": 1}], identity_read=True)
    assert display.snapshot(live)["rows"] == []
    assert "they depend on who looks" in shown(live).text
    assert "only what you may see" in json.dumps(display.live_payload(live, display.snapshot(live)))


def test_errors_name_issues_and_diffs() -> None:
    refused = DeployRefused(
        "1 problem", [{"file": "reactive/chat.py", "line": 3, "reason": "df is unknown", "fix": "pass it"}]
    )
    text = re.sub("\x1b\\[[0-9]+m", "", error_text(refused))  # places are in colour
    assert "reactive/chat.py:3\n    df is unknown\n    fix: pass it" in text
    assert "+new line" in error_text(StaleModule("stale", "-old\n+new line"))


def test_versions_are_read_from_saved_outputs(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def output(version: Any, deployment: str = "d") -> dict[str, Any]:
        return {"metadata": {"nbreactive": {"deployment": deployment, "modules": {"chat": version}}}}

    path = tmp_path / "a.ipynb"
    path.write_text(
        json.dumps({"cells": [{"outputs": [output(3), output(2), output(9, "other"), output("x")]}, {}, "?"]})
    )
    monkeypatch.setenv("JPY_SESSION_NAME", str(path))
    assert saved_versions("d") == {"chat": 3}
    path.write_text("{")
    assert saved_versions("d") == {}
