"""HTTP actions: routes, bodies both ways, and what becomes of them when somebody goes away."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.served import Served, free_port

FUNCTIONS = """
import asyncio, hashlib, time
from nbreactive import Response, api, http_action, http_router, internal, internal_mutation, query

@internal_mutation
def save(ctx, event):
    ctx.db.insert("events", {"event": event})

@query
def events(ctx):
    return [row["event"] for row in ctx.db.query("events").collect()]

@http_action
async def on_hook(ctx, request):
    event = await request.json()
    await ctx.run_mutation(internal.m.save, event=event)
    return Response.json({"saved": event, "signature": request.headers.get("x-signature")}, status=201)

@http_action
def plainly(ctx, request):
    ctx.run_mutation(internal.m.save, event=request.text())
    return Response("thanks", headers=[("X-Twice", "1"), ("X-Twice", "2"), ("Content-Type", "text/html")])

@http_action
async def echo(ctx, request):
    async def pieces():
        async for piece in request.stream():
            yield piece
    return Response(pieces(), headers={"Content-Type": "application/octet-stream"})

@http_action
def digest(ctx, request):
    found = hashlib.sha256()
    for piece in request.stream():
        found.update(piece)
    return Response(found.hexdigest())

@http_action
async def about(ctx, request):
    print("asked about", request.path)
    return Response.json({
        "method": request.method, "path": request.path, "query": request.query, "pairs": request.query_pairs,
        "url": request.url, "headers": dict(request.headers),
    })

@http_action
async def exactly(ctx, request):
    return Response("exactly")

@http_action
async def deeper(ctx, request):
    return Response("deeper")

@http_action
async def breaks(ctx, request):
    raise ValueError("not today")

@http_action
async def breaks_late(ctx, request):
    def pieces():
        yield b"the beginning"
        raise ValueError("and no end")
    return Response(pieces())

@http_action
async def forever(ctx, request):
    async def ticks():
        try:
            while True:
                yield "tick\\n"
                await asyncio.sleep(0.01)
        finally:
            await ctx.run_mutation(internal.m.save, event="the ticker was stopped")
    return Response(ticks())

@http_action
async def plain_body(ctx, request):
    closed, seconds = request.query["closed"], float(request.query["seconds"])
    def ticks():
        try:
            while True:
                yield "tick\\n"
                time.sleep(seconds)
        finally:
            with open(closed, "w"):
                pass
    return Response(ticks())

@http_action
async def too_much(ctx, request):
    return Response(b"x" * (21 << 20))

@http_action
async def odd_header(ctx, request):
    return Response("x", headers={"X-Odd": request.query["value"]})

@http_action
async def deleted(ctx, request):
    return Response("gone", status=204)

@http_action
async def nothing(ctx, request):
    return "a string"

@http_action
async def options(ctx, request):
    return Response(status=204, headers={"Access-Control-Allow-Origin": "*"})

@http_action
async def early(ctx, request):
    return Response("I have seen enough")

@http_action
async def early_stream(ctx, request):
    async def pieces():
        yield "I have seen"
        yield " enough"
    return Response(pieces())

http = http_router()
http.route(path="/early", method="POST", handler=early)
http.route(path="/early-stream", method="POST", handler=early_stream)
http.route(path="/hook", method="POST", handler=on_hook)
http.route(path="/plainly", method="PUT", handler=plainly)
http.route(path="/echo", method="POST", handler=echo)
http.route(path="/digest", method="POST", handler=digest)
http.route(path_prefix="/about/", method="GET", handler=about)
http.route(path="/about/exactly", method="GET", handler=exactly)
http.route(path_prefix="/about/deeper/", method="GET", handler=deeper)
http.route(path="/breaks", method="GET", handler=breaks)
http.route(path="/breaks-late", method="GET", handler=breaks_late)
http.route(path="/forever", method="GET", handler=forever)
http.route(path="/plain-body", method="GET", handler=plain_body)
http.route(path="/too-much", method="GET", handler=too_much)
http.route(path="/odd-header", method="GET", handler=odd_header)
http.route(path="/deleted", method="GET", handler=deleted)
http.route(path="/nothing", method="GET", handler=nothing)
http.route(path="/hook", method="OPTIONS", handler=options)
"""


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("http"), {"m": FUNCTIONS}) as served:
        yield served


def ask(backend: Served, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", backend.port, timeout=60)
    try:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, f"/http{path}", body, names)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def until(condition: Any, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited for too long"
        time.sleep(0.02)


def test_a_hook_saves_what_it_is_sent(backend: Served) -> None:
    status, headers, body = ask(backend, "POST", "/hook", json.dumps({"n": 1}), X_Signature="abc")
    assert (status, headers["Content-Type"]) == (201, "application/json")
    assert json.loads(body) == {"saved": {"n": 1}, "signature": "abc"}
    assert {"n": 1} in backend.call("query", "m:events")


def test_a_plain_def_answers_too(backend: Served) -> None:
    status, headers, body = ask(backend, "PUT", "/plainly", "한국어".encode())
    assert (status, body, headers["Content-Type"]) == (200, b"thanks", "text/html")
    assert headers.get_all("X-Twice") == ["1", "2"]
    assert headers["Content-Length"] == "6"
    assert "한국어" in backend.call("query", "m:events")


def test_whole_paths_go_before_prefixes_and_long_prefixes_before_short_ones(backend: Served) -> None:
    assert ask(backend, "GET", "/about/exactly")[2] == b"exactly"
    assert ask(backend, "GET", "/about/deeper/x")[2] == b"deeper"
    said = json.loads(ask(backend, "GET", "/about/a%20b?x=1&y=&x=2", X_Custom="yes")[2])
    assert (said["method"], said["path"]) == ("GET", "/about/a b")
    assert said["query"] == {"x": "2", "y": ""}
    assert said["pairs"] == [["x", "1"], ["y", ""], ["x", "2"]]
    assert said["url"] == f"{backend.url}/http/about/a%20b?x=1&y=&x=2"
    assert said["headers"]["x-custom"] == "yes"


def test_head_is_answered_like_get_without_a_body(backend: Served) -> None:
    status, headers, body = ask(backend, "HEAD", "/about/exactly")
    assert (status, headers["Content-Length"], body) == (200, "7", b"")


@pytest.mark.parametrize(("method", "path"), [("GET", "/nowhere"), ("GET", "/hook"), ("GET", ""), ("DELETE", "/hook")])
def test_what_nothing_routes_is_not_found(backend: Served, method: str, path: str) -> None:
    status, headers, body = ask(backend, method, path)
    assert (status, headers["Content-Type"]) == (404, "text/plain; charset=utf-8")
    assert body.decode() == f"No HttpAction routed for {path or '/'}"


def test_cors_is_left_to_the_action(backend: Served) -> None:
    status, headers, _ = ask(backend, "OPTIONS", "/hook", Origin="https://anywhere.example")
    assert (status, headers["Access-Control-Allow-Origin"]) == (204, "*")
    assert "Access-Control-Allow-Origin" not in ask(backend, "POST", "/hook", "1", Origin="https://a.example")[1]


def test_bodies_larger_than_all_buffers_are_streamed_both_ways(backend: Served) -> None:
    piece = bytes(range(256)) * 1024
    with socket.create_connection(("127.0.0.1", backend.port), timeout=60) as client, ThreadPoolExecutor(1) as other:

        def send() -> None:
            size = len(piece) * 40
            client.sendall(f"POST /http/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n".encode())
            for _ in range(40):
                client.sendall(piece)

        sending = other.submit(send)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert answer.read() == piece * 40
        sending.result()


def test_a_body_is_read_as_it_comes(backend: Served) -> None:
    with socket.create_connection(("127.0.0.1", backend.port), timeout=60) as client:
        client.sendall(b"POST /http/echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        received = b""
        for word in (b"first", b"second"):
            client.sendall(f"{len(word):x}\r\n".encode() + word + b"\r\n")
            while word not in received:
                received += client.recv(4096)
        client.sendall(b"0\r\n\r\n")
        while not received.endswith(b"0\r\n\r\n"):
            received += client.recv(4096)


def test_a_plain_def_reads_a_stream(backend: Served) -> None:
    import hashlib

    data = b"abc" * 1_000_000
    assert ask(backend, "POST", "/digest", data)[2].decode() == hashlib.sha256(data).hexdigest()


def send_then_read(backend: Served, head: str, pieces: list[bytes]) -> http.client.HTTPResponse:
    """Send everything before anything is read, as most clients do."""
    with socket.create_connection(("127.0.0.1", backend.port), timeout=60) as client:
        client.sendall(f"{head}\r\nHost: localhost\r\n\r\n".encode())
        for piece in pieces:
            client.sendall(piece)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        answer.said = answer.read()  # type: ignore[attr-defined]
        return answer


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [("nowhere", 404, b"No HttpAction routed for /nowhere"), ("early", 200, b"I have seen enough")],
)
def test_who_is_answered_before_the_end_of_a_request_sees_the_answer(
    backend: Served, path: str, status: int, text: bytes
) -> None:
    head = f"POST /http/{path} HTTP/1.1\r\nContent-Length: {18 << 20}"
    for _ in range(3):
        answer = send_then_read(backend, head, [bytes(1 << 20)] * 18)
        assert (answer.status, answer.said) == (status, text)  # type: ignore[attr-defined]


def test_a_stream_that_ends_before_the_request_is_whole(backend: Served) -> None:
    head = f"POST /http/early-stream HTTP/1.1\r\nContent-Length: {18 << 20}"
    answer = send_then_read(backend, head, [bytes(1 << 20)] * 18)
    assert (answer.status, answer.said) == (200, b"I have seen enough")  # type: ignore[attr-defined]


@pytest.mark.parametrize("framing", [f"Content-Length: {21 << 20}", "Transfer-Encoding: chunked"])
def test_a_request_over_the_limit_is_refused(backend: Served, framing: str) -> None:
    piece = bytes(1 << 20)
    frames = [piece] * 21
    if "chunked" in framing:
        frames = [f"{len(piece):x}\r\n".encode() + piece + b"\r\n"] * 21 + [b"0\r\n\r\n"]
    answer = send_then_read(backend, f"POST /http/digest HTTP/1.1\r\n{framing}", frames)
    assert answer.status == 413
    assert str(20 << 20).encode() in answer.said  # type: ignore[attr-defined]


def test_a_call_over_the_limit_is_refused_in_words(backend: Served) -> None:
    head = f"POST /api/query HTTP/1.1\r\nContent-Length: {40 << 20}"
    answer = send_then_read(backend, head, [bytes(1 << 20)] * 40)
    said = json.loads(answer.said)  # type: ignore[attr-defined]
    assert (answer.status, said["code"]) == (413, "RequestTooLarge")
    assert "message_bytes" in said["message"]


def test_who_sends_nothing_more_after_an_early_answer_is_left_in_the_end(
    backend: Served,
) -> None:
    with socket.create_connection(("127.0.0.1", backend.port), timeout=60) as client:
        client.sendall(b"POST /http/nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
        received = b""
        while piece := client.recv(4096):
            received += piece
    assert received.startswith(b"HTTP/1.1 404")


def test_what_an_action_raises_is_an_error_of_the_server(backend: Served) -> None:
    status, headers, body = ask(backend, "GET", "/breaks")
    said = json.loads(body)
    assert (status, headers["Content-Type"]) == (500, "application/json")
    assert "Server Error" in said["code"]
    assert "ValueError: not today" in said["code"]
    assert "reactive/m.py" in said["trace"]
    assert "returns a Response" in json.loads(ask(backend, "GET", "/nothing")[2])["code"]


@pytest.mark.parametrize("body", [b'{"n": ', b"\xff"])
def test_a_body_that_is_no_json_is_the_senders_fault(backend: Served, body: bytes) -> None:
    status, headers, said = ask(backend, "POST", "/hook", body, X_Signature="abc")
    assert (status, headers["Content-Type"]) == (400, "application/json")
    assert "the body of this request is no JSON" in json.loads(said)["code"]


def test_a_response_that_breaks_off_is_not_taken_for_a_whole_one(backend: Served) -> None:
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        ask(backend, "GET", "/breaks-late")


def test_a_response_over_the_limit_is_an_error(backend: Served) -> None:
    status, _, body = ask(backend, "GET", "/too-much")
    assert (status, "at most" in body.decode()) == (500, True)


@pytest.mark.parametrize("value", ["a%00b", "%D0%BE", "a%0Ab"])
def test_what_is_no_header_fails_its_own_action_only(backend: Served, value: str) -> None:
    with ThreadPoolExecutor(1) as other, socket.create_connection(("127.0.0.1", backend.port), timeout=60) as client:
        client.sendall(b"GET /http/forever HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(4096)
        status, _, body = other.submit(ask, backend, "GET", f"/odd-header?value={value}").result()
        assert (status, "is no HTTP header" in body.decode()) == (500, True)
        assert b"tick" in client.recv(4096)


def test_a_status_without_a_body_takes_none(backend: Served) -> None:
    status, _, body = ask(backend, "GET", "/deleted")
    assert (status, "has no body" in body.decode()) == (500, True)


def test_an_endless_response_ends_with_its_reader(backend: Served) -> None:
    with socket.create_connection(("127.0.0.1", backend.port), timeout=60) as client:
        client.sendall(b"GET /http/forever HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = b""
        while received.count(b"tick") < 5:
            received += client.recv(4096)
    until(lambda: "the ticker was stopped" in backend.call("query", "m:events"))
    until(lambda: backend.fetch("/api/admin/status", admin=True)["actions"]["running"] == 0)


def leave_plain_body(backend: Served, closed: Path, seconds: float) -> None:
    with socket.create_connection(("127.0.0.1", backend.port), timeout=60) as client:
        client.sendall(
            f"GET /http/plain-body?closed={closed}&seconds={seconds} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        )
        received = b""
        while b"tick" not in received:
            received += client.recv(4096)


def test_a_plain_iterator_is_closed_when_its_reader_leaves(backend: Served, tmp_path: Path) -> None:
    leave_plain_body(backend, tmp_path / "closed", 0.01)
    until((tmp_path / "closed").exists)
    until(lambda: backend.fetch("/api/admin/status", admin=True)["actions"]["running"] == 0)


def test_a_plain_iterator_that_does_not_go_on_does_not_keep_its_host(backend: Served, tmp_path: Path) -> None:
    leave_plain_body(backend, tmp_path / "closed", 1e6)
    pids = set(backend.fetch("/api/admin/status", admin=True)["actions"]["pids"])
    assert ask(backend, "GET", "/about/x")[0] == 200
    until(lambda: not pids & set(backend.fetch("/api/admin/status", admin=True)["actions"]["pids"]))
    assert ask(backend, "GET", "/about/x")[0] == 200


def test_an_http_action_is_no_function_to_be_called(backend: Served) -> None:
    for kind in ("query", "mutation", "action"):
        assert "Could not find public function" in backend.ask(kind, "m:on_hook", request=1)["errorMessage"]


def test_a_port_of_its_own(tmp_path: Any) -> None:
    port = free_port()
    with Served(tmp_path, {"m": FUNCTIONS}, "--http-port", str(port)) as backend:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/about/exactly")
        assert connection.getresponse().read() == b"exactly"
        connection.close()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/api/admin/status")
        assert connection.getresponse().read() == b"No HttpAction routed for /api/admin/status"
        connection.close()
        assert backend.fetch("/api/admin/status", admin=True)["http_url"] == f"http://127.0.0.1:{port}"


BAD_ROUTES = {
    "http.route(path='hook', method='GET', handler=h)": "does not begin with /",
    "http.route(path_prefix='/a', method='GET', handler=h)": "does not end with /",
    "http.route(path='/a', path_prefix='/a/', method='GET', handler=h)": "path or path_prefix",
    "http.route(path='/.files/x', method='GET', handler=h)": "reserved",
    "http.route(path='/a', method='HEAD', handler=h)": "cannot be routed",
    "http.route(path='/a', method='GET', handler=print)": "is not an HTTP action",
    "http.route(path='/a', method='GET', handler=h)\nhttp.route(path='/a', method='GET', handler=h)": "routed twice",
    "def make():\n    @http_action\n    def inner(ctx, request): ...\n    return inner\n"
    "http.route(path='/a', method='GET', handler=make())": "has no name",
}


@pytest.mark.parametrize("source", BAD_ROUTES)
def test_a_route_that_cannot_be_is_refused_at_its_line(backend: Served, source: str) -> None:
    head = "from nbreactive import http_action, http_router\n@http_action\ndef h(ctx, request): ...\nhttp = http_router()\n"
    body = {"modules": [{"name": "routes", "source": head + source, "origin": {"kind": "api"}}]}
    answer = backend.fetch("/api/admin/deploy", body, admin=True)
    assert BAD_ROUTES[source] in answer["message"]
    line = len((head + source).splitlines())
    assert answer["issues"][0]["file"] == "reactive/routes.py"
    assert 4 < answer["issues"][0]["line"] <= line
