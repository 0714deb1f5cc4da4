"""``ctx.db.sql`` in the testing kit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nbreactive import api
from nbreactive.errors import FunctionFailed, NotAllowed, SqlError
from nbreactive.testing import Backend

MODULE = """
from nbreactive import define_schema, define_table, mutation, query, rules, v

schema = define_schema({
    "notes": define_table({"text": v.string(), "n": v.number()}),
    "open": define_table({"x": v.number()}),
})
rules("open", read=True, insert=True)
rules("notes", read=lambda ctx, doc: True, insert=True)

@mutation
def add(ctx, text: str, n: float):
    ctx.db.insert("notes", {"text": text, "n": n})
@query
def shown(ctx, table: str): return ctx.db.sql(f"SELECT count(*) AS many FROM {table}")
"""


@pytest.fixture
def t(tmp_path: Path) -> Iterator[Backend]:
    (tmp_path / "notes.py").write_text(MODULE)
    with Backend(tmp_path) as backend:
        yield backend


def test_statements_see_what_the_function_sees(t: Backend) -> None:
    for n in range(5):
        t.mutation(api.notes.add, text="x" if n % 2 else "y", n=float(n))

    def body(ctx: Any) -> Any:
        total = "SELECT text, sum(n) AS n FROM notes WHERE n >= $least GROUP BY text ORDER BY text"
        before = ctx.db.sql(total, least=1).rows()
        ctx.db.insert("notes", {"text": "y", "n": 10.0})
        ctx.db.insert("free", {"a": [1]})
        return [before, ctx.db.sql(total, least=1), ctx.db.sql("SELECT a FROM free"), ctx.now()]

    before, after, free, _ = t.run(body)
    assert before == [{"text": "x", "n": 4.0}, {"text": "y", "n": 6.0}]
    assert after == [{"text": "x", "n": 4.0}, {"text": "y", "n": 16.0}]
    assert free == [{"a": [1]}]
    assert t.run(lambda ctx: ctx.db.sql("SELECT count(*) AS many FROM notes")) == [{"many": 6}]


def test_what_is_wrong_is_raised(t: Backend) -> None:
    with pytest.raises((SqlError, FunctionFailed), match="no table 'nothing'"):
        t.run(lambda ctx: ctx.db.sql("SELECT * FROM nothing").rows())
    with pytest.raises((NotAllowed, FunctionFailed), match="only SELECT"):
        t.run(lambda ctx: ctx.db.sql("DELETE FROM notes").rows())


def test_tables_with_row_rules_are_not_in_sql(t: Backend) -> None:
    assert t.query(api.notes.shown, table="open") == [{"many": 0}]
    with pytest.raises((NotAllowed, FunctionFailed), match=r"row rules.*'notes'"):
        t.query(api.notes.shown, table="notes")


def test_the_example_of_the_guide(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "sql.md").read_text("utf-8")
    ((name, text),) = re.findall(r"```python (\w+)\n(from nbreactive.*?)```", page, re.DOTALL)
    (tmp_path / f"{name}.py").write_text(text, "utf-8")
    with Backend(tmp_path) as t:
        for city, price in (("Bern", 400.0), ("Bern", 500.0), ("Oslo", 1.0)):
            t.mutation(api.shop.order, city=city, price=price)
        with pytest.raises(FunctionFailed, match="Bern has ordered enough"):
            t.mutation(api.shop.order, city="Bern", price=101.0)
        assert t.query(api.shop.revenue, least=2.0) == [{"city": "Bern", "orders": 2, "total": 900.0}]
