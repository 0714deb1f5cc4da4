"""What every door before the backend does alike: which deployment an address means, and asking the backend for it.

Whoever is in front, Jupyter (:mod:`nbreactive.jupyter.handlers`) or a Hub (:mod:`nbreactive.hub`), has authenticated and
authorised before.
"""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

from tornado import web

from nbreactive._uploads import UploadHandler
from nbreactive.errors import Unavailable
from nbreactive.jupyter.forward import Forwarding
from nbreactive.jupyter.proxy import Refusing, target_of
from nbreactive.jupyter.supervisor import Endpoint, Supervisor

_Asked = TypeVar("_Asked")

# `api`, `http` and `version` are never names of deployments, so that `default` may be left out.
DEPLOYMENT = r"(?:(?!api/|http/|http$|version$)([^/]+)/)?"


class Behind(Protocol):
    """What is behind the doors of one process."""

    @property
    def supervisor(self) -> Supervisor:
        """Keeps the backend."""
        ...

    @property
    def deployments(self) -> Sequence[str]:
        """Their names."""
        ...

    def base_of(self, name: str | None) -> str | None:
        """What addresses of a deployment begin with at the backend; None if there is no such deployment."""
        ...

    def touch(self) -> None:
        """Something happened."""
        ...


class Door(web.RequestHandler, ABC):
    """Base of the handlers that ask the backend."""

    mount = DEPLOYMENT
    """What addresses begin with, behind the base url."""

    @property
    @abstractmethod
    def behind(self) -> Behind:
        """What is behind this door."""

    @property
    @abstractmethod
    def base_path(self) -> str:
        """The base url."""

    @abstractmethod
    async def identity(self) -> dict[str, Any]:
        """Who is asking, for the backend."""

    def raw_path(self) -> str:
        """The path for the backend, as it came: what tornado hands to the methods is unquoted."""
        path = self.request.path[len(self.base_path) :]  # which may have a folder of our name, too
        found = re.match(self.mount, path)
        assert found is not None
        return path[found.end() :]

    async def reach(
        self, deployment: str | None, path: str, ask: Callable[[Endpoint, str, dict[str, object]], Awaitable[_Asked]]
    ) -> _Asked | None:
        """Ask the backend, which is started first, if need be. None: the client has been told no."""
        behind = self.behind
        base = behind.base_of(deployment)
        if base is None:
            known = ", ".join(behind.deployments)
            raise web.HTTPError(404, f"There is no deployment {deployment!r} here; this server has: {known}.")
        identity = await self.identity()
        behind.touch()
        try:
            for attempt in range(2):
                endpoint = await behind.supervisor.endpoint()
                try:
                    return await ask(endpoint, self.target(base + path), identity)
                except Refusing:
                    if attempt:
                        raise
                    await behind.supervisor.lost(endpoint)
        except Unavailable as error:
            self.unavailable(error)
        return None

    def target(self, path: str) -> str:
        """Return what the backend is asked for."""
        return target_of(self, path)

    def unavailable(self, error: Unavailable) -> None:
        """Say that there is no backend at the moment."""
        self.set_status(503)
        self.set_header("Retry-After", "1")
        self.finish({"code": error.code, "message": error.message})


class ForwardDoor(UploadHandler, Door):
    """Base of the handlers of plain requests: passed on when their head is there, by when all has been judged."""

    FORWARDED: Sequence[str] = ("GET", "POST")
    _forwarding: Forwarding | None = None
    _answering: asyncio.Task[None] | None = None

    async def forward(self, deployment: str | None) -> None:
        """Begin to pass the request on; its body follows."""
        self._forwarding = await self.reach(
            deployment,
            self.raw_path(),
            lambda endpoint, target, identity: Forwarding.begin(self, endpoint, target, identity),
        )
        if self._forwarding is not None:
            self._answering = asyncio.ensure_future(self._answer(self._forwarding))

    async def forwarded(self) -> None:
        """All of the body is there: wait for the end of the answer."""
        if self._forwarding is not None and self._answering is not None:
            await self._forwarding.end()
            await self._answering

    async def _answer(self, forwarding: Forwarding) -> None:
        if not await forwarding.answer() and not self.wire.closed():
            self.unavailable(Unavailable("The backend ended while it answered; try again."))

    async def take(self, chunk: bytes) -> None:
        """Pass a piece of the body on."""
        if self._forwarding is not None:
            await self._forwarding.send(chunk)

    def unwanted(self) -> None:
        """The answer has been given before the body was there."""
        if self._forwarding is not None:
            self._forwarding.close()

    def on_connection_close(self) -> None:
        """The client has gone: so may the backend's work for it."""
        super().on_connection_close()
        self.unwanted()
