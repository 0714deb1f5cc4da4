"""Live queries of what is in no table: the backend answers them itself, all others are run by workers.

An answer says what it depends on, as every run of a query does: tables of the system, code, or a *topic*, which is a key that
nothing stores. Whoever knows that a topic has changed says so (:meth:`OwnAnswers.changed`), and its live queries run again,
shared and compared like any other. What nobody watches costs a set lookup.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from nbreactive.engine.catalog import BY_CREATION_TIME, BY_ID, FIRST_USER_TABLE, all_modules, index_id
from nbreactive.engine.read_set import WHOLE, ReadSetBuilder
from nbreactive.engine.row_index import Reader
from nbreactive.engine.transactions import Call, Executor, Outcome, Reads
from nbreactive.errors import NBReactiveError, Unavailable
from nbreactive.functions import bind
from nbreactive.functions.decorators import Function
from nbreactive.functions.specs import Visibility
from nbreactive.runtime.errors_of import failure_of
from nbreactive.runtime.lookup import find
from nbreactive.values.json import encode_json
from nbreactive.values.packing import unpack

if TYPE_CHECKING:
    from nbreactive.engine.engine import Engine

_TOPICS: Final = index_id(FIRST_USER_TABLE - 1, BY_ID)
"""The index of topics, in which nothing is: the last number that no table has."""
_PAUSE: Final = 0.25
"""Seconds between two runs because of one topic, however often it changes."""


class Asked:
    """One question, and what its answer depends on.

    Attributes
    ----------
    every
        Milliseconds after which it is asked again; 0: only when something has changed.
    """

    def __init__(self, args: dict[str, Any], call: Call, reader: Reader, topics: set[str]) -> None:
        self.args = args
        self.ts = call.snapshot
        self.reach: Visibility = call.reach
        self.reader = reader
        self.every = 0
        self.reads = ReadSetBuilder()
        self._topics = topics

    def about(self, topic: str) -> None:
        """Depend on a topic, from this moment on."""
        self._topics.add(topic)
        self.reads.add_point(_TOPICS, topic.encode())

    def table(self, number: int) -> None:
        """Depend on a whole table of the system."""
        self.reads.add(index_id(number, BY_CREATION_TIME), *WHOLE)
        self.reads.add(index_id(number, BY_ID), *WHOLE)

    def code(self) -> None:
        """Depend on what is deployed."""
        index, (low, high) = all_modules()
        self.reads.add(index, low, high)


Answer = Callable[[Asked], Awaitable[Any]]


class OwnAnswers:
    """Implements :class:`~nbreactive.engine.transactions.Executor`.

    Parameters
    ----------
    inner
        Runs all other calls.
    functions
        Names and arguments of those that may be answered here.
    """

    def __init__(self, inner: Executor, functions: Mapping[str, Function]) -> None:
        self._inner = inner
        self._functions = functions
        self._answers: Mapping[str, Answer] = {}
        self._engine: Engine | None = None
        self._asked: set[str] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def use(self, engine: Engine) -> None:
        """Begin, once there is an engine."""
        self._engine = engine

    def answer(self, answers: Mapping[str, Answer]) -> None:
        """Answer these from now on, by path."""
        self._answers = answers

    def close(self) -> None:
        """Tell nobody of changes any more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._asked.clear()
        self._engine = None

    def changed(self, topic: str) -> None:
        """Have those asked again who depend on a topic, soon."""
        if topic in self._asked and topic not in self._timers:
            self._timers[topic] = asyncio.get_running_loop().call_later(_PAUSE, self._touch, topic)

    def _touch(self, topic: str) -> None:
        self._timers.pop(topic, None)
        self._asked.discard(topic)  # whoever still watches asks again, and is told of what comes then
        if self._engine is not None:
            self._engine.touch({_TOPICS: [topic.encode()]})

    def run(self, call: Call, *, urgent: bool = False) -> Awaitable[Outcome]:
        """Start a call; its failures are in the outcome."""
        own = self._answers.get(call.path) if not call.index else None
        return self._inner.run(call, urgent=urgent) if own is None else self._run(own, call)

    async def _run(self, own: Answer, call: Call) -> Outcome:
        began = time.perf_counter()
        if self._engine is None:
            return _failed(Unavailable("the backend is starting; ask again in a moment"), call, {})
        with self._engine.reader() as reader:
            asked = Asked({}, call, reader, self._asked)
            try:
                _, function = find(self._functions, call)
                asked.args = bind(function, unpack(call.args))["args"]
                value = encode_json(await own(asked))
            except NBReactiveError as error:
                asked.code()
                return _failed(error, call, asked.reads.build())
        took = int((time.perf_counter() - began) * 1e6)
        return Outcome(value=value, reads=asked.reads.build(), every=asked.every, duration_us=took)


def _failed(error: NBReactiveError, call: Call, reads: Reads) -> Outcome:
    soon = 500 if isinstance(error, Unavailable) else 0
    return Outcome(failure=failure_of(error, call.request_id, production=False), reads=reads, kind="query", every=soon)
