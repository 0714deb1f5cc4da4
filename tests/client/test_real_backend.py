"""The client against the real backend."""

from __future__ import annotations

import datetime as dt
import inspect
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import nbreactive.client
from nbreactive import api
from nbreactive.client.client import Client
from nbreactive.client.target import Target
from nbreactive.errors import (
    AppError,
    ArgumentError,
    DeployRefused,
    FunctionFailed,
    FunctionNotFound,
    NBReactiveError,
    Refused,
    StaleModule,
)
from nbreactive.notebook.cells import table_of
from nbreactive.notebook.table import TableQuery, load
from tests.client.fake_server import until
from tests.served import KEY, ROOT, Served

CHAT = '''
from nbreactive import query, mutation, AppError

@query
def list_messages(ctx, limit: int = 100):
    return ctx.db.query("messages").order("desc").take(limit)

@query
def count(ctx):
    return ctx.db.query("messages").count()

@query
def broken(ctx):
    return [][1]

@mutation
def send(ctx, author: str, body: str):
    """Say something."""
    if not body:
        raise AppError({"code": "EMPTY"})
    print("sending", body)
    return ctx.db.insert("messages", {"author": author, "body": body})
'''


def deploy(
    client: Client,
    source: str,
    *,
    key: str = "a.ipynb",
    base: int | None = None,
    force: bool = False,
    module: str = "chat",
) -> Any:
    origin = {"kind": "cell", "label": key, "key": key}
    body = {"modules": [{"name": module, "source": source, "origin": origin}], "base": {module: base}, "force": force}
    answer = client.admin("POST", "deploy", body)
    client.forget_functions()
    return answer


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("backend")) as running:
        yield running


@pytest.fixture(scope="module")
def client(backend: Served) -> Iterator[Client]:
    with Client(Target(backend.url, headers={"Authorization": f"Convex {KEY}"})) as made:
        deploy(made, CHAT)
        yield made


def test_a_message_reaches_the_other_client(backend: Served, client: Client) -> None:
    with Client(Target(backend.url)) as other:
        live = other.live("chat:list_messages", {"limit": 5})
        logs: list[Any] = []
        client.on_logs = lambda path, lines: logs.extend(lines)
        made = client.call("chat:send", {"author": "al", "body": "hi"})
        until(lambda: live.value and live.value[0]["_id"] == made)
        assert live.value[0]["body"] == "hi"
        assert any("sending hi" in line for line in logs)
        assert list(live.df()["author"]) == ["al"]
        assert live.arrow().num_rows == 1


def test_errors_are_what_they_were(client: Client) -> None:
    with pytest.raises(AppError) as empty:
        client.call("chat:send", {"author": "al", "body": ""})
    assert empty.value.data == {"code": "EMPTY"}
    with pytest.raises(ArgumentError, match="body"):
        client.call("chat:send", {"author": "al", "body": 3})
    with pytest.raises(FunctionFailed, match="IndexError") as failed:
        client.call("chat:broken")
    assert "Request ID" not in str(failed.value)
    assert failed.value.request_id
    assert "reactive/chat.py" in failed.value.trace
    with pytest.raises(FunctionNotFound, match=r"api\.chat\.send"):
        client.call("chat:sent")
    with pytest.raises(FunctionNotFound):
        client.live("chat:nothing")


def test_deploys_are_refused_and_run_live_queries_again(client: Client) -> None:
    live = client.live("chat:count")
    first = live.value
    with pytest.raises(StaleModule) as stale:
        deploy(client, CHAT + "\n# mine\n", key="b.ipynb")
    assert "+# mine" in stale.value.diff
    with pytest.raises(DeployRefused) as refused:
        deploy(
            client,
            CHAT + "\nimport no_such_package_at_all\n",
            base=client.admin("GET", "source?module=chat")["version"],
        )
    assert refused.value.issues
    assert live.value == first
    version = client.admin("GET", "source?module=chat")["version"]
    deploy(client, CHAT.replace(".count()", ".count() + 1000"), base=version)
    until(lambda: live.value == first + 1000)
    deploy(client, CHAT, force=True)
    until(lambda: live.value == first)


def test_tables_are_looked_at_and_filled(client: Client) -> None:
    import pandas as pd

    frame = pd.DataFrame({"n": range(2500), "name": [f"row {n}" for n in range(2500)], "x": [None, 0.5] * 1250})
    said: list[str] = []
    assert load(client, "numbers", frame, progress=said.append) == 2500
    assert said[-1].strip() == "numbers: 2,500 documents loaded"
    live = TableQuery.open(client, "numbers", 10, "desc")
    assert len(live.value) == 10
    assert live.title == "numbers"
    whole = live.df()
    assert len(whole) == 2500
    assert sorted(whole["n"]) == list(range(2500))
    assert (len(live.value), live.total) == (10, 2500)
    load(client, "numbers", [{"n": -1}], progress=said.append)
    until(lambda: live.value[0]["n"] == -1)
    until(lambda: live.total == 2501)
    assert table_of(live.value, live.columns, 5, live.total)["total"] == 2501
    with pytest.raises(NBReactiveError, match="rename the column"):
        load(client, "numbers", pd.DataFrame({"a b": [1]}), progress=said.append)


def test_moments_without_a_schema_are_said_to_be_milliseconds(client: Client) -> None:
    said: list[str] = []
    moment = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
    load(client, "moments", [{"when": moment, "n": 1}, {"when": None, "n": 2}], progress=said.append)
    assert said[-1] == "column when: stored as milliseconds; a schema with v.datetime() makes them times again\n"
    deploy(
        client,
        "from nbreactive import define_schema, define_table, v\n"
        "from nbreactive import query\n"
        "schema = define_schema({'dated': define_table({'when': v.datetime()})})\n"
        "@query(returns=v.array(v.object({'day': v.datetime()})))\n"
        "def days(ctx):\n    return [{'day': row['when']} for row in ctx.db.query('dated').collect()]\n",
        module="dates",
    )
    load(client, "dated", [{"when": moment}], progress=said.append)
    assert said[-1].strip() == "dated: 1 documents loaded"
    assert TableQuery.open(client, "dated", 10, "desc").df()["when"][0] == moment
    dated = TableQuery.open(client, "dated", 10, "desc")
    assert dated.pl()["_creationTime"][0] == dt.datetime.fromtimestamp(dated.value[0]["_creationTime"] / 1000, dt.UTC)
    shown = table_of(dated.value, dated.columns, 5, dated.total, dated.moments)
    assert shown["rows"][0][0] == f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"
    client.functions()
    live = client.live("dates:days")
    assert live.value == [{"day": 1793491200000}]
    assert live.df()["day"][0] == moment
    assert table_of(live.value, moments=live.moments)["rows"] == [[f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"]]


def test_what_needs_the_admin_key_says_so(backend: Served) -> None:
    with Client(Target(backend.url)) as keyless:
        for attempt in (
            lambda: TableQuery.open(keyless, "numbers", 10, "desc"),
            lambda: load(keyless, "numbers", [{"n": 1}], progress=lambda line: None),
            lambda: deploy(keyless, CHAT),
            lambda: keyless.admin_bytes("rows?table=numbers"),
        ):
            with pytest.raises(Refused, match=r"holder of its admin key .* connect\(\"http.*\", admin_key=\.\.\.\)"):
                attempt()
        with pytest.raises(FunctionNotFound, match=r"client\.functions\(\) lists"):
            keyless.call("nothing:here")
        assert not keyless.live_queries


def test_a_second_client_beside_the_first_and_what_its_key_may_not(backend: Served) -> None:
    first = nbreactive.connect(backend.url)
    try:
        live = first.live("nbreactive/identity:who")
        with nbreactive.connect(backend.url, admin_key=KEY, current=False) as owner:
            assert nbreactive.client.current() is first
            key = owner.admin("POST", "keys", {"name": "writer", "roles": ["read", "write"]})["key"]
            assert TableQuery.open(owner, "_storage", 10, "desc").value == []
        assert not first.closed and not live.closed
        with nbreactive.connect(backend.url, admin_key=key, current=False) as writer:
            for attempt in (
                lambda: TableQuery.open(writer, "numbers", 10, "desc"),
                lambda: load(writer, "numbers", [{"n": 1}], progress=lambda line: None),
            ):
                with pytest.raises(Refused, match="needs the role 'deploy'"):
                    attempt()
    finally:
        nbreactive.client.disconnect()


def test_only_queries_are_live_and_failed_ones_do_not_stay(client: Client) -> None:
    before = len(client.live_queries)
    for again in range(2):  # the second time it is known before
        if not again:
            client.forget_functions()
        with pytest.raises(ArgumentError, match=r"api\.chat\.send is a mutation.* f = use_mutation\(api\.chat\.send\)"):
            client.live("chat:send", {"author": "al", "body": "x"})
    for path in ("chat:broken", "chat:nowhere"):
        with pytest.raises(NBReactiveError):
            client.live(path)
    assert len(client.live_queries) == before


def test_what_a_client_knows_of_functions(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.functions()
    monkeypatch.setattr(nbreactive.client.connecting.process, "client", client)
    nbreactive.client.install()
    assert str(inspect.signature(api.chat.list_messages)) == "(*, limit: int = ...)"
    assert str(inspect.signature(api.chat.send)) == "(*, author: str, body: str)"
    assert api.chat.send.getdoc() == "mutation api.chat.send(*, author: str, body: str)\n\nSay something."
    with pytest.raises(ArgumentError, match=r"write api\.chat\.list_messages\(limit=\.\.\.\)"):
        api.chat.list_messages(10)
    assert "deployment default on" in repr(client)
    with pytest.raises(AppError) as failed:
        api.chat.send(author="al", body="")
    frames = traceback.extract_tb(failed.value.__traceback__)
    assert [Path(frame.filename).name for frame in frames] == ["test_real_backend.py", "references.py"]


def test_a_killed_backend_comes_back_to_the_same_clients(tmp_path: Path) -> None:
    with Served(tmp_path) as backend, Client(Target(backend.url, headers={"Authorization": f"Convex {KEY}"})) as client:
        deploy(client, CHAT)
        live = client.live("chat:count")
        client.call("chat:send", {"author": "al", "body": "1"})
        backend.kill()
        until(lambda: live.status == "reconnecting")
        backend.start()
        until(lambda: live.status == "live", 30)
        client.call("chat:send", {"author": "al", "body": "2"})
        assert live.value == 2


def test_a_drawing_may_use_the_whole_table(client: Client) -> None:
    from nbreactive.client import threads

    load(client, "drawn", [{"n": n} for n in range(30)], progress=lambda line: None)
    live = TableQuery.open(client, "drawn", 10, "desc")
    found: list[int] = []
    threads.callbacks().post("drawing", lambda: found.append(len(live.df())))
    until(lambda: found == [30])


def test_an_empty_frame_makes_no_table(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    import pandas as pd

    said: list[str] = []
    assert load(client, "nothing", pd.DataFrame({"a": [], "b": []}), progress=said.append) == 0
    assert said[-1].strip() == "nothing: 0 documents loaded"
    assert "There is no table 'nothing' yet" in capsys.readouterr().out
    live = TableQuery.open(client, "nothing", 10, "desc")
    assert live.value == []
    assert list(live.df().columns) == ["_id", "_creationTime"]
    assert len(live.pl()) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("again", ["", "nbreactive.connect()", "os.environ['NBREACTIVE_URL'] = 'http://127.0.0.1:1'"])
def test_forked_processes_write_where_their_parent_does(backend: Served, tmp_path: Path, again: str) -> None:
    script = f"""
import multiprocessing, os
import nbreactive

def grandchild(n):
    nbreactive.load("forked", [{{"n": n}}], progress=lambda line: None)

def child(n):
    {again or "pass"}
    if n == 3:  # a fork of a fork, which has not been connected itself
        process = multiprocessing.get_context("fork").Process(target=grandchild, args=(n,))
        process.start()
        process.join()
        return os.getpid()
    grandchild(n)
    return os.getpid()

nbreactive.connect({backend.url!r}, admin_key={KEY!r})
grandchild(0)
children = [multiprocessing.get_context("fork").Process(target=child, args=(n,)) for n in (1, 2, 3)]
for process in children: process.start()
for process in children: process.join()
print(*[process.exitcode for process in children], *sorted(nbreactive.table("forked").df()["n"]))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore::DeprecationWarning"}
    environment.pop("NBREACTIVE_URL", None)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:3] == ["0", "0", "0"], done.stderr
    assert {"0", "1", "2", "3"} <= set(done.stdout.split()[3:])
    assert list(tmp_path.iterdir()) == []  # no backend of their own
