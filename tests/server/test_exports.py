"""Tables and results of SQL as files of rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest

from nbreactive.cli.main import main
from nbreactive.client.bulk import load
from nbreactive.client.client import Client
from nbreactive.client.exports import export
from nbreactive.client.live_frame import LiveFrame
from nbreactive.client.target import Target
from nbreactive.errors import ArgumentError, FunctionNotFound, NotAllowed, Refused, SqlError
from tests.served import KEY, Served

SHOP = """
from nbreactive import define_schema, define_table, v

fields = {"name": v.string(), "n": v.integer(), "tags": v.array(v.string())}
schema = define_schema({"orders": define_table(fields), "facts": define_table(fields, storage="columns")})
"""


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("exports"), {"shop": SHOP}) as served:
        with Client(Target(served.url, headers={"Authorization": f"Convex {KEY}"})) as client:
            rows = pa.table(
                {"name": [f"{n}" for n in range(70_000)], "n": range(70_000), "tags": [["a", "b"]] * 70_000}
            )
            load(client, "orders", rows)
            load(client, "facts", rows)
        yield served


@pytest.fixture
def client(backend: Served) -> Iterator[Client]:
    with Client(Target(backend.url, headers={"Authorization": f"Convex {KEY}"})) as connected:
        yield connected


@pytest.mark.parametrize("table", ["orders", "facts"])
@pytest.mark.parametrize("kind", ["parquet", "csv", "arrow", "duckdb"])
def test_a_table_becomes_a_file(client: Client, tmp_path: Path, table: str, kind: str) -> None:
    path = tmp_path / f"out.{kind}"
    assert export(client, table, path, {}) == 70_000
    if kind == "parquet":
        found = pq.read_table(path)
    elif kind == "csv":
        found = csv.read_csv(path)
    elif kind == "arrow":
        with pa.memory_map(str(path)) as source:
            found = pa.ipc.open_file(source).read_all()
    else:
        with duckdb.connect(str(path), read_only=True) as connection:
            found = connection.execute(f"SELECT * FROM {table}").to_arrow_table()
    assert found.column_names == ["_id", "_creationTime", "name", "n", "tags"]
    assert sorted(found["n"].to_pylist()) == list(range(70_000))
    assert found["tags"][0].as_py() == ('["a", "b"]' if kind == "csv" else ["a", "b"])
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_result_becomes_a_file_and_can_be_loaded_again(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "some.parquet"
    assert export(client, "SELECT name, n FROM orders WHERE n < $most ORDER BY n", path, {"most": 10}) == 10
    assert load(client, "copies", path) == 10
    assert export(client, "copies", tmp_path / "again.arrow", {}) == 10


def test_a_live_result_is_written_as_it_is(client: Client, tmp_path: Path) -> None:
    frame = LiveFrame.open(client, "SELECT name, n FROM orders WHERE n < $most ORDER BY n", {"most": 3})
    assert export(client, frame, tmp_path / "live.csv", {}) == 3
    assert (tmp_path / "live.csv").read_text() == '"name","n"\n"0",0\n"1",1\n"2",2\n'
    with pytest.raises(ArgumentError, match="its parameters already"):
        export(client, frame, tmp_path / "b.csv", {"most": 5})
    with pytest.raises(ArgumentError, match="not a list"):
        export(client, [{"a": 1}], tmp_path / "b.csv", {})  # pyright: ignore[reportArgumentType]
    assert not (tmp_path / "b.csv").exists()
    frame.close()


def test_what_cannot_be_exported_says_why(backend: Served, client: Client, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"\.parquet, \.csv"):
        export(client, "orders", tmp_path / "a.xlsx", {})
    with pytest.raises(FunctionNotFound, match="no table 'nothing'"):
        export(client, "nothing", tmp_path / "a.csv", {})
    with pytest.raises(FunctionNotFound, match="_tables"):
        export(client, "_tables", tmp_path / "a.csv", {})
    with pytest.raises(SqlError, match="nowhere"):
        export(client, "SELECT * FROM nowhere", tmp_path / "a.csv", {})
    with pytest.raises(NotAllowed):
        export(client, "DELETE FROM orders", tmp_path / "a.csv", {})
    with Client(Target(backend.url)) as nobody, pytest.raises(Refused):
        export(nobody, "orders", tmp_path / "a.csv", {})
    assert list(tmp_path.iterdir()) == []


def test_the_command(backend: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--at", backend.url, "--admin-key", KEY]
    path = tmp_path / "facts.parquet"
    assert main(["export", str(path), "--table", "facts", "--json", *place]) == 0
    assert json.loads(capsys.readouterr().out) == {"file": str(path), "rows": 70_000}
    assert main(["export", str(tmp_path / "n.csv"), "--sql", "SELECT max(n) AS most FROM facts", *place]) == 0
    assert (tmp_path / "n.csv").read_text() == '"most"\n69999\n'
    assert main(["export", str(tmp_path / "all.csv"), *place]) != 0
    assert "--table or --sql" in capsys.readouterr().err
