"""The alarm: once for many calls, at the time that was asked for last, and not when it is off."""

from __future__ import annotations

import asyncio

from nbreactive.services.alarm import Alarm


def test_it_rings_once_however_often_it_is_asked_to() -> None:
    async def main() -> None:
        rung = asyncio.Queue[None]()
        alarm = Alarm(lambda: rung.put_nowait(None))
        alarm.soon()
        alarm.after(0)
        await asyncio.sleep(0.01)
        assert rung.empty()  # it was not started
        alarm.start()
        await rung.get()
        alarm.soon()
        alarm.soon()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert rung.qsize() == 1

    asyncio.run(main())


def test_a_new_time_takes_the_place_of_the_old_one_and_off_is_off() -> None:
    async def main() -> None:
        loop, rung = asyncio.get_running_loop(), asyncio.Queue[float]()
        alarm = Alarm(lambda: rung.put_nowait(loop.time()))
        alarm.start()
        await rung.get()
        alarm.after(3600)
        alarm.after(0.01)
        await asyncio.wait_for(rung.get(), 30)
        alarm.after(0.01)
        alarm.after(None)
        other = Alarm(lambda: rung.put_nowait(0.0))
        other.start()
        other.after(0)
        other.stop()
        await asyncio.sleep(0.05)
        assert rung.empty()
        assert not other.on

    asyncio.run(main())
