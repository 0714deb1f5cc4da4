"""The session as a state machine: messages in, messages and effects out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbreactive.client import protocol
from nbreactive.client.protocol import Outcome, encode_ts
from nbreactive.client.session import Session
from nbreactive.errors import AppError, FunctionFailed, NotConnected, ProtocolError, Refused


def transition(start: tuple[int, int], end: tuple[int, int], *changes: dict[str, Any]) -> str:
    version = lambda at: {"querySet": at[0], "identity": 0, "ts": encode_ts(at[1])}  # noqa: E731
    return json.dumps(
        {"type": "Transition", "startVersion": version(start), "endVersion": version(end), "modifications": changes}
    )


def updated(query_id: int, value: Any) -> dict[str, Any]:
    return {"type": "QueryUpdated", "queryId": query_id, "value": value, "logLines": [], "journal": "J"}


def response(number: int, ts: int, result: Any = None) -> str:
    return json.dumps(
        {
            "type": "MutationResponse",
            "requestId": number,
            "success": True,
            "result": result,
            "ts": encode_ts(ts),
            "logLines": [],
        }
    )


def sent(session: Session) -> list[dict[str, Any]]:
    return [json.loads(message) for message in session.drain()]


def opened() -> Session:
    session = Session()
    session.connected("InitialConnect", 0)
    return session


def test_queries_added_in_one_turn_are_one_message() -> None:
    session = opened()
    session.add("a:b", "{}", lambda outcome: None)
    session.add("a:c", '{"x":1}', lambda outcome: None)
    messages = sent(session)
    assert [m["type"] for m in messages] == ["ModifyQuerySet"]
    assert (messages[0]["baseVersion"], messages[0]["newVersion"]) == (0, 1)
    assert [change["udfPath"] for change in messages[0]["modifications"]] == ["a:b", "a:c"]
    assert messages[0]["modifications"][1]["args"] == [{"x": 1}]


def test_a_transition_changes_all_its_queries_before_anybody_hears() -> None:
    session = opened()
    heard: list[tuple[str, Any]] = []
    for name in ("x", "y"):
        session.add(f"m:{name}", "{}", lambda outcome, name=name: heard.append((name, outcome.value)))
    session.drain()
    effects = session.receive(transition((0, 0), (1, 5), updated(0, 1), updated(1, 2)))
    assert heard == []
    effects.carry_out()
    assert heard == [("x", 1), ("y", 2)]


def test_a_mutation_ends_with_the_transition_that_shows_it() -> None:
    session = opened()
    order: list[Any] = []
    session.add("m:q", "{}", lambda outcome: order.append(("query", outcome.value)))
    session.request("Mutation", "m:f", "{}", lambda outcome: order.append(("done", outcome.value)))
    session.drain()
    session.receive(response(0, 7, "r")).carry_out()
    assert order == []
    session.receive(transition((0, 0), (1, 6), updated(0, "old"))).carry_out()
    assert order == [("query", "old")]
    session.receive(transition((1, 6), (1, 7), updated(0, "new"))).carry_out()
    assert order == [("query", "old"), ("query", "new"), ("done", "r")]


def test_a_failed_mutation_ends_at_once_with_its_data() -> None:
    session = opened()
    got: list[Outcome] = []
    session.request("Mutation", "m:f", "{}", got.append)
    session.receive(
        json.dumps(
            {
                "type": "MutationResponse",
                "requestId": 0,
                "success": False,
                "result": "no",
                "ts": None,
                "logLines": [],
                "errorData": {"a": 1},
            }
        )
    ).carry_out()
    assert isinstance(got[0].error, AppError)
    assert got[0].error.data == {"a": 1}


def test_a_reconnect_says_everything_again_in_order_under_the_same_ids() -> None:
    session = opened()
    entry = session.add("m:q", "{}", lambda outcome: None)
    session.add("m:gone", "{}", lambda outcome: None)
    for number in range(3):
        session.request("Mutation", f"m:f{number}", "{}", lambda outcome: None)
    session.drain()
    session.receive(transition((0, 0), (1, 9), updated(entry.query_id, 1)))
    session.receive(response(0, 10))  # answered, not shown yet
    before = session.session_id
    session.disconnected().carry_out()
    session.remove(session.queries[1])
    again = [json.loads(message) for message in session.connected("lost", 0)]
    assert [m["type"] for m in again] == ["Connect", "ModifyQuerySet", "Mutation", "Mutation", "Mutation"]
    assert again[0]["sessionId"] == before
    assert again[0]["connectionCount"] == 1
    assert again[0]["maxObservedTimestamp"] == encode_ts(10)
    assert again[0]["nbreactive"] == {"version": 1, "deltas": True}
    assert (again[1]["baseVersion"], [c["queryId"] for c in again[1]["modifications"]]) == (0, [0])
    assert again[1]["modifications"][0]["journal"] == "J"
    assert [m["requestId"] for m in again[2:]] == [0, 1, 2]
    assert session.drain() == []


def test_an_action_under_way_is_lost_with_its_connection() -> None:
    session = opened()
    got: list[Outcome] = []
    session.request("Action", "m:a", "{}", got.append)
    session.drain()
    session.disconnected().carry_out()
    assert isinstance(got[0].error, NotConnected)
    assert session.connected("lost", 0)[1:] == []


def test_a_transition_from_elsewhere_is_refused() -> None:
    with pytest.raises(ProtocolError):
        opened().receive(transition((3, 3), (4, 4)))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"type":"Nonsense"}', '{"type":"Transition"}', '{"type":"Ping","type":"x"}']
)
def test_what_is_no_message_is_a_protocol_error(text: str) -> None:
    with pytest.raises(ProtocolError):
        opened().receive(text)


def test_fatal_and_auth_errors() -> None:
    session = opened()
    with pytest.raises(Refused):
        session.receive('{"type":"AuthError","error":"bad token","baseVersion":0,"authUpdateAttempted":true}')
    assert not session.ended
    with pytest.raises(ProtocolError):
        session.receive('{"type":"FatalError","error":"unknown session"}')
    assert session.ended
    before = session.session_id
    session.restart()
    assert session.session_id != before
    assert not session.ended


def test_chunks_are_put_together() -> None:
    session = opened()
    got: list[Any] = []
    session.add("m:q", "{}", lambda outcome: got.append(outcome.value))
    session.drain()
    whole = transition((0, 0), (1, 5), updated(0, "x" * 100))
    parts = [whole[at : at + 40] for at in range(0, len(whole), 40)]
    for number, part in enumerate(parts):
        effects = session.receive(
            json.dumps(
                {
                    "type": "TransitionChunk",
                    "chunk": part,
                    "partNumber": number,
                    "totalParts": len(parts),
                    "transitionId": "t",
                }
            )
        )
        effects.carry_out()
    assert got == ["x" * 100]


def test_an_error_of_the_server_loses_its_frame() -> None:
    error = protocol.wire_error(
        "[Request ID: 7f] Server Error\nUncaught ValueError: bad\n  File x", "FunctionFailed", b"", "", "  File x"
    )
    assert isinstance(error, FunctionFailed)
    assert str(error) == "ValueError: bad"
    assert error.request_id == "7f"
    assert error.trace == "  File x"


@given(st.lists(st.integers(0, 5), max_size=40))
def test_the_query_set_version_counts_every_message_whatever_happens(steps: list[int]) -> None:
    session = opened()
    version, live = 0, set[int]()
    for step in steps:
        if step <= 2:
            session.add(f"m:q{step}", "{}", lambda outcome: None)
        elif step == 3 and session.queries:
            session.remove(next(iter(session.queries.values())))
        elif step == 4:
            session.disconnected()
            version, live = 0, set()
            messages = [json.loads(m) for m in session.connected("lost", 0)][1:]
            for message in messages:
                assert message["baseVersion"] == version
                version = message["newVersion"]
                live |= {change["queryId"] for change in message["modifications"]}
        for message in sent(session):
            assert message["baseVersion"] == version
            version = message["newVersion"]
            for change in message["modifications"]:
                if change["type"] == "Add":
                    assert change["queryId"] not in live
                    live.add(change["queryId"])
                else:
                    live.remove(change["queryId"])
        assert live == set(session.queries)
