"""Bar 3 (PyPI): the official client, unchanged, against a real backend."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from convex import ConvexError, ConvexInt64
from convex.http_client import ConvexHttpClient

from tests.conformance.functions import MODULE
from tests.conformance.programs import Program, program
from tests.served import Served

HERE = Path(__file__).parent
pytestmark = pytest.mark.slow


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

    live = client.send("subscribe", "conform:refuse_large", {"limit": 2})
    client.until(live, lambda said: said.get("value") == 2)
    client.ask("mutation", "conform:add", {"text": "three"})
    assert client.until(live, lambda said: "error" in said)["error"]["data"] == {"code": "TOO_MANY", "found": 3}

    value = {
        "big": {"int64": str(-(2**63))}, "raw": {"bytes": "00ff10"}, "nan": {"float": "nan"}, "inf": {"float": "-inf"},
        "none": None, "text": "\u00e9\u4e2d\U0001f600", "nested": [[], {}, 1.5, True],
    }  # fmt: skip
    assert client.ask("query", "conform:echo", {"x": value})["value"] == value
    client.ask("mutation", "conform:keep", {"value": value})
    assert client.ask("query", "conform:values")["value"] == [value]


def test_live_sql(backend: Served, client: Program) -> None:
    backend.call("mutation", "conform:add", text="one")
    counted = "SELECT text, count(*) AS n FROM notes GROUP BY text ORDER BY text"
    live = client.send(
        "subscribe", "_system/sql:live", backend.fetch("/api/sql/register", {"sql": counted}, admin=True)
    )
    client.until(live, lambda said: said["value"]["rows"] == [["one", 1]])
    client.ask("mutation", "conform:add", {"text": "two"})
    client.until(live, lambda said: said["value"]["rows"] == [["one", 1], ["two", 1]])


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
    client = ConvexHttpClient(backend.url)
    assert client.mutation("conform:add", {"text": "one"}) == "one"
    assert [document["text"] for document in client.query("conform:list", {})] == ["one"]
    value = {"big": ConvexInt64(2**62), "raw": b"hi", "nan": float("nan")}
    echoed = client.query("conform:echo", {"x": value})
    assert (echoed["big"].value, echoed["raw"], echoed["nan"] != echoed["nan"]) == (2**62, b"hi", True)
    with pytest.raises(ConvexError) as refused:
        client.mutation("conform:refuse", {"why": "http"})
    assert refused.value.data == {"code": "REFUSED", "why": "http"}
    with pytest.raises(ConvexError) as refused:
        client.action("conform:refuse_outside", {"why": "http"})
    assert refused.value.data == {"code": "REFUSED", "why": "http"}
    with pytest.raises(Exception, match="Could not find public function"):
        client.query("conform:missing", {})
    backend.kill()
    backend.start()
    assert client.mutation("conform:add", {"text": "again"}) == "again"
    assert [document["text"] for document in client.query("conform:list", {})] == ["one", "again"]
