"""Every message of the sync protocol that npm's client can produce, and ends of the backend in every phase of a mutation."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.faults import PHASES, Once, mutate_through, open_when_read
from tests.conformance.functions import MODULE, texts
from tests.conformance.packages import needs_node, provide
from tests.conformance.programs import Program, program
from tests.conformance.proxy import SECONDS, Passing, Proxy, wait_until
from tests.served import KEY, Served

pytestmark = [pytest.mark.slow, needs_node]
NPM = Path(__file__).parent / "npm"


@pytest.fixture
def start(proxy: Proxy) -> Iterator[Callable[..., Program]]:
    """Start a client: ``start(**options of ConvexClient)``."""
    provide(NPM)
    running: list[Any] = []

    def begin(**options: Any) -> Program:
        context = program(["node", "live.mjs", proxy.url, json.dumps(options)], NPM)
        running.append(context)
        return context.__enter__()

    yield begin
    for context in running:
        context.__exit__(None, None, None)


# ---- mutations ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kill", [True, False], ids=["kill -9", "cut"])
def test_nothing_is_lost_and_nothing_happens_twice(
    backend: Served, proxy: Proxy, start: Callable[..., Program], tmp_path: Path, kill: bool
) -> None:
    client = start()
    before = len(texts(backend))
    total = client.send("subscribe", "conform:total")
    client.until(total, lambda said: said["value"] == before)
    names = [f"{phase}, {'killed' if kill else 'cut'}" for phase in PHASES]
    for number, (phase, name) in enumerate(zip(PHASES, names, strict=True), 1):
        answer = mutate_through(client, proxy, backend, phase, name, tmp_path, kill=kill)
        assert answer["value"] == name, phase
        assert proxy.connections == number + 1, phase
        client.until(total, lambda said, wanted=before + number: said["value"] == wanted)
    counted = Counter(texts(backend))
    assert {name: counted[name] for name in names} == dict.fromkeys(names, 1)
    # One session through it all, and the number of the mutation said again: that is what it rests on.
    assert len({passing.message["sessionId"] for passing in proxy.saw("Connect")}) == 1
    said = Counter(passing.message["requestId"] for passing in proxy.saw("Mutation"))
    assert set(said.values()) == {2}


def test_1000_queued_mutations_arrive_in_order_although_the_backend_is_killed(
    backend: Served, proxy: Proxy, start: Callable[..., Program]
) -> None:
    proxy.refusing = True
    client = start()
    before = len(texts(backend))
    numbers = [client.send("mutation", "conform:add", {"text": f"queued {n}"}) for n in range(1000)]
    assert client.ask("state")["value"]["inflightMutations"] == 1000
    proxy.judge = once = Once(lambda _: len(proxy.saw("MutationResponse")) >= 300, backend.kill)
    proxy.refusing = False
    assert once.done.wait(SECONDS)
    backend.start()
    for n, number in enumerate(numbers):
        assert client.next(number)["value"] == f"queued {n}"
    assert texts(backend)[before:] == [f"queued {n}" for n in range(1000)]
    assert proxy.connections >= 2


def test_nothing_is_lost_when_the_backend_is_restarted_in_good_order(
    backend: Served, proxy: Proxy, start: Callable[..., Program]
) -> None:
    client = start()
    before = len(texts(backend))
    numbers = [client.send("mutation", "conform:add", {"text": f"restarted {n}"}) for n in range(500)]
    proxy.wait_for(lambda seen: any(passing.type == "MutationResponse" for passing in seen))
    assert backend.stop() == 0
    backend.start()
    for n, number in enumerate(numbers):
        assert client.next(number)["value"] == f"restarted {n}"
    assert texts(backend)[before:] == [f"restarted {n}" for n in range(500)]


# ---- actions --------------------------------------------------------------------------------------------------


def test_an_action_in_flight_is_given_up_by_the_client_and_ends_on_the_server(
    backend: Served, proxy: Proxy, start: Callable[..., Program], tmp_path: Path
) -> None:
    client = start()
    refused = client.ask("action", "conform:refuse_outside", {"why": "npm"})["error"]
    assert refused["isConvexError"] and refused["data"] == {"code": "REFUSED", "why": "npm"}
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    number = client.send("action", "conform:fetch", {"text": "action", "pipe": str(pipe)})
    writing = open_when_read(pipe)
    proxy.cut()
    assert "Connection lost while action was in flight" in client.next(number)["error"]["message"]
    assert client.ask("mutation", "conform:add", {"text": "after the action"})["value"] == "after the action"
    assert len(proxy.saw("Action")) == 2  # the one before, and this one once
    os.close(writing)
    wait_until(lambda: "action: ended" in texts(backend))
    assert texts(backend).count("action: begun") == 1
    # And without any accident it is answered.
    pipe.unlink()
    pipe.touch()
    assert client.ask("action", "conform:fetch", {"text": "again", "pipe": str(pipe)})["value"] == "again"


# ---- queries --------------------------------------------------------------------------------------------------


def test_a_page_keeps_its_end_over_a_reconnect_by_its_journal(
    backend: Served, proxy: Proxy, start: Callable[..., Program]
) -> None:
    for text in texts(backend):
        backend.call("mutation", "conform:drop", text=text)
    for text in "abcde":
        backend.call("mutation", "conform:add", text=text)
    client = start()
    page = client.send("subscribe", "conform:page", {"paginationOpts": {"numItems": 3, "cursor": None}})

    def shown(said: Any) -> str:
        return "".join(document["text"] for document in said["value"]["page"])

    assert shown(client.next(page)) == "abc"
    backend.call("mutation", "conform:drop", text="a")
    client.until(page, lambda said: shown(said) == "bc")
    proxy.cut()
    proxy.wait_for(lambda _: proxy.saw("Transition", connection=2))
    [again] = proxy.saw("ModifyQuerySet", connection=2)
    [added] = again.message["modifications"]
    assert added["journal"]
    # The same query as before, so what follows is what the page shows: still its three, and none of the next page.
    backend.call("mutation", "conform:drop", text="b")
    client.until(page, lambda said: shown(said) == "c")
    assert not any(
        len(change["value"]["page"]) > 3 or "d" in shown(change)
        for passing in proxy.saw("Transition")
        for change in passing.message["modifications"]
    )


def test_results_above_5_mb_come_in_chunks(backend: Served, proxy: Proxy, start: Callable[..., Program]) -> None:
    client = start()
    small = client.send("subscribe", "conform:large", {"size": 4_000_000})
    assert len(client.next(small)["value"]) > 4_000_000
    assert not proxy.saw("TransitionChunk")
    large = client.send("subscribe", "conform:large", {"size": 16_000_000})
    assert len(client.next(large)["value"]) > 16_000_000
    chunks = [passing.message for passing in proxy.saw("TransitionChunk")]
    assert [chunk["partNumber"] for chunk in chunks] == list(range(chunks[0]["totalParts"]))
    assert len(chunks) == 4 and len({chunk["transitionId"] for chunk in chunks}) == 1
    assert json.loads("".join(chunk["chunk"] for chunk in chunks))["type"] == "Transition"


def test_results_come_whole_and_deflated_however_little_has_changed(
    backend: Served, proxy: Proxy, start: Callable[..., Program]
) -> None:
    for number in range(200):
        backend.call("mutation", "conform:add", text=f"one of many: {number}")
    client = start()
    listed = client.send("subscribe", "conform:list")
    before = client.next(listed)["value"]
    backend.call("mutation", "conform:add", text="one more")
    after = client.next(listed)["value"]
    assert after[:-1] == before and after[-1]["text"] == "one more"
    changes = [change for passing in proxy.saw("Transition") for change in passing.message["modifications"]]
    assert [(change["type"], len(change["value"])) for change in changes] == [
        ("QueryUpdated", len(before)),
        ("QueryUpdated", len(after)),
    ]
    with Proxy(backend.port, sealed=True) as sealed, program(["node", "live.mjs", sealed.url], NPM) as other:
        shown = other.ask("subscribe", "conform:list")["value"]
        assert shown == after
        assert b"permessage-deflate" in sealed.handshakes[0]
        assert sealed.received < len(json.dumps(shown)) / 2


# ---- who is asking --------------------------------------------------------------------------------------------


def test_an_admin_key_and_whom_it_acts_for(backend: Served, proxy: Proxy, start: Callable[..., Program]) -> None:
    client = start()
    live = client.send("subscribe", "conform:whoami")
    assert client.next(live)["value"] is None
    identity = {"subject": "alice", "issuer": "https://example.test", "name": "Alice"}
    client.ask("setAdminAuth", args={"key": KEY, "identity": identity})
    assert client.next(live)["value"] == "alice"
    [authenticate] = proxy.saw("Authenticate")
    assert authenticate.message["tokenType"] == "Admin"
    assert proxy.saw("Transition")[-1].message["endVersion"]["identity"] == 1
    proxy.cut()
    proxy.wait_for(lambda _: proxy.saw("Transition", connection=2))
    assert len(proxy.saw("Authenticate", connection=2)) == 1
    assert client.ask("query", "conform:whoami")["value"] == "alice"


def test_a_token_that_nobody_can_check_is_refused_and_life_goes_on(
    backend: Served, proxy: Proxy, start: Callable[..., Program]
) -> None:
    client = start()
    live = client.send("subscribe", "conform:whoami")
    assert client.next(live)["value"] is None
    signed_in = client.send("setAuth", args={"token": "a.b.c"})
    assert client.next(signed_in)["value"] is False
    refusals = proxy.saw("AuthError")
    assert refusals and all(refusal.message["authUpdateAttempted"] is True for refusal in refusals)
    assert all(authenticate.message["tokenType"] == "User" for authenticate in proxy.saw("Authenticate"))
    assert client.ask("query", "conform:whoami")["value"] is None
    assert client.ask("mutation", "conform:add", {"text": "signed out"})["value"] == "signed out"


def test_signing_out(backend: Served, proxy: Proxy, start: Callable[..., Program]) -> None:
    client = start()
    live = client.send("subscribe", "conform:whoami")
    assert client.next(live)["value"] is None
    client.ask("setAdminAuth", args={"key": KEY, "identity": {"subject": "alice", "issuer": "https://example.test"}})
    assert client.next(live)["value"] == "alice"
    client.ask("clearAuth")
    assert client.next(live)["value"] is None
    [_, out] = proxy.saw("Authenticate")
    assert out.message == {"type": "Authenticate", "tokenType": "None", "baseVersion": 1}
    assert proxy.saw("Transition")[-1].message["endVersion"]["identity"] == 2


# ---- the rest -------------------------------------------------------------------------------------------------


def test_what_a_client_reports_of_itself_is_taken(backend: Served, proxy: Proxy, start: Callable[..., Program]) -> None:
    client = start(reportDebugInfoToConvex=True)
    total = client.send("subscribe", "conform:total")
    client.next(total)
    client.ask("mutation", "conform:add", {"text": "reported"})

    def reported(_: list[Passing]) -> bool:
        return {passing.message["eventType"] for passing in proxy.saw("Event")} >= {
            "ClientConnect",
            "ClientReceivedTransition",
        }

    proxy.wait_for(reported)
    # It reckons how long a transition was under way from both clocks, which the server tells.
    times = [
        passing.message["event"]["transitionTransitTime"]
        for passing in proxy.saw("Event")
        if passing.message["eventType"] == "ClientReceivedTransition"
    ]
    assert all(-1000 < milliseconds < 20_000 for milliseconds in times), times
    assert client.ask("mutation", "conform:add", {"text": "still here"})["value"] == "still here"
    assert proxy.connections == 1
    assert not [line for line in client.noise if "to arrive" in line], client.noise


def test_the_server_says_ping_when_it_has_nothing_to_say(tmp_path: Path) -> None:
    provide(NPM)
    with (
        Impatient(tmp_path, {"conform": MODULE}) as backend,
        Proxy(backend.port) as proxy,
        program(["node", "live.mjs", proxy.url], NPM) as client,
    ):
        total = client.send("subscribe", "conform:total")
        assert client.next(total)["value"] == 0
        proxy.wait_for(lambda _: len(proxy.saw("Ping")) >= 3)
        assert client.ask("mutation", "conform:add", {"text": "woken"})["value"] == "woken"
        assert client.next(total)["value"] == 1
        assert proxy.connections == 1
        assert not [line for line in client.noise if "WebSocket" in line]


class Impatient(Served):
    """Says Ping after a fifth of a second."""

    def command(self) -> list[str]:
        """How it is started."""
        python, _, _, *arguments = super().command()
        return [python, "-m", "tests.conformance.impatient", *arguments]
