"""The door to functions: every call from outside, over whatever transport, passes here.

It checks the path, the caller's role and the arguments, gives the call a request id, runs it, and writes it into the
log. What is wrong with a call becomes an :class:`Answer` with a failure, never an exception; exceptions mean that the call
was not started (:class:`~nbreactive.errors.Overloaded`) or that its outcome is unknown.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from nbreactive.engine.query_cache import QueryResult
from nbreactive.engine.requests import MutationRequest, QueryRequest, QuerySpec, Result
from nbreactive.engine.subscriptions import Subscriptions
from nbreactive.engine.transactions import Failure, LogLine, Outcome
from nbreactive.errors import (
    FunctionNotFound,
    InvalidValue,
    NBReactiveError,
    Overloaded,
    ReadOnly,
    Refused,
    Unavailable,
)
from nbreactive.functions.paths import BUILT_IN
from nbreactive.functions.specs import FunctionSpec, Kind
from nbreactive.runtime.system import FUNCTIONS as SYSTEM
from nbreactive.runtime.system_identity import ROLES
from nbreactive.server.deltas import MOST, Deltas
from nbreactive.server.failures import Mode, logged_text
from nbreactive.server.identity import Caller
from nbreactive.server.incoming import args_of, not_found, path_of
from nbreactive.server.logs import Logs
from nbreactive.services.actions import ActionRequest
from nbreactive.values.instants import instant_of
from nbreactive.values.json import encode_json
from nbreactive.values.packing import pack, unpack

if TYPE_CHECKING:
    from nbreactive.engine.engine import Engine
    from nbreactive.runtime.action_pool import Exchange
    from nbreactive.server.operations import Operations
    from nbreactive.services.actions import Actions
    from nbreactive.services.past import Past
    from nbreactive.services.presence import Presence

_NO_ARGS = pack({})
_BUILT_IN = f"{BUILT_IN}/"
_PANEL = ("_system/panel:", "nbreactive/panel:")
_ids = Random()


class Answer(msgspec.Struct, frozen=True):
    """How a call ended."""

    request_id: str
    value: bytes = b"null"
    failure: Failure | None = None
    logs: Sequence[LogLine] = ()
    ts: int = 0


class Calls:
    """Runs the calls of all sessions and requests.

    Parameters
    ----------
    engine, actions
        What runs them.
    functions
        Gives the functions that are deployed now, by path.
    logs
        Where calls are recorded.
    mode
        ``dev`` tells callers everything, ``prod`` only what was meant for them.
    """

    def __init__(
        self,
        engine: Engine,
        actions: Actions,
        functions: Callable[[], Mapping[str, FunctionSpec]],
        logs: Logs,
        mode: Mode = "dev",
    ) -> None:
        self._engine = engine
        self._actions = actions
        engine.executing.on_live_run = self._record_live
        self._functions = functions
        self.logs = logs
        self.mode: Mode = mode
        self.presence: Presence | None = None
        """Who is in which room; None where nobody can be in any."""
        self.past: Past | None = None
        """Earlier times; None where nothing is kept of them."""
        self.operations: Operations | None = None
        """What people do from the side panel."""
        self.deltas = Deltas(MOST)
        """What clients show, of those that are told what is new only."""

    def use(self, engine: Engine, actions: Actions) -> None:
        """Go on with another engine (after a reset)."""
        self._engine, self._actions = engine, actions
        engine.executing.on_live_run = self._record_live

    @property
    def subscriptions(self) -> Subscriptions:
        """The live queries."""
        return self._engine.subscriptions

    @property
    def durable_ts(self) -> int:
        """The newest timestamp that anyone may see."""
        return self._engine.durable

    @property
    def oldest_ts(self) -> int:
        """The oldest timestamp that queries of everybody can be answered at."""
        return self._engine.oldest

    def now_ns(self) -> int:
        """Wall time."""
        return time.time_ns()

    async def ask_inside(self, spec: QuerySpec) -> Result:
        """Run a query of the backend's own."""
        request = QueryRequest(
            path=spec.path, args=spec.args, identity=None, reach="internal", request_id=new_request_id()
        )
        return await self._engine.query(request)

    # ---- calls -------------------------------------------------------------------------------------------

    async def query(
        self, caller: Caller, path: str, args: Raw | bytes, component: str | None = None, at: int | None = None
    ) -> Answer:
        """Run a query, at the newest timestamp or at a recent one."""
        request_id = new_request_id()
        started = time.perf_counter()
        try:
            caller.require("read")
            name = path_of(path, component)
            packed = _args_for(caller, name, args)
            request = QueryRequest(
                path=name, args=packed, identity=caller.identity, reach=caller.reach_to(name), request_id=request_id
            )
            result = await self._engine.query(request, at)
            answer = Answer(request_id, result.value, result.failure, result.logs, result.ts)
        except Overloaded:
            raise
        except (InvalidValue, FunctionNotFound, Refused, ReadOnly) as error:
            answer = _failed(request_id, error)
        self._record(answer, path, "query", started, caller)
        return answer

    async def earlier(
        self, caller: Caller, path: str, args: Raw | bytes, component: str | None, at: str | float
    ) -> QueryResult:
        """Run a query as of an earlier time; this shows what was deleted since, so it is for those who may deploy.

        ``at`` is what :func:`~nbreactive.values.instants.instant_of` reads.
        """
        request_id = new_request_id()
        started = time.perf_counter()
        try:
            caller.require("deploy")
            name, packed = path_of(path, component), args_of(args)
            if self.past is None:
                raise InvalidValue("earlier times are not kept here; leave the time out", "at")
            reach = caller.reach_to(name)
            request = QueryRequest(name, packed, caller.identity, reach, request_id=request_id)
            found = await self.past.query(request, instant_of(at))
        except Overloaded:
            raise
        except (InvalidValue, FunctionNotFound, Refused, Unavailable) as error:
            found = Result(0, failure=Failure(error.code, error.message), request_id=request_id)
        self._record(
            Answer(request_id, found.value, found.failure, found.logs, found.ts), path, "query", started, caller
        )
        return QueryResult(
            found.ts,
            found.value,
            found.failure,
            found.logs,
            found.journal,
            found.columns,
            found.identity_read,
            b"",
            found.request_id,
        )

    async def query_earlier(
        self, caller: Caller, path: str, args: Raw | bytes, component: str | None, at: str | float
    ) -> Answer:
        """Do what :meth:`earlier` does, for callers who take an answer."""
        found = await self.earlier(caller, path, args, component, at)
        return Answer(found.request_id, found.value, found.failure, found.logs, found.ts)

    async def mutate(
        self,
        caller: Caller,
        path: str,
        args: Raw | bytes,
        component: str | None = None,
        *,
        session: bytes | None = None,
        number: int | None = None,
    ) -> Answer:
        """Run a mutation; exactly once per (identity, session, number) if those are given."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def ended(end: Answer | Exception) -> None:
            if future.done():  # Whoever asked may be gone.
                return
            if isinstance(end, Exception):
                future.set_exception(end)
            else:
                future.set_result(end)

        self.begin_mutation(caller, path, args, component, session=session, number=number, ended=ended)
        return await future

    def begin_mutation(
        self,
        caller: Caller,
        path: str,
        args: Raw | bytes,
        component: str | None = None,
        *,
        session: bytes | None = None,
        number: int | None = None,
        connection: object | None = None,
        ended: Callable[[Answer | Exception], None],
    ) -> None:
        """Start a mutation and return; ``ended`` is called, later, with its answer or with why there is none.

        A session has many mutations under way: this saves it a task for each of them. ``connection`` is what calls of
        presence end with.
        """
        request_id = new_request_id()
        started = time.perf_counter()
        if path.startswith(_BUILT_IN):
            self._begin_presence(caller, path, args, component, connection, request_id, started, ended)
            return

        def finish(end: Result | BaseException) -> None:
            if isinstance(end, Result):
                answer = Answer(request_id, end.value, end.failure, end.logs, end.ts)
            elif isinstance(end, InvalidValue | ReadOnly):
                answer = _failed(request_id, end)
            else:
                stopping = Unavailable("the backend is stopping; ask again when it is back")
                ended(end if isinstance(end, Exception) else stopping)
                return
            self._record(answer, path, "mutation", started, caller)
            ended(answer)

        try:
            caller.require("write")
            name, packed = path_of(path, component), args_of(args)
            request = MutationRequest(
                path=name,
                args=packed,
                identity=caller.identity,
                reach=caller.reach_to(name),
                session=session,
                request_number=number,
                request_id=request_id,
                kind="mutation",
                origin=caller.origin,
            )
            self._engine.begin(request, finish)
        except (InvalidValue, FunctionNotFound, Refused) as error:
            answer = _failed(request_id, error)
            self._record(answer, path, "mutation", started, caller)
            asyncio.get_running_loop().call_soon(ended, answer)
        except Exception as error:  # noqa: BLE001 - told to the one who asked
            asyncio.get_running_loop().call_soon(ended, error)

    def _begin_presence(
        self,
        caller: Caller,
        path: str,
        args: Raw | bytes,
        component: str | None,
        connection: object | None,
        request_id: str,
        started: float,
        ended: Callable[[Answer | Exception], None],
    ) -> None:
        """Let somebody join a room, be heard of there, or leave; whoever may read may be seen.

        Only what fails is in the log: everybody is heard of every few seconds.
        """

        def answered(end: tuple[Any, int] | Exception) -> None:
            if isinstance(end, NBReactiveError):
                fail(end)
            else:
                ended(Answer(request_id, encode_json(end[0]), ts=end[1]) if isinstance(end, tuple) else end)

        def fail(error: NBReactiveError) -> None:
            answer = _failed(request_id, error)
            self._record(answer, path, "mutation", started, caller)
            ended(answer)

        try:
            caller.require("read")
            name = path_of(path, component)
            if self.presence is None:
                raise not_found(path)
            self.presence.begin(name, unpack(args_of(args)), caller.identity, connection, answered)
        except NBReactiveError as error:
            asyncio.get_running_loop().call_soon(fail, error)

    def connection_ended(self, connection: object, *, at_once: bool = False) -> None:
        """Let those leave their rooms who have joined through a connection; ``at_once``: it is somebody else's now."""
        if self.presence is not None:
            self.presence.connection_ended(connection, at_once=at_once)

    async def act(self, caller: Caller, path: str, args: Raw | bytes, component: str | None = None) -> Answer:
        """Run an action, once."""
        request_id = new_request_id()
        started = time.perf_counter()
        try:
            caller.require("write")
            name, packed = path_of(path, component), args_of(args)
            reach = caller.reach_to(name)
            if self.operations is not None and name in self.operations:
                done = await self.operations.run(caller, name, packed, request_id)
                return Answer(request_id, encode_json(done), ts=self._engine.durable)
            request = ActionRequest(name, packed, caller.identity, reach, request_id, origin=caller.origin)
            outcome = await self._actions.run(request)
            answer = Answer(request_id, outcome.value, outcome.failure, outcome.logs, self._engine.durable)
        except NBReactiveError as error:
            if isinstance(error, Overloaded):
                raise
            answer = _failed(request_id, error)
        self._record(answer, path, "action", started, caller)
        return answer

    async def respond(self, caller: Caller, path: str, exchange: Exchange) -> Answer:
        """Have an HTTP action answer a request."""
        request_id = new_request_id()
        started = time.perf_counter()
        request = ActionRequest(path, _NO_ARGS, caller.identity, "internal", request_id)
        outcome = await self._actions.run(request, exchange)
        answer = Answer(request_id, outcome.value, outcome.failure, outcome.logs, self._engine.durable)
        self._record(answer, path, "http_action", started, caller)
        return answer

    async def any_kind(self, caller: Caller, path: str, args: Raw | bytes, component: str | None = None) -> Answer:
        """Run a function of whatever kind it is."""
        kind = self.kind_of(path)
        if kind == "mutation":
            return await self.mutate(caller, path, args, component)
        if kind == "action":
            return await self.act(caller, path, args, component)
        return await self.query(caller, path, args, component)

    def kind_of(self, path: str) -> Kind | None:
        """The kind of a function."""
        try:
            name = path_of(path, None)
        except FunctionNotFound:
            return None
        if name.startswith(_BUILT_IN):
            return SYSTEM[name].kind if name in SYSTEM else "mutation"
        spec = self._functions().get(name)
        return spec.kind if spec is not None else None

    # ---- live queries ------------------------------------------------------------------------------------

    def live(
        self, caller: Caller, path: str, args: Raw | bytes, journal: str | None, component: str | None = None
    ) -> QuerySpec | Answer:
        """What to subscribe to, or why not."""
        try:
            caller.require("read")
            name = path_of(path, component)
            return QuerySpec(
                path=name,
                args=_args_for(caller, name, args),
                identity=caller.identity,
                reach=caller.reach_to(name),
                journal=journal,
            )
        except (InvalidValue, FunctionNotFound, Refused) as error:
            answer = _failed(new_request_id(), error)
            self._record(answer, path, "query", time.perf_counter(), caller)
            return answer

    def for_caller(self, spec: QuerySpec, caller: Caller) -> QuerySpec | Answer:
        """The same live query, asked by somebody else; or why they may not."""
        try:
            caller.require("read")
        except Refused as error:
            return _failed(new_request_id(), error)
        args = _args_for(caller, spec.path) if spec.path == ROLES else spec.args
        return msgspec.structs.replace(spec, args=args, identity=caller.identity, reach=caller.reach_to(spec.path))

    def failed(self, code: str, message: str) -> Answer:
        """An answer that says why nothing was run."""
        answer = Answer(new_request_id(), failure=Failure(code, message))
        self._log(answer.request_id, "", "query", 0.0, "the backend", answer.failure, ())
        return answer

    def _record(self, answer: Answer, path: str, kind: str, started: float, caller: Caller) -> None:
        seconds = time.perf_counter() - started
        self._log(answer.request_id, path, kind, seconds, caller.label, answer.failure, answer.logs)

    def _record_live(self, spec: QuerySpec, outcome: Outcome, request_id: str) -> None:
        if spec.path.startswith(_PANEL) and outcome.failure is None:
            return  # it looks at this log, among others: each look would bring the next one
        who = str((spec.identity or {}).get("subject") or "anonymous")
        self._log(request_id, spec.path, "query", outcome.duration_us / 1e6, who, outcome.failure, outcome.logs)

    def _log(
        self,
        request_id: str,
        path: str,
        kind: str,
        seconds: float,
        who: str,
        failure: Failure | None,
        lines: Sequence[LogLine],
    ) -> None:
        if failure is None:
            self.logs.call(request_id, path, kind, seconds, who, lines=lines)
        else:
            self.logs.call(request_id, path, kind, seconds, who, failure.code, logged_text(failure), lines)


def _args_for(caller: Caller, path: str, args: Raw | bytes = b"{}") -> bytes:
    """Return the arguments of a query, packed; who asks for roles is told their own, and shares that with their equals."""
    return pack({"roles": sorted(caller.roles)}) if path == ROLES else args_of(args)


def _failed(request_id: str, error: NBReactiveError) -> Answer:
    return Answer(request_id, failure=Failure(error.code, error.message))


def new_request_id() -> str:
    """Make an id for a call."""
    # Made for every call: names a line in the log, is no secret.
    return f"{_ids.getrandbits(64):016x}"
