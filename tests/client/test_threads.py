"""The thread that runs what the user gave us."""

from __future__ import annotations

import threading
import time

from nbreactive.client.threads import CallbackThread


def test_settling_does_what_waits_for_its_time_and_what_follows_from_it() -> None:
    thread, done = CallbackThread(), list[str]()
    assert thread.settle(0.0)  # nothing waits

    def first() -> None:
        done.append("first")
        thread.post_later(60, "second", lambda: done.append("second"), settles=True)

    thread.post_later(60, "first", first, settles=True)
    thread.post_later(60, "patient", lambda: done.append("patient"))
    assert thread.settle(10)
    assert done == ["first", "second"]


def test_what_was_dropped_does_not_hurry_what_is_put_off_anew() -> None:
    thread, done = CallbackThread(), list[str]()
    for drop in (lambda: thread.forget("a"), lambda: thread.settle(10)):
        thread.post_later(0.2, "a", lambda: done.append("early"), settles=True)
        drop()
        done.clear()
        thread.post_later(60, "a", lambda: done.append("late"))
        time.sleep(0.4)
        assert done == []
        thread.forget("a")


def test_settling_waits_for_what_is_under_way_and_not_for_ever() -> None:
    thread, go, ended = CallbackThread(), threading.Event(), list[bool]()
    thread.post("slow", lambda: ended.append(go.wait(30)))
    begun = time.monotonic()
    assert not thread.settle(0.05)
    assert time.monotonic() - begun < 5
    go.set()
    assert thread.settle(30)
    assert ended == [True]


def test_a_stream_without_end_does_not_hold_up() -> None:
    thread, settled = CallbackThread(), threading.Event()

    def draw() -> None:
        if not settled.is_set():
            thread.post_later(0.001, "draw", draw, settles=True)

    thread.post("draw", draw)
    assert not thread.settle(30)
    settled.set()
