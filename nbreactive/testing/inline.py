"""Functions in the test's own process, so that debuggers stop in them and coverage sees them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from typing import Final, TextIO

import msgspec

from nbreactive.engine.row_index import Reader, RowIndex
from nbreactive.engine.transactions import Call, Outcome
from nbreactive.errors import Unavailable
from nbreactive.functions import Function
from nbreactive.functions.specs import Bundle, Manifest
from nbreactive.runtime.action_host import Host
from nbreactive.runtime.action_pool import Answerer
from nbreactive.runtime.frames import (
    ACT,
    ANSWER,
    ASK,
    BEAT,
    BODY,
    HEAD,
    REPLY,
    TAKEN,
    Act,
    Ask,
    Body,
    Head,
    Parser,
    Reply,
    Select,
    Selection,
    Taken,
    encode,
)
from nbreactive.runtime.inline import InlineExecutor
from nbreactive.runtime.loader import Program
from nbreactive.testing.fetching import Exchange

_ask: Final = msgspec.msgpack.Decoder(Ask)
_reply: Final = msgspec.msgpack.Decoder(Reply)
_head: Final = msgspec.msgpack.Decoder(Head)
_body: Final = msgspec.msgpack.Decoder(Body)
_taken: Final = msgspec.msgpack.Decoder(Taken)


class InlineFunctions:
    """Queries and mutations: what the worker pool is to the engine and the deployer.

    Parameters
    ----------
    index
        What they read.
    functions
        Functions of the system that are there besides.
    """

    def __init__(self, index: RowIndex, functions: Mapping[str, Function]) -> None:
        self._index = index
        self._functions = functions
        self.cursor_key = os.urandom(32)
        self.select: Callable[[Call, Select], Selection] | None = None
        """Runs their SQL."""
        self._prepared: dict[int, InlineExecutor] = {}
        self._readers: list[Reader] = []
        self._current = self._load(Bundle(0, ()))

    @property
    def manifest(self) -> Manifest:
        """What is deployed."""
        return self._current.manifest

    @property
    def program(self) -> Program:
        """The imported modules."""
        return self._current.program

    def _load(self, bundle: Bundle) -> InlineExecutor:
        self._readers.append(self._index.reader())
        made = InlineExecutor(bundle, self._readers[-1], cursor_key=self.cursor_key, functions=self._functions)
        made.select = self._select
        return made

    def _select(self, call: Call, asked: Select) -> Selection:
        if self.select is None:
            raise Unavailable("the test's backend is still starting")
        return self.select(call, asked)

    def close(self) -> None:
        """Let go of the index."""
        for reader in self._readers:
            reader.close()

    async def prepare(self, bundle: Bundle) -> Manifest:
        """Import a bundle."""
        self._prepared[bundle.version] = self._load(bundle)
        return self._prepared[bundle.version].manifest

    async def activate(self, version: int) -> None:
        """Nothing has to be started."""

    def switch(self, version: int) -> None:
        """Run everything from now on in that version."""
        self._current = self._prepared.get(version, self._current)

    def drop(self, version: int) -> None:
        """Forget a version."""
        self._prepared.pop(version, None)

    async def run(self, call: Call, *, urgent: bool = False) -> Outcome:
        """Run a call."""
        return await self._current.run(call, urgent=urgent)


class InlineActions:
    """Actions, in the host that runs them in production, but in this process.

    Parameters
    ----------
    program
        Gives the imported modules.
    clock
        What time it is for them, in ns.
    """

    def __init__(self, program: Callable[[], Program], clock: Callable[[], int]) -> None:
        self._program = program
        self._clock = clock
        self._host: tuple[Program, Host] | None = None
        self._parser = Parser(frozenset({ASK, REPLY, BEAT, HEAD, BODY, TAKEN}))
        self._running: dict[int, tuple[asyncio.Future[Outcome], Answerer, Exchange | None]] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._numbers = 0
        self._streams: tuple[TextIO, TextIO] = sys.stdout, sys.stderr

    async def run(
        self,
        call: Call,
        answer: Answerer,
        tables: dict[int, str],
        env: dict[str, str],
        exchange: Exchange | None = None,
    ) -> Outcome:
        """Run an action to its end."""
        program = self._program()
        if self._host is None or self._host[0] is not program:
            host = Host(program, self._received, production=False, clock=self._clock)
            self._host = program, host
        self._numbers += 1
        number, future = self._numbers, asyncio.get_running_loop().create_future()
        if not self._running:
            self._streams = sys.stdout, sys.stderr
        self._running[number] = future, answer, exchange
        receive = self._host[1].receive
        try:
            receive(ACT, encode(Act(number, call, tables, env, exchange.head if exchange is not None else None)))
            if exchange is not None:
                exchange.opened(
                    lambda data, end: receive(BODY, encode(Body(number, data, end))),
                    lambda size: receive(TAKEN, encode(Taken(number, size))),
                    lambda: None,
                )
            return await future
        finally:
            del self._running[number]
            if not self._running:
                sys.stdout, sys.stderr = self._streams  # the host has put its own there

    def _received(self, data: bytes) -> None:
        for kind, body in self._parser.feed(data):
            if kind == REPLY:
                reply = _reply.decode(body)
                future, _, _ = self._running[reply.number]
                if not future.done():
                    future.set_result(reply.outcome)
            elif kind == ASK:
                task = asyncio.get_running_loop().create_task(self._answer(_ask.decode(body)))
                self._answering.add(task)
                task.add_done_callback(self._answering.discard)

            elif kind == HEAD:
                head = _head.decode(body)
                self._exchange(head.call).received_head(head.status, head.headers)
            elif kind == BODY:
                piece = _body.decode(body)
                self._exchange(piece.call).received(piece.data, piece.end)
            elif kind == TAKEN:
                taken = _taken.decode(body)
                self._exchange(taken.call).taken(taken.size)

    def _exchange(self, number: int) -> Exchange:
        exchange = self._running[number][2]
        assert exchange is not None
        return exchange

    async def _answer(self, ask: Ask) -> None:
        assert self._host is not None
        _, answer, _ = self._running[ask.call]
        host = self._host[1]
        host.receive(ANSWER, encode(await answer(ask)))

    async def close(self) -> None:
        """Cancel what runs."""
        if self._host is not None:
            await self._host[1].stop()
