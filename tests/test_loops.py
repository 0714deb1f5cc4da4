"""Loops of our own can watch sockets, on Windows as well, where those that asyncio would make cannot."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Iterator

import pytest

from nbreactive import _loops
from nbreactive.client.threads import LoopThread


class Proactor(asyncio.SelectorEventLoop):
    """What asyncio makes on Windows, in what concerns us."""

    def add_reader(self, *_: object) -> None:  # type: ignore[override]
        raise NotImplementedError


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(asyncio, "new_event_loop", Proactor)
    monkeypatch.setattr(asyncio.events, "new_event_loop", Proactor)
    monkeypatch.setattr(sys, "platform", "win32")
    return


async def hears() -> bytes:
    """What comes over a socket that is watched as those of workers are."""
    loop = asyncio.get_running_loop()
    here, there = socket.socketpair()
    with here, there:
        heard = loop.create_future()
        loop.add_reader(here, lambda: heard.done() or heard.set_result(here.recv(10)))
        there.send(b"hello")
        try:
            return await heard
        finally:
            loop.remove_reader(here)


def test_the_loop_of_a_backend(windows: None) -> None:
    with asyncio.Runner() as runner, pytest.raises(NotImplementedError):
        runner.run(hears())
    assert _loops.run_backend(hears()) == b"hello"


def test_the_loop_of_clients(windows: None) -> None:
    thread = LoopThread()
    try:
        assert thread.submit(hears()).result() == b"hello"
    finally:
        thread.loop.call_soon_threadsafe(thread.loop.stop)
        thread._thread.join()
        thread.loop.close()


def test_elsewhere_backends_run_on_uvloop() -> None:
    async def kind() -> str:
        return type(asyncio.get_running_loop()).__module__

    if sys.platform != "win32":
        assert _loops.run_backend(kind()).startswith("uvloop")
