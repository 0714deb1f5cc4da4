"""Bulk loads through a real backend: what types become, what is wrong, and that no row is there twice."""

from __future__ import annotations

import datetime as dt
import decimal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nbreactive.client.bulk import Loaded, load
from nbreactive.client.client import Client
from nbreactive.client.target import Target
from nbreactive.errors import InvalidValue, NBReactiveError, Refused, SchemaError
from tests.served import KEY, Served

SHOP = """
from nbreactive import define_schema, define_table, mutation, query, v

schema = define_schema({
    "orders": define_table({
        "product": v.string(), "customer": v.integer(), "amount": v.number(), "note": v.optional(v.string()),
    }).index("by_product", ["product"]).index("by_customer", ["customer", "amount"]),
    "typed": define_table({
        "i": v.optional(v.integer()), "big": v.optional(v.int64()), "f": v.nullable(v.number()), "b": v.optional(v.boolean()),
        "s": v.optional(v.string()), "raw": v.optional(v.bytes()), "at": v.optional(v.datetime()),
        "day": v.optional(v.string()), "price": v.optional(v.number()), "kind": v.optional(v.union(v.literal("a"), v.literal("b"))),
        "tags": v.optional(v.array(v.string())),
        "inner": v.optional(v.object({"x": v.number(), "y": v.optional(v.string())})),
    }),
    "words": define_table({"text": v.string()}).search_index("by_text", search_field="text"),
})

@query
def count(ctx):
    return ctx.db.query("orders").count()

@query
def of_product(ctx, product: str):
    return ctx.db.query("orders").with_index("by_product", lambda q: q.eq("product", product)).count()

@query
def of_customer(ctx, customer: int):
    return [row["amount"] for row in ctx.db.query("orders").with_index("by_customer", lambda q: q.eq("customer", customer)).collect()]

@query
def everything(ctx, table: str):
    return ctx.db.query(table).collect()

@query
def found(ctx, text: str):
    return len(ctx.db.query("words").with_search_index("by_text", lambda q: q.search("text", text)).take(100))

@query
def one(ctx, id: str):
    return ctx.db.get(id)

@mutation
def clear(ctx, table: str):
    for row in ctx.db.query(table).take(2000):
        ctx.db.delete(row["_id"])
"""


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("loads"), {"shop": SHOP}) as served:
        yield served


@pytest.fixture
def client(backend: Served) -> Iterator[Client]:
    with Client(Target(backend.url, headers={"Authorization": f"Convex {KEY}"})) as connected:
        yield connected


def orders(count: int, start: int = 0) -> pa.Table:
    numbers = range(start, start + count)
    return pa.table(
        {
            "product": [f"product {n % 7}" for n in numbers],
            "customer": [n % 100 for n in numbers],
            "amount": [n / 4 for n in numbers],
            "note": [None if n % 3 else f"note {n}" for n in numbers],
        }
    )


def test_a_load_fills_the_table_and_its_indexes(client: Client) -> None:
    loaded = load(client, "orders", orders(12_000))
    assert isinstance(loaded, Loaded)
    assert (loaded, loaded.count, loaded.table, loaded.repeated) == (12_000, 12_000, "orders", 0)
    assert client.call("shop:count") == 12_000
    assert client.call("shop:of_product", {"product": "product 3"}) == len(range(3, 12_000, 7))
    assert client.call("shop:of_customer", {"customer": 42}) == [n / 4 for n in range(42, 12_000, 100)]
    ids = loaded.ids.to_pylist()
    assert len(set(ids)) == 12_000
    for row in (0, 5_000, 11_999):
        found = client.call("shop:one", {"id": ids[row]})
        assert (found["amount"], found.get("note")) == (row / 4, None if row % 3 else f"note {row}")
        assert ("note" in found) == (row % 3 == 0)
    client.call("shop:clear", {"table": "orders"})
    assert client.call("shop:count") == 10_000


def test_the_same_load_again_adds_nothing(client: Client) -> None:
    before = client.call("shop:count")
    first = load(client, "orders", orders(100, 50_000))
    again = load(client, "orders", orders(100, 50_000))
    assert (again, again.repeated) == (100, 100)
    assert again.ids.to_pylist() == first.ids.to_pylist()
    assert client.call("shop:count") == before + 100
    assert load(client, "orders", orders(100, 50_000), id="once more").repeated == 0
    assert client.call("shop:count") == before + 200


def test_a_load_whose_documents_were_deleted_can_be_loaded_again(client: Client) -> None:
    for _ in range(3):
        loaded = load(client, "again", pa.table({"n": [1, 2, 3]}))
        assert (loaded, loaded.repeated) == (3, 0)
        assert load(client, "again", pa.table({"n": [1, 2, 3]})).repeated == 3
        assert [row["_id"] for row in client.call("shop:everything", {"table": "again"})] == loaded.ids.to_pylist()
        client.call("shop:clear", {"table": "again"})


@pytest.mark.parametrize("kind", ["pandas", "polars", "reader", "duckdb", "parquet", "csv", "arrow", "glob", "dicts"])
def test_sources_of_all_kinds(client: Client, tmp_path: Path, kind: str) -> None:
    table = pa.table({"n": [1, 2, 3], "name": ["a", None, "c"]})
    data: Any = table
    if kind == "pandas":
        data = table.to_pandas()
    elif kind == "polars":
        data = pl.from_arrow(table)
    elif kind == "reader":
        data = table.to_reader()
    elif kind == "duckdb":
        data = duckdb.connect().from_arrow(table)
    elif kind == "parquet":
        pq.write_table(table, data := tmp_path / "a.parquet")
    elif kind == "csv":
        (data := tmp_path / "a.csv").write_text("n,name\n1,a\n2,\n3,c\n")
    elif kind == "arrow":
        with pa.OSFile(str(data := tmp_path / "a.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    elif kind == "glob":
        for number in range(3):
            pq.write_table(table.slice(number, 1), tmp_path / f"{number}.parquet")
        data = str(tmp_path / "*.parquet")
    elif kind == "dicts":
        data = table.to_pylist()
    name = f"from_{kind}"
    assert load(client, name, data) == 3
    rows = client.call("shop:everything", {"table": name})
    assert [(row["n"], row["name"]) for row in rows] == [(1, "a"), (2, None), (3, "c")]


def test_types_become_what_the_schema_says(client: Client) -> None:
    moment = dt.datetime(2026, 11, 1, 12, 30, 0, 500, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    long = "ä" * 200_000
    table = pa.table(
        {
            "i": pa.array([1, None], pa.int16()),
            "big": pa.array([2**62, None], pa.int64()),
            "f": pa.array([float("nan"), None]),
            "b": pa.array([True, None]),
            "s": pa.array([long, None], pa.large_string()),
            "raw": pa.array([b"\x00\xff", None]),
            "at": pa.array([moment, None], pa.timestamp("ns", "Europe/Berlin")),
            "day": pa.array([dt.date(2026, 1, 2), None]),
            "price": pa.array([decimal.Decimal("1.25"), None]),
            "kind": pa.array(["a", None]).dictionary_encode(),
            "tags": pa.array([["x", "y"], None]),
            "inner": pa.array([{"x": 1, "y": None}, None]),
        }
    )
    load(client, "typed", table)
    full, empty = client.call("shop:everything", {"table": "typed"})
    for row in (full, empty):
        del row["_id"], row["_creationTime"]
    assert full.pop("f") != full.get("f", 0.0)  # NaN
    assert full == {
        "i": 1, "big": 2**62, "b": True, "s": long, "raw": b"\x00\xff", "at": moment.timestamp() * 1000,
        "day": "2026-01-02", "price": 1.25, "kind": "a", "tags": ["x", "y"], "inner": {"x": 1.0},
    }  # fmt: skip
    assert empty == {"f": None}


def test_categoricals_and_missing_values_of_pandas(client: Client) -> None:
    frame = pd.DataFrame(
        {"kind": pd.Categorical(["a", None, "b"]), "f": [1.5, float("nan"), 2.0], "i": pd.array([1, None, 3], "Int64")}
    )
    load(client, "typed", frame, id="categoricals")
    rows = client.call("shop:everything", {"table": "typed"})[-3:]
    assert [(row.get("kind"), row["f"], row.get("i")) for row in rows] == [
        ("a", 1.5, 1),
        (None, None, None),
        ("b", 2.0, 3),
    ]


@pytest.mark.parametrize(
    ("table", "columns", "said"),
    [
        ("orders", {"product": ["a", None, "b", None], "customer": [1] * 4, "amount": [1.0] * 4}, r"'product' is null in rows 1, 3,"),
        ("orders", {"product": ["a"], "customer": [1.5], "amount": [1.0]}, r"row 0, column 'customer': expected a whole number"),
        ("orders", {"product": ["a"], "customer": [2**60], "amount": [1.0]}, r"row 0, column 'customer'"),
        ("orders", {"product": [1], "customer": [1], "amount": [1.0]}, r"row 0, column 'product': expected a string"),
        ("orders", {"product": ["a"], "customer": [1]}, "there is no column 'amount'"),
        ("orders", {"product": ["a"], "customer": [1], "amuont": [1.0]}, "no field for the column 'amuont'; did you mean 'amount'"),
        ("typed", {"f": [1.0] * 3, "kind": ["a", "x", "y"]}, r"row 1, column 'kind'.*row 2, column 'kind'"),
        ("typed", {"f": [1.0], "inner": [{"x": "no"}]}, r"row 0, column 'inner'.*x"),
        ("typed", {"f": [1.0], "at": [dt.datetime(2026, 1, 1)]}, "without a time zone"),  # noqa: DTZ001 - that is what it is about
        ("typed", {"f": [1.0], "s": ["x" * 1_100_000]}, r"row 0: .*bytes in a document"),
        ("free", {"n": [2**60]}, r"row 0, column 'n'"),
    ],
)  # fmt: skip
def test_wrong_rows_are_named_and_nothing_of_them_is_loaded(
    client: Client, table: str, columns: dict[str, list[Any]], said: str
) -> None:
    before = len(client.call("shop:everything", {"table": table})) if table != "orders" else client.call("shop:count")
    with pytest.raises(InvalidValue, match=said):
        load(client, table, pa.table(columns))
    after = len(client.call("shop:everything", {"table": table})) if table != "orders" else client.call("shop:count")
    assert after == before


def test_a_wrong_row_in_the_middle_can_be_put_right(client: Client) -> None:
    rows = [{"product": "p", "customer": n, "amount": 1.0} for n in range(12_000)]
    wrong = [*rows[:11_000], {"product": "p", "customer": "x", "amount": 1.0}, *rows[11_001:]]
    before = client.call("shop:count")
    with pytest.raises(SchemaError, match=r"row 11000\.customer") as failed:
        load(client, "orders", wrong, id="in the middle")
    assert "Nothing is loaded twice" in "".join(failed.value.__notes__)
    there = client.call("shop:count") - before
    assert 0 < there <= 11_000
    loaded = load(client, "orders", rows, id="in the middle")
    assert (loaded, loaded.repeated) == (12_000, there)
    assert client.call("shop:count") == before + 12_000


def test_indexes_that_cannot_be_prepared_are_kept_all_the_same(client: Client) -> None:
    load(client, "words", pa.table({"text": [f"hello number {n}" for n in range(450)]}))
    assert client.call("shop:found", {"text": "number"}) == 100


def test_live_queries_see_whole_batches(client: Client) -> None:
    live = client.live("shop:of_product", {"product": "seen"})
    seen: list[int] = []
    live.watch(lambda: seen.append(live.value))
    loaded = load(
        client, "orders", pa.table({"product": ["seen"] * 20_000, "customer": range(20_000), "amount": [0.5] * 20_000})
    )
    until(lambda: live.value == 20_000)
    sizes = [rows for rows, _ in loaded._parts]  # pyright: ignore[reportPrivateUsage]
    ends = {sum(sizes[: number + 1]) for number in range(len(sizes))}
    assert set(seen) <= ends | {0}
    assert len(seen) <= len(sizes) + 1


def test_only_those_who_may_deploy_load(backend: Served) -> None:
    with Client(Target(backend.url)) as nobody, pytest.raises(Refused):
        load(nobody, "orders", orders(1))


def test_a_table_of_the_system_is_no_place_to_load_into(client: Client) -> None:
    with pytest.raises(NBReactiveError):
        load(client, "_tables", pa.table({"a": [1]}))


def test_kills_during_a_load_neither_lose_nor_repeat_a_row(tmp_path: Path) -> None:
    with Served(tmp_path, {"shop": SHOP}) as backend:  # noqa: SIM117 - the client goes first
        with Client(Target(backend.url, headers={"Authorization": f"Convex {KEY}"})) as client:
            done: list[Loaded] = []
            said: list[str] = []
            thread = threading.Thread(
                target=lambda: done.append(load(client, "orders", orders(60_000), progress=said.append, chunk=5000))
            )
            thread.start()
            for _ in range(3):
                known = len(said)
                until(lambda: len(said) > known + 1 or bool(done))  # noqa: B023 - called at once
                backend.kill()
                backend.start()
            thread.join()
            assert done[0] == 60_000
            until(lambda: client.call("shop:count") == 60_000)
            amounts = sorted(a for n in range(100) for a in client.call("shop:of_customer", {"customer": n}))
            assert amounts == [n / 4 for n in range(60_000)]
            ids = done[0].ids.to_pylist()
            assert len(set(ids)) == 60_000
            assert client.call("shop:one", {"id": ids[59_999]})["amount"] == 59_999 / 4
            assert load(client, "orders", orders(60_000)).repeated == 60_000
            report = client.admin("GET", "doctor")
            assert report["problems"] == []


def test_a_table_that_cannot_be_is_told_before_anything_is_sent(client: Client) -> None:
    with pytest.raises(InvalidValue, match="'my orders' cannot be the name of a table"):
        load(client, "my orders", [{"a": 1}])
