"""Running calls: finding functions, arguments, nesting, context, determinism, errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nbreactive.engine.transactions import Outcome
from nbreactive.runtime.inline import InlineExecutor
from tests.runtime.house import NOW, House, bundle

CHAT = """
import datetime, os, random, secrets, socket, subprocess, tempfile, threading, time, uuid
from reactive.lib.words import shout

@query
def plain(ctx, n: int, price: float = 1.0, tags: list[str] = UNSET): return [n, price, shout("a")]
@internal_query
def hidden(ctx): return "hidden"
def _helper(ctx): pass
@query(name="renamed")
def list_(ctx): return 1
@mutation
def add(ctx, n: int): return ctx.db.insert("t", {"n": n})
@mutation
def add_and_fail(ctx, n: int):
    ctx.db.insert("t", {"n": n})
    ctx.db.insert("fresh", {"n": n})
    raise AppError({"n": n})
@query
def total(ctx): return ctx.db.query("t").count()
@mutation
def nested(ctx):
    ctx.run_mutation(api.chat.add, n=1)
    ctx.run_mutation(add, {"n": 2})
    try: ctx.run_mutation(api.chat.add_and_fail, n=3)
    except AppError as e: caught = e.data
    ctx.db.insert("t", {"n": 4})
    return [caught, ctx.run_query(internal.chat.hidden), ctx.run_query(total), [d["n"] for d in ctx.db.query("t")],
            ctx.db.query("fresh").count()]
@mutation
def nested_limit(ctx):
    try: ctx.run_mutation(api.chat.too_much)
    except Exception: pass
    return "went on"
@mutation
def too_much(ctx):
    for i in range(16_001): ctx.db.insert("t", {"n": i})
@mutation
def wrong_kind(ctx): return ctx.run_query(add, n=1)
@query
def endless(ctx): return ctx.run_query(api.chat.endless)
@query
def calls(ctx): return total(ctx)
@query
def calls_reference(ctx): return api.chat.total()
@query
def me(ctx): return ctx.auth.get_user_identity()
@query
def world(ctx):
    return [time.time(), str(time.time_ns()), datetime.datetime.now(datetime.UTC).timestamp(), datetime.date.today().isoformat(),
            random.random(), random.randint(0, 10**9), str(uuid.uuid4()), random.Random().random(), time.monotonic()]
@query
def numbers(ctx):
    import numpy
    return [float(numpy.random.rand()), int(numpy.random.randint(1000))]
@query
def does(ctx, what): return _does[what]()
@mutation
def does_too(ctx, what): return _does[what]()
_does = {
    "socket": lambda: socket.socket(), "connect": lambda: socket.create_connection(("127.0.0.1", 9)),
    "thread": lambda: threading.Thread(target=print).start(), "process": lambda: subprocess.run(["true"]),
    "system": lambda: os.system("true"), "write": lambda: open("x", "w"), "append": lambda: os.open("x", os.O_APPEND | os.O_WRONLY),
    "temporary": lambda: tempfile.TemporaryFile(), "remove": lambda: os.remove("x"), "mkdir": lambda: os.mkdir("x"),
    "secret": lambda: len(secrets.token_hex(4)), "read": lambda: len(open("/proc/self/stat").read()) > 0,
    "import": lambda: __import__("wave").__name__, "environ": lambda: os.environ.__setitem__("A", "b"),
}
@query
def repeats(ctx): return [ctx.now(), ctx.now(every=5000), ctx.now(every=2000)]
@query
def too_often(ctx): return ctx.now(every=10)
@mutation
def repeats_too(ctx): return ctx.now(every=5000)
@query
def logs(ctx):
    print("a", 1); print("two\\nlines", end=""); ctx.log("b", {"c": 1}); ctx.log.warn("w"); ctx.log.error("e")
@query
def meta(ctx): return [ctx.meta.get_function_metadata(), ctx.meta.get_snapshot_ts(), ctx.meta.get_request_metadata(),
                       ctx.meta.get_transaction_metrics()["documentsRead"]["used"]]
@query
def fails(ctx):
    inner()
def inner():
    raise KeyError("k")
@query
def wrong_result(ctx) -> int: return "text"
@query
def empty(ctx): return ctx.db.query("posts").collect()
@query
def ordered(ctx): return [{"zeta": 1, "alpha": 2}, {"zeta": 1, "mid": 3}]
@query
def page(ctx): return {"page": [{"z": 1, "a": 2}], "isDone": True}
@query
def texts(ctx): return ["a", "b"]
@query
def lacks(ctx): return ctx.nonsense
"""
WORDS = "def shout(x): return x.upper()"
SCHEMA = 'from nbreactive import define_schema, define_table\nschema = define_schema({"posts": define_table({"title": v.string()})})'


class Chat:
    def __init__(self, folder: Path) -> None:
        self.house = House(folder)
        self.inline = InlineExecutor(bundle(1, chat=CHAT, lib__words=WORDS, schema=SCHEMA), self.house.reader)
        self.house.deploy_schema(self.inline.manifest)

    def run(self, path: str, args: dict[str, Any] | None = None, **options: Any) -> Outcome:
        return self.inline.run_now(self.house.call(f"chat:{path}" if ":" not in path else path, args, **options))

    def value(self, path: str, args: dict[str, Any] | None = None, **options: Any) -> Any:
        return self.house.finish(self.run(path, args, **options))

    def failure(self, path: str, args: dict[str, Any] | None = None, **options: Any) -> tuple[str, str]:
        outcome = self.run(path, args, **options)
        assert outcome.failure is not None
        assert not outcome.writes
        return outcome.failure.code, outcome.failure.message


@pytest.fixture
def chat(tmp_path: Path) -> Iterator[Chat]:
    made = Chat(tmp_path)
    yield made
    made.house.close()


def test_modules_import_each_other_and_are_listed(chat: Chat) -> None:
    assert chat.value("plain", {"n": 2}) == [2, 1.0, "A"]
    assert chat.value("renamed") == 1
    specs = {spec.path: spec for spec in chat.inline.manifest.functions}
    assert specs["chat:hidden"].visibility == "internal"
    assert specs["chat:plain"].args["value"]["price"]["optional"] is True
    assert "chat:_helper" not in specs
    assert [table.name for table in chat.inline.manifest.tables] == ["posts"]
    assert (chat.inline.manifest.tables[0].module, chat.inline.manifest.tables[0].line) == ("schema", 3)


@pytest.mark.parametrize(
    "path",
    ["chat:nothing", "chat:_helper", "chat:shout", "chat:__init__", "os:system", "a/../../etc", "chat:hidden\x00", "x" * 10_000,
     "chat:pl\u0430in", "", ":", "chat", "_system/tables:rows"],
)  # fmt: skip
def test_what_is_not_there_and_what_is_hidden_look_the_same(chat: Chat, path: str) -> None:
    """Cases 9 and 10."""
    code, message = chat.failure(path)
    assert code == "FunctionNotFound"
    assert "Could not find public function for" in message
    assert len(message) < 1000
    hidden = chat.failure("chat:hidden")
    assert hidden[0] == code
    assert "Could not find public function for 'chat:hidden'" in hidden[1]
    assert chat.value("chat:hidden", reach="internal") == "hidden"


def test_the_kind_must_be_the_expected_one(chat: Chat) -> None:
    assert "it is a mutation" in chat.failure("add", {"n": 1}, kind="query")[1]
    assert chat.failure("add", {"n": 1}, kind="query")[0] == "FunctionNotFound"


@pytest.mark.parametrize(
    ("args", "where"),
    [({}, "n"), ({"n": 1, "x": 2}, "x"), ({"n": "1"}, "args.n"), ({"n": 1.5}, "args.n"), ({"n": True}, "args.n"),
     ({"n": float("nan")}, "args.n"), ({"n": 1, "price": None}, "args.price"), ({"n": 1, "tags": ["a", 1]}, "args.tags[1]")],
)  # fmt: skip
def test_wrong_arguments_are_named(chat: Chat, args: dict[str, Any], where: str) -> None:
    """Case 11."""
    code, message = chat.failure("plain", args)
    assert code == "ArgumentValidationError"
    assert "Server Error\nArgumentValidationError: " in message
    assert where in message


def test_nested_calls_share_the_transaction_and_roll_back_alone(chat: Chat) -> None:
    outcome = chat.run("nested")
    assert chat.house.finish(outcome) == [{"n": 3}, "hidden", 3, [1, 2, 4], 0]
    assert chat.value("total") == 3
    assert len(outcome.writes) == 4  # the table, and three documents


def test_a_caught_abort_is_still_an_abort(chat: Chat) -> None:
    """Case 27."""
    assert chat.failure("nested_limit")[0] == "LimitExceeded"
    assert chat.value("total") == 0


def test_nesting_has_rules(chat: Chat) -> None:
    assert "use ctx.run_mutation" in chat.failure("wrong_kind")[1]
    code, message = chat.failure("endless")
    assert code == "LimitExceeded"
    assert "at most 8 are allowed" in message
    assert chat.failure("calls")[0] == "NotAllowed"
    assert "ctx.run_query" in chat.failure("calls_reference")[1]
    assert "ctx has no 'nonsense' in a query" in chat.failure("lacks")[1]


def test_identity_is_noticed(chat: Chat) -> None:
    outcome = chat.run("me", identity={"subject": "ada", "issuer": "jupyter", "name": "Ada"})
    assert outcome.identity_read
    assert chat.house.finish(outcome)["tokenIdentifier"] == "jupyter|ada"
    assert chat.value("me") is None
    assert not chat.run("total").identity_read


def test_time_and_chance_repeat_case_26(chat: Chat) -> None:
    """Case 26."""
    call = chat.house.call("chat:world")
    first, second = chat.inline.run_now(call), chat.inline.run_now(call)
    values = chat.house.finish(first)
    assert first.value == second.value
    assert values[0] == call.now / 1000 == values[2]
    assert values[1] == str(call.now * 1_000_000)
    assert chat.value("world") != values
    call = chat.house.call("chat:numbers")
    assert chat.inline.run_now(call).value == chat.inline.run_now(call).value
    assert chat.value("numbers") != chat.house.finish(chat.inline.run_now(call))


@pytest.mark.parametrize("kind", ["does", "does_too"])
@pytest.mark.parametrize(
    "what",
    ["socket", "connect", "thread", "process", "system", "write", "append", "temporary", "remove", "mkdir", "environ"],
)
def test_effects_are_refused_case_26(chat: Chat, what: str, kind: str) -> None:
    """Case 26."""
    code, message = chat.failure(kind, {"what": what})
    assert code == "NotAllowed"
    assert "cannot" in message


def test_reading_is_allowed_and_secrets_depend(chat: Chat) -> None:
    assert chat.value("does", {"what": "read"}) is True
    assert chat.value("does", {"what": "import"}) == "wave"
    assert chat.failure("does", {"what": "secret"})[0] == "NotAllowed"
    assert chat.value("does_too", {"what": "secret"}) == 8


def test_now_and_every(chat: Chat) -> None:
    outcome = chat.run("repeats")
    assert outcome.every == 2000
    assert chat.house.finish(outcome)[0] > NOW
    assert "at least 1000" in chat.failure("too_often")[1]
    assert chat.failure("repeats_too")[0] == "NotAllowed"


def test_lines_are_captured(chat: Chat) -> None:
    lines = [(line.level, line.text) for line in chat.run("logs").logs]
    assert lines == [
        ("LOG", "a 1"),
        ("LOG", "two"),
        ("LOG", "b {'c': 1}"),
        ("WARN", "w"),
        ("ERROR", "e"),
        ("LOG", "lines"),
    ]


def test_meta(chat: Chat) -> None:
    function, ts, request, read = chat.value("meta", request_id="r77")
    assert function == {"name": "chat:meta", "componentPath": "", "type": "query", "visibility": "public"}
    assert (ts, request, read) == (chat.house.ts, {"requestId": "r77"}, 0)


def test_errors_show_the_users_own_frames(chat: Chat) -> None:
    failure = chat.run("fails", request_id="abc").failure
    assert failure is not None
    line = CHAT.split("\n").index("    inner()") + 2
    assert failure.message == (
        f"[Request ID: abc] Server Error\nUncaught KeyError: 'k'\n    at inner (reactive/chat.py:{line + 2})\n"
        f"    at fails (reactive/chat.py:{line})\n"
    )
    assert failure.trace.endswith("    raise KeyError(\"k\")\nKeyError: 'k'\n")
    assert "nbreactive" not in failure.trace
    code, message = chat.failure("wrong_result")
    assert code == "ReturnsValidationError"
    assert "ReturnsValidationError: returns: expected" in message


def test_an_empty_result_has_columns(chat: Chat) -> None:
    assert chat.run("empty").columns == ["_id", "_creationTime", "title"]


def test_columns_are_in_the_order_of_the_function(chat: Chat) -> None:
    assert chat.run("ordered").columns == ["zeta", "alpha", "mid"]
    assert chat.run("page").columns == ["z", "a"]
    assert chat.run("texts").columns is None


def test_every_outcome_depends_on_the_code(chat: Chat) -> None:
    from nbreactive.engine.catalog import all_modules

    index, interval = all_modules()
    for path in ("total", "nothing", "fails"):
        assert chat.run(path).reads[index] == [interval]
