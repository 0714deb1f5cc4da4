"""Which client this process speaks through: references find it here, whoever has connected it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nbreactive.client import discovery, standalone, threads
from nbreactive.client.client import Client
from nbreactive.client.credentials import Credentials, TokenSource
from nbreactive.client.deployed import deployed, known
from nbreactive.errors import NBReactiveError

if TYPE_CHECKING:
    from nbreactive.client.live import LiveQuery
    from nbreactive.client.target import Target


class _Process:
    """The client that references of this process go through."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.client: Client | None = None
        self.inherited: Target | None = None
        """Where the process that this one was forked from was connected."""
        self.quiet = False
        """Whether somebody else says where this process is connected (the notebook extension, in its status line)."""

    def forked(self) -> None:
        """Start afresh in a forked child, with the parent's deployment: it must write where its parent does."""
        target = self.client.target if self.client is not None else self.inherited
        quiet = self.quiet or target is not None  # the parent has said it
        self.__init__()
        self.inherited, self.quiet = target, quiet


process = _Process()


def connect(
    url: str | None = None,
    *,
    token: str | None = None,
    admin_key: str | None = None,
    deployment: str | None = None,
    auth: TokenSource | None = None,
    current: bool = True,
) -> Client:
    """Connect to a deployment and make it the one that ``api`` speaks to.

    Without arguments, where this process is connected already, it is the client that there is. Else the client before
    is closed, and what it showed live stays as it is: to become somebody else where one is connected, call
    :meth:`Client.set_auth`.

    Parameters
    ----------
    url
        A Jupyter server's address, as copied from a browser, or a backend's. Without it: ``NBREACTIVE_URL``, else
        the Jupyter server of this kernel, else a backend in ``.nbreactive`` here, which is started if need be. In a
        forked process (a pool of ``multiprocessing``): the deployment that the parent was connected to.
    token
        Token of the Jupyter server, when the address has none.
    admin_key
        Admin key of a backend (the file ``admin.key`` of its data folder), for deploying to it and for whole tables.
    deployment
        Its name, where there are several; default: ``NBREACTIVE_DEPLOYMENT``, else the first one.
    auth
        The token of who has signed in, or a function that gets one: see :meth:`Client.set_auth`.
    current
        False: a client beside the one that ``api`` speaks to, which goes on; this one has :meth:`Client.call` and
        :meth:`Client.live`, and ends with :meth:`Client.close`.

    Examples
    --------
    >>> client = nbreactive.connect("http://127.0.0.1:3210", admin_key=key)       # doctest: +SKIP
    >>> api.chat.send(author="me", body="from a script")       # doctest: +SKIP
    >>> client.functions()       # doctest: +SKIP
    """
    started = len(standalone.children())
    try:
        bearer = None
        if auth is not None:
            bearer = threads.loop_thread().submit(Credentials(auth).token()).result()
        parent = process.inherited if url is None else None
        if parent is not None and token is None and admin_key is None and deployment is None:
            target = parent
        else:
            address = parent.base if parent is not None else url
            found = discovery.find(address, token, admin_key, deployment, bearer or "")
            target = threads.loop_thread().submit(found).result()
        asked = any(given is not None for given in (url, token, admin_key, deployment, auth))
        mine = connected() if current and not asked else None
        # A second connect() in a notebook must not end what the first one shows.
        client = mine if mine is not None and _same(mine, target) else Client(target)
        if auth is not None:
            try:
                client.set_auth(auth)
            except BaseException:
                client.close()
                raise
    except NBReactiveError as error:
        raise error.with_traceback(None) from None  # the user's lines, and not our own
    if target.kind == "standalone" and not process.quiet and client is not mine:  # nothing was asked for by name
        did = "started" if len(standalone.children()) > started else "connected to"
        print(f"nbreactive: {did} {client.where}", file=sys.stderr)  # noqa: T201 (for scripts, what notebooks get)
    if not current or client is mine:
        return client
    with process.lock:
        before, process.client = process.client, client
        if url is not None:
            process.inherited = None
    if before is not None:
        before.close()
    install()
    return client


def _same(client: Client, target: Target) -> bool:
    """Whether this is what connecting to ``target`` afresh would give."""
    mine = client.target
    return (mine.base, mine.headers, mine.bearer) == (target.base, target.headers, target.bearer)


def current() -> Client:
    """Return the connected client; connects as :func:`connect` without arguments does when there is none."""
    with process.lock:
        return connected() or connect()


def connected() -> Client | None:
    """Return the connected client, or None."""
    client = process.client
    return client if client is not None and not client.closed else None


def disconnect() -> None:
    """Close the current client; its live queries keep their last values."""
    with process.lock:
        before, process.client = process.client, None
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
        return [] if client is None else list(deployed(client)) or client.known_paths

    def describe(self, path: str) -> Mapping[str, Any] | None:
        client = connected()
        return None if client is None else known(client).get(path) or client.describe(path)


def be_quiet() -> None:
    """Leave it to the caller to say where this process gets connected."""
    process.quiet = True


def install() -> None:
    """Let references (``api.chat.send(...)``) go through the current client."""
    from nbreactive.functions import references

    references.set_caller(_CurrentClient())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=process.forked)
