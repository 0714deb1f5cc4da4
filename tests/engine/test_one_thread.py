from __future__ import annotations

import asyncio
import threading

import pytest

from nbreactive.engine._one_thread import OneThread


def test_work_is_done_in_order_in_one_thread_and_answers_with_results_and_errors() -> None:
    async def main() -> None:
        thread = OneThread("test")
        done: list[int] = []
        names = await asyncio.gather(
            *(thread.run(lambda n=n: (done.append(n), threading.current_thread().name)[1]) for n in range(20))
        )
        assert done == list(range(20))
        assert set(names) == {"test"}
        with pytest.raises(ZeroDivisionError):
            await thread.run(lambda: 1 // 0)
        assert await thread.run(lambda: "still there") == "still there"
        thread.end()

    asyncio.run(main())


def test_work_is_done_even_if_nobody_waits_and_after_the_loop_has_gone() -> None:
    thread = OneThread("test")
    go, reached = threading.Event(), threading.Event()

    async def main() -> None:
        given_up = thread.run(go.wait)
        given_up.cancel()
        thread.run(reached.set)

    asyncio.run(main())
    go.set()
    assert reached.wait(10)
    thread.end()
