from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest

from nbreactive.engine.files import DATA_FORMAT
from nbreactive.values.ids import decode_id
from tests.served import KEY, ROOT, SECONDS, Served

NOTES = """
from nbreactive import define_schema, define_table, mutation, query, v

schema = define_schema({"notes": define_table({"n": v.integer(), "text": v.string()}).index("by_n", ["n"])})

@mutation
def write(ctx, n: int, text: str):
    found = ctx.db.query("notes").with_index("by_n", lambda q: q.eq("n", n)).unique()
    if found is None:
        ctx.db.insert("notes", {"n": n, "text": text})
    else:
        ctx.db.patch(found["_id"], {"text": text})

@mutation
def drop(ctx, n: int):
    found = ctx.db.query("notes").with_index("by_n", lambda q: q.eq("n", n)).unique()
    if found is not None:
        ctx.db.delete(found["_id"])

@query
def page(ctx, opts: dict):
    return ctx.db.query("notes").with_index("by_n").paginate(opts)

@query
def everything(ctx):
    return ctx.db.query("notes").with_index("by_n").collect()
"""


def nbreactive(*arguments: object, status: int = 0) -> Any:
    """Run a command with --json; returns what it said, or the error's text."""
    done = subprocess.run(
        [sys.executable, "-m", "nbreactive", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return json.loads(done.stdout) if done.stdout.startswith("{") else done.stdout + done.stderr


def at(backend: Served, ts: str | int) -> Any:
    """What the query says as of a timestamp."""
    encoded = base64.b64encode(int(ts).to_bytes(8, "little")).decode()
    answer = backend.fetch(
        "/api/query_at_ts", {"path": "notes:everything", "args": {}, "format": "json", "ts": encoded}
    )
    assert answer["status"] == "success", answer
    return answer["value"]


def fill(backend: Served, count: int = 20) -> None:
    for n in range(count):
        backend.call("mutation", "notes:write", n=n, text=f"first {n}")
    for n in range(0, count, 3):
        backend.call("mutation", "notes:drop", n=n)


def reach(written: list[int], count: int) -> None:
    """Wait until so much was written."""
    deadline = time.monotonic() + SECONDS
    while len(written) < count:
        assert time.monotonic() < deadline, "nothing is written any more"
        time.sleep(0.01)


def test_a_backup_under_load_restores_the_exact_state_of_its_timestamp(tmp_path: Path) -> None:
    file, restored = tmp_path / "backup.nbr", tmp_path / "other" / "data"
    with Served(tmp_path, {"notes": NOTES}) as backend:
        fill(backend)
        stop = threading.Event()
        written: list[int] = []

        def load(n: int) -> None:
            count = 0
            while not stop.is_set():
                backend.call("mutation", "notes:write", n=n, text=f"{count}")
                if count % 5 == 4:
                    backend.call("mutation", "notes:drop", n=n)
                count += 1
                written.append(count)

        threads = [threading.Thread(target=load, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        try:
            reach(written, 40)
            said = nbreactive("backup", backend.data, file, "--admin-key", KEY, "--json")
            reach(written, len(written) + 40)
            wanted = at(backend, said["timestamp"])
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        newest = backend.call("query", "notes:everything")
    assert said["verified"] and wanted != newest
    assert file.stat().st_mode & 0o077 == 0
    assert nbreactive("restore", file, restored, "--json")["timestamp"] == said["timestamp"]
    with Served(restored.parent, {"notes": NOTES}) as backend:
        # The functions are in it: they were restored, not deployed from the folder alone
        assert backend.call("query", "notes:everything") == wanted
        assert backend.fetch("/api/admin/history", admin=True)["deploys"]
        backend.call("mutation", "notes:write", n=100, text="on it goes")
        assert len(backend.call("query", "notes:everything")) == len(wanted) + 1
        assert nbreactive("doctor", restored, "--admin-key", KEY, "--json")["healthy"]
    assert nbreactive("doctor", restored, "--json")["healthy"]


def test_a_backup_of_a_folder_that_nobody_serves_and_an_earlier_state(tmp_path: Path) -> None:
    file = tmp_path / "backup.nbr"
    with Served(tmp_path, {"notes": NOTES}) as backend:
        fill(backend)
        before = backend.call("query", "notes:everything")
        ts = backend.fetch("/api/admin/status", admin=True)["durable_ts"]
        backend.call("mutation", "notes:write", n=1, text="later")
    said = nbreactive("backup", backend.data, file, "--json")
    assert int(said["timestamp"]) > int(ts)
    nbreactive("restore", file, tmp_path / "then" / "data", "--to-ts", ts, "--json")
    with Served(tmp_path / "then", {"notes": NOTES}) as backend:
        assert backend.call("query", "notes:everything") == before
    refused = nbreactive("restore", file, tmp_path / "never", "--to-ts", int(said["timestamp"]) + 1, status=1)
    assert "holds the states from" in refused and not (tmp_path / "never").exists()
    assert "is not empty" in nbreactive("restore", file, tmp_path / "then" / "data", status=1)
    empty = tmp_path / "empty"
    empty.mkdir()
    nbreactive("restore", file, empty)
    assert (empty / "format").read_text() == f"{DATA_FORMAT}\n"


def same(file: Path, wanted: dict[str, bytes]) -> bool:
    """Whether all that is in an archive is as it should be."""
    try:
        with zipfile.ZipFile(file) as archive:
            return {name: archive.read(name) for name in wanted} == wanted
    except (zipfile.BadZipFile, zlib.error, EOFError):
        return False


def test_a_damaged_backup_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "backup.nbr"
    with Served(tmp_path, {"notes": NOTES}) as backend:
        fill(backend)
    nbreactive("backup", backend.data, file)
    whole = file.read_bytes()
    with zipfile.ZipFile(file) as archive:
        parts = archive.infolist()
        assert [part.filename for part in parts] == ["cursor.key", "log/000001.bin", "manifest.json"]
        wanted, refused = {part.filename: archive.read(part) for part in parts}, 0
    ends = [part.header_offset for part in parts[1:]] + [archive.start_dir]
    contents = [(end - part.compress_size, part.compress_size) for part, end in zip(parts, ends, strict=True)]
    for place in [begin + size * tenth // 10 for begin, size in contents for tenth in range(10)]:
        broken = bytearray(whole)
        broken[place] ^= 0x40
        file.write_bytes(broken)
        if same(file, wanted):  # what is said twice may be taken from either place
            continue
        refused += 1
        said = nbreactive("restore", file, tmp_path / "restored", status=1)
        assert "backup" in said and "Traceback" not in said
        assert not list(tmp_path.glob("*restor*"))
    assert refused > 24
    file.write_bytes(whole[: len(whole) // 2])
    assert "cut short" in nbreactive("restore", file, tmp_path / "restored", status=1)
    file.write_bytes(whole)
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("manifest.json", json.dumps({"format": "nbreactive-backup", "version": 3, "nbreactive": "9"}))
    assert "version 3" in nbreactive("restore", file, tmp_path / "restored", status=1)
    (tmp_path / "no.zip").write_text("no")
    assert "not a backup" in nbreactive("restore", tmp_path / "no.zip", tmp_path / "restored", status=1)


@pytest.mark.parametrize("served", [True, False])
def test_cursors_of_pages_go_on_after_a_restore(tmp_path: Path, served: bool) -> None:
    file, backend = tmp_path / "backup.nbr", Served(tmp_path, {"notes": NOTES})

    def page(of: Served, cursor: str | None) -> Any:
        return of.call("query", "notes:page", opts={"numItems": 5, "cursor": cursor})

    with backend:
        fill(backend)
        first = page(backend, None)
        second = page(backend, first["continueCursor"])
        if served:
            nbreactive("backup", backend.url, file, "--admin-key", KEY)
    if not served:
        nbreactive("backup", backend.data, file)
    nbreactive("restore", file, tmp_path / "then" / "data")
    assert (tmp_path / "then" / "data" / "cursor.key").stat().st_mode & 0o777 == 0o600
    with Served(tmp_path / "then", {"notes": NOTES}) as restored:
        assert page(restored, first["continueCursor"])["page"] == second["page"] != []


def test_a_backup_asks_for_the_admin_key(tmp_path: Path) -> None:
    with Served(tmp_path, {"notes": NOTES}) as backend:
        fill(backend, 3)
        target = tmp_path / "b"
        assert "admin key" in nbreactive("backup", backend.url, target, status=1)
        assert "wrong" in nbreactive("backup", backend.url, target, "--admin-key", "guessed", status=1)
        assert not list(tmp_path.glob("b*.part")) and not target.exists()
        assert nbreactive("backup", backend.url, target, "--admin-key", KEY, "--json")["documents"] > 0
        assert decode_id(backend.call("query", "notes:everything")[0]["_id"])[0] > 10_000


def test_a_folder_that_is_no_data_folder_stays_none_and_costs_no_backup(tmp_path: Path) -> None:
    folder, backup = tmp_path / "papers", tmp_path / "good"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine", "utf-8")
    backup.write_bytes(b"the backup of yesterday")
    for command in (
        ["backup", folder, backup],
        ["doctor", folder],
        ["data", "--at", folder],
        ["export", tmp_path / "all.zip", "--at", folder],
    ):
        assert "is not a data folder: there is no log in it" in nbreactive(*command, status=1)
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]
    assert backup.read_bytes() == b"the backup of yesterday"
