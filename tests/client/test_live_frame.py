"""Live results of SQL: rows, frames, and what they do when something is in the way. Against the small server of the client's tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from nbreactive.client.client import Client
from nbreactive.client.live_frame import LiveFrame
from nbreactive.client.statement import SQL_LIVE, hash_of
from nbreactive.client.target import Target
from nbreactive.errors import ArgumentError, FunctionFailed, NBReactiveError, Refused
from tests.client.fake_server import FakeServer, until

TEXT = "SELECT author, body, length(body) AS n FROM messages WHERE author = $who"
TYPES = {"author": "VARCHAR", "body": "VARCHAR", "n": "BIGINT"}


class SqlServer(FakeServer):
    """Answers the one statement."""

    total: int | None = None

    def evaluate(self, path: str, args: dict[str, Any]) -> tuple[str, Any]:
        if path != SQL_LIVE:
            return super().evaluate(path, args)
        if args["hash"] != hash_of(TEXT):
            return "error", "SqlError: no such statement"
        rows = [[m["author"], m["body"], len(m["body"])] for m in self.messages if m["author"] == args["params"]["who"]]
        offset = args.get("offset", 0)
        shown = rows[offset : offset + args.get("limit", len(rows))]
        return "ok", {
            "columns": [{"name": name, "type": kind} for name, kind in TYPES.items()],
            "rows": shown,
            "total": self.total or len(rows),
            "offset": offset,
            "complete": self.total is None,
        }


@pytest.fixture
def server() -> Iterator[SqlServer]:
    fake = SqlServer()
    fake.add("al", "hi")
    fake.add("bo", "hello")
    yield fake
    fake.close()


@pytest.fixture
def client(server: SqlServer) -> Iterator[Client]:
    with Client(Target(server.url)) as made:
        yield made


@pytest.fixture
def registered(client: Client, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Statements that were registered."""
    texts: list[str] = []

    def call(path: str, args: dict[str, Any]) -> str:
        texts.append(args["sql"])
        return hash_of(args["sql"])

    monkeypatch.setattr(client, "call", call)
    return texts


def test_rows_and_frames(server: SqlServer, client: Client, registered: list[str]) -> None:
    frame = LiveFrame.open(client, TEXT, {"who": "al"})
    assert registered == [TEXT]
    assert frame.value == frame.rows == [{"author": "al", "body": "hi", "n": 2}]
    assert (len(frame), frame.total, frame.complete, frame.types) == (1, 1, True, TYPES)
    assert list(frame.columns) == list(TYPES)
    assert frame.arrow().schema.field("n").type == "int64"
    assert frame.df()["n"].tolist() == frame.pl()["n"].to_list() == [2]
    assert repr(frame) == f"<live SQL · {TEXT[:59]}… · live>"
    seen: list[Any] = []
    frame.observe(lambda change: seen.append(change.new), "value")
    server.add("al", "again")
    until(lambda: len(frame) == 2 and seen)
    assert frame.arrow().num_rows == 2
    frame.close()
    assert frame.df()["body"].tolist() == ["hi", "again"]


def test_a_lost_connection_is_no_new_value(server: SqlServer, client: Client, registered: list[str]) -> None:
    frame = LiveFrame.open(client, TEXT, {"who": "al"})
    before = frame.value
    server.stop_listening()
    until(lambda: frame.status == "reconnecting")
    assert frame.value is before
    server.listen_again()
    until(lambda: frame.status == "live")
    assert frame.value == before


def test_windows_are_live_queries_of_their_own(server: SqlServer, client: Client, registered: list[str]) -> None:
    frame = LiveFrame.open(client, TEXT, {"who": "al"})
    window = frame.window(1, 5).wait()
    assert window.value["rows"] == []
    server.add("al", "more")
    until(lambda: window.value["rows"] == [["al", "more", 4]])


def test_what_is_not_here_is_fetched_while_it_is_followed(
    server: SqlServer, client: Client, registered: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow as pa

    asked: list[Any] = []

    def fetch(method: str, path: str, body: Any, *, within: float) -> bytes:
        asked.append((method, path, body))
        table = pa.table({"n": list(range(5000))})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
        return sink.getvalue().to_pybytes()

    server.total = 5000
    monkeypatch.setattr(client, "fetch_bytes", fetch)
    frame = LiveFrame.open(client, TEXT, {"who": "al"})
    assert (len(frame), len(frame.value), frame.complete) == (5000, 1, False)
    assert frame.arrow().num_rows == len(frame.df()) == 5000
    assert asked == [("POST", "/api/sql/arrow", {"hash": hash_of(TEXT), "params": {"who": "al"}})]  # once
    kept = LiveFrame.open(client, TEXT, {"who": "al"}, once=True)
    assert (kept.closed, kept.state, kept.df().shape[0]) == (True, "snapshot", 5000)
    server.total = 6000
    server.add("al", "x")
    until(lambda: len(frame) == 6000)
    frame.close()
    with pytest.raises(NBReactiveError, match=r"Only the first 2 of 6,000 rows are here.*run the cell again"):
        frame.df()


def test_who_may_not_register_sees_what_is_registered(
    client: Client, monkeypatch: pytest.MonkeyPatch, server: SqlServer
) -> None:
    def call(path: str, args: dict[str, Any]) -> Any:
        raise Refused("not you")

    monkeypatch.setattr(client, "call", call)
    assert LiveFrame.open(client, TEXT, {"who": "bo"}).value[0]["body"] == "hello"
    with pytest.raises(FunctionFailed, match="no such statement"):
        LiveFrame.open(client, "SELECT 2", {})
    until(lambda: server.query_count == 0)


def test_parameters_are_checked_before_anybody_is_asked(client: Client, registered: list[str]) -> None:
    with pytest.raises(ArgumentError, match=r"\$who"):
        LiveFrame.open(client, TEXT, {})
    assert registered == []
