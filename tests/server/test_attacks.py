"""Bad input to a real backend, by the numbers of the list of attack cases (those that need no Jupyter)."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import websocket_connect

from tests.served import KEY, Served
from tests.server.fakes import Wire, handshake_status

SECRET = "the secret of the extension"
MODULE = """
from nbreactive import AppError, Id, define_schema, define_table, internal_mutation, internal_query, mutation, query, v

schema = define_schema({
    "posts": define_table({"title": v.string(), "likes": v.integer()}).index("by_likes", ["likes"]),
    "members": define_table({"name": v.string()}),
    "free": define_table(v.any()),
})
_private = 5


@query
def typed(ctx, n: int, x: float = 0.0, flag: bool = False, items: list[dict[str, float]] = []):
    return [n, x, flag, items]


@query
def echo(ctx, x=None):
    return x


@query
def get(ctx, id: Id["posts"]):
    return ctx.db.get(id)


@query
def normalize(ctx, id: str):
    return ctx.db.normalize_id("posts", id)


@mutation
def post(ctx, title: str, likes: int = 0):
    return ctx.db.insert("posts", {"title": title, "likes": likes})


@mutation
def insert(ctx, table: str, document):
    return ctx.db.insert(table, document)


@query
def read(ctx, table: str, index: str = "by_creation_time", field: str = "title", order: str = "asc"):
    found = ctx.db.query(table).with_index(index).order(order)
    return [d.get(field) for d in found.filter(lambda q: q.field(field) != None).collect()]


@mutation
def add(ctx, table: str, field: str):
    return ctx.db.insert(table, {field: 1})


@mutation
def count(ctx, name: str):
    found = ctx.db.query("members").filter(lambda q: q.field("name") == name).first()
    ctx.db.insert("members", {"name": name})
    return 1 if found is None else 2


@mutation
def stubborn(ctx):
    ctx.db.insert("posts", {"title": "half", "likes": 1})
    try:
        ctx.db.insert("posts", {"title": 5, "likes": "no"})
    except BaseException:
        pass
    try:
        ctx.run_mutation(nested)
    except BaseException:
        pass
    return "went on"


@internal_mutation
def nested(ctx):
    ctx.db.insert("posts", {"title": "nested", "likes": 1})
    raise AppError("no")


@mutation
def join(ctx, name: str):
    return ctx.db.insert("members", {"name": name})


@mutation
def leave(ctx, name: str):
    ctx.db.delete(ctx.db.query("members").filter(lambda q: q.field("name") == name).unique()["_id"])


@query
def for_members(ctx, name: str):
    if ctx.db.query("members").filter(lambda q: q.field("name") == name).first() is None:
        raise AppError("not a member")
    return "for members only"


@internal_query
def hidden(ctx):
    return "hidden"


@mutation
def crash(ctx):
    raise ValueError("secret of /home/ada")


@mutation
def show_id(ctx):
    return (ctx.auth.get_user_identity() or {}).get("subject")
"""


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("attacks"), {"m": MODULE}, env={"NBREACTIVE_PROXY_SECRET": SECRET}) as running:
        yield running


def call(backend: Served, path: str, args: Any, kind: str = "query", raw: bytes | None = None) -> Any:
    body = {"path": path, "args": args, "format": "convex_encoded_json"}
    return backend.fetch(f"/api/{kind}", body if raw is None else json.loads(raw))


def proxied(subject: str, *roles: str) -> dict[str, str]:
    who = json.dumps({"subject": subject, "issuer": "jupyter", "roles": roles}).encode()
    return {"X-NBReactive-Proxy": SECRET, "X-NBReactive-Identity": base64.urlsafe_b64encode(who).decode()}


async def connect(backend: Served, path: str = "/api/1.48.0/sync", **headers: str) -> Wire:
    return Wire(await websocket_connect(HTTPRequest(backend.url.replace("http", "ws") + path, headers=headers)))


async def refused(backend: Served, path: str = "/api/sync", **headers: str) -> int:
    return await handshake_status(backend.url, path, **headers)


@pytest.fixture(scope="module")
def closed_backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    options = ("--require-auth", "--mode", "prod")
    with Served(
        tmp_path_factory.mktemp("closed"), {"m": MODULE}, *options, env={"NBREACTIVE_PROXY_SECRET": SECRET}
    ) as running:
        yield running


def test_no_credentials_case_1_5(closed_backend: Served) -> None:
    async def main() -> None:
        assert await refused(closed_backend) == 403
        assert await refused(closed_backend, "/api/1.48.0/sync", Authorization="Convex wrong") == 403
        assert await refused(closed_backend, f"/api/sync?token={KEY}") == 403
        assert await refused(closed_backend, "/api/sync", Authorization=f"Convex {KEY}") == 101
        assert await refused(closed_backend, "/api/sync", **proxied("ada", "read")) == 101
        assert (
            await refused(closed_backend, "/api/sync", **(proxied("ada", "read") | {"X-NBReactive-Proxy": "x"})) == 403
        )

    asyncio.run(main())
    assert call(closed_backend, "m:echo", {})["code"] == "Refused"
    assert closed_backend.fetch(f"/api/query?token={KEY}&path=m:echo")["code"] == "Refused"
    assert f"token={KEY}" not in closed_backend.log and "Convex wrong" not in closed_backend.log


def test_foreign_pages_case_2_3_4(backend: Served) -> None:
    async def main() -> None:
        for origin in ("https://evil.com", "null", "http://localhost.evil.com", "https://127.0.0.1.evil.com"):
            assert await refused(backend, Origin=origin, Cookie="session=1") == 403
        assert await refused(backend, **{"User-Agent": "Mozilla/5.0"}) == 403
        assert await refused(backend, Origin="http://localhost:5173") == 101

    asyncio.run(main())


def test_readers_cannot_write_or_deploy_case_7(backend: Served) -> None:
    async def main() -> None:
        wire = await connect(backend, **proxied("reader", "read"))
        wire.hello()
        wire.mutate(0, "m:join", name="x")
        response = await wire.until("MutationResponse")
        assert not response["success"] and "role 'write'" in response["result"]
        wire.subscribe(0, (0, "m:hidden", {}), (1, "m:echo", {"x": 1}))
        while not (found := (await wire.until("Transition"))["modifications"]):
            pass
        assert [m["type"] for m in found] == ["QueryFailed", "QueryUpdated"]
        wire.connection.close()
        await wire.closed()

    asyncio.run(main())
    for path in ("deploy", "rollback", "reset"):
        assert backend.fetch(f"/api/admin/{path}", {})["code"] == "Refused"
    for path in ("modules", "history", "source?module=m", "tables", "rows?table=posts", "logs"):
        assert backend.fetch(f"/api/admin/{path}")["code"] == "Refused"
    status = backend.fetch("/api/admin/status")
    assert "data" not in status and "python" not in status and "data" in backend.fetch("/api/admin/status", admin=True)
    assert "deploy" in backend.log and '"event": "refused"' in backend.log


def test_a_member_who_is_removed_sees_nothing_more_case_8(backend: Served) -> None:
    async def main() -> None:
        wire = await connect(backend)
        wire.hello()
        wire.mutate(0, "m:join", name="eve")
        wire.subscribe(0, (0, "m:for_members", {"name": "eve"}))
        kinds: list[str] = []
        while kinds[-1:] != ["QueryUpdated"]:
            kinds += [m["type"] for m in (await wire.until("Transition"))["modifications"]]
        wire.mutate(1, "m:leave", name="eve")
        while not (found := (await wire.until("Transition"))["modifications"]):
            pass
        assert [m["type"] for m in found] == ["QueryFailed"] and found[0]["errorData"] == "not a member"
        wire.connection.close()
        await wire.closed()

    asyncio.run(main())


@pytest.mark.parametrize(
    "path",
    [
        "m:hidden", "m:nested", "m:_private", "m:schema", "m:__init__", "os:system", "_system/tables:list", "_system/tables:rows", "builtins:eval",
        "a/../../etc/passwd:f", "../m:echo", "m:echo\u0000", "m\u0000:echo", "x" * 10_000, "m:\u0435cho", "", ":", "::", "m", "m:", "/m:echo", "m:echo:echo",
    ],
)  # fmt: skip
def test_hidden_functions_and_strange_paths_look_missing_case_9_10(backend: Served, path: str) -> None:
    for kind in ("query", "mutation", "function"):
        answer = call(backend, path, {}, kind)
        assert answer["status"] == "error" and "Could not find public function for" in answer["errorMessage"], answer
        assert len(answer["errorMessage"]) < 1000


@pytest.mark.parametrize(
    ("args", "named"),
    [
        ({}, "args.n"), ({"n": 1, "extra": 1}, "extra"), ({"n": "1"}, "args.n"), ({"n": 1.5}, "args.n"), ({"n": True}, "args.n"), ({"n": None}, "args.n"),
        ({"n": 2**63}, "args.n"), ({"n": -(2**53) - 2}, "args.n"), ({"n": 1, "flag": 1}, "args.flag"),
        ({"n": {"$float": "AAAAAAAA+H8="}}, "args.n"), ({"n": {"$float": "AAAAAAAA8H8="}}, "args.n"), ({"n": {"$integer": "AQAAAAAAAAA="}}, "args.n"),
        ({"n": 1, "items": [{"a": 1}, {"a": "x"}]}, "args.items[1].a"), ({"n": 1, "items": 5}, "args.items"),
        ([1], "args"), ([{}, {}], "args"), ("x", "args"), (None, "args"), ({"n": {"$integer": "x"}}, "args.n"), ({"n": {"$set": []}}, "args"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit_case_11(backend: Served, args: Any, named: str) -> None:
    answer = call(backend, "m:typed", args)
    assert answer["status"] == "error" and named in answer["errorMessage"], answer


def test_arguments_at_the_edges_case_11(backend: Served) -> None:
    answer = asyncio.run(_post(backend, b'{"path":"m:typed","args":{"n":' + b"1" * 10_000 + b"}}"))
    assert answer.get("status") == "error" or answer["code"] == "ProtocolError"
    assert call(backend, "m:typed", {"n": 1.0, "x": 3})["value"][0] == 1
    zero = {"$float": "AAAAAAAAAIA="}
    assert call(backend, "m:typed", {"n": 1, "x": zero})["value"][1] == zero


TOO_MUCH = {
    "depth": ("[" * 1000 + "]" * 1000, "nested deeper than 64"),
    "depth of objects": ('{"a":' * 5000 + "1" + "}" * 5000, "nested deeper than 64"),
    "depth with text": ("[" * 2000 + '"]]\\"]["' + "]" * 2000, "nested deeper than 64"),
    "depth without end": ("[" * 100_000 + "]" * 100_000, "nested deeper than 64"),
    "1 MB string": (json.dumps("x" * (1 << 20)), "1048576"),
    "array": (json.dumps([0] * 8193), "8192"),
    "fields": (json.dumps({f"f{n}": 0 for n in range(1025)}), "1024"),
    "bytes": (json.dumps(["x" * (1 << 20)] * 17), "bytes of arguments"),
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_arguments_that_are_too_much_case_12(backend: Served, name: str) -> None:
    value, reason = TOO_MUCH[name]
    arguments = '{"table":"free","document":{"v":' + value + "}}"

    async def main() -> None:
        wire = await connect(backend)
        wire.hello(str(uuid.uuid4()))
        wire.subscribe(0, (0, "m:echo", {"x": 1}))
        assert (await wire.until("Transition"))["modifications"][0]["value"] == 1
        wire.connection.write_message(
            '{"type":"Mutation","requestId":0,"udfPath":"m:insert","args":[' + arguments + "]}"
        )
        response = await wire.until("MutationResponse")
        assert not response["success"] and reason in response["result"] and len(response["result"]) < 2000, response
        wire.connection.write_message(
            '{"type":"ModifyQuerySet","baseVersion":1,"newVersion":2,"modifications":[{"type":"Add","queryId":1,'
            '"udfPath":"m:insert","args":[' + arguments + "]}]}"
        )
        while not (found := (await wire.until("Transition"))["modifications"]):
            pass
        assert found[0]["type"] == "QueryFailed"
        wire.mutate(1, "m:join", name="alive")
        assert (await wire.until("MutationResponse"))["success"]
        wire.connection.close()
        await wire.closed()

    asyncio.run(main())
    answer = asyncio.run(_post(backend, f'{{"path":"m:insert","args":{arguments}}}'.encode(), "mutation"))
    assert answer["status"] == "error" and reason in answer["errorMessage"], answer


@pytest.mark.parametrize("name", ["$x", "_x", "", "\u00e9", "a b", "a.b", "x" * 65, "\u0000", "1a", "a\nb"])
def test_field_names_that_documents_may_not_have_case_13(backend: Served, name: str) -> None:
    answer = call(backend, "m:insert", {"table": "free", "document": {name: 1}}, "mutation")
    assert answer["status"] == "error", answer


def test_names_that_mean_something_elsewhere_are_plain_data_case_13(backend: Served) -> None:
    document = {"__proto__": 1, "constructor": 2, "toString": {"__class__": 3}}
    assert call(backend, "m:echo", {"x": document})["value"] == document
    twice = asyncio.run(_post(backend, b'{"path":"m:echo","args":{"x":{"a":1,"a":2}},"format":"convex_encoded_json"}'))
    assert twice["status"] == "error" and "args.x" in twice["errorMessage"]


async def _post(backend: Served, body: bytes, kind: str = "query") -> Any:
    request = HTTPRequest(f"{backend.url}/api/{kind}", "POST", body=body)
    answer = await AsyncHTTPClient().fetch(request, raise_error=False)
    return json.loads(answer.body)


def test_ids_of_other_tables_and_of_nothing_case_14(backend: Served) -> None:
    mine = call(backend, "m:post", {"title": "t"}, "mutation")["value"]
    other = call(backend, "m:join", {"name": "n"}, "mutation")["value"]
    assert call(backend, "m:get", {"id": mine})["value"]["title"] == "t"
    for wrong in (
        other,
        "",
        "x",
        mine[:-1],
        mine + "0",
        mine.upper(),
        "'); DROP TABLE posts --",
        "../" + mine,
        "\u0000" * 32,
    ):
        answer = call(backend, "m:get", {"id": wrong})
        assert answer["status"] == "error" and "args.id" in answer["errorMessage"], (wrong, answer)
        assert call(backend, "m:normalize", {"id": wrong})["value"] is None


def test_system_fields_cannot_be_forged_case_15(backend: Served) -> None:
    for forged in ({"_id": "x"}, {"_creationTime": 0}, {"_anything": 1}):
        assert (
            call(backend, "m:insert", {"table": "free", "document": {"a": 1, **forged}}, "mutation")["status"]
            == "error"
        )
        assert (
            call(backend, "m:insert", {"table": "posts", "document": {"title": "t", "likes": 1, **forged}}, "mutation")[
                "status"
            ]
            == "error"
        )


NASTY = [
    "'); DROP TABLE posts; --",
    "\"; COPY posts TO '/tmp/x'; --",
    "$(rm -rf /)",
    "{{7*7}}",
    "%s%n",
    "<script>alert(1)</script>",
    "\u202e\x1b[31m\n",
]


def test_text_that_other_languages_would_run_is_stored_and_read_back_case_16(backend: Served) -> None:
    for text in NASTY:
        call(backend, "m:insert", {"table": "posts", "document": {"title": text, "likes": 77}}, "mutation")
        assert call(backend, "m:insert", {"table": text, "document": {"a": 1}}, "mutation")["status"] == "error"
        assert call(backend, "m:add", {"table": "free", "field": text}, "mutation")["status"] == "error"
    titles = call(backend, "m:read", {"table": "posts", "index": "by_likes"})["value"]
    assert all(text in titles for text in NASTY)
    assert "\x1b" not in backend.log and "\u202e" not in backend.log


def test_indexes_and_orders_that_do_not_exist_case_17(backend: Served) -> None:
    for wrong in (
        {"index": "by_title"},
        {"index": "'; --"},
        {"order": "sideways"},
        {"table": "_modules"},
        {"table": "_tables"},
        {"table": "a b"},
    ):
        answer = call(backend, "m:read", {"table": "posts"} | wrong)
        assert answer["status"] == "error", (wrong, answer)


def test_a_request_that_is_sent_again_happens_once_case_21(backend: Served) -> None:
    session = "00000000-0000-4000-8000-00000000abcd"

    async def once(number: int, headers: dict[str, str], restart: bool = False) -> Any:
        wire = await connect(backend, **headers)
        wire.hello(session)
        wire.mutate(number, "m:count", name=f"once {number} {headers.get('X-NBReactive-Identity', '')}")
        response = await wire.until("MutationResponse")
        transition = await wire.until("Transition")
        assert transition["endVersion"]["ts"] != "AAAAAAAAAAA="
        wire.connection.close()
        await wire.closed()
        return response["result"], response["ts"]

    async def main() -> None:
        first = await once(1, {})
        assert first[0] == 1 and await once(1, {}) == first
        ada, bob = proxied("ada", "read", "write"), proxied("bob", "read", "write")
        found = [await once(1, ada), await once(1, bob)]
        assert [value for value, _ in found] == [1, 1] and found[0] != first
        assert await once(1, ada) == found[0] and (await once(2, ada))[0] == 1
        both = await asyncio.gather(*(once(3, ada) for _ in range(8)))
        assert len(set(both)) == 1 and both[0][0] == 1
        backend.kill()
        backend.start()
        assert await once(1, {}) == first and await once(1, ada) == found[0]

    asyncio.run(main())


def test_a_function_that_swallows_errors_commits_only_what_is_whole_case_27(backend: Served) -> None:
    answer = call(backend, "m:stubborn", {}, "mutation")
    titles = call(backend, "m:read", {"table": "posts"})["value"]
    assert "nested" not in titles and 5 not in titles
    assert ("half" in titles) == (answer["status"] == "success")


def test_production_hides_what_functions_say_in_errors_case_30(closed_backend: Served) -> None:
    answer = closed_backend.fetch("/api/mutation", {"path": "m:crash", "args": {}}, admin=True)
    assert answer["status"] == "error" and "secret" not in json.dumps(answer)
    request_id = answer["errorMessage"].split("Request ID: ")[1][:16]
    assert request_id in closed_backend.log


def test_a_foreign_file_in_the_place_of_the_store_is_set_aside_case_43(tmp_path: Path) -> None:
    import subprocess
    import sys

    with Served(tmp_path, {"m": MODULE}) as backend:
        call(backend, "m:post", {"title": "kept"}, "mutation")
    store = tmp_path / "data" / "store.duckdb"
    for suffix in ("", ".wal"):
        store.with_name(store.name + suffix).unlink(missing_ok=True)
    script = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1]); c.execute('create table evil as select 1 a'); c.close()"
    )
    subprocess.run([sys.executable, "-c", script, str(store)], check=True)
    with Served(tmp_path, {"m": MODULE}) as backend:
        assert call(backend, "m:read", {"table": "posts"})["value"] == ["kept"]


def test_clocks_that_jump_leave_timestamps_monotonic_case_46(tmp_path: Path) -> None:
    jump = (
        "import time, os\n_real = time.time_ns\n_by = int(os.environ['JUMP'])\ntime.time_ns = lambda: _real() + _by\n"
    )
    (tmp_path / "sitecustomize.py").write_text(jump)
    seen: list[int] = []
    day = 86_400 * 10**9
    for by in (0, -day, 365 * day, -365 * day):
        with Served(tmp_path / "server", {"m": MODULE}, env={"PYTHONPATH": str(tmp_path), "JUMP": str(by)}) as backend:
            for _ in range(3):
                call(backend, "m:post", {"title": str(by)}, "mutation")
                seen.append(int.from_bytes(base64.b64decode(backend.fetch("/api/query_ts", {})["ts"]), "little"))
    assert seen == sorted(set(seen))
