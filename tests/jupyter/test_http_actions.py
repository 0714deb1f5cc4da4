"""HTTP actions behind a Jupyter server: its users only, nearly all headers, and no hold of anybody's session."""

from __future__ import annotations

import http.client
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import nbreactive
from nbreactive.client import connect
from tests.jupyter.servers import JupyterProcess, wait_for

SOURCE = """
from nbreactive import Response, http_action, http_router

@http_action
async def about(ctx, request):
    who = await ctx.auth.get_user_identity()
    said = {
        "method": request.method, "path": request.path, "headers": dict(request.headers), "who": who and who["name"],
        "body": await request.text(),
    }
    return Response.json(said, headers={"X-Custom": "yes", "Set-Cookie": "stolen=1", "Location": "elsewhere"})

@http_action
def page(ctx, request):
    return Response("<script>document.cookie</script>", headers={"Content-Type": "text/html"})

@http_action
async def echo(ctx, request):
    async def pieces():
        async for piece in request.stream():
            yield piece
    return Response(pieces())

@http_action
async def early(ctx, request):
    return Response("I have seen enough")

@http_action
async def breaks_late(ctx, request):
    def pieces():
        yield b"the beginning"
        raise ValueError("and no end")
    return Response(pieces())

http = http_router()
http.route(path="/echo", method="POST", handler=echo)
http.route(path="/echo", method="DELETE", handler=echo)
http.route(path="/early", method="POST", handler=early)
http.route(path="/breaks-late", method="GET", handler=breaks_late)
for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
    http.route(path_prefix="/about/", method=method, handler=about)
http.route(path="/page", method="GET", handler=page)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterProcess]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "root" / "reactive").mkdir(parents=True)
    (folder / "root" / "reactive" / "hooks.py").write_text(SOURCE)
    # What this server keeps in memory of a request: bodies of ours pass by.
    limits = "c.ServerApp.max_body_size = c.ServerApp.max_buffer_size = 1 << 20"
    with JupyterProcess(folder, limits) as running:
        wait_for(lambda: ask(running, "GET", "/page", Authorization="token alice-token")[0] == 200)
        yield running


def ask(server: JupyterProcess, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, f"/base/nbreactive/http{path}", body, names)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH"])
def test_users_of_the_server_reach_http_actions(server: JupyterProcess, method: str) -> None:
    sent = "" if method == "GET" else "sent"
    status, headers, body = ask(
        server,
        method,
        "/about/x?y=1",
        sent or None,
        Authorization="token alice-token",
        X_Signature="abc",
        Cookie="secret=1",
    )
    said = json.loads(body)
    assert (status, said["method"], said["path"], said["body"]) == (200, method, "/about/x", sent)
    assert said["who"] == "Alice"
    assert said["headers"]["x-signature"] == "abc"
    assert not {"cookie", "authorization"} & set(said["headers"])
    assert not [name for name in said["headers"] if "nbreactive" in name]
    assert (headers["X-Custom"], headers["Location"]) == ("yes", "elsewhere")
    assert "stolen=1" not in str(headers.get_all("Set-Cookie"))


def test_a_client_knows_the_address_and_what_opens_it(server: JupyterProcess) -> None:
    with connect(server.url, token="alice-token") as client:
        url, headers = client.target.http_url("/about/x?y=1"), client.target.http_headers()
        assert (nbreactive.http_url("/about/x?y=1"), nbreactive.http_headers()) == (url, headers)
    assert url == f"{server.url}/nbreactive/http/about/x?y=1"
    with urllib.request.urlopen(urllib.request.Request(url, b"sent", headers)) as answer:
        said = json.load(answer)
    assert (said["path"], said["body"], said["who"]) == ("/about/x", "sent", "Alice")
    with pytest.raises(urllib.error.HTTPError) as refused, urllib.request.urlopen(url, b"sent"):
        pass
    refused.value.close()
    assert refused.value.code == 403


def test_a_page_is_put_into_a_sandbox(server: JupyterProcess) -> None:
    status, headers, body = ask(server, "GET", "/page", Authorization="token alice-token")
    assert (status, headers["Content-Type"], body[:8]) == (200, "text/html", b"<script>")
    assert headers["Content-Security-Policy"].startswith("sandbox")
    assert "allow-same-origin" not in headers["Content-Security-Policy"]


def test_nobody_else_does(server: JupyterProcess) -> None:
    assert ask(server, "GET", "/page")[0] in (302, 403)
    assert ask(server, "POST", "/about/", "sent")[0] == 403
    assert ask(server, "GET", "/page", Authorization="token wrong")[0] in (302, 403)


def test_what_nothing_routes_is_not_found(server: JupyterProcess) -> None:
    status, _, body = ask(server, "GET", "/nowhere", Authorization="token alice-token")
    assert (status, body) == (404, b"No HttpAction routed for /nowhere")


def head_of(server: JupyterProcess, method: str, path: str, framing: str) -> bytes:
    lines = [f"{method} /base/nbreactive/{path} HTTP/1.1", f"Host: 127.0.0.1:{server.port}", framing]
    return "\r\n".join([*lines, "Authorization: token alice-token", "", ""]).encode()


def test_bodies_larger_than_all_buffers_are_streamed_both_ways(server: JupyterProcess) -> None:
    piece = bytes(range(256)) * 1024
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client, ThreadPoolExecutor(1) as other:

        def send() -> None:
            client.sendall(head_of(server, "POST", "http/echo", f"Content-Length: {len(piece) * 60}"))
            for _ in range(60):
                client.sendall(piece)

        sending = other.submit(send)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert answer.read() == piece * 60
        sending.result()


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_a_body_is_passed_on_as_it_comes(server: JupyterProcess, method: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
        client.sendall(head_of(server, method, "http/echo", "Transfer-Encoding: chunked"))
        received = b""
        for word in (b"first", b"second"):
            client.sendall(f"{len(word):x}\r\n".encode() + word + b"\r\n")
            while word not in received:
                received += client.recv(4096)
        client.sendall(b"0\r\n\r\n")
        while not received.endswith(b"0\r\n\r\n"):
            received += client.recv(4096)


@pytest.mark.parametrize(
    ("path", "size", "status", "text"),
    [
        ("http/nowhere", 18, 404, b"No HttpAction routed for /nowhere"),
        ("http/early", 18, 200, b"I have seen enough"),
        ("http/echo", 21, 413, str(20 << 20).encode()),
        ("api/query", 40, 413, b"message_bytes"),
    ],
)
def test_who_is_answered_before_the_end_of_a_request_sees_the_answer(
    server: JupyterProcess, path: str, size: int, status: int, text: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
        client.sendall(head_of(server, "POST", path, f"Content-Length: {size << 20}"))
        for _ in range(size):
            client.sendall(bytes(1 << 20))
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert (answer.status, text in answer.read()) == (status, True)


def test_who_may_not_ask_is_told_so_whatever_he_sends(server: JupyterProcess) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
        client.sendall(head_of(server, "POST", "http/echo", f"Content-Length: {8 << 20}").replace(b"alice", b"mallory"))
        client.sendall(bytes(8 << 20))
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert answer.status == 403


def test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one(server: JupyterProcess) -> None:
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        ask(server, "GET", "/breaks-late", Authorization="token alice-token")


def test_a_connection_stays_for_the_next_request(server: JupyterProcess) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.connect()
    first = connection.sock
    for _ in range(2):
        connection.request("POST", "/base/nbreactive/http/echo", b"sent", {"Authorization": "token alice-token"})
        assert connection.getresponse().read() == b"sent"
        assert connection.sock is first
    connection.close()
