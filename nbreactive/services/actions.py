"""Running actions: from a request to an outcome, and what an action asks for on its way.

What an action runs is run for whoever called the action, and may be internal. Queries and mutations that it runs are
transactions of their own; mutations happen at once and stay, whatever becomes of the action.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from nbreactive.engine.requests import MutationRequest, QueryRequest, Result
from nbreactive.engine.transactions import Call, Failure, LogLine, Outcome
from nbreactive.errors import LimitExceeded, NBReactiveError, Unavailable
from nbreactive.functions.specs import Kind, Visibility
from nbreactive.runtime.action_pool import ActionPool, Exchange
from nbreactive.runtime.frames import Answer, Ask
from nbreactive.runtime.system_vectors import VECTOR_SEARCH
from nbreactive.services.action_files import ActionFiles
from nbreactive.values.json import encode_json
from nbreactive.values.limits import CALL_DEPTH, over

if TYPE_CHECKING:
    from nbreactive.engine.catalog import Catalog
    from nbreactive.engine.engine import Engine
    from nbreactive.services.files import Files


class ActionRequest(msgspec.Struct, frozen=True):
    """An action that somebody wants to be run, once."""

    path: str
    args: bytes
    """Packed."""
    identity: dict[str, Any] | None = None
    reach: Visibility = "public"
    request_id: str = ""
    depth: int = 1
    job: str | None = None
    """The id of the scheduled job that it is."""
    origin: bytes = b""
    """As in :class:`Call`."""


class Report(NamedTuple):
    """One run, for the log."""

    request_id: str
    path: str
    kind: Kind
    seconds: float
    failure: Failure | None
    logs: Sequence[LogLine]


class Jobs(Protocol):
    """What schedules functions on behalf of actions."""

    async def schedule(self, path: str, args: bytes, when: int, parent: str | None) -> str:
        """Schedule a function for ``when`` (ms) and return the job's id; ``parent`` is the job that asks."""
        ...

    async def cancel(self, id: str) -> object:
        """Cancel a job."""
        ...


class Actions:
    """Runs actions.

    Parameters
    ----------
    engine
        Runs what they ask for.
    pool
        Where they run.
    env
        Gives the environment variables of the deployment.
    """

    def __init__(self, engine: Engine, pool: ActionPool, env: Callable[[], dict[str, str]] = dict) -> None:
        self._engine = engine
        self._pool = pool
        self._env = env
        self._random = Random()
        self._names: tuple[Catalog | None, dict[int, str]] = (None, {})
        self.jobs: Jobs | None = None
        """What schedules functions."""
        self.files: Files | None = None
        """Where they store files."""
        self.on_run: Callable[[Report], None] | None = None
        """Told of what actions run."""

    async def run(self, request: ActionRequest, exchange: Exchange | None = None) -> Outcome:
        """Run an action to its end; its failures, and that it could not be started, are in the outcome.

        With an ``exchange`` it is an HTTP action, which answers there.
        """
        call = Call(
            request.path,
            request.args,
            "action" if exchange is None else "http_action",
            request.reach,
            request.identity,
            request.request_id or self._random.randbytes(8).hex(),
            now=time.time_ns() // 1_000_000,
            job=request.job or "",
            origin=request.origin,
        )
        try:
            tables, env = self._tables(), self._env()
            files = ActionFiles(self.files)
            try:
                return await self._pool.run(call, lambda ask: self._answer(request, ask, files), tables, env, exchange)
            finally:
                await files.close()
        except Unavailable as error:
            return Outcome(failure=Failure(error.code, error.message), kind="action")

    def _tables(self) -> dict[int, str]:
        catalog = self._engine.catalog()
        if self._names[0] is not catalog:
            self._names = catalog, {table.number: table.name for table in catalog.by_name.values()}
        return self._names[1]

    # ---- what actions ask for ------------------------------------------------------------------------------

    async def _answer(self, request: ActionRequest, ask: Ask, files: ActionFiles) -> Answer:
        try:
            if ask.what == "file":
                return Answer(ask.number, await files.answer(ask))
            value, failure = await self._do(request, ask)
        except NBReactiveError as error:
            value, failure = b"null", Failure(error.code, error.message)
        return Answer(ask.number, value, failure)

    async def _do(self, request: ActionRequest, ask: Ask) -> tuple[bytes, Failure | None]:
        if ask.what == "vectors":
            found = await self._engine.query(QueryRequest(VECTOR_SEARCH, ask.args, reach="system"))
            return found.value, found.failure
        if ask.what in ("query", "mutation", "action"):
            began = time.perf_counter()
            done = await self._run_inner(request, ask)
            if self.on_run is not None:
                seconds = time.perf_counter() - began
                self.on_run(Report(request.request_id, ask.target, ask.what, seconds, done.failure, done.logs))
            return done.value, done.failure
        if self.jobs is None:
            raise Unavailable("nothing can be scheduled now: the backend is starting or stopping")
        if ask.what == "schedule":
            return encode_json(await self.jobs.schedule(ask.target, ask.args, ask.when, request.job)), None
        await self.jobs.cancel(ask.target)
        return b"null", None

    async def _run_inner(self, request: ActionRequest, ask: Ask) -> Result | Outcome:
        who: dict[str, Any] = {"identity": request.identity, "request_id": request.request_id}
        # Who is above the row rules stays so; functions of the system are not for actions, whatever they ask for.
        above = request.reach == "system" and not ask.target.startswith("_")
        reach: Visibility = "system" if above else "internal"
        if ask.what == "query":
            return await self._engine.query(QueryRequest(ask.target, ask.args, reach=reach, **who))
        if ask.what == "mutation":
            return await self._engine.mutate(
                MutationRequest(ask.target, ask.args, reach=reach, job=request.job or "", **who)
            )
        if request.depth >= CALL_DEPTH:
            fix = "call an ordinary Python function instead of an action"
            raise LimitExceeded(over("actions called inside each other", request.depth + 1, CALL_DEPTH, fix))
        inner = ActionRequest(ask.target, ask.args, reach=reach, depth=request.depth + 1, job=request.job, **who)
        return await self.run(inner)
