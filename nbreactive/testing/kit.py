"""What tests use: a backend, and the people who call it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from nbreactive.engine.requests import MutationRequest, QueryRequest, QuerySpec
from nbreactive.engine.transactions import Failure, LogLine
from nbreactive.errors import ArgumentError
from nbreactive.functions import references
from nbreactive.functions.http import find_route
from nbreactive.functions.paths import canonical_path
from nbreactive.functions.specs import FunctionSpec
from nbreactive.services.actions import ActionRequest
from nbreactive.services.env import VariableChange
from nbreactive.testing.fetching import Exchange, Fetched, request_parts
from nbreactive.testing.files import download, upload
from nbreactive.testing.live import Live, LiveQueries, failed
from nbreactive.testing.machine import RUN, Machine, sources
from nbreactive.testing.time import START
from nbreactive.values.checks import check_value
from nbreactive.values.ids import Id
from nbreactive.values.json import decode_json
from nbreactive.values.packing import pack

_ISSUER = "https://test"


class Caller:
    """Somebody who calls functions: nobody known, or a person (:meth:`with_identity`).

    Public and internal functions can be called alike.
    """

    def __init__(self, machine: Machine, live: LiveQueries, identity: dict[str, Any] | None) -> None:
        self._machine = machine
        self._live = live
        self._identity = identity
        self.logs: list[LogLine] = []
        """What the last call printed and logged."""

    def with_identity(self, identity: Mapping[str, Any]) -> Caller:
        """Return the same backend as a person sees it.

        Parameters
        ----------
        identity
            What ``ctx.auth.get_user_identity()`` gives: ``{"subject": "ada", "name": "Ada"}``. Without an ``issuer``
            it is ``https://test``.
        """
        return Caller(self._machine, self._live, {"issuer": _ISSUER, "subject": "someone", **identity})

    def query(self, reference: Any, args: Mapping[str, Any] | None = None, /, **kwargs: Any) -> Any:
        """Run a query and return its result; raises its error."""
        path, packed = _path(reference), _packed(reference, args, kwargs)
        request = QueryRequest(path, packed, self._identity, "internal")
        result = self._machine.run(self._machine.engine.query(request))
        return self._result(result.value, result.failure, result.logs)

    def mutation(self, reference: Any, args: Mapping[str, Any] | None = None, /, **kwargs: Any) -> Any:
        """Run a mutation and return its result; raises its error."""
        path, packed = _path(reference), _packed(reference, args, kwargs)
        request = MutationRequest(path, packed, self._identity, "internal")
        result = self._machine.run(self._machine.engine.mutate(request))
        return self._result(result.value, result.failure, result.logs)

    def action(self, reference: Any, args: Mapping[str, Any] | None = None, /, **kwargs: Any) -> Any:
        """Run an action to its end and return its result; raises its error."""
        request = ActionRequest(_path(reference), _packed(reference, args, kwargs), self._identity, "internal")
        outcome = self._machine.run(self._machine.actions.run(request))
        return self._result(outcome.value, outcome.failure, outcome.logs)

    def fetch(
        self,
        path: str,
        *,
        method: str = "GET",
        body: str | bytes | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Fetched:
        """Send an HTTP request to the HTTP action that is routed there; 404 if there is none.

        Parameters
        ----------
        path
            ``/hook?x=1``, as the router has it (without ``/http``).
        method, body, headers
            Of the request.
        json
            A body in JSON, instead of ``body``.

        Raises
        ------
        FunctionFailed, AppError, ...
            The action raised; a client would get status 500.
        """
        head, data = request_parts(path, method, body, json, headers or {})
        route = find_route(self._machine.deployer.manifest.routes, head.method, head.path)
        if route is None:
            return Fetched(404, {}, f"No HttpAction routed for {head.path}".encode())
        exchange = Exchange(head, data)
        request = ActionRequest(route.function, pack({}), self._identity, "internal")
        outcome = self._machine.run(self._machine.actions.run(request, exchange))
        self._result(outcome.value, outcome.failure, outcome.logs)
        return exchange.fetched

    def live(self, reference: Any, args: Mapping[str, Any] | None = None, /, **kwargs: Any) -> Live:
        """Make a query live: its ``value`` is up to date after every call, and after :meth:`Backend.advance`."""
        spec = QuerySpec(_path(reference), _packed(reference, args, kwargs), self._identity, "internal")
        live = Live(self._live, spec)
        self._machine.run(self._live.update())
        return live

    def upload(self, url: str, content: bytes, *, content_type: str | None = None) -> Id:
        """Upload a file, as a client does with an address of ``ctx.storage.generate_upload_url()``; returns its id.

        Raises
        ------
        Refused, InvalidValue, LimitExceeded
            The address is not (or no longer) good, or not for this file.
        """
        return self._machine.run(upload(self._machine.files, url, content, content_type))

    def download(self, url: str) -> bytes | None:
        """Return the content of a file, as a client gets it from an address of ``ctx.storage.get_url(id)``; None: no such file."""
        return self._machine.run(download(self._machine.files, url))

    def run(self, body: Callable[[Any], Any]) -> Any:
        """Run ``body(ctx)`` as a mutation and return its result: to prepare documents, and to look at them.

        What it raises, a failed ``assert`` too, undoes what it wrote, and is raised here.
        """
        raised: list[BaseException] = []

        def noting(ctx: Any) -> Any:
            try:
                return body(ctx)
            except BaseException as error:
                raised.append(error)
                raise

        self._machine.body = noting
        try:
            request = MutationRequest(RUN, pack({}), self._identity, "system")
            result = self._machine.run(self._machine.engine.mutate(request))
        finally:
            self._machine.body = None
        if result.failure is not None and raised:
            raise raised[-1]
        return self._result(result.value, result.failure, result.logs)

    def _result(self, value: bytes, failure: Failure | None, logs: Any) -> Any:
        self.logs = list(logs)
        if failure is not None:
            raise failed(failure)
        return decode_json(value)


class Backend(Caller):
    """A backend for one test: in this process, in memory, with time that stands still.

    Parameters
    ----------
    modules
        The functions folder, or modules as texts: ``{"chat": "from nbreactive import ..."}``.
    env
        Environment variables of the deployment.
    now
        What the clock says: seconds since the epoch, or an aware datetime. It moves by :meth:`advance` only.

    Raises
    ------
    DeployRefused
        The modules cannot be deployed; the message says where and why.

    Examples
    --------
    >>> source = '''
    ... from nbreactive import mutation, query
    ...
    ... @mutation
    ... def add(ctx, text: str):
    ...     ctx.db.insert("notes", {"text": text, "at": ctx.now()})
    ...
    ... @query
    ... def texts(ctx):
    ...     return [note["text"] for note in ctx.db.query("notes")]
    ... '''
    >>> from nbreactive import api
    >>> with Backend({"notes": source}) as t:
    ...     t.mutation(api.notes.add, text="hello")
    ...     t.query(api.notes.texts)
    ['hello']
    """

    def __init__(
        self,
        modules: str | Path | Mapping[str, str] | None = None,
        *,
        env: Mapping[str, str] | None = None,
        now: float | datetime = START,
    ) -> None:
        found = sources(modules)
        machine = Machine(_seconds(now))
        super().__init__(machine, LiveQueries(machine), None)
        self._before = references.set_caller(_References(self, lambda: machine.deployer.functions))
        try:
            machine.run(machine.deploy(found, env or {}))
        except BaseException:
            self.close()
            raise

    # ---- time ----------------------------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        """What the clock says."""
        return datetime.fromtimestamp(self._machine.clock.now_ns() / 1e9, UTC)

    def advance(self, seconds: float) -> None:
        """Let time pass: scheduled functions run at their times, and live queries that asked for it are run again."""
        if not seconds >= 0:
            raise ArgumentError(f"time only goes on: advance takes seconds, 0 or more, not {seconds!r}")
        self._machine.run(self._machine.advance(seconds))

    def finish_in_progress_scheduled_functions(self) -> None:
        """Run the scheduled functions that are due now, and those that they schedule for now."""
        self._machine.run(self._machine.drain())

    def finish_scheduled_functions(self, *, steps: int = 1000) -> None:
        """Run all scheduled functions, moving the clock to the time of each, until none is left.

        Parameters
        ----------
        steps
            How often the clock is moved at most: functions may schedule themselves for ever.
        """
        self._machine.run(self._machine.finish(steps))

    def scheduled_functions(self, state: str | None = None) -> list[dict[str, Any]]:
        """Return the scheduled functions by time: ``name``, ``scheduledTime`` (ms), ``state``, ...

        Parameters
        ----------
        state
            Only those that are ``pending``, ``success``, ``failed`` or ``canceled``.
        """
        return self._machine.jobs.listing(state, 10_000)

    # ---- the deployment --------------------------------------------------------------------------------------

    def set_env(self, name: str, value: str | None) -> None:
        """Set an environment variable of the deployment; None removes it."""
        self._machine.run(self._machine.environment.update([VariableChange(name, value)]))

    def close(self) -> None:
        """End; what ``with`` does by itself."""
        references.set_caller(self._before)
        self._machine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _References:
    """What ``api.chat.send(...)`` goes to while a backend is open."""

    def __init__(self, backend: Backend, functions: Callable[[], Mapping[str, FunctionSpec]]) -> None:
        self._backend = backend
        self._functions = functions

    def call(self, reference: Any, args: Mapping[str, Any], /) -> Any:
        spec = self._functions().get(_path(reference))
        run = {"mutation": self._backend.mutation, "action": self._backend.action}
        return run.get(spec.kind if spec is not None else "", self._backend.query)(reference, args)

    def live(self, reference: Any, args: Mapping[str, Any], _options: Mapping[str, Any], /) -> Live:
        return self._backend.live(reference, args)

    async def aio(self, reference: Any, args: Mapping[str, Any], /) -> Any:
        return self.call(reference, args)


def _path(reference: Any) -> str:
    path = reference if isinstance(reference, str) else getattr(reference, "path", None)
    if not isinstance(path, str):
        raise ArgumentError(f"{reference!r} is not a function: give a reference such as api.chat.send, or 'chat:send'")
    return canonical_path(path)


def _packed(reference: Any, args: Mapping[str, Any] | None, kwargs: dict[str, Any]) -> bytes:
    given = references.keywords_of(_path(reference), () if args is None else (args,), kwargs)
    return pack(check_value(given, "args", datetimes=True))


def _seconds(now: float | datetime) -> float:
    if isinstance(now, datetime):
        if now.tzinfo is None:
            raise ArgumentError("now= takes a datetime with a time zone; add tzinfo=timezone.utc")
        return now.timestamp()
    return float(now)
