"""Tables that keep their rows in columns: loaded in bulk, read by SQL, and the same after whatever happens."""

from __future__ import annotations

import datetime as dt
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from nbreactive.cli.main import main
from nbreactive.client import bulk
from nbreactive.client.bulk import Loaded, load
from nbreactive.client.client import Client
from nbreactive.client.exports import export
from nbreactive.client.target import Target
from nbreactive.errors import DeployRefused, InvalidValue, NBReactiveError, NotConnected, SchemaError
from nbreactive.functions import define_table
from nbreactive.values import Int64, v
from tests.served import KEY, Served

FACTS = """
from nbreactive import define_schema, define_table, mutation, query, v

schema = define_schema({
    "facts": define_table({
        "product": v.string(), "n": v.integer(), "amount": v.nullable(v.number()), "at": v.optional(v.datetime()),
        "extra": v.optional(v.any()), "big": v.optional(v.int64()),
    }, storage="columns"),
    "notes": define_table({"text": v.string()}),
})

@query
def rows(ctx):
    return ctx.db.query("facts").collect()

@mutation
def add(ctx):
    return ctx.db.insert("facts", {"product": "a", "n": 1, "amount": 1.0})
"""
SUMS = "SELECT product, count(*) AS many, sum(n) AS n FROM facts GROUP BY product ORDER BY product"


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def connected(backend: Served) -> Client:
    return Client(Target(backend.url, headers={"Authorization": f"Convex {KEY}"}))


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("columns"), {"facts": FACTS}) as served:
        yield served


@pytest.fixture
def client(backend: Served) -> Iterator[Client]:
    with connected(backend) as found:
        yield found


def facts(count: int, start: int = 0) -> pa.Table:
    numbers = range(start, start + count)
    return pa.table(
        {
            "product": [f"product {n % 3}" for n in numbers],
            "n": list(numbers),
            "amount": [None if n % 5 == 0 else n / 4 for n in numbers],
        }
    )


def sql(client: Client, text: str) -> list[list[Any]]:
    name = client.call("_system/sql:register", {"sql": text})
    return client.call("_system/sql:live", {"hash": name, "params": {}})["rows"]


def test_rows_are_seen_by_sql_and_live(client: Client) -> None:
    name = client.call("_system/sql:register", {"sql": SUMS})
    live = client.live("_system/sql:live", {"hash": name, "params": {}})
    assert live.value["rows"] == []
    loaded = load(client, "facts", facts(3000))
    assert loaded == 3000
    until(lambda: live.value["rows"] != [])
    assert live.value["rows"] == [[f"product {k}", 1000, sum(range(k, 3000, 3))] for k in range(3)]
    load(client, "facts", facts(1, 3000))
    until(lambda: live.value["rows"][0][1] == 1001)
    load(client, "facts", facts(500, 10_000), id="more")
    until(lambda: sum(row[1] for row in live.value["rows"]) == 3501)
    ids = loaded.ids.to_pylist()
    found = sql(client, "SELECT _id, n, amount, _creationTime > 0 FROM facts WHERE n IN (0, 7, 2999) ORDER BY n")
    assert found == [[ids[0], 0, None, True], [ids[7], 7, 1.75, True], [ids[2999], 2999, 749.75, True]]
    tables = {table["name"]: table for table in client.admin("GET", "tables")["tables"]}
    assert (tables["facts"]["documents"], tables["facts"]["storage"]) == (3501, "columns")
    assert client.live("_system/tables:count", {"table": "facts"}).value == 3501


def test_rows_that_are_dicts_are_rows_too(client: Client) -> None:
    at = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
    rows: list[dict[str, Any]] = [
        {"product": "dict", "n": 1, "amount": None, "at": at, "extra": {"a": [1]}, "big": Int64(2**60)},
        {"product": "dict", "n": 2, "amount": 3},
    ]
    assert load(client, "facts", rows) == 2
    assert load(client, "facts", rows).repeated == 2
    assert load(client, "facts", {"product": ["dict"] * 6000, "n": range(3, 6003), "amount": [0.5] * 6000}) == 6000
    many = "SELECT count(*) AS many, count(DISTINCT n) AS apart, sum(amount) AS amount FROM facts WHERE product = $p"
    asked = {"path": "_system/sql:live", "hash": client.call("_system/sql:register", {"sql": many}, mutation=True)}
    found = client.call(asked["path"], {"hash": asked["hash"], "params": {"p": "dict"}})
    assert found["rows"] == [[6002, 6002, 3003]]
    first = "SELECT amount, \"at\", extra, big FROM facts WHERE product = 'dict' AND n < 3 ORDER BY n"
    found = client.call(asked["path"], {"hash": client.call("_system/sql:register", {"sql": first}, mutation=True)})
    assert found["rows"] == [[None, at.timestamp() * 1000, {"a": [1]}, str(2**60)], [3, None, None, None]]
    with pytest.raises(SchemaError, match="row 1"):
        load(client, "facts", [rows[1], {"product": "dict", "n": "no", "amount": 1}])


def test_functions_are_told_what_to_do_instead(client: Client) -> None:
    for path in ("facts:rows", "facts:add"):
        with pytest.raises(NBReactiveError, match=r"kept in columns .*nbreactive\.load\('facts'.*SQL"):
            client.call(path)


def test_values_of_all_types(client: Client) -> None:
    moment = dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC)
    load(
        client,
        "facts",
        pa.table(
            {
                "product": pa.array(["types", "types"]).dictionary_encode(),
                "n": pa.array([1, 2], pa.uint8()),
                "amount": [float("nan"), None],
                "at": [moment, None],
                "extra": [{"x": [1, 2]}, None],
                "big": [2**62, None],
            }
        ),
    )
    text = "SELECT isnan(amount), \"at\", extra->>'$.x[1]', big::VARCHAR FROM facts WHERE product = 'types' ORDER BY n"
    assert sql(client, text) == [[True, moment.timestamp() * 1000, "2", str(2**62)], [None, None, None, None]]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"product": ["a", None], "n": [1, 2], "amount": [1.0, 2.0]}, "'product' is null in row 1"),
        ({"product": ["a"], "n": [0.5], "amount": [1.0]}, "row 0, column 'n': expected a whole number"),
        ({"product": ["a"], "n": [1]}, "no column 'amount'"),
        ({"product": ["a"], "n": [1], "amount": [1.0], "more": [1]}, "no field for the column 'more'"),
    ],
)
def test_wrong_rows_are_refused(client: Client, columns: dict[str, list[Any]], said: str) -> None:
    before = client.live("_system/tables:count", {"table": "facts"}).value
    with pytest.raises(InvalidValue, match=said):
        load(client, "facts", pa.table(columns))
    assert client.live("_system/tables:count", {"table": "facts"}).value == before


def test_deploys_leave_what_is_loaded_as_it_is(backend: Served, client: Client) -> None:
    load(client, "facts", facts(3))
    source = client.admin("GET", "source?module=facts")
    for changed in (
        FACTS.replace(', storage="columns"', ""),
        FACTS.replace('"n": v.integer()', '"n": v.string()'),
    ):
        module = {"name": "facts", "source": changed, "origin": {"kind": "file", "key": "facts.py"}}
        with pytest.raises(DeployRefused, match="holds rows"):
            client.admin("POST", "deploy", {"modules": [module], "base": {"facts": source["version"]}, "force": True})


def test_what_a_table_in_columns_cannot_have() -> None:
    table = define_table({"a": v.string()}, storage="columns")
    assert repr(table) == "define_table(v.object({'a': v.string()}), storage='columns')"
    with pytest.raises(SchemaError, match="no indexes"):
        table.index("by_a", ["a"])
    with pytest.raises(SchemaError, match="ephemeral"):
        define_table({"a": v.string()}, storage="columns", ephemeral=True)
    with pytest.raises(SchemaError, match="same fields"):
        define_table(v.any(), storage="columns")


def test_kills_leave_whole_batches_and_a_lost_store_is_made_again(tmp_path: Path) -> None:
    with Served(tmp_path, {"facts": FACTS}) as backend:
        with connected(backend) as client:
            done: list[Loaded] = []
            said: list[str] = []
            thread = threading.Thread(
                target=lambda: done.append(load(client, "facts", facts(30_000), progress=said.append, chunk=1000))
            )
            thread.start()
            for _ in range(3):
                known = len(said)
                until(lambda: len(said) > known + 1 or bool(done))  # noqa: B023 - called at once
                backend.kill()
                backend.start()
            thread.join()
            assert done[0] == 30_000
            whole = sql(client, "SELECT count(*), count(DISTINCT _id), sum(n) FROM facts")
            assert whole == [[30_000, 30_000, sum(range(30_000))]]
            ids = done[0].ids.to_pylist()
            load(client, "notes", [{"text": "something else"}])
        backend.stop()
        for name in ("store.duckdb", "store.duckdb.wal"):
            (backend.data / name).unlink(missing_ok=True)
        shutil.rmtree(backend.data / "index")
        backend.start()
        with connected(backend) as client:
            assert sql(client, "SELECT count(*), count(DISTINCT _id), sum(n) FROM facts") == whole
            assert sql(client, "SELECT _id FROM facts WHERE n = 29999") == [[ids[29_999]]]
            assert load(client, "facts", facts(30_000)).repeated == 30_000
            report = client.admin("GET", "doctor")
            assert report["problems"] == []


def test_backup_restore_doctor_retention_and_reset_know_the_files(tmp_path: Path) -> None:
    with Served(tmp_path, {"facts": FACTS}) as backend, connected(backend) as client:
        load(client, "facts", facts(2000))
        folder = backend.data / "batches"
        files = [path for path in folder.iterdir() if path.is_file()]
        assert len(files) == 1
        (orphan := folder / ("0" * 64)).write_bytes(b"left by a process that was killed")
        client.admin("POST", "retention", {"keep": "1d"})
        assert orphan.exists()  # only since then is it known that nobody names it
        client.admin("POST", "retention", {"keep": "0s"})
        assert not orphan.exists()
        assert files[0].exists()
        whole = sql(client, "SELECT count(*), sum(n), min(_id) FROM facts")

        saved = tmp_path / "saved.zip"
        assert main(["backup", backend.url, str(saved), "--admin-key", KEY]) == 0
        again = Served(tmp_path / "again", {"facts": FACTS})
        assert main(["restore", str(saved), str(again.data)]) == 0
        assert [path.name for path in (again.data / "batches").iterdir() if path.is_file()] == [files[0].name]
        with again, connected(again) as restored:
            assert sql(restored, "SELECT count(*), sum(n), min(_id) FROM facts") == whole
            assert restored.admin("GET", "doctor")["problems"] == []
            (again.data / "batches" / files[0].name).unlink()
            (problem,) = restored.admin("GET", "doctor")["problems"]
            assert (problem["part"], files[0].name in problem["what"]) == ("batches", True)

        client.admin("POST", "reset", {"confirm": "default"})
        until(lambda: sql(client, "SELECT count(*) FROM facts") == [[0]])
        assert not files[0].exists()


def test_few_rows_stand_in_the_log_and_are_the_same_everywhere(tmp_path: Path) -> None:
    many = "SELECT count(*), count(DISTINCT _id), sum(n), min(_id), max(_creationTime) FROM facts"
    with Served(tmp_path, {"facts": FACTS}) as backend, connected(backend) as client:
        live = client.live(
            "_system/sql:live", {"hash": client.call("_system/sql:register", {"sql": SUMS}), "params": {}}
        )
        few = [load(client, "facts", facts(3, 3 * n)) for n in range(30)]
        until(lambda: live.value["rows"] == [[f"product {k}", 30, sum(range(k, 90, 3))] for k in range(3)])
        ids = [id for loaded in few for id in loaded.ids.to_pylist()]
        assert sql(client, "SELECT _id FROM facts ORDER BY n") == [[id] for id in ids]
        assert not [path for path in (backend.data / "batches").iterdir() if path.is_file()]
        ((last,),) = sql(client, "SELECT max(_creationTime) FROM facts")
        then = int(last) + 1
        until(lambda: time.time() * 1000 > then + 1)
        load(client, "facts", facts(5000, 1000))
        load(client, "facts", facts(3, 90))
        assert len([path for path in (backend.data / "batches").iterdir() if path.is_file()]) == 1
        assert load(client, "facts", facts(3, 90)).repeated == 3
        until(lambda: sum(row[1] for row in live.value["rows"]) == 5093)
        whole = sql(client, many)
        earlier = sql(client, f"SELECT count(*), sum(n) FROM facts AT ({then})")
        assert earlier == [[90, sum(range(90))]]
        tables = {table["name"]: table for table in client.live("_system/tables:sizes").value}
        assert (tables["facts"]["count"], tables["facts"]["bytes"] > 5093 * 20) == (5093, True)
        assert {table["name"]: table for table in client.admin("GET", "tables")["tables"]}["facts"]["documents"] == 5093

        saved = tmp_path / "saved.zip"
        assert main(["backup", backend.url, str(saved), "--admin-key", KEY]) == 0
        assert main(["restore", str(saved), str(tmp_path / "again" / "data")]) == 0
        with Served(tmp_path / "again", {"facts": FACTS}) as again, connected(again) as restored:
            assert sql(restored, many) == whole
            assert load(restored, "facts", facts(3, 90)).repeated == 3
            assert restored.admin("GET", "doctor")["problems"] == []

        client.admin("POST", "retention", {"keep": "0s"})
        assert sql(client, many) == whole
        backend.kill()
        for name in ("store.duckdb", "store.duckdb.wal"):
            (backend.data / name).unlink(missing_ok=True)
        shutil.rmtree(backend.data / "index")
        backend.start()
        assert sql(client, many) == whole
        assert export(client, "facts", tmp_path / "facts.parquet", {}) == 5093
        assert load(client, "facts", facts(3, 96)).repeated == 0
        assert sql(client, "SELECT count(*) FROM facts") == [[5096]]
        assert client.admin("GET", "doctor")["problems"] == []


def test_a_load_that_was_answered_by_nobody_is_known(
    backend: Served, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to a load is lost after its commit: it is sent again, and not repeated."""
    asked = bulk._Door._ask  # pyright: ignore[reportPrivateUsage]
    lost: list[bytes] = []

    def lose_the_first(door: Any, method: str, *more: Any) -> bytes:
        body = asked(door, method, *more)
        if method == "POST" and not lost:
            lost.append(body)
            raise NotConnected("the answer is lost")
        return body

    monkeypatch.setattr(bulk._Door, "_ask", lose_the_first)  # pyright: ignore[reportPrivateUsage]
    before = client.live("_system/tables:count", {"table": "facts"}).value
    loaded = load(client, "facts", facts(2, 77_000))
    assert (lost != [], loaded, loaded.repeated) == (True, 2, 0)
    assert client.live("_system/tables:count", {"table": "facts"}).value == before + 2
