"""Statements from a grammar over tables that change at random: after each commit as plain DuckDB says.

`NBREACTIVE_FUZZ=10000 ./dev test tests/columns/live/test_fuzz.py` makes so many statements; `NBREACTIVE_FUZZ_SEED=n` begins
with another seed, which a failure prints, with the statement: that round alone fails again.
"""

from __future__ import annotations

import os
import random
from collections import Counter

import duckdb
import pytest

from tests.columns.live._grammar import LARGEST, TABLES, Grammar, Values
from tests.columns.live._support import Live, Scratch, Tables, assert_same

STATEMENTS = int(os.environ.get("NBREACTIVE_FUZZ", "600"))
SEED = int(os.environ.get("NBREACTIVE_FUZZ_SEED", "1"))
PER_ROUND, COMMITS, ROWS = 50, 5, 40
PARAMS = {"p": 150.0}


@pytest.mark.parametrize("seed", range(SEED, SEED + max(STATEMENTS // PER_ROUND, 1)))
def test_results_are_those_of_duckdb(seed: int) -> None:
    kinds = run_round(seed)
    assert kinds["rows"] + kinds["top"] + kinds["groups"] > kinds["rerun"]


def run_round(seed: int) -> Counter[str]:
    chance = random.Random(seed)
    values, grammar, scratch = Values(chance), Grammar(chance), Scratch()
    tables = Tables(*TABLES)
    tables.put("t", [], values.rows("t", list(range(ROWS))))
    tables.put("u", [], values.rows("u", list(range(6))))
    lives: list[tuple[str, Live]] = []
    while len(lives) < PER_ROUND:
        text = grammar.statement()
        live = Live(text, PARAMS, scratch)
        try:
            live.load(tables.cursor())
        except duckdb.Error as error:
            # What DuckDB does not take is no statement; but then it is DuckDB who says so
            with pytest.raises(type(error)):
                tables.connection.execute(text, PARAMS if "$p" in text else None).fetchall()
            continue
        lives.append((text, live))
    for commit in range(COMMITS):
        table = "u" if chance.random() < 0.15 else "t"
        numbers = chance.sample(range(ROWS + 8 if table == "t" else 8), chance.choice([1, 1, 2, 5]))
        ids = [f"{table}{number:03}" for number in numbers]
        kept = [number for number in numbers if chance.random() < 0.7]
        change = tables.put(table, ids, values.rows(table, kept) if kept else None)
        for text, live in lives:
            told = f"seed {seed}, commit {commit}: {text}\n{live.explain()}"
            live.update(change, tables.cursor)
            assert_same(live.window(), tables.fresh(live, PARAMS), told, LARGEST)
    for text, live in lives:
        because = live.explain().because
        assert because in ("", *FALLING_BACK) or live.explain().kind == "rerun", f"seed {seed}: {text}\n{because}"
    kinds = Counter(live.explain().kind for _, live in lives)
    for _, live in lives:
        live.close()
    scratch.close()
    return kinds


FALLING_BACK = ("the outer side of a join changed", "the extremes of many groups have to be looked for")
"""Why a statement that is maintained may be run as a whole here."""
