"""Uploads and downloads against a real backend; attack cases 33, 34 and 35 of the list among them."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import psutil
import pytest

from nbreactive.engine.upload_tokens import UploadToken, sign_upload, upload_key
from tests.served import KEY, Served

MODULE = """
from nbreactive import Id, action, internal_mutation, mutation, query, v

@mutation
def generate(ctx, max_size: int | None = None, content_type: str | None = None):
    return ctx.storage.generate_upload_url(max_size=max_size, content_type=content_type)

@mutation
def save(ctx, storageId: Id["_storage"], name: str):
    return ctx.db.insert("files", {"storageId": storageId, "name": name})

@query
def url(ctx, id: Id["_storage"]):
    return ctx.storage.get_url(id)

@query
def looked_at(ctx, id: Id["_storage"]):
    return [ctx.storage.get_metadata(id), ctx.db.system.get(id), ctx.db.system.query("_storage").collect()]

@mutation
def put(ctx, text: str, fail: bool = False, sha256: str | None = None):
    id = ctx.storage.store(text.encode(), content_type="text/plain", sha256=sha256)
    assert ctx.storage.get_metadata(id)["size"] == len(text)
    if fail:
        raise ValueError("it goes wrong")
    return id

@internal_mutation
def fails(ctx):
    ctx.storage.store(b"undone")
    raise ValueError

@mutation
def catches(ctx):
    try:
        ctx.run_mutation("files:fails")
    except ValueError:
        pass
    return ctx.storage.store(b"kept")

@mutation
def too_much(ctx):
    for n in range(3):
        ctx.storage.store(bytes([n]) * 6_000_000)

@mutation
def drop(ctx, id: Id["_storage"], fail: bool = False):
    ctx.storage.delete(id)
    assert ctx.storage.get_url(id) is None
    if fail:
        raise ValueError("it goes wrong")

@query
def stores(ctx):
    ctx.storage.store(b"")

@mutation
def gets(ctx, id: Id["_storage"]):
    return ctx.storage.get(id)

@action
async def copy(ctx, id: Id["_storage"]):
    file = await ctx.storage.get(id)
    if file is None:
        return None
    copied = await ctx.storage.store(await file.bytes(), content_type=file.content_type, sha256=file.sha256)
    pieces = [piece async for piece in await ctx.storage.get(copied)]
    return {"id": copied, "size": file.size, "pieces": len(pieces), "url": await ctx.storage.get_url(copied)}

@action
def through_a_path(ctx, size: int):
    import pathlib, tempfile
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "file"
        path.write_bytes(b"ab" * (size // 2))
        id = ctx.storage.store(path, content_type="image/png")
        with path.open("rb") as file:
            again = ctx.storage.store(file)
        path.unlink()
        ctx.storage.get(id).save(path)
        read = path.stat().st_size
    metadata = ctx.storage.get_metadata(id)
    ctx.storage.delete(again)
    return [id, read, metadata, ctx.storage.get_metadata(again), ctx.storage.generate_upload_url(max_size=3)]

@action
async def wrong_sum(ctx):
    await ctx.storage.store(b"abc", sha256="0" * 64)
"""
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def request(url: str, method: str = "GET", body: bytes | Iterable[bytes] | None = None, **headers: str) -> Answer:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    try:
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, target, body, named)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


def upload(backend: Served, body: bytes | Iterable[bytes] = b"hello world", **headers: str) -> Answer:
    return request(backend.call("mutation", "files:generate"), "POST", body, **headers)


def stored(backend: Served, body: bytes | Iterable[bytes] = b"hello world", **headers: str) -> str:
    answer = upload(backend, body, **headers)
    assert answer.status == 200, answer
    return answer.json["storageId"]


def contents(backend: Served) -> dict[str, bytes]:
    folder = backend.data / "files"
    return {path.name: path.read_bytes() for path in folder.iterdir() if len(path.name) == 64}


def coming(backend: Served) -> list[Path]:
    return list((backend.data / "files" / "incoming").iterdir())


def until(condition: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def documents(backend: Served) -> int:
    return len(backend.fetch("/api/admin/files", admin=True)["files"])


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("files"), {"files": MODULE}, "--limit", "file_bytes=300000000") as running:
        yield running


# ---- what the guide does -----------------------------------------------------------------------------------------


def test_upload_save_and_download(backend: Served) -> None:
    digest = base64.b64encode(hashlib.sha256(PNG).digest()).decode()
    id = stored(backend, PNG, Content_Type="image/png", Digest=f"sha-256={digest}")
    backend.call("mutation", "files:save", storageId=id, name="a.png")
    address = backend.call("query", "files:url", id=id)
    answer = request(address)
    assert answer.body == PNG
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["Digest"] == f"sha-256={digest}"
    assert answer.headers["Cache-Control"] == "private, max-age=2592000"
    assert id not in address
    metadata, document, listed = backend.call("query", "files:looked_at", id=id)
    expected = {"sha256": hashlib.sha256(PNG).hexdigest(), "size": len(PNG), "contentType": "image/png"}
    assert metadata == expected | {"storageId": id}
    assert {name: value for name, value in document.items() if name != "_creationTime"} == expected | {"_id": id}
    assert document in listed


def test_a_body_of_unknown_length_and_an_empty_one(backend: Served) -> None:
    id = stored(backend, iter([b"a" * 70_000, b"b" * 70_000]))  # chunked
    assert request(backend.call("query", "files:url", id=id)).body == b"a" * 70_000 + b"b" * 70_000
    empty = stored(backend, b"")
    answer = request(backend.call("query", "files:url", id=empty))
    assert (answer.status, answer.body, answer.headers["Content-Type"]) == (200, b"", "application/octet-stream")


def test_identical_contents_are_kept_once(backend: Served) -> None:
    first, second = stored(backend, b"the same"), stored(backend, b"the same")
    assert first != second
    assert list(contents(backend).values()).count(b"the same") == 1
    backend.call("mutation", "files:drop", id=first)
    assert backend.call("query", "files:url", id=first) is None
    assert request(backend.call("query", "files:url", id=second)).body == b"the same"


def test_every_page_may_use_an_address_that_it_was_given(backend: Served) -> None:
    address = backend.call("mutation", "files:generate")
    asked = {"Origin": "https://app.example.com", "Access_Control_Request_Headers": "content-type,digest"}
    before = request(address, "OPTIONS", None, **asked)
    assert before.status == 204
    assert before.headers["Access-Control-Allow-Origin"] == "https://app.example.com"
    assert before.headers["Access-Control-Allow-Headers"] == "content-type,digest"
    assert "POST" in before.headers["Access-Control-Allow-Methods"]
    answer = request(address, "POST", b"x", Origin="https://app.example.com")
    assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example.com"
    assert answer.status == 200
    refused = request(address, "POST", b"x", Origin="https://app.example.com")
    assert (refused.status, refused.headers["Access-Control-Allow-Origin"]) == (403, "https://app.example.com")


# ---- transactions ------------------------------------------------------------------------------------------------


def test_what_a_mutation_stores_is_there_with_its_commit(backend: Served) -> None:
    id = backend.call("mutation", "files:put", text="of a mutation")
    assert request(backend.call("query", "files:url", id=id)).body == b"of a mutation"


def test_a_mutation_that_fails_leaves_nothing(backend: Served) -> None:
    before, there = documents(backend), contents(backend)
    assert "it goes wrong" in backend.ask("mutation", "files:put", text="never kept", fail=True)["errorMessage"]
    wrong = backend.ask("mutation", "files:put", text="never kept", sha256="0" * 64)
    assert "the sha256 of the content is" in wrong["errorMessage"]
    assert "16777216 are allowed" in backend.ask("mutation", "files:too_much")["errorMessage"]
    assert (documents(backend), contents(backend), coming(backend)) == (before, there, [])
    kept = backend.call("mutation", "files:catches")
    assert request(backend.call("query", "files:url", id=kept)).body == b"kept"
    assert b"undone" not in contents(backend).values()


def test_a_deletion_is_a_part_of_its_mutation(backend: Served) -> None:
    id = stored(backend, b"stays")
    address = backend.call("query", "files:url", id=id)
    assert "errorMessage" in backend.ask("mutation", "files:drop", id=id, fail=True)
    assert request(address).body == b"stays"
    backend.call("mutation", "files:drop", id=id)
    assert request(address).status == 404
    assert "there is no file" in backend.ask("mutation", "files:drop", id=id)["errorMessage"]


def test_a_query_stores_nothing_and_contents_are_for_actions(backend: Served) -> None:
    assert "a query stores nothing" in backend.ask("query", "files:stores")["errorMessage"]
    assert "is read in actions" in backend.ask("mutation", "files:gets", id=stored(backend))["errorMessage"]


def test_actions_store_read_and_delete(backend: Served) -> None:
    original = stored(backend, b"z" * 2_500_000, Content_Type="image/png")
    copied = backend.call("action", "files:copy", id=original)
    assert (copied["size"], copied["pieces"]) == (2_500_000, 3)
    assert request(copied["url"]).headers["Content-Type"] == "image/png"
    backend.call("mutation", "files:drop", id=original)
    assert backend.call("action", "files:copy", id=original) is None
    id, read, metadata, deleted, address = backend.call("action", "files:through_a_path", size=3_000_000)
    assert (read, metadata["size"], metadata["contentType"], deleted) == (3_000_000, 3_000_000, "image/png", None)
    assert len(request(backend.call("query", "files:url", id=id)).body) == 3_000_000
    assert request(address, "POST", b"four").status == 413
    assert "the sha256 of the content is" in backend.ask("action", "files:wrong_sum")["errorMessage"]
    assert coming(backend) == []


# ---- attack case 33: uploads that were not signed ------------------------------------------------------------------


def test_uploads_that_are_refused_keep_nothing_case_33(backend: Served) -> None:
    before, there = documents(backend), contents(backend)
    sign: Callable[..., str] = backend.call
    good = sign("mutation", "files:generate")
    token = good.partition("token=")[2]
    secret = (backend.data / "cursor.key").read_bytes()
    now = time.time_ns() // 1_000_000
    expired = sign_upload(upload_key(secret), "default", UploadToken(os.urandom(16), now - 1))
    others = sign_upload(upload_key(secret), "staging", UploadToken(os.urandom(16), now + 10_000))
    another_key = sign_upload(upload_key(os.urandom(32)), "default", UploadToken(os.urandom(16), now + 10_000))
    tampered = token[:-6] + ("A" if token[-6] != "A" else "B") + token[-5:]
    door = backend.url + "/api/storage/upload"
    for bad in (expired, others, another_key, tampered, token[:40], "", "x" * 5000, "é", "%00"):
        answer = request(f"{door}?token={bad.encode('unicode_escape').decode()}", "POST", b"bytes of a stranger")
        assert answer.status == 403, bad
        assert answer.json["code"] == "Refused"
    assert request(door, "POST", b"x").status == 403
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        assert request(good, method, None if method == "GET" else b"x").status == 405
    small = sign("mutation", "files:generate", max_size=10)
    assert request(small, "POST", b"more than ten bytes").status == 413
    assert request(small, "POST", iter([b"more than ", b"ten bytes"])).status == 413  # whose length is not said
    assert request(good, "POST", iter([b"x" * (1 << 20)] * 301)).status == 413  # file_bytes
    image = sign("mutation", "files:generate", content_type="image/*")
    assert request(image, "POST", b"<html>", Content_Type="text/html").status == 415
    assert request(image, "POST", b"<html>").status == 415
    assert request(good, "POST", b"x", Content_Type="no type").status == 400
    assert request(good, "POST", b"x", Digest="sha-256=" + base64.b64encode(bytes(32)).decode()).status == 400
    malformed = request(good, "POST", b"x", Digest="md5=abc")
    assert malformed.status == 400 and malformed.body.count(b"Digest") == 1
    until(lambda: not coming(backend))
    assert (documents(backend), contents(backend)) == (before, there)
    assert request(good, "POST", b"and still good for one").status == 200
    assert request(image, "POST", PNG, Content_Type="image/png").status == 200


def test_an_address_is_good_for_one_file_even_if_that_is_deleted(backend: Served) -> None:
    address = backend.call("mutation", "files:generate")
    id = request(address, "POST", b"the first").json["storageId"]
    assert request(address, "POST", b"a second one").status == 403
    backend.call("mutation", "files:drop", id=id)
    assert request(address, "POST", b"a second one").status == 403
    assert b"a second one" not in contents(backend).values()


def test_of_many_uploads_to_one_address_one_arrives(backend: Served) -> None:
    address = backend.call("mutation", "files:generate")
    statuses: list[int] = []
    go = threading.Barrier(6)

    def one(n: int) -> None:
        def body() -> Iterator[bytes]:
            yield b"%d" % n
            go.wait(30)  # all have been let in
            yield b"!"

        statuses.append(request(address, "POST", body()).status)

    threads = [threading.Thread(target=one, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(statuses) == [200, 403, 403, 403, 403, 403]
    assert len([body for body in contents(backend).values() if len(body) == 2 and body.endswith(b"!")]) == 1


def test_a_refusal_is_answered_before_the_body_is_sent(backend: Served) -> None:
    parts = urlsplit(backend.call("mutation", "files:generate", max_size=1000))
    with socket.create_connection((parts.hostname, parts.port), 60) as wire:
        head = f"POST {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: 2000000000\r\n\r\n"
        wire.sendall(head.encode())
        assert wire.recv(100).startswith(b"HTTP/1.1 413")


# ---- attack case 34: what is downloaded is no page --------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        ("text/html", "application/octet-stream"),
        ("image/svg+xml", "application/octet-stream"),
        ("application/xhtml+xml", "application/octet-stream"),
        ("text/javascript", "application/octet-stream"),
        ("application/pdf", "application/pdf"),
        ("text/plain; charset=utf-8", "text/plain; charset=utf-8"),
        ("text/plain; charset=utf-7; x=y", "text/plain"),
        ("IMAGE/PNG", "image/png"),
    ],
)
def test_downloads_are_attachments_in_a_sandbox_case_34(backend: Served, kind: str, sent: str) -> None:
    address = backend.call("query", "files:url", id=stored(backend, b"<script>alert(1)</script>", Content_Type=kind))
    for method in ("GET", "HEAD"):
        answer = request(address, method)
        assert answer.status == 200
        assert answer.headers["Content-Type"] == sent
        assert answer.headers["Content-Disposition"] == "attachment"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Security-Policy"] == "sandbox"


# ---- attack case 35: addresses that are none -----------------------------------------------------------------------


def test_no_path_leads_anywhere_else_case_35(backend: Served) -> None:
    sha = hashlib.sha256(b"hello world").hexdigest()
    id = stored(backend)
    bad = ["../..", "%2e%2e", "%2e%2e%2f%2e%2e%2fcursor.key", "..%2fcursor.key", "/etc/passwd", "//etc/passwd", id, sha]
    bad += [
        "incoming",
        "0" * 32,
        f"{'0' * 8}-0000-0000-0000-{'0' * 12}",
        f"{'0' * 8}-0000-0000-0000-{'0' * 12}/..",
        "",
        "%00",
    ]
    for address in bad:
        for method in ("GET", "HEAD"):
            answer = request(f"{backend.url}/api/storage/{address}", method)
            assert answer.status == 404, address
            assert str(backend.data).encode() not in answer.body
    assert request(f"{backend.url}/api/storage-other/x").status == 404


@pytest.mark.skipif(os.name == "nt", reason="making links needs rights there")
def test_links_are_not_followed_case_35(backend: Served) -> None:
    id = stored(backend, b"becomes a link")
    address = backend.call("query", "files:url", id=id)
    path = backend.data / "files" / hashlib.sha256(b"becomes a link").hexdigest()
    path.unlink()
    path.symlink_to(backend.data / "cursor.key")
    assert request(address).status == 404
    path.unlink()
    assert request(address).status == 404  # it is missing: the doctor says so
    assert "the content of this file is missing" in request(address).json["message"]
    backend.call("mutation", "files:drop", id=id)


# ---- ranges --------------------------------------------------------------------------------------------------------


def test_ranges_and_conditions(backend: Served) -> None:
    body = bytes(range(256)) * 1000
    address = backend.call("query", "files:url", id=stored(backend, body))
    size = len(body)
    etag = request(address, "HEAD").headers["ETag"]
    for wanted, first, last in [
        ("bytes=0-0", 0, 1),
        ("bytes=10-99", 10, 100),
        ("bytes=100-", 100, size),
        ("bytes=-100", size - 100, size),
        (f"bytes=-{size + 5}", 0, size),
        (f"bytes=5-{size + 5}", 5, size),
    ]:
        answer = request(address, Range=wanted)
        assert (answer.status, answer.body) == (206, body[first:last]), wanted
        assert answer.headers["Content-Range"] == f"bytes {first}-{last - 1}/{size}"
    for ignored in ("bytes=5-4", "bytes=0-1,5-6", "lines=1-2", "bytes=-", "bytes=a-b"):
        assert request(address, Range=ignored).status == 200
    for nothing in (f"bytes={size}-", f"bytes={size + 1}-{size + 2}", "bytes=-0"):
        answer = request(address, Range=nothing)
        assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{size}")
    assert request(address, Range="bytes=0-0", If_Range=etag).status == 206
    assert request(address, Range="bytes=0-0", If_Range='"another"').status == 200
    assert request(address, If_None_Match=f'"x", {etag}').status == 304
    head = request(address, "HEAD")
    assert (head.headers["Content-Length"], head.headers["Accept-Ranges"], head.body) == (str(size), "bytes", b"")


# ---- bounded memory, crashes ---------------------------------------------------------------------------------------


def test_large_files_take_no_memory(backend: Served) -> None:
    assert backend.process is not None
    process = psutil.Process(backend.process.pid)
    piece, pieces = os.urandom(64) * 16_384, 256
    stored(backend, b"warm")
    before, peak, over = process.memory_info().rss, 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not over.wait(0.01):
            peak = max(peak, process.memory_info().rss)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        id = stored(backend, (piece for _ in range(pieces)), Content_Length=str(pieces << 20))
        address = backend.call("query", "files:url", id=id)
        parts = urlsplit(address)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        with contextlib.closing(connection):
            connection.request("GET", parts.path)
            answer, digest, size = connection.getresponse(), hashlib.sha256(), 0
            while data := answer.read(1 << 20):
                digest.update(data)
                size += len(data)
        # One who does not read gets what fits into the buffers of the system, and is waited for
        with socket.create_connection((parts.hostname, parts.port), 60) as wire:
            wire.sendall(f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
            assert wire.recv(100).startswith(b"HTTP/1.1 200")
            assert backend.call("query", "files:url", id=id) == address
    finally:
        over.set()
        watching.join()
    assert (size, digest.hexdigest()) == (pieces << 20, backend.call("query", "files:looked_at", id=id)[0]["sha256"])
    assert peak - before < 50 << 20
    backend.call("mutation", "files:drop", id=id)


def test_an_upload_that_breaks_off_leaves_nothing(backend: Served) -> None:
    before, there = documents(backend), contents(backend)
    parts = urlsplit(backend.call("mutation", "files:generate"))
    with socket.create_connection((parts.hostname, parts.port), 60) as wire:
        head = f"POST {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: 9000000\r\n\r\n"
        wire.sendall(head.encode() + b"x" * 3_000_000)
        until(lambda: any(path.stat().st_size for path in coming(backend)))
    until(lambda: not coming(backend))
    assert (documents(backend), contents(backend)) == (before, there)


def test_a_kill_in_the_middle_leaves_no_half_file(tmp_path: Path) -> None:
    with Served(tmp_path, {"files": MODULE}) as backend:
        whole = stored(backend, b"whole")
        parts = urlsplit(backend.call("mutation", "files:generate"))
        with socket.create_connection((parts.hostname, parts.port), 60) as wire:
            head = (
                f"POST {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: 9000000\r\n\r\n"
            )
            wire.sendall(head.encode() + b"x" * 3_000_000)
            until(lambda: any(path.stat().st_size for path in coming(backend)))
            backend.kill()
        assert len(coming(backend)) == 1
        assert contents(backend) == {hashlib.sha256(b"whole").hexdigest(): b"whole"}
        backend.start()
        assert coming(backend) == []
        assert [file["_id"] for file in backend.fetch("/api/admin/files", admin=True)["files"]] == [whole]
        answer = request(f"{backend.url}{parts.path}?{parts.query}", "POST", b"the same address again")
        assert answer.status == 200


# ---- retention, administration ---------------------------------------------------------------------------------------


def trim(backend: Served, keep: str) -> Any:
    return backend.fetch("/api/admin/retention", {"keep": keep}, admin=True)


def test_contents_go_with_the_history_that_names_them(tmp_path: Path) -> None:
    with Served(tmp_path, {"files": MODULE}) as backend:
        gone, kept = stored(backend, b"gone"), stored(backend, b"kept")
        backend.call("mutation", "files:drop", id=gone)
        assert trim(backend, "1d")["files"] == 0
        assert set(contents(backend).values()) == {b"gone", b"kept"}
        assert trim(backend, "0s")["files"] == 1
        assert set(contents(backend).values()) == {b"kept"}
        (backend.data / "files" / ("0" * 64)).write_bytes(b"left by a crash")
        assert trim(backend, "0s")["files"] == 1
        assert request(backend.call("query", "files:url", id=kept)).body == b"kept"


def test_administration(backend: Served) -> None:
    door = f"{backend.url}/api/admin/files"
    key = f"Convex {KEY}"
    assert request(door).status == request(door, "POST", b"x").status == 403
    answer = request(door, "POST", b"by an admin", Authorization=key, Content_Type="text/csv")
    id = answer.json["storageId"]
    found = request(f"{door}/{id}", Authorization=key)
    assert (found.body, found.headers["Content-Type"]) == (b"by an admin", "text/csv")
    for wrong in ("address=zzz", "created=nan", "created=inf", "created=-1e300", "created=abc", "created="):
        assert request(f"{door}?{wrong}", "POST", b"x", Authorization=key).status == 400, wrong
    listed = request(f"{door}?limit=1000", Authorization=key).json["files"]
    mine = next(file for file in listed if file["_id"] == id)
    assert request(mine["url"]).body == b"by an admin"
    assert "address" not in mine
    first = request(f"{door}?limit=1", Authorization=key).json["files"]
    following = request(f"{door}?limit=1&after={first[0]['_id']}", Authorization=key).json["files"]
    assert [*first, *following] == listed[:2]
    assert request(f"{door}/{id}", "DELETE", Authorization=key).status == 200
    assert request(f"{door}/{id}", Authorization=key).status == 404
    assert request(f"{door}/{id}", "DELETE", Authorization=key).status == 400


def test_addresses_follow_the_public_one_and_files_may_be_elsewhere(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    options = ("--public-url", "https://files.example.com/x/", "--files", str(elsewhere))
    with Served(tmp_path / "one", {"files": MODULE}, *options) as backend:
        address = backend.call("mutation", "files:generate")
        assert address.startswith("https://files.example.com/x/api/storage/upload?token=")
        own = backend.url + address.removeprefix("https://files.example.com/x")
        id = request(own, "POST", b"elsewhere").json["storageId"]
        assert (elsewhere / hashlib.sha256(b"elsewhere").hexdigest()).read_bytes() == b"elsewhere"
        found = backend.call("query", "files:url", id=id)
        assert found.startswith("https://files.example.com/x/api/storage/")
        assert request(backend.url + found.removeprefix("https://files.example.com/x")).body == b"elsewhere"


def test_files_in_a_store_of_objects(tmp_path: Path) -> None:
    with Served(tmp_path, {"files": MODULE}, "--files", "memory://bucket/files") as backend:
        id = stored(backend, b"ab" * 1_000_000)
        address = backend.call("query", "files:url", id=id)
        assert request(address).body == b"ab" * 1_000_000
        assert request(address, Range="bytes=1-4").body == b"baba"
        assert contents(backend) == {}
        assert coming(backend) == []
        copied = backend.call("action", "files:copy", id=id)
        assert request(copied["url"]).body == b"ab" * 1_000_000
        backend.call("mutation", "files:drop", id=id)
        backend.call("mutation", "files:drop", id=copied["id"])
        assert trim(backend, "0s")["files"] == 1
