"""Bar 3 (npm): the official client, unchanged, against a real backend."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.functions import MODULE
from tests.conformance.packages import needs_node, provide
from tests.conformance.programs import program
from tests.served import Served

NPM = Path(__file__).parent / "npm"
pytestmark = [pytest.mark.slow, needs_node]


@pytest.fixture(scope="module", autouse=True)
def _official_client() -> None:
    provide(NPM)


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path, {"conform": MODULE}) as running:
        yield running


def test_live_queries_mutations_errors_and_values(backend: Served) -> None:
    with program(["node", "live.mjs", backend.url], NPM) as client:
        total = client.send("subscribe", "conform:total")
        assert client.next(total)["value"] == 0
        assert client.ask("mutation", "conform:add", {"text": "one"}) == {"id": 2, "value": "one"}
        assert client.next(total)["value"] == 1
        backend.fetch("/api/mutation", {"path": "conform:add", "args": {"text": "from elsewhere"}})
        assert client.next(total)["value"] == 2
        assert [d["text"] for d in client.ask("query", "conform:list")["value"]] == ["one", "from elsewhere"]

        refused = client.ask("mutation", "conform:refuse", {"why": "because"})["error"]
        assert refused["isConvexError"] and refused["data"] == {"code": "REFUSED", "why": "because"}
        crashed = client.ask("mutation", "conform:crash")["error"]
        assert not crashed["isConvexError"] and "ValueError: no good" in crashed["message"]
        missing = client.ask("query", "conform:missing")["error"]
        assert "Could not find public function for 'conform:missing'." in missing["message"]
        invalid = client.ask("mutation", "conform:add", {"text": 5})["error"]
        assert "ArgumentValidationError" in invalid["message"] and "args.text" in invalid["message"]

        live = client.send("subscribe", "conform:refuse_large", {"limit": 2})
        assert client.next(live)["value"] == 2
        client.ask("mutation", "conform:add", {"text": "three"})
        assert client.next(live)["error"]["data"] == {"code": "TOO_MANY", "found": 3}

        value = {
            "big": {"bigint": "-9223372036854775808"}, "raw": {"bytes": "00ff10"}, "nan": {"number": "NaN"}, "inf": {"number": "-Infinity"},
            "zero": {"number": "-0"}, "none": None, "text": "\u00e9\u4e2d\U0001f600", "nested": [[], {}, 1.5, True],
        }  # fmt: skip
        assert client.ask("query", "conform:echo", {"x": value})["value"] == value
        kept = client.send("subscribe", "conform:values")
        assert client.next(kept)["value"] == []
        client.ask("mutation", "conform:keep", {"value": value})
        assert client.next(kept)["value"] == [value]
        assert not any("Could not parse" in line for line in client.noise)


def test_live_sql(backend: Served) -> None:
    backend.call("mutation", "conform:add", text="one")
    counted = "SELECT text, count(*) AS n, sum(9007199254740993) AS large FROM notes GROUP BY text ORDER BY text"
    known = backend.fetch("/api/sql/register", {"sql": counted}, admin=True)
    with program(["node", "live.mjs", backend.url], NPM) as client:
        live = client.send("subscribe", "_system/sql:live", known)
        first = client.next(live)["value"]
        assert [column["name"] for column in first["columns"]] == ["text", "n", "large"]
        assert first["rows"] == [["one", 1, "9007199254740993"]]
        client.ask("mutation", "conform:add", {"text": "two"})
        assert [row[:2] for row in client.next(live)["value"]["rows"]] == [["one", 1], ["two", 1]]
        unknown = client.ask("query", "_system/sql:live", {"hash": "0" * 32})["error"]
        assert "there is no SQL statement" in unknown["message"]


def test_many_mutations_in_flight_keep_their_order(backend: Served) -> None:
    with program(["node", "live.mjs", backend.url], NPM) as client:
        numbers = [client.send("mutation", "conform:add", {"text": str(n)}) for n in range(200)]
        for number in numbers:
            assert "value" in client.next(number)
        assert [d["text"] for d in client.ask("query", "conform:list")["value"]] == [str(n) for n in range(200)]


def test_large_results_arrive_in_chunks(backend: Served) -> None:
    with program(["node", "live.mjs", backend.url], NPM) as client:
        large = client.send("subscribe", "conform:large", {"size": 12_000_000})
        assert len(client.next(large)["value"]) == 12_000_001
        client.ask("mutation", "conform:add", {"text": "x"})
        assert client.next(large)["value"].endswith("x1")


def test_reconnects_after_the_backend_was_killed(backend: Served) -> None:
    with program(["node", "live.mjs", backend.url], NPM) as client:
        total = client.send("subscribe", "conform:total")
        assert client.next(total)["value"] == 0
        client.ask("mutation", "conform:add", {"text": "before"})
        assert client.next(total)["value"] == 1
        backend.kill()
        while_down = [client.send("mutation", "conform:add", {"text": f"while down {n}"}) for n in range(3)]
        backend.start()
        for number in while_down:
            assert "value" in client.next(number)
        client.until(total, lambda said: said["value"] == 4)
        found: list[dict[str, Any]] = client.ask("query", "conform:list")["value"]
        assert [d["text"] for d in found] == ["before", "while down 0", "while down 1", "while down 2"]
        assert client.ask("state")["value"]["connectionCount"] >= 2


def test_http_client(backend: Served) -> None:
    with program(["node", "http.mjs", backend.url], NPM) as client:
        out = client.ask("calls")["value"]
        assert out["added"] == "from npm http" and out["list"] == ["from npm http"] and out["consistent"] == 1
        assert (out["big"], out["nan"], out["raw"]) == ("9007199254740993", True, "00ff")
        assert out["error"] == {"isConvexError": True, "data": {"code": "REFUSED", "why": "http"}}
        assert out["acted"] == out["error"]
        assert "Could not find public function" in out["missing"]
        backend.kill()
        backend.start()
        assert client.ask("again")["value"] == {"list": ["from npm http", "again"]}
