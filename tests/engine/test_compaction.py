from __future__ import annotations

import asyncio
import errno
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbreactive.engine.catalog import TABLES
from nbreactive.engine.compaction import CompactionJob, compact
from nbreactive.engine.entries import Entry, Request, decode_entry, encode_entry
from nbreactive.engine.feed import entries_after, position_of
from nbreactive.engine.files import Disk, FileSystem
from nbreactive.engine.segments import SegmentLog
from nbreactive.engine.transactions import Write
from nbreactive.errors import DataFolderError
from tests.engine.simulated_disk import SimulatedDisk

TABLE = 10_001
FOLDER = Path("/log")
ROOT = Path(__file__).parents[2]
State = dict[tuple[int, bytes], tuple[int, bytes]]


class History:
    """Commits, and the state at each of their timestamps."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.entries: list[Entry] = []
        self.states: dict[int, State] = {0: {}}

    @property
    def ts(self) -> int:
        return self.entries[-1].ts if self.entries else 0

    def commit(self) -> Entry:
        choose = self.random
        state = dict(self.states[self.ts])
        ts = self.ts + choose.randint(1, 3)
        writes: list[Write] = []
        for number in choose.sample(range(12), choose.randint(1, 4)):
            key = (TABLES if number == 0 else TABLE, bytes([number]) * 16)
            before = state.pop(key, None)
            doc = None if before and choose.random() < 0.3 else b"%d at %d" % (number, ts)
            writes.append(Write(*key, doc, before[0] if before else 0))
            if doc is not None:
                state[key] = (ts, doc)
        request = Request(b"w" * 16, b"s" * 16, ts, b"1") if choose.random() < 0.3 else None
        self.entries.append(Entry(ts, 0, writes, request))
        self.states[ts] = state
        return self.entries[-1]


def folded(entries: list[Entry], state: State | None = None) -> State:
    state = dict(state or {})
    for entry in entries:
        for write in entry.writes:
            state.pop((write.table, write.id), None)
            if write.doc is not None:
                state[write.table, write.id] = (entry.ts, write.doc)
    return state


async def filled(history: History, files: FileSystem, commits: int, folder: Path = FOLDER) -> SegmentLog:
    log = await SegmentLog.open(folder, files=files, segment_bytes=600)
    position = await log.tail()
    for _ in range(commits):
        done = await log.append(position, [encode_entry(history.commit())])
        position = done.position
    return log


async def everything(log: SegmentLog, after: int = 0) -> list[Entry]:
    return [decode_entry(data) async for batch in log.read(after) for data in batch.entries]


async def rewrite(log: SegmentLog, files: FileSystem, upto: int, requests_after: int = 0, bytes_: int = 700) -> None:
    for done in compact(files, CompactionJob(log.closed(), upto, requests_after, bytes_)):
        await log.compact(Path(done.draft), done.header)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 30), st.integers(1, 120), st.integers(0, 100), st.integers(100, 3000))
def test_the_state_at_and_after_the_horizon_is_the_same(seed: int, commits: int, percent: int, size: int) -> None:
    async def go() -> None:
        history, disk = History(seed), SimulatedDisk(seed)
        log = await filled(history, disk, commits)
        tail, wanted = await log.tail(), history.ts * percent // 100
        for upto in (wanted // 2, wanted):
            await rewrite(log, disk, upto, bytes_=size)
            assert log.horizon <= upto
            found = await everything(log)
            assert [entry.ts for entry in found] == sorted({entry.ts for entry in found})
            for entry in history.entries:
                if entry.ts >= log.horizon:
                    assert folded([e for e in found if e.ts <= entry.ts]) == history.states[entry.ts]
            # What is before the horizon has one version per document, none that is deleted, and all descriptions
            old = [write for entry in found if entry.ts <= log.horizon for write in entry.writes]
            documents = [(w.table, w.id) for w in old if w.table != TABLES]
            assert len(documents) == len(set(documents))
            assert all(write.doc is not None and not write.previous for write in old if write.table != TABLES)
            assert [w for w in old if w.table == TABLES] == [
                w for e in history.entries if e.ts <= log.horizon for w in e.writes if w.table == TABLES
            ]
            assert {e.ts for e in history.entries if e.request} == {e.ts for e in found if e.request}
            assert await log.tail() == tail
            for entry in history.entries:
                position = await position_of(log, entry.ts)
                behind = await everything(log, position)
                assert {e.ts for e in found if e.ts > entry.ts} <= {e.ts for e in behind}
        await log.close()
        again = await SegmentLog.open(FOLDER, files=disk, segment_bytes=600)
        assert await everything(again) == found
        assert (await again.tail(), again.horizon, again.compacted) == (tail, log.horizon, log.compacted)
        more = await filled(history, disk, 5)
        assert folded(await everything(more)) == history.states[history.ts]
        await more.close()
        await again.close()

    asyncio.run(go())


def test_records_of_old_requests_go_and_those_of_young_ones_stay() -> None:
    async def go() -> None:
        history, disk = History(3), SimulatedDisk()
        log = await filled(history, disk, 60)
        await rewrite(log, disk, history.ts, requests_after=30)
        assert log.horizon > 30
        asked = {entry.ts for entry in await everything(log) if entry.request}
        assert asked == {e.ts for e in history.entries if e.request and (e.ts > 30 or e.ts > log.horizon)}
        await log.close()

    asyncio.run(go())


def test_a_log_of_compact_segments_alone_is_continued() -> None:
    async def go() -> None:
        history, disk = History(1), SimulatedDisk()
        log = await filled(history, disk, 40)
        await log.roll()
        await log.roll()  # there is nothing in it: not again
        await rewrite(log, disk, history.ts)
        assert log.compacted == await log.tail() == 40
        last = FOLDER / f"{40:020d}.log"
        await log.close()
        disk.remove(last)  # nothing was in it
        log = await filled(history, disk, 3)
        assert await log.tail() == 43
        assert folded(await everything(log)) == history.states[history.ts]
        await log.close()

    asyncio.run(go())


def test_readers_go_on_while_segments_are_replaced() -> None:
    async def go() -> None:
        history, disk = History(8), SimulatedDisk()
        log = await filled(history, disk, 150)

        async def read() -> AsyncIterator[Entry]:
            last = 0
            async for batch in log.read():
                # Who goes on inside of a range that was rewritten is given some entries again
                for entry in map(decode_entry, batch.entries):
                    if entry.ts > last:
                        last = entry.ts
                        yield entry

        reader = read()
        seen = [await anext(reader) for _ in range(3)]
        for upto in range(20, history.ts, 15):
            await rewrite(log, disk, upto)
            seen.append(await anext(reader))
        seen += [entry async for entry in reader]
        assert [entry.ts for entry in seen] == sorted({entry.ts for entry in seen})
        assert seen[-1].ts == history.ts
        assert {e.ts for e in history.entries if e.ts > log.horizon} <= {e.ts for e in seen}
        await log.close()

    asyncio.run(go())


def test_whoever_has_part_of_what_was_dropped_is_told_to_begin_anew() -> None:
    async def go() -> None:
        history, disk = History(5), SimulatedDisk()
        log = await filled(history, disk, 80)
        following = entries_after(log, 0)
        first = (await anext(following))[0]
        await rewrite(log, disk, history.ts)
        with pytest.raises(DataFolderError, match="begin anew"):
            [entry async for entry in following]
        with pytest.raises(DataFolderError, match="begin anew"):
            await anext(entries_after(log, first.ts))
        whole = [entry async for entries in entries_after(log, 0) for entry in entries]
        assert folded(whole) == history.states[history.ts]
        late = [entry async for entries in entries_after(log, log.horizon) for entry in entries]
        assert folded(late, history.states[log.horizon]) == history.states[history.ts]
        await log.close()

    asyncio.run(go())


def broken_anywhere(seed: int, how: Callable[[SimulatedDisk, int], None]) -> int:
    """Let something happen at each call to the disk during a compaction, and look at what is left."""

    async def go(call: int) -> tuple[bool, int]:
        history, disk = History(seed), SimulatedDisk(seed + call)
        log = await filled(history, disk, 70)
        tail = await log.tail()
        before, broke = disk.calls, False
        how(disk, before + call)
        try:
            await rewrite(log, disk, history.ts - 20)
        except (OSError, DataFolderError):
            broke = True
        disk.fail.clear()
        calls = disk.calls - before
        after = disk.power_cut()
        await log.close()
        again = await SegmentLog.open(FOLDER, files=after, segment_bytes=600)
        assert await again.tail() == tail
        found = await everything(again)
        assert folded(found) == history.states[history.ts]
        for entry in history.entries:
            if entry.ts >= history.ts - 20:
                assert folded([e for e in found if e.ts <= entry.ts]) == history.states[entry.ts]
        assert not [name for name in after.names(FOLDER) if name.endswith(".new")]
        await rewrite(again, after, history.ts)
        assert folded(await everything(again)) == history.states[history.ts]
        await again.close()
        return broke, calls

    _, calls = asyncio.run(go(1_000_000))
    return sum(asyncio.run(go(call))[0] for call in range(1, calls + 1))


def test_a_disk_that_fails_at_any_call_and_a_power_cut_then_lose_nothing() -> None:
    def fail(disk: SimulatedDisk, call: int) -> None:
        disk.fail[call] = errno.EIO

    # Files that cannot be removed do not count: they are found later
    assert broken_anywhere(11, fail) > 20


def test_two_processes_never_write_to_the_same_draft() -> None:
    async def go() -> None:
        history, disk = History(3), SimulatedDisk()
        log = await filled(history, disk, 60)
        left_over = compact(disk, CompactionJob(log.closed(), history.ts, 0))
        first = next(left_over)
        await rewrite(log, disk, history.ts)
        assert Path(first.draft) in disk.inodes
        assert folded(await everything(log)) == history.states[history.ts]
        await log.close()
        again = await SegmentLog.open(FOLDER, files=disk)
        assert Path(first.draft) not in disk.inodes
        await again.close()

    asyncio.run(go())


def test_a_process_that_rewrites_ends_with_its_backend(tmp_path: Path) -> None:
    log = asyncio.run(filled(History(4), Disk(), 5000, tmp_path))
    job = CompactionJob(log.closed(), 1 << 62, 0)
    asyncio.run(log.close())
    command = [sys.executable, "-m", "nbreactive.engine._compaction_worker"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        out, _ = process.communicate(msgspec.json.encode(job) + b"\n")
        assert (process.returncode, out) == (1, b"")


@pytest.mark.slow
def test_killed_at_any_moment_of_a_rewrite_nothing_is_lost(tmp_path: Path) -> None:
    choose = random.Random(2)

    async def check(history: History) -> int:
        log = await SegmentLog.open(tmp_path, segment_bytes=600)
        assert folded(await everything(log)) == history.states[history.ts]
        horizon = log.horizon
        await log.close()
        return horizon

    history = History(21)
    stopped_within = 0
    for _ in range(12):
        log = asyncio.run(filled(history, Disk(), 300, tmp_path))
        asyncio.run(log.close())
        command = [sys.executable, "-m", "tests.engine.log_rewriter", str(tmp_path), str(history.ts - 10)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for _ in range(choose.randint(1, 12)):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
            stopped_within += b"done\n" not in process.stdout.read()
        asyncio.run(check(history))
    assert stopped_within, "no round was killed within a rewrite"
