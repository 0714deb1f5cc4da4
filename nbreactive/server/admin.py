"""The admin API: deploying, and looking at what is deployed."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec
from tornado.web import HTTPError

from nbreactive.engine.catalog import FIRST_USER_TABLE
from nbreactive.errors import FunctionNotFound, Refused
from nbreactive.functions.specs import Origin
from nbreactive.server._handler import SiteHandler
from nbreactive.server.site import Site
from nbreactive.services.background import Background
from nbreactive.services.copies import unified_diff
from nbreactive.services.deploys import Deployer, DeployRequest
from nbreactive.services.env import EnvironmentVariables
from nbreactive.services.schema_plan import describe


class Administration(Protocol):
    """What the admin API asks of the backend."""

    @property
    def deployer(self) -> Deployer:
        """What is deployed."""
        ...

    @property
    def environment(self) -> EnvironmentVariables:
        """Its environment variables."""
        ...

    @property
    def background(self) -> Background:
        """What runs by itself."""
        ...

    def status(self, private: bool) -> dict[str, Any]:
        """State of the parts; paths and the like only if ``private``."""
        ...

    def tables(self) -> list[dict[str, Any]]:
        """Tables with their sizes."""
        ...

    async def rows(self, table: str) -> bytes:
        """A table as an Arrow IPC stream."""
        ...

    async def reset(self) -> None:
        """Delete all documents, functions and history."""
        ...


class AdminHandler(SiteHandler):
    """Base: a caller with the role that the handler names."""

    def initialize(self, site: Site, backend: Administration) -> None:  # type: ignore[override]
        """Take what handlers share."""
        super().initialize(site)
        self.backend = backend

    def author(self) -> str:
        """Who is deploying, for the history."""
        identity = self.caller.identity or {}
        return str(identity.get("name") or identity.get("subject") or self.caller.label)


class DeployHandler(AdminHandler):
    """``POST /api/admin/deploy``."""

    async def post(self) -> None:
        """Deploy modules."""
        self.caller.require("deploy")
        request = self.body(DeployRequest)
        try:
            done = await self.backend.deployer.deploy(request, self.author())
        except Exception as error:
            self.site.logs.event(
                "deploy refused",
                "warning",
                author=self.author(),
                modules=[m.name for m in request.modules],
                reason=str(error),
            )
            raise
        if not done.unchanged:
            self.site.logs.event(
                "deployed",
                author=self.author(),
                version=done.version,
                modules=[m.name for m in request.modules],
                removed=request.remove,
            )
        self.answer(done)


class RollbackBody(msgspec.Struct):
    """Which module goes back to which version; None: the one before the current one."""

    module: str
    version: int | None = None
    force: bool = False
    origin: Origin | None = None
    """Who asks: a notebook that has deployed the module before keeps it."""


class RollbackHandler(AdminHandler):
    """``POST /api/admin/rollback``."""

    async def post(self) -> None:
        """Deploy an old source again."""
        self.caller.require("deploy")
        body = self.body(RollbackBody)
        deployer = self.backend.deployer
        version = deployer.version_before(body.module) if body.version is None else body.version
        done = await deployer.rollback(body.module, version, self.author(), body.origin)
        self.site.logs.event("rolled back", author=self.author(), version=done.version, module=body.module, to=version)
        self.answer(msgspec.structs.asdict(done) | {"to": version})


class FunctionsHandler(AdminHandler):
    """``GET /api/admin/functions``."""

    def get(self) -> None:
        """List functions: public ones for readers, all for those who deploy."""
        self.caller.require("read")
        everything = "deploy" in self.caller.roles
        functions = [
            spec for spec in self.backend.deployer.functions.values() if everything or spec.visibility == "public"
        ]
        answer: dict[str, Any] = {"version": self.backend.deployer.version, "functions": functions}
        if everything:  # what typed stubs are made of (services.stubs.write_stubs)
            manifest = self.backend.deployer.manifest
            answer |= {"tables": manifest.tables, "schema_validation": manifest.schema_validation}
        self.answer(answer)


class ModulesHandler(AdminHandler):
    """``GET /api/admin/modules``."""

    def get(self) -> None:
        """List modules with origin, version and author."""
        self.caller.require("deploy")
        self.answer(
            {
                "version": self.backend.deployer.version,
                "modules": [module.summary() for module in self.backend.deployer.modules],
            }
        )


class HistoryHandler(AdminHandler):
    """``GET /api/admin/history?module=&limit=``."""

    def get(self) -> None:
        """List deploys, newest first."""
        self.caller.require("deploy")
        records = self.backend.deployer.history(self.get_query_argument("module", None))
        self.answer({"deploys": [record.summary() for record in records[: self.number("limit", 100)]]})

    def number(self, name: str, default: int) -> int:
        """A number in the URL."""
        text = self.get_query_argument(name, "")
        if text and not (text.isascii() and text.isdigit() and len(text) < 10):
            raise HTTPError(400, f"{name} is not a number")
        return int(text) if text else default


class SourceHandler(HistoryHandler):
    """``GET /api/admin/source?module=&version=&diff=``."""

    def get(self) -> None:
        """Give a module's source, and how another version differs from it."""
        self.caller.require("deploy")
        name = self.get_query_argument("module")
        version = self.number("version", 0) or None
        module = self.backend.deployer.module_at(name, version)
        answer = module.summary() | {"source": module.source}
        other = self.number("diff", 0)
        if other:
            old = self.backend.deployer.module_at(name, other)
            answer["diff"] = unified_diff(
                old.source, module.source, f"version {old.version}", f"version {module.version}"
            )
        self.answer(answer)


class TablesHandler(AdminHandler):
    """``GET /api/admin/tables``."""

    def get(self) -> None:
        """List tables."""
        self.caller.require("deploy")
        self.answer({"tables": self.backend.tables()})


class RowsHandler(AdminHandler):
    """``GET /api/admin/rows?table=``."""

    async def get(self) -> None:
        """Give a whole table as an Arrow IPC stream."""
        self.caller.require("deploy")
        data = await self.backend.rows(self.get_query_argument("table"))
        self.set_header("Content-Type", "application/vnd.apache.arrow.stream")
        self.set_header("Content-Disposition", "attachment")
        self.finish(data)


class StatusHandler(AdminHandler):
    """``GET /api/admin/status``."""

    def get(self) -> None:
        """Give the state of the server."""
        self.caller.require("read")
        self.answer(self.backend.status("deploy" in self.caller.roles))


class ResetBody(msgspec.Struct):
    """The name of the deployment, typed again."""

    confirm: str = ""


class ResetHandler(AdminHandler):
    """``POST /api/admin/reset``."""

    async def post(self) -> None:
        """Delete everything."""
        self.caller.require("admin")
        if self.body(ResetBody).confirm != self.site.deployment:
            raise Refused(
                f'nothing was deleted: to delete all data of this deployment, send {{"confirm": "{self.site.deployment}"}}'
            )
        await self.backend.reset()
        self.site.logs.event("reset", "warning", author=self.author())
        self.answer({"reset": True})


def describe_tables(tables: Any, count: Any) -> list[dict[str, Any]]:
    """Tables of users with their number of documents."""
    return [describe(table) | {"documents": count(table)} for table in tables if table.number >= FIRST_USER_TABLE]


def no_table(name: str) -> FunctionNotFound:
    """The error for a table that does not exist."""
    return FunctionNotFound(f"there is no table {name[:100]!a}; %reactive tables lists those that exist")


ROUTES: list[tuple[str, type[AdminHandler]]] = [
    (r"/api/admin/deploy", DeployHandler),
    (r"/api/admin/rollback", RollbackHandler),
    (r"/api/admin/functions", FunctionsHandler),
    (r"/api/admin/modules", ModulesHandler),
    (r"/api/admin/history", HistoryHandler),
    (r"/api/admin/source", SourceHandler),
    (r"/api/admin/tables", TablesHandler),
    (r"/api/admin/rows", RowsHandler),
    (r"/api/admin/status", StatusHandler),
    (r"/api/admin/reset", ResetHandler),
]
