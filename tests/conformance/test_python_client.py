"""Bar 3 (PyPI): the official client, unchanged, against a real backend."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.functions import MODULE
from tests.conformance.programs import Program, program
from tests.served import Served

HERE = Path(__file__).parent
pytestmark = pytest.mark.slow

HTTP = """
import json, sys
from convex import ConvexError, ConvexInt64
from convex.http_client import ConvexHttpClient
client = ConvexHttpClient(sys.argv[1])
out = {"added": client.mutation("conform:add", {"text": "from PyPI http"})}
out["list"] = [document["text"] for document in client.query("conform:list", {})]
echoed = client.query("conform:echo", {"x": {"big": ConvexInt64(2**62), "raw": b"hi", "nan": float("nan")}})
out["values"] = [echoed["big"].value, echoed["raw"].decode(), echoed["nan"] != echoed["nan"]]
try:
    client.mutation("conform:refuse", {"why": "http"})
except ConvexError as error:
    out["error"] = error.data
try:
    client.query("conform:missing", {})
except Exception as error:
    out["missing"] = str(error)
print("@" + json.dumps(out))
"""


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path, {"conform": MODULE}) as running:
        yield running


@pytest.fixture
def client(backend: Served) -> Iterator[Program]:
    with program([sys.executable, "python_live.py", backend.url], HERE, "@") as running:
        yield running


def test_live_queries_mutations_errors_and_values(backend: Served, client: Program) -> None:
    total = client.send("subscribe", "conform:total")
    client.until(total, lambda said: said["value"] == 0)
    assert client.ask("mutation", "conform:add", {"text": "one"})["value"] == "one"
    client.until(total, lambda said: said["value"] == 1)
    backend.fetch("/api/mutation", {"path": "conform:add", "args": {"text": "from elsewhere"}})
    client.until(total, lambda said: said["value"] == 2)
    assert [d["text"] for d in client.ask("query", "conform:list")["value"]] == ["one", "from elsewhere"]

    refused = client.ask("mutation", "conform:refuse", {"why": "because"})["error"]
    assert refused == {"isConvexError": True, "data": {"code": "REFUSED", "why": "because"}}
    crashed = client.ask("mutation", "conform:crash")["error"]
    assert not crashed["isConvexError"] and "ValueError: no good" in crashed["message"]
    assert "Could not find public function" in client.ask("query", "conform:missing")["error"]["message"]

    value = {
        "big": {"int64": str(-(2**63))}, "raw": {"bytes": "00ff10"}, "nan": {"float": "nan"}, "inf": {"float": "-inf"},
        "none": None, "text": "\u00e9\u4e2d\U0001f600", "nested": [[], {}, 1.5, True],
    }  # fmt: skip
    assert client.ask("query", "conform:echo", {"x": value})["value"] == value
    client.ask("mutation", "conform:keep", {"value": value})
    assert client.ask("query", "conform:values")["value"] == [value]


def test_results_over_16_mib_arrive_although_its_frames_may_not_be_that_large(client: Program) -> None:
    assert len(client.ask("query", "conform:large", {"size": 16_700_000})["value"]) == 16_700_001


def test_reconnects_after_the_backend_was_killed(backend: Served, client: Program) -> None:
    total = client.send("subscribe", "conform:total")
    client.until(total, lambda said: said["value"] == 0)
    assert client.ask("mutation", "conform:add", {"text": "before"})["value"] == "before"
    client.until(total, lambda said: said["value"] == 1)
    backend.kill()
    backend.start()
    assert client.ask("mutation", "conform:add", {"text": "after"})["value"] == "after"
    client.until(total, lambda said: said["value"] == 2)


def test_http_client(backend: Served) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HTTP, backend.url], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    out = json.loads(next(line[1:] for line in done.stdout.splitlines() if line.startswith("@")))
    assert out["added"] == "from PyPI http" and out["list"] == ["from PyPI http"]
    assert out["values"] == [2**62, "hi", True] and out["error"] == {"code": "REFUSED", "why": "http"}
    assert "Could not find public function" in out["missing"]
