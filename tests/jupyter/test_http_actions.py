"""HTTP actions behind a Jupyter server: its users only, nearly all headers, and no hold of anybody's session."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

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

http = http_router()
for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
    http.route(path_prefix="/about/", method=method, handler=about)
http.route(path="/page", method="GET", handler=page)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterProcess]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "root" / "reactive").mkdir(parents=True)
    (folder / "root" / "reactive" / "hooks.py").write_text(SOURCE)
    with JupyterProcess(folder) as running:
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
