from __future__ import annotations

import asyncio
import time
from typing import Any

from nbreactive.server import messages as wire
from nbreactive.server.limits import ServerLimits
from tests.server.fakes import ADMIN_KEY, eventually, serving


def test_live_query_mutation_and_the_transition_that_follows() -> None:
    async def main() -> None:
        async with serving() as served:
            one = await served.wire()
            one.hello()
            one.subscribe(0, (0, "m:total", {}), (1, "m.js:total", {}))
            first = await one.until("Transition")
            assert first["startVersion"] == {"querySet": 0, "identity": 0, "ts": "AAAAAAAAAAA="}
            assert first["endVersion"]["querySet"] == 1
            assert [(m["type"], m["queryId"], m["value"]) for m in first["modifications"]] == [
                ("QueryUpdated", 0, 0),
                ("QueryUpdated", 1, 0),
            ]
            one.mutate(0, "m:add", by=5)
            response = await one.receive()
            assert (
                response is not None
                and response["type"] == "MutationResponse"
                and response["success"]
                and response["result"] == 5
            )
            second = await one.receive()
            assert second is not None and second["type"] == "Transition"
            assert second["startVersion"] == first["endVersion"]
            assert wire.decode_ts(second["endVersion"]["ts"]) >= wire.decode_ts(response["ts"])
            assert [m["value"] for m in second["modifications"]] == [5, 5]
            assert "errorCode" not in response and "requestId" not in second["modifications"][0]

    asyncio.run(main())


def test_a_transition_follows_every_answer_also_of_failures_and_actions_and_without_queries() -> None:
    async def main() -> None:
        async with serving() as served:
            one = await served.wire()
            one.hello()
            for number, path in enumerate(["m:add", "m:fail", "m:crash", "no:such", "m:add"]):
                one.mutate(number, path)
                response, transition = await one.receive(), await one.receive()
                assert response is not None and transition is not None
                assert response["type"] == "MutationResponse" and response["requestId"] == number
                assert transition["type"] == "Transition" and transition["modifications"] == []
                if path == "m:fail":
                    assert response["errorData"] == {"code": "NOPE"} and response["ts"] is None
                if path == "m:crash":
                    assert "errorData" not in response
                    assert response["result"].startswith("[Request ID: ") and "ValueError: secret" in response["result"]
                if path == "no:such":
                    assert "Could not find public function for 'no:such'." in response["result"]
            one.send(type="Action", requestId=9, udfPath="m:add", args=[{}])
            response, transition = await one.receive(), await one.receive()
            assert response is not None and response["type"] == "ActionResponse" and not response["success"]
            assert transition is not None and transition["type"] == "Transition"

    asyncio.run(main())


def test_mutations_of_a_session_run_in_order_and_answers_coalesce() -> None:
    async def main() -> None:
        async with serving() as served:
            served.engine.functions["m:push"] = (
                "mutation",
                lambda state, args, ctx: state.setdefault("seen", []).append(args["n"]),
            )
            one = await served.wire()
            one.hello()
            for number in range(100):
                one.mutate(number, "m:push", n=number)
            answered: list[int] = []
            while len(answered) < 100:
                message = await one.receive()
                assert message is not None
                if message["type"] == "MutationResponse":
                    answered.append(message["requestId"])
            assert answered == list(range(100)) == served.engine.state["seen"]

    asyncio.run(main())


def test_at_most_one_transition_is_built_and_the_newest_wins() -> None:
    async def main() -> None:
        async with serving() as served:
            watcher, writer = await served.wire(), await served.wire()
            watcher.hello("00000000-0000-4000-8000-000000000002")
            watcher.subscribe(0, (0, "m:total", {}))
            await watcher.until("Transition")
            subscriptions = served.engine.subscriptions
            subscriptions.hold = asyncio.Event()
            writer.hello()
            before = subscriptions.updates
            for number in range(50):
                writer.mutate(number, "m:add")
            await eventually(lambda: served.engine.runs == 50)
            assert subscriptions.updates <= before + 2
            subscriptions.hold.set()
            values = []
            while not values or values[-1] != 50:
                values += [m["value"] for m in (await watcher.until("Transition"))["modifications"]]
            assert len(values) <= 2

    asyncio.run(main())


def test_unchanged_results_are_not_sent_and_removed_queries_are_named() -> None:
    async def main() -> None:
        async with serving() as served:
            one = await served.wire()
            one.hello()
            one.subscribe(0, (0, "m:echo", {"x": 1}), (1, "m:total", {}))
            await one.until("Transition")
            one.mutate(0, "m:add")
            changed = await one.until("Transition")
            assert [m["queryId"] for m in changed["modifications"]] == [1]
            one.send(
                type="ModifyQuerySet", baseVersion=1, newVersion=2, modifications=[{"type": "Remove", "queryId": 1}]
            )
            assert (await one.until("Transition"))["modifications"] == [{"type": "QueryRemoved", "queryId": 1}]
            assert served.engine.subscriptions.count == 1

    asyncio.run(main())


def test_failed_queries_say_why_and_recover() -> None:
    async def main() -> None:
        async with serving() as served:
            one = await served.wire()
            one.hello()
            one.subscribe(0, (0, "m:fail", {"a": 1}), (1, "no:such", {}), (2, "m:chatty", {}))
            by_id = {m["queryId"]: m for m in (await one.until("Transition"))["modifications"]}
            assert by_id[0]["type"] == "QueryFailed" and by_id[0]["errorData"] == {"code": "NOPE", "a": 1}
            assert by_id[1]["type"] == "QueryFailed" and "errorData" not in by_id[1]
            assert by_id[2]["logLines"] == ["[LOG] hello"]
            served.engine.functions["no:such"] = ("query", lambda state, args, ctx: "here now")
            one.mutate(0, "m:add")
            later = {m["queryId"]: m for m in (await one.until("Transition"))["modifications"]}
            assert later == {
                1: {"type": "QueryUpdated", "queryId": 1, "value": "here now", "logLines": [], "journal": None}
            }

    asyncio.run(main())


def test_our_own_client_gets_the_additions() -> None:
    async def main() -> None:
        async with serving() as served:
            one = await served.wire()
            one.hello(nbreactive={"version": 1})
            one.subscribe(0, (0, "m:total", {}), (1, "m:crash", {}))
            by_id = {m["queryId"]: m for m in (await one.until("Transition"))["modifications"]}
            assert (
                by_id[0]["requestId"]
                and by_id[1]["errorCode"] == "FunctionFailed"
                and by_id[1]["trace"] == "  at user.py"
            )

    asyncio.run(main())


def test_authenticate_reruns_the_queries_and_grows_the_identity_version() -> None:
    async def main() -> None:
        async with serving() as served:
            one = await served.wire()
            one.hello()
            one.subscribe(0, (0, "m:who", {}), (1, "hidden:f", {}))
            first = await one.until("Transition")
            assert [m["type"] for m in first["modifications"]] == ["QueryUpdated", "QueryFailed"]
            acting = {"subject": "ada", "issuer": "test"}
            one.send(type="Authenticate", baseVersion=0, tokenType="Admin", value=ADMIN_KEY, impersonating=acting)
            second = await one.until("Transition")
            assert second["endVersion"]["identity"] == 1
            assert second["modifications"][0]["value"] == {"tokenIdentifier": "test|ada", **acting}
            one.send(type="Authenticate", baseVersion=1, tokenType="None")
            third = await one.until("Transition")
            assert third["endVersion"]["identity"] == 2 and third["modifications"][0]["value"] is None
            one.send(type="Authenticate", baseVersion=2, tokenType="User", value="some token")
            refused = await one.until("AuthError")
            assert refused["baseVersion"] == 2 and refused["authUpdateAttempted"]
            assert (await one.closed())[0] == 1008

    asyncio.run(main())


def test_admin_identity_from_the_handshake_reaches_hidden_functions() -> None:
    async def main() -> None:
        async with serving() as served:
            one = await served.wire(headers={"Authorization": f"Convex {ADMIN_KEY}"})
            one.hello()
            one.subscribe(0, (0, "no:such", {}))
            await one.until("Transition")
            (handle,) = served.engine.subscriptions.handles
            assert handle.spec.reach == "system" and handle.spec.identity is None

    asyncio.run(main())


def test_a_closed_connection_leaves_nothing_behind_and_starts_no_waiting_mutation() -> None:
    async def main() -> None:
        async with serving() as served:
            served.engine.hold = asyncio.Event()
            one = await served.wire()
            one.hello()
            one.subscribe(0, (0, "m:total", {}))
            await one.until("Transition")
            for number in range(3):
                one.mutate(number, "m:add")
            one.send(type="Event", eventType="marker", event={})
            await eventually(lambda: any(h.session.busy for h in served.site.sockets._open))
            one.connection.close()
            await eventually(lambda: len(served.site.sockets) == 0)
            assert served.engine.subscriptions.count == 0
            served.engine.hold.set()
            served.engine.hold = None
            again = await served.wire()
            again.hello()
            for number in range(3):
                again.mutate(number, "m:add")
            answers: list[dict[str, Any]] = [await again.until("MutationResponse") for _ in range(3)]
            assert [a["result"] for a in answers] == [1, 2, 3] and served.engine.runs == 3

    asyncio.run(main())


def test_production_tells_only_what_was_meant_for_the_caller_case_30() -> None:
    async def main() -> None:
        async with serving(mode="prod") as served:
            one = await served.wire()
            one.hello(nbreactive={"version": 1})
            one.mutate(0, "m:crash")
            crashed = await one.until("MutationResponse")
            assert (
                crashed["result"] == f"[Request ID: {crashed['result'][13:29]}] Server Error" and crashed["trace"] == ""
            )
            one.mutate(1, "m:fail", why="on purpose")
            assert (await one.until("MutationResponse"))["errorData"] == {"code": "NOPE", "why": "on purpose"}
            one.subscribe(0, (0, "m:chatty", {}))
            while not (found := (await one.until("Transition"))["modifications"]):
                pass
            assert found[0]["logLines"] == []
            (record,) = [call for call in served.site.logs.since(0) if call.code == "FunctionFailed"]
            assert "secret" in record.message and record.request_id in crashed["result"]

    asyncio.run(main())


def test_overload_sends_the_client_away_to_try_later() -> None:
    async def main() -> None:
        from nbreactive.errors import Overloaded

        async with serving() as served:
            served.engine.error = Overloaded("too much")
            one = await served.wire()
            one.hello()
            one.mutate(0, "m:add")
            code, reason = await one.closed()
            assert code == 1013 and reason is not None and reason.startswith("TooManyConcurrentRequests")

    asyncio.run(main())


def test_a_full_disk_fails_the_mutation_and_keeps_the_connection() -> None:
    async def main() -> None:
        from nbreactive.errors import ReadOnly

        async with serving() as served:
            served.engine.error = ReadOnly("the disk is full; free some space")
            one = await served.wire()
            one.hello()
            one.mutate(0, "m:add")
            response = await one.until("MutationResponse")
            assert not response["success"] and response["result"] == "the disk is full; free some space"
            served.engine.error = None
            one.mutate(1, "m:add")
            assert (await one.until("MutationResponse"))["success"]

    asyncio.run(main())


def test_ping_after_silence() -> None:
    async def main() -> None:
        async with serving(limits=ServerLimits(ping_after=0.05)) as served:
            one = await served.wire()
            async with asyncio.timeout(10):
                assert await one.connection.read_message() == '{"type":"Ping"}'

    asyncio.run(main())


def test_draining_answers_what_runs_and_says_come_back() -> None:
    async def main() -> None:
        async with serving() as served:
            served.engine.hold = asyncio.Event()
            one = await served.wire()
            one.hello()
            one.mutate(0, "m:add")
            await eventually(lambda: any(h.session.busy for h in served.site.sockets._open))
            drain = asyncio.create_task(served.site.sockets.drain(10))
            await asyncio.sleep(0)
            served.engine.hold.set()
            assert (await one.until("MutationResponse"))["success"]
            code, reason = await one.closed()
            assert (code, reason) == (1012, "ServiceRestart")
            await drain
            refused = await served.fetch(
                "/api/sync",
                headers={
                    "Upgrade": "websocket",
                    "Connection": "Upgrade",
                    "Sec-WebSocket-Key": "x",
                    "Sec-WebSocket-Version": "13",
                },
            )
            assert refused.code == 503

    asyncio.run(main())


def test_what_arrives_while_draining_does_not_overtake_what_is_left_to_the_next_connection() -> None:
    async def main() -> None:
        async with serving() as served:
            served.engine.hold = asyncio.Event()
            one = await served.wire()
            one.hello()
            served.engine.functions["m:push"] = (
                "mutation",
                lambda state, args, ctx: state.setdefault("seen", []).append(args["n"]),
            )
            for number in range(70):
                one.mutate(number, "m:push", n=number)
            await eventually(lambda: any(len(h.session._mutations._waiting) == 6 for h in served.site.sockets._open))
            drain = asyncio.create_task(served.site.sockets.drain(10))
            await asyncio.sleep(0)
            one.mutate(70, "m:push", n=70)
            await asyncio.sleep(0.05)
            served.engine.hold.set()
            await one.closed()
            await drain
            assert served.engine.state["seen"] == list(range(64))

    asyncio.run(main())


def test_observed_timestamps_of_the_future_are_refused_case_22() -> None:
    async def main() -> None:
        async with serving() as served:
            for observed, ends in ((wire.encode_ts(time.time_ns() + 10**15), True), (wire.encode_ts(5), False)):
                one = await served.wire(path="/api/sync")
                one.hello(maxObservedTimestamp=observed)
                one.mutate(1, "m:add")
                if ends:
                    assert (await one.closed())[0] == 1002
                else:
                    assert (await one.until("MutationResponse"))["success"]

    asyncio.run(main())
