"""The doors of the extension, below ``<base_url>/nbreactive/``.

Each one is opened by Jupyter's own rules only: host check, authentication, cookie and XSRF, origin, authorizer (asked
for ``read`` on ``nbreactive``; what else the user may do is in the roles that the backend is told).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from jupyter_server.auth.decorator import authorized, ws_authenticated
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from tornado import web

from nbreactive._uploads import ANY_SIZE, UploadHandler
from nbreactive._version import __version__
from nbreactive.errors import Unavailable
from nbreactive.jupyter.forward import Forwarding
from nbreactive.jupyter.identity import RESOURCE, identity_of, is_kernel
from nbreactive.jupyter.proxy import Refusing, ask, send_refusal, splice, target_of
from nbreactive.jupyter.runtime import RUNTIME_KEY, Runtime
from nbreactive.jupyter.supervisor import Endpoint

_Asked = TypeVar("_Asked")

# `api`, `http` and `version` are never names of deployments, so that `default` may be left out.
_DEPLOYMENT = r"nbreactive/(?:(?!api/|http/|http$|version$)([^/]+)/)?"


class _Door(JupyterHandler):
    """What both kinds of door share."""

    @property
    def runtime(self) -> Runtime:
        return self.settings[RUNTIME_KEY]

    def raw_path(self) -> str:
        """The path for the backend, as it came: what tornado hands to the methods is unquoted."""
        path = self.request.path[len(self.base_url) :]  # which may have a folder of our name, too
        found = re.match(_DEPLOYMENT, path)
        assert found is not None
        return path[found.end() :]

    async def reach(
        self, deployment: str | None, path: str, ask: Callable[[Endpoint, str, dict[str, object]], Awaitable[_Asked]]
    ) -> _Asked | None:
        """Ask the backend, which is started first, if need be. None: the client has been told no."""
        runtime = self.runtime
        base = runtime.base_of(deployment)
        if base is None:
            known = ", ".join(runtime.deployments)
            raise web.HTTPError(404, f"There is no deployment {deployment!r} here; this server has: {known}.")
        identity = await identity_of(self)
        runtime.touch()
        try:
            for attempt in range(2):
                endpoint = await runtime.supervisor.endpoint()
                try:
                    return await ask(endpoint, self.target(base + path), identity)
                except Refusing:
                    if attempt:
                        raise
                    await runtime.supervisor.lost(endpoint)
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


class HealthHandler(_Door, APIHandler):
    """Whether this server has nbreactive, and who shares it; does not start the backend."""

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    def get(self, deployment: str | None = None) -> None:
        runtime = self.runtime
        if runtime.base_of(deployment) is None:
            raise web.HTTPError(404)
        self.finish(
            {
                "ok": True,
                "version": __version__,
                "deployment": deployment or runtime.deployment,
                "deployments": runtime.deployments,
                "backend": runtime.supervisor.state,
                "shared_with": runtime.shared_with(),
            }
        )


class ForwardHandler(UploadHandler, _Door, APIHandler):
    """Every plain request: passed on when its head is there, by when all has been judged."""

    FORWARDED = ("GET", "POST")
    _forwarding: Forwarding | None = None
    _answering: asyncio.Task[None] | None = None

    async def prepare(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - as in APIHandler
        """Judge the request and begin it; the body follows."""
        # The server's limit is for bodies that it keeps in memory: this one is not, and the backend has its own.
        self.http1.set_max_body_size(ANY_SIZE)
        await super().prepare()
        if not self._finished and not self.answered_early and self.request.method in self.FORWARDED:
            beginning = self._begin()
            if beginning is not None:
                await beginning

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def _begin(self) -> None:
        self._forwarding = await self.reach(
            self.path_args[0],
            self.raw_path(),
            lambda endpoint, target, identity: Forwarding.begin(self, endpoint, target, identity),
        )
        if self._forwarding is not None:
            self._answering = asyncio.ensure_future(self._answer(self._forwarding))

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

    async def _rest(self, _deployment: str | None, _path: str) -> None:
        if self._forwarding is not None and self._answering is not None:
            await self._forwarding.end()
            await self._answering

    get = post = web.authenticated(_rest)  # pyright: ignore[reportAssignmentType]


class HttpActionHandler(ForwardHandler):
    """Requests for HTTP actions, of those who may use this server: with nearly all headers, to and fro."""

    SUPPORTED_METHODS = FORWARDED = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
    passes_headers = True

    def set_default_headers(self) -> None:
        """A page of an HTTP action gets no hold of the session of whoever looks at it."""
        self.clear_header("Content-Type")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Content-Security-Policy", "sandbox allow-scripts allow-forms")

    head = put = delete = patch = options = ForwardHandler.get  # pyright: ignore[reportAssignmentType]


class SyncHandler(WebSocketMixin, _Door):  # pyright: ignore[reportIncompatibleMethodOverride] - theirs
    """The live connection."""

    @ws_authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self, deployment: str | None, _path: str) -> None:
        if self.request.headers.get("Upgrade", "").lower() != "websocket":
            self.set_header("Upgrade", "websocket")
            raise web.HTTPError(426, "This address is for WebSocket connections.")
        self._check_origin()
        answer = await self.reach(
            deployment,
            self.raw_path(),
            lambda endpoint, target, identity: ask(self, endpoint, target, identity),
        )
        if answer is None:
            return
        if answer.status != 101:
            await send_refusal(self, answer)
            return
        with self.runtime.connected(self):
            await splice(self, answer, self.runtime.touch)

    def _check_origin(self) -> None:
        """Jupyter's rule, and one more: with a cookie there must be an origin, for every browser sends one."""
        origin = self.request.headers.get("Origin")
        if (origin is None and not self.token_authenticated) or not self.check_origin(origin):
            raise web.HTTPError(403, "WebSocket connections from another origin need a token.")
        if is_kernel(self) and origin is not None:
            raise web.HTTPError(403, "A kernel has no origin.")


# Jupyter puts its base url before each.
HANDLERS: list[tuple[str, Any]] = [
    (rf"{_DEPLOYMENT}api/health", HealthHandler),
    (rf"{_DEPLOYMENT}(api/(?:[^/]+/)?sync)", SyncHandler),
    (rf"{_DEPLOYMENT}(api/.+|version)", ForwardHandler),
    (rf"{_DEPLOYMENT}(http(?:/.*)?)", HttpActionHandler),
]
