"""HTTP actions: ``@http_action``, what it is given and returns, and the router that leads to it."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Any, Final, NoReturn, cast

import msgspec

from nbreactive.errors import DeployRefused, InvalidValue
from nbreactive.functions.decorators import Function, Handler
from nbreactive.functions.specs import RouteSpec

METHODS: Final = ("GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
RESERVED: Final = "/.files/"
_BODILESS: Final = (204, 304)
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_FRAMING: Final = frozenset({"content-length", "transfer-encoding", "connection"})

HeadersLike = Mapping[str, str] | Iterable[tuple[str, str]]
Chunks = Iterable[bytes | str] | AsyncIterable[bytes | str]


def http_action(handler: Handler, /) -> Function:
    """Make a function that answers HTTP requests; a router leads to it.

    It is an action with another front: ``handler(ctx, request)`` returns a :class:`Response`, and ``ctx`` is that of an
    action. ``request`` has ``method``, ``url``, ``path``, ``query`` and ``headers``; ``body()``, ``text()``, ``json()``
    and ``stream()`` read what was sent (awaited, or ``async for``, in an ``async def``).

    Examples
    --------
    >>> from nbreactive import Response, http_action, internal
    >>> @http_action
    ... async def on_hook(ctx, request):
    ...     await ctx.run_mutation(internal.hooks.save, event=await request.json())
    ...     return Response(status=204)
    """
    return Function(handler, "http_action", "internal")


def _pairs(headers: HeadersLike) -> list[tuple[str, str]]:
    if isinstance(headers, Mapping):
        headers = cast("Mapping[str, str]", headers).items()
    return list(headers)


class Response:
    """What an HTTP action answers.

    Parameters
    ----------
    body
        Text, bytes, or an iterable of them (also asynchronous), which is sent as it comes.
    status
        The status code, 200 to 599.
    headers
        Names and values; for several of one name a list of pairs.

    Raises
    ------
    InvalidValue
        A status or a header that HTTP does not have.

    Examples
    --------
    >>> Response("hi", headers={"X-Answer": "42"}).headers
    [('X-Answer', '42'), ('Content-Type', 'text/plain; charset=utf-8')]
    >>> Response.json({"ok": True}).body
    b'{"ok":true}'
    """

    __slots__ = ("body", "headers", "status")

    def __init__(
        self,
        body: str | bytes | Chunks | None = None,
        status: int = 200,
        headers: HeadersLike = (),
    ) -> None:
        if isinstance(status, bool) or not isinstance(status, int) or not 200 <= status <= 599:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidValue(f"a response has a status from 200 to 599, not {status!r}", "status")
        self.status = status
        # How long the body is, and how it is sent, is found out by who sends it.
        self.headers = [(str(name), str(value)) for name, value in _pairs(headers) if str(name).lower() not in _FRAMING]
        for name, value in self.headers:
            if not (_HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value)):
                raise InvalidValue(
                    f"{name!r:.80} with the value {value!r:.80} is no HTTP header (percent-encode what is not Latin-1)",
                    "headers",
                )
        if status in _BODILESS:
            if body is not None and (not isinstance(body, str | bytes) or body):
                raise InvalidValue(f"a response with the status {status} has no body; leave it out", "body")
            body = None
        if isinstance(body, bytearray | memoryview):
            body = bytes(body)
        elif isinstance(body, str):
            body = body.encode()
            if not any(name.lower() == "content-type" for name, _ in self.headers):
                self.headers.append(("Content-Type", "text/plain; charset=utf-8"))
        self.body: bytes | Chunks | None = body

    @classmethod
    def json(cls, value: Any, status: int = 200, headers: HeadersLike = ()) -> Response:
        """Answer with JSON."""
        return cls(msgspec.json.encode(value), status, [*_pairs(headers), ("Content-Type", "application/json")])

    def __repr__(self) -> str:
        return f"<Response {self.status}>"


class Route(msgspec.Struct, frozen=True):
    """One line of a router."""

    method: str
    path: str
    prefix: bool
    handler: Function
    line: int


class HttpRouter:
    """Which HTTP action answers which requests; made by :func:`http_router`."""

    def __init__(self) -> None:
        self.routes: list[Route] = []

    def route(self, *, method: str, handler: Function, path: str | None = None, path_prefix: str | None = None) -> None:
        """Lead requests to a handler.

        Parameters
        ----------
        method
            GET (which answers HEAD, too), POST, PUT, DELETE, OPTIONS or PATCH.
        handler
            A function made with :func:`http_action`.
        path
            The whole path, e.g. ``/hook``.
        path_prefix
            The beginning of the path, e.g. ``/files/``; a whole path goes before, and the longest prefix.

        Raises
        ------
        DeployRefused
            The route is not well formed, or it is there already.
        """
        if (path is None) == (path_prefix is None):
            _refuse("route takes path or path_prefix, one of them", 'write path="/hook" or path_prefix="/files/"')
        where = path if path is not None else path_prefix
        if not isinstance(where, str) or not where.startswith("/"):
            _refuse(f"the path {where!r:.80} does not begin with /", 'write path="/hook"')
        if path_prefix is not None and not path_prefix.endswith("/"):
            _refuse(f"the prefix {path_prefix!r:.80} does not end with /", f'write path_prefix="{path_prefix}/"')
        if where.startswith(RESERVED):
            _refuse(f"paths below {RESERVED} are reserved", "choose another path")
        if method not in METHODS:
            fix = "route GET, which answers HEAD, too" if method == "HEAD" else f"use one of {', '.join(METHODS)}"
            _refuse(f"{method!r:.40} cannot be routed", fix)
        if not isinstance(handler, Function) or handler.kind != "http_action":  # pyright: ignore[reportUnnecessaryIsInstance]
            _refuse(f"the handler of {method} {where} is not an HTTP action", "put @http_action above its def")
        if any((other.method, other.path, other.prefix) == (method, where, path is None) for other in self.routes):
            _refuse(f"{method} {where} is routed twice", "remove one of the routes")
        line = sys._getframe(1).f_lineno  # pyright: ignore[reportPrivateUsage] # noqa: SLF001
        self.routes.append(Route(method, where, path is None, handler, line))


def http_router() -> HttpRouter:
    """Return an empty router; a module keeps it in a top-level name, e.g. ``http`` in ``reactive/http.py``.

    Examples
    --------
    >>> from nbreactive import Response, http_action, http_router
    >>> @http_action
    ... def hello(ctx, request):
    ...     return Response("hello")
    >>> http = http_router()
    >>> http.route(path="/hello", method="GET", handler=hello)
    >>> http.routes[0].path
    '/hello'
    """
    return HttpRouter()


def find_route(routes: Iterable[RouteSpec], method: str, path: str) -> RouteSpec | None:
    """Find the route of a request: a whole path first, then the longest prefix.

    Examples
    --------
    >>> routes = [RouteSpec("GET", "/a/", True, "http:any"), RouteSpec("GET", "/a/b", False, "http:exact")]
    >>> find_route(routes, "HEAD", "/a/b").function, find_route(routes, "GET", "/a/c").function
    ('http:exact', 'http:any')
    >>> find_route(routes, "POST", "/a/b") is None
    True
    """
    method = "GET" if method == "HEAD" else method
    fitting = [
        route
        for route in routes
        if route.method == method and (path.startswith(route.path) if route.prefix else path == route.path)
    ]
    return max(fitting, key=lambda route: (not route.prefix, len(route.path)), default=None)


def _refuse(reason: str, fix: str) -> NoReturn:
    raise DeployRefused(f"{reason}; {fix}")
