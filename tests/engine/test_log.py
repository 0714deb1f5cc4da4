from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbreactive.engine.clock import SystemClock
from nbreactive.engine.entries import Entry, Request, decode_entry, encode_entry
from nbreactive.engine.log import Faults, MemoryLog, MemoryNode
from nbreactive.engine.transactions import Write
from nbreactive.errors import DataFolderError, InvalidValue, ReadOnly


def test_entries_survive_the_log() -> None:
    writes = [Write(10_001, b"i" * 16, b"doc", 3), Write(10_001, b"j" * 16, None, 2)]
    for entry in (Entry(4, 1, writes), Entry(5, 0, [], Request(b"w" * 16, b"s" * 16, 7, b"null"))):
        assert decode_entry(encode_entry(entry)) == entry
    with pytest.raises(DataFolderError, match="cannot be decoded"):
        decode_entry(b"\xc1")


def test_the_system_clock_is_the_system_clock() -> None:
    clock = SystemClock()
    assert abs(clock.now_ns() - time.time_ns()) < 60 * 10**9
    assert clock.monotonic() <= clock.monotonic()


def test_only_the_expected_tail_is_appended_to() -> None:
    async def main() -> None:
        log = MemoryLog()
        one, two = log.node(), log.node()
        waiting = asyncio.create_task(two.watch(0))
        assert (await one.append(0, [b"a"])).status == "ok"
        done = await two.append(0, [b"b"])
        assert (done.status, done.position) == ("tail", 1)
        assert (await two.append(1, [b"b", b"c"])).position == 2
        assert [batch.entries async for batch in one.read(0)] == [[b"a"], [b"b", b"c"]]
        assert await waiting >= 1
        assert await log.trim(1) == 1
        with pytest.raises(DataFolderError, match="begins after position 1"):
            [batch async for batch in one.read(0)]
        assert [batch.position async for batch in log.read(1)] == [2]
        with pytest.raises(InvalidValue):
            await log.append(2, [])
        assert await log.seal() == await log.tail() == await log.watch(0) == 2
        with pytest.raises(ReadOnly, match="sealed"):
            await one.append(2, [b"d"])
        await log.close()

    asyncio.run(main())


def test_a_crashed_node_never_answers_again() -> None:
    async def main() -> None:
        log = MemoryLog(faults=Faults(delay=3))
        node = log.node()
        calls = [asyncio.create_task(node.append(0, [b"a"])), asyncio.create_task(node.watch(5))]
        await asyncio.sleep(0)
        node.crash()
        calls.append(asyncio.create_task(node.tail()))
        done, pending = await asyncio.wait(calls, timeout=0.05)
        assert not done
        for call in pending:
            call.cancel()
        assert (await log.append(await log.tail(), [b"b"])).status == "ok"

    asyncio.run(main())


@given(
    seed=st.integers(0, 1 << 30),
    faults=st.builds(
        Faults,
        refuse=st.sampled_from([0.0, 0.2]),
        unknown=st.sampled_from([0.0, 0.3]),
        late=st.sampled_from([0.0, 0.5, 1.0]),
        delay=st.integers(0, 3),
    ),
)
@settings(max_examples=150, deadline=None)
def test_three_nodes_agree_on_what_was_acknowledged(seed: int, faults: Faults) -> None:
    async def engine(name: str, node: MemoryNode, mine: list[bytes]) -> None:
        known = 0
        for number in range(8):
            entry = f"{name}{number}".encode()
            for _ in range(50):
                try:
                    done = await node.append(known, [entry])
                except ReadOnly:
                    continue
                if done.status == "unknown":
                    await node.tail()
                    behind = [batch async for batch in node.read(known)]
                    if behind and behind[0].entries == [entry]:
                        known, done = known + 1, None
                    else:
                        known += len(behind)
                        continue
                else:
                    known = done.position
                if done is None or done.status == "ok":
                    mine.append(entry)
                    break

    async def run() -> list[list[bytes]]:
        log = MemoryLog(seed, faults)
        acknowledged: list[list[bytes]] = [[], [], []]
        await asyncio.gather(*(engine("abc"[n], log.node(), acknowledged[n]) for n in range(3)))
        found = [entry async for batch in log.read() for entry in batch.entries]
        assert sorted(found) == sorted(entry for mine in acknowledged for entry in mine)
        for mine in acknowledged:
            assert [entry for entry in found if entry in mine] == mine
        return [found, *acknowledged]

    assert asyncio.run(run()) == asyncio.run(run())  # the seed decides everything
