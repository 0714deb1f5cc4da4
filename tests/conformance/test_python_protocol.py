"""What PyPI's client does at the seams of the sync protocol. Some of it is not what one would wish: it is asserted as it is.

It takes a new session with every connection, so the backend cannot know a mutation that it says again: nothing is lost,
but what was committed and not answered when the connection ended happens again. (Its messages of an ended connection
and of the next one get mixed up now and then; it finds out, reports StartVersionMismatch or ProtocolFailure, and connects
anew, saying everything again. So there is no saying how often at most.) It never says the journals of its queries again,
so a page may shift. It says again what action was in flight, which runs again then. It is told that a token is refused, and connects again with the same one, for ever.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.faults import PHASES, Phase, mutate_through, open_when_read
from tests.conformance.functions import texts
from tests.conformance.programs import Program, program
from tests.conformance.proxy import Proxy, wait_until
from tests.served import KEY, Served

HERE = Path(__file__).parent
pytestmark = pytest.mark.slow
HAPPENS: dict[Phase, int] = {
    "before it is received": 1,
    "while it runs": 1,
    "committed but unanswered": 2,
    "answered, but its transition unsent": 1,
}
"""How often, at least, a mutation happens when the backend is killed in a phase of it."""


@pytest.fixture
def client(proxy: Proxy) -> Iterator[Program]:
    with program([sys.executable, "python_live.py", proxy.url], HERE, "@") as running:
        yield running


@pytest.mark.parametrize("phase", PHASES)
def test_nothing_is_lost_but_what_was_not_answered_happens_again(
    backend: Served, proxy: Proxy, client: Program, tmp_path: Path, phase: Phase
) -> None:
    answer = mutate_through(client, proxy, backend, phase, phase, tmp_path, kill=True)
    assert answer["value"] == phase  # type: ignore[index]
    assert texts(backend).count(phase) >= HAPPENS[phase]
    sessions = [passing.message["sessionId"] for passing in proxy.saw("Connect")]
    assert len(set(sessions)) == len(sessions) >= 2


def test_an_action_in_flight_runs_again(backend: Served, proxy: Proxy, client: Program, tmp_path: Path) -> None:
    refused = client.ask("action", "conform:refuse_outside", {"why": "PyPI"})["error"]
    assert refused == {"isConvexError": True, "data": {"code": "REFUSED", "why": "PyPI"}}
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    number = client.send("action", "conform:fetch", {"text": "action", "pipe": str(pipe)})
    writing = open_when_read(pipe)
    proxy.cut()
    wait_until(lambda: texts(backend).count("action: begun") >= 2)
    pipe.unlink()  # whoever comes now need not wait
    pipe.touch()
    os.close(writing)
    assert client.next(number)["value"] == "action"
    wait_until(lambda: texts(backend).count("action: ended") >= 2)


def test_a_page_forgets_its_end_over_a_reconnect(backend: Served, proxy: Proxy, client: Program) -> None:
    for text in texts(backend):
        backend.call("mutation", "conform:drop", text=text)
    for text in "abcde":
        backend.call("mutation", "conform:add", text=text)
    page = client.send("subscribe", "conform:page", {"paginationOpts": {"numItems": 3, "cursor": None}})

    def shows(wanted: str) -> None:
        client.until(page, lambda said: "".join(document["text"] for document in said["value"]["page"]) == wanted)

    shows("abc")
    backend.call("mutation", "conform:drop", text="a")
    shows("bc")
    proxy.cut()
    shows("bcd")
    adds = [change for passing in proxy.saw("ModifyQuerySet") for change in passing.message["modifications"]]
    assert not any(change.get("journal") for change in adds)


def test_results_of_15_mb_come_in_one_message(proxy: Proxy, client: Program) -> None:
    assert len(client.ask("query", "conform:large", {"size": 15_000_000})["value"]) > 15_000_000
    assert not proxy.saw("TransitionChunk") and proxy.connections == 1


def test_an_admin_key(proxy: Proxy, client: Program) -> None:
    assert client.ask("query", "conform:whoami")["value"] is None
    client.ask("set_admin_auth", args={"token": KEY})
    assert client.ask("query", "_system/tables:count", {"table": "notes"})["value"] >= 0
    [authenticate] = proxy.saw("Authenticate")
    assert authenticate.message["tokenType"] == "Admin"


def test_a_refused_token_is_said_again_for_ever_until_it_is_taken_back(proxy: Proxy, client: Program) -> None:
    client.ask("set_auth", args={"token": "a.b.c"})
    proxy.wait_for(lambda _: len(proxy.saw("AuthError")) >= 2)
    assert {passing.message["tokenType"] for passing in proxy.saw("Authenticate")} == {"User"}
    client.ask("clear_auth", args={})
    assert client.ask("query", "conform:whoami")["value"] is None
