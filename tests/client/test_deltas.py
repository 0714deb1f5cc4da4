"""Row deltas as the client applies them: what the server's lead to, and what becomes of those that do not fit."""

from __future__ import annotations

import json
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbreactive.client import protocol
from nbreactive.client.deltas import LastResult
from nbreactive.client.protocol import Outcome, encode_ts
from nbreactive.client.session import Session
from nbreactive.engine.query_cache import QueryResult, result_of
from nbreactive.engine.transactions import Outcome as Ran
from nbreactive.errors import ProtocolError
from nbreactive.server import messages as wire
from nbreactive.server.answers import Speaker
from nbreactive.server.deltas import LEAST, Deltas
from nbreactive.values.json import decode_json, encode_json
from nbreactive.values.kinds import Int64

PAD = "x" * LEAST
speaker = Speaker("dev", additions=True)

scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.text(max_size=3)
special = st.sampled_from([Int64(5), b"ab", float("inf"), -0.0])
rows = st.recursive(
    scalars | special,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "cc"]), inner, max_size=3),
    max_leaves=6,
)


def result(value: Any) -> QueryResult:
    return result_of(Ran(value=encode_json(value), columns=["a"]), 1)


def transition(
    start: int, *changes: wire.QueryUpdated | wire.QueryDelta | wire.QueryFailed | wire.QueryRemoved
) -> bytes:
    version = lambda ts: wire.StateVersion(1 if ts else 0, 0, encode_ts(ts))  # noqa: E731
    return wire.encode(
        wire.Transition(startVersion=version(start), endVersion=version(start + 1), modifications=list(changes))
    )


class Both:
    """A session of the client, and a server that says what one live query shows."""

    def __init__(self) -> None:
        self.deltas = Deltas(1 << 24)
        self.shown: Any = None
        self.seen: list[Outcome] = []
        self.kinds: list[str] = []
        self.session = Session()
        self.session.add("m:f", "{}", self.seen.append)
        self.connect()

    def connect(self) -> dict[str, Any]:
        self.ts = 0
        self.shown = None
        return json.loads(self.session.connected("InitialConnect", 0)[0])

    def message(self, value: Any) -> bytes:
        found = result(value)
        self.shown, delta = self.deltas.follow(self.shown, found)
        change = speaker.modification(0, found, delta)
        self.kinds.append(type(change).__name__)
        self.ts += 1
        return transition(self.ts - 1, change)

    def say(self, value: Any) -> Any:
        self.session.receive(self.message(value)).carry_out()
        return self.seen[-1].value


@given(st.lists(st.lists(rows, max_size=8), min_size=1, max_size=5), st.sampled_from(["", "rows", "page"]))
def test_any_result_after_any_other_is_what_it_is(lists: list[list[Any]], where: str) -> None:
    both = Both()
    for number, content in enumerate(lists):
        content = [PAD * 8, *content]
        value = {where: content, "total": number, "around": [number]} if where else content
        shown = both.say(value)
        assert encode_json(shown) == encode_json(value)
        assert list(shown) == sorted(shown) if where else True
        assert both.seen[-1].columns == ["a"]
    assert both.kinds == ["QueryUpdated"] + ["QueryDelta"] * (len(both.seen) - 1)


@given(st.lists(rows, min_size=1, max_size=8))
def test_what_is_done_to_a_value_is_not_in_the_next(content: list[Any]) -> None:
    both = Both()
    for number in range(3):
        value = [number, PAD * 8, *content]
        shown = both.say(value)
        assert encode_json(shown) == encode_json(value)
        spoil(shown)


def spoil(value: Any) -> None:
    """Change whatever can be changed in a value."""
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    for item in list(inner):
        spoil(item)
    if isinstance(value, dict | list):
        value.clear()


def test_between_deltas_others_may_change_and_fail() -> None:
    both = Both()
    both.say([PAD, 1])
    failed = wire.QueryFailed(queryId=0, errorMessage="no", logLines=[], journal="j")
    both.session.receive(transition(both.ts, failed)).carry_out()
    both.ts += 1
    assert both.seen[-1].error is not None
    assert both.say([PAD, 2]) == [PAD, 2] and both.kinds[-1] == "QueryDelta"


def test_deltas_of_queries_that_were_removed_meanwhile_are_dropped() -> None:
    both = Both()
    both.say([PAD, 1])
    both.session.remove(both.session.queries[0])
    both.session.receive(both.message([PAD, 2])).carry_out()
    assert [outcome.value for outcome in both.seen] == [[PAD, 1]]


def test_a_new_connection_begins_with_whole_results() -> None:
    both = Both()
    both.say([PAD, 1])
    both.session.disconnected()
    assert both.connect()["nbreactive"]["deltas"] is True
    with pytest.raises(ProtocolError, match="no result yet"):
        both.session.receive(
            transition(0, wire.QueryDelta(queryId=0, path=[], runs=[], check=0, logLines=[], journal=None))
        )


DELTA = {"queryId": 0, "path": [], "runs": [(0, 1, []), (0, 0, [wire.Raw(b"2")])], "logLines": [], "journal": None}


@pytest.mark.parametrize(
    "wrong",
    [
        {"check": 7},
        {"runs": [(0, 3, [])]},
        {"runs": [(-1, 1, [])]},
        {"runs": [(1, -1, [])]},
        {"path": ["rows"]},
        {"runs": [(0, 2, [])]},
    ],
)
def test_a_delta_that_does_not_fit_is_never_shown_and_the_next_connection_asks_for_none(wrong: dict[str, Any]) -> None:
    both = Both()
    both.say([PAD, 1])
    delta = wire.QueryDelta(**{**DELTA, "check": 0, **wrong})
    with pytest.raises(ProtocolError, match="delta"):
        both.session.receive(transition(1, delta))
    assert [outcome.value for outcome in both.seen] == [[PAD, 1]]
    both.session.disconnected()
    assert both.connect()["nbreactive"]["deltas"] is False


def test_a_delta_about_another_place_than_before_does_not_fit() -> None:
    both = Both()
    both.say({"page": [PAD, 1], "rows": [PAD]})
    assert both.kinds == ["QueryUpdated"]
    last = LastResult(encode_json({"page": [PAD, 1], "rows": [PAD]}))
    text = encode_json([PAD])
    runs: list[Any] = [(0, 1, [])]
    delta = protocol.QueryDelta(0, ["rows"], runs, crc32(text), wire.Raw(encode_json({"page": [], "rows": []})))
    assert last.apply(delta) == {"page": [], "rows": [PAD]}
    with pytest.raises(ProtocolError, match="another part"):
        last.apply(protocol.QueryDelta(0, ["page"], runs, crc32(text)))


def test_rows_are_decoded_as_in_whole_results() -> None:
    both = Both()
    both.say([PAD, {"big": Int64(1)}])
    shown = both.say([PAD, {"big": Int64(2), "raw": b"ab", "deep": [{"a": [1.5]}]}])
    assert shown[1] == {"big": Int64(2), "deep": [{"a": [1.5]}], "raw": b"ab"} and type(shown[1]["big"]) is Int64
    assert shown == decode_json(encode_json(shown))
