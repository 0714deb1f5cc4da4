"""``nbreactive sql`` against a real backend."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.cli.test_commands import nbreactive
from tests.served import KEY, ROOT, SECONDS, Served

SOURCE = """
from nbreactive import mutation

@mutation
def sell(ctx, city: str, price: float):
    return ctx.db.insert("orders", {"city": city, "price": price})
"""
GROUPS = "SELECT city, sum(price) AS total FROM orders GROUP BY city ORDER BY city"


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("cli"), {"m": SOURCE}) as served:
        served.call("mutation", "m:sell", city="Bern", price=2.5)
        served.call("mutation", "m:sell", city="Graz", price=4)
        yield served


def test_once(backend: Served) -> None:
    status, out, err = nbreactive("sql", GROUPS, at=backend)
    assert (status, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [
        ["city", "total"],
        ["----", "-----"],
        ["Bern", "2.5"],
        ["Graz", "4.0"],
    ]
    status, out, _ = nbreactive("sql", "SELECT city FROM orders WHERE price > $least", "least=3", "--json", at=backend)
    assert (status, json.loads(out)) == (0, [{"city": "Graz"}])
    more = "SELECT DATE '2026-11-01' AS day, 1.5::DECIMAL(4, 2) AS exact, [1] AS some, NULL AS nothing"
    status, out, _ = nbreactive("sql", "-", "--json", at=backend, input=more)
    assert json.loads(out) == [{"day": "2026-11-01", "exact": "1.50", "some": [1], "nothing": None}]


def test_what_is_wrong_is_said(backend: Served) -> None:
    for text, said in (
        ("SELECT * FROM order", "syntax error"),
        ("SELECT * FROM absent", "there is no table 'absent'"),
        ("DROP TABLE orders", "only SELECT"),
        ("SELECT $x AS x", "parameter $x"),
    ):
        status, out, err = nbreactive("sql", text, at=backend)
        assert (status, out) == (1, "")
        assert said in err


def test_explain(backend: Served) -> None:
    status, out, _ = nbreactive(
        "sql", "SELECT count(*) AS n FROM orders WHERE city = $city", "city=Bern", "--explain", at=backend
    )
    said = json.loads(out)
    assert status == 0
    assert said["kind"] == "groups"
    assert said["watches"] == {"orders": ["city = 'Bern'"]}


def test_as_of_an_earlier_time(backend: Served) -> None:
    status, _, err = nbreactive("sql", GROUPS, "--as-of", "not a time", at=backend)
    assert (status, "is no point in time" in err) == (1, True)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT for one process")
def test_live(backend: Served) -> None:
    command = [
        sys.executable,
        "-m",
        "nbreactive",
        "sql",
        GROUPS,
        "--live",
        "--json",
        "--at",
        backend.url,
        "--admin-key",
        KEY,
    ]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())[0] == {"city": "Bern", "total": 2.5}
        backend.call("mutation", "m:sell", city="Bern", price=0.5)
        assert json.loads(process.stdout.readline())[0] == {"city": "Bern", "total": 3.0}
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 0
