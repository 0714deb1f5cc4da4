from __future__ import annotations

import asyncio

import pytest

from nbreactive.engine.gate import Gate, Lost
from nbreactive.errors import ReadOnly


def test_waits_until_durable() -> None:
    async def main() -> None:
        gate = Gate(10)
        await gate.release(gate.snapshot(10))
        waiting = [asyncio.ensure_future(gate.release(gate.snapshot(ts))) for ts in (11, 11, 12)]
        await asyncio.sleep(0)
        gate.advance(11)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [task.done() for task in waiting] == [True, True, False]
        gate.advance(12)
        await asyncio.gather(*waiting)
        assert not gate._waiting

    asyncio.run(main())


def test_rewound_snapshots_stay_lost_and_older_ones_stay_good() -> None:
    async def main() -> None:
        gate = Gate(10)
        kept, lost = gate.snapshot(10), gate.snapshot(11)
        waiting = asyncio.ensure_future(gate.release(lost))
        await asyncio.sleep(0)
        gate.rewound("the disk is full")
        with pytest.raises(ReadOnly, match="disk is full"):
            await waiting
        await gate.release(kept)
        # The same timestamp in the new epoch, by another engine, is another state.
        gate.advance(11)
        await gate.release(gate.snapshot(11))
        with pytest.raises(Lost) as caught:
            await gate.release(lost)
        assert not caught.value.again
        gate.rewound()
        assert gate.lost(lost)
        assert not gate.lost(gate.snapshot(11))

    asyncio.run(main())


def test_who_stops_waiting_does_not_stop_the_others() -> None:
    async def main() -> None:
        gate = Gate(0)
        first, second = (asyncio.ensure_future(gate.release(gate.snapshot(1))) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        gate.advance(1)
        await second

    asyncio.run(main())


def test_an_answer_that_cannot_be_given_keeps_nobody_from_theirs(caplog: pytest.LogCaptureFixture) -> None:
    def broken(lost: Lost | None) -> None:
        raise OSError(28, "No space left on device")

    gate = Gate(0)
    told: list[tuple[int, bool]] = []
    for ts in (1, 2, 3):
        gate.when(gate.snapshot(ts), broken)
        gate.when(gate.snapshot(ts), lambda lost, ts=ts: told.append((ts, lost is None)))
    gate.advance(1)
    gate.rewound("the disk is full")
    gate.advance(7)
    assert told == [(1, True), (2, False), (3, False)]
    assert caplog.text.count("an answer could not be given") == 3
