"""``ctx.meta`` at every door: which function, which deployment, how much, and who asks from where."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import websocket_connect

from tests.served import Served
from tests.server.fakes import Wire

MODULE = """
from nbreactive import action, api, internal_mutation, mutation, query

@query
def about(ctx):
    return [ctx.meta.get_function_metadata(), ctx.meta.get_deployment_metadata(), ctx.meta.get_request_metadata()]

@mutation
def work(ctx):
    for n in range(3):
        ctx.db.insert("t", {"n": n})
    ctx.db.query("t").take(2)
    return [ctx.meta.get_transaction_metrics(), ctx.meta.get_request_metadata(), ctx.meta.get_snapshot_ts()]

@action
def act(ctx):
    return ctx.meta.get_request_metadata()

@action
def where(ctx):
    return ctx.meta.get_deployment_metadata()

@internal_mutation
def later(ctx):
    ctx.db.insert("seen", {"meta": ctx.meta.get_request_metadata()})

@mutation
def plan(ctx):
    from reactive.m import later
    return ctx.scheduler.run_after(0, later)

@query
def seen(ctx):
    return [d["meta"] for d in ctx.db.query("seen").collect()]
"""


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    options = ("--deployment", "shop", "--limit", "documents_written=50")
    with Served(tmp_path_factory.mktemp("meta"), {"m": MODULE}, *options) as running:
        yield running


def test_function_and_deployment(backend: Served) -> None:
    function, deployment, request = backend.call("query", "m:about")
    assert function == {"name": "m:about", "componentPath": "", "type": "query", "visibility": "public"}
    assert deployment == {"name": "shop", "region": None, "class": "dev"}
    assert backend.call("action", "m:where") == deployment
    assert list(request) == ["requestId"]  # a result may be shared: it knows nothing of who asks


def test_what_a_transaction_has_used_and_may_still_use(backend: Served) -> None:
    used, _, snapshot = backend.call("mutation", "m:work")
    assert used["documentsWritten"] == {"used": 4, "remaining": 46}  # the table is a document, too
    assert used["documentsRead"] == {"used": 2, "remaining": 31_998}
    assert used["bytesWritten"]["used"] > 0 and used["bytesRead"]["used"] > 0
    assert used["databaseQueries"] == {"used": 1, "remaining": 4095}
    assert int(snapshot) > 0  # Convex's 64-bit type, a text in plain JSON


@pytest.mark.parametrize(("kind", "name"), [("mutation", "work"), ("action", "act")])
def test_who_asks_from_where_over_http_and_over_the_sync_protocol(backend: Served, kind: str, name: str) -> None:
    async def main() -> None:
        agent = {"User-Agent": "a program/1.0"}
        body = f'{{"path": "m:{name}", "args": {{}}}}'
        request = HTTPRequest(f"{backend.url}/api/{kind}", "POST", agent, body)
        import json

        over_http = json.loads((await AsyncHTTPClient().fetch(request)).body)["value"]
        wire = Wire(
            await websocket_connect(HTTPRequest(backend.url.replace("http", "ws") + "/api/sync", headers=agent))
        )
        wire.hello()
        wire.send(type=kind.title(), requestId=0, udfPath=f"m:{name}", args=[{}])
        over_sync = (await wire.until(f"{kind.title()}Response"))["result"]
        wire.connection.close()
        await wire.closed()
        for found in (over_http, over_sync):
            metadata = found if kind == "action" else found[1]
            assert len(metadata.pop("requestId")) == 16
            assert metadata == {
                "ip": "127.0.0.1", "userAgent": "a program/1.0", "scheduledFunctionId": None, "authToken": None,
            }  # fmt: skip

    asyncio.run(main())


def test_a_scheduled_function_knows_its_job_and_has_no_sender(backend: Served) -> None:
    import time

    job = backend.call("mutation", "m:plan")
    deadline = time.monotonic() + 30
    while not (seen := backend.call("query", "m:seen")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert (seen[0]["ip"], seen[0]["userAgent"], seen[0]["scheduledFunctionId"]) == (None, None, job)
