"""The doors of the service, below its prefix.

Whoever may not use what they ask for hears the same, whether it exists or not, and whether or not the Hub knows them;
only a browser that visits a page without a cookie is sent to the Hub, from any address alike.
"""

from __future__ import annotations

import hmac
import html
import logging
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from jupyterhub.services.auth import HubOAuth, HubOAuthCallbackHandler, HubOAuthenticated
from tornado import web

from nbreactive._uploads import ANY_SIZE
from nbreactive._version import __version__
from nbreactive.hub.roles import identity_of, roles_of
from nbreactive.jupyter.access import access_ends
from nbreactive.jupyter.door import DEPLOYMENT, Door, ForwardDoor
from nbreactive.jupyter.identity import VIA_HEADER
from nbreactive.jupyter.proxy import ask, send_refusal, splice
from nbreactive.jupyter.supervisor import Supervisor

_LOG = logging.getLogger(__name__)
_UPLOAD = "api/storage/upload"
_REFUSAL = "This service does not answer you here. Whoever runs the Hub can give you access (docs/jupyterhub.md)."
_CODES = {403: "Refused", 404: "NotFound", 500: "InternalServerError", 503: "Unavailable"}
# With the mount of a Jupyter server or without it, so that clients need not know which of the two they talk to.
_MOUNT = rf"(?:nbreactive/)?{DEPLOYMENT}"


@dataclass(frozen=True)
class Service:
    """What the handlers share."""

    name: str
    prefix: str
    auth: HubOAuth
    supervisor: Supervisor
    deployments: tuple[str, ...]
    """The first one is meant where none is named."""

    def base_of(self, name: str | None) -> str | None:
        """What addresses of a deployment begin with at the backend; None if there is no such deployment."""
        if name is None or name == self.deployments[0]:
            return ""
        return f"{name}/" if name in self.deployments else None

    def touch(self) -> None:
        """Something happened; the Hub culls no services."""


class _HubDoor(HubOAuthenticated, Door):  # pyright: ignore[reportIncompatibleMethodOverride] - theirs
    """What all doors of the service do before anything else: ask the Hub."""

    mount = _MOUNT
    user: dict[str, Any]
    """As the Hub describes them."""
    roles: list[str]
    by_token: bool

    def initialize(self, service: Service) -> None:
        self.service = service
        self.hub_auth = service.auth

    @property
    def behind(self) -> Service:
        return self.service

    @property
    def base_path(self) -> str:
        return self.service.prefix

    def set_default_headers(self) -> None:
        """Nothing of ours is a page that could act for whoever looks at it; the Hub's users share a host."""
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Content-Security-Policy", "sandbox; frame-ancestors 'none'")
        self.set_header("Cache-Control", "no-store")
        self.clear_header("Server")

    async def prepare(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - tornado awaits it
        """Judge the request before it is looked at."""
        user = await self._identified()
        if user is None and self._is_visit():
            self.redirect(self.get_login_url())
            return
        if user is None or not self.hub_auth.check_scopes(self.hub_auth.access_scopes, user):
            raise web.HTTPError(403)
        self.user = user
        self.roles = self.roles_now(user)
        if not self.roles:
            raise web.HTTPError(403)

    def roles_now(self, user: dict[str, Any]) -> list[str]:
        """The roles of ``user`` where this request goes to."""
        named = self.path_args[0] if self.path_args else None
        return roles_of(user["scopes"], self.service.name, named or self.service.deployments[0])

    def readable(self, user: dict[str, Any]) -> list[str]:
        """The deployments of which ``user`` may know."""
        return [name for name in self.service.deployments if roles_of(user["scopes"], self.service.name, name)]

    async def identity(self) -> dict[str, Any]:
        found = identity_of(self.user) | {"roles": self.roles}
        if self.request.remote_ip:
            found["ip"] = self.request.remote_ip
        return found | ({"via": "kernel"} if self._is_kernel() else {})

    def still(self, user: dict[str, Any]) -> bool:
        """Whether what the Hub says of the user now is what it said when this connection was opened."""
        access = self.hub_auth.check_scopes(self.hub_auth.access_scopes, user)
        return bool(access) and identity_of(user) == identity_of(self.user) and self.roles_now(user) == self.roles

    async def _identified(self) -> dict[str, Any] | None:
        auth = self.hub_auth
        if self.get_query_argument("token", None) is not None:
            return None  # addresses end up in logs
        self.by_token = "Authorization" in self.request.headers
        token = auth.get_token(self, in_cookie=not self.by_token)
        if not token or not (self.by_token or self._is_same_site()):
            return None
        try:
            return await auth.user_for_token(token, session_id=auth.get_session_id(self), sync=False)
        except web.HTTPError as error:
            raise web.HTTPError(503, "The Hub does not answer this service; try again.") from error

    def _is_same_site(self) -> bool:
        """Whether a request with a cookie comes from a page that may send it."""
        origin = self.request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc.lower() != self.request.host.lower():
            return False
        if self._is_upgrade():
            # The servers of all users are of one origin as a rule; the XSRF cookie is of this service alone.
            given = self.get_query_argument("_xsrf", "")
            return origin is not None and hmac.compare_digest(given.encode(), self.xsrf_token or b"-")
        try:
            self.check_xsrf_cookie()
        except web.HTTPError:
            return False
        return True

    def _is_visit(self) -> bool:
        headers = self.request.headers
        if self.request.method != "GET" or self._is_upgrade() or "Authorization" in headers or VIA_HEADER in headers:
            return False
        return headers.get("Sec-Fetch-Mode", "navigate") == "navigate" and "text/html" in headers.get("Accept", "")

    def _is_upgrade(self) -> bool:
        return "Upgrade" in self.request.headers

    def _is_kernel(self) -> bool:
        return self.by_token and self.request.headers.get(VIA_HEADER) == "kernel"

    def target(self, path: str) -> str:
        """Return what the backend is asked for."""
        query = [pair for pair in parse_qsl(self.request.query, keep_blank_values=True) if pair[0] != "_xsrf"]
        if self.raw_path() == _UPLOAD:  # ours, since no request has a `token` in its address
            query = [("token", value) for name, value in query if name == "upload_token"]
        return f"/{path}?{urlencode(query)}" if query else f"/{path}"

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Say what is wrong as ``{code, message}``, and to whom may not be here always the same."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        told = (error.log_message if isinstance(error, web.HTTPError) else None) or self._reason
        if status_code == 403:
            _LOG.warning("refused: %s %r", self.request.method, self.request.path)
            told = _REFUSAL
        self.finish({"code": _CODES.get(status_code, "BadRequest"), "message": told})


class _Anywhere(_HubDoor):
    """For whoever may read any of the deployments."""

    def roles_now(self, user: dict[str, Any]) -> list[str]:
        return self.readable(user)


class HealthHandler(_Anywhere):
    """Where one is, and which deployments there are for one."""

    def get(self, deployment: str | None = None) -> None:
        readable = self.readable(self.user)
        first = self.service.deployments[0]
        if deployment is not None and deployment not in readable:
            raise web.HTTPError(403)
        self.finish(
            {
                "ok": True,
                "version": __version__,
                "deployment": deployment or (first if first in readable else ""),
                "deployments": readable,
                "backend": self.service.supervisor.state,
                "shared_with": f"whom the Hub lets use its service {self.service.name}",
            }
        )


class ForwardHandler(ForwardDoor, _HubDoor):
    """Every plain request."""

    async def prepare(self) -> None:
        self.http1.set_max_body_size(ANY_SIZE)
        await super().prepare()
        if not self._finished and not self.answered_early and self.request.method in self.FORWARDED:
            await self.forward(self.path_args[0])

    async def get(self, _deployment: str | None, _path: str) -> None:
        await self.forwarded()

    head = post = get


class HttpActionHandler(ForwardHandler):
    """Requests for HTTP actions, of those who may use this service: with nearly all headers, to and fro."""

    SUPPORTED_METHODS = FORWARDED = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
    passes_headers = True

    def set_default_headers(self) -> None:
        """A page of an HTTP action gets no hold of the session of whoever looks at it."""
        self.clear_header("Content-Type")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Content-Security-Policy", "sandbox allow-scripts allow-forms; frame-ancestors 'none'")

    head = post = put = delete = patch = options = ForwardHandler.get  # pyright: ignore[reportAssignmentType]


class SyncHandler(_HubDoor):
    """The live connection."""

    async def get(self, deployment: str | None, _path: str) -> None:
        if self.request.headers.get("Upgrade", "").lower() != "websocket":
            self.set_header("Upgrade", "websocket")
            raise web.HTTPError(426, "This address is for WebSocket connections.")
        answer = await self.reach(
            deployment, self.raw_path(), lambda endpoint, target, identity: ask(self, endpoint, target, identity)
        )
        if answer is None:
            return
        if answer.status != 101:
            await send_refusal(self, answer)
            return
        await splice(self, answer, self.service.touch, access_ends(self.hub_auth, self, self.still))


class HomeHandler(_Anywhere):
    """A page that says who one is here; what a browser is sent to first."""

    def get(self) -> None:
        name, rows = html.escape(identity_of(self.user)["name"]), []
        for deployment in self.readable(self.user):
            roles = ", ".join(roles_of(self.user["scopes"], self.service.name, deployment))
            rows.append(f"<li><b>{html.escape(deployment)}</b>: {roles}</li>")
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(
            f"<!doctype html><title>nbreactive</title><h1>nbreactive</h1><p>You are {name}. Your deployments here:</p>"
            f"<ul>{''.join(rows)}</ul><p>In a notebook of this Hub: <code>%load_ext nbreactive</code></p>"
        )


class NothingHere(_Anywhere):
    """Any other address."""

    async def prepare(self) -> None:
        """Refuse as the others do, then say that there is nothing."""
        await super().prepare()
        if not self._finished:
            raise web.HTTPError(404, "There is nothing at this address.")


class CallbackHandler(HubOAuthCallbackHandler):
    """Where the Hub sends browsers back to."""

    def initialize(self, service: Service) -> None:
        self.hub_auth = service.auth


def make_application(service: Service, cookie_secret: bytes) -> web.Application:
    """Build the tornado application."""
    shared: dict[str, Any] = {"service": service}
    at = service.prefix + _MOUNT
    routes: list[Any] = [
        (f"{service.prefix}oauth_callback", CallbackHandler, shared),
        (service.prefix, HomeHandler, shared),
        (f"{at}api/health", HealthHandler, shared),
        (f"{at}(api/(?:[^/]+/)?sync)", SyncHandler, shared),
        (f"{at}(api/.+|version)", ForwardHandler, shared),
        (f"{at}(http(?:/.*)?)", HttpActionHandler, shared),
    ]
    return web.Application(
        routes,
        default_handler_class=NothingHere,
        default_handler_args=shared,
        cookie_secret=cookie_secret,
        log_function=lambda _: None,
    )
