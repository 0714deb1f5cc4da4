from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbreactive.functions.paths import canonical_path, function_path, identifier_problem, module_problem


@pytest.mark.parametrize(
    ("spelled", "path"),
    [
        ("m", "m:default"),
        ("m:default", "m:default"),
        ("m:f", "m:f"),
        ("m.js:f", "m:f"),
        ("m.js", "m:default"),
        ("dir/m.py:f", "dir/m:f"),
        ("m:", "m:default"),
    ],
)
def test_paths_have_one_spelling(spelled, path):
    assert canonical_path(spelled) == path


@given(st.text(max_size=30))
def test_any_text_has_a_stable_spelling(text):
    assert canonical_path(canonical_path(text)).count(":") >= 1


def test_modules_are_named_as_they_are_imported_or_as_they_are_called():
    assert function_path("reactive.admin.users", "list") == function_path("admin/users", "list") == "admin/users:list"


@pytest.mark.parametrize("name", ["posts", "P", "a1_b", "x" * 64])
def test_identifiers(name):
    assert identifier_problem(name, "a table") == ""


@pytest.mark.parametrize("name", ["", "_x", "1a", "a-b", "a b", "é", "a" * 65, "'); DROP TABLE x; --", "a\n", "а"])
def test_what_is_no_identifier(name):
    problem = identifier_problem(name, "a table")
    assert problem.isascii()
    assert "; " in problem


@pytest.mark.parametrize("module", ["../etc", "a/../b", "/a", "a/", "a//b", "_system/tables", "a.b", "a\0", ""])
def test_what_is_no_module(module):
    assert module_problem(module)
