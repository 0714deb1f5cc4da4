"""Sources outside of the deployment in SQL: those that the operator has named, for reading, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nbreactive.cli.main import main
from nbreactive.client.bulk import load
from nbreactive.client.client import Client
from nbreactive.client.exports import export
from nbreactive.client.target import Target
from nbreactive.columns.attached import source_of
from nbreactive.errors import DataFolderError, InvalidValue, NBReactiveError
from tests.served import KEY, Served

SHOP = """
from nbreactive import define_schema, define_table, v

schema = define_schema({"orders": define_table({"city": v.string(), "amount": v.number()})})
"""


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outside")
    pq.write_table(pa.table({"city": ["Oslo", "Rome"], "people": [700, 2800]}), folder / "cities.parquet")
    for number in range(2):
        pq.write_table(pa.table({"n": [number]}), folder / f"part-{number}.parquet")
    with duckdb.connect(str(folder / "geo.duckdb")) as connection:
        connection.execute("CREATE TABLE rivers AS SELECT 'Tiber' AS name, 'Rome' AS city")
        connection.execute("CREATE TABLE orders AS SELECT 1 AS other")
    pq.write_table(pa.table({"secret": [1]}), folder / "other.parquet")
    return folder


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory, outside: Path) -> Iterator[Served]:
    options = [f"cities={outside}/cities.parquet", f"parts={outside}/part-*.parquet", f"geo={outside}/geo.duckdb"]
    words = [word for option in options for word in ("--attach", option)]
    with Served(tmp_path_factory.mktemp("attached"), {"shop": SHOP}, *words) as served:
        yield served


@pytest.fixture
def client(backend: Served) -> Iterator[Client]:
    with Client(Target(backend.url, headers={"Authorization": f"Convex {KEY}"})) as connected:
        yield connected


def sql(client: Client, text: str) -> list[list[Any]]:
    name = client.call("_system/sql:register", {"sql": text})
    live = client.live("_system/sql:live", {"hash": name, "params": {}})
    try:
        return live.value["rows"]
    finally:
        live.close()


def test_they_are_tables_of_sql(client: Client, outside: Path, tmp_path: Path) -> None:
    load(client, "orders", [{"city": "Rome", "amount": 2.0}, {"city": "Rome", "amount": 3.0}])
    text = "SELECT o.city, sum(amount), any_value(people), any_value(name) FROM orders o JOIN cities USING (city)"
    joined = f"{text} JOIN geo_rivers USING (city) GROUP BY o.city"
    assert sql(client, joined) == [["Rome", 5, 2800, "Tiber"]]
    load(client, "orders", [{"city": "Rome", "amount": 1.0}])
    assert sql(client, joined) == [["Rome", 6, 2800, "Tiber"]]
    assert sql(client, "SELECT sum(n), count(*) FROM parts") == [[1, 2]]
    assert sql(client, "SELECT other FROM geo_orders") == [[1]]
    assert export(client, "SELECT * FROM cities ORDER BY city", tmp_path / "cities.csv", {}) == 2
    assert client.admin("GET", "doctor")["problems"] == []


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM read_parquet('{outside}/other.parquet')",
        "SELECT * FROM '{outside}/other.parquet'",
        "SELECT * FROM nbreactive_attached.main.cities",
        "SELECT * FROM other",
        "DELETE FROM geo_rivers",
    ],
)
def test_nothing_else_is_reached(client: Client, outside: Path, text: str) -> None:
    with pytest.raises(NBReactiveError):
        sql(client, text.format(outside=outside))


def test_what_cannot_be_attached_is_said(tmp_path: Path, outside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong, error in (
        ("cities", InvalidValue),
        (f"1a={outside}/cities.parquet", InvalidValue),
        (f"_x={outside}/cities.parquet", InvalidValue),
        ("a=/etc/passwd", InvalidValue),
        (f"a={tmp_path}/nothing.parquet", DataFolderError),
    ):
        with pytest.raises(error):
            source_of(wrong)
    assert main(["serve", "--data", str(tmp_path / "d"), "--port", "0", "--attach", "a=b.txt"]) != 0
    assert "neither Parquet" in capsys.readouterr().err


def test_a_source_that_cannot_be_opened_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "broken.duckdb").write_bytes(b"this is no database" * 100)
    options = ["--attach", f"broken={tmp_path}/broken.duckdb", "--attach", "far=postgresql://127.0.0.1:1/x"]
    with (
        Served(tmp_path, {"shop": SHOP}, *options) as backend,
        Client(Target(backend.url, headers={"Authorization": f"Convex {KEY}"})) as client,
    ):
        assert sql(client, "SELECT count(*) FROM orders") == [[0]]
        assert "'broken' is left out" in backend.log
        assert "'far' is left out" in backend.log
