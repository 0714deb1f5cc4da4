"""One backend: a data folder, the parts that serve it, and the doors to them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.routing import Router

from nbreactive._version import __version__
from nbreactive.engine.catalog import Catalog, count_key
from nbreactive.errors import DataFolderError, ReadOnly
from nbreactive.server.admin import describe_tables, no_table
from nbreactive.server.app import make_application, make_http_application, make_server
from nbreactive.server.calls import Calls
from nbreactive.server.config import BackendConfig, parts_config
from nbreactive.server.data_folder import DataFolder
from nbreactive.server.deployments import Deployments
from nbreactive.server.failures import logged_text
from nbreactive.server.identity import Gatekeeper
from nbreactive.server.issuers import Issuers
from nbreactive.server.keys import Keys
from nbreactive.server.limits import Limits, described
from nbreactive.server.logs import Logs
from nbreactive.server.operations import Operations
from nbreactive.server.origins import OriginPolicy
from nbreactive.server.panel import Panel
from nbreactive.server.parts import Parts
from nbreactive.server.reset import complete, discard, unfinished
from nbreactive.server.sign_in import SignIn
from nbreactive.server.site import Site
from nbreactive.server.websocket import Sockets
from nbreactive.services.actions import Report
from nbreactive.services.background import Background
from nbreactive.services.column_files import rows_in_columns
from nbreactive.services.commits import Commits
from nbreactive.services.deploys import Deployer
from nbreactive.services.env import EnvironmentVariables
from nbreactive.services.files import Files
from nbreactive.services.folder import FunctionsFolder
from nbreactive.services.loads import Loads
from nbreactive.services.undo import Undo

_LOG_NOT_WHOLE = (
    "what is stored now is served, from the row index and store.duckdb, but no backup can be made and nothing could be made"
    " again: export it (nbreactive export), ask nbreactive doctor, and restore the files of the log from a backup of the folder"
)


class Backend:
    """A backend that answers; made by :meth:`open`."""

    def __init__(self, config: BackendConfig, folder: DataFolder, parts: Parts, logs: Logs) -> None:
        self.config = config
        self.admin_key = config.admin_key or folder.admin_key()
        self.url = ""
        self._folder = folder
        self._parts = parts
        self._functions: FunctionsFolder | None = None
        self._mounted: list[Backend] = []
        self.environment = EnvironmentVariables(lambda: self._parts.engine)
        self._started = time.monotonic()
        self.keys = Keys(config.data)
        calls = Calls(parts.engine, parts.actions, lambda: self.deployer.functions, logs, config.mode)
        calls.presence, calls.past = parts.presence, parts.past
        calls.operations = Operations(self)
        self._panel = Panel(logs, config.data, self.status)
        self._panel.use(parts)
        self._sign_in = SignIn(
            lambda: self.deployer.manifest.providers, Issuers(config.trusted_issuers), calls.ask_inside, logs.event
        )
        self.site = Site(
            calls=calls,
            gate=Gatekeeper(self.admin_key, config.proxy_secret, config.require_auth, self._sign_in, self.keys),
            origins=OriginPolicy(config.host, config.allowed_origins),
            logs=logs,
            sockets=Sockets(),
            deployment=config.deployment,
            routes=lambda: self.deployer.manifest.routes,
            limits=config.limits,
            files=lambda: self._parts.files,
        )
        self.application = make_application(self.site, self)
        self._servers: list[HTTPServer] = []
        self.http_url = ""
        self.keys.on_revoked = self.site.sockets.recheck
        self._changing = asyncio.Lock()
        self._closed = False
        self.on_lost: Callable[[], None] = lambda: None
        """Told when a deployment could not be opened again: only a new process can help."""

    @classmethod
    async def open(cls, config: BackendConfig) -> Backend:
        """Take the data folder, open what is in it, deploy the functions folder, and answer.

        Raises
        ------
        DataFolderError
            The folder or the port cannot be used.
        """
        backend = await cls._open(config)
        try:
            await backend.answer_calls()
        except BaseException:
            await backend.close()
            raise
        # What lives now lives long: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        # Nearly everything that a call makes goes by reference count; looking for cycles every ten calls costs 3 %.
        gc.set_threshold(10_000, 20, 20)
        return backend

    @classmethod
    async def _open(cls, config: BackendConfig) -> Backend:
        """Open everything but the door."""
        folder = DataFolder(config.data)
        try:
            _check_ports(config)
            parts = await Parts.open(parts_config(config))
        except BaseException:
            folder.close()
            raise
        backend = cls(config, folder, parts, Logs(verbose=config.verbose))
        try:
            backend._report_problem()
            await backend._watch_functions()
            await backend._begin()
        except BaseException:
            await backend.close()
            raise
        return backend

    @property
    def parts(self) -> Parts:
        """What serves the data."""
        return self._parts

    @property
    def deployer(self) -> Deployer:
        """What is deployed."""
        return self._parts.deployer

    @property
    def files(self) -> Files:
        """Stored files."""
        return self._parts.files

    @property
    def commits(self) -> Commits:
        """What was committed."""
        return Commits(self._parts.log)

    @property
    def undo(self) -> Undo:
        """Undoes what was committed."""
        return Undo(self._parts.engine, self._parts.log, self._parts.columns)

    def catalog(self) -> Catalog:
        """Tables as they are now."""
        return self._parts.engine.catalog()

    @property
    def loads(self) -> Loads:
        """Bulk loads."""
        return self._parts.loads

    @property
    def background(self) -> Background:
        """What runs by itself."""
        return self._parts.background

    def idle_seconds(self) -> float:
        """For how long there has been no connection, to this and to the deployments beside it."""
        if len(self.site.sockets):
            return 0.0
        mine = time.monotonic() - max(self._started, self.site.sockets.last_open)
        return min([mine, *(one.idle_seconds() for one in self._mounted)])

    async def close(self) -> None:
        """Answer what runs, send everybody away with a hint to come back, and close the data folder."""
        for server in self._servers:
            server.stop()
        everybody = (self, *self._mounted)
        await asyncio.gather(*(one.site.sockets.drain(one.config.limits.drain_seconds) for one in everybody))
        for server in self._servers:
            await server.close_all_connections()
        async with contextlib.AsyncExitStack() as closing:
            for one in everybody:
                closing.push_async_callback(one.close_parts)

    async def close_parts(self) -> None:
        """Close the data folder of this deployment alone, once nobody is connected any more."""
        async with self._changing:
            await self._stop_watching()
            await self._sign_in.close()
            try:
                if not self._closed:
                    await self._parts.close()
            finally:
                self._folder.close()

    # ---- what the admin API asks ---------------------------------------------------------------------------

    def status(self, private: bool) -> dict[str, Any]:
        """State of the parts."""
        parts = self._parts
        public: dict[str, Any] = {
            "version": __version__,
            "deployment": self.config.deployment,
            "mode": self.config.mode,
            "deployments": [self.config.deployment, *(one.config.deployment for one in self._mounted)],
            "code_version": self.deployer.version,
            "uptime_s": round(time.monotonic() - self._started, 1),
            "connections": len(self.site.sockets),
            "subscriptions": len(parts.engine.subscriptions),
            "executions": dict(parts.engine.executions),
            "functions": len(self.deployer.functions),
        }
        if not private:
            return public
        problem = self.deployer.problem
        return public | {
            "pid": os.getpid(),
            "python": sys.executable,
            "url": self.url,
            "http_url": self.http_url,
            "data": str(self.config.data),
            "functions_folder": str(self.config.functions) if self.config.functions else None,
            "folder_problems": dict(self._functions.problems) if self._functions else {},
            "problem": {"message": problem.message, "issues": problem.issues} if problem else None,
            "limits": described(Limits(self.config.transaction, self.config.limits)),
            "durable_ts": str(parts.engine.durable),
            "indexes_made_anew": parts.engine.indexes_made_anew,
            "columns": parts.columns.status(),
            "past": parts.past.status(),
            "log_problems": list(parts.log.gaps),
            "workers": parts.pool.status(),
            "actions": parts.action_pool.status(),
        }

    def tables(self) -> list[dict[str, Any]]:
        """Tables with their sizes."""
        engine = self._parts.engine
        reader, ts = engine.reader(), engine.durable
        catalog = engine.catalog()
        tables = sorted(catalog.by_name.values(), key=lambda table: table.name)
        in_columns = rows_in_columns(reader, catalog, ts)
        return describe_tables(
            tables,
            lambda table: in_columns.get(table.number, 0) or reader.count(count_key(table.indexes[0].id), ts),
        )

    async def rows(self, table: str) -> bytes:
        """A table as an Arrow IPC stream."""
        engine = self._parts.engine
        if engine.catalog().table(table) is None or table.startswith("_"):
            raise no_table(table)
        return await self._parts.columns.rows(table, at_least=engine.durable)

    async def reset(self) -> None:
        """Delete all documents, functions and history; clients are sent away and come back to an empty deployment.

        Raises
        ------
        DataFolderError
            The data cannot be moved away; nothing was deleted.
        """
        async with self._changing:
            await self._stop_watching()
            await self.site.sockets.drain(self.config.limits.drain_seconds)
            self._closed = True
            try:
                await self._parts.close()
                try:
                    await asyncio.to_thread(discard, self.config.data)
                except OSError as error:
                    raise DataFolderError(
                        f"nothing was deleted: {error.filename} cannot be moved ({error.strerror}); close whatever has it open"
                    ) from None
                finally:
                    await self._open_again()
            except BaseException as error:
                if self._closed:
                    self._report("the deployment cannot be opened again", "error", reason=str(error))
                    self.on_lost()
                raise

    def _lost(self) -> None:
        self.on_lost()

    async def _open_again(self) -> None:
        if unfinished(self.config.data):
            await asyncio.to_thread(complete, self.config.data)
        self._parts = await Parts.open(parts_config(self.config))
        self._closed = False
        self.site.calls.use(self._parts.engine, self._parts.actions)
        self.site.calls.presence, self.site.calls.past = self._parts.presence, self._parts.past
        self._panel.use(self._parts)
        await self.tell_address()
        self.site.sockets.admit_again()
        await self._watch_functions()
        await self._begin()

    # ---- inside --------------------------------------------------------------------------------------------

    async def answer_calls(self) -> None:
        """Open the deployments beside this one, and the door to all of them."""
        for other in self.config.others:
            mounted = await self._open(other)
            mounted.on_lost = self._lost
            self._mounted.append(mounted)
        await self._listen()

    async def _listen(self) -> None:
        self.url, sockets = self._bind(self.config.port, "--port")
        self.http_url = f"{self.url}/http"
        if self.config.http_port is not None:
            self.http_url, http_sockets = self._bind(self.config.http_port, "--http-port")
            self._serve(make_http_application(self.site), http_sockets)
        door = self.application
        if self._mounted:
            # Under its own name, too, so that nobody has to know which one is the first.
            named = {one.config.deployment: one.application for one in (self, *self._mounted)}
            door = Deployments(self.application, named)
        for one in self._mounted:
            one.url = f"{self.url}/{one.config.deployment}"
        for one in (self, *self._mounted):
            one.http_url = one.http_url or f"{one.url}/http"
            await one.tell_address()
            one.announce()
        self._serve(door, sockets)

    def _bind(self, port: int, option: str) -> tuple[str, list[socket.socket]]:
        sockets = _bound(self.config.host, port, option)
        host = f"[{self.config.host}]" if ":" in self.config.host else self.config.host
        return f"http://{host}:{sockets[0].getsockname()[1]}", sockets

    def _serve(self, door: Router, sockets: list[socket.socket]) -> None:
        server = make_server(door, self.site)
        server.add_sockets(sockets)
        self._servers.append(server)

    def announce(self) -> None:
        """Say in the data folder where this deployment answers."""
        self._folder.announce(self.url, __version__)

    async def tell_address(self) -> None:
        """Let functions know where this deployment answers, as environment variables."""
        public = (self.config.url or self.url).rstrip("/")
        try:
            site = self.http_url if self.config.url is None else f"{public}/http"
            await self.environment.tell(public, site)
        except ReadOnly as error:
            self._report("the address is not told to functions", "warning", reason=error.message)

    async def _watch_functions(self) -> None:
        if self.config.functions is not None:
            self._functions = FunctionsFolder(self.config.functions, self.deployer, self._report)
            await self._functions.start()

    async def _begin(self) -> None:
        """Let run what runs by itself; it has its place in the log like any other call."""
        self.background.jobs.on_run = self._parts.actions.on_run = self._log_run
        self.background.crons.on_event = self.site.logs.event
        self.deployer.on_providers = self.site.sockets.recheck
        if self.config.jobs:
            await self._parts.begin()

    def _log_run(self, run: Report) -> None:
        code, message = (run.failure.code, logged_text(run.failure)) if run.failure is not None else ("", "")
        self.site.logs.call(run.request_id, run.path, run.kind, run.seconds, "the backend", code, message, run.logs)

    async def _stop_watching(self) -> None:
        if self._functions is not None:
            await self._functions.close()
            self._functions = None

    def _report(self, event: str, level: str, **fields: Any) -> None:
        self.site.logs.event(event, level, **fields)

    def _report_problem(self) -> None:
        for gap in self._parts.log.gaps:
            self._report("the log is not whole", "error", reason=gap, fix=_LOG_NOT_WHOLE)
        problem = self.deployer.problem
        if problem is not None:
            self._report(
                "deployed functions cannot be imported", "error", reason=problem.message, issues=problem.issues
            )


def _bound(host: str, port: int, option: str) -> list[socket.socket]:
    try:
        return bind_sockets(port, address=host)
    except OSError as error:
        raise DataFolderError(f"cannot listen on {host}:{port}: {error.strerror}; choose another {option}") from None


def _check_ports(config: BackendConfig) -> None:
    """Refuse a port that is taken before anything is deployed, not after."""
    for port, option in ((config.port, "--port"), (config.http_port or 0, "--http-port")):
        for taken in _bound(config.host, port, option) if port else ():
            taken.close()
