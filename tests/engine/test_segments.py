from __future__ import annotations

import asyncio
import errno
import random
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbreactive.engine.files import Disk, DiskFile
from nbreactive.engine.log import Batch, CommitLog
from nbreactive.engine.segments import SegmentLog
from nbreactive.errors import DataFolderError, InvalidValue, ReadOnly
from tests.engine.simulated_disk import SimulatedDisk

FOLDER = Path("/log")


async def everything(log: CommitLog, after: int = 0) -> list[Batch]:
    return [batch async for batch in log.read(after)]


def on_disk(tmp_path: Path, work: Callable[[SegmentLog], Awaitable[None]], segment_bytes: int = 1 << 26) -> None:
    async def main() -> None:
        log = await SegmentLog.open(tmp_path, segment_bytes=segment_bytes)
        await work(log)
        await log.close()

    asyncio.run(main())


def batches(count: int, size: int = 40, start: int = 0) -> list[list[bytes]]:
    return [[bytes([number % 251 + 1]) * size, b"entry %d" % number] for number in range(start, start + count)]


async def append_all(log: SegmentLog, new: list[list[bytes]]) -> None:
    for batch in new:
        expected = await log.tail()
        done = await log.append(expected, batch)
        assert (done.status, done.position) == ("ok", expected + 1)


def test_appended_batches_are_read_back_from_any_position(tmp_path: Path) -> None:
    async def work(log: SegmentLog) -> None:
        await append_all(log, batches(300))
        for after in (0, 1, 63, 64, 65, 128, 298, 299, 300):
            found = await everything(log, after)
            assert [batch.entries for batch in found] == batches(300)[after:]
            assert [batch.position for batch in found] == list(range(after + 1, 301))

    on_disk(tmp_path, work, segment_bytes=4000)
    on_disk(tmp_path, lambda log: work_reopened(log, 300), segment_bytes=4000)
    assert len(list(tmp_path.glob("*.log"))) > 3


async def work_reopened(log: SegmentLog, count: int) -> None:
    assert await log.tail() == count
    assert [batch.entries for batch in await everything(log)] == batches(count)


def test_a_wrong_expected_position_writes_nothing(tmp_path: Path) -> None:
    async def work(log: SegmentLog) -> None:
        await append_all(log, batches(3))
        for expected in (0, 2, 4):
            assert await log.append(expected, [b"x"]) == (await log.append(expected, [b"y"]))
            done = await log.append(expected, [b"x"])
            assert (done.status, done.position) == ("tail", 3)
        first, second = await asyncio.gather(log.append(3, [b"a"]), log.append(3, [b"b"]))
        assert {first.status, second.status} == {"ok", "tail"}
        assert len(await everything(log)) == 4
        with pytest.raises(InvalidValue):
            await log.append(4, [])

    on_disk(tmp_path, work)


def test_watch_trim_and_seal(tmp_path: Path) -> None:
    async def work(log: SegmentLog) -> None:
        waiting = asyncio.create_task(log.watch(0))
        await asyncio.sleep(0)
        assert not waiting.done()
        await append_all(log, batches(100))
        assert await waiting >= 1
        assert await log.watch(42) == 100
        assert await log.trim(0) == 0
        first = await log.trim(60)
        assert 0 < first <= 60
        assert [batch.position for batch in await everything(log, first)] == list(range(first + 1, 101))
        with pytest.raises(DataFolderError, match=f"begins after position {first}"):
            await everything(log, 0)
        assert await log.trim(1000) < 100
        assert await log.seal() == 100
        with pytest.raises(ReadOnly, match="sealed"):
            await log.append(100, [b"x"])

    async def sealed(log: SegmentLog) -> None:
        with pytest.raises(ReadOnly, match="sealed"):
            await log.append(await log.tail(), [b"x"])

    on_disk(tmp_path, work, segment_bytes=1000)
    on_disk(tmp_path, sealed, segment_bytes=1000)


def test_zeros_lie_ahead_while_it_is_open_and_are_gone_when_it_is_closed(tmp_path: Path) -> None:
    async def work(log: SegmentLog) -> None:
        await append_all(log, batches(100))
        *closed, last = sorted(tmp_path.glob("*.log"))
        assert closed
        assert not any(path.read_bytes().endswith(b"\0") for path in closed)
        before = last.read_bytes()
        assert before.endswith(bytes(1000))
        expected = await log.tail()
        await log.append(expected, [b"more"])
        assert last.stat().st_size == len(before)  # what a flush need not change
        # as a killed process leaves it
        left = tmp_path / "left"
        left.mkdir()
        for path in (*closed, last):
            (left / path.name).write_bytes(path.read_bytes())
        again = await SegmentLog.open(left)
        assert await again.tail() == expected + 1
        assert [batch.entries for batch in await everything(again)] == [*batches(100), [b"more"]]
        await again.close()

    on_disk(tmp_path, work, segment_bytes=2000)
    assert not any(path.read_bytes().endswith(b"\0") for path in tmp_path.glob("*.log"))


def test_appends_leave_the_loop_when_the_disk_is_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[bool] = []
    took = 0.0
    sync = DiskFile.sync

    def slow(self: DiskFile) -> None:
        threads.append(threading.current_thread() is threading.main_thread())
        time.sleep(took)
        sync(self)

    async def work(log: SegmentLog) -> None:
        nonlocal took
        await append_all(log, batches(200))
        fast = any(threads)
        took = 0.02
        await append_all(log, batches(2, start=200))
        threads.clear()
        await append_all(log, batches(5, start=202))
        assert not any(threads)
        if not fast:
            pytest.skip("this machine's disk is too slow for appends on the loop")

    monkeypatch.setattr(DiskFile, "sync", slow)
    on_disk(tmp_path, work)


# ---- damage -----------------------------------------------------------------------------------------------------


def fill(tmp_path: Path, count: int, segment_bytes: int = 1 << 26) -> list[Path]:
    on_disk(tmp_path, lambda log: append_all(log, batches(count)), segment_bytes)
    return sorted(tmp_path.glob("*.log"))


async def expect(tmp_path: Path, count: int) -> int:
    """Reopen, check, append and reopen again; return what was cut."""
    log = await SegmentLog.open(tmp_path)
    cut = log.cut
    assert [batch.entries for batch in await everything(log)] == batches(count)
    await append_all(log, batches(2, start=count))
    await log.close()
    log = await SegmentLog.open(tmp_path)
    assert [batch.entries for batch in await everything(log)] == batches(count + 2)
    assert log.cut == 0
    await log.close()
    return cut


def test_a_tail_torn_at_any_byte_is_cut_off(tmp_path: Path) -> None:
    [path] = fill(tmp_path / "whole", 3)
    whole = path.read_bytes()
    ends = [20]
    for _ in range(3):
        ends.append(ends[-1] + 16 + int.from_bytes(whole[ends[-1] : ends[-1] + 4], "little"))
    assert ends[-1] == len(whole)
    for length in range(len(whole)):
        folder = tmp_path / str(length)
        folder.mkdir()
        (folder / path.name).write_bytes(whole[:length])
        count = sum(end <= length for end in ends[1:])
        cut = asyncio.run(expect(folder, count))
        assert cut == (length - max(end for end in ends if end <= length) if length >= 20 else 0)


@pytest.mark.parametrize("zeros", [1, 15, 16, 17, 4096, 1 << 20])
def test_a_tail_of_zeros_is_cut_off(tmp_path: Path, zeros: int) -> None:
    [path] = fill(tmp_path, 3)
    path.write_bytes(path.read_bytes() + bytes(zeros))
    assert asyncio.run(expect(tmp_path, 3)) == zeros


def test_a_segment_that_was_never_finished_is_dropped(tmp_path: Path) -> None:
    *_, last = fill(tmp_path, 30, 500)
    for rubbish in (b"", b"nbrlog1\n", bytes(4096)):
        (tmp_path / f"{30:020d}.log").write_bytes(rubbish)
        on_disk(tmp_path, lambda log: work_reopened(log, 30), 500)
        assert max(tmp_path.glob("*.log")) == last


def test_a_damaged_last_frame_is_a_torn_tail(tmp_path: Path) -> None:
    [path] = fill(tmp_path, 3)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    assert asyncio.run(expect(tmp_path, 2)) > 0


def test_a_flipped_bit_in_the_middle_is_refused_and_named(tmp_path: Path) -> None:
    [path] = fill(tmp_path, 4)
    whole = path.read_bytes()
    second_last = whole.rindex(b"entry 2")
    for at in range(second_last + 7):
        data = bytearray(whole)
        data[at] ^= 1 << (at % 8)
        path.write_bytes(data)
        with pytest.raises(DataFolderError, match=r"0\.log at offset \d+"):
            on_disk(tmp_path, lambda log: work_reopened(log, 4))
        assert path.read_bytes() == data


def test_damage_in_a_closed_segment_is_refused_when_read(tmp_path: Path) -> None:
    first, *_ = fill(tmp_path, 100, 1000)
    data = bytearray(first.read_bytes())
    data[-1] ^= 1
    first.write_bytes(data)
    with pytest.raises(DataFolderError, match=rf"{first.stem}\.log at offset"):
        on_disk(tmp_path, lambda log: work_reopened(log, 100), 1000)


def test_a_missing_segment_is_refused(tmp_path: Path) -> None:
    _, second, *_ = fill(tmp_path, 100, 1000)
    second.unlink()
    with pytest.raises(DataFolderError, match="the next file begins after"):
        on_disk(tmp_path, lambda log: work_reopened(log, 100), 1000)


def test_no_folder_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file")
    with pytest.raises(DataFolderError, match="cannot be opened"):
        on_disk(tmp_path / "log" / "deeper", append_nothing)


async def append_nothing(log: SegmentLog) -> None:
    await log.tail()


# ---- a failing disk ---------------------------------------------------------------------------------------------


async def run_on(disk: SimulatedDisk, count: int, heal: bool = True) -> tuple[list[list[bytes]], list[list[bytes]]]:
    """Append ``count`` batches whatever happens; return what was acknowledged, and what stayed in doubt."""
    acknowledged: list[list[bytes]] = []
    doubtful: list[list[bytes]] = []
    log = await SegmentLog.open(FOLDER, files=disk, segment_bytes=250)
    for batch in batches(count, size=20):
        expected = len(acknowledged)
        try:
            done = await log.append(expected, batch)
        except ReadOnly:
            continue
        if done.status == "unknown":
            with pytest.raises(ReadOnly, match="tail first"):
                await log.append(expected, batch)
            for _ in range(40):
                try:
                    tail = await log.tail()
                except ReadOnly:
                    continue
                if tail > expected:
                    with disk.quiet():
                        [found] = await everything(log, expected)
                    assert found.entries == batch
                    acknowledged.append(batch)
                break
            else:
                doubtful.append(batch)
                break
        else:
            assert done.status == "ok"
            acknowledged.append(batch)
    if heal:
        disk.fail, disk.always = {}, None
        assert not doubtful
        assert [batch.entries for batch in await everything(log)] == acknowledged
        done = await log.append(len(acknowledged), [b"there is room again"])
        assert done.status == "ok"
        acknowledged.append([b"there is room again"])
    await log.close()
    return acknowledged, doubtful


async def reopened(disk: SimulatedDisk) -> list[list[bytes]]:
    log = await SegmentLog.open(FOLDER, files=disk, segment_bytes=250)
    found = [batch.entries for batch in await everything(log)]
    await log.close()
    return found


def calls_of_a_quiet_run() -> tuple[int, int]:
    disk = SimulatedDisk()

    async def main() -> int:
        log = await SegmentLog.open(FOLDER, files=disk)
        calls = disk.calls
        await log.close()
        return calls

    opening = asyncio.run(main())
    disk = SimulatedDisk()
    asyncio.run(run_on(disk, 12, heal=False))
    return opening, disk.calls


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("length", [1, 2, 3, 4, 7])
def test_every_call_fails_once_and_nothing_acknowledged_is_lost(number: int, length: int) -> None:
    opening, calls = calls_of_a_quiet_run()
    kinds: set[str] = set()

    async def main() -> None:
        for first in range(opening + 1, calls + 1):
            for seed in range(2):
                disk = SimulatedDisk(seed)
                disk.fail = dict.fromkeys(range(first, first + length), number)
                acknowledged, _ = await run_on(disk, 12)
                kinds.update(disk.failed)
                assert await reopened(disk.power_cut()) == acknowledged
                assert await reopened(disk) == acknowledged

    asyncio.run(main())
    assert {"open", "write", "sync", "sync_folder"} <= kinds


@given(seed=st.integers(0, 1 << 30), rate=st.sampled_from([0.02, 0.1, 0.4]), count=st.integers(1, 15))
@settings(max_examples=150, deadline=None)
def test_random_failures_then_power_loss(seed: int, rate: float, count: int) -> None:
    random_ = random.Random(seed)
    disk = SimulatedDisk(seed)
    disk.fail = {call: random_.choice([errno.EIO, errno.ENOSPC]) for call in range(6, 400) if random_.random() < rate}

    async def main() -> None:
        acknowledged, _ = await run_on(disk, count)
        assert await reopened(disk.power_cut()) == acknowledged

    asyncio.run(main())


@given(seed=st.integers(0, 1 << 30), dies_at=st.integers(6, 60))
@settings(max_examples=150, deadline=None)
def test_power_loss_at_any_call(seed: int, dies_at: int) -> None:
    disk = SimulatedDisk(seed)
    disk.fail = dict.fromkeys(range(dies_at, 10_000), errno.EIO)

    async def main() -> None:
        acknowledged, doubtful = await run_on(disk, 12, heal=False)
        found = await reopened(disk.power_cut())
        assert found[: len(acknowledged)] == acknowledged
        # An append that failed for good is not there; one in doubt may be, and nothing else.
        assert found[len(acknowledged) :] in ([], doubtful)

    asyncio.run(main())


def test_a_full_disk_says_so_and_recovers() -> None:
    async def main() -> None:
        disk = SimulatedDisk()
        log = await SegmentLog.open(FOLDER, files=disk)
        await append_all(log, batches(2))
        disk.fail = {disk.calls + 1: errno.ENOSPC}
        with pytest.raises(ReadOnly, match="the disk is full: free some space"):
            await log.append(2, [b"x"])
        assert await log.tail() == 2
        await append_all(log, batches(1))
        disk.always = errno.EIO
        done = await log.append(3, [b"x"])
        assert done.status == "unknown"
        with pytest.raises(ReadOnly, match="drive's health"):
            await log.tail()
        disk.always = None
        assert await log.tail() in (3, 4)
        await log.close()

    asyncio.run(main())


def test_a_disk_that_cannot_be_read_is_named() -> None:
    async def main() -> None:
        disk = SimulatedDisk()
        log = await SegmentLog.open(FOLDER, files=disk)
        await append_all(log, batches(2))
        disk.always = errno.EIO
        with pytest.raises(DataFolderError, match="cannot be read"):
            await everything(log)
        disk.always = None
        await log.close()

    asyncio.run(main())


def test_the_real_disk_refuses_to_open_a_folder_as_a_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"irectory|denied"):
        Disk().open(tmp_path)


def test_a_segment_trimmed_under_a_reader_is_named(tmp_path: Path) -> None:
    async def work(log: SegmentLog) -> None:
        await append_all(log, batches(100))
        reading = log.read(0)
        assert (await anext(reading)).position == 1
        await log.trim(100)
        with pytest.raises(DataFolderError, match="begins after position"):
            async for _ in reading:
                pass

    on_disk(tmp_path, work, segment_bytes=1000)


def test_a_log_that_was_deleted_is_not_called_trimmed(tmp_path: Path) -> None:
    async def work(log: SegmentLog) -> None:
        await append_all(log, batches(2))
        next(tmp_path.glob("*.log")).unlink()
        with pytest.raises(DataFolderError, match="was deleted while the backend was running; restore"):
            await everything(log)

    on_disk(tmp_path, work)


def test_a_deleted_segment_takes_no_appends(tmp_path: Path) -> None:
    async def work(log: SegmentLog) -> None:
        await append_all(log, batches(2))
        segment = next(tmp_path.glob("*.log"))
        segment.unlink()
        for _ in range(2):
            with pytest.raises(ReadOnly, match="its files were deleted while the backend was running"):
                await log.append(2, [b"x"])
        segment.write_bytes(b"of another backend")
        with pytest.raises(ReadOnly):
            await log.append(2, [b"x"])
        assert segment.read_bytes() == b"of another backend" and await log.tail() == 2

    on_disk(tmp_path, work)


def test_looking_at_an_empty_folder_makes_nothing_in_it(tmp_path: Path) -> None:
    async def work(log: SegmentLog) -> None:
        assert await log.tail() == 0 and await log.trim(0) == 0 and await everything(log) == []
        assert not list(tmp_path.iterdir())

    on_disk(tmp_path, work)
    on_disk(tmp_path, lambda log: append_all(log, batches(3)))
    on_disk(tmp_path, lambda log: work_reopened(log, 3))


def test_what_is_missing_before_the_last_file_is_noticed_at_the_start(tmp_path: Path) -> None:
    def look() -> list[str]:
        found: list[str] = []

        async def work(log: SegmentLog) -> None:
            found.extend(log.gaps)

        on_disk(tmp_path, work, segment_bytes=200_000)
        return found

    async def fill(log: SegmentLog) -> None:
        for size in (300_000, 40, *[90_000] * 9, 40, 199_000, 40):  # also longer than what is read at first
            await append_all(log, [[bytes(size), b"\0"]])

    on_disk(tmp_path, fill, segment_bytes=200_000)
    names = sorted(path.name for path in tmp_path.glob("*.log"))
    assert len(names) >= 3
    kept = {name: (tmp_path / name).read_bytes() for name in names}
    assert look() == []
    for number, name in enumerate(names[:-1]):
        path = tmp_path / name
        for damage in (
            b"",
            kept[name][:5] + b"?" + kept[name][6:],
            kept[name][:-1],
            kept[name][: len(kept[name]) // 2],
        ):
            path.write_bytes(damage)
            (said,) = look()
            assert name in said
        path.unlink()
        (said,) = look()
        assert "are missing" in said and names[number - 1 if number else 1] in said
        path.write_bytes(kept[name] + bytes(5000))  # written ahead
        assert look() == []
        path.write_bytes(kept[name])
