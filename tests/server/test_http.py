from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from nbreactive.server import messages as wire
from tests.server.fakes import ADMIN_KEY, serving

ADMIN = {"Authorization": f"Convex {ADMIN_KEY}"}


def test_query_mutation_and_errors_in_convex_form() -> None:
    async def main() -> None:
        async with serving() as served:
            call = served.json
            encoded = {"format": "convex_encoded_json"}
            assert await call("/api/query", {"path": "m:total", "args": {}, **encoded}) == {
                "status": "success",
                "value": 0,
            }
            assert await call("/api/mutation", {"path": "m:add", "args": [{"by": 3}], **encoded}) == {
                "status": "success",
                "value": 3,
            }
            failed = await call("/api/mutation", {"path": "m:fail", "args": {}, **encoded})
            assert failed["status"] == "error" and failed["errorData"] == {"code": "NOPE"}
            crashed = await call("/api/mutation", {"path": "m:crash", "args": {}})
            assert "errorData" not in crashed and crashed["errorMessage"].startswith("[Request ID: ")
            missing = await call("/api/query", {"path": "m:missing", "args": {}})
            assert "Could not find public function for 'm:missing'." in missing["errorMessage"]
            assert await call("/api/query", {"path": "m:chatty", "args": {}}) == {
                "status": "success",
                "value": 1,
                "logLines": ["[LOG] hello"],
            }
            assert await call("/api/query?path=m:echo&args=%7B%22x%22%3A4%7D") == {"status": "success", "value": 4}
            assert (await call("/api/action", {"path": "m:x", "args": {}}))["status"] == "error"

    asyncio.run(main())


def test_any_kind_and_run() -> None:
    async def main() -> None:
        async with serving() as served:
            assert await served.json("/api/function", {"path": "m:add", "args": {}}) == {
                "status": "success",
                "value": 1,
            }
            assert await served.json("/api/function", {"path": "m:total", "args": {}}) == {
                "status": "success",
                "value": 1,
            }
            assert await served.json("/api/run/m/add", {"args": {"by": 4}}) == {"status": "success", "value": 5}
            assert await served.json("/api/run/m:total", {"args": {}}) == {"status": "success", "value": 5}
            assert (await served.json("/api/run/hidden/f", {"args": {}}))["status"] == "error"
            assert await served.json("/api/run/hidden/f", {"args": {}}, ADMIN) == {
                "status": "success",
                "value": "hidden",
            }

    asyncio.run(main())


def test_formats() -> None:
    async def main() -> None:
        async with serving() as served:
            encoded = {"$integer": "BQAAAAAAAAA="}
            body = {"path": "m:echo", "args": {"x": [encoded, {"$bytes": "aGk="}]}}
            assert (await served.json("/api/query", body))["value"] == ["5", "aGk="]
            assert (await served.json("/api/query", {**body, "format": "json"}))["value"] == ["5", "aGk="]
            old = {"Convex-Client": "npm-1.4.1"}
            assert (await served.json("/api/query", body, old))["value"] == [encoded, {"$bytes": "aGk="}]
            assert (await served.json("/api/query", {**body, "format": "convex_json"}))["value"] == [
                encoded,
                {"$bytes": "aGk="},
            ]
            refused = await served.fetch("/api/query", {**body, "format": "xml"})
            assert refused.code == 400 and json.loads(refused.body)["code"] == "ProtocolError"

    asyncio.run(main())


def test_timestamps_and_batches() -> None:
    async def main() -> None:
        async with serving() as served:
            ts = (await served.json("/api/query_ts", {}))["ts"]
            assert wire.decode_ts(ts) == served.engine.durable
            assert (await served.json("/api/query_at_ts", {"path": "m:total", "args": {}, "ts": ts}))["value"] == 0
            future = wire.encode_ts(served.engine.durable + 1)
            assert (await served.fetch("/api/query_at_ts", {"path": "m:total", "args": {}, "ts": future})).code == 400
            assert (await served.fetch("/api/query_at_ts", {"path": "m:total", "args": {}, "ts": "x"})).code == 400
            batch = {"queries": [{"path": "m:total", "args": {}}, {"path": "no:no", "args": {}}]}
            assert [r["status"] for r in (await served.json("/api/query_batch", batch))["results"]] == [
                "success",
                "error",
            ]
            assert (await served.fetch("/api/query_batch", {"queries": [{"path": "m:total"}] * 101})).code == 400

    asyncio.run(main())


def test_plain_addresses() -> None:
    async def main() -> None:
        async with serving() as served:
            assert (await served.fetch("/version")).body == b"1.48.0"
            assert (await served.fetch("/instance_name")).body == b"default"
            assert b"running" in (await served.fetch("/")).body
            nothing = await served.fetch("/nothing")
            assert nothing.code == 404 and json.loads(nothing.body)["code"] == "NotFound"
            wrong = await served.fetch("/api/mutation")
            assert wrong.code == 405 and json.loads(wrong.body)["code"] == "MethodNotAllowed"
            assert "Server" not in nothing.headers and nothing.headers["X-Content-Type-Options"] == "nosniff"

    asyncio.run(main())


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"args":{}}', b'{"path":5}', b"\xff\xfe", b'{"path":"m:f","args":' + b"[" * 50_000]
)
def test_bodies_that_are_not_calls_case_18(body: bytes) -> None:
    async def main() -> None:
        async with serving() as served:
            answer = await served.fetch("/api/query", body, method="POST")
            assert answer.code == 400 and set(json.loads(answer.body)) == {"code", "message"}

    asyncio.run(main())


def test_cors_for_admitted_origins_only() -> None:
    async def main() -> None:
        async with serving(allowed=["https://app.example.com"]) as served:
            for origin in ("http://localhost:5173", "https://app.example.com"):
                asked = {
                    "Origin": origin,
                    "Access-Control-Request-Headers": "content-type,convex-client",
                    "Access-Control-Request-Method": "POST",
                }
                answer = await served.fetch("/api/query", method="OPTIONS", headers=asked)
                assert answer.code == 204 and answer.headers["Access-Control-Allow-Origin"] == origin
                assert answer.headers["Access-Control-Allow-Headers"] == "content-type,convex-client"
                assert answer.headers["Access-Control-Max-Age"] == "86400"
                real = await served.fetch("/api/query", {"path": "m:total", "args": {}}, {"Origin": origin})
                assert (
                    real.code == 200
                    and real.headers["Access-Control-Allow-Origin"] == origin
                    and real.headers["Vary"] == "Origin"
                )
            foreign = await served.fetch(
                "/api/query", {"path": "m:total", "args": {}}, {"Origin": "https://evil.example"}
            )
            assert foreign.code == 403 and "Access-Control-Allow-Origin" not in foreign.headers

    asyncio.run(main())


def test_acting_as_somebody_with_the_admin_key() -> None:
    async def main() -> None:
        async with serving() as served:
            acting = base64.b64encode(json.dumps({"subject": "ada", "issuer": "i"}).encode()).decode()
            body = {"path": "m:who", "args": {}}
            assert (await served.json("/api/query", body, {"Authorization": f"Convex {ADMIN_KEY}:{acting}"}))["value"][
                "tokenIdentifier"
            ] == "i|ada"
            assert (await served.fetch("/api/query", body, {"Authorization": f"Convex {ADMIN_KEY}:!!"})).code == 403
            wrong: dict[str, Any] = json.loads(
                (await served.fetch("/api/query", body, {"Authorization": "Convex wrong"})).body
            )
            assert wrong["code"] == "Refused" and "admin key is wrong" in wrong["message"]
            assert (await served.fetch("/api/query", body, {"Authorization": "Bearer a.b.c"})).code == 401

    asyncio.run(main())


def test_overload_and_full_disk_in_http() -> None:
    from nbreactive.errors import Overloaded, ReadOnly

    async def main() -> None:
        async with serving() as served:
            body = {"path": "m:add", "args": {}}
            served.engine.error = Overloaded("too much is waiting")
            answer = await served.fetch("/api/mutation", body)
            assert answer.code == 503 and json.loads(answer.body) == {
                "code": "Overloaded",
                "message": "too much is waiting",
            }
            served.engine.error = ReadOnly("the disk is full")
            assert (await served.json("/api/mutation", body))["errorMessage"] == "the disk is full"
            served.engine.error = RuntimeError("a secret")
            broken = await served.fetch("/api/mutation", body)
            assert broken.code == 500 and b"secret" not in broken.body

    asyncio.run(main())
