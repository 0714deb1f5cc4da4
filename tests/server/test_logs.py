from __future__ import annotations

import asyncio
import io
import json
import time
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tornado.websocket import websocket_connect

from nbreactive.engine.transactions import LogLine
from nbreactive.server.logs import Logs
from tests.served import Served
from tests.server.fakes import ADMIN_KEY, Wire, serving


@given(st.text(), st.text())
def test_no_text_forges_a_line_or_colours_a_terminal_case_47(path: str, message: str) -> None:
    stream = io.StringIO()
    Logs(stream).call("r", path, "query", 0.001, "anonymous", "FunctionFailed", message)
    text = stream.getvalue()
    assert text.count("\n") == 1 and text.endswith("\n")
    assert all(32 <= ord(c) < 127 for c in text[:-1])
    assert json.loads(text)["message"] == message[:4096]


def test_the_log_of_calls_is_bounded_and_names_nobody() -> None:
    stream = io.StringIO()
    logs = Logs(stream, keep=10)
    for number in range(100):
        logs.call(
            str(number), "m:f" + "x" * 1000, "mutation", 0.5, "ada@example.com", lines=[LogLine("LOG", "a")] * 1000
        )
    kept = logs.since(0)
    assert (
        [c.request_id for c in kept] == [str(n) for n in range(90, 100)]
        and len(kept[0].path) == 300
        and len(kept[0].lines) == 256
    )
    assert [c.number for c in logs.since(kept[-2].number)] == [kept[-1].number]
    assert "ada" not in stream.getvalue() and kept[0].caller.startswith("user ")


def test_quiet_calls_write_no_line_unless_asked() -> None:
    quiet, verbose = io.StringIO(), io.StringIO()
    Logs(quiet).call("r", "m:f", "query", 0.1, "anonymous")
    Logs(verbose, verbose=True).call("r", "m:f", "query", 0.1, "anonymous")
    assert quiet.getvalue() == "" and json.loads(verbose.getvalue())["path"] == "m:f"


def test_what_calls_said_is_bounded_in_bytes() -> None:
    logs = Logs(io.StringIO(), keep=1000, keep_bytes=10_000)
    for number in range(20):
        logs.call(
            str(number), "m:f", "query", 0.0, "anonymous", "FunctionFailed", "x" * 1000, [LogLine("LOG", "y" * 900)]
        )
    kept = logs.since(0)
    assert len(kept) == 20
    assert [len(call.lines) for call in kept] == [0] * 15 + [1] * 5
    assert kept[0].message.startswith("(forgotten") and kept[-1].message == "x" * 1000


def test_calls_are_found_by_function_module_and_outcome() -> None:
    logs = Logs(io.StringIO())
    for path, code in (
        ("chat:send", ""),
        ("chat:list", "AppError"),
        ("chats:send", "AppError"),
        ("chat:send", "AppError"),
    ):
        logs.call(path, path, "query", 0.0, "anonymous", code)
    assert [call.path for call in logs.since(0, path="chat")] == ["chat:send", "chat:list", "chat:send"]
    for name in ("chat:send", "chat.send", "api.chat.send"):
        assert [call.code for call in logs.since(0, path=name)] == ["", "AppError"]
    assert [call.path for call in logs.since(0, errors=True, last=2)] == ["chats:send", "chat:send"]
    assert logs.since(logs.newest) == []


def test_numbers_go_on_across_restarts_and_a_clock_that_was_set_back_loses_nothing() -> None:
    first = Logs()
    first.call("1", "m:f", "query", 0.0, "anonymous")
    second = Logs()
    second.call("2", "m:f", "query", 0.0, "anonymous")
    assert [call.request_id for call in second.since(first.newest)] == ["2"]
    assert [call.request_id for call in second.since(second.newest + 10**9)] == ["2"]


def test_followers_are_told_of_what_they_want() -> None:
    async def main() -> None:
        logs = Logs(io.StringIO())
        anything = asyncio.ensure_future(logs.follow(logs.newest, 30))
        errors = asyncio.ensure_future(logs.follow(logs.newest, 30, wanted=lambda: bool(logs.since(0, errors=True))))
        await asyncio.sleep(0)
        logs.call("1", "m:f", "query", 0.0, "anonymous")
        await anything
        assert not errors.done()
        logs.call("2", "m:f", "query", 0.0, "anonymous", "AppError")
        await errors
        await logs.follow(0, 30)
        await logs.follow(logs.newest, 0.01)

    asyncio.run(main())


def test_a_long_poll_is_answered_by_the_next_call_and_needs_the_right_to_deploy() -> None:
    async def main() -> None:
        async with serving() as served:
            key = {"Authorization": f"Convex {ADMIN_KEY}"}
            for door in ("/api/stream_function_logs", "/api/stream_udf_execution", "/api/admin/logs"):
                assert (await served.fetch(f"{door}?cursor=0")).code == 403
                assert (await served.fetch(f"{door}?cursor=x&after=x", headers=key)).code == 400
            first = await served.json("/api/stream_function_logs?cursor=0", headers=key)
            assert first["entries"] == []
            cursor = first["newCursor"]
            polls = [
                asyncio.ensure_future(served.json(f"/api/{door}?cursor={cursor}", headers=key))
                for door in ("stream_function_logs", "stream_udf_execution")
            ]
            ours = asyncio.ensure_future(served.json(f"/api/admin/logs?after={cursor}&wait=30&function=m", headers=key))
            await served.json("/api/query", {"path": "m:chatty", "args": {}})
            structured, plain = [await poll for poll in polls]
            (entry,) = structured["entries"]
            assert entry["identifier"] == "m:chatty" and entry["udfType"] == "Query" and "error" not in entry
            assert entry["logLines"][0]["messages"] == ["hello"] and entry["logLines"][0]["level"] == "LOG"
            assert plain["entries"][0]["logLines"] == ["[LOG] hello"]
            assert (await ours)["calls"][0]["path"] == "m:chatty"
            await served.json("/api/mutation", {"path": "m:crash", "args": {}})
            after = await served.json(f"/api/stream_function_logs?cursor={structured['newCursor']}", headers=key)
            assert [e["udfType"] for e in after["entries"]] == ["Mutation"] and "secret" in after["entries"][0]["error"]

    asyncio.run(main())


def test_runs_of_live_queries_are_in_the_log_too(tmp_path: Path) -> None:
    source = """
from nbreactive import mutation, query
@query
def total(ctx):
    print("counting")
    return ctx.db.query("t").count()
@mutation
def add(ctx):
    ctx.db.insert("t", {})
"""

    async def main(backend: Served) -> None:
        wire = Wire(await websocket_connect(backend.url.replace("http", "ws") + "/api/sync"))
        wire.hello()
        wire.subscribe(0, (0, "m:total", {}))
        assert (await wire.until("Transition"))["modifications"][0]["value"] == 0
        wire.mutate(0, "m:add")
        assert (await wire.until("Transition"))["modifications"][0]["value"] == 1
        wire.connection.close()
        await wire.closed()

    with Served(tmp_path, {"m": source}) as backend:
        asyncio.run(main(backend))
        calls = backend.fetch("/api/admin/logs", admin=True)["calls"]
        assert sorted((call["path"], call["kind"]) for call in calls) == [
            ("m:add", "mutation"), ("m:total", "query"), ("m:total", "query"),
        ]  # fmt: skip
        assert all(call["lines"] == [["LOG", "counting"]] for call in calls if call["path"] == "m:total")
        assert len({call["request_id"] for call in calls}) == 3


def test_what_actions_and_the_scheduler_run_is_in_the_log_with_its_full_error_in_production(tmp_path: Path) -> None:
    source = """
from nbreactive import action, internal_mutation, mutation, query
@query
def read(ctx):
    print("read")
    return 1
@internal_mutation
def fail(ctx):
    raise ValueError("in production, too")
@action
def act(ctx):
    from reactive.m import fail, read
    try:
        ctx.run_mutation(fail)
    except Exception:
        pass
    return ctx.run_query(read)
@mutation
def plan(ctx):
    ctx.scheduler.run_after(0, fail)
"""
    with Served(tmp_path, {"m": source}, "--mode", "prod") as backend:
        assert backend.call("action", "m:act") == 1
        backend.call("mutation", "m:plan")

        def calls() -> list[dict[str, Any]]:
            return backend.fetch("/api/admin/logs", admin=True)["calls"]

        deadline = time.monotonic() + 30
        while sum(call["path"] == "m:fail" for call in calls()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        found = {call["path"]: call for call in calls()}
        assert found["m:read"]["lines"] == [["LOG", "read"]]
        assert found["m:read"]["request_id"] == found["m:act"]["request_id"]
        failed = [call for call in calls() if call["path"] == "m:fail"]
        assert all("ValueError: in production, too" in call["message"] for call in failed)
