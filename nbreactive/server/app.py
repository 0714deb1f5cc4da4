"""All doors of a server: which address is answered by which handler."""

from __future__ import annotations

from typing import Any

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.routing import Router
from tornado.web import Application, HTTPError

from nbreactive._uploads import ANY_SIZE, UploadHandler
from nbreactive.server import (
    admin,
    commits,
    convex_cli,
    environment,
    exports,
    file_admin,
    files,
    http,
    key_admin,
    loads,
    log_streams,
    schedules,
    sql,
    storage,
)
from nbreactive.server._handler import NothingHere, SiteHandler
from nbreactive.server.http_actions import HttpActionHandler
from nbreactive.server.site import Site
from nbreactive.server.websocket import SyncHandler

_HEADER_BYTES = 64 << 10
_PING_SECONDS = 20
_READ_BYTES = 16 << 10
"""Tornado allocates so much, zeroed, for every read, also for those that find nothing: two per message."""


class TooLarge(UploadHandler, SiteHandler):
    """A request whose body is larger than its door takes: tornado itself would close the connection without a word."""

    async def prepare(self) -> None:
        """Refuse as the others do, then say what is wrong."""
        self.http1.set_max_body_size(ANY_SIZE)
        await super().prepare()
        most = self.site.limits.message_bytes
        raise HTTPError(413, f"the body of this request has more than {most} bytes, which is the most (message_bytes)")

    async def take(self, chunk: bytes) -> None:
        """Take a piece that nobody wants."""


class _Doors(Application):
    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        """Find the handler; one that takes all of a body at once gets none that is too large."""
        found = super().find_handler(request, **kwargs)
        length = request.headers.get("Content-Length", "")
        if len(length) < 7 or not (length.isascii() and length.isdigit()):
            return found
        shared: dict[str, Any] = self.settings["default_handler_args"]
        if int(length) <= shared["site"].limits.message_bytes or issubclass(found.handler_class, UploadHandler):
            return found
        return self.get_handler_delegate(request, TooLarge, shared)


def make_application(site: Site, backend: admin.Administration) -> Application:
    """Build the tornado application."""
    shared: dict[str, Any] = {"site": site}
    routes: list[Any] = [
        (r"/api/sync", SyncHandler, shared),
        (r"/api/query", http.QueryHandler, shared),
        (r"/api/mutation", http.MutationHandler, shared),
        (r"/api/action", http.ActionHandler, shared),
        (r"/api/function", http.FunctionHandler, shared),
        (r"/api/run/(.+)", http.RunHandler, shared),
        (r"/api/query_ts", http.QueryTsHandler, shared),
        (r"/api/query_at_ts", http.QueryAtTsHandler, shared),
        (r"/api/query_batch", http.QueryBatchHandler, shared),
        *(
            (pattern, handler, shared | {"backend": backend})
            for some in (
                admin.ROUTES,
                commits.ROUTES,
                environment.ROUTES,
                key_admin.ROUTES,
                log_streams.ROUTES,
                schedules.ROUTES,
                storage.ROUTES,
            )
            for pattern, handler in some
        ),
        (r"/api/([0-9][0-9A-Za-z.\-]{0,40})/sync", SyncHandler, shared),
        (r"/http(/.*)?", HttpActionHandler, shared),
        *((pattern, handler, shared) for pattern, handler in files.ROUTES),
        *((pattern, handler, shared | {"backend": backend}) for pattern, handler in (*loads.ROUTES, *exports.ROUTES)),
        *((pattern, handler, shared | {"backend": backend}) for pattern, handler in file_admin.ROUTES),
        *((pattern, handler, shared | {"backend": backend}) for pattern, handler in sql.ROUTES),
        *convex_cli.routes(shared),
        (r"/version", http.TextHandler, shared | {"text": http.SPOKEN_VERSION}),
        (r"/instance_version", http.TextHandler, shared | {"text": http.SPOKEN_VERSION}),
        (r"/instance_name", http.TextHandler, shared | {"text": site.deployment}),
        (r"/", http.TextHandler, shared | {"text": "This nbreactive deployment is running."}),
    ]
    return _Doors(
        routes,
        default_handler_class=NothingHere,
        default_handler_args=shared,
        log_function=lambda _: None,
        websocket_max_message_size=site.limits.message_bytes,
        websocket_ping_interval=_PING_SECONDS,
        websocket_ping_timeout=_PING_SECONDS,
    )


def make_http_application(site: Site) -> Application:
    """Build what answers on a port of its own: HTTP actions and nothing else."""
    return Application([(r"(/.*)", HttpActionHandler, {"site": site})], log_function=lambda _: None)


def make_server(application: Router, site: Site) -> HTTPServer:
    """Build the HTTP server around it."""
    return HTTPServer(
        application,
        chunk_size=_READ_BYTES,
        max_body_size=site.limits.message_bytes,
        max_buffer_size=site.limits.message_bytes + (1 << 20),
        max_header_size=_HEADER_BYTES,
        idle_connection_timeout=300,
        body_timeout=120,
    )
