"""Calls of functions, on the client thread: what kind a function is, in which order calls leave, and how they end."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Iterable
from typing import Any

from nbreactive.client.connection import Connection
from nbreactive.client.optimistic import Layer
from nbreactive.client.protocol import Outcome
from nbreactive.client.session import Effects
from nbreactive.client.subscription import Subscriptions
from nbreactive.client.target import Target
from nbreactive.errors import ArgumentError, FunctionNotFound, NBReactiveError, NotConnected
from nbreactive.values._paths import with_article
from nbreactive.values.json import decode_json
from nbreactive.values.validators import from_json

CONNECT = 10.0
"""Seconds a call waits for a connection before it says that there is none."""
_LOOK = 3.0
"""Seconds that what is deployed may take to say why an update has failed."""
WHO = "nbreactive/identity:who"
_SYSTEM_KINDS = {
    "_system/tables:rows": "query",
    "_system/tables:insert_many": "mutation",
    "_system/tables:patch": "mutation",
    "_system/sql:register": "mutation",
    "_system/sql:live": "query",
    "_system/sql:explain": "query",
    WHO: "query",
    "nbreactive/presence:join": "mutation",
    "nbreactive/presence:heartbeat": "mutation",
    "nbreactive/presence:leave": "mutation",
    "nbreactive/presence:list": "query",
}


class Calls:
    """The calls of one client.

    Parameters
    ----------
    target
        Where the functions are.
    connection, subscriptions
        What calls go through, and what they change.
    patience
        Seconds without a connection after which calls under way give up.
    """

    def __init__(self, target: Target, connection: Connection, subscriptions: Subscriptions, patience: float) -> None:
        self._target = target
        self._connection = connection
        self._subscriptions = subscriptions
        self._patience = patience
        self.kinds: dict[str, str] = dict(_SYSTEM_KINDS)
        self.described: dict[str, dict[str, Any]] = {}
        self._answers: set[asyncio.Future[Outcome]] = set()
        self._giving_up: asyncio.TimerHandle | None = None
        self._door = asyncio.Lock()
        self._at_the_door = 0

    async def run(
        self, path: str, args: str, layer: Layer | None = None, *, mutation: bool = False, at: int = 0
    ) -> Outcome:
        """Run a function once; ``layer`` is shown until the results of live queries have what it did.

        With ``mutation`` what is not a mutation is refused; with ``at``, an earlier time, what is not a query.
        """
        known = path in self.kinds
        kind = await self._admit(path)
        if mutation and kind != "mutation":
            if known:  # it may have been deployed as another kind since
                await self.load_functions()
                known, kind = False, await self.kind_of(path)
            self._check_is_mutation(path, kind)
        outcome = await self._run_as(kind, path, args, layer, at)
        if known and isinstance(outcome.error, FunctionNotFound):
            # deployed again as another kind since we looked; what was refused has not run
            self.kinds.pop(path, None)
            now = await self.kind_of(path)
            if now != kind:
                return await self._run_as(now, path, args, layer, at)
        return outcome

    async def run_optimistically(self, path: str, args: str, layer: Layer) -> Outcome:
        """Show ``layer`` at once, then run the mutation; if its update raises, nothing is shown and nothing sent."""
        try:
            await self._subscriptions.layers.begin(layer)
            for query in layer.unseen:
                await self._check_is_there(query)
        except BaseException as raised:
            reason = None if isinstance(raised, FunctionNotFound) else await self._reason(path, args)
            layer.begun.set_exception(reason or raised)
            await self._subscriptions.layers.drop(layer)
            if reason is not None:
                raise reason from None
            raise
        layer.begun.set_result(None)  # what its caller does next comes after this turn of the loop
        try:
            return await self.run(path, args, layer, mutation=True)
        finally:
            if not layer.sent:
                await self._subscriptions.layers.drop(layer)

    async def _admit(self, path: str) -> str:
        """Wait for what a call needs; calls leave in the order in which they came, so mutations start in order."""
        connection = self._connection
        if connection.state == "open" and path in self.kinds and not self._at_the_door:
            return self.kinds[path]
        deadline = asyncio.get_running_loop().time() + CONNECT
        self._at_the_door += 1
        try:
            async with asyncio.timeout_at(deadline), self._door:
                await connection.opened(CONNECT)
                return await self.kind_of(path)
        except TimeoutError:
            problem = connection.problem or NotConnected(f"No answer from {self._target.base} within {CONNECT:g} s.")
            raise problem from None
        finally:
            self._at_the_door -= 1

    async def _run_as(self, kind: str, path: str, args: str, layer: Layer | None, at: int) -> Outcome:
        if at and kind != "query":
            name = dotted(path)
            raise ArgumentError(f"{name} is {with_article(kind)}, and only queries can be asked at an earlier time")
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def done(outcome: Outcome) -> None:
            if not future.done():
                future.set_result(outcome)

        session = self._connection.session
        if kind == "query":
            # a query of its own, never a shared one: its result is at least as new as this call
            entry = session.add(path, args, done, at)
            self._connection.flush()
            self._answers.add(future)
            try:
                return await future
            finally:
                self._answers.discard(future)
                session.remove(entry)
                self._connection.flush()
        if layer is not None:
            layer.sent = True
        session.request("Mutation" if kind == "mutation" else "Action", path, args, done, layer)
        self._connection.flush()
        return await future

    async def _reason(self, path: str, args: str) -> NBReactiveError | None:
        """Return why an update cannot have worked: what is called is no mutation, or takes other arguments."""
        try:
            async with asyncio.timeout(_LOOK):
                self._check_is_mutation(path, await self.kind_of(path))
        except (ArgumentError, FunctionNotFound) as problem:
            return problem
        except (NBReactiveError, OSError, TimeoutError):
            return None  # nobody can be asked
        try:
            from_json(self.described[path]["args"]).check(decode_json(args), "args", error=ArgumentError)
        except ArgumentError as problem:
            return problem
        except (NBReactiveError, KeyError):  # what only this deployment's version knows
            return None
        return None

    async def _check_is_there(self, path: str) -> None:
        """Raise, if it can be said without delay, that there is no such function."""
        try:
            async with asyncio.timeout(_LOOK):
                await self.kind_of(path)
        except FunctionNotFound:
            raise
        except (NBReactiveError, OSError, TimeoutError):
            pass

    @staticmethod
    def _check_is_mutation(path: str, kind: str) -> None:
        if kind != "mutation":
            name = dotted(path)
            raise ArgumentError(
                f"{name} is {with_article(kind)}, and use_mutation(...), optimistic updates and .start(...) are for mutations: "
                f"call it, {name}(...)" + (f", or make it live, {name}.live(...)." if kind == "query" else ".")
            )

    # ---- functions ----

    async def kind_of(self, path: str) -> str:
        """Return ``query``, ``mutation`` or ``action``; raises with near names if there is no such function."""
        if path not in self.kinds:
            await self.load_functions()
        kind = self.kinds.get(path)
        if kind is None:
            near = difflib.get_close_matches(path, self.kinds, 3)
            hint = f" Did you mean {' or '.join(dotted(name) for name in near)}?" if near else ""
            raise FunctionNotFound(
                f"There is no function {dotted(path)} on {self._target.label or self._target.base}.{hint} "
                "client.functions() lists what is deployed, in a notebook %reactive functions."
            )
        return kind

    async def load_functions(self) -> list[dict[str, Any]]:
        """Ask what is deployed."""
        answer = await self._target.fetch_json("GET", "/api/admin/functions")
        functions: list[dict[str, Any]] = answer["functions"]
        self.know(functions)
        return functions

    def know(self, functions: Iterable[dict[str, Any]]) -> None:
        """These functions are deployed; of all others nothing is known."""
        self.described = {function["path"]: function for function in functions}
        self.kinds = _SYSTEM_KINDS | {path: function["kind"] for path, function in self.described.items()}

    # ---- without a connection ----

    def connection_changed(self) -> None:
        """Give up after a while without a connection."""
        loop = asyncio.get_running_loop()
        if self._connection.state == "open" and self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None
        elif self._connection.state == "reconnecting" and self._giving_up is None:
            self._giving_up = loop.call_later(self._patience, self._give_up)

    def _give_up(self) -> None:
        why = f"there has been no connection to {self._target.base} for {self._patience:g} s. {self._connection.problem or ''}"
        for future in list(self._answers):
            if not future.done():
                future.set_result(Outcome(error=NotConnected(f"The query got no answer: {why}")))
        session = self._connection.session
        effects = Effects()
        for request in list(session.requests.values()):
            unseen = session.withdraw(request)
            what = "was not sent" if unseen else "may or may not have been applied (look before you run it again)"
            effects.finished.append((request, Outcome(error=NotConnected(f"The call {what}: {why}"))))
        self._subscriptions.carry_out(effects)


def dotted(path: str) -> str:
    """Return a path as one writes it: ``api.chat.send``."""
    return "api." + path.replace("/", ".").replace(":", ".")
