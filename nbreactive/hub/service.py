"""The process that the Hub starts as its service: judges requests, and keeps the backend."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import secrets
import signal
import sys
from collections.abc import Sequence
from urllib.parse import urlsplit

from nbreactive._loops import run_backend
from nbreactive.errors import InvalidValue, Unavailable
from nbreactive.jupyter.supervisor import Supervisor

_LOG = logging.getLogger("nbreactive.hub")
_READ_BYTES = 16 << 10
_BODY_BYTES = 64 << 10
"""Of requests that are not passed on: those that are have the backend's limit, and are not kept here."""
_BUFFER_BYTES = 4 << 20
_LOOK_SECONDS = 1.0


def run(options: argparse.Namespace) -> int:
    """Run ``nbreactive serve --hub`` with the other options of ``serve``."""
    address, prefix, name = (_from_hub(word) for word in ("URL", "PREFIX", "NAME"))
    for folder in (options.data, options.functions or options.data):
        if not folder.is_absolute():
            raise InvalidValue(f"--hub: the Hub starts this anywhere, so folders are absolute; {str(folder)!r} is not")
    names = (options.deployment, *(also.partition("=")[0] for also in options.also))
    supervisor = Supervisor(
        options.data, _backend_arguments(options.words), _LOG, command=[sys.executable, "-m", "nbreactive"]
    )
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    parts = urlsplit(address)
    if not parts.hostname or not parts.port:
        raise InvalidValue(f"the service's url {address!r} has no port; write it like http://127.0.0.1:10101")
    return run_backend(_serve(parts.hostname, parts.port, prefix, name, options.hub_seconds, supervisor, names))


def _from_hub(word: str) -> str:
    found = os.environ.get(f"JUPYTERHUB_SERVICE_{word}")
    if not found:
        raise InvalidValue(
            f"--hub is for a service that a JupyterHub starts, with a url (there is no JUPYTERHUB_SERVICE_{word});"
            " see docs/jupyterhub.md"
        )
    return found


def _backend_arguments(words: Sequence[str]) -> list[str]:
    """What the backend is told: what we were, but that it is behind us."""
    ours = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    ours.add_argument("--hub", action="store_true")
    ours.add_argument("--hub-seconds")
    _, rest = ours.parse_known_args(list(words))
    return [*rest, "--host", "127.0.0.1", "--port", "0", "--require-auth"]


async def _serve(
    host: str, port: int, prefix: str, name: str, seconds: float, supervisor: Supervisor, names: tuple[str, ...]
) -> int:
    from jupyterhub.services.auth import HubOAuth
    from tornado.httpserver import HTTPServer

    from nbreactive.hub.handlers import Service, make_application

    auth = HubOAuth(cache_max_age=max(1, int(seconds / 2)))  # an open connection is looked at as often again
    service = Service(name, prefix, auth, supervisor, names)
    stop = asyncio.Event()
    parent = os.getppid()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = HTTPServer(
        make_application(service, secrets.token_bytes(32)),
        xheaders=True,
        chunk_size=_READ_BYTES,
        max_body_size=_BODY_BYTES,
        max_buffer_size=_BUFFER_BYTES,
        body_timeout=120,
    )
    server.listen(port, host)
    tasks = [
        asyncio.ensure_future(_start(supervisor)),  # crons do not wait for the first request
        asyncio.ensure_future(_stop_when_orphaned(parent, stop)),
    ]
    try:
        await stop.wait()
    finally:
        server.stop()
        for task in tasks:
            task.cancel()
        await supervisor.stop()
    return 0


async def _start(supervisor: Supervisor) -> None:
    try:
        await supervisor.endpoint()
    except Unavailable as error:
        _LOG.error("%s", error)


async def _stop_when_orphaned(parent: int, stop: asyncio.Event) -> None:
    """A Hub that was killed starts another service when it is back, with another token, on the same port."""
    while os.getppid() == parent:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(_LOOK_SECONDS)
    _LOG.warning("The Hub has gone: stopping")
    stop.set()
