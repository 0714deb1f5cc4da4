"""The doors of the extension, below ``<base_url>/nbreactive/``.

Each one is opened by Jupyter's own rules only: host check, authentication, cookie and XSRF, origin, authorizer (asked
for ``read`` on ``nbreactive``; what else the user may do is in the roles that the backend is told).
"""

from __future__ import annotations

from typing import Any

from jupyter_server.auth.decorator import authorized, ws_authenticated
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from tornado import web

from nbreactive._uploads import ANY_SIZE
from nbreactive._version import __version__
from nbreactive.jupyter.door import DEPLOYMENT, Door, ForwardDoor
from nbreactive.jupyter.identity import RESOURCE, hub_access_ends, identity_of, is_kernel
from nbreactive.jupyter.proxy import ask, send_refusal, splice
from nbreactive.jupyter.runtime import RUNTIME_KEY, Runtime

_DEPLOYMENT = rf"nbreactive/{DEPLOYMENT}"


class _Door(Door, JupyterHandler):
    """What the doors behind Jupyter share."""

    mount = _DEPLOYMENT

    @property
    def runtime(self) -> Runtime:
        return self.settings[RUNTIME_KEY]

    @property
    def behind(self) -> Runtime:
        return self.runtime

    @property
    def base_path(self) -> str:
        return self.base_url

    async def identity(self) -> dict[str, Any]:
        return await identity_of(self)


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


class ForwardHandler(ForwardDoor, _Door, APIHandler):
    """Every plain request."""

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
        await self.forward(self.path_args[0])

    async def _rest(self, _deployment: str | None, _path: str) -> None:
        await self.forwarded()

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
            await splice(self, answer, self.runtime.touch, hub_access_ends(self))

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
