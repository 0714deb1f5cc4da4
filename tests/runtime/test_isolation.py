"""Functions that misbehave, through the pool: each gets its own error, and everybody else goes on.

Cases 23 to 30 (29 is in test_hardening.py) of the attack list and bar 6, with forked and (fewer of them)
with spawned workers.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import psutil
import pytest

from nbreactive.engine.transactions import Call
from nbreactive.errors import DeployRefused
from nbreactive.runtime.verdicts import timed_out
from tests.runtime.house import bundle, running, until

SOURCE = r"""
import builtins, ctypes, os, re, sys, time

@query
def fine(ctx, n=1): return n + 1
@mutation
def write(ctx, n=1): return ctx.db.insert("t", {"n": n})
@query
def loop(ctx):
    while True: pass
@query
def long_sum(ctx): return sum(range(10**11))
@query
def sleep(ctx): time.sleep(60)
@query
def regex(ctx): return bool(re.match(r"(a+)+$", "a" * 40 + "b"))
@mutation
def write_then_loop(ctx):
    ctx.db.insert("t", {"n": -1})
    while True:
        try:
            while True: pass
        except BaseException: pass
@query
def memory(ctx):
    kept = []
    while True: kept.append(bytearray(50_000_000))
@query
def huge(ctx): return len(bytearray(10 * 2**30))
@mutation
def segfault(ctx):
    ctx.db.insert("t", {"n": -1})
    ctypes.string_at(0)
@mutation
def os_exit(ctx):
    ctx.db.insert("t", {"n": -1})
    os._exit(3)
@mutation
def sys_exit(ctx):
    ctx.db.insert("t", {"n": -1})
    sys.exit(3)
@query
def abort(ctx): os.abort()
class Odd(BaseException):
    def __str__(self): raise ValueError("no text")
@query
def base(ctx): raise Odd
@query
def unserialisable(ctx): return {"rows": [object()]}
@query
def cyclic(ctx):
    a = []; a.append(a)
    return a
@query
def gigabyte(ctx): return {"text": "x" * 10**9}
@query
def giant(ctx): return ["x" * 1_000_000] * 60
class Sour:
    def __del__(self): raise RuntimeError("sour")
@query
def raising_del(ctx):
    Sour()
    return "ok"
@query
def recursion(ctx): return recursion.handler(ctx)
@query
def deep(ctx):
    a = []
    for _ in range(100_000): a = [a]
    return a
@query
def prints(ctx):
    for i in range(100_000): print("line", i)
    print("x" * 10_000_000)
    return "ok"
@query
def fork(ctx):
    while True: os.fork()
@query
def descriptors(ctx):
    global kept
    kept = []
    while True: kept.append(open("/dev/null"))
@query
def leave_open(ctx):
    global kept
    kept = [open("/dev/null") for _ in range(100)]
    return "ok"
@query
def spoil(ctx):
    builtins.len = lambda x: 42
    return "spoilt"
@query
def measure(ctx): return len([1, 2])
@query
def close_all(ctx):
    os.closerange(3, 256)
    while True: pass
def _socket():
    for fd in range(3, 256):
        try:
            if os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"): return fd
        except OSError: pass
@mutation
def forged_number(ctx):
    import msgspec
    body = msgspec.msgpack.encode([999_999, {"value": b'"forged"', "kind": "mutation"}])
    os.write(_socket(), len(body).to_bytes(4, "little") + b"\x08" + body)
    time.sleep(5)
@query
def forged_length(ctx):
    os.write(_socket(), b"\xff\xff\xff\xff\x08")
    time.sleep(5)
@query
def forged_type(ctx):
    os.write(_socket(), b"\x00\x00\x00\x00\x04")
    time.sleep(5)
@query
def forged_body(ctx):
    os.write(_socket(), b"\x03\x00\x00\x00\x08abc")
    time.sleep(5)
@query
def who(ctx): return ctx.auth.get_user_identity()
@query
def secret(ctx): raise ValueError("password=hunter2 in /etc/secret")
@query
def said(ctx): raise AppError({"code": "NOT_FOUND", "id": 5})
"""


BAD = [
    ("loop", "FunctionTimeout", "m:loop took more than 1 s and was stopped; it has written nothing"),
    ("long_sum", "FunctionTimeout", "took more than"),
    ("sleep", "FunctionTimeout", "took more than"),
    ("regex", "FunctionTimeout", "took more than"),
    ("write_then_loop", "FunctionTimeout", "has written nothing"),
    ("segfault", "FunctionCrashed", "ended its process (signal SIGSEGV); it has written nothing"),
    ("os_exit", "FunctionCrashed", "ended its process (exit status 3)"),
    ("abort", "FunctionCrashed", "signal SIGABRT"),
    ("sys_exit", "FunctionFailed", "Uncaught SystemExit: 3"),
    ("base", "FunctionFailed", "its text cannot be shown"),
    ("unserialisable", "InvalidValue", "returns.rows[0]"),
    ("cyclic", "LimitExceeded", "returns"),
    ("deep", "LimitExceeded", "returns"),
    ("giant", "LimitExceeded", "bytes in a result"),
    ("recursion", "FunctionFailed", "RecursionError"),
    ("fork", "NotAllowed", "a query cannot fork the process"),
    ("descriptors", "FunctionFailed", "Too many open files"),
    ("forged_number", "FunctionCrashed", "not part of the protocol"),
    ("forged_length", "FunctionCrashed", "not part of the protocol"),
    ("forged_type", "FunctionCrashed", "not part of the protocol"),
    ("forged_body", "FunctionCrashed", "not part of the protocol"),
    ("close_all", "FunctionCrashed", "ended its process"),
]


def test_a_call_that_was_stopped_is_said_to_have_taken_its_time() -> None:
    outcome = timed_out(Call("m:loop", b""), 1.5, importing=False)
    assert (outcome.duration_us, outcome.failure and outcome.failure.code) == (1_500_000, "FunctionTimeout")


def test_too_much_memory(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, SOURCE, user_time=30.0, memory_bytes=128 << 20) as (house, pool):
            for name in ("memory", "huge", "memory"):
                failure = (await pool.run(house.call(f"m:{name}"))).failure
                assert failure is not None
                assert failure.code == "FunctionOutOfMemory"
                assert "asked for more memory than a worker may have; it has written nothing" in failure.message
                assert house.finish(await pool.run(house.call("m:fine"))) == 2
            assert pool.status()["recycled"] == 3

    asyncio.run(main())


def test_a_result_that_could_not_be_encoded(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, SOURCE, user_time=60.0, memory_bytes=1200 << 20) as (house, pool):
            failure = (await pool.run(house.call("m:gigabyte"))).failure
            assert failure is not None
            assert failure.code == "LimitExceeded"
            assert "returns: 1000000009 bytes in a result" in failure.message

    asyncio.run(main())


def test_every_bad_call_has_its_error(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, SOURCE) as (house, pool):
            for name, code, text in BAD:
                began = time.monotonic()
                outcome = await pool.run(house.call(f"m:{name}"))
                took = time.monotonic() - began
                assert outcome.failure is not None, name
                assert (name, outcome.failure.code) == (name, code), outcome.failure
                assert text in outcome.failure.message, outcome.failure
                assert not outcome.writes
                assert took < 5, (name, took)  # not a measurement: the function itself would take minutes
                good = await pool.run(house.call("m:fine"))
                assert house.finish(good) == 2
            house.finish(await pool.run(house.call("m:write")))

    asyncio.run(main())


def test_harmless_oddities(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, SOURCE) as (house, pool):
            outcome = await pool.run(house.call("m:raising_del"))
            assert house.finish(outcome) == "ok"
            assert [line.level for line in outcome.logs] == ["WARN"]
            assert "RuntimeError: sour" in outcome.logs[0].text
            outcome = await pool.run(house.call("m:prints"))
            assert house.finish(outcome) == "ok"
            assert len(outcome.logs) == 256
            assert outcome.logs[-1].text.startswith("... 99746 more lines")
            assert all(len(line.text) <= 4096 for line in outcome.logs)

            assert house.finish(await pool.run(house.call("m:spoil"))) == "spoilt"
            await until(lambda: pool.status()["recycled"] == 1)
            for _ in range(20):
                assert house.finish(await pool.run(house.call("m:measure"))) == 2
            assert house.finish(await pool.run(house.call("m:leave_open"))) == "ok"
            assert pool.status()["recycled"] == 2

    asyncio.run(main())


def test_production_tells_nothing(tmp_path: Path) -> None:
    """Case 30."""

    async def main() -> None:
        async with running(tmp_path, SOURCE, mode="prod") as (house, pool):
            failure = (await pool.run(house.call("m:secret", request_id="abc"))).failure
            assert failure is not None
            assert failure.message == "[Request ID: abc] Server Error"
            assert not failure.trace
            failure = (await pool.run(house.call("m:said"))).failure
            assert failure is not None
            assert (failure.code, failure.data) == ("AppError", b'{"code":"NOT_FOUND","id":5}')

    asyncio.run(main())


def test_good_calls_go_on_beside_a_bad_one(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, SOURCE) as (house, pool):
            bad = asyncio.ensure_future(pool.run(house.call("m:loop")))
            done = 0
            while not bad.done():
                assert house.finish(await pool.run(house.call("m:fine"))) == 2
                done += 1
                await asyncio.sleep(0)
            assert done > 20
            await until(lambda: pool.status()["stuck"] == 0)
            await until(lambda: pool.status()["idle"] == 3)

    asyncio.run(main())


def test_many_stuck_calls_do_not_stop_the_good_ones(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, SOURCE) as (house, pool):
            bad = [asyncio.ensure_future(pool.run(house.call("m:sleep"))) for _ in range(4)]
            await until(lambda: pool.status()["stuck"] == 4)
            assert house.finish(await pool.run(house.call("m:fine"))) == 2
            assert not any(task.done() for task in bad)
            for outcome in await asyncio.gather(*bad):
                assert outcome.failure is not None

    asyncio.run(main())


@pytest.mark.slow
def test_spawned_workers_behave_the_same(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, SOURCE, method="spawn", user_time=4.0, memory_bytes=256 << 20) as (house, pool):
            assert pool.status()["method"] == "spawn"
            for name in ("loop", "huge", "segfault", "os_exit", "forged_number", "unserialisable"):
                outcome = await pool.run(house.call(f"m:{name}"))
                code = next((code for bad, code, _ in BAD if bad == name), "FunctionOutOfMemory")
                assert outcome.failure is not None
                assert outcome.failure.code == code, outcome.failure
                assert house.finish(await pool.run(house.call("m:fine"))) == 2

    asyncio.run(main())


@pytest.mark.slow
def test_a_module_with_threads_works_also_after_a_kill(tmp_path: Path) -> None:
    source = """
import polars as pl
import pyarrow as pa
@query
def total(ctx, xs):
    return pl.DataFrame({"x": xs}).select(pl.col("x").sum()).item() + pa.array(xs).sum().as_py()
@query
def loop(ctx):
    while True: pass
"""

    async def main() -> None:
        async with running(tmp_path, source, user_time=4.0) as (house, pool):
            assert pool.status()["method"] == "spawn"
            assert "polars" in pool.status()["why"]
            assert house.finish(await pool.run(house.call("m:total", {"xs": [1, 2, 3]}))) == 12
            failure = (await pool.run(house.call("m:loop"))).failure
            assert failure is not None
            assert failure.code == "FunctionTimeout"
            for _ in range(5):
                assert house.finish(await pool.run(house.call("m:total", {"xs": [1, 2, 3]}))) == 12

    asyncio.run(main())


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    def children() -> set[int]:
        return {child.pid for child in psutil.Process().children(recursive=True)}

    # other tests of this run may have processes and descriptors that stay
    before, descriptors = children(), psutil.Process().num_fds()

    async def main() -> set[int]:
        async with running(tmp_path, SOURCE) as (house, pool):
            await pool.run(house.call("m:segfault"))
            found = children() - before
            assert len(found) >= 3
        return found

    pids = asyncio.run(main())
    deadline = time.monotonic() + 10
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert psutil.Process().num_fds() <= descriptors + 3  # psutil's and the interpreter's own


@pytest.mark.parametrize("where", ["print", "log", "error", "data", "result"])
def test_a_lone_surrogate_ends_no_worker(tmp_path: Path, where: str) -> None:
    source = r"""
@mutation
def say(ctx, where: str):
    "Says \ud800."
    ctx.db.insert("t", {"bytes": b"\x00\xff"})
    if where == "print": print("a\ud800b")
    if where == "log": ctx.log.info("a\ud800b")
    if where == "error": raise ValueError("a\ud800b")
    if where == "data": raise AppError({"a\ud800b": 1})
    return "a\ud800b" if where == "result" else 1
"""

    async def main() -> None:
        async with running(tmp_path, source) as (house, pool):
            outcome = await pool.run(house.call("m:say", {"where": where}))
            assert pool.status()["crashes"] == 0
            if outcome.failure is None:
                assert [line.text for line in outcome.logs] == [r"a\ud800b"]
                assert house.finish(outcome) == 1
                assert outcome.writes[-1].doc is not None
                assert b"\x00\xff" in outcome.writes[-1].doc
            else:
                assert where in ("error", "data", "result")
                assert r"a\ud800b" in outcome.failure.message or "lone surrogate" in outcome.failure.message
            with pytest.raises(DeployRefused, match=r"a\\ud800b"):
                await pool.prepare(bundle(2, m=r"raise ValueError('a\ud800b')"))

    asyncio.run(main())


KEEPING = """
KEPT = []
@mutation
def keep(ctx):
    for n in range(100): ctx.db.insert("t", {"n": n})
    rows = iter(ctx.db.query("t"))
    next(rows)
    KEPT[:] = [ctx, ctx.db, ctx.db.query("t"), rows, ctx.auth, ctx.log, ctx.db.query("t").first()["_id"]]
@mutation
def use(ctx, how: str):
    old, db, rows, begun, auth, log, id = KEPT
    return eval(how) and None
@internal_mutation
def insert(ctx): ctx.db.insert("t", {"n": 1})
"""


@pytest.mark.parametrize(
    "how",
    [
        'old.db.insert("t", {"n": 1})', 'old.db.insert("new", {"n": 1})', 'db.get(id)', 'db.patch(id, {"n": 5})',
        "db.delete(id)", "rows.collect()", "rows.count()", "len(list(begun))", "auth.get_user_identity()", "old.now()",
        "old.auth.get_user_identity()", "log('late')", "log.warn('late')", "old.run_mutation(insert)",
    ],
)  # fmt: skip
def test_what_was_kept_of_a_call_cannot_be_used_in_another(tmp_path: Path, how: str) -> None:
    async def main() -> None:
        async with running(tmp_path, KEEPING, workers=1) as (house, pool):
            # Until one worker has been given both calls: there is a spare one, too.
            for _ in range(20):
                house.finish(await pool.run(house.call("m:keep")))
                outcome = await pool.run(house.call("m:use", {"how": how}))
                assert outcome.failure is not None, how
                if "not enough values" not in outcome.failure.message:
                    break
            assert outcome.failure.code == "NotAllowed", outcome.failure
            assert "use the ctx that the running function was given" in outcome.failure.message
            assert not outcome.writes

    asyncio.run(main())


FORGERY = r"""
import msgspec, os, sys, time
from nbreactive.engine.transactions import Outcome
from nbreactive.runtime.frames import REPLY, Reply, encode, frame

def _frame():
    at = sys._getframe()
    while "request" not in at.f_locals or "sock" not in at.f_locals: at = at.f_back
    return at.f_locals["sock"], at.f_locals["request"].number
def answer(value=b"1", number=None, **more):
    sock, mine = _frame()
    sock.sendall(frame(REPLY, encode(Reply(mine if number is None else number, Outcome(value, **more)))))
def next_call():
    import select
    sock, _ = _frame()
    select.select([sock], [], [])
    return sock
@query
def again(ctx):
    answer()
    next_call()
    return 2
@query
def sleeps(ctx):
    answer()
    time.sleep(60)
@query
def dies(ctx):
    answer()
    next_call()
    os._exit(0)
@query
def stale(ctx):
    answer(number=_frame()[1] - 1)
    time.sleep(60)
@query
def number(ctx): return _frame()[1]
@query
def raw(ctx, value: bytes, data: bool):
    if data: answer(failure={"code": "AppError", "message": "no", "data": value})
    else: answer(value)
    time.sleep(60)
@query
def fine(ctx): return "fine"
@mutation
def write(ctx): ctx.db.insert("t", {})
"""


@pytest.mark.parametrize("name", ["again", "sleeps", "dies"])
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing tells whether a call was read")
def test_who_answers_early_harms_no_other_call(tmp_path: Path, name: str) -> None:
    async def main() -> None:
        async with running(tmp_path, FORGERY, workers=1) as (house, pool):
            await until(lambda: pool.status()["idle"] == 2)
            assert house.finish(await pool.run(house.call(f"m:{name}"))) == 1
            house.finish(await pool.run(house.call("m:write")))
            assert pool.status()["moved"] == 1
            assert (pool.status()["crashes"], pool.status()["timeouts"]) == (0, 0)
            for _ in range(3):
                assert house.finish(await pool.run(house.call("m:fine"))) == "fine"
            rows = await pool.run(house.call("_system/tables:count", {"table": "t"}, reach="system"))
            assert house.finish(rows) == 1

    asyncio.run(main())


def test_a_call_that_forges_is_moved_once_only(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, FORGERY, workers=1) as (house, pool):
            await until(lambda: pool.status()["idle"] == 2)
            while house.finish(await pool.run(house.call("m:number"))) < 2:
                pass
            failure = (await pool.run(house.call("m:stale"))).failure
            assert failure is not None and failure.code == "FunctionCrashed"
            assert (pool.status()["moved"], pool.status()["crashes"]) == (1, 1)

    asyncio.run(main())


@pytest.mark.parametrize("data", [False, True])
@pytest.mark.parametrize(
    "value", [b"", b"{", b"1 2", b'"a', b"[1,]", b"nul", b'1},{"evil":1', b'"\xff"', b'"\xed\xa0\x80"', b"[" * 100_000]
)
def test_what_is_not_json_is_no_result(tmp_path: Path, value: bytes, data: bool) -> None:
    async def main() -> None:
        async with running(tmp_path, FORGERY) as (house, pool):
            failure = (await pool.run(house.call("m:raw", {"value": value, "data": data}))).failure
            assert failure is not None and failure.code == "FunctionCrashed"
            assert "a result that is not JSON" in failure.message
            assert house.finish(await pool.run(house.call("m:fine"))) == "fine"

    asyncio.run(main())
