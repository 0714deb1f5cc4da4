"""The client against a small server: calls, live queries, threads, faults."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import traitlets

from nbreactive.client import SKIP, threads
from nbreactive.client import live_value as live_module
from nbreactive.client.arguments import FixedArguments
from nbreactive.client.client import Client
from nbreactive.client.connection import LONGEST_PAUSE_HERE, is_loopback
from nbreactive.client.live import LiveQuery
from nbreactive.client.target import Target
from nbreactive.errors import (
    AppError,
    ArgumentError,
    FunctionFailed,
    FunctionNotFound,
    NBReactiveError,
    NotConnected,
    Refused,
)
from tests.client.fake_server import FakeServer, until


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    yield fake
    fake.close()


@pytest.fixture
def client(server: FakeServer) -> Iterator[Client]:
    with Client(Target(server.url)) as made:
        yield made


class Holder(traitlets.HasTraits):
    value = traitlets.Any()
    options = traitlets.Any()


def settled() -> None:
    """Wait until every callback that is due has run."""
    done = threading.Event()
    threads.callbacks().post(object(), done.set)
    assert done.wait(10)


def test_calls_of_every_kind(server: FakeServer, client: Client) -> None:
    logs: list[Any] = []
    client.on_logs = lambda path, lines: logs.append((path, lines))
    assert client.call("chat:send", {"author": "me", "body": "hi"}) == 1
    assert logs == [("chat:send", ("[LOG] sent",))]
    assert client.call("chat:list_messages") == [{"author": "me", "body": "hi"}]
    assert client.call("chat:work") == "worked"
    with pytest.raises(AppError) as refused:
        client.call("chat:refuse")
    assert refused.value.data == {"code": "NO"}
    with pytest.raises(FunctionNotFound, match=r"Did you mean .*api\.chat\.send"):
        client.call("chat:sent")
    with pytest.raises(NBReactiveError, match=r"args\.body"):
        client.call("chat:send", {"body": {1, 2}})
    with pytest.raises(ArgumentError):
        client.call("chat:send", {"body": SKIP})
    until(lambda: server.query_count == 0)


def test_a_mutation_returns_when_live_values_show_it(client: Client) -> None:
    live = client.live("chat:list_messages")
    for number in range(20):
        client.call("chat:send", {"author": "me", "body": str(number)})
        assert len(live.value) == number + 1


def test_observers_hear_of_the_newest_value_on_their_own_thread(server: FakeServer, client: Client) -> None:
    live = client.live("chat:list_messages")
    heard: list[tuple[str, int, int]] = []
    live.observe(
        lambda change: heard.append((threading.current_thread().name, len(change.old), len(change.new))), "value"
    )
    holder = Holder()
    link = traitlets.dlink((live, "value"), (holder, "options"), lambda rows: len(rows))
    assert holder.options == 0
    server.add("al", "hello")
    until(lambda: holder.options == 1)
    assert heard == [("nbreactive", 0, 1)]
    link.unlink()
    for number in range(50):
        server.add("al", str(number))
    until(lambda: heard[-1][2] == 51)
    assert len(heard) <= 51
    assert [new for _, _, new in heard] == sorted(new for _, _, new in heard)


def test_a_failing_observer_stops_nobody(server: FakeServer, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    live = client.live("chat:list_messages")
    heard: list[Any] = []
    live.observe(lambda change: 1 / 0, "value")
    live.observe(heard.append, "value")
    server.add("al", "x")
    until(lambda: len(heard) == 1)
    assert "ZeroDivisionError" in live.message
    assert "an observer of chat:list_messages failed" in caplog.text


def test_a_synchronous_call_by_an_observer_says_why_not(server: FakeServer, client: Client) -> None:
    live = client.live("chat:list_messages")
    raised: list[Exception] = []

    def call(change: Any) -> None:
        for work in (
            lambda: client.call("chat:list_messages"),
            lambda: client.live("chat:list_messages"),
            lambda: live.wait(),
        ):
            try:
                work()
            except NBReactiveError as failure:
                raised.append(failure)

    live.observe(call, "value")
    server.add("al", "x")
    until(lambda: len(raised) == 3)
    assert "observer or renderer" in str(raised[0])


def test_equal_queries_share_one_subscription(server: FakeServer, client: Client) -> None:
    one = client.live("chat:only", {"author": "al"})
    two = client.live("chat:only", {"author": "al"})
    other = client.live("chat:only", {"author": "bo"})
    assert server.query_count == 2
    server.add("al", "x")
    until(lambda: len(one.value) == len(two.value) == 1)
    assert other.value == []
    two = None
    gc.collect()
    server.add("al", "y")
    until(lambda: len(one.value) == 2)
    assert server.query_count == 2
    one.close()
    other.close()
    until(lambda: server.query_count == 0)
    assert one.status == "closed"
    assert len(one.value) == 2


def test_what_nothing_holds_is_unsubscribed(server: FakeServer, client: Client) -> None:
    live = client.live("chat:list_messages")
    live.observe(print, "value")
    live = None
    gc.collect()
    assert len(client.live_queries) == 1  # an observer holds it
    client.live_queries[0].unobserve_all()
    gc.collect()
    until(lambda: server.query_count == 0)


def test_first_errors_raise_and_later_ones_keep_the_value(server: FakeServer, client: Client) -> None:
    live = client.live("chat:fail_at", {"n": 1})
    assert (live.value, live.status, live.error) == (0, "live", None)
    server.add("al", "x")
    until(lambda: live.status == "error")
    assert live.value == 0
    assert isinstance(live.error, AppError)
    assert live.error.data == {"code": "TOO_MANY"}
    with pytest.raises(AppError):
        live.df()
    with pytest.raises(AppError):
        client.live("chat:fail_at", {"n": 1})
    with pytest.raises(FunctionFailed, match="ValueError: no chat:missing"):
        client.live("chat:missing")


def test_waiting_for_the_first_value_ends(client: Client) -> None:
    with pytest.raises(NotConnected, match=r"No first result of chat:silent within 0\.1 s"):
        client.live("chat:silent", None, {"timeout": 0.1})
    live = client.live("chat:silent", None, {"wait": False})
    assert live.status == "loading"
    with pytest.raises(ArgumentError, match="Unknown option limit"):
        client.live("chat:silent", None, {"limit": 3})


def test_a_kind_of_live_value_that_leaves_something_out_cannot_be_made(client: Client) -> None:
    class Half(live_module.LiveValue):
        def recipe(self) -> Any:
            return lambda: self

    with pytest.raises(TypeError, match=r"abstract.*_ask.*_ended.*_pause"):
        Half(client, "m:f", FixedArguments({}))  # type: ignore[abstract] # pyright: ignore[reportAbstractUsage]


def test_with_closes(client: Client) -> None:
    with client.live("chat:list_messages") as live:
        assert live.status == "live"
    assert live.status == "closed"


def test_async_calls_share_the_connection(server: FakeServer, client: Client) -> None:
    async def main() -> Any:
        await asyncio.gather(*(client.aio("chat:send", {"author": "me", "body": str(n)}) for n in range(20)))
        return await client.aio("chat:list_messages")

    assert len(asyncio.run(main())) == 20
    assert [m["body"] for m in server.messages] == [str(n) for n in range(20)]


def test_skip_pauses(server: FakeServer, client: Client) -> None:
    live = client.live("chat:only", {"author": SKIP})
    assert (live.status, live.value) == ("loading", None)
    assert "paused" in live.message
    holder = Holder(value=SKIP)
    live = client.live("chat:only", {"author": holder})
    assert live.value is None
    server.add("al", "x")
    holder.value = "al"
    until(lambda: live.value == [{"author": "al", "body": "x"}])
    holder.value = SKIP
    until(lambda: live.dimmed)
    assert len(live.value) == 1


def test_widgets_as_arguments(server: FakeServer, client: Client) -> None:
    server.add("al", "x")
    holder = Holder(value="bo")
    live = client.live("chat:only", {"author": holder})
    assert live.value == []
    seen: list[Any] = []
    live.observe(lambda change: seen.append(change.new), "value")
    for number in range(50):
        holder.value = f"nobody{number}"
    holder.value = "al"
    until(lambda: live.value == [{"author": "al", "body": "x"}])
    until(lambda: server.query_count == 1)
    assert len(seen) < 10
    holder.value = {1}
    until(lambda: live.status == "error")
    assert "args.author" in str(live.error)
    holder.value = "bo"
    until(lambda: live.value == [] and live.status == "live" and live.error is None)
    live.unobserve_all()
    live = None
    gc.collect()
    until(lambda: server.query_count == 0)
    assert not holder._trait_notifiers.get("value", {}).get("change")


def test_a_moving_widget_asks_as_often_as_it_is_answered(
    server: FakeServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_module, "ANSWER", 60.0)
    server.add("al", "x")
    holder = Holder(value="bo")
    live = client.live("chat:only", {"author": holder})
    server.hold_queries = True
    before = len(server.adds)
    holder.value = "nobody"
    until(lambda: len(server.adds) == before + 1)
    for author in ("x", "y", "z", "al"):  # what is not answered is not asked anew
        holder.value = author
        live.ask_again()
    assert len(server.adds) == before + 1
    server.release_queries()
    until(lambda: live.value == [{"author": "al", "body": "x"}])
    assert len(server.adds) == before + 2


# ---- faults ----


def test_a_reconnect_shows_itself_and_loses_nothing(server: FakeServer, client: Client) -> None:
    live = client.live("chat:list_messages")
    states: list[str] = []
    live.observe(lambda change: states.append(change.new), "status")
    server.stop_listening()
    until(lambda: live.status == "reconnecting")
    settled()
    assert live.value == []
    assert live.message
    server.insert({"author": "al", "body": "meanwhile"})
    server.listen_again()
    until(lambda: live.status == "live" and len(live.value) == 1)
    settled()
    assert states == ["reconnecting", "live"]
    assert len({connect["sessionId"] for connect in server.connects}) == 1
    assert [connect["connectionCount"] for connect in server.connects] == [0, 1]


def test_a_mutation_whose_answer_was_lost_runs_once(server: FakeServer, client: Client) -> None:
    server.drop_before_answer = 3
    assert client.call("chat:send", {"author": "me", "body": "once"}) == 1
    assert server.executed == 1
    assert client.call("chat:send", {"author": "me", "body": "twice"}) == 2
    assert len(server.connects) == 4


def test_an_action_under_way_fails_with_its_connection(server: FakeServer, client: Client) -> None:
    server.hold_answers = True
    failed: list[BaseException] = []

    def work() -> None:
        try:
            client.call("chat:work")
        except NotConnected as failure:
            failed.append(failure)

    thread = threading.Thread(target=work)
    thread.start()
    until(lambda: client._thread.submit(_sent(client)).result())
    server.drop_all()
    thread.join(10)
    assert "may have had effects" in str(failed[0])


async def _sent(client: Client) -> bool:
    return any(request.sent for request in client.connection.session.requests.values())


def test_calls_give_up_without_a_connection(server: FakeServer) -> None:
    with Client(Target(server.url), patience=0.2) as client:
        assert client.call("chat:list_messages") == []
        server.stop_listening()
        until(lambda: client.connection.state == "reconnecting")
        session = client.connection.session
        outcomes: list[Any] = []

        async def start() -> None:
            session.request("Mutation", "chat:send", "{}", outcomes.append)

        client._thread.submit(start()).result()
        until(lambda: len(outcomes) == 1)
        assert "was not sent" in str(outcomes[0].error)
        server.listen_again()
        until(lambda: client.connection.state == "open")
        assert client.call("chat:list_messages") == []
        assert server.executed == 0


def test_a_silent_server_is_given_up() -> None:
    fake = FakeServer()

    async def main() -> list[str]:
        from nbreactive.client.connection import Connection

        connection = Connection(Target(fake.url), silence=0.2)
        states: list[str] = []
        changed = asyncio.Event()

        def note() -> None:
            states.append(connection.state)
            changed.set()

        connection.on_state = note
        while states.count("open") < 2:
            changed.clear()
            await asyncio.wait_for(changed.wait(), 10)
        await connection.close()
        return states

    states = asyncio.run(main())
    assert states[:3] == ["open", "reconnecting", "open"]
    assert fake.connects[1]["lastCloseReason"] == "InactiveServer"
    fake.close()


def test_refused_and_absent_servers_say_so(server: FakeServer) -> None:
    server.refuse = True
    with Client(Target(server.url)) as client:
        live = client.live("chat:list_messages", None, {"wait": False})
        until(lambda: client.connection.problem is not None)
        assert isinstance(client.connection.problem, Refused)
        assert live.status == "loading"
        assert "Is the token right?" in live.message
        with pytest.raises(Refused):
            client.admin("GET", "functions")


def test_cookies_are_kept_and_the_credentials_are_sent(server: FakeServer) -> None:
    target = Target(server.url, headers={"Authorization": "token T", "X-NBReactive-Via": "kernel"})
    with Client(target) as client:
        client.functions()
        client.functions()
        client.call("chat:send", {"author": "me", "body": "hi"})
    assert all(headers["Authorization"] == "token T" for headers in server.headers)
    assert len({headers.get("Cookie") for headers in server.headers[2:]}) == 1
    assert "Cookie" in server.headers[-1]


def test_a_closed_client_says_so(client: Client) -> None:
    live = client.live("chat:list_messages")
    client.close()
    assert live.status == "closed"
    with pytest.raises(NotConnected, match="was disconnected"):
        client.call("chat:list_messages")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_is_told_to_connect_itself(server: FakeServer, client: Client) -> None:
    assert client.call("chat:list_messages") == []
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            client.call("chat:list_messages")
        except NotConnected as failure:
            os.write(writer, str(failure).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as said:
        text = said.read()
    os.waitpid(child, 0)
    assert "forked from" in text
    assert client.call("chat:list_messages") == []


def test_live_queries_look_like_sequences(server: FakeServer, client: Client) -> None:
    server.add("al", "x")
    live = client.live("chat:list_messages")
    assert len(live) == 1
    assert [row["author"] for row in live] == ["al"]
    assert live[0]["body"] == "x"
    assert repr(live) == "<live chat:list_messages · live>"
    assert isinstance(live, LiveQuery)
    with pytest.raises(traitlets.TraitError):
        live.value = []
    with pytest.raises(traitlets.TraitError, match="has value, error and status"):
        live.observe(print, "nonsense")


def test_a_server_on_this_machine_is_looked_for_often() -> None:
    here = ["http://127.0.0.1:1/x", "http://[::1]:1", "http://localhost:8888/base/nbreactive", "http://a.localhost"]
    away = ["http://10.0.0.1", "http://example.org/localhost", "http://localhost.example.org", "http://[2001:db8::1]"]
    assert [is_loopback(url) for url in here + away] == [True] * 4 + [False] * 4
    assert LONGEST_PAUSE_HERE * 1.5 <= 2
