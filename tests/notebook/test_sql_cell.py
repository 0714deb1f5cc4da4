"""``%%reactive sql`` and ``nbreactive.sql`` in a real kernel, against a real backend."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.notebook.kernel import Kernel, Ran
from tests.notebook.test_kernel import LIVE, WIDGET
from tests.notebook.test_real_kernel import environment
from tests.served import KEY, Served

MODULE = """
from nbreactive import define_schema, define_table, mutation, v

schema = define_schema({
    "orders": define_table({"item": v.string(), "amount": v.number(), "count": v.integer(), "placed": v.datetime()}),
})

@mutation
def place(ctx, item: str, amount: float):
    ctx.db.insert("orders", {"item": item, "amount": amount, "count": 1, "placed": 1793534400000})

@mutation
def place_many(ctx, first: int, many: int):
    for n in range(first, first + many):
        ctx.db.insert("orders", {"item": f"i{n % 7}", "amount": n / 2, "count": n, "placed": 1793534400000 + n})
"""


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("backend"), {"m": MODULE}) as running:
        for item, amount in (("pear", 2.5), ("plum", 4.0), ("pear", 1.5)):
            running.call("mutation", "m:place", item=item, amount=amount)
        yield running


@pytest.fixture(scope="module")
def kernel(backend: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    folder = tmp_path_factory.mktemp("kernel")
    kernel = Kernel(environment(folder, NBREACTIVE_URL=backend.url, NBREACTIVE_ADMIN_KEY=KEY), str(folder))
    kernel.run("%load_ext nbreactive\nfrom nbreactive import api\nimport nbreactive, ipywidgets, datetime as dt")
    yield kernel
    kernel.close()


def shown(kernel: Kernel, ran: Ran) -> dict[str, Any]:
    """The state of the one table that a cell has shown."""
    assert ran.error is None, ran.error_text
    [display] = ran.displays
    return kernel.widgets[display[WIDGET]["model_id"]]


def test_a_cell_of_sql_is_live_and_its_widgets_move_it(backend: Served, kernel: Kernel) -> None:
    kernel.run("least = ipywidgets.FloatSlider(value=2, max=9)")
    cell = "%%reactive sql costly <<\nSELECT item, sum(amount) AS total, max(placed) AS last\nFROM orders WHERE amount >= $least\nGROUP BY item ORDER BY item"
    ran = kernel.run(cell, "a")
    state = shown(kernel, ran)
    assert [column["type"] for column in state["frame"]["columns"]] == ["VARCHAR", "DOUBLE", "TIMESTAMP WITH TIME ZONE"]
    assert [row[:2] for row in state["frame"]["rows"]] == [["pear", 2.5], ["plum", 4]]
    assert (state["status"], state["title"], state["source"]) == ("live", "costly", {})
    # somebody else writes
    backend.call("mutation", "m:place", item="apple", amount=3.0)
    kernel.until(lambda: [row[0] for row in state["frame"]["rows"]] == ["apple", "pear", "plum"])
    # a widget moves
    kernel.run("least.value = 3.5")
    kernel.until(lambda: [row[0] for row in state["frame"]["rows"]] == ["plum"])
    assert kernel.run("print(costly.value[0]['total'], len(costly), costly.types['total'])").text == "4.0 1 DOUBLE\n"
    kernel.run("least.value = 0")
    kernel.until(lambda: len(state["frame"]["rows"]) == 3)


def test_what_is_saved_names_the_statement_and_few_rows(kernel: Kernel) -> None:
    ran = kernel.run("nbreactive.sql('SELECT n FROM range(500) t(n) WHERE n >= $least', least=3)", "a")
    [display] = ran.displays
    payload = display[LIVE]
    assert payload["path"] == "_system/sql:live"
    assert payload["args"]["params"] == {"least": 3}
    assert payload["badge"] == "least = 3"
    assert len(payload["args"]["hash"]) == 32
    assert payload["place"]["url"].startswith("http://127.0.0.1")
    assert (len(payload["frame"]["rows"]), payload["frame"]["total"]) == (20, 497)
    assert "SELECT n FROM range(500)" in display["text/html"]
    assert "20 of 497 rows" in display["text/plain"]


def test_frames_are_whole_and_typed(backend: Served, kernel: Kernel) -> None:
    for first in range(0, 12_000, 2_000):
        backend.call("mutation", "m:place_many", first=first, many=2_000)
    ran = kernel.run(
        "all = nbreactive.sql('SELECT count AS n, amount, placed FROM orders WHERE item LIKE $like ORDER BY n', like='i%')\nall",
        "a",
    )
    state = shown(kernel, ran)
    assert state["frame"]["total"] == 12_000
    assert len(state["frame"]["rows"]) == 200
    assert state["source"]["args"]["params"] == {"like": "i%"}
    said = kernel.run(
        "import polars, pyarrow\n"
        "print(len(all), all.complete, len(all.value), all.columns)\n"
        "print(all.df().dtypes.astype(str).to_dict(), len(all.df()))\n"
        "print(all.pl().height, all.pl()['amount'].sum(), pyarrow.table(all).num_rows, polars.DataFrame(all).height)\n"
        "print(all.arrow().schema.field('placed').type)"
    ).text.splitlines()
    assert said[0] == "12000 False 10000 ['n', 'amount', 'placed']"
    assert "'n': 'int64', 'amount': 'float64', 'placed': 'datetime64[us, " in said[1]
    assert said[1].endswith("} 12000")
    assert said[2] == f"12000 {sum(range(12_000)) / 2} 12000 12000"
    assert said[3].startswith("timestamp[us, tz=")

    # a page that cannot ask by itself gets other rows by way of the kernel, and sees them change
    kernel.comm(ran.displays[0][WIDGET]["model_id"], {"type": "window", "offset": 11_998, "limit": 10})
    kernel.until(lambda: [row[0] for row in state.get("window", {}).get("rows", [])] == [11_998, 11_999])
    backend.call("mutation", "m:place_many", first=12_000, many=1)
    kernel.until(lambda: [row[0] for row in state["window"]["rows"]] == [11_998, 11_999, 12_000])
    assert state["window"]["total"] == 12_001


def test_a_snapshot_stays(backend: Served, kernel: Kernel) -> None:
    ran = kernel.run("%%reactive sql before << --once\nSELECT count(*) AS n FROM orders WHERE item = 'kiwi'", "a")
    state = shown(kernel, ran)
    kernel.until(lambda: state["status"] == "snapshot")
    backend.call("mutation", "m:place", item="kiwi", amount=1.0)
    assert (
        kernel.run("nbreactive.sql(\"SELECT count(*) AS n FROM orders WHERE item = 'kiwi'\").value[0]['n']").plain
        == "1"
    )
    assert kernel.run("before.value[0]['n'], before.closed").plain == "(0, True)"
    assert "place" not in ran.displays[0][LIVE]


def test_a_result_as_of_an_earlier_time(backend: Served, kernel: Kernel) -> None:
    counted = "nbreactive.sql('SELECT count(*) AS n, max(_creationTime) AS last FROM orders')"
    then = kernel.run(f"then = {counted}\nlast = then.value[0]['last']\nthen.value[0]['n']").plain
    backend.call("mutation", "m:place", item="late", amount=1.0)
    ran = kernel.run("later = then\nlater.travel(last + 1)\nlater", "a")
    state = shown(kernel, ran)
    kernel.until(lambda: str(state["frame"]["rows"][0][0]) == then and " as of " in state["title"])
    kernel.run("later.travel()")
    kernel.until(lambda: state["frame"]["rows"][0][0] == int(then) + 1)


def test_moments_of_python_are_moments_of_sql(kernel: Kernel) -> None:
    kernel.run("since = dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC)\nday = dt.date(2026, 11, 1)")
    ran = kernel.run(
        "%%reactive sql\nSELECT count(*) > 0 AS some FROM orders WHERE placed >= $since AND placed::DATE >= $day", "a"
    )
    assert shown(kernel, ran)["frame"]["rows"] == [[True]]


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("sql\n\nSELECT\n  no_such FROM orders", ["no_such", "(line 4 of the cell)"]),
        ("sql\nSELEC 1", ["SELEC", "(line 2 of the cell)"]),
        ("sql\nSELECT *\nFROM orders WHERE amount > $leest", ["$leest (line 3 of the cell)", "Did you mean $least?"]),
        ("sql\nSELECT $opem", ["opem = ..."]),
        ("sql\nFROM frame", ["no table 'frame'", "nbreactive.load('some_name', frame)"]),
        ("sql\nFROM 'trips.parquet'", ["nbreactive.load('some_name', 'trips.parquet')"]),
        ("sql\nFROM least", ["no table 'least' in SQL: there are orders"]),
        ("sql\nSELECT $zzz", ["'zzz'", "zzz = ..."]),
        ("sql\nDELETE FROM orders", ["SELECT"]),
        ("sql 5x <<\nSELECT 1", ["'5x' cannot be the name of a variable"]),
        ("sql --live\nSELECT 1", ["Usage: %%reactive sql [NAME <<] [--once]"]),
        ("sql\n  \n", ["no statement"]),
    ],
)
def test_errors_say_where_in_the_cell(kernel: Kernel, cell: str, said: list[str]) -> None:
    kernel.run("import pandas\nleast = 1\nframe = pandas.DataFrame({'a': [1]})")
    ran = kernel.run(f"%%reactive {cell}", "e")
    assert ran.error is not None
    for text in said:
        assert text in ran.error_text
    assert "nbreactive/" not in ran.error_text


def test_a_line_is_no_cell_and_an_explanation_is_text(kernel: Kernel) -> None:
    assert "SQL takes a cell of its own" in kernel.run("%reactive sql SELECT 1").error_text
    said = kernel.run("nbreactive.sql('SELECT item, count(*) AS n FROM orders GROUP BY item').explain()")
    assert said.error is None, said.error_text
    assert said.plain.startswith("kind: groups\nwhy: Aggregates are kept for each group")
    assert "\nwatches: orders: every row\n" in said.plain


def test_who_only_reads_sees_what_is_registered(backend: Served, kernel: Kernel) -> None:
    text = "SELECT count(*) AS n FROM orders WHERE item = 'plum'"
    kernel.run(f'nbreactive.sql("{text}")')
    refused = kernel.run(f'%reactive connect {backend.url}\nnbreactive.sql("{text} AND true")')
    assert refused.error is not None
    assert "admin_key" in refused.error_text
    kernel.run("%reactive connect")  # with the key again


def test_explain_live_says_how_a_result_would_be_kept(kernel: Kernel) -> None:
    kernel.run("floor = 2")
    ran = kernel.run(
        "%%reactive sql\nEXPLAIN LIVE\nSELECT item, count(*) AS n FROM orders WHERE amount > $floor GROUP BY item"
    )
    assert ran.error is None, ran.error_text
    assert "kind: groups" in ran.plain + ran.text
    ran = kernel.run("%%reactive sql how <<\nexplain live SELECT nothing FROM orders")
    assert "nothing" in ran.error_text
    assert ".df().head" in kernel.run("nbreactive.sql('SELECT 1 AS n').head()").error_text
    assert "parameters are named" in kernel.run('nbreactive.sql("SELECT 1 < ?", 2)').error_text
    ran = kernel.run('nbreactive.sql("EXPLAIN LIVE SELECT 1")')
    assert ".explain()" in ran.error_text
