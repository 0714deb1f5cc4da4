"""What all HTTP handlers do alike: judge origin and caller, CORS, JSON in and out, errors as ``{code, message}``."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from tornado.web import HTTPError, RequestHandler

from nbreactive.errors import (
    DeployRefused,
    FunctionNotFound,
    InvalidValue,
    NBReactiveError,
    Overloaded,
    ProtocolError,
    Refused,
    StaleModule,
    Unauthenticated,
    Unavailable,
    UndoRefused,
)
from nbreactive.server._nesting import cut_nesting
from nbreactive.server.identity import Caller
from nbreactive.server.site import Site

T = TypeVar("T")

_STATUS: list[tuple[type[NBReactiveError], int]] = [
    (StaleModule, 409),
    (UndoRefused, 409),
    (DeployRefused, 400),
    (Unauthenticated, 401),
    (Refused, 403),
    (FunctionNotFound, 404),
    (InvalidValue, 400),
    (ProtocolError, 400),
    (Overloaded, 503),
    (Unavailable, 503),
]


class SiteHandler(RequestHandler):
    """Base of the HTTP handlers; ``caller`` is known before a method runs."""

    caller: Caller

    def initialize(self, site: Site) -> None:
        """Take what all handlers share."""
        self.site = site

    def set_default_headers(self) -> None:
        """Answers are data, never a page, and never cached."""
        self.set_header("Content-Type", "application/json")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cache-Control", "no-store")
        self.clear_header("Server")

    async def prepare(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - tornado awaits it
        """Judge the request before it is looked at."""
        headers = self.request.headers
        if not self.site.gate.is_proxy(headers):
            self.site.origins.check(headers)
            self._allow_origin()
        if self.request.method == "OPTIONS":
            return
        if self.get_query_argument("token", None) is not None:
            raise Refused("a token does not belong in a URL, where it ends up in logs; send it as a header")
        self.caller = await self.site.gate.admit(headers, self.request.remote_ip)

    def options(self, *_: str) -> None:
        """Answer a CORS preflight."""
        self.set_status(204)
        self.finish()

    def _allow_origin(self) -> None:
        origin = self.request.headers.get("Origin")
        if origin is None:
            return
        self.set_header("Access-Control-Allow-Origin", origin)
        self.set_header("Access-Control-Allow-Credentials", "true")
        self.set_header("Vary", "Origin")
        if self.request.method == "OPTIONS":
            self.set_header("Access-Control-Allow-Methods", "GET, POST, OPTIONS, PATCH, DELETE, PUT")
            self.set_header("Access-Control-Max-Age", "86400")
            asked = self.request.headers.get("Access-Control-Request-Headers")
            if asked:
                self.set_header("Access-Control-Allow-Headers", asked)

    def body(self, kind: type[T]) -> T:
        """The JSON body, as ``kind``."""
        try:
            try:
                return msgspec.json.decode(self.request.body, type=kind)
            except RecursionError:
                return msgspec.json.decode(cut_nesting(self.request.body.decode()), type=kind)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise ProtocolError(f"the body of this request is not the JSON that it should be: {error}") from None

    def answer(self, value: Any, status: int = 200) -> None:
        """Finish with JSON."""
        self.set_status(status)
        self.finish(msgspec.json.encode(value))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Say what is wrong as ``{code, message}``; what is not one of our errors is told only to the log."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, NBReactiveError):
            status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
            payload: dict[str, Any] = {"code": error.code, "message": error.message}
            if isinstance(error, StaleModule):
                payload |= {"diff": error.diff, "current": error.current}
            elif isinstance(error, DeployRefused):
                payload["issues"] = error.issues
            self.set_status(status)
        elif isinstance(error, HTTPError):
            payload = {"code": _NAMES.get(status_code, "BadRequest"), "message": error.log_message or self._reason}
        else:
            payload = {"code": "InternalServerError", "message": "this is a fault of the server; its log says more"}
        if self.get_status() == 401:
            self.set_header("WWW-Authenticate", 'Bearer error="invalid_token"')
        if self.get_status() in (401, 403):
            self.site.logs.event(
                "refused", "warning", door=self.request.path, reason=payload["message"], ip=self.request.remote_ip
            )
        self.set_header("Content-Type", "application/json")
        self.finish(msgspec.json.encode(payload))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Leave our own errors to the caller; the rest is a fault to see in the log."""
        if not isinstance(value, NBReactiveError | HTTPError):
            import traceback

            trace = "".join(traceback.format_exception(typ, value, tb))
            self.site.logs.event("internal error", "error", door=self.request.path, trace=trace)


class NothingHere(SiteHandler):
    """Any other address."""

    async def prepare(self) -> None:
        """Refuse as the others do, then say that there is nothing."""
        await super().prepare()
        if self.request.method != "OPTIONS":
            raise HTTPError(404, "there is nothing at this address")


_NAMES = {400: "BadRequest", 401: "Unauthenticated", 404: "NotFound", 405: "MethodNotAllowed", 413: "RequestTooLarge"}
