"""The text of SQL statements: which parameters they have, and what stands for them."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import duckdb
import ipywidgets
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbreactive.client.arguments import SKIP
from nbreactive.client.statement import StatementArguments, hash_of, parameter, parameters_of, title_of
from nbreactive.errors import ArgumentError, InvalidValue

KEY = "0" * 32


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("SELECT 1", []),
        ("SELECT $a + $b_2, $a", ["a", "b_2"]),
        ("SELECT '$no', 'it''s $no', \"$no\", e'\\'$no', $yes", ["yes"]),
        ("SELECT 1 -- $no\n, $yes /* $no\n$no */", ["yes"]),
        ("SELECT $$ $no $$, $tag$ $no $tag$, $yes", ["yes"]),
        ("SELECT x::VARCHAR, '$5', $since::DATE", ["since"]),
    ],
)
def test_parameters_are_found_outside_of_texts_and_comments(text: str, names: list[str]) -> None:
    assert parameters_of(text) == names


_PIECES = st.sampled_from(
    ["'$x''$x'", '"$x"', "$a", "$b", "$$ $x $$", "$t$ $x ' $t$", "/* $x ' */", "-- $x '\n", "e'\\' $x'", "1", "NULL"]
)


@given(st.lists(_PIECES, min_size=1, max_size=6))
def test_parameters_are_those_that_duckdb_finds(pieces: list[str]) -> None:
    text = "SELECT 0\n" + "\n".join(piece if piece.startswith(("--", "/*")) else f", {piece} AS c" for piece in pieces)
    text = text.replace('"$x" AS c', "'q' AS \"$x\"")
    [statement] = duckdb.extract_statements(text)
    assert set(parameters_of(text)) == statement.named_parameters


def test_equal_texts_have_one_name_whatever_stands_around_them() -> None:
    assert hash_of("\n SELECT 1\n") == hash_of("SELECT 1")
    assert len(hash_of("")) == 32


def test_titles_are_one_short_line() -> None:
    assert title_of("SELECT a -- why\n  FROM t") == "SELECT a FROM t"
    assert len(title_of("SELECT " + "x, " * 100)) == 60


def test_python_objects_as_parameters() -> None:
    moment = dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC)
    assert parameter(moment, "p") == "2026-11-01T12:00:00+00:00"
    assert parameter(dt.date(2026, 11, 1), "p") == "2026-11-01"
    assert parameter(Decimal("1.50"), "p") == "1.50"
    assert parameter((1, "a", dt.time(9)), "p") == [1, "a", "09:00:00"]
    assert parameter(ipywidgets.IntRangeSlider(value=(2, 5), min=0, max=9), "p") == [2, 5]
    assert parameter(ipywidgets.DatePicker(value=dt.date(2026, 1, 2)), "p") == "2026-01-02"
    assert parameter(SKIP, "p") is SKIP
    with pytest.raises(InvalidValue, match=r"args\.p"):
        parameter(object(), "p")
    with pytest.raises(ArgumentError, match="has no value to bind to"):
        parameter(ipywidgets.Layout(), "p")


def test_missing_and_unknown_parameters_are_named() -> None:
    with pytest.raises(ArgumentError, match=r"parameter \$least.*sql\(\.\.\., least=\.\.\.\)"):
        StatementArguments.of("SELECT $least", KEY, {})
    with pytest.raises(ArgumentError, match=r"no parameter \$lest; it has: \$least"):
        StatementArguments.of("SELECT $least", KEY, {"least": 1, "lest": 2})


def test_widgets_are_followed_and_windows_have_their_own_arguments() -> None:
    slider = ipywidgets.IntSlider(value=3, max=9)
    arguments = StatementArguments.of("SELECT $least", KEY, {"least": slider})
    window = arguments.window(100, 50)
    slider.value = 7
    assert arguments.current() == {"hash": KEY, "params": {"least": 7}}
    assert window.current() == {"hash": KEY, "params": {"least": 7}, "offset": 100, "limit": 50}
    assert window.fresh().current() == window.current()
    slider.value = 0
    paused = StatementArguments.of("SELECT $x", KEY, {"x": SKIP})
    assert paused.current() is None
    assert paused.window(0, 1).current() is None
