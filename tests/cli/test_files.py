"""Stored files in backups, exports and imports, and under the doctor's eyes."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.served import KEY, ROOT, Served

MODULE = """
from nbreactive import Id, mutation, query

@mutation
def put(ctx, text: str, media: str | None = None):
    id = ctx.storage.store(text.encode(), content_type=media)
    ctx.db.insert("files", {"file": id, "name": text[:20] or "empty"})
    return id

@mutation
def drop(ctx, id: Id["_storage"]):
    ctx.storage.delete(id)

@query
def urls(ctx):
    return {file["name"]: ctx.storage.get_url(file["file"]) for file in ctx.db.query("files")}
"""


def run(*arguments: object, status: int = 0) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "nbreactive", *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "NBREACTIVE_ADMIN_KEY": KEY},
    )
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout) if done.stdout else done.stderr


def fetched(urls: dict[str, str]) -> dict[str, bytes]:
    return {name: urllib.request.urlopen(url).read() for name, url in urls.items()}


def address(url: str) -> str:
    return url.rpartition("/")[2]


def test_a_backup_has_the_files_and_their_addresses(tmp_path: Path) -> None:
    copy = tmp_path / "copy.backup"
    with Served(tmp_path / "one", {"files": MODULE}) as backend:
        backend.call("mutation", "files:put", text="a file", media="text/plain")
        gone = backend.call("mutation", "files:put", text="deleted")
        backend.call("mutation", "files:put", text="x" * 3_000_000)
        backend.call("mutation", "files:put", text="")
        ts = backend.fetch("/api/admin/status", admin=True)["durable_ts"]
        before = backend.call("query", "files:urls")
        backend.call("mutation", "files:drop", id=gone)
        facts = run("backup", backend.url, copy)
        assert (facts["files"], facts["verified"]) == (4, True)
        after = backend.call("query", "files:urls")
    with zipfile.ZipFile(copy) as archive:
        assert archive.getinfo(f"files/{hashlib.sha256(b'a file').hexdigest()}").file_size == 6
    for to, expected, wanted in (("two", after, []), ("three", before, ["--to-ts", ts])):
        folder = tmp_path / to
        run("restore", copy, folder / "data", *wanted)
        assert run("doctor", folder / "data")["healthy"]
        with Served(folder, {"files": MODULE}) as restored:
            urls = restored.call("query", "files:urls")
            assert {name: url and address(url) for name, url in urls.items()} == {
                name: url and address(url) for name, url in expected.items()
            }
            found = fetched({name: url for name, url in urls.items() if url})
            assert found["a file"] == b"a file"
            assert len(found["x" * 20]) == 3_000_000
            assert found.get("deleted") == (b"deleted" if wanted else None)


def test_a_backup_of_a_folder_that_nobody_serves_and_a_damaged_one(tmp_path: Path) -> None:
    with Served(tmp_path, {"files": MODULE}) as backend:
        backend.call("mutation", "files:put", text="a file")
    first = tmp_path / "first.backup"
    assert run("backup", backend.data, first)["files"] == 1
    damaged = tmp_path / "damaged.backup"
    data = first.read_bytes()
    at = data.index(b"a file")
    damaged.write_bytes(data[:at] + b"another"[:6] + data[at + 6 :])
    said = run("restore", damaged, tmp_path / "two", status=1)
    assert "is damaged" in said
    assert not (tmp_path / "two").exists()
    (backend.data / "files" / hashlib.sha256(b"a file").hexdigest()).write_bytes(b"wrong!")
    assert "the stored content" in run("backup", backend.data, tmp_path / "second.backup", status=1)
    assert not (tmp_path / "second.backup").exists()


def test_the_doctor_finds_what_is_missing_damaged_and_unnamed(tmp_path: Path) -> None:
    with Served(tmp_path, {"files": MODULE}) as backend:
        for text in ("good", "missing", "damaged"):
            backend.call("mutation", "files:put", text=text)
        files = backend.data / "files"
        sums = {text: hashlib.sha256(text.encode()).hexdigest() for text in ("good", "missing", "damaged", "orphan")}
        assert run("doctor", backend.url)["files"] == {
            "contents": 3,
            "bytes": 18,
            "missing": [],
            "damaged": [],
            "unnamed": [],
        }
        (files / sums["missing"]).unlink()
        (files / sums["damaged"]).write_bytes(b"demaged")
        (files / sums["orphan"]).write_bytes(b"orphan")
        running = run("doctor", backend.url, status=2)
    for report in (running, run("doctor", backend.data, status=2)):
        assert report["files"]["missing"] == [sums["missing"]]
        assert report["files"]["damaged"] == [sums["damaged"]]
        assert report["files"]["unnamed"] == [sums["orphan"]]
        assert [problem["part"] for problem in report["problems"]] == ["files", "files"]
        assert any("1 contents of files" in note for note in report["notes"])


def test_an_export_goes_there_and_back(tmp_path: Path) -> None:
    first, second = tmp_path / "one.zip", tmp_path / "two.zip"
    with Served(tmp_path / "one", {"files": MODULE}) as backend:
        id = backend.call("mutation", "files:put", text="a file", media="image/png")
        backend.call("mutation", "files:put", text="y" * 2_000_000, media="text/html")
        assert run("export", first, "--at", backend.url)["tables"] == ["files"]
        urls = backend.call("query", "files:urls")
        refused = run("import", first, "--at", backend.url, status=1)
        assert "already" in refused
    with zipfile.ZipFile(first) as archive:
        assert archive.read(f"_storage/{id}.png") == b"a file"
        line = json.loads(archive.read("_storage/documents.jsonl").splitlines()[0])
        assert line["sha256"] == base64.b64encode(hashlib.sha256(b"a file").digest()).decode()
        assert (line["_id"], line["size"], line["contentType"]) == (id, 6, "image/png")
    with Served(tmp_path / "two", {"files": MODULE}) as backend:
        assert run("import", first, "--at", backend.url)["left_out"] == []
        there = backend.call("query", "files:urls")
        assert {name: address(url) for name, url in there.items()} == {name: address(url) for name, url in urls.items()}
        assert fetched(there) == {"a file": b"a file", "y" * 20: b"y" * 2_000_000}
        run("import", first, "--at", backend.url, "--replace")
        run("export", second, "--at", backend.url)
        assert fetched(backend.call("query", "files:urls"))["a file"] == b"a file"
    assert contents(first) == contents(second)


def contents(path: Path) -> dict[str, list[bytes]]:
    with zipfile.ZipFile(path) as archive:
        return {name: sorted(archive.read(name).splitlines()) for name in archive.namelist()}


def test_an_export_of_convex_whose_files_have_another_number(tmp_path: Path) -> None:
    from nbreactive.values.ids import encode_id

    file, document = str(encode_id(10_000, bytes(16))), str(encode_id(10_001, bytes(15) + b"1"))
    path = tmp_path / "convex.zip"
    line = {"_id": file, "_creationTime": 1.5, "contentType": "text/plain", "size": 3}
    line["internalId"] = "01234567-89ab-cdef-0123-456789abcdef"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("_tables/documents.jsonl", '{"name": "files", "id": 10001}\n')
        archive.writestr("files/documents.jsonl", json.dumps({"_id": document, "file": file, "name": "n"}) + "\n")
        archive.writestr("_storage/documents.jsonl", json.dumps(line) + "\n")
        archive.writestr(f"_storage/{file}.txt", "abc")
    with Served(tmp_path, {"files": MODULE}) as backend:
        run("import", path, "--at", backend.url)
        urls = backend.call("query", "files:urls")
        assert urls["n"].endswith("/api/storage/01234567-89ab-cdef-0123-456789abcdef")
        assert fetched(urls) == {"n": b"abc"}


@pytest.mark.parametrize(
    ("changed", "member"),
    [
        ({"size": 4}, "abc"),
        ({"sha256": base64.b64encode(bytes(32)).decode()}, "abc"),
        ({"sha256": "short"}, "abc"),
        ({"contentType": "no type"}, "abc"),
        ({"_id": "x"}, "abc"),
        ({}, None),
    ],
)
def test_a_bad_export_changes_nothing(tmp_path: Path, changed: dict[str, Any], member: str | None) -> None:
    from nbreactive.values.ids import encode_id

    file = str(encode_id(8, bytes(16)))
    path = tmp_path / "bad.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("_storage/documents.jsonl", json.dumps({"_id": file, "_creationTime": 1.5} | changed) + "\n")
        if member is not None:
            archive.writestr(f"_storage/{file}", member)
    with Served(tmp_path, {"files": MODULE}) as backend:
        backend.call("mutation", "files:put", text="stays")
        run("import", path, "--at", backend.url, "--replace", status=1)
        assert fetched(backend.call("query", "files:urls")) == {"stays": b"stays"}
        assert len(backend.fetch("/api/admin/files", admin=True)["files"]) == 1
