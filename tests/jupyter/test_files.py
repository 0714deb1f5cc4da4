"""Stored files behind a Jupyter server: for who is signed in; the signature of an upload instead of XSRF."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import urlsplit

import psutil
import pytest

from tests.jupyter.servers import SERVER_TOKEN, JupyterProcess

SOURCE = """
from nbreactive import Id, mutation, query

@mutation
def generate(ctx):
    return ctx.storage.generate_upload_url()

@query
def url(ctx, id: Id["_storage"]):
    return ctx.storage.get_url(id)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterProcess]:
    folder = tmp_path_factory.mktemp("jupyter")
    functions = folder / "root" / "reactive"
    functions.mkdir(parents=True)
    (functions / "files.py").write_text(SOURCE)
    with JupyterProcess(folder, people=False) as running:
        yield running


def call(server: JupyterProcess, kind: str, path: str, **args: str) -> str:
    body = json.dumps({"path": path, "args": args, "format": "json"}).encode()
    answer = server.request("POST", f"nbreactive/api/{kind}", body, headers={"Content-Type": "application/json"})
    return json.loads(answer.body)["value"]


def mounted(address: str) -> str:
    parts = urlsplit(address)
    return f"nbreactive{parts.path}" + (f"?upload_{parts.query}" if parts.query else "")


def test_uploads_with_a_cookie_need_no_xsrf_but_the_signature(server: JupyterProcess) -> None:
    cookies = server.cookies(SERVER_TOKEN)
    signed_in = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items()), "Content-Type": "image/png"}
    address = mounted(call(server, "mutation", "files:generate"))
    assert server.request("POST", address, b"x", token=None).status == 403
    assert server.request("POST", address, b"x", token="wrong").status == 403
    body = b"0123456789" * 100_000
    answer = server.request("POST", address, body, token=None, headers=signed_in)
    assert answer.status == 200, answer.body
    id = json.loads(answer.body)["storageId"]
    assert server.request("POST", address, b"again", token=None, headers=signed_in).status == 403
    forged = address[:-4] + "AAAA"
    assert server.request("POST", forged, b"x", token=None, headers=signed_in).status == 403
    # Nothing else is exempt
    assert server.request("POST", "nbreactive/api/storage/other", b"x", token=None, headers=signed_in).status == 403
    assert server.request("POST", "nbreactive/api/mutation", b"{}", token=None, headers=signed_in).status == 403
    found = mounted(call(server, "query", "files:url", id=id))
    assert server.request("GET", found, token=None).status == 403
    answer = server.request("GET", found, token=None, headers=signed_in)
    assert (answer.status, answer.body) == (200, body)
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["Content-Disposition"] == "attachment"
    assert answer.headers["Content-Security-Policy"] == "sandbox"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Digest"].startswith("sha-256=")
    part = server.request("GET", found, token=None, headers=signed_in | {"Range": "bytes=5-8"})
    assert (part.status, part.body) == (206, b"5678")
    head = server.request("HEAD", found, token=None, headers=signed_in)
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(body)))


def test_programs_bring_the_server_s_token_as_a_header(server: JupyterProcess) -> None:
    address = mounted(call(server, "mutation", "files:generate"))
    assert json.loads(server.request("POST", address, b"by a program").body)["storageId"]


def test_large_uploads_take_no_memory_of_the_server(server: JupyterProcess) -> None:
    process = psutil.Process(server.process.pid)
    server.request("POST", mounted(call(server, "mutation", "files:generate")), b"warm")
    before = process.memory_info().rss
    body = bytes(64 << 20)
    id = json.loads(server.request("POST", mounted(call(server, "mutation", "files:generate")), body).body)["storageId"]
    assert server.request("GET", mounted(call(server, "query", "files:url", id=id))).body == body
    assert process.memory_info().rss - before < 32 << 20
