"""Actions, as the backend sees them: calls in, outcomes out, and in between what they ask for.

Actions run in hosts (:mod:`nbreactive.runtime.action_host`), processes that run many at a time. One host is enough as
long as its event loop answers; a host whose loop is blocked (an ``async def`` that computes or waits the wrong way) or
that is full gets no more of them, and another one is started. An action that is over its time is told to stop and its
caller is answered; a host in which something goes on that nobody waits for gets no new actions and is ended when the
others in it are through. A deploy does the same to all hosts. Nothing is ever run twice.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from typing import Any, Final

import msgspec

from nbreactive.engine.transactions import Call, Failure, Outcome
from nbreactive.errors import FunctionCrashed, FunctionTimeout, Overloaded, Unavailable
from nbreactive.runtime import _processes
from nbreactive.runtime._link import Link
from nbreactive.runtime.action_handles import ActionHost, Answerer, Exchange, RunningAction
from nbreactive.runtime.frames import (
    ACT,
    ANSWER,
    ASK,
    BEAT,
    BODY,
    CANCEL,
    HEAD,
    IMPORTED,
    IMPORTING,
    LOADED,
    READY,
    REPLY,
    SETUP,
    TAKEN,
    Act,
    Answer,
    Ask,
    Body,
    Cancel,
    Head,
    Reply,
    Setup,
    Taken,
    encode,
    frame,
)
from nbreactive.runtime.verdicts import problem_of
from nbreactive.values.limits import ACTION_SECONDS, CONCURRENT_OPERATIONS

_FROM_HOST: Final = frozenset({LOADED, READY, REPLY, ASK, BEAT, HEAD, BODY, TAKEN, IMPORTING, IMPORTED})
_MOST_HOSTS: Final = 8
_GRACE_SECONDS: Final = 5.0
"""For an action that was told to stop, before it counts as one that goes on."""
_CLOSING_SECONDS: Final = 2.0
_WATCH_SECONDS: Final = 0.5

_reply = msgspec.msgpack.Decoder(Reply)
_ask = msgspec.msgpack.Decoder(Ask)
_head = msgspec.msgpack.Decoder(Head)
_body = msgspec.msgpack.Decoder(Body)
_taken = msgspec.msgpack.Decoder(Taken)


class ActionPool:
    """The hosts of one deployment.

    Parameters
    ----------
    seconds
        How long an action may run.
    """

    def __init__(self, *, seconds: float = ACTION_SECONDS) -> None:
        self._seconds = seconds
        self._setup: Setup | None = None
        self._hosts: set[ActionHost] = set()
        self._numbers = 0
        self._ending: set[asyncio.Task[None]] = set()
        self._closing = False
        self._watching: asyncio.TimerHandle | None = None
        self._counts = {"calls": 0, "timeouts": 0, "crashes": 0}

    def use(self, setup: Setup, *, start: bool) -> None:
        """From now on, new actions run in this version of the code; ``start`` a host before the first one comes."""
        self._setup = setup
        for host in list(self._hosts):
            self._retire(host)
        if start and not self._closing:
            self._start()

    def run(
        self,
        call: Call,
        answer: Answerer,
        tables: dict[int, str],
        env: dict[str, str],
        exchange: Exchange | None = None,
    ) -> asyncio.Future[Outcome]:
        """Start an action; its failures are in the outcome.

        Raises
        ------
        Overloaded, Unavailable
            It was not started.
        """
        loop = asyncio.get_running_loop()
        host = self._host()
        self._numbers += 1
        number = self._numbers
        action = RunningAction(call, loop.create_future(), answer, exchange)
        if not host.running:
            host.heard = time.monotonic()
        host.running[number] = action
        self._counts["calls"] += 1
        action.timer = loop.call_later(self._seconds, self._timeout, host, number)
        head = exchange.head if exchange is not None else None
        host.link.send(frame(ACT, encode(Act(number, call, tables, env, head))))
        if exchange is not None:
            exchange.opened(
                lambda data, end: host.link.send(frame(BODY, encode(Body(number, data, end)))),
                lambda size: host.link.send(frame(TAKEN, encode(Taken(number, size)))),
                lambda: self._abandon(host, number),
            )
        return action.future

    def _abandon(self, host: ActionHost, number: int) -> None:
        if number in host.running and number not in host.stopping:
            self._stop(host, number, Unavailable("whoever asked is gone"))

    # ---- hosts -------------------------------------------------------------------------------------------

    def _host(self) -> ActionHost:
        if self._setup is None or self._closing:
            raise Unavailable("actions cannot run now: the backend is starting or stopping; try again in a moment")
        now = time.monotonic()
        fit = [host for host in self._hosts if host.fit(now) and not _processes.has_ended(host.process)]
        if fit:
            return min(fit, key=lambda host: len(host.running))
        usable = [host for host in self._hosts if not host.retired]
        if len(usable) >= _MOST_HOSTS:
            running = sum(len(host.running) for host in usable)
            raise Overloaded(f"{running} actions are running already; try again in a moment")
        return self._start()

    def _start(self) -> ActionHost:
        assert self._setup is not None
        process, sock = _processes.start("nbreactive.runtime.action_host")
        host = ActionHost(process)
        host.link = Link(
            sock,
            _FROM_HOST,
            lambda kind, body: self._received(host, kind, body),
            lambda error: self._ended(host, error),
        )
        host.link.send(frame(SETUP, encode(self._setup)))
        self._hosts.add(host)
        if self._watching is None:
            self._watching = asyncio.get_running_loop().call_later(_WATCH_SECONDS, self._watch)
        return host

    def _watch(self) -> None:
        """Look for hosts that are gone but whose socket is not: what an action has forked holds it, too."""
        for host in [host for host in self._hosts if _processes.has_ended(host.process)]:
            if host.gone:
                self._ended(host, None)
            host.gone = True  # what it has said before its end is read first
        again = bool(self._hosts) and not self._closing
        self._watching = asyncio.get_running_loop().call_later(_WATCH_SECONDS, self._watch) if again else None

    def _received(self, host: ActionHost, kind: int, body: bytes) -> None:
        host.heard = time.monotonic()
        try:
            if kind == READY:
                host.ready = True
            elif kind == REPLY:
                self._replied(host, _reply.decode(body))
            elif kind == ASK:
                self._asked(host, _ask.decode(body))
            elif kind in (HEAD, BODY, TAKEN):
                self._exchanged(host, kind, body)
        except (msgspec.MsgspecError, ValueError) as error:
            host.link.fail(error)

    def _replied(self, host: ActionHost, reply: Reply) -> None:
        problem = problem_of(reply.outcome)
        if problem:
            raise ValueError(problem)
        action = host.running.pop(reply.number, None)
        if action is None:
            raise ValueError(f"a reply to action {reply.number}, which does not run")
        host.stopping.discard(reply.number)
        action.finish(reply.outcome)
        if reply.recycle:
            self._retire(host)
        self._settle(host)

    def _asked(self, host: ActionHost, ask: Ask) -> None:
        action = host.running.get(ask.call)
        if action is None:
            return  # It has been answered meanwhile, because it was over its time.
        if len(action.asking) > 2 * CONCURRENT_OPERATIONS:
            raise ValueError("more questions at once than an action may ask")

        async def answer() -> None:
            try:
                answered = await action.answer(ask)
            except asyncio.CancelledError:
                stopping = Unavailable("the backend is stopping; what became of this is unknown")
                answered = Answer(ask.number, failure=Failure(stopping.code, stopping.message))
            host.link.send(frame(ANSWER, encode(answered)))

        task = asyncio.get_running_loop().create_task(answer())
        action.asking.add(task)
        task.add_done_callback(action.asking.discard)

    def _exchanged(self, host: ActionHost, kind: int, body: bytes) -> None:
        message = _head.decode(body) if kind == HEAD else _body.decode(body) if kind == BODY else _taken.decode(body)
        action = host.running.get(message.call)
        if action is None or action.exchange is None or message.call in host.stopping:
            return  # nobody waits for it any more
        if isinstance(message, Head):
            action.exchange.received_head(message.status, message.headers)
        elif isinstance(message, Body):
            action.exchange.received(message.data, message.end)
        else:
            action.exchange.taken(message.size)

    def _timeout(self, host: ActionHost, number: int) -> None:
        self._counts["timeouts"] += 1
        path = host.running[number].call.path
        self._stop(
            host,
            number,
            FunctionTimeout(
                f"{path} took more than {self._seconds:g} s and was stopped; what mutations it ran have written stays."
                " Do the work in pieces that schedule each other (ctx.scheduler.run_after)"
            ),
        )

    def _stop(self, host: ActionHost, number: int, error: FunctionTimeout | Unavailable) -> None:
        """Answer the caller of an action, and tell the action to end."""
        action = host.running[number]
        action.finish(_failed(error, action.call))
        host.stopping.add(number)
        host.link.send(frame(CANCEL, encode(Cancel(number, error.message))))
        asyncio.get_running_loop().call_later(_GRACE_SECONDS, self._stopped, host, number)

    def _stopped(self, host: ActionHost, number: int) -> None:
        if number in host.stopping and host in self._hosts:
            self._retire(host)

    def _retire(self, host: ActionHost) -> None:
        host.retired = True
        self._settle(host)

    def _settle(self, host: ActionHost) -> None:
        """End a retired host as soon as nobody waits for anything in it."""
        if host.retired and host in self._hosts and host.running.keys() <= host.stopping:
            self._dispose(host)

    def _dispose(self, host: ActionHost) -> None:
        self._hosts.discard(host)
        host.link.close()
        task = asyncio.get_running_loop().create_task(_end(host.process))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _ended(self, host: ActionHost, error: Exception | None) -> None:
        if host not in self._hosts:
            return
        running, host.running = host.running, {}
        self._dispose(host)
        if running:
            self._counts["crashes"] += 1
            task = asyncio.get_running_loop().create_task(self._tell(host, running, error))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _tell(self, host: ActionHost, running: dict[int, RunningAction], error: Exception | None) -> None:
        await _processes.wait_for_end(host.process)
        _processes.kill(host.process)
        host.process.wait()
        fate = (
            f"sent what is not part of the protocol ({error})"
            if error
            else _processes.describe_exit(host.process.returncode)
        )
        others = f"; {len(running) - 1} other actions ran in it" if len(running) > 1 else ""
        for action in running.values():
            crashed = FunctionCrashed(
                f"the process that ran {action.call.path} ended ({fate}{others}); actions are not repeated, and what"
                " mutations it ran have written stays"
            )
            action.finish(_failed(crashed, action.call))

    # ---- the end -----------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Tell all actions to end, give them a moment, and end the hosts."""
        self._closing = True
        if self._watching is not None:
            self._watching.cancel()
        stopping = Unavailable("the backend is stopping; the action was stopped on its way and is not repeated")
        for host in self._hosts:
            for number in list(host.running):
                self._stop(host, number, stopping)
        deadline = time.monotonic() + _CLOSING_SECONDS
        while any(host.running for host in self._hosts):
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(0.01)
        for host in list(self._hosts):
            for action in host.running.values():
                for task in action.asking:
                    task.cancel()
            self._dispose(host)
        while self._ending:
            await asyncio.gather(*self._ending)

    def status(self) -> dict[str, Any]:
        """For people and for tests."""
        return {
            **self._counts,
            "running": sum(len(host.running) for host in self._hosts),
            "hosts": len(self._hosts),
            "pids": sorted(host.process.pid for host in self._hosts),
        }


def _failed(error: FunctionTimeout | FunctionCrashed | Unavailable, call: Call) -> Outcome:
    message = f"[Request ID: {call.request_id}] Server Error\n{error.message}"
    return Outcome(failure=Failure(error.code, message), kind="action")


async def _end(process: subprocess.Popen[bytes]) -> None:
    """Give a process whose socket is closed a moment, then kill it and what it has started."""
    await _processes.wait_for_end(process, 0.5)
    _processes.kill(process)
    await _processes.wait_for_end(process)
    process.wait()
