"""The mutations and actions that one connection has asked for: how many at once, and in which order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial

from nbreactive.errors import Overloaded
from nbreactive.server import messages as wire
from nbreactive.server.calls import Answer, Calls
from nbreactive.server.identity import Caller

_WINDOW = 64
"""Mutations of one session that are in the engine at once."""


class SessionMutations:
    """Mutations, which go to the engine in the order in which they came, a window of them at a time.

    Parameters
    ----------
    most
        How many may wait to run or to be answered.
    answered
        Called with each answer.
    lost
        Called when what became of one is unknown.

    Attributes
    ----------
    running
        How many are in the engine.
    in_flight
        How many are not answered; whoever sends the answers counts it down.
    """

    def __init__(
        self,
        calls: Calls,
        most: int,
        answered: Callable[[wire.Mutation, Answer], None],
        lost: Callable[[Exception], None],
    ) -> None:
        self.running = 0
        self.in_flight = 0
        self._calls = calls
        self._most = most
        self._answered = answered
        self._lost = lost
        self._waiting: deque[tuple[wire.Mutation, Caller, bytes | None]] = deque()

    def take(self, message: wire.Mutation, caller: Caller, session: bytes | None) -> None:
        """Run one after those before it."""
        if self.in_flight >= self._most:
            raise Overloaded(f"more than {self._most} mutations of one connection are waiting")
        self.in_flight += 1
        self._waiting.append((message, caller, session))
        self._start()

    def forget(self) -> None:
        """Forget those that have not started."""
        self.in_flight -= len(self._waiting)
        self._waiting.clear()

    def ended(self, *, at_once: bool = False) -> None:
        """The connection has ended, or is somebody else's from now on (``at_once``)."""
        self._calls.connection_ended(self, at_once=at_once)

    def _start(self) -> None:
        # The engine runs a session's mutations in the order in which they reach it, each as soon as the one before is
        # applied: submitting several lets them share a flush.
        while self._waiting and self.running < _WINDOW:
            message, caller, session = self._waiting.popleft()
            self.running += 1
            self._calls.begin_mutation(
                caller,
                message.udfPath,
                message.args,
                message.componentPath,
                session=session,
                number=message.requestId,
                connection=self,
                ended=partial(self._ended, message),
            )

    def _ended(self, message: wire.Mutation, end: Answer | Exception) -> None:
        self.running -= 1
        if isinstance(end, Answer):
            self._answered(message, end)
        else:
            self._lost(end)
        self._start()


class SessionActions:
    """Actions, which run beside everything else, in no order; they go on when the connection ends.

    Parameters
    ----------
    most
        How many may be under way.
    answered
        Called with each answer.
    """

    def __init__(self, calls: Calls, most: int, answered: Callable[[wire.Action, Answer], None]) -> None:
        self._calls = calls
        self._most = most
        self._answered = answered
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, message: wire.Action, caller: Caller) -> None:
        """Start one."""
        if len(self._tasks) >= self._most:
            raise Overloaded(f"more than {self._most} actions of one connection are under way")
        task = asyncio.create_task(self._run(message, caller))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, message: wire.Action, caller: Caller) -> None:
        self._answered(message, await self._calls.act(caller, message.udfPath, message.args, message.componentPath))
