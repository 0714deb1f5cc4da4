"""``ctx`` of an action: no database, but everything else, asked of the backend.

Each ``ctx.run_*`` is a transaction (or an action) of its own. In an ``async def`` it returns something to be awaited,
which has been started already, so that ``asyncio.gather(ctx.run_query(...), ctx.run_query(...))`` runs both at once and
one that is never awaited happens all the same, with a warning in the log; in a ``def`` it returns the result.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn

from nbreactive.engine.transactions import Call, Failure
from nbreactive.errors import AppError, InvalidValue, LimitExceeded, NotAllowed, from_wire
from nbreactive.functions import Function
from nbreactive.functions.specs import Kind, Visibility
from nbreactive.runtime.action_storage import ActionStorage
from nbreactive.runtime.context import Deployment, request_metadata
from nbreactive.runtime.environment import missing
from nbreactive.runtime.frames import Answer
from nbreactive.runtime.lookup import Functions, resolve
from nbreactive.runtime.nearest import Build, read_condition
from nbreactive.runtime.output import ENDED, CallLog, Logger
from nbreactive.values.checks import check_value
from nbreactive.values.json import decode_json
from nbreactive.values.kinds import UNSET
from nbreactive.values.limits import CONCURRENT_OPERATIONS, over
from nbreactive.values.packing import pack

Send = Callable[..., asyncio.Future[Answer]]
"""Ask the backend: ``send(what, target, args, when)``; on the event loop only."""

_RUNNABLE: Final[dict[str, tuple[Kind, ...]]] = {
    "query": ("query",),
    "mutation": ("mutation",),
    "action": ("action",),
    "schedule": ("mutation", "action"),
}


_DEPLOYMENT: Final = Deployment()


class Running:
    """What all parts of the ``ctx`` of one action share."""

    def __init__(
        self,
        call: Call,
        functions: Functions,
        log: CallLog,
        send: Send,
        *,
        blocking: bool,
        clock: Callable[[], int] = time.time_ns,
        deployment: Deployment = _DEPLOYMENT,
    ) -> None:
        self.clock = clock
        self.deployment = deployment
        self.call = call
        self.functions = functions
        self.log = log
        self.stopped: BaseException | None = None
        self._send = send
        self._loop = asyncio.get_running_loop()
        self.blocking = blocking
        self._open: dict[asyncio.Task[Any], _Asked] = {}

    def ask(self, what: str, target: Any, args: Mapping[str, Any], said: str, when: int = 0) -> Any:
        """Ask the backend; returns the result, or something to be awaited."""
        returns = None
        if what in _RUNNABLE:
            target, function = resolve(self.functions, target, *_RUNNABLE[what], said=said)
            returns = function.returns if what != "schedule" else None
        packed = pack(check_value(dict(args), "args", datetimes=True)) if what != "cancel" else b""

        async def asked() -> Any:
            self.check_running()
            if len(self._open) > CONCURRENT_OPERATIONS:
                fix = "await some of them before starting more"
                raise LimitExceeded(
                    over("operations of one action at once", len(self._open), CONCURRENT_OPERATIONS, fix)
                )
            answer = await self._send(what, target, packed, when)
            if answer.failure is not None:
                raise error_of(answer.failure)
            value = decode_json(answer.value)
            return returns.load(value) if returns is not None else value

        return self.start(asked, said)

    def start(self, work: Callable[[], Any], said: str) -> Any:
        """Run a coroutine of ours: now, in a blocking action; else start it."""
        self.check_running()
        if self.blocking:
            return asyncio.run_coroutine_threadsafe(work(), self._loop).result()
        asked = _Asked(self._loop.create_task(work()), said)
        self._open[asked.task] = asked
        asked.task.add_done_callback(self._answered)
        return asked

    async def request(self, what: str, content: bytes = b"", number: int = 0) -> bytes:
        """Ask the backend something about files; returns what it says, as it is."""
        self.check_running()
        answer = await self._send("file", what, content, number)
        if answer.failure is not None:
            raise error_of(answer.failure)
        return answer.value

    def forget(self, what: str, number: int) -> None:
        """Tell the backend something, whatever it answers."""
        if not self.log.closed:
            self._send("file", what, b"", number)

    async def aside(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Do what blocks, in a thread."""
        return await asyncio.to_thread(work, *arguments)

    def _answered(self, task: asyncio.Task[Any]) -> None:
        asked = self._open.pop(task, None)
        if asked is not None and not asked.awaited and not task.cancelled():
            error = task.exception()  # looked at here, so that Python does not complain at some later time
            if error is not None and not self.log.closed:
                self.log.add("WARN", f"{asked.said}(...) failed and was not awaited: {error}")

    async def settle(self) -> None:
        """At the end of the action: wait for what was started and not awaited, and say so."""
        while left := list(self._open.values()):
            for said in dict.fromkeys(asked.said for asked in left if not asked.awaited):
                self.log.add("WARN", f"{said}(...) was not awaited: write `await {said}(...)`")
            await asyncio.wait([asked.task for asked in left])

    def abandon(self) -> None:
        """Wait for nothing any more: the action was stopped."""
        for task in list(self._open):
            task.cancel()

    def check_running(self) -> None:
        """Raise if the action has ended."""
        if self.stopped is not None:
            raise self.stopped
        if self.log.closed:
            raise NotAllowed(ENDED)


class _Asked(Awaitable[Any]):
    """The result of a ``ctx.run_*`` that is under way."""

    __slots__ = ("awaited", "said", "task")

    def __init__(self, task: asyncio.Task[Any], said: str) -> None:
        self.task = task
        self.said = said
        self.awaited = False

    def __await__(self) -> Any:
        self.awaited = True
        return self.task.__await__()

    def __repr__(self) -> str:
        return f"<{self.said}(...) under way: await it>"

    def __getitem__(self, item: object) -> NoReturn:
        self._refuse()

    def __iter__(self) -> NoReturn:
        self._refuse()

    def __len__(self) -> NoReturn:  # noqa: PLE0303 (it never returns)
        self._refuse()

    def __bool__(self) -> bool:
        return True  # which Python would find out by its length

    def _refuse(self) -> NoReturn:
        raise NotAllowed(f"what {self.said}(...) gives is still to come; write `await {self.said}(...)`")


def error_of(failure: Failure) -> Exception:
    """Turn the failure of a function into what its caller can catch."""
    data = decode_json(failure.data) if failure.data is not None else None
    if failure.data is not None:
        return AppError(data, failure.message)
    return from_wire(failure.code, failure.message, trace=failure.trace)


class ActionScheduler:
    """``ctx.scheduler`` of an action: what it schedules is scheduled at once, whatever becomes of the action."""

    __slots__ = ("_running",)

    def __init__(self, running: Running) -> None:
        self._running = running

    def run_after(self, delay_ms: Any, reference: Any, args: dict[str, Any] | None = None, /, **kwargs: Any) -> Any:
        """Run a mutation or action after ``delay_ms`` milliseconds; gives the id of the job."""
        if isinstance(delay_ms, bool) or not isinstance(delay_ms, (int, float)) or not 0 <= delay_ms < 1e14:
            raise InvalidValue(f"ctx.scheduler.run_after takes milliseconds (0 or more), not {delay_ms!r}")
        return self._schedule("run_after", int(self._running.clock() / 1_000_000 + delay_ms), reference, args, kwargs)

    def run_at(self, when: Any, reference: Any, args: dict[str, Any] | None = None, /, **kwargs: Any) -> Any:
        """Run a mutation or action at a time: ms since the epoch, or an aware datetime; gives the id of the job."""
        if isinstance(when, datetime):
            if when.tzinfo is None:
                raise InvalidValue(
                    "ctx.scheduler.run_at takes aware datetimes; add tzinfo, e.g. datetime.now(timezone.utc)"
                )
            when = when.timestamp() * 1000
        if isinstance(when, bool) or not isinstance(when, (int, float)) or not 0 <= when < 1e15:
            raise InvalidValue(f"ctx.scheduler.run_at takes ms since the epoch or a datetime, not {when!r}")
        return self._schedule("run_at", int(when), reference, args, kwargs)

    def cancel(self, id: str) -> Any:
        """Cancel a job that has not begun; one that runs goes on, but schedules nothing any more."""
        return self._running.ask("cancel", str(id), {}, "ctx.scheduler.cancel")

    def _schedule(self, how: str, when: int, reference: Any, args: dict[str, Any] | None, kwargs: Any) -> Any:
        said = f"ctx.scheduler.{how}"
        return self._running.ask("schedule", reference, _one_of(args, kwargs, said), said, when)


class ActionAuth:
    """``ctx.auth`` of an action."""

    __slots__ = ("_running",)

    def __init__(self, running: Running) -> None:
        self._running = running

    def get_user_identity(self) -> Any:
        """Who calls: ``{"tokenIdentifier", "subject", "issuer", ...}``, or None; awaited in an ``async def``."""
        identity = self._running.call.identity

        async def known() -> dict[str, Any] | None:
            if identity is None:
                return None
            issuer, subject = identity.get("issuer", ""), identity.get("subject", "")
            return {"tokenIdentifier": f"{issuer}|{subject}", **identity}

        return self._running.start(known, "ctx.auth.get_user_identity")


class ActionEnv(Mapping[str, str]):
    """``ctx.env`` of an action: the environment variables of the deployment, as of when the action began."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> str:
        try:
            return self._values[name]
        except KeyError:
            raise missing(name) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<{len(self)} environment variables>"  # never their values, which land in logs


class ActionMeta:
    """``ctx.meta`` of an action: facts about the running call."""

    __slots__ = ("_path", "_running", "_visibility")

    def __init__(self, running: Running, path: str, visibility: Visibility) -> None:
        self._running = running
        self._path = path
        self._visibility = visibility

    def get_function_metadata(self) -> dict[str, Any]:
        """Name, type and visibility of this function."""
        return {"name": self._path, "componentPath": "", "type": "action", "visibility": self._visibility}

    def get_deployment_metadata(self) -> dict[str, Any]:
        """Name of the deployment, and ``class``: whether it is in mode ``dev`` or ``prod``."""
        return self._running.deployment.metadata()

    def get_request_metadata(self) -> dict[str, Any]:
        """The id under which this request appears in logs and errors, and who sent it from where."""
        return request_metadata(self._running.call)


class ActionContext:
    """``ctx`` of an action: ``run_query run_mutation run_action scheduler storage vector_search auth env log now meta``."""

    kind: Kind = "action"

    def __init__(self, running: Running, path: str, function: Function, env: Mapping[str, str]) -> None:
        self._running = running
        self.log = Logger(running.log)
        self.scheduler = ActionScheduler(running)
        self.storage = ActionStorage(running)
        self.auth = ActionAuth(running)
        self.env = ActionEnv(env)
        self.meta = ActionMeta(running, path, function.visibility)

    def now(self) -> int:
        """Milliseconds since the epoch."""
        return self._running.clock() // 1_000_000

    def run_query(self, reference: Any, args: dict[str, Any] | None = None, /, **kwargs: Any) -> Any:
        """Run a query: ``await ctx.run_query(api.posts.get, post_id=p)``."""
        return self._run("query", reference, args, kwargs)

    def run_mutation(self, reference: Any, args: dict[str, Any] | None = None, /, **kwargs: Any) -> Any:
        """Run a mutation, a transaction of its own; its writes stay whatever becomes of the action."""
        return self._run("mutation", reference, args, kwargs)

    def run_action(self, reference: Any, args: dict[str, Any] | None = None, /, **kwargs: Any) -> Any:
        """Run another action; for code that both share an ordinary function is simpler."""
        return self._run("action", reference, args, kwargs)

    def vector_search(
        self,
        table: str,
        index: str,
        *,
        vector: Any,
        limit: int = 10,
        filter: Build | None = None,  # noqa: A002 - as it is called everywhere
    ) -> Any:
        """Find the documents nearest to a vector: ``[{"_id", "_score"}, ...]``, the nearest first.

        Load them with a query: ``await ctx.run_query(internal.docs.by_ids, ids=[found["_id"] for found in nearest])``. What
        the arguments mean is said by ``ctx.db.query(table).nearest``, which queries and mutations have.
        """
        conditions = [
            {"field": field} if value is UNSET else {"field": field, "value": value}
            for field, value in read_condition(filter)
        ]
        vector = vector.tolist() if hasattr(vector, "tolist") else vector
        args = {"table": table, "index": index, "vector": vector, "limit": limit, "conditions": conditions}
        return self._running.ask("vectors", "", args, "ctx.vector_search")

    def _run(self, kind: Kind, reference: Any, args: dict[str, Any] | None, kwargs: dict[str, Any]) -> Any:
        said = f"ctx.run_{kind}"
        return self._running.ask(kind, reference, _one_of(args, kwargs, said), said)

    if not TYPE_CHECKING:  # a type checker finds what is not there

        def __getattr__(self, name: str) -> Any:
            if name == "db":
                raise NotAllowed(
                    "an action has no ctx.db, because it is no transaction; read and write in queries and mutations, and"
                    " call them: ctx.run_query(internal.posts.get, ...), ctx.run_mutation(...)"
                )
            raise AttributeError(f"ctx has no {name!r} in an action")


def _one_of(args: dict[str, Any] | None, kwargs: dict[str, Any], said: str) -> dict[str, Any]:
    if args is not None and kwargs:
        raise InvalidValue(f"{said} takes the arguments as one dict or as keywords, not both")
    return kwargs if args is None else args
