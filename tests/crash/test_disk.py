"""Bar 4b: whatever the disk refuses, nobody ever saw it; a full disk is said clearly and ends when there is room."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
from pathlib import Path

import pytest
import tornado.websocket

from tests.served import KEY, Served

NOTES = """
from nbreactive import AppError, define_schema, define_table, mutation, query, v

schema = define_schema({"notes": define_table({"number": v.integer()}).index("by_number", ["number"])})

def numbers(ctx):
    return [row["number"] for row in ctx.db.query("notes")]

@mutation
def note(ctx, number: int):
    ctx.db.insert("notes", {"number": number})
    return numbers(ctx)

@query
def all_numbers(ctx):
    return numbers(ctx)

@query
def printed(ctx):
    print("numbers", numbers(ctx))
    return 0

@query
def thrown(ctx):
    raise AppError({"numbers": numbers(ctx)})
"""


class Failing(Served):
    """A backend on a disk that fails as the control file says."""

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(folder, {"notes": NOTES})
        self.control = folder / "control"
        self.seed = seed

    def command(self) -> list[str]:
        command = [sys.executable, "-m", "tests.crash.failing_backend", str(self.functions), str(self.data)]
        return [*command, str(self.port), KEY, str(self.control), str(self.seed)]


class Onlooker:
    """Everything that anybody was shown, by whichever door."""

    def __init__(self, backend: Failing) -> None:
        self.backend = backend
        self.seen: set[int] = set()
        self.doors: set[str] = set()
        self.problems: list[str] = []
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self._read), threading.Thread(target=self._watch)]
        for thread in self.threads:
            thread.start()

    def note(self, door: str, numbers: list[int]) -> None:
        """Remember what a door showed."""
        if numbers:
            self.doors.add(door)
        self.seen.update(numbers)

    def _read(self) -> None:
        try:
            while not self.stop.is_set():
                self.note("reader", self.backend.ask("query", "notes:all_numbers").get("value", []))
                printed = self.backend.ask("query", "notes:printed").get("logLines", [])
                self.note("log", [int(found) for line in printed for found in re.findall(r"\d+", line)])
                thrown = self.backend.ask("query", "notes:thrown")
                self.note("error", (thrown.get("errorData") or {"numbers": []})["numbers"])
        except Exception as error:  # noqa: BLE001 - reads must go on whatever the disk does
            self.problems.append(repr(error))

    def _watch(self) -> None:
        asyncio.run(self._subscribe())

    async def _subscribe(self) -> None:
        socket = await tornado.websocket.websocket_connect(self.backend.url.replace("http", "ws", 1) + "/api/sync")
        hello = {"type": "Connect", "sessionId": "6b0c7a52-4a3b-4c0e-8a35-3b7f5f7e8a12", "connectionCount": 0}
        await socket.write_message(json.dumps({**hello, "lastCloseReason": "InitialConnect", "clientTs": 0}))
        added = [{"type": "Add", "queryId": 0, "udfPath": "notes:all_numbers", "args": [{}]}]
        await socket.write_message(
            json.dumps({"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": added})
        )
        while not self.stop.is_set():
            try:
                async with asyncio.timeout(0.2):
                    message = await socket.read_message()
            except TimeoutError:
                continue
            if not isinstance(message, str):
                self.problems.append("the subscriber's socket was closed")
                return
            for update in json.loads(message).get("modifications", []):
                self.note("subscriber", [int(number) for number in update.get("value", [])])
        socket.close()

    def close(self) -> None:
        """Stop looking."""
        self.stop.set()
        for thread in self.threads:
            thread.join(20)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_nobody_sees_what_a_failing_disk_did_not_keep(tmp_path: Path, seed: int) -> None:
    backend = Failing(tmp_path, seed).start()
    acknowledged: set[int] = set()
    refusals: list[str] = []
    onlooker = Onlooker(backend)

    def write(first: int) -> None:
        for number in range(first, first + 60):
            answer = backend.ask("mutation", "notes:note", number=number)
            if answer["status"] == "success":
                acknowledged.add(number)
                onlooker.note("result", answer["value"])
            else:
                refusals.append(answer["errorMessage"])

    try:
        backend.control.write_text("flaky")
        writers = [threading.Thread(target=write, args=(1000 * number,)) for number in range(1, 5)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(120)
        backend.control.unlink()
        onlooker.close()
        assert not onlooker.problems, onlooker.problems
        assert refusals, "the disk never failed: this test shows nothing"
        assert onlooker.doors == {"reader", "log", "error", "subscriber", "result"}

        kept = set(backend.ask("query", "notes:all_numbers")["value"])
        backend.kill()
        backend.start()
        after = set(backend.ask("query", "notes:all_numbers")["value"])
        assert after == kept
        assert acknowledged <= after, "an acknowledged write is gone"
        assert onlooker.seen <= after, f"shown, but not kept: {sorted(onlooker.seen - after)}"
    finally:
        onlooker.close()
        backend.stop()


def test_a_full_disk_is_said_clearly_and_ends_when_there_is_room(tmp_path: Path) -> None:
    with Failing(tmp_path, 0) as backend:
        assert backend.ask("mutation", "notes:note", number=1)["status"] == "success"
        backend.control.write_text("full")
        refused = backend.ask("mutation", "notes:note", number=2)
        assert refused["status"] == "error"
        assert re.search(r"full|no space|read.only", refused["errorMessage"], re.IGNORECASE), refused
        assert backend.ask("query", "notes:all_numbers")["value"] == [1]
        backend.control.unlink()
        assert backend.ask("mutation", "notes:note", number=3)["value"] == [1, 3]
