"""One client of one deployment: calls, live queries, administration; for scripts, notebooks and async code.

The public methods may be used from any thread except the two of :mod:`nbreactive.client.threads`. They hand the work
to the client thread and wait there for what they need.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from nbreactive.client import files, threads
from nbreactive.client.arguments import arguments_of, path_of, plain_args
from nbreactive.client.calls import WHO, Calls, dotted
from nbreactive.client.connection import Connection
from nbreactive.client.credentials import Credentials, TokenSource
from nbreactive.client.hints import with_hint
from nbreactive.client.live import LiveQuery
from nbreactive.client.live_value import FIRST_VALUE, LiveValue
from nbreactive.client.optimistic import Layer, Update
from nbreactive.client.paginated import PAGE_SIZE, PaginatedQuery, checked_size
from nbreactive.client.pending import PendingCall
from nbreactive.client.protocol import Outcome, encode_args
from nbreactive.client.subscription import Key, Listener, Subscriptions
from nbreactive.client.target import Target
from nbreactive.errors import ArgumentError, FunctionNotFound, NBReactiveError, NotConnected, Refused
from nbreactive.functions.references import options_of
from nbreactive.values.instants import instant_of

if TYPE_CHECKING:
    from nbreactive.client.presence import Heart

T = TypeVar("T")
Live = TypeVar("Live", bound=LiveValue)
_log = logging.getLogger("nbreactive.functions")

SIGN_IN = 15.0
"""Seconds that ``set_auth`` waits for the server's word."""
EARLIER = 120.0
"""Seconds that ``live(...)`` waits for what was at an earlier time: it may have to be looked up in the history first."""
PATIENCE = 30.0
"""Seconds without a connection after which calls under way give up."""


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
        self.on_state: list[Callable[[], None]] = []
        """Called on the client thread when the connection is open or lost."""
        self.heart: Heart | None = None
        """Beats for the rooms that it is in."""
        self.beside: dict[str, Client] = {}
        """Clients of other deployments, which end with this one."""
        self._patience = patience
        self._pid = os.getpid()
        self._live: weakref.WeakSet[LiveValue] = weakref.WeakSet()
        self._closed = threading.Event()
        self._thread = threads.loop_thread()
        self._thread.submit(self._start()).result()

    async def _start(self) -> None:
        self.connection = Connection(self.target)
        self.subscriptions = Subscriptions(self.connection)
        self._calls = Calls(self.target, self.connection, self.subscriptions, self._patience)
        self.connection.on_state = self._state_changed

    # ---- who calls ----

    def set_auth(self, token: TokenSource | None, *, wait: bool = True) -> None:
        """Call and look as somebody who has signed in with a provider of the deployment (``auth_config``).

        Parameters
        ----------
        token
            Their token; or a function that gets one, ``fetch(force_refresh)``, which is called again before a token ends
            and when the server does not accept it. None: :meth:`clear_auth`.
        wait
            Return when the server has accepted the token, and raise if it does not.

        Raises
        ------
        Unauthenticated
            The server does not accept the token.

        Notes
        -----
        When the session of who has signed in ends and there is no other token, the client is nobody, also in Jupyter,
        until it is given another token or :meth:`clear_auth` is called.

        Examples
        --------
        >>> client.set_auth(lambda force_refresh=False: sign_in_at_the_issuer())       # doctest: +SKIP
        """
        self.check_thread("set_auth(...)")
        if token is None:
            self.clear_auth()
            return
        self._wait(self.connection.sign_in(Credentials(token), SIGN_IN if wait else 0.0))
        if wait:
            with contextlib.suppress(NBReactiveError):  # the name is for those who look, and nothing else
                identity = self.who() or {}
                names = (identity.get(claim) for claim in ("name", "email", "subject"))
                self.connection.person = next((str(name) for name in names if name), "")

    def clear_auth(self) -> None:
        """Call and look as who the connection itself is: in Jupyter its user, else nobody."""
        self.check_thread("clear_auth()")
        self._wait(self.connection.sign_in(None))

    def who(self) -> dict[str, Any] | None:
        """Return who functions see in ``ctx.auth`` when this client calls them; None: nobody.

        Examples
        --------
        >>> client.who()       # doctest: +SKIP
        {'tokenIdentifier': 'jupyter|ada', 'subject': 'ada', 'name': 'Ada', 'issuer': 'jupyter', 'via': 'kernel'}
        """
        return self.call(WHO)

    # ---- calls ----

    def call(self, ref: Any, args: Mapping[str, Any] | None = None, *, mutation: bool = False) -> Any:
        """Run a query, mutation or action once and return its result; raises its error.

        With ``mutation`` what is not a mutation is refused. The option ``at`` of a reference asks a query as of then.
        """
        path = path_of(ref)
        self.check_thread(f"{path}(...)")
        at = _time_of(options_of(ref))
        outcome = self._wait(self._calls.run(path, encode_args(plain_args(args)), mutation=mutation, at=at))
        return self._result(path, outcome)

    async def aio(
        self,
        ref: Any,
        args: Mapping[str, Any] | None = None,
        update: Update | None = None,
        *,
        mutation: bool = False,
    ) -> Any:
        """Like :meth:`call`, for async code: never blocks the caller's loop.

        ``update`` is an optimistic update, see :func:`nbreactive.use_mutation`; with ``mutation`` what is none is refused.
        """
        path = path_of(ref)
        self._check_process()
        work, _ = self._begin(path, args, update, mutation, _time_of(options_of(ref)))
        outcome = await asyncio.wrap_future(self._thread.submit(work))
        return self._result(path, outcome)

    def start(self, ref: Any, args: Mapping[str, Any] | None = None, update: Update | None = None) -> PendingCall[Any]:
        """Send a mutation and return at once; live queries show the optimistic ``update`` when this returns.

        Its result is what the returned future gives. If the update raises, this raises it, and nothing is sent.
        """
        path = path_of(ref)
        self._check_process()
        work, layer = self._begin(path, args, update, mutation=True)
        running = self._thread.submit(work)
        if layer is not None:
            self.subscriptions.layers.wait(layer)
        return PendingCall(path, running, lambda lines: self.on_logs(path, lines))

    def _begin(
        self, path: str, args: Mapping[str, Any] | None, update: Update | None, mutation: bool, at: int = 0
    ) -> tuple[Coroutine[Any, Any, Outcome], Layer | None]:
        values = plain_args(args)
        text = encode_args(values)
        if update is None:
            return self._calls.run(path, text, mutation=mutation, at=at), None
        self.subscriptions.layers.check(path)
        layer = Layer(path, update, values)
        return self._calls.run_optimistically(path, text, layer), layer

    def live(
        self, ref: Any, args: Mapping[str, Any] | None = None, options: Mapping[str, Any] | None = None
    ) -> LiveQuery:
        """Make a query live; waits for its first result unless ``wait=False`` is among the options.

        With the option ``at`` it shows what was at an earlier time.
        """
        path = path_of(ref)
        chosen = _checked_options(options, {"at", "wait", "timeout"})
        at = _time_of(chosen)
        if at:
            chosen.setdefault("timeout", EARLIER)
        return self._opened(path, chosen, lambda: LiveQuery(self, path, arguments_of(args), at=at))

    def paginated(
        self, ref: Any, args: Mapping[str, Any] | None = None, options: Mapping[str, Any] | None = None
    ) -> PaginatedQuery:
        """Make a paginated query live; see :func:`nbreactive.use_paginated_query`."""
        path = path_of(ref)
        chosen = _checked_options(options, {"wait", "timeout", "page_size"})
        size = checked_size(chosen.get("page_size", PAGE_SIZE))
        return self._opened(path, chosen, lambda: PaginatedQuery(self, path, arguments_of(args), page_size=size))

    def _opened(self, path: str, chosen: dict[str, Any], make: Callable[[], Live]) -> Live:
        self._check_process()
        if chosen.get("wait", True):
            self.check_thread(f"{path}.live(...) that waits")
        self._check_is_query(path)
        live = make()
        self.keep(live)
        if not chosen.get("wait", True):
            return live
        try:
            return live.wait(chosen.get("timeout", FIRST_VALUE))
        except FunctionNotFound:
            live.close()
            self._wait(self._calls.kind_of(path))  # says what there is instead
            self._check_is_query(path)
            raise
        except ArgumentError as error:
            live.close()
            raise with_hint(path, error, pages=isinstance(live, PaginatedQuery)) from None
        except BaseException:
            live.close()
            raise

    def _check_is_query(self, path: str) -> None:
        if self._calls.kinds.get(path, "query") != "query" and not threads.on_own_thread():
            self._wait(self._calls.load_functions())  # it may have been deployed as another kind since
        kind = self._calls.kinds.get(path, "query")
        if kind != "query":
            name = dotted(path)
            raise ArgumentError(
                f"{name} is {'an' if kind == 'action' else 'a'} {kind}, and only queries can be live: call it, "
                f"{name}(...)"
                + (f", or keep it as a function, f = use_mutation({name})." if kind == "mutation" else ".")
            )

    def _result(self, path: str, outcome: Outcome) -> Any:
        if outcome.logs:
            self.on_logs(path, outcome.logs)
        if outcome.error is not None:
            raise with_hint(path, outcome.error)
        return outcome.value

    # ---- administration ----

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request to ``/api/admin/<path>`` and return the decoded answer."""
        self.check_thread(f"a request for {path}")
        with self.explained():
            return self._wait(self.target.fetch_json(method, f"/api/admin/{path}", body))

    def admin_bytes(self, path: str) -> bytes:
        """Like :meth:`admin` with GET, for answers that are not JSON; drawings may ask too (``table.df()``)."""
        return self.fetch_bytes("GET", f"/api/admin/{path}")

    def fetch_bytes(self, method: str, path: str, body: Any = None, *, within: float = 60.0) -> bytes:
        """Send a request and return the answer as it is."""
        self._check_process()
        with self.explained():
            return self._wait(self.target.fetch(method, path, body, within=within))

    # ---- stored files ----

    def upload(self, url: str, content: Any, *, content_type: str | None = None) -> str:
        """Upload a file to the address that a function has made; see :func:`nbreactive.upload`."""
        self.check_thread("an upload")
        return files.upload(self.target, url, content, content_type)

    def download(self, url: str, to: str | Path | None = None) -> bytes | None:
        """Download a stored file; see :func:`nbreactive.download`."""
        self.check_thread("a download")
        return files.download(self.target, url, to)

    @contextlib.contextmanager
    def explained(self) -> Generator[None]:
        """Say of what a backend refuses to those without its key where the key goes (it hides functions from them)."""
        try:
            yield
        except (Refused, FunctionNotFound) as refused:
            keyless = self.target.kind == "backend" and "Authorization" not in self.target.headers
            hidden = isinstance(refused, FunctionNotFound) and "_system/" in str(refused)
            if hidden and not keyless:
                who = "the user of this connection" if self.target.kind == "jupyter" else "this key"
                raise Refused(
                    f"looking at whole tables needs the role 'deploy', which {who} does not have at"
                    f" {self.target.label or self.target.base}: connect with a key that has it (nbreactive keys create NAME"
                    " --role deploy), or ask a function for the rows"
                ) from None
            if not keyless or (isinstance(refused, FunctionNotFound) and not hidden):
                raise
            raise Refused(
                f"{self.target.label or self.target.base} lets only the holder of its admin key deploy, and look at or fill "
                f'whole tables: connect("{self.target.base}", admin_key=...), in a notebook also '
                f"%reactive connect {self.target.base} --key KEY. The key is in the file admin.key of its data folder."
            ) from None

    def functions(self) -> list[dict[str, Any]]:
        """Return the deployed functions that this client may see, with arguments and documentation."""
        self.check_thread("functions()")
        return self._wait(self._calls.load_functions())

    def function(self, path: str) -> dict[str, Any]:
        """Return what is deployed under a path: kind, arguments, documentation; raises with near names if nothing is."""
        self.functions()
        kind = self._wait(self._calls.kind_of(path))
        return self._calls.described.get(path) or {"path": path, "kind": kind, "args": {"type": "any"}}

    @property
    def known_paths(self) -> list[str]:
        """Paths of the functions that were there when they were last looked up; asks nobody."""
        return [path for path in self._calls.kinds if not path.startswith(("_", "nbreactive/"))]

    def describe(self, path: str) -> dict[str, Any] | None:
        """Return what is known of a function (kind, arguments, documentation); asks nobody."""
        return self._calls.described.get(path)

    def forget_functions(self, deployed: Iterable[dict[str, Any]] = ()) -> None:
        """Look the functions up again at the next call (something was deployed), but for those ``deployed`` now."""
        self._calls.know(deployed)

    # ---- life ----

    @property
    def live_queries(self) -> list[LiveValue]:
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
        for other in self.beside.values():
            other.close()
        self._closed.set()
        self._wait(self.connection.close())

    @property
    def where(self) -> str:
        """Which deployment this is, and where."""
        name = self.target.health.get("deployment", "default")
        data = f" · data {self.target.data}" if self.target.data else ""
        return f"deployment {name} on {self.target.label or self.target.base}{data}"

    def __repr__(self) -> str:
        parts = [self.where, "closed" if self.closed else self.connection.state, self.connection.speaker]
        return f"<Client · {' · '.join(part for part in parts if part)}>"

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

    def keep(self, live: LiveValue) -> None:
        """List a live query among this client's (without holding it)."""
        self._live.add(live)

    def attach(self, token: int, key: Key, listener: weakref.ref[Listener]) -> None:
        """Let a live query hear of ``key``; returns at once."""
        self._thread.call(self.subscriptions.attach, token, key, listener)

    def soon(self, work: Callable[..., object], *args: Any) -> None:
        """Run ``work`` on the client thread, in order with what else is handed to it; returns at once."""
        self._thread.call(work, *args)

    def detach(self, token: int) -> None:
        """Let a live query hear of nothing any more; returns at once."""
        if self._pid == os.getpid():
            self._thread.call(self.subscriptions.detach, token)

    # ---- on the client thread ----

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self._thread.submit(work).result()

    async def run(self, path: str, args: Mapping[str, Any]) -> Outcome:
        """Run a function of the system once."""
        return await self._calls.run(path, encode_args(plain_args(args)))

    def _state_changed(self) -> None:
        self._calls.connection_changed()
        self.subscriptions.tell_all()
        for changed in self.on_state:
            changed()


def _time_of(options: Mapping[str, Any]) -> int:
    """Return the earlier time among the options of a reference; 0: none."""
    at = options.get("at")
    return 0 if at is None else instant_of(at)


def _checked_options(options: Mapping[str, Any] | None, known: set[str]) -> dict[str, Any]:
    chosen = dict(options or {})
    if unknown := chosen.keys() - known:
        raise ArgumentError(
            f"Unknown option {', '.join(sorted(unknown))} for a live query: it knows {', '.join(sorted(known))}. "
            + ("page_size is for use_paginated_query(ref, ...). " if "page_size" in unknown else "")
            + "Arguments of the function go into the call."
        )
    return chosen


def _log_lines(path: str, lines: tuple[str, ...]) -> None:
    for line in lines:
        _log.info("%s: %s", path, line)
