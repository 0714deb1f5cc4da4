"""The extension in a real Jupyter server, in front of a backend that tells what reached it.

The numbers are those of the list of attacks in the project's threat notes: 1 to 5 and 7 are here.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from tests.jupyter.servers import SERVER_TOKEN, JupyterProcess

FAKE = [sys.executable, str(Path(__file__).with_name("fake_backend.py"))]
KERNEL = {"X-NBReactive-Via": "kernel"}
READER = """
from jupyter_server.auth import Authorizer
class OnlyAliceWrites(Authorizer):
    def is_authorized(self, handler, user, action, resource):
        if resource.startswith("nbreactive"):
            if user.username == "bob":
                return action == "read"
            if user.username == "carol":
                return False
        return True
c.ServerApp.allow_origin_pat = r"https://trusted\\.example\\.com"
c.ServerApp.authorizer_class = OnlyAliceWrites
c.NamedTokens.people = {"alice-token": "Alice", "bob-token": "Bob", "carol-token": "Carol"}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterProcess]:
    config = f"c.NBReactiveApp.backend_command = {FAKE!r}\n{READER}"
    with JupyterProcess(tmp_path_factory.mktemp("server"), config) as running:
        yield running


def identity(headers: dict[str, str]) -> dict[str, Any]:
    return json.loads(base64.urlsafe_b64decode(headers["X-Nbreactive-Identity"]))


def connect(server: JupyterProcess, path: str = "api/sync", **headers: str) -> list[Any]:
    """What the backend says first, and the echo of a text and of bytes; or the refusal's status."""

    async def main() -> list[Any]:
        url = f"ws://127.0.0.1:{server.port}/base/nbreactive/{path}"
        request = HTTPRequest(url, headers={name.replace("_", "-"): value for name, value in headers.items()})
        try:
            connection: WebSocketClientConnection = await websocket_connect(
                request, compression_options={}, max_message_size=1 << 24
            )
        except HTTPClientError as error:
            return [error.code]
        first = json.loads(await connection.read_message())  # type: ignore[arg-type]
        await connection.write_message("hello")
        text = await connection.read_message()
        await connection.write_message(b"\x00\xff" * 500_000, binary=True)
        data = await connection.read_message()
        await connection.write_message("close")
        last = await connection.read_message()
        connection.close()
        return [first, text, data, last, connection.close_code]

    return asyncio.run(main())


# ---- plain requests ---------------------------------------------------------------------------------------


def test_a_request_passes_with_who_asks_and_without_secrets(server: JupyterProcess) -> None:
    answer = server.request(
        "POST",
        "nbreactive/api/query?a=1&a=2&empty=&token=alice-token",
        b'{"path": "x:y"}',
        token=None,
        headers={
            "Content-Type": "application/json",
            "Convex-Client": "npm-1.0",
            "Cookie": "secret=1",
            "X-NBReactive-Identity": "forged",
            "X-NBReactive-Proxy": "forged",
            "X-Forwarded-For": "1.2.3.4",
        },
    )
    assert answer.status == 200
    seen = answer.json()
    assert (seen["method"], seen["uri"], seen["body"]) == ("POST", "/api/query?a=1&a=2&empty=", '{"path": "x:y"}')
    headers = seen["headers"]
    assert {name.lower() for name in headers} == {
        "accept-encoding",
        "content-length",
        "content-type",
        "convex-client",
        "host",
        "x-nbreactive-identity",
        "x-nbreactive-proxy",
    }
    assert headers["X-Nbreactive-Proxy"] != "forged"
    assert identity(headers) == {
        "subject": "alice",
        "name": "Alice",
        "issuer": "jupyter",
        "roles": ["read", "write", "deploy", "admin"],
        "ip": "127.0.0.1",
    }
    assert "alice-token" not in json.dumps(seen)


def test_headers_of_the_backend_are_picked(server: JupyterProcess) -> None:
    answer = server.request("GET", "nbreactive/version", token="alice-token")
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert "X-Private" not in answer.headers
    assert "theirs" not in str(answer.headers)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_errors_of_the_backend_pass_whole(server: JupyterProcess) -> None:
    answer = server.request("POST", "nbreactive/api/refuse", b"{}", token="alice-token")
    assert answer.status == 409
    assert answer.json() == {"code": "StaleModule", "message": "somebody was faster"}


def test_large_answers_are_streamed(server: JupyterProcess) -> None:
    answer = server.request("GET", "nbreactive/api/big?chunks=500", token="alice-token")
    assert answer.status == 200
    assert len(answer.body) == 500 * 65536


def test_head_has_no_body_and_other_verbs_no_door(server: JupyterProcess) -> None:
    assert server.request("DELETE", "nbreactive/api/query", token="alice-token").status == 405


@pytest.mark.parametrize("path", ["nbreactive/api/query", "nbreactive/default/api/query"])
def test_the_default_deployment_may_be_left_out(server: JupyterProcess, path: str) -> None:
    assert server.request("GET", path, token="alice-token").json()["uri"] == "/api/query"


def test_a_base_url_with_our_name_in_it_is_not_taken_for_a_deployment(tmp_path: Path) -> None:
    config = f"c.NBReactiveApp.backend_command = {FAKE!r}"
    with JupyterProcess(tmp_path, config, base="/nbreactive/team/") as running:
        for path in ("nbreactive/api/query", "nbreactive/default/api/query"):
            assert running.request("GET", path, token="alice-token").json()["uri"] == "/api/query"
        headers = {"Authorization": "token alice-token", "Upgrade": "websocket"}
        headers |= {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
        connection.request("GET", "/nbreactive/team/nbreactive/api/sync", headers=headers | {"Connection": "Upgrade"})
        assert connection.getresponse().status == 101
        connection.close()


def test_other_deployments_are_not_here(server: JupyterProcess) -> None:
    answer = server.request("GET", "nbreactive/other/api/query", token="alice-token")
    assert answer.status == 404
    assert "this server has: default" in answer.json()["message"]


@pytest.mark.parametrize(
    "middle", ["x%0D%0AX-Evil:%20yes%0D%0AX-A:%20", "a%2Fb%20HTTP%2F1.1%0D%0AX-Evil:%201%0D%0AX-A:"]
)
def test_nothing_is_smuggled_through_the_door_of_connections(server: JupyterProcess, middle: str) -> None:
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Authorization": "token bob-token",
    }
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request("GET", f"/base/nbreactive/api/{middle}/sync", headers=headers)
        answer = connection.getresponse()
        said = b"" if answer.status == 101 else answer.read()
    finally:
        connection.close()
    assert b"evil" not in said.lower().replace(b"%0d%0ax-evil", b"")
    assert answer.status in (101, 400, 404)


def test_escapes_in_a_path_stay_escaped(server: JupyterProcess) -> None:
    seen = server.request("GET", "nbreactive/api/a%2F..%2Fb%20c", token="alice-token").json()
    assert seen["uri"] == "/api/a%2F..%2Fb%20c"


def test_health_tells_who_shares_it(server: JupyterProcess) -> None:
    answer = server.request("GET", "nbreactive/api/health", token="alice-token")
    found = answer.json()
    assert found["ok"] is True
    assert (found["deployment"], found["shared_with"]) == ("default", "Alice, Bob, Carol")


# ---- identity ---------------------------------------------------------------------------------------------


def test_a_kernel_acts_for_the_owner(server: JupyterProcess) -> None:
    seen = server.request("GET", "nbreactive/api/x", headers=KERNEL).json()
    who = identity(seen["headers"])
    assert (who["subject"], who["via"]) == ("owner", "kernel")


def test_the_token_in_the_pages_names_nobody(server: JupyterProcess) -> None:
    assert server.request("GET", "nbreactive/api/x").status == 403


def test_roles_come_from_the_authorizer_case_7(server: JupyterProcess) -> None:
    seen = server.request("GET", "nbreactive/api/x", token="bob-token").json()
    assert identity(seen["headers"])["roles"] == ["read"]
    assert server.request("GET", "nbreactive/api/x", token="carol-token").status == 403
    assert connect(server, Authorization="token carol-token") == [403]


# ---- the live connection ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["api/sync", "default/api/sync", "api/1.48.0/sync"])
def test_the_live_connection_is_spliced(server: JupyterProcess, path: str) -> None:
    first, text, data, last, code = connect(server, path, Authorization="token alice-token")
    assert first["uri"] == "/" + path.removeprefix("default/")
    assert identity(first["headers"])["subject"] == "alice"
    assert "Authorization" not in first["headers"]
    # compression was agreed between client and backend
    assert "permessage-deflate" in first["headers"]["Sec-Websocket-Extensions"]
    assert (text, data, last, code) == ("hello", b"\x00\xff" * 500_000, None, 4001)


def test_no_credentials_no_upgrade_case_1(server: JupyterProcess) -> None:
    assert connect(server) == [403]
    assert connect(server, Authorization="token wrong") == [403]


def cookie_headers(server: JupyterProcess) -> tuple[str, str]:
    cookies = server.cookies("alice-token")
    return "; ".join(f"{name}={value}" for name, value in cookies.items()), cookies["_xsrf"]


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://127.0.0.1.evil.example",
        "http://127.0.0.1:{port}.evil.example",
        "null",
        "",
        "http://127.0.0.1",
        "https://trusted.example.com.evil.com",
        "https://trusted-example.com",
        None,
    ],
)
def test_cookies_need_our_own_origin_case_2_3(server: JupyterProcess, origin: str | None) -> None:
    cookie, _ = cookie_headers(server)
    headers = {"Cookie": cookie} | ({} if origin is None else {"Origin": origin.format(port=server.port)})
    assert connect(server, **headers) == [403]


@pytest.mark.parametrize("origin", ["http://127.0.0.1:{port}", "https://trusted.example.com"])
def test_pages_of_this_server_and_trusted_ones_connect_by_cookie(server: JupyterProcess, origin: str) -> None:
    cookie, _ = cookie_headers(server)
    first, *_ = connect(server, Cookie=cookie, Origin=origin.format(port=server.port))
    assert identity(first["headers"])["subject"] == "alice"
    assert "Cookie" not in first["headers"]


def test_cookies_need_xsrf_case_4(server: JupyterProcess) -> None:
    cookie, xsrf = cookie_headers(server)
    post = {"Cookie": cookie, "Content-Type": "application/json"}
    for more in ({}, {"Sec-Fetch-Mode": "no-cors"}, {"X-XSRFToken": "wrong"}):
        assert server.request("POST", "nbreactive/api/mutation", b"{}", token=None, headers=post | more).status == 403
    good = post | {"X-XSRFToken": xsrf}
    assert server.request("POST", "nbreactive/api/mutation", b"{}", token=None, headers=good).status == 200


def test_tokens_in_the_query_are_not_passed_on_and_not_logged_case_5(server: JupyterProcess) -> None:
    seen = server.request("GET", "nbreactive/api/x?token=alice-token&keep=1", token=None).json()
    assert seen["uri"] == "/api/x?keep=1"
    first, *_ = connect(server, "api/sync?token=alice-token")
    assert first["uri"] == "/api/sync"
    server.request("GET", "nbreactive/nowhere?token=alice-token", token=None)
    log = server.log.read_text()
    assert "/nbreactive/" in log
    assert "alice-token" not in log
    assert SERVER_TOKEN not in log


def test_a_plain_request_at_the_live_address(server: JupyterProcess) -> None:
    assert server.request("GET", "nbreactive/api/sync", token="alice-token").status == 426


def test_a_foreign_host_is_refused(server: JupyterProcess) -> None:
    answer = server.request("GET", "nbreactive/api/x", token="alice-token", headers={"Host": "evil.example"})
    assert answer.status == 403


def test_clients_that_break_off_do_no_harm(server: JupyterProcess) -> None:
    head = f"GET /base/nbreactive/api/big?chunks=2000 HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", server.port)) as broken:
            broken.sendall(f"{head}Authorization: token alice-token\r\n\r\n".encode())
            broken.recv(1000)
    assert server.request("GET", "nbreactive/api/x", token="alice-token").status == 200
