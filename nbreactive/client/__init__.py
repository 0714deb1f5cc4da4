"""The client: calls, live queries, and the way to a backend."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

from nbreactive.client import discovery, threads
from nbreactive.client.arguments import SKIP
from nbreactive.client.client import Client, path_of
from nbreactive.client.live import LiveQuery
from nbreactive.errors import ArgumentError

__all__ = [
    "SKIP",
    "Client",
    "LiveQuery",
    "connect",
    "current",
    "disconnect",
    "install",
    "load",
    "render",
    "table",
    "use_mutation",
    "use_query",
]


class _Process:
    """The client that references of this process go through."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.client: Client | None = None


_process = _Process()


def connect(url: str | None = None, *, token: str | None = None, admin_key: str | None = None) -> Client:
    """Connect to a deployment and make it the one that ``api`` speaks to.

    Parameters
    ----------
    url
        A Jupyter server's address, as copied from a browser, or a backend's. Without it: ``NBREACTIVE_URL``, else
        the Jupyter server of this kernel, else a backend in ``.nbreactive`` here, which is started if need be.
    token
        Token of the Jupyter server, when the address has none.
    admin_key
        Admin key of a backend, for deploying to it.
    """
    target = threads.loop_thread().submit(discovery.find(url, token, admin_key)).result()
    client = Client(target)
    with _process.lock:
        before, _process.client = _process.client, client
    if before is not None:
        before.close()
    install()
    return client


def current() -> Client:
    """Return the connected client; connects as :func:`connect` without arguments does when there is none."""
    with _process.lock:
        return connected() or connect()


def connected() -> Client | None:
    """Return the connected client, or None."""
    client = _process.client
    return client if client is not None and not client.closed else None


def disconnect() -> None:
    """Close the current client; its live queries keep their last values."""
    with _process.lock:
        before, _process.client = _process.client, None
    if before is not None:
        before.close()


class _CurrentClient:
    """What references call: whichever client is connected at that moment."""

    def call(self, ref: Any, args: Mapping[str, Any]) -> Any:
        return current().call(ref, args)

    def live(self, ref: Any, args: Mapping[str, Any], options: Mapping[str, Any] | None = None) -> LiveQuery:
        return current().live(ref, args, options)

    async def aio(self, ref: Any, args: Mapping[str, Any]) -> Any:
        return await current().aio(ref, args)

    def paths(self) -> list[str]:
        client = connected()
        return client.known_paths if client is not None else []


def install() -> None:
    """Let references (``api.chat.send(...)``) go through the current client."""
    from nbreactive.functions import references

    references.set_caller(_CurrentClient())


def use_query(ref: Any, *skip: Any, **args: Any) -> LiveQuery:
    """Make a query live: the same as ``ref.live(**args)``; ``use_query(ref, SKIP)`` waits for arguments."""
    given: Mapping[str, Any] = args
    if len(skip) == 1 and not args:
        given = {"": SKIP} if skip[0] is SKIP else skip[0]
    elif skip:
        raise ArgumentError(f"use_query({path_of(ref)}, ...) takes keywords, or one dict, or SKIP.")
    return ref.live(dict(given)) if callable(getattr(ref, "live", None)) else current().live(ref, given)


class BoundMutation:
    """A mutation to be called again and again; ``.aio(...)`` for async code."""

    def __init__(self, ref: Any) -> None:
        self.path = path_of(ref)

    def __call__(self, *given: Mapping[str, Any], **args: Any) -> Any:
        return current().call(self.path, self._one(given, args))

    async def aio(self, *given: Mapping[str, Any], **args: Any) -> Any:
        """Run it without blocking the caller's loop."""
        return await current().aio(self.path, self._one(given, args))

    def _one(self, given: tuple[Mapping[str, Any], ...], args: dict[str, Any]) -> Mapping[str, Any]:
        if given and (args or len(given) > 1):
            raise ArgumentError(f"{self.path} takes keywords or one dict, not both.")
        return given[0] if given else args

    def __repr__(self) -> str:
        return f"<mutation {self.path}>"


def use_mutation(ref: Any) -> BoundMutation:
    """Return a mutation as a function: ``like = use_mutation(api.posts.like); like(post_id=...)``."""
    return BoundMutation(ref)


def render(draw: Callable[..., Any], *queries: LiveQuery) -> Any:
    """Show what ``draw(value1, value2, ...)`` returns, and draw it again whenever one of the queries changes."""
    from nbreactive.notebook.render import Rendering

    if not queries:
        raise ArgumentError("render(fn, q1, q2, ...) needs at least one live query to follow.")
    return Rendering(lambda: draw(*(query.value for query in queries)), list(queries))


def table(name: str, *, limit: int = 1000, order: str = "desc") -> LiveQuery:
    """Show a table live, in one line, without a function (needs the right to deploy)."""
    from nbreactive.notebook.table import TableQuery

    return TableQuery.open(current(), name, limit, order)


def load(name: str, data: Any, **options: Any) -> int:
    """Insert a DataFrame (or rows) into a table; see :func:`nbreactive.notebook.table.load`."""
    from nbreactive.notebook.table import load as load_into

    return load_into(current(), name, data, **options)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_process.__init__)
