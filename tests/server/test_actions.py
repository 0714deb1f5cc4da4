"""Actions, from the outside: a real backend, its hosts and what they do to each other."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.served import KEY, Served

SOURCE = """
import asyncio, ctypes, os, socket, threading, time, urllib.request
from nbreactive import (
    AppError, Id, action, api, internal, internal_action, internal_mutation, internal_query, mutation, query, v,
)

@query
def numbers(ctx):
    return [row["n"] for row in ctx.db.query("numbers").collect()]

@mutation
def add(ctx, n: int):
    if n < 0:
        raise AppError({"code": "NEGATIVE", "n": n})
    return ctx.db.insert("numbers", {"n": n})

@internal_mutation
def secretly(ctx, n: int):
    ctx.db.insert("numbers", {"n": n})

@internal_query
def total(ctx) -> int:
    return sum(row["n"] for row in ctx.db.query("numbers").collect())

@action
async def relay(ctx, n: int) -> int:
    print("relaying", n)
    await ctx.run_mutation(api.m.add, n=n)
    await ctx.run_mutation(internal.m.secretly, {"n": n + 1})
    return await ctx.run_query(internal.m.total)

@action
def plainly(ctx, n: int) -> int:
    print("plainly", n)
    ctx.run_mutation(api.m.add, n=n)
    return ctx.run_query(internal.m.total)

@action
async def nested(ctx, n: int) -> int:
    return await ctx.run_action(internal.m.hidden, n=n) + await ctx.run_action(api.m.plainly, n=n)

@internal_action
async def hidden(ctx, n: int) -> int:
    return n * 10

@action
async def fetch(ctx, url: str):
    def get():
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.read().decode()
    return await asyncio.to_thread(get)

@action
def fetch_plainly(ctx, url: str):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read().decode()

@action
async def at_once(ctx, many: int):
    await asyncio.gather(*(ctx.run_mutation(api.m.add, n=n) for n in range(many)))
    return await ctx.run_query(internal.m.total)

@action
async def forgetful(ctx, n: int):
    ctx.run_mutation(api.m.add, n=n)
    return "did I?"

@action
async def catches(ctx):
    try:
        await ctx.run_mutation(api.m.add, n=-1)
    except AppError as error:
        return error.data
    return None

@action
async def raises(ctx):
    await ctx.run_mutation(api.m.add, n=-7)

@action
async def breaks(ctx):
    return {}["no such key"]

@action
async def touches(ctx):
    return ctx.db.query("numbers")

@action
async def lost(ctx):
    return await ctx.run_query(api.m.nothing_like_it)

@action
async def wrong_kind(ctx):
    return await ctx.run_query(api.m.add, n=1)

@action
async def who(ctx):
    return await ctx.auth.get_user_identity()

@action
def meta(ctx):
    return [ctx.meta.get_function_metadata(), ctx.meta.get_request_metadata()["requestId"], ctx.now()]

@action
async def exits(ctx):
    raise SystemExit(3)

@action
async def dies(ctx, how: str):
    if how == "exit after a fork" and os.fork() == 0:
        time.sleep(60)
    if how.startswith("exit"):
        os._exit(7)
    ctypes.string_at(0)

@action
async def blocks(ctx, seconds: float):
    time.sleep(seconds)
    return "awake"

@action
async def waits(ctx, seconds: float):
    await asyncio.sleep(seconds)
    return "awake"

@action
async def host(ctx):
    return os.getpid()

@action
async def env_of_the_backend(ctx):
    return dict(os.environ)

@action
async def hoards(ctx):
    return len(bytearray(10 << 30))

@action
async def unserialisable(ctx):
    return object()

@action
async def takes(ctx, id: Id["numbers"], limit: int = 3):
    return [id, limit]

@action(args={"pair": v.array(v.number())}, returns=v.string())
async def explicit(ctx, pair):
    return pair[0]

@action
async def thread_prints(ctx):
    def work():
        print("from a thread")
    await asyncio.to_thread(work)
    print("and from the task")

@internal_query
def unreachable(ctx):
    return 1
"""


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("actions"), {"m": SOURCE}) as served:
        yield served


def message(backend: Served, path: str, **args: Any) -> str:
    answer = backend.ask("action", path, **args)
    assert answer["status"] == "error", answer
    return str(answer["errorMessage"])


def pids(backend: Served) -> list[int]:
    found: list[int] = backend.fetch("/api/admin/status", admin=True)["actions"]["pids"]
    return found


def until(condition: Any, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited for too long"
        time.sleep(0.02)


@pytest.mark.parametrize("path", ["m:relay", "m:plainly"])
def test_an_action_runs_internal_functions_and_prints(backend: Served, path: str) -> None:
    before = sum(backend.call("query", "m:numbers"))
    answer = backend.ask("action", path, n=5)
    assert answer["status"] == "success", answer
    assert answer["value"] == before + (11 if path == "m:relay" else 5)
    assert any("relaying" in line or "plainly" in line for line in answer["logLines"])


def test_actions_run_actions(backend: Served) -> None:
    before = sum(backend.call("query", "m:numbers"))
    assert backend.call("action", "m:nested", n=2) == 20 + before + 2


def test_an_internal_action_is_not_there_for_callers_from_outside(backend: Served) -> None:
    hidden, absent = message(backend, "m:hidden", n=1), message(backend, "m:absent", n=1)
    assert "Could not find public function" in hidden
    assert (
        hidden.replace("hidden", "absent").partition("There is")[0].split("]")[1]
        == (absent.partition("There is")[0].split("]")[1])
    )


class _Slow(BaseHTTPRequestHandler):
    """A service that answers nobody until so many wait."""

    everybody: threading.Barrier

    def do_GET(self) -> None:
        self.everybody.wait(60)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"served")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize("path", ["m:fetch", "m:fetch_plainly"])
def test_sixty_four_actions_wait_for_a_service_at_once(backend: Served, path: str) -> None:
    class Service(_Slow):
        everybody = threading.Barrier(64)

    class Server(ThreadingHTTPServer):
        request_queue_size = 128

    service = Server(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=service.serve_forever, args=(0.02,))
    thread.start()
    try:
        url = f"http://127.0.0.1:{service.server_port}/"
        with ThreadPoolExecutor(64) as callers:
            answers = list(callers.map(lambda _: backend.call("action", path, url=url), range(64)))
        assert answers == ["served"] * 64
    finally:
        service.shutdown()
        thread.join()
        service.server_close()


def test_calls_of_ctx_overlap_in_gather(backend: Served) -> None:
    before = sum(backend.call("query", "m:numbers"))
    assert backend.call("action", "m:at_once", many=200) == before + sum(range(200))


def test_what_is_not_awaited_happens_with_a_warning(backend: Served) -> None:
    answer = backend.ask("action", "m:forgetful", n=77_001)
    assert answer["value"] == "did I?"
    assert any("ctx.run_mutation(...) was not awaited" in line for line in answer["logLines"])
    assert 77_001 in backend.call("query", "m:numbers")


def test_errors_of_what_an_action_runs_can_be_caught_and_go_on_to_the_caller(backend: Served) -> None:
    assert backend.call("action", "m:catches") == {"code": "NEGATIVE", "n": -1}
    answer = backend.ask("action", "m:raises")
    assert answer["errorData"] == {"code": "NEGATIVE", "n": -7}


def test_errors_name_the_line_of_the_user(backend: Served) -> None:
    text = message(backend, "m:breaks")
    assert "Uncaught KeyError: 'no such key'" in text
    assert "at breaks (reactive/m.py:" in text


def test_misuse_is_explained(backend: Served) -> None:
    assert "an action has no ctx.db" in message(backend, "m:touches")
    assert "Could not find public function for 'm:nothing_like_it'" in message(backend, "m:lost")
    assert "m:add is a mutation: use ctx.run_mutation" in message(backend, "m:wrong_kind")
    assert "ReturnsValidationError" in message(backend, "m:explicit", pair=[1, 2])
    assert "ArgumentValidationError" in message(backend, "m:explicit", pair="x")
    assert "returns" in message(backend, "m:unserialisable")
    assert "as a query, but it is an action" in backend.ask("query", "m:relay", n=1)["errorMessage"]
    assert "as an action, but it is a query" in message(backend, "m:numbers")


def test_ids_are_checked_against_their_table(backend: Served) -> None:
    good = backend.call("mutation", "m:add", n=1)
    assert backend.call("action", "m:takes", id=good) == [good, 3]
    assert "args.id" in message(backend, "m:takes", id="nonsense")


def test_facts_about_the_call(backend: Served) -> None:
    function, request, now = backend.call("action", "m:meta")
    assert function == {"name": "m:meta", "componentPath": "", "type": "action", "visibility": "public"}
    assert len(request) == 16
    assert abs(now - time.time() * 1000) < 60_000
    assert backend.call("action", "m:who") is None


def test_what_threads_print_belongs_to_their_action(backend: Served) -> None:
    lines = backend.ask("action", "m:thread_prints")["logLines"]
    assert [line for line in lines if "from a thread" in line]
    assert [line for line in lines if "and from the task" in line]


def test_no_secret_of_the_backend_is_in_its_environment(backend: Served) -> None:
    assert KEY not in json.dumps(backend.call("action", "m:env_of_the_backend"))


def test_system_exit_ends_the_action_only(backend: Served) -> None:
    before = backend.call("action", "m:host")
    assert "SystemExit" in message(backend, "m:exits")
    assert backend.call("action", "m:host") == before


@pytest.mark.parametrize(("how", "said"), [("exit", "exit status 7"), ("segfault", "signal SIGSEGV")])
def test_a_crash_fails_its_action_and_the_next_one_runs(backend: Served, how: str, said: str) -> None:
    text = message(backend, "m:dies", how=how)
    assert said in text
    assert "not repeated" in text
    assert backend.call("action", "m:host") > 0


@pytest.mark.skipif(os.name != "posix", reason="there is no fork")
def test_the_end_of_a_host_is_noticed_though_a_child_of_an_action_holds_its_socket(backend: Served) -> None:
    assert "exit status 7" in message(backend, "m:dies", how="exit after a fork")
    assert backend.call("action", "m:host") > 0


def test_too_much_memory_fails_the_action(backend: Served) -> None:
    assert "more memory" in message(backend, "m:hoards")
    assert backend.call("action", "m:host") > 0


def test_a_blocked_loop_keeps_no_new_action_waiting(backend: Served) -> None:
    with ThreadPoolExecutor(1) as callers:
        stuck = callers.submit(backend.ask, "action", "m:blocks", seconds=8)
        time.sleep(2)  # longer than a host may be silent
        assert backend.call("action", "m:host") > 0
        assert not stuck.done()
        assert stuck.result()["value"] == "awake"


def test_actions_that_wait_share_a_host(backend: Served) -> None:
    with ThreadPoolExecutor(4) as callers:
        waiting = []
        for _ in range(4):
            waiting.append(callers.submit(backend.call, "action", "m:waits", seconds=6))
            time.sleep(1.2)  # longer than a host may be silent
        hosts = pids(backend)
        assert [one.result() for one in waiting] == ["awake"] * 4
    assert len(hosts) < 4  # one may still be there from the test of a blocked loop


def test_a_deploy_leaves_running_actions_alone(backend: Served) -> None:
    with ThreadPoolExecutor(1) as callers:
        under_way = callers.submit(backend.call, "action", "m:waits", seconds=3)
        until(lambda: backend.fetch("/api/admin/status", admin=True)["actions"]["running"] == 1)
        (backend.functions / "other.py").write_text("from nbreactive import query\n@query\ndef q(ctx):\n    return 1\n")
        until(lambda: backend.ask("query", "other:q").get("value") == 1)
        assert backend.call("action", "m:host") in pids(backend)
        assert under_way.result() == "awake"
    until(lambda: len(pids(backend)) == 1)


def test_an_action_over_its_time_is_stopped(tmp_path: Path) -> None:
    with Served(tmp_path, {"m": SOURCE}, "--action-seconds", "1") as backend:
        text = message(backend, "m:waits", seconds=60)
        assert "m:waits took more than 1 s and was stopped" in text
        assert "took more than 1 s" in message(backend, "m:blocks", seconds=60)
        assert backend.call("action", "m:host") > 0


def test_stopping_the_backend_stops_its_actions(tmp_path: Path) -> None:
    with Served(tmp_path, {"m": SOURCE}) as backend, ThreadPoolExecutor(1) as callers:
        under_way = callers.submit(backend.ask, "action", "m:waits", seconds=600)
        until(lambda: backend.fetch("/api/admin/status", admin=True)["actions"]["running"] == 1)
        hosts = pids(backend)
        assert backend.stop() == 0
        with pytest.raises(OSError):
            assert "stopping" in under_way.result()["errorMessage"]
            raise ConnectionError
    assert "Traceback" not in backend.log
    for pid in hosts:
        until(lambda pid=pid: not _alive(pid))


def test_hosts_end_with_a_killed_backend(tmp_path: Path) -> None:
    backend = Served(tmp_path, {"m": SOURCE}).start()
    try:
        backend.call("action", "m:host")
        hosts = pids(backend)
    finally:
        backend.kill()
    for pid in hosts:
        until(lambda pid=pid: not _alive(pid))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0 if os.name == "posix" else signal.SIGTERM)
    except OSError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:1]
