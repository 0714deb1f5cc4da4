"""Ends of a connection, or of the backend, in chosen phases of a mutation."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from tests.conformance.programs import Program
from tests.conformance.proxy import SECONDS, Passing, Proxy, Verdict, wait_until
from tests.served import Served

Phase = Literal[
    "before it is received", "while it runs", "committed but unanswered", "answered, but its transition unsent"
]
PHASES: tuple[Phase, ...] = Phase.__args__  # type: ignore[attr-defined]


class Once:
    """Cuts at the first message of which ``when`` is true, and does ``then`` at that moment."""

    def __init__(self, when: Callable[[Passing], bool], then: Callable[[], object] = lambda: None) -> None:
        self._when, self._then = when, then
        self.done = threading.Event()

    def __call__(self, passing: Passing) -> Verdict:
        if self.done.is_set() or not self._when(passing):
            return Verdict.PASS
        self._then()
        self.done.set()
        return Verdict.CUT


def mutate_through(
    client: Program, proxy: Proxy, backend: Served, phase: Phase, text: str, folder: Path, *, kill: bool
) -> object:
    """Call ``add`` with ``text``, ended in ``phase``: the backend by SIGKILL, or only the connection; the answer."""
    if phase == "while it runs":
        return _while_it_runs(client, proxy, backend, text, folder / "pipe", kill=kill)
    answered: list[Passing] = []

    def when(passing: Passing) -> bool:
        if phase == "before it is received":
            return passing.type == "Mutation"
        if phase == "committed but unanswered":
            return passing.type == "MutationResponse"
        if passing.type == "MutationResponse":
            answered.append(passing)
        return bool(answered) and passing.type == "Transition"

    proxy.judge = once = Once(when, backend.kill if kill else lambda: None)
    number = client.send("mutation", "conform:add", {"text": text})
    assert once.done.wait(SECONDS), proxy.seen[-10:]
    if kill:
        backend.start()
    return client.next(number)


def _while_it_runs(client: Program, proxy: Proxy, backend: Served, text: str, pipe: Path, *, kill: bool) -> object:
    os.mkfifo(pipe)
    number = client.send("mutation", "conform:add_when_told", {"text": text, "pipe": str(pipe)})
    # It can be opened for writing, without waiting, only while somebody reads: the function runs.
    writing = open_when_read(pipe)
    if kill:
        backend.kill()
    else:
        proxy.cut()
    os.close(writing)
    pipe.unlink()
    pipe.touch()  # whoever runs it again need not wait
    if kill:
        backend.start()
    answer = client.next(number)
    pipe.unlink()
    return answer


def open_when_read(pipe: Path) -> int:
    """Wait until somebody reads from ``pipe``; the other end, which they wait for."""
    return wait_until(lambda: _open_to_write(pipe), "the function runs")


def _open_to_write(pipe: Path) -> int | None:
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None
