"""Every limit, driven over its edge in a real worker: the error says how much, of what, the most, and what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from nbreactive.errors import InvalidValue
from nbreactive.server.limits import Limits, described, parse_limits
from nbreactive.values import limits
from nbreactive.values.limits import MIB
from tests.served import Served

MODULE = """
import time
from nbreactive import internal_mutation, mutation, query

def nested(levels):
    value = 1
    for _ in range(levels):
        value = [value]
    return value

@query
def echo(ctx, x):
    return x

@mutation
def insert(ctx, document, times: int = 1, table: str = "t"):
    for _ in range(times):
        last = ctx.db.insert(table, document)
    return last

@mutation
def insert_text(ctx, size: int, times: int = 1):
    for _ in range(times):
        ctx.db.insert("texts", {"text": "x" * size})

@mutation
def insert_nested(ctx, levels: int):
    ctx.db.insert("t", {"x": nested(levels - 1)})

@query
def read_nested(ctx, levels: int):
    return nested(levels)

@query
def count_by_reading(ctx, table: str, n: int):
    return sum(1 for _ in ctx.db.query(table).take(n))

@query
def get_each(ctx, n: int):
    ids = [d["_id"] for d in ctx.db.query("t").take(2 * n)]
    return sum(ctx.db.get(id) is not None for id in ids[::2][:n])

@query
def text(ctx, size: int):
    return ["x" * 1_000_000] * (size // 1_000_000)

@query
def items(ctx, n: int):
    return [0] * n

@query
def filtered(ctx, n: int):
    def condition(q):
        found = q.eq(q.field("a"), 1)
        for _ in range(n - 1):
            found = q.or_(found, q.eq(q.field("a"), 1)) if hasattr(q, "or_") else (found | q.eq(q.field("a"), 1))
        return found
    return ctx.db.query("t").filter(condition).take(1)

@query
def deep(ctx, n: int):
    from reactive.l import deep
    return 1 if n == 1 else ctx.run_query(deep, n=n - 1)

@query
def slow(ctx, seconds: float):
    end = time.perf_counter_ns
    n = 0
    while True:
        n += 1

@query
def loud(ctx, lines: int, length: int = 1):
    for _ in range(lines):
        print("x" * length)

@mutation
def schedule(ctx, times: int, size: int = 0):
    from reactive.l import nothing
    for _ in range(times):
        ctx.scheduler.run_after(86_400_000, nothing, x="x" * size)

@internal_mutation
def nothing(ctx, x: str):
    pass
"""


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    # Time alone is another than usual, so that a busy machine changes nothing; what is usual is in tests/runtime.
    with Served(tmp_path_factory.mktemp("limits"), {"l": MODULE}, "--limit", "seconds=50") as running:
        for _ in range(3):
            running.call("mutation", "l:insert", document={"a": 1}, times=11_000)
        for _ in range(2):
            running.call("mutation", "l:insert_text", size=1_000_000, times=9)
        yield running


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


# kind, function, arguments at the edge (None: too long to try), arguments over it, what the error says
TABLE: list[tuple[str, str, dict[str, Any] | None, dict[str, Any], str, int]] = [
    ("query", "items", {"n": 32_000}, {"n": 32_001}, "items in an array", limits.RESULT_ITEMS),
    ("query", "echo", {"x": [0] * 8192}, {"x": [0] * 8193}, "items in an array", limits.ARRAY_ITEMS),
    ("query", "echo", {"x": dict.fromkeys(map(str, range(1024)), 0)}, {"x": dict.fromkeys(map(str, range(1025)), 0)},
     "fields in an object", limits.OBJECT_FIELDS),
    ("query", "echo", {"x": {"k" * 1024: 0}}, {"x": {"k" * 1025: 0}}, "characters in a key", limits.FIELD_NAME),
    ("query", "echo", {"x": nested(62)}, {"x": nested(64)}, "levels", limits.VALUE_NESTING),
    ("mutation", "insert_nested", {"levels": 15}, {"levels": 17}, "levels", limits.DOCUMENT_NESTING),
    ("mutation", "insert_text", {"size": MIB - 100}, {"size": MIB + 100}, "bytes in a document", limits.DOCUMENT_SIZE),
    ("mutation", "insert", {"document": {}, "table": "t" * 64}, {"document": {}, "table": "t" * 65}, "64", 64),
    ("query", "echo", None, {"x": ["x" * MIB] * 17}, "bytes of arguments", limits.ARGS_SIZE),
    ("query", "text", None, {"size": 34 * MIB}, "bytes in a result", 2 * limits.RESULT_SIZE),
    ("query", "count_by_reading", {"table": "t", "n": 32_000}, {"table": "t", "n": 32_001}, "documents read by one call",
     limits.READ_DOCUMENTS),
    ("query", "count_by_reading", {"table": "texts", "n": 16}, {"table": "texts", "n": 17}, "bytes read by one call",
     limits.READ_BYTES),
    ("query", "get_each", {"n": 4000}, {"n": 4097}, "separate index ranges", limits.READ_INTERVALS),
    ("mutation", "insert", {"document": {}, "times": 16_000}, {"document": {}, "times": 16_001},
     "documents written by one call", limits.WRITTEN_DOCUMENTS),
    ("mutation", "insert_text", None, {"size": 1_000_000, "times": 17}, "bytes written by one call", limits.WRITTEN_BYTES),
    ("query", "filtered", {"n": 100}, {"n": 300}, "operators and operands in a filter", 2 * limits.FILTER_OPERATORS),
    ("query", "deep", {"n": 8}, {"n": 9}, "functions called inside each other", limits.CALL_DEPTH),
    ("mutation", "schedule", {"times": 1000}, {"times": 1001}, "scheduled", limits.SCHEDULED_FUNCTIONS),
    ("mutation", "schedule", None, {"times": 1, "size": 4 * MIB + 100}, "argument", limits.SCHEDULED_ARGS),
    ("mutation", "schedule", None, {"times": 5, "size": 4 * MIB - 1000}, "scheduled", limits.SCHEDULED_ARGS_TOTAL),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "name", "edge", "over", "said", "most"), TABLE, ids=[f"{r[1]}: {r[4]}" for r in TABLE]
)
def test_the_edge_is_allowed_and_what_is_over_it_is_refused_with_the_fix(
    backend: Served, kind: str, name: str, edge: dict[str, Any] | None, over: dict[str, Any], said: str, most: int
) -> None:
    if edge is not None:
        assert backend.ask(kind, f"l:{name}", **edge)["status"] == "success"
    refused = backend.ask(kind, f"l:{name}", **over)
    assert refused["status"] == "error"
    text = refused["errorMessage"]
    assert said in text and (str(most) in text or f"{most:,}" in text), text
    # ... and what to do about it, behind the number or in a sentence of its own
    assert ";" in text or ". " in text or "letters, digits and _" in text, text


def test_lines_of_a_log_are_cut_and_counted(backend: Served) -> None:
    lines = backend.ask("query", "l:loud", lines=1000)["logLines"]
    assert len(lines) == limits.LOG_LINES and "745 more lines were dropped" in lines[-1]
    (line,) = backend.ask("query", "l:loud", lines=1, length=5000)["logLines"]
    assert len(line) == len("[LOG] ") + limits.LOG_LINE and line.endswith("...")


SCHEMAS = {
    "indexes": ("65 indexes, at most 64", "t = define_table({f'f{n}': v.any() for n in range(65)})\nfor n in range(65): t = t.index(f'by{n}', [f'f{n}'])"),
    "fields in an index": ("17 fields in an index, at most 16", "t = define_table({}).index('by', [f'f{n}' for n in range(17)])"),
    "tables": ("10001 tables, at most 10000", "schema = define_schema({f't{n}': define_table({}) for n in range(10_001)})"),
    "a function's name": ("at most 64", f"@query\ndef {'f' * 65}(ctx): return 1"),
}  # fmt: skip


@pytest.mark.parametrize("what", SCHEMAS)
def test_limits_of_schemas_refuse_the_deploy(backend: Served, what: str) -> None:
    said, source = SCHEMAS[what]
    module = {
        "name": "schemas",
        "source": f"from nbreactive import define_schema, define_table, query, v\n{source}\n",
        "origin": {"kind": "api"},
    }
    refused = backend.fetch("/api/admin/deploy", {"modules": [module]}, admin=True)
    assert refused["code"] == "DeployRefused" and said in refused["message"], refused


def test_limits_set_otherwise_hold_in_the_worker_and_are_shown(tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = {
        "documents_read": 2, "documents_written": 20_000, "bytes_read": 3_000, "bytes_written": 5_000, "ranges_read": 32,
        "seconds": 0.5, "queries_per_socket": 3,
    }  # fmt: skip
    options = [word for name, number in settings.items() for word in ("--limit", f"{name}={number}")]
    with Served(tmp_path_factory.mktemp("other"), {"l": MODULE}, *options) as backend:
        assert settings.items() <= backend.fetch("/api/admin/status", admin=True)["limits"].items()
        assert backend.ask("mutation", "l:insert", document={}, times=100, table="u")["status"] == "success"
        for kind, name, args, said in (
            ("query", "count_by_reading", {"table": "u", "n": 3}, "3 documents read by one call, at most 2"),
            ("mutation", "insert_text", {"size": 6000}, "bytes written by one call, at most 5000"),
            ("query", "slow", {"seconds": 1}, "took more than 0.5 s"),
        ):
            assert said in backend.ask(kind, f"l:{name}", **args)["errorMessage"]
        assert backend.ask("mutation", "l:insert_text", size=2500)["status"] == "success"
        assert backend.ask("mutation", "l:insert_text", size=2400)["status"] == "success"
        said = backend.ask("query", "l:count_by_reading", table="texts", n=2)["errorMessage"]
        assert "bytes read by one call, at most 3000" in said


def test_settings_that_cannot_be() -> None:
    for setting in (
        "documents_read",
        "documents_read=",
        "documents_read=-1",
        "documents_read=1.5",
        "seconds=61",
        "seconds=x",
    ):
        with pytest.raises(InvalidValue, match="the limit"):
            parse_limits([setting])
    with pytest.raises(InvalidValue, match="there is no limit 'x'; there are bytes_read"):
        parse_limits(["x=1"])
    assert set(described(Limits())) >= {"documents_read", "seconds", "pending_mutations"}
    assert json.dumps(described(parse_limits(["documents_read=64_000"]))).count("64000") == 1
