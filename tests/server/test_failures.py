"""What callers are told when a function fails, at every door and in both modes, and that the log knows more."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.websocket import websocket_connect

from tests.served import Served
from tests.server.fakes import Wire

MODULE = """
from nbreactive import AppError, action, mutation, query

def inner(secret):
    raise ValueError(f"no good: {secret}")

@query
def crash(ctx, secret: str = "s3cr3t"):
    inner(secret)

@mutation
def crash_too(ctx):
    inner("s3cr3t")

@action
def crash_as_well(ctx):
    inner("s3cr3t")

@query
def refuse(ctx):
    raise AppError({"code": "NOPE"})

@mutation
def refuse_too(ctx):
    raise AppError({"code": "NOPE"})

@action
def refuse_as_well(ctx):
    raise AppError({"code": "NOPE"})

@query
def typed(ctx, age: int) -> int:
    return age

@query
def wrong_result(ctx) -> int:
    return "five"
"""
ROUTES = """
from nbreactive import http_action, http_router

@http_action
def crash(ctx, request):
    raise ValueError("no good: s3cr3t")

http = http_router()
http.route(path="/crash", method="GET", handler=crash)
"""
NAMES = {
    "query": ("crash", "refuse"),
    "mutation": ("crash_too", "refuse_too"),
    "action": ("crash_as_well", "refuse_as_well"),
}


@pytest.fixture(scope="module", params=["dev", "prod"])
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    options = ("--mode", request.param)
    with Served(tmp_path_factory.mktemp(request.param), {"m": MODULE, "http": ROUTES}, *options) as running:
        running.mode = request.param  # type: ignore[attr-defined]
        yield running


def http_doors(backend: Served, kind: str, name: str) -> dict[str, dict[str, Any]]:
    """The answer of every way to call a function over HTTP."""
    body = {"path": f"m:{name}", "args": {}}
    found = {
        f"/api/{kind}": backend.fetch(f"/api/{kind}", body),
        "/api/function": backend.fetch("/api/function", body),
        "/api/run": backend.fetch(f"/api/run/m/{name}", {"args": {}}),
    }
    if kind == "query":
        found["GET /api/query"] = backend.fetch(f"/api/query?path=m:{name}&args=%7B%7D")
        found["/api/query_at_ts"] = backend.fetch("/api/query_at_ts", body | backend.fetch("/api/query_ts", {}))
        found["/api/query_batch"] = backend.fetch("/api/query_batch", {"queries": [body]})["results"][0]
    return found


async def socket_door(backend: Served, kind: str, name: str) -> dict[str, Any]:
    """The answer over the sync protocol, in the form of the HTTP API."""
    wire = Wire(await websocket_connect(backend.url.replace("http", "ws") + "/api/sync"))
    wire.hello()
    if kind == "query":
        wire.subscribe(0, (0, f"m:{name}", {}))
        said = (await wire.until("Transition"))["modifications"][0]
        answer = {"errorMessage": said["errorMessage"]}
    else:
        wire.send(type=kind.title(), requestId=0, udfPath=f"m:{name}", args=[{}])
        said = await wire.until(f"{kind.title()}Response")
        assert said["success"] is False
        answer = {"errorMessage": said["result"]}
    wire.connection.close()
    await wire.closed()
    return answer | ({"errorData": said["errorData"]} if "errorData" in said else {})


def every_door(backend: Served, kind: str, name: str) -> dict[str, dict[str, Any]]:
    return http_doors(backend, kind, name) | {"/api/sync": asyncio.run(socket_door(backend, kind, name))}


def logged(backend: Served) -> dict[str, dict[str, Any]]:
    return {call["request_id"]: call for call in backend.fetch("/api/admin/logs", admin=True)["calls"]}


def request_id(answer: dict[str, Any]) -> str:
    found = re.match(r"\[Request ID: ([0-9a-f]{16})\] Server Error", answer["errorMessage"])
    assert found, answer
    return found[1]


@pytest.mark.parametrize("kind", ["query", "mutation", "action"])
def test_an_exception_is_told_in_dev_mode_only_and_is_in_the_log(backend: Served, kind: str) -> None:
    name = NAMES[kind][0]
    for door, answer in every_door(backend, kind, name).items():
        id, text = request_id(answer), answer["errorMessage"]
        assert "errorData" not in answer, door
        if backend.mode == "prod":  # type: ignore[attr-defined]
            assert text.strip() == f"[Request ID: {id}] Server Error", door
        else:
            assert text.startswith(f"[Request ID: {id}] Server Error\nUncaught ValueError: no good: s3cr3t\n"), door
            assert "    at inner (reactive/m.py:5)" in text and f"    at {name} (reactive/m.py:" in text, door
            assert "site-packages" not in text and "nbreactive/runtime" not in text, door
        call = logged(backend)[id]
        assert call["path"] == f"m:{name}" and call["kind"] == kind and call["code"] == "FunctionFailed", door
        assert "ValueError: no good: s3cr3t" in call["message"] and "reactive/m.py:5" in call["message"], door
        assert call["duration_ms"] >= 0 and call["caller"] == "anonymous", door


@pytest.mark.parametrize("kind", ["query", "mutation", "action"])
def test_the_data_of_an_app_error_reaches_every_caller_in_both_modes(backend: Served, kind: str) -> None:
    for door, answer in every_door(backend, kind, NAMES[kind][1]).items():
        assert answer["errorData"] == {"code": "NOPE"}, door
        assert logged(backend)[request_id(answer)]["code"] == "AppError", door


@pytest.mark.parametrize("kind", ["query", "mutation", "action"])
def test_what_is_not_there_is_told_as_convex_does(backend: Served, kind: str) -> None:
    for door, answer in every_door(backend, kind, "nothing").items():
        assert "Could not find public function for 'm:nothing'. Did you forget to " in answer["errorMessage"], door
        assert logged(backend)[request_id(answer)]["code"] == "FunctionNotFound", door


def test_an_http_action_that_fails_is_told_by_its_request_id_and_is_in_the_log(backend: Served) -> None:
    said = backend.fetch("/http/crash")["code"]
    found = re.search(r"\[Request ID: ([0-9a-f]{16})\] Server Error", said)
    assert found is not None
    assert ("s3cr3t" in said) == (backend.mode == "dev")  # type: ignore[attr-defined]
    call = logged(backend)[found[1]]
    assert call["kind"] == "http_action" and "ValueError: no good: s3cr3t" in call["message"]


def test_a_wrong_argument_is_told_to_its_caller_and_not_to_the_log(backend: Served) -> None:
    answer = backend.ask("query", "m:typed", age="my secret")
    call = logged(backend)[request_id(answer)]
    if backend.mode == "dev":  # type: ignore[attr-defined]
        said = "ArgumentValidationError: args.age: expected a whole number, got the string 'my secret'; use int(x)\nPath: .age\n"
        assert said in answer["errorMessage"]
    else:
        assert "secret" not in answer["errorMessage"]
    assert "ArgumentValidationError: args.age: expected a whole number, got a string" in call["message"]
    assert "my secret" not in backend.log


def test_a_wrong_result_is_the_authors_fault(backend: Served) -> None:
    answer = backend.ask("query", "m:wrong_result")
    assert ("ReturnsValidationError" in answer["errorMessage"]) == (backend.mode == "dev")  # type: ignore[attr-defined]
    assert "ReturnsValidationError" in logged(backend)[request_id(answer)]["message"]


def test_paths_and_frames_of_ours_never_reach_callers(backend: Served, tmp_path: Path) -> None:
    for name in ("crash", "refuse", "wrong_result", "nothing"):
        text = str(backend.ask("query", f"m:{name}"))
        assert str(backend.folder) not in text and "/nbreactive/" not in text
