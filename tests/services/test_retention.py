"""Bar 6, with 100,000 updates: little is left, nobody notices, and a kill at any moment loses nothing."""

from __future__ import annotations

import http.client
import os
import random
import shutil
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from nbreactive.client.client import Client
from nbreactive.client.target import Target
from nbreactive.errors import InvalidValue
from nbreactive.services.retention import seconds_of
from tests.cli.test_backup import nbreactive
from tests.served import KEY, SECONDS, Served

RECORDS = """
from nbreactive import mutation, query

@mutation
def begin(ctx, many: int):
    for number in range(many):
        ctx.db.insert("records", {"number": number, "revision": 0, "body": ""})
    ctx.db.insert("totals", {"count": 0})

@mutation
def update(ctx, revision: int, letters: int):
    for doc in ctx.db.query("records").collect():
        words = (f"{doc['number']} says {revision} again, " * (letters // 16 + 1))[:letters]
        ctx.db.patch(doc["_id"], {"revision": revision, "body": words})

@mutation
def swap(ctx, number: int):
    doc = ctx.db.query("records").first()
    ctx.db.delete(doc["_id"])
    ctx.db.insert("records", {"number": number, "revision": 0, "body": "new"})

@mutation
def add(ctx):
    total = ctx.db.query("totals").unique()
    ctx.db.patch(total["_id"], {"count": total["count"] + 1})
    return total["count"] + 1

@query
def count(ctx):
    return ctx.db.query("totals").unique()["count"]

@query
def everything(ctx):
    return [ctx.db.query("records").collect(), ctx.db.query("totals").collect()]
"""


def trim(backend: Served, keep: str | None = "0s") -> Any:
    report = backend.fetch("/api/admin/retention", {"keep": keep}, admin=True)
    assert "seconds" in report, report
    return report


def sizes(data: Path) -> dict[str, int]:
    patterns = {"log": "log/*.log", "index": "index/data.mdb", "store": "store.duckdb*"}
    return {name: sum(path.stat().st_size for path in data.glob(pattern)) for name, pattern in patterns.items()}


class Writers:
    """One session that adds one again and again, and one that watches; each answer is checked."""

    def __init__(self, backend: Served) -> None:
        target = {"base": backend.url, "headers": {"Authorization": f"Convex {KEY}"}}
        self.clients = [Client(Target(**target), patience=SECONDS) for _ in range(2)]  # type: ignore[arg-type]
        self.problems: list[str] = []
        self.count = 0
        self.seen: list[int] = []
        self.watcher = self.clients[1].live("records:count", {})
        self.watcher.observe(lambda change: self.seen.append(change["new"]), "value")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def _write(self) -> None:
        while not self._stop.is_set():
            try:
                answer = self.clients[0].call("records:add", {})
            except Exception as error:  # noqa: BLE001 - whatever reaches a client here is the finding
                self.problems.append(repr(error))
                return
            self.count += 1
            if answer != self.count:
                self.problems.append(f"the addition {self.count} was answered with {answer}")

    def reach(self, count: int) -> None:
        deadline = time.monotonic() + SECONDS
        while self.count < count and not self.problems:
            assert time.monotonic() < deadline, "nothing is written any more"
            time.sleep(0.001)

    def finish(self) -> None:
        self._stop.set()
        self._thread.join(SECONDS)
        deadline = time.monotonic() + SECONDS
        while self.watcher.value != self.count and time.monotonic() < deadline:
            time.sleep(0.01)
        value = self.watcher.value
        for client in self.clients:
            client.close()
        assert not self.problems
        assert value == self.count
        assert self.seen == sorted(self.seen)  # after a new connection the same count may be told again


@contextmanager
def writing(backend: Served) -> Generator[Writers]:
    writers = Writers(backend)
    try:
        yield writers
    finally:
        writers.finish()


def test_a_hundred_thousand_updates_leave_what_a_thousand_documents_need(tmp_path: Path) -> None:
    with Served(tmp_path, {"records": RECORDS}) as backend:
        backend.call("mutation", "records:begin", many=1000)
        with writing(backend) as writers:
            for revision in range(1, 101):
                backend.call("mutation", "records:update", revision=revision, letters=1000)
            during = writers.count
            before = sizes(backend.data)
            report = trim(backend)
            writers.reach(during + 20)
        assert report["versions"] > 99_000
        assert report["log_after"] < report["log_before"] / 20
        again = trim(backend)  # what was written meanwhile
        wanted = backend.call("query", "records:everything")
        live = 1000 * 1000
        left = sizes(backend.data)
        assert before["log"] > 50 * live
        assert left["log"] < 1.5 * live and again["horizon"] > report["horizon"]
        assert nbreactive("doctor", backend.data, "--admin-key", KEY, "--json")["healthy"]
        backend.stop()
        assert sizes(backend.data)["store"] < 1.5 * live
        backend.start()
        assert backend.call("query", "records:everything") == wanted
        # From the log alone: it still has everything
        backend.stop()
        shutil.rmtree(backend.data / "index")
        (backend.data / "store.duckdb").unlink()
        backend.start()
        assert backend.call("query", "records:everything") == wanted
        assert len(backend.fetch("/api/admin/history", admin=True)["deploys"]) == 1
    assert nbreactive("doctor", backend.data, "--json")["healthy"]


def test_files_are_below_three_times_the_documents(tmp_path: Path) -> None:
    with Served(tmp_path, {"records": RECORDS}) as backend:
        backend.call("mutation", "records:begin", many=1000)
        for revision in range(1, 11):
            backend.call("mutation", "records:update", revision=revision, letters=6000)
        trim(backend)
        trim(backend)
        backend.stop()
        shutil.rmtree(backend.data / "index")  # a minute of versions is in it, which goes by and by
        backend.start()
        assert sum(sizes(backend.data).values()) < 3 * 1000 * 6000


def test_killed_in_the_middle_of_retention_nothing_is_lost_and_nothing_doubled(tmp_path: Path) -> None:
    choose = random.Random(6)
    with Served(tmp_path, {"records": RECORDS}) as backend:
        backend.call("mutation", "records:begin", many=300)
        with writing(backend) as writers:
            for round_ in range(8):
                for revision in range(1, 6):
                    backend.call("mutation", "records:update", revision=revision + round_ * 10, letters=2000)
                    backend.call("mutation", "records:swap", number=1000 + revision + round_ * 10)
                asked = threading.Thread(target=_ask, args=(backend,))
                asked.start()
                writers.reach(writers.count + choose.randrange(1, 40))
                backend.kill()
                asked.join(SECONDS)
                backend.start()
                writers.reach(writers.count + 1)
        wanted = backend.call("query", "records:everything")
        assert len(wanted[0]) == 300
        trim(backend)
        assert nbreactive("doctor", backend.data, "--admin-key", KEY, "--json")["healthy"]
        backend.stop()
        assert not list(backend.data.rglob("*.new"))
        shutil.rmtree(backend.data / "index")
        (backend.data / "store.duckdb").unlink()
        backend.start()
        assert backend.call("query", "records:everything") == wanted


def _ask(backend: Served) -> None:
    with suppress(OSError, http.client.HTTPException):  # it is killed meanwhile
        trim(backend)


def test_what_is_old_is_told_by_its_timestamps_and_not_by_those_of_files(tmp_path: Path) -> None:
    with Served(tmp_path, {"records": RECORDS}) as backend:
        backend.call("mutation", "records:begin", many=100)
        for _ in range(3):
            for revision in range(10):
                backend.call("mutation", "records:update", revision=revision, letters=500)
            for path in backend.data.glob("log/*.log"):
                os.utime(path, (1 << 32, 1 << 32))  # as where a folder was copied, or just rewritten
            report = trim(backend)
            assert report["log_after"] < report["log_before"] / 4
            assert sizes(backend.data)["log"] < 400_000


def test_what_a_process_that_was_killed_has_left_is_removed(tmp_path: Path) -> None:
    with Served(tmp_path, {"records": RECORDS}) as backend:
        backend.call("mutation", "records:begin", many=10)
        left = backend.data / "log" / f"{0:020d}.log.0123456789abcdef.new"
        left.write_bytes(b"half")
        trim(backend)
        assert not left.exists()
        left.write_bytes(b"half")
        backend.kill()
        backend.start()
        assert not left.exists()


def test_old_copies_of_the_index_and_of_the_store_are_not_continued(tmp_path: Path) -> None:
    backend = Served(tmp_path, {"records": RECORDS})
    with backend:
        backend.call("mutation", "records:begin", many=20)
        backend.call("mutation", "records:update", revision=1, letters=50)
    shutil.copytree(backend.data, tmp_path / "old")
    with backend:
        for number in range(10):
            backend.call("mutation", "records:swap", number=100 + number)
        trim(backend)
        wanted = backend.call("query", "records:everything")
    for name in ("index/data.mdb", "index/marker.json", "store.duckdb"):
        (backend.data / name).write_bytes((tmp_path / "old" / name).read_bytes())  # the inode stays: it is believed
    with backend:
        # The deletions that they would have to repeat are not in the log any more
        assert backend.call("query", "records:everything") == wanted
        assert nbreactive("doctor", backend.data, "--admin-key", KEY, "--json")["healthy"]
    assert list(backend.data.glob("store.duckdb.damaged-*"))


def test_by_default_nothing_young_goes(tmp_path: Path) -> None:
    with Served(tmp_path, {"records": RECORDS}) as backend:
        backend.call("mutation", "records:begin", many=5)
        backend.call("mutation", "records:update", revision=1, letters=50)
        report = trim(backend, None)
        assert report["versions"] == 0 and report["log_before"] == report["log_after"]
        assert "not a time" in backend.fetch("/api/admin/retention", {"keep": "-1d"}, admin=True)["message"]


@pytest.mark.parametrize(("text", "seconds"), [("0s", 0), ("90", 90), ("1.5h", 5400), ("2w", 1_209_600)])
def test_times(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds
    for wrong in ("", "d", "-1d", "1y", "nan", "inf"):
        with pytest.raises(InvalidValue, match="14d"):
            seconds_of(wrong)
