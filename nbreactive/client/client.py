"""One client of one deployment: calls, live queries, administration; for scripts, notebooks and async code.

The public methods may be used from any thread except the two of :mod:`nbreactive.client.threads`. They hand the work
to the client thread and wait there for what they need.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import logging
import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping
from typing import Any, Self, TypeVar

import traitlets

from nbreactive.client import threads
from nbreactive.client.arguments import SKIP, Arguments, FixedArguments, to_value
from nbreactive.client.connection import Connection
from nbreactive.client.live import FIRST_VALUE, LiveQuery
from nbreactive.client.protocol import Outcome, encode_args
from nbreactive.client.subscription import Key, Listener, Subscriptions
from nbreactive.client.target import Target
from nbreactive.errors import ArgumentError, FunctionNotFound, NBReactiveError, NotConnected, Refused

T = TypeVar("T")
_log = logging.getLogger("nbreactive.functions")

CONNECT = 10.0
"""Seconds a call waits for a connection before it says that there is none."""
PATIENCE = 30.0
"""Seconds without a connection after which calls under way give up."""
_SYSTEM_KINDS = {"_system/tables:rows": "query", "_system/tables:insert_many": "mutation"}
_OPTIONS = {"wait", "timeout"}


class Client:
    """A connection to one deployment.

    Parameters
    ----------
    target
        Where it is: see :func:`nbreactive.connect`, which finds it.

    Examples
    --------
    >>> client = nbreactive.connect("http://127.0.0.1:3210")       # doctest: +SKIP
    >>> client.call(api.chat.send, {"author": "me", "body": "hi"})       # doctest: +SKIP
    """

    def __init__(self, target: Target, *, patience: float = PATIENCE) -> None:
        self.target = target
        self.on_logs: Callable[[str, tuple[str, ...]], None] = _log_lines
        self._patience = patience
        self._pid = os.getpid()
        self._kinds: dict[str, str] = dict(_SYSTEM_KINDS)
        self._described: dict[str, dict[str, Any]] = {}
        self._live: weakref.WeakSet[LiveQuery] = weakref.WeakSet()
        self._waiting: set[asyncio.Future[Outcome]] = set()
        self._giving_up: asyncio.TimerHandle | None = None
        self._closed = threading.Event()
        self._thread = threads.loop_thread()
        self._thread.submit(self._start()).result()

    async def _start(self) -> None:
        self.connection = Connection(self.target)
        self.subscriptions = Subscriptions(self.connection)
        self.connection.on_state = self._state_changed
        self._door = asyncio.Lock()

    # ---- calls ----

    def call(self, ref: Any, args: Mapping[str, Any] | None = None) -> Any:
        """Run a query, mutation or action once and return its result; raises its error."""
        path = path_of(ref)
        self.check_thread(f"{path}(...)")
        outcome = self._wait(self._run(path, encode_args(_plain(args))))
        return self._result(path, outcome)

    async def aio(self, ref: Any, args: Mapping[str, Any] | None = None) -> Any:
        """Like :meth:`call`, for async code: never blocks the caller's loop."""
        path = path_of(ref)
        self._check_process()
        outcome = await asyncio.wrap_future(self._thread.submit(self._run(path, encode_args(_plain(args)))))
        return self._result(path, outcome)

    def live(
        self, ref: Any, args: Mapping[str, Any] | None = None, options: Mapping[str, Any] | None = None
    ) -> LiveQuery:
        """Make a query live; waits for its first result unless ``wait=False`` is among the options."""
        path = path_of(ref)
        chosen = _checked_options(options)
        self._check_process()
        if chosen.get("wait", True):
            self.check_thread(f"{path}.live(...) that waits")
        self._check_is_query(path)
        live = LiveQuery(self, path, _arguments(args))
        self.keep(live)
        if not chosen.get("wait", True):
            return live
        try:
            return live.wait(chosen.get("timeout", FIRST_VALUE))
        except FunctionNotFound:
            live.close()
            self._wait(self._kind(path))  # says what there is instead
            self._check_is_query(path)
            raise
        except BaseException:
            live.close()
            raise

    def _check_is_query(self, path: str) -> None:
        if self._kinds.get(path, "query") != "query" and not threads.on_own_thread():
            self._wait(self._load_functions())  # it may have been deployed as another kind since
        kind = self._kinds.get(path, "query")
        if kind != "query":
            name = _dotted(path)
            raise ArgumentError(
                f"{name} is {'an' if kind == 'action' else 'a'} {kind}, and only queries can be live: call it, "
                f"{name}(...)"
                + (f", or keep it as a function, f = use_mutation({name})." if kind == "mutation" else ".")
            )

    def _result(self, path: str, outcome: Outcome) -> Any:
        if outcome.logs:
            self.on_logs(path, outcome.logs)
        if outcome.error is not None:
            raise outcome.error
        return outcome.value

    # ---- administration ----

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request to ``/api/admin/<path>`` and return the decoded answer."""
        self.check_thread(f"a request for {path}")
        with self.explained():
            return self._wait(self.target.fetch_json(method, f"/api/admin/{path}", body))

    def admin_bytes(self, path: str) -> bytes:
        """Like :meth:`admin` with GET, for answers that are not JSON; drawings may ask too (``table.df()``)."""
        self._check_process()
        with self.explained():
            return self._wait(self.target.fetch("GET", f"/api/admin/{path}"))

    @contextlib.contextmanager
    def explained(self) -> Generator[None]:
        """Say of what a backend refuses to those without its key where the key goes (it hides functions from them)."""
        try:
            yield
        except (Refused, FunctionNotFound) as refused:
            keyless = self.target.kind == "backend" and "Authorization" not in self.target.headers
            if not keyless or (isinstance(refused, FunctionNotFound) and "_system/" not in str(refused)):
                raise
            raise Refused(
                f"{self.target.label or self.target.base} lets only the holder of its admin key deploy, and look at or fill "
                f'whole tables: connect("{self.target.base}", admin_key=...), in a notebook also '
                f"%reactive connect {self.target.base} --key KEY. The key is in the file admin.key of its data folder."
            ) from None

    def functions(self) -> list[dict[str, Any]]:
        """Return the deployed functions that this client may see, with arguments and documentation."""
        self.check_thread("functions()")
        return self._wait(self._load_functions())

    @property
    def known_paths(self) -> list[str]:
        """Paths of the functions that were there when they were last looked up; asks nobody."""
        return [path for path in self._kinds if not path.startswith("_")]

    def describe(self, path: str) -> dict[str, Any] | None:
        """Return what is known of a function (kind, arguments, documentation); asks nobody."""
        return self._described.get(path)

    def forget_functions(self, deployed: Iterable[dict[str, Any]] = ()) -> None:
        """Look the functions up again at the next call (something was deployed), but for those ``deployed`` now."""
        self._know(deployed)

    # ---- life ----

    @property
    def live_queries(self) -> list[LiveQuery]:
        """Live queries of this client that are in use."""
        return [live for live in self._live if not live.closed]

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called, or the process is a fork of the one that connected."""
        return self._closed.is_set() or self._pid != os.getpid()

    def close(self) -> None:
        """Disconnect: live queries keep their last value and say ``closed``."""
        if self.closed:
            return
        for live in self.live_queries:
            live.close()
        self._closed.set()
        self._wait(self.connection.close())

    @property
    def where(self) -> str:
        """Which deployment this is, and where."""
        name = self.target.health.get("deployment", "default")
        data = f" · data {self.target.data}" if self.target.data else ""
        return f"deployment {name} on {self.target.label or self.target.base}{data}"

    def __repr__(self) -> str:
        return f"<Client · {self.where} · {'closed' if self.closed else self.connection.state}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def check_thread(self, what: str) -> None:
        """Raise where waiting for the server would stop everything: on nbreactive's own threads."""
        self._check_process()
        if threads.on_own_thread():
            raise NBReactiveError(
                f"{what} was called by an observer or renderer, on the thread that runs all of them: waiting there "
                "would hold every view back. Call it from a cell, a button, or a thread of your own; "
                "live queries are fine with .options(wait=False)."
            )

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            raise NotConnected(
                "This connection belongs to the process that this one was forked from. "
                "Call nbreactive.connect() here for one of its own."
            )
        if self._closed.is_set():
            raise NotConnected("This client was disconnected: call nbreactive.connect() for a new one.")

    # ---- used by live queries ----

    def keep(self, live: LiveQuery) -> None:
        """List a live query among this client's (without holding it)."""
        self._live.add(live)

    def attach(self, token: int, key: Key, listener: weakref.ref[Listener]) -> None:
        """Let a live query hear of ``key``; returns at once."""
        self._thread.call(self.subscriptions.attach, token, key, listener)

    def detach(self, token: int) -> None:
        """Let a live query hear of nothing any more; returns at once."""
        if self._pid == os.getpid():
            self._thread.call(self.subscriptions.detach, token)

    # ---- on the client thread ----

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self._thread.submit(work).result()

    async def _run(self, path: str, args: str) -> Outcome:
        known = path in self._kinds
        kind = await self._admit(path)
        outcome = await self._run_as(kind, path, args)
        if known and isinstance(outcome.error, FunctionNotFound):
            # deployed again as another kind since we looked; what was refused has not run
            self._kinds.pop(path, None)
            now = await self._kind(path)
            if now != kind:
                return await self._run_as(now, path, args)
        return outcome

    async def _admit(self, path: str) -> str:
        """Wait for what a call needs; calls leave in the order in which they came, so mutations start in order."""
        connection = self.connection
        if connection.state == "open" and path in self._kinds and not self._door.locked():
            return self._kinds[path]
        deadline = asyncio.get_running_loop().time() + CONNECT
        try:
            async with asyncio.timeout_at(deadline), self._door:
                await connection.opened(CONNECT)
                return await self._kind(path)
        except TimeoutError:
            problem = connection.problem or NotConnected(f"No answer from {self.target.base} within {CONNECT:g} s.")
            raise problem from None

    async def _run_as(self, kind: str, path: str, args: str) -> Outcome:
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def done(outcome: Outcome) -> None:
            if not future.done():
                future.set_result(outcome)

        session = self.connection.session
        if kind == "query":
            # a query of its own, never a shared one: its result is at least as new as this call
            entry = session.add(path, args, done)
            self.connection.flush()
            self._waiting.add(future)
            try:
                return await future
            finally:
                self._waiting.discard(future)
                session.remove(entry)
                self.connection.flush()
        session.request("Mutation" if kind == "mutation" else "Action", path, args, done)
        self.connection.flush()
        return await future

    async def _kind(self, path: str) -> str:
        if path not in self._kinds:
            await self._load_functions()
        kind = self._kinds.get(path)
        if kind is None:
            near = difflib.get_close_matches(path, self._kinds, 3)
            hint = f" Did you mean {' or '.join(_dotted(name) for name in near)}?" if near else ""
            raise FunctionNotFound(
                f"There is no function {_dotted(path)} on {self.target.label or self.target.base}.{hint} "
                "client.functions() lists what is deployed, in a notebook %reactive functions."
            )
        return kind

    async def _load_functions(self) -> list[dict[str, Any]]:
        answer = await self.target.fetch_json("GET", "/api/admin/functions")
        functions: list[dict[str, Any]] = answer["functions"]
        self._know(functions)
        return functions

    def _know(self, functions: Iterable[dict[str, Any]]) -> None:
        self._described = {function["path"]: function for function in functions}
        self._kinds = _SYSTEM_KINDS | {path: function["kind"] for path, function in self._described.items()}

    def _state_changed(self) -> None:
        loop = asyncio.get_running_loop()
        if self.connection.state == "open" and self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None
        elif self.connection.state == "reconnecting" and self._giving_up is None:
            self._giving_up = loop.call_later(self._patience, self._give_up)
        self.subscriptions.tell_all()

    def _give_up(self) -> None:
        why = f"there has been no connection to {self.target.base} for {self._patience:g} s. {self.connection.problem or ''}"
        for future in list(self._waiting):
            if not future.done():
                future.set_result(Outcome(error=NotConnected(f"The query got no answer: {why}")))
        session = self.connection.session
        for request in list(session.requests.values()):
            unseen = session.withdraw(request)
            what = "was not sent" if unseen else "may or may not have been applied (look before you run it again)"
            request.done(Outcome(error=NotConnected(f"The call {what}: {why}")))


def path_of(ref: Any) -> str:
    """Return the path (``chat:send``) of a reference, a decorated function or a text."""
    from nbreactive.functions.references import canonical_path

    path = ref if isinstance(ref, str) else getattr(ref, "path", None)
    if not isinstance(path, str) or not path:
        raise ArgumentError(f"{ref!r} is not a function: give a reference such as api.chat.send, or 'chat:send'.")
    return canonical_path(path)


def _dotted(path: str) -> str:
    return "api." + path.replace("/", ".").replace(":", ".")


def _plain(args: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the arguments as values; a widget stands for what it shows now."""
    plain = {name: to_value(value, name) for name, value in (args or {}).items()}
    if any(value is SKIP for value in plain.values()):
        raise ArgumentError("SKIP pauses live queries; a call has nothing to pause.")
    return plain


def _arguments(args: Mapping[str, Any] | None) -> Arguments:
    given = dict(args or {})
    if any(isinstance(value, traitlets.HasTraits) for value in given.values()):
        from nbreactive.notebook.bindings import WidgetArguments

        return WidgetArguments(given)
    return FixedArguments({name: to_value(value, name) for name, value in given.items()})


def _checked_options(options: Mapping[str, Any] | None) -> dict[str, Any]:
    chosen = dict(options or {})
    if unknown := chosen.keys() - _OPTIONS:
        raise ArgumentError(
            f"Unknown option {', '.join(sorted(unknown))} for .live(): it knows {', '.join(sorted(_OPTIONS))}. "
            "Arguments of the function go into the call."
        )
    return chosen


def _log_lines(path: str, lines: tuple[str, ...]) -> None:
    for line in lines:
        _log.info("%s: %s", path, line)
