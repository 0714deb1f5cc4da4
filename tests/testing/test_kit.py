"""The testing kit, used as its users do."""

from __future__ import annotations

import asyncio
import datetime as dt
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nbreactive import api, internal
from nbreactive.errors import AppError, ArgumentError, DeployRefused, FunctionFailed, FunctionNotFound, NotAllowed
from nbreactive.functions import references
from nbreactive.testing import Backend
from nbreactive.testing.time import START

MODULE = """
import asyncio
import time
from datetime import datetime, timezone

from nbreactive import AppError, action, api, define_schema, define_table, internal, internal_mutation, mutation, query, v

schema = define_schema({"notes": define_table({"text": v.string(), "at": v.number()}).index("by_text", ["text"])})


@mutation
def add(ctx, text: str):
    print("adding", text)
    return ctx.db.insert("notes", {"text": text, "at": ctx.now()})


@internal_mutation
def silent(ctx):
    pass


@query
def texts(ctx, only: str | None = None):
    notes = ctx.db.query("notes")
    return [note["text"] for note in (notes.with_index("by_text", lambda q: q.eq("text", only)) if only else notes)]


@query
def times(ctx):
    return [note["at"] for note in ctx.db.query("notes")]


@query
def clocks(ctx):
    return [ctx.now(), int(time.time() * 1000), int(datetime.now(timezone.utc).timestamp() * 1000)]


@query
def periodic(ctx):
    return ctx.now(every=5_000)


@query
def who(ctx):
    return ctx.auth.get_user_identity()


@mutation
def fail(ctx, how: str):
    ctx.db.insert("notes", {"text": "never", "at": 0})
    if how == "app":
        raise AppError({"code": "NO"})
    return 1 // 0


@mutation
def plan(ctx, times: int, seconds: float):
    ctx.scheduler.run_after(seconds * 1000, internal.m.again, times=times, seconds=seconds)


@internal_mutation
def again(ctx, times: int, seconds: float):
    ctx.db.insert("notes", {"text": f"{times} more", "at": ctx.now()})
    if times:
        ctx.scheduler.run_after(seconds * 1000, internal.m.again, times=times - 1, seconds=seconds)


@action
async def asynchronous(ctx, body: str):
    print("acting")
    await asyncio.gather(*(ctx.run_mutation(api.m.add, text=f"{body} {n}") for n in range(3)))
    await ctx.scheduler.run_after(2_000, internal.m.again, times=0, seconds=0)
    return [ctx.now(), ctx.env["PLACE"], await ctx.run_query(api.m.texts)]


@action
def blocking(ctx):
    return ctx.run_action(api.m.asynchronous, body="inner")[2]


@mutation
def act_later(ctx):
    ctx.scheduler.run_after(0, api.m.asynchronous, body="later")


@action
async def misbehave(ctx):
    raise AppError("from an action")
"""


@pytest.fixture
def t() -> Any:
    with Backend({"m": MODULE}, env={"PLACE": "here"}) as running:
        yield running


def test_calls_and_their_errors(t: Backend) -> None:
    assert t.mutation(api.m.add, text="a") == t.run(lambda ctx: ctx.db.query("notes").first()["_id"])
    assert [(line.level, line.text) for line in t.logs] == []
    t.mutation("m:add", {"text": "b"})
    assert [(line.level, line.text) for line in t.logs] == [("LOG", "adding b")]
    assert t.query(api.m.texts) == ["a", "b"] and t.query(api.m.texts, only="b") == ["b"]
    with pytest.raises(ArgumentError, match=r"args\.text: expected a string"):
        t.mutation(api.m.add, text=3)
    with pytest.raises(ArgumentError, match="keywords, or one dict"):
        t.mutation(api.m.add, {"text": "x"}, text="y")
    with pytest.raises(AppError) as caught:
        t.mutation(api.m.fail, how="app")
    assert caught.value.data == {"code": "NO"}
    with pytest.raises(FunctionFailed, match="ZeroDivisionError"):
        t.mutation(api.m.fail, how="otherwise")
    with pytest.raises(AppError, match="from an action"):
        t.action(api.m.misbehave)
    for run, reference in ((t.query, api.m.nothing), (t.query, api.m.add), (t.mutation, api.m.texts)):
        with pytest.raises(FunctionNotFound):
            run(reference)
    assert t.query(api.m.texts) == ["a", "b"]


def test_arguments_without_names_are_refused_in_words(t: Backend) -> None:
    for run in (t.query, t.mutation, t.action, t.live):
        for args, named in ((("tea",), {}), (({"text": "a"},), {"text": "b"}), ((["a"],), {})):
            with pytest.raises(ArgumentError, match=r"keywords, or one dict, .*write api\.m\.add\("):
                run(api.m.add, *args, **named)


def test_functions_run_in_the_tests_own_thread(t: Backend) -> None:
    assert t.run(lambda ctx: threading.get_ident()) == threading.get_ident()


def test_what_run_raises_is_raised_as_it_is_and_undone(t: Backend) -> None:
    def body(ctx: Any) -> None:
        ctx.db.insert("notes", {"text": "x", "at": 0})
        assert ctx.db.query("notes").count() == 7, "counted"

    with pytest.raises(AssertionError, match="counted"):
        t.run(body)
    with pytest.raises(NotAllowed, match="system"):
        t.run(lambda ctx: ctx.db.insert("_modules", {}))
    assert t.query(api.m.texts) == []


def test_people(t: Backend) -> None:
    ada = t.with_identity({"subject": "ada", "name": "Ada"})
    assert t.query(api.m.who) is None
    assert ada.query(api.m.who) == {
        "issuer": "https://test", "subject": "ada", "name": "Ada", "tokenIdentifier": "https://test|ada"
    }  # fmt: skip
    assert (
        ada.with_identity({"issuer": "https://b", "subject": "bob"}).query(api.m.who)["tokenIdentifier"]
        == "https://b|bob"
    )
    with ada.live(api.m.who) as hers, t.live(api.m.who) as nobodys:
        assert hers.value["name"] == "Ada" and nobodys.value is None


def test_time_stands_still(t: Backend) -> None:
    now = int(START * 1000)
    assert t.query(api.m.clocks) == [now] * 3
    before = time.time()
    t.advance(86_400)
    assert time.time() - before < 3600, "the test's own clock goes on as it did"
    assert t.query(api.m.clocks) == [now + 86_400_000] * 3
    assert t.now == dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    with pytest.raises(ArgumentError, match="time only goes on"):
        t.advance(-1)
    for number in range(3):
        t.mutation(api.m.add, text=str(number))
    created = t.run(lambda ctx: [note["_creationTime"] for note in ctx.db.query("notes")])
    assert created == sorted(set(created)) and abs(created[-1] - (now + 86_400_000)) < 1000


def test_scheduled_functions_run_when_they_are_due_and_not_before(t: Backend) -> None:
    begin = START * 1000
    t.mutation(api.m.plan, times=3, seconds=10)
    t.finish_in_progress_scheduled_functions()
    assert t.query(api.m.times) == []
    t.advance(25)
    assert t.query(api.m.times) == [begin + 10_000, begin + 20_000], "each at its own time"
    assert [job["scheduledTime"] for job in t.scheduled_functions("pending")] == [begin + 30_000]
    t.finish_scheduled_functions()
    assert t.query(api.m.times) == [begin + each for each in (10_000, 20_000, 30_000, 40_000)]
    assert {job["state"]["kind"] for job in t.scheduled_functions()} == {"success"}
    t.mutation(api.m.plan, times=10_000, seconds=1)
    with pytest.raises(NotAllowed, match="after 20 steps functions still schedule functions"):
        t.finish_scheduled_functions(steps=20)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.one_of(st.integers(0, 1000), st.integers(0, 10**9), st.floats(0, 1e6)), min_size=1, max_size=5),
    st.booleans(),
)
def test_whatever_the_delay_the_clock_moves_to_when_it_is_due(t: Backend, delays: list[float], at_once: bool) -> None:
    for delay in delays:
        t.run(lambda ctx, delay=delay: ctx.scheduler.run_after(delay, internal.m.silent))
    if at_once:
        t.finish_scheduled_functions()
    else:
        t.advance(max(delays) / 1000 + 0.000_001)
    assert t.scheduled_functions("pending") == []


def test_a_delay_in_whole_milliseconds_is_over_when_as_much_time_has_passed() -> None:
    for delay in (1, 10, 50, 100, 250, 500, 999):
        with Backend({"m": MODULE}) as t:
            t.run(lambda ctx, delay=delay: ctx.scheduler.run_after(delay, internal.m.silent))
            t.advance(delay / 1000)
            assert [job["state"]["kind"] for job in t.scheduled_functions()] == ["success"], delay


def test_what_is_due_at_once_waits_for_the_test_too(t: Backend) -> None:
    t.mutation(api.m.plan, times=2, seconds=0)
    t.mutation(api.m.add, text="meanwhile")
    assert t.query(api.m.texts) == ["meanwhile"]
    t.finish_in_progress_scheduled_functions()
    assert t.query(api.m.texts) == ["meanwhile", "2 more", "1 more", "0 more"]


def test_actions(t: Backend) -> None:
    out = sys.stdout
    now, place, texts = t.action(api.m.asynchronous, body="x")
    assert (now, place) == (START * 1000, "here") and sorted(texts) == ["x 0", "x 1", "x 2"]
    assert [line.text for line in t.logs] == ["acting"]
    assert sys.stdout is out
    assert len(t.action(api.m.blocking)) == 6
    t.advance(2)
    assert t.query(api.m.texts)[6:] == ["0 more"] * 2
    t.mutation(api.m.act_later)
    t.finish_scheduled_functions()
    assert len(t.query(api.m.texts)) == 12
    assert {job["state"]["kind"] for job in t.scheduled_functions()} == {"success"}


HTTP = """
from nbreactive import AppError, Response, api, http_action, http_router

@http_action
async def echo(ctx, request):
    body = await request.body()
    await ctx.run_mutation(api.m.add, text=request.method)
    return Response(body * 2, headers={"X-Agent": request.headers["user-agent"], "X-Url": request.url})

@http_action
async def fail(ctx, request):
    raise AppError("no")

http = http_router()
http.route(path_prefix="/echo/", method="PUT", handler=echo)
http.route(path="/fail", method="GET", handler=fail)
"""


def test_http_actions() -> None:
    with Backend({"m": MODULE, "http": HTTP}) as t:
        large = bytes(range(256)) * 8192
        answer = t.fetch("/echo/x?y=1", method="PUT", body=large, headers={"User-Agent": "test"})
        assert answer.status == 200 and answer.body == large * 2, "far beyond the window"
        assert answer.headers["x-agent"] == "test" and answer.headers["x-url"] == "http://test/echo/x?y=1"
        assert t.query(api.m.texts) == ["PUT"]
        assert t.fetch("/echo/x").status == 404 and "No HttpAction routed for /echo/x" in t.fetch("/echo/x").text
        with pytest.raises(AppError, match="no"):
            t.fetch("/fail")


def test_live_queries_are_up_to_date_whenever_the_test_looks(t: Backend) -> None:
    with t.live(api.m.texts) as texts, t.live(api.m.texts, only="b") as only:
        t.mutation(api.m.add, text="a")
        with pytest.raises(AppError):
            t.mutation(api.m.fail, how="app")
        t.mutation(api.m.add, text="b")
        assert texts.values == [[], ["a"], ["a", "b"]]
        assert only.values == [[], ["b"]], "what changes nothing adds nothing"
        t.run(lambda ctx: [ctx.db.delete(note["_id"]) for note in ctx.db.query("notes").collect()])
        assert texts.value == [] and only.value == []
    t.mutation(api.m.add, text="c")
    assert texts.value == []
    with t.live(api.m.periodic) as clock:
        t.advance(4)
        t.advance(1)
        t.advance(60)
        assert clock.values == [START * 1000 + 1000 * after for after in (0, 5, 65)]


def test_a_live_query_that_fails_says_so_until_it_does_not(t: Backend) -> None:
    with t.live(api.m.texts, only=3) as wrong, pytest.raises(ArgumentError):
        _ = wrong.value
    with pytest.raises(FunctionNotFound):
        _ = t.live(api.m.nothing).value


def test_environment_variables_are_part_of_what_queries_read(t: Backend) -> None:
    assert t.action(api.m.asynchronous, body="x")[1] == "here"
    t.set_env("PLACE", "there")
    assert t.action(api.m.asynchronous, body="x")[1] == "there"


def test_code_that_calls_functions_itself_speaks_to_the_tests_backend(t: Backend) -> None:
    api.m.add(text="by a client")
    assert api.m.texts() == ["by a client"] and t.query(api.m.texts) == ["by a client"]
    assert api.m.texts.live().value == ["by a client"]
    assert len(api.m.asynchronous(body="x")) == 3


def test_debuggers_and_coverage_find_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reactive").mkdir()
    file = tmp_path / "reactive" / "m.py"
    file.write_text("from nbreactive import query\n\n@query\ndef f(ctx):\n    breakpoint()\n    return 1\n")
    monkeypatch.chdir(tmp_path)
    stopped: list[Any] = []
    monkeypatch.setattr(
        sys, "breakpointhook", lambda: stopped.append((sys._getframe(1).f_code.co_filename, sys._getframe(1).f_lineno))
    )
    ran: set[str] = set()
    before = sys.gettrace()
    sys.settrace(lambda frame, event, arg: ran.add(frame.f_code.co_filename))  # type: ignore[arg-type,func-returns-value]
    try:
        with Backend("reactive") as t:
            assert t.query("m:f") == 1
    finally:
        sys.settrace(before)
    assert [(Path(name).resolve(), line) for name, line in stopped] == [(file, 5)]
    assert {name for name in ran if name.startswith("reactive")} == {"reactive/m.py"}


def test_each_backend_is_new_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reactive" / "admin").mkdir(parents=True)
    (tmp_path / "reactive" / "m.py").write_text(MODULE)
    (tmp_path / "reactive" / "admin" / "lib.py").write_text("from reactive.m import texts\nLIST = []\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules), list(sys.meta_path), references.set_caller(None)
    references.set_caller(before[2])
    for _ in range(2):
        with Backend(tmp_path / "reactive") as t:
            import reactive.admin.lib as lib  # pyright: ignore[reportMissingImports]

            assert lib.LIST == [] and t.query(api.m.texts) == []
            lib.LIST.append(1)
            t.mutation(api.m.add, text="x")
        with pytest.raises(NotAllowed, match="closed"):
            t.query(api.m.texts)
        t.close()
    assert not [name for name in set(sys.modules) - before[0] if name.partition(".")[0] == "reactive"]
    assert sys.meta_path == before[1] and references.set_caller(None) is before[2]
    references.set_caller(before[2])


def test_what_cannot_be_deployed_is_refused_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(DeployRefused, match=r"reactive/m.py:1: the name 'undefined'"):
        Backend({"m": "undefined"})
    with pytest.raises(DeployRefused, match="there is no functions folder"):
        Backend(tmp_path / "nothing")
    with pytest.raises(ArgumentError, match="time zone"):
        Backend(now=dt.datetime(2026, 1, 1))  # noqa: DTZ001


def test_where_an_event_loop_runs_the_reason_is_given(t: Backend) -> None:
    async def main() -> None:
        t.query(api.m.texts)

    with pytest.raises(NotAllowed, match="write the test as a plain def"):
        asyncio.run(main())
    with pytest.raises(NotAllowed, match="only a name inside server functions"):
        t.run(lambda ctx: internal.m.again(times=1, seconds=1))
