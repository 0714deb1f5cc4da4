"""An action that runs, and the process that it runs in, as the backend sees them."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from nbreactive.engine.transactions import Call, Outcome
from nbreactive.runtime._link import Link
from nbreactive.runtime.frames import Answer, Ask, RequestHead

_FULL: Final = 256
_BLOCKED_SECONDS: Final = 1.0

Answerer = Callable[[Ask], Awaitable[Answer]]
"""Does what an action asks for."""


class Exchange(Protocol):
    """The other side of an HTTP action: who asked, and gets the response."""

    head: RequestHead

    def opened(
        self, send: Callable[[bytes, bool], None], took: Callable[[int], None], stop: Callable[[], None]
    ) -> None:
        """The action has begun: how it is sent the request's body, told what was taken of its own, and stopped."""
        ...

    def received_head(self, status: int, headers: list[tuple[str, str]]) -> None:
        """Status and headers of the response."""
        ...

    def received(self, data: bytes, end: bool) -> None:
        """A piece of the response's body."""
        ...

    def taken(self, size: int) -> None:
        """The action has read so many bytes of the request's body."""
        ...


class RunningAction:
    """One that runs."""

    __slots__ = ("answer", "asking", "call", "exchange", "future", "timer")

    def __init__(
        self, call: Call, future: asyncio.Future[Outcome], answer: Answerer, exchange: Exchange | None
    ) -> None:
        self.call = call
        self.future = future
        self.answer = answer
        self.exchange = exchange
        self.asking: set[asyncio.Task[None]] = set()
        self.timer: asyncio.TimerHandle | None = None

    def finish(self, outcome: Outcome) -> None:
        """Tell whoever waits for it, once."""
        if self.timer is not None:
            self.timer.cancel()
        if not self.future.done():
            self.future.set_result(outcome)


class ActionHost:
    """One process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.link: Link
        self.running: dict[int, RunningAction] = {}
        self.ready = False
        """Whether it has imported the code."""
        self.heard = 0.0
        self.retired = False
        self.gone = False
        """Whether it was seen to have ended, though its socket has not."""
        self.stopping: set[int] = set()
        """Actions that were told to stop, and nobody waits for."""

    def fit(self, now: float) -> bool:
        """Whether it can take one more action."""
        responsive = not self.ready or not self.running or now - self.heard < _BLOCKED_SECONDS
        return not self.retired and responsive and len(self.running) < _FULL
