"""Row deltas: that they lead from the one result to the other, and what is kept for them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from nbreactive.engine.query_cache import QueryResult, result_of
from nbreactive.engine.transactions import Failure, Outcome
from nbreactive.server.deltas import LEAST, Deltas, Run, rows_of, runs_between
from nbreactive.values.json import encode_json
from tests.server.fakes import FakeEngine, Wire, add, serving

PAD = "x" * LEAST


def raws(values: list[Any]) -> list[Raw]:
    return [Raw(encode_json(value)) for value in values]


def runs_of(old: list[Any], new: list[Any]) -> list[Run]:
    runs = runs_between(raws(old), raws(new), 1 << 30)
    assert runs is not None
    assert put_together(raws(old), runs) == raws(new)
    return runs


def put_together(old: list[Raw], runs: list[Run]) -> list[Raw]:
    """What the protocol says that runs mean."""
    made: list[Raw] = []
    for start, count, rows in runs:
        assert 0 <= start <= start + count <= len(old)
        made += old[start : start + count] + rows
    return made


def result(value: Any, failure: Failure | None = None) -> QueryResult:
    return result_of(Outcome(value=encode_json(value), failure=failure), 1)


few = st.lists(st.integers(0, 5), max_size=30)


@given(few, few)
def test_runs_lead_from_any_list_to_any_other(one: list[int], other: list[int]) -> None:
    runs = runs_between(raws(one), raws(other), 1 << 30)
    if runs is None:
        assert not set(one) & set(other)
        return
    assert put_together(raws(one), runs) == raws(other)
    assert all(count for _, count, _ in runs[1:])


@given(st.data())
def test_a_few_changes_are_a_few_runs(data: st.DataObject) -> None:
    old = list(range(1000))
    new = list(old)
    changes = data.draw(st.integers(0, 5))
    inserted: list[int] = []
    for number in range(changes):
        at = data.draw(st.integers(0, len(new) - 1))
        match data.draw(st.sampled_from(["put", "insert", "delete"])):
            case "put":
                new[at] = 10_000 + number
                inserted.append(new[at])
            case "insert":
                new.insert(at, 10_000 + number)
                inserted.append(10_000 + number)
            case _:
                del new[at]
    runs = runs_of(old, new)
    assert len(runs) <= changes + 1
    sent = [json.loads(bytes(row)) for _, _, rows in runs for row in rows]
    assert set(sent) <= set(inserted)


def test_a_list_that_is_turned_over_or_shifted_is_not_sent_again() -> None:
    old = list(range(100))
    for new in (old[::-1], old[50:] + old[:50], [100, *old[:-1]]):
        assert sum(len(rows) for _, _, rows in runs_of(old, new)) <= 1


def test_what_has_changed_all_over_is_given_up() -> None:
    old = list(range(10_000))
    assert runs_between(raws(old), raws([-n if n % 2 else n for n in old]), 1 << 30) is None
    assert runs_between(raws(old), raws(old[::-1]), 1 << 30) is None
    assert runs_between(raws(old), raws([-1 - n for n in old]), 1 << 30) is None
    assert runs_between(raws(old), raws([*old, *range(-100, 0), 1]), 200) is None
    assert runs_between(raws(old), raws([*old, *range(-100, 0), 1]), 500) is not None


def test_where_lists_are_in_results() -> None:
    rows = [{"n": 1}, {"n": 2}]
    for value, path, rest in [
        (rows, [], None),
        ({"columns": [], "rows": rows, "total": 2}, ["rows"], b'{"columns":[],"rows":[],"total":2}'),
        (
            {"continueCursor": "c", "isDone": True, "page": rows},
            ["page"],
            b'{"continueCursor":"c","isDone":true,"page":[]}',
        ),
        ({"page": rows, "rows": 7}, ["page"], b'{"page":[],"rows":7}'),
    ]:
        found = rows_of(encode_json(value))
        assert found is not None and found.path == path and found.rows == raws(rows)
        assert found.rest == (None if rest is None else Raw(rest))
    assert rows_of(b'{"a":{"rows":[1]}}') is None
    assert rows_of(b'{"rows":7}') is None
    assert rows_of(b"[1, 2]") is None  # not as we write it: the client could not say the same text again


def test_a_delta_is_worked_out_once_for_all_who_go_the_same_way() -> None:
    deltas = Deltas(1 << 20)
    one, two = result([PAD, 1]), result([PAD, 2])
    first = [deltas.follow(None, one) for _ in range(3)]
    assert len({id(shown) for shown, _ in first}) == 1 and all(delta is None for _, delta in first)
    then = [deltas.follow(shown, two) for shown, _ in first]
    assert len({id(delta) for _, delta in then}) == 1
    assert then[0][1] is not None and then[0][1].runs == [(0, 1, [Raw(b"2")])]
    assert len(deltas) == 1  # nobody shows the one before any more
    for shown, _ in then:
        assert shown is not None
        deltas.leave(shown)
    assert len(deltas) == 0 and deltas.bytes == 0


def test_what_is_small_has_failed_or_is_all_new_comes_whole() -> None:
    deltas = Deltas(1 << 20)
    shown, _ = deltas.follow(None, result([PAD]))
    assert shown is not None
    other, delta = deltas.follow(shown, result([PAD[::-1] + "y"]))
    assert other is not None and delta is None
    assert deltas.follow(other, result([1])) == (None, None)
    for value in ({"a": [PAD]}, PAD, {"rows": PAD}, None):
        assert deltas.follow(None, result(value)) == (None, None)
    assert deltas.follow(None, result([PAD], Failure("FunctionFailed", "no"))) == (None, None)
    assert len(deltas) == 0 and deltas.bytes == 0


def test_from_a_list_to_a_page_there_is_no_delta() -> None:
    deltas = Deltas(1 << 20)
    shown, _ = deltas.follow(None, result([PAD, 1]))
    shown, delta = deltas.follow(shown, result({"page": [PAD, 2]}))
    assert shown is not None and delta is None
    _, delta = deltas.follow(shown, result({"page": [PAD, 3]}))
    assert delta is not None and delta.path == ["page"]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=60))
def test_what_is_kept_is_bounded_and_of_those_who_are_there(steps: list[tuple[int, int]]) -> None:
    most = 3 * LEAST + 1000
    deltas = Deltas(most)
    clients: dict[int, Any] = {}
    for client, number in steps:
        if number == 5:
            shown = clients.pop(client, None)
            if shown is not None:
                deltas.leave(shown)
            continue
        before = clients.get(client)
        text = [bytes(row) for row in raws([PAD, number])]
        clients[client], delta = deltas.follow(before, result([PAD, number]))
        if delta is not None:
            assert [bytes(row) for _, _, rows in delta.runs for row in rows] in ([text[1]], [])
        assert 0 <= deltas.bytes <= most
    for shown in clients.values():
        deltas.leave(shown)
    assert len(deltas) == 0 and deltas.bytes == 0


def test_a_result_that_had_to_go_is_no_base() -> None:
    deltas = Deltas(LEAST + 500)
    one, _ = deltas.follow(None, result([PAD, 1]))
    deltas.follow(None, result([PAD, 2]))
    assert one is not None and one.value == b"" and len(deltas) == 1
    _, delta = deltas.follow(one, result([PAD, 3]))
    assert delta is None


# ---- in a session ------------------------------------------------------------------------------------------------


def _rows(state: dict[str, Any], args: dict[str, Any], ctx: Any) -> Any:
    rows = [{"n": number, "text": "row"} for number in range(100)]
    rows[50]["n"] = state.get("total", 0)
    return rows if "in" not in args else {args["in"]: rows, "total": state.get("total", 0)}


def _fails(state: dict[str, Any], args: dict[str, Any], ctx: Any) -> Any:
    if state.get("total", 0) % 2:
        raise ValueError("odd")
    return _rows(state, {}, ctx)


def engine() -> FakeEngine:
    functions = {"m:rows": ("query", _rows), "m:fails": ("query", _fails), "m:add": ("mutation", add)}
    return FakeEngine(functions)  # type: ignore[arg-type]


async def _said(wire: Wire) -> dict[int, dict[str, Any]]:
    while True:
        transition = await wire.until("Transition")
        if transition["modifications"]:
            return {change["queryId"]: change for change in transition["modifications"]}


def test_who_asks_is_told_what_is_new_and_others_everything() -> None:
    async def main() -> None:
        async with serving(engine()) as served:
            asking, other, adding = await served.wire(), await served.wire(), await served.wire()
            asking.hello(nbreactive={"version": 1, "deltas": True})
            other.hello()
            adding.hello("00000000-0000-4000-8000-000000000003", nbreactive={"version": 1})
            for wire in (asking, other, adding):
                wire.subscribe(0, (0, "m:rows", {}), (1, "m:rows", {"in": "rows"}), (2, "m:rows", {"in": "page"}))
                first = await _said(wire)
                assert {change["type"] for change in first.values()} == {"QueryUpdated"}
            other.mutate(0, "m:add")
            for wire in (other, adding):
                second = await _said(wire)
                assert {change["type"] for change in second.values()} == {"QueryUpdated"}
                assert second[0]["value"][50] == {"n": 1, "text": "row"} and len(second[0]["value"]) == 100
            told = await _said(asking)
            runs = [[0, 50, [{"n": 1, "text": "row"}]], [51, 49, []]]
            assert [change["type"] for change in told.values()] == ["QueryDelta"] * 3
            assert [change["path"] for change in told.values()] == [[], ["rows"], ["page"]]
            assert all(change["runs"] == runs for change in told.values())
            assert "rest" not in told[0] and told[1]["rest"] == {"rows": [], "total": 1}
            assert told[0]["requestId"] and told[0]["logLines"] == []

    asyncio.run(main())


def test_after_a_failure_and_on_a_new_connection_results_come_whole() -> None:
    async def main() -> None:
        async with serving(engine()) as served:
            deltas = served.site.calls.deltas
            for connection in range(2):
                one = await served.wire()
                one.hello(nbreactive={"version": 1, "deltas": True})
                one.subscribe(0, (0, "m:fails", {}))
                assert (await _said(one))[0]["type"] == "QueryUpdated"
                assert len(deltas) == 1
                one.mutate(2 * connection, "m:add", by=2)
                assert (await _said(one))[0]["type"] == "QueryDelta"
                one.mutate(2 * connection + 1, "m:add", by=1)
                assert (await _said(one))[0]["type"] == "QueryFailed"
                assert len(deltas) == 0
                one.mutate(2 * connection + 100, "m:add", by=1)
                assert (await _said(one))[0]["type"] == "QueryUpdated"
                one.send(
                    type="ModifyQuerySet",
                    baseVersion=1,
                    newVersion=2,
                    modifications=[{"type": "Remove", "queryId": 0}] if connection == 0 else [],
                )
                await one.until("Transition")
                assert len(deltas) == connection
                one.connection.close()
                await one.closed()
            while len(deltas):
                await asyncio.sleep(0.005)

    asyncio.run(main())
