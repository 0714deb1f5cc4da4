"""Vector search through kills, refusing disks, damaged files, retention and restore: never a wrong result."""

from __future__ import annotations

import contextlib
import random
import threading
import time
import urllib.error
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_backup import nbreactive
from tests.crash.test_disk import Failing
from tests.engine.vector_model import Row, agree
from tests.served import KEY, Served

MODULE = """
import random

from nbreactive import define_schema, define_table, mutation, query, v

schema = define_schema({
    "docs": define_table({"e": v.array(v.number()), "lang": v.string()})
        .vector_index("near", vector_field="e", dimensions=6, filter_fields=["lang"]),
})


@mutation
def churn(ctx, seed: int, adds: int, changes: int, drops: int):
    choose = random.Random(seed)
    ids = [document["_id"] for document in ctx.db.query("docs").take(1500)]
    for _ in range(adds):
        e = [choose.gauss(0, 1) for _ in range(choose.choice((6, 6, 6, 6, 5)))]
        ctx.db.insert("docs", {"e": e, "lang": choose.choice(("ko", "ja", "en"))})
    for id in choose.sample(ids, min(changes, len(ids))):
        ctx.db.patch(id, {"e": [choose.gauss(0, 1) for _ in range(6)]})
    for id in choose.sample(ids, min(drops, len(ids))):
        if ctx.db.get(id):
            ctx.db.delete(id)


@query
def look(ctx, e: list[float], limit: int, lang: str | None = None):
    found = ctx.db.query("docs").nearest("near", e, limit=limit, filter=(lambda q: q.eq("lang", lang)) if lang else None)
    documents = [[document["_id"], document["e"], document["lang"]] for document in ctx.db.query("docs")]
    return {"near": [[document["_score"], document["_id"]] for document in found], "docs": documents}
"""


def answered(backend: Served, **args: Any) -> dict[str, Any]:
    """A search, as soon as its index is there (again)."""
    deadline = time.monotonic() + 60
    while True:
        answer = backend.ask("query", "m:look", **args)
        if answer.get("status") == "success":
            return answer["value"]
        assert "is being built" in answer["errorMessage"], answer
        assert time.monotonic() < deadline, "waited for too long"
        time.sleep(0.02)


def check(backend: Served, choose: random.Random) -> int:
    """Compare some searches with all documents of the same moment; returns how many there are."""
    many = 0
    for lang in (None, "ko"):
        e = [choose.gauss(0, 1) for _ in range(6)]
        seen = answered(backend, e=e, limit=7, lang=lang)
        rows = [Row(id, vector, {}) for id, vector, its in seen["docs"] if lang in (None, its)]
        assert agree(seen["near"], rows, e, 7)
        many = len(seen["docs"])
    return many


def churn(backend: Served, choose: random.Random, **how: int) -> bool:
    with contextlib.suppress(OSError, urllib.error.URLError, RuntimeError, ValueError):
        backend.call(
            "mutation", "m:churn", seed=choose.randrange(1 << 30), **({"adds": 6, "changes": 4, "drops": 3} | how)
        )
        return True
    return False


def write_until(backend: Served, seed: int, over: threading.Event) -> None:
    choose = random.Random(seed)
    while not over.is_set():
        churn(backend, choose)


@pytest.mark.slow
def test_searches_are_right_after_kills_and_with_damaged_files(tmp_path: Path) -> None:
    choose = random.Random(11)
    backend = Served(tmp_path, {"m": MODULE}).start()
    made = 0
    try:
        for _ in range(6):
            churn(backend, choose, adds=200)
        for round_number in range(8):
            over = threading.Event()
            writer = threading.Thread(target=write_until, args=(backend, round_number, over))
            writer.start()
            for _ in range(choose.randrange(1, 4)):
                check(backend, choose)
            backend.kill()
            over.set()
            writer.join()
            if round_number % 2:
                file = choose.choice(sorted((backend.data / "index" / "vectors").iterdir()))
                file.write_bytes(file.read_bytes()[: choose.randrange(1, 4000)])
                made += 1
            backend.start()
            assert check(backend, choose) > 500
            assert churn(backend, choose)
            check(backend, choose)
        assert made
    finally:
        backend.stop()


@pytest.mark.slow
def test_searches_are_right_while_the_disk_refuses(tmp_path: Path) -> None:
    choose = random.Random(12)
    backend = Failing(tmp_path, 5)
    (backend.functions / "m.py").write_text(MODULE)
    backend.start()
    try:
        assert churn(backend, choose, adds=300)
        for mode in ("flaky", "full", "flaky"):
            backend.control.write_text(mode)
            done = [churn(backend, choose) for _ in range(15)]
            check(backend, choose)
            backend.control.write_text("")
            assert mode == "flaky" or not all(done)
            assert churn(backend, choose)
            check(backend, choose)
    finally:
        backend.stop()


@pytest.mark.slow
def test_vectors_come_back_with_a_backup_and_outlive_retention(tmp_path: Path) -> None:
    choose = random.Random(13)
    with Served(tmp_path / "one", {"m": MODULE}) as backend:
        for _ in range(6):
            assert churn(backend, choose, adds=100, changes=60, drops=20)
        backend.fetch("/api/admin/retention", {"keep": "0s"}, admin=True)
        before = check(backend, choose)
        nbreactive("backup", backend.data, tmp_path / "all.backup", "--admin-key", KEY, "--json")
    with backend:
        assert check(backend, choose) == before
    restored = Served(tmp_path / "two", {"m": MODULE})
    nbreactive("restore", tmp_path / "all.backup", restored.data, "--json")
    with restored:
        assert check(restored, choose) == before
        assert churn(restored, choose)
        check(restored, choose)


@pytest.mark.slow
def test_a_deploy_fills_an_index_and_workers_are_still_forked(tmp_path: Path) -> None:
    choose = random.Random(14)
    plain = MODULE.replace('.vector_index("near", vector_field="e", dimensions=6, filter_fields=["lang"])', "")
    backend = Served(tmp_path, {"m": plain}).start()
    try:
        for _ in range(5):
            assert churn(backend, choose, adds=300)
        (backend.functions / "m.py").write_text(MODULE)
        deadline = time.monotonic() + 60
        while "near" not in str(backend.fetch("/api/admin/tables", admin=True)):
            churn(backend, choose)
            assert time.monotonic() < deadline, "waited for too long"
        assert check(backend, choose) > 1000
        assert backend.fetch("/api/admin/status", admin=True)["workers"]["method"] == "fork"
    finally:
        backend.stop()
