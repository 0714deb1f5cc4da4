"""Statements one by one: which way they go, and that their results are DuckDB's."""

from __future__ import annotations

import math
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from tests.columns.live._support import Live, Scratch, TableChange, Tables, assert_same, plain

COLUMNS = "_id VARCHAR, _creationTime DOUBLE, i BIGINT, x DOUBLE, s VARCHAR, d TIMESTAMP WITH TIME ZONE"


@pytest.fixture
def tables() -> Tables:
    return Tables(
        f"CREATE TABLE t ({COLUMNS})",
        "CREATE TABLE u (_id VARCHAR, _creationTime DOUBLE, k BIGINT, name VARCHAR)",
        """INSERT INTO t SELECT 'r' || r, r, r % 5, r * 0.25, 's' || (r % 7), make_timestamptz(2026, 1, 1 + r % 3, 0, 0, 0)
           FROM range(400) a(r)""",
        "INSERT INTO u SELECT 'u' || r, r, r, 'n' || r FROM range(5) a(r)",
    )


@pytest.fixture
def scratch():
    scratch = Scratch()
    yield scratch
    scratch.close()


def row(id: str, **values: Any) -> pa.Table:
    given = {"_id": id, "_creationTime": 1000.0, "i": 1, "x": 1.0, "s": "new", "d": None, **values}
    types = [pa.string(), pa.float64(), pa.int64(), pa.float64(), pa.string(), pa.timestamp("us", "UTC")]
    return pa.table({name: pa.array([value], type_) for (name, value), type_ in zip(given.items(), types, strict=True)})


def never() -> Any:
    raise AssertionError("the tables were asked")


def follow(tables: Tables, scratch: Scratch, text: str, changes: Any, at: Any = None, **params: Any) -> Live:
    """Make a statement live, apply changes, and compare after each."""
    live = Live(text, params, scratch)
    live.load(tables.cursor())
    assert_same(live.window(), tables.fresh(live, params), text)
    for change in changes:
        live.update(change(), at or tables.cursor)
        assert_same(live.window(), tables.fresh(live, params), text)
    return live


MAINTAINED = [
    ("SELECT * FROM t WHERE x > 3", "rows"),
    ("SELECT * EXCLUDE (d), i + 1 AS next FROM main.t AS tt WHERE tt.s LIKE 's%' AND next > 2", "rows"),
    ("SELECT i, upper(s) FROM t ORDER BY x DESC LIMIT 5 OFFSET 2", "top"),
    ("SELECT * FROM t LIMIT 3", "top"),
    ("SELECT s FROM t ORDER BY ALL DESC LIMIT $n", "top"),
    ("SELECT i AS s FROM t ORDER BY s NULLS FIRST, 1", "rows"),
    (
        "SELECT s, count(*), sum(x), avg(i), min(x), max(d) FROM t GROUP BY s HAVING count(*) > 2 ORDER BY 3 DESC LIMIT 4",
        "groups",
    ),
    ("SELECT sum(i) FILTER (WHERE x > $low), count(d), count_star() FROM t", "groups"),
    ("SELECT i % 2 AS odd, round(sum(x) / count(*), 2) FROM t GROUP BY ALL ORDER BY odd DESC", "groups"),
    ("SELECT d::DATE AS day, count(*) AS n FROM t GROUP BY day ORDER BY n DESC", "groups"),
    ("SELECT DISTINCT i, s FROM t WHERE s <> 's1'", "groups"),
    ("SELECT sum(x) FROM t HAVING sum(x) > 0", "groups"),
    ("SELECT 5 AS five, i FROM t ORDER BY five, 1, i DESC", "rows"),
    ("SELECT upper(_id) AS _id, s AS x FROM t ORDER BY x DESC", "rows"),
]


@pytest.mark.parametrize(("text", "kind"), MAINTAINED)
def test_a_change_costs_no_look_at_the_tables(tables: Tables, scratch: Scratch, text: str, kind: str) -> None:
    params = {name: value for name, value in {"n": 4, "low": 20}.items() if f"${name}" in text}
    live = follow(
        tables,
        scratch,
        text,
        [
            lambda: tables.put("t", ["a"], row("a", x=5.0)),
            lambda: tables.put("t", ["a"], row("a", x=None, s=None, i=None)),
            lambda: tables.put("t", ["r7"], row("r7", x=math.nan, s="é")),
            lambda: tables.put("t", ["a"], None),
        ],
        never,
        **params,
    )
    explained = live.explain()
    assert (explained.kind, explained.reruns) == (kind, 1), str(explained)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("SELECT i, row_number() OVER (ORDER BY x) FROM t", "window functions"),
        ("SELECT s FROM t UNION SELECT name FROM u", "UNION"),
        ("WITH a AS (SELECT i FROM t) SELECT * FROM a", "WITH"),
        ("SELECT s FROM t WHERE i IN (SELECT k FROM u)", "subqueries"),
        ("SELECT count(DISTINCT s) FROM t", "count(DISTINCT ..)"),
        ("SELECT median(x) FROM t", "median()"),
        ("SELECT s, sum(x) FROM t GROUP BY ROLLUP (s)", "ROLLUP"),
        ("SELECT a.i FROM t a JOIN t b USING (_id)", "joined with itself"),
        ("SELECT s FROM t ORDER BY s COLLATE NOCASE", "COLLATE"),
        ("SELECT DISTINCT ON (i) i, s FROM t ORDER BY i, x", "DISTINCT ON"),
        ("SELECT #3 FROM t", "#1"),
        ("SELECT 5 AS five, count(*) FROM t GROUP BY ALL", "constant"),
        ("SELECT unnest([i, 1]) FROM t", "unnest()"),
        ("SELECT * FROM range(3)", "only tables"),
    ],
)
def test_what_is_run_again_says_why(tables: Tables, scratch: Scratch, text: str, why: str) -> None:
    live = follow(tables, scratch, text, [lambda: tables.put("t", ["a"], row("a", s="zz", x=-1.0))])
    assert live.explain().kind == "rerun"
    assert why in live.explain().why
    assert why in str(live.explain())


@pytest.mark.parametrize("text", ["SELECT count(*) FROM t WHERE d < now()", "SELECT s, current_date FROM t"])
def test_what_looks_at_the_clock_has_a_period(tables: Tables, scratch: Scratch, text: str) -> None:
    live = Live(text, {}, scratch)
    live.load(tables.cursor())
    assert (live.explain().kind, live.explain().period_ms) == ("rerun", 10_000)
    assert "clock" in live.explain().why


@pytest.mark.parametrize(
    "text",
    [
        "SELECT t.i, u.name FROM t JOIN u ON t.i = u.k WHERE x < 10",
        "SELECT name, sum(x), count(*) FROM t, u WHERE i = k GROUP BY name ORDER BY 2 DESC",
        "SELECT t.*, name FROM t LEFT JOIN u ON i = k ORDER BY name DESC, x LIMIT 7",
    ],
)
def test_joins_join_the_changed_rows_only(tables: Tables, scratch: Scratch, text: str) -> None:
    changes = [
        lambda: tables.put("t", ["r3"], row("r3", i=4)),
        lambda: tables.put("t", ["r4"], None),
        lambda: tables.put("t", ["a"], row("a", i=99)),
    ]
    assert follow(tables, scratch, text, changes).explain().reruns == 1
    name = lambda: tables.commit("u", ["u2"], "UPDATE u SET name = 'other' WHERE _id = 'u2'")  # noqa: E731
    assert follow(tables, scratch, text, [name]).explain().reruns == (2 if "LEFT" in text else 1)


def test_what_came_and_went_leaves_no_trace(tables: Tables, scratch: Scratch) -> None:
    tables.connection.execute("DELETE FROM t WHERE _id <> 'r1'")
    tables.connection.execute("UPDATE t SET x = 0.1")
    live = Live("SELECT sum(x), avg(x), min(x), max(x) FROM t", {}, scratch)
    live.load(tables.cursor())
    for value in (1e17, math.inf, -math.inf, math.nan, 5e-324, 1.7e308):
        live.update(tables.put("t", ["a"], row("a", x=value)), never)
        live.update(tables.put("t", ["a"], None), never)
        assert plain(live.window()) == [(0.1, 0.1, 0.1, 0.1)]


def test_extremes_that_are_all_gone_are_looked_for(tables: Tables, scratch: Scratch) -> None:
    live = Live("SELECT s, max(x), min(i) FROM t GROUP BY s", {}, scratch)
    live.load(tables.cursor())
    for number in range(399, 340, -1):
        live.update(tables.put("t", [f"r{number}"], None), tables.cursor)
        assert_same(live.window(), tables.fresh(live), str(number))
    assert live.explain().reruns == 1


def test_rows_beyond_the_slack_are_looked_for(tables: Tables, scratch: Scratch) -> None:
    live = Live("SELECT _id FROM t ORDER BY x DESC LIMIT 10", {}, scratch)
    live.load(tables.cursor())
    for start in range(399, 0, -20):
        ids = [f"r{number}" for number in range(start, start - 20, -1)]
        live.update(tables.put("t", ids, None), tables.cursor)
        assert_same(live.window(), tables.fresh(live), str(start))
    assert 2 <= live.explain().reruns <= 6


def test_many_changes_at_once_run_it_again(tables: Tables, scratch: Scratch) -> None:
    live = Live("SELECT i, count(*) FROM t GROUP BY i", {}, scratch)
    live.load(tables.cursor())
    tables.connection.execute("INSERT INTO t SELECT 'b' || r, r, r % 50, r, '', NULL FROM range(6000) a(r)")
    new = tables.rows("t", [f"b{number}" for number in range(6000)])
    assert live.update({"t": TableChange(new.slice(0, 0), new)}, tables.cursor)
    assert_same(live.window(), tables.fresh(live), "bulk")
    assert live.explain().reruns == 2


def test_another_layout_runs_it_again(tables: Tables, scratch: Scratch) -> None:
    live = Live("SELECT * FROM t WHERE i < 2", {}, scratch)
    live.load(tables.cursor())
    tables.connection.execute("ALTER TABLE t ADD COLUMN more VARCHAR")
    live.update(tables.commit("t", ["r1"], "UPDATE t SET more = 'x' WHERE _id = 'r1'"), tables.cursor)
    assert_same(live.window(), tables.fresh(live), "a column more")
    assert live.schema[-1] == ("more", "VARCHAR")
    tables.connection.execute("ALTER TABLE t ALTER i TYPE DOUBLE")
    live.update(tables.commit("t", ["r1"], "UPDATE t SET i = 1.5 WHERE _id = 'r1'"), tables.cursor)
    assert_same(live.window(), tables.fresh(live), "another type")


def test_an_error_of_the_statement_is_duckdbs_and_ends_with_its_cause(tables: Tables, scratch: Scratch) -> None:
    live = Live("SELECT sum(CAST(s AS INTEGER)) FROM t WHERE i = 77", {}, scratch)
    live.load(tables.cursor())
    with pytest.raises(Exception, match="Conversion"):
        live.update(tables.put("t", ["a"], row("a", i=77, s="no number")), tables.cursor)
    live.update(tables.put("t", ["a"], row("a", i=77, s="5")), tables.cursor)
    assert_same(live.window(), tables.fresh(live), "mended")


def test_errors_point_into_the_users_text_or_nowhere(tables: Tables, scratch: Scratch) -> None:
    live = Live("SELECT nothing FROM t", {}, scratch)
    with pytest.raises(duckdb.BinderException) as wrong:
        live.load(tables.cursor())
    with pytest.raises(duckdb.BinderException) as theirs:
        tables.connection.execute("SELECT nothing FROM t")
    assert str(wrong.value) == str(theirs.value)
    with pytest.raises(duckdb.ConversionException) as wrong:
        Live("SELECT s FROM t WHERE i = 'x'", {}, scratch).load(tables.cursor())
    assert "LINE" not in str(wrong.value)


def test_values_that_python_does_not_have_are_left_to_duckdb(tables: Tables, scratch: Scratch) -> None:
    tables.connection.execute("UPDATE t SET d = make_timestamptz(9007199254740991000) WHERE _id = 'r1'")
    text = "SELECT d, count(*) FROM t GROUP BY d"
    live = Live(text, {}, scratch)
    live.load(tables.cursor())
    assert live.total == 4
    assert (live.explain().kind, "failed" in live.explain().why) == ("rerun", True)


def test_an_empty_result_fills_again(tables: Tables, scratch: Scratch) -> None:
    ids = [f"r{number}" for number in range(400)]
    live = follow(
        tables,
        scratch,
        "SELECT * FROM t",
        [lambda: tables.put("t", ids, None), lambda: tables.put("t", ["a"], row("a"))],
        never,
    )
    assert live.total == 1


def test_what_never_can_be_kept_up_is_only_run_for_a_while(tables: Tables, scratch: Scratch) -> None:
    live = Live("SELECT t.i, name FROM t LEFT JOIN u ON i = k WHERE x < 5", {}, scratch)
    live.load(tables.cursor())
    kinds: list[str] = []
    for number in range(40):
        change = tables.commit("u", ["u2"], f"UPDATE u SET name = 'n{number}' WHERE _id = 'u2'")
        live.update(change, tables.cursor)
        assert_same(live.window(), tables.fresh(live), str(number))
        kinds.append(live.explain().kind)
    assert kinds[:4] == ["rows", "rows", "rerun", "rerun"]
    assert "the outer side of a join changed" in str(live.explain())
    assert "rows" in kinds[20:]


def test_a_sum_beyond_its_type_is_duckdbs_error(tables: Tables, scratch: Scratch) -> None:
    tables.connection.execute("ALTER TABLE t ADD COLUMN h HUGEINT")
    tables.connection.execute("UPDATE t SET h = 9 * 10::HUGEINT ** 37 WHERE _id = 'r1'")
    live = Live("SELECT sum(h) FROM t", {}, scratch)
    live.load(tables.cursor())
    ids = ["r2", "r3"]
    change = "UPDATE t SET h = 9 * 10::HUGEINT ** 37 WHERE _id IN ('r2', 'r3')"
    with pytest.raises(Exception, match=r"(?i)overflow|out of range"):
        live.update(tables.commit("t", ids, change), tables.cursor)


def test_windows_of_a_large_result_are_slices(tables: Tables, scratch: Scratch) -> None:
    tables.connection.execute(
        "INSERT INTO t SELECT 'b' || r, 500 + r, r, r, 'text of some length ' || r, NULL FROM range(300000) a(r)"
    )
    live = Live("SELECT * FROM t", {}, scratch)
    live.load(tables.cursor())
    assert live.total == 300_400
    assert live.memory < 1 << 20, "it is in a file"
    live.update(tables.put("t", ["b200000"], None), never)
    live.update(tables.put("t", ["b7", "r0"], pa.concat_tables([row("b7", s="moved"), row("r0", s="moved")])), never)
    fresh = tables.fresh(live)
    for offset, limit in ((0, 10), (395, 10), (905, 4), (200_390, 20), (299_990, None), (400_000, 5)):
        assert_same(live.window(offset, limit), fresh.slice(offset, limit), f"{offset} {limit}")
