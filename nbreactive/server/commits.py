"""The doors to what was committed: listing it, and undoing it."""

from __future__ import annotations

from typing import Protocol

import msgspec

from nbreactive.engine.catalog import Catalog
from nbreactive.server.admin import AdminHandler, HistoryHandler
from nbreactive.server.calls import new_request_id
from nbreactive.server.site import Site
from nbreactive.services.commits import Commits
from nbreactive.services.undo import Undo
from nbreactive.values.instants import instant_of


class History(Protocol):
    """What these doors ask of the backend."""

    @property
    def commits(self) -> Commits:
        """What was committed."""
        ...

    @property
    def undo(self) -> Undo:
        """Undoes it."""
        ...

    def catalog(self) -> Catalog:
        """Tables as they are now."""
        ...


class ChangesHandler(HistoryHandler):
    """``GET /api/admin/changes?table=&since=&limit=``."""

    def initialize(self, site: Site, backend: History) -> None:  # type: ignore[override]
        """Take what handlers share."""
        AdminHandler.initialize(self, site, backend)  # type: ignore[arg-type]
        self.past = backend

    async def get(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - tornado awaits it
        """List commits, newest first."""
        self.caller.require("deploy")
        since = self.get_query_argument("since", "")
        found = await self.past.commits.recent(
            self.past.catalog(),
            table=self.get_query_argument("table", None),
            since=instant_of(since, "since") if since else 0,
            limit=self.number("limit", 100),
        )
        self.answer({"changes": found})


class UndoBody(msgspec.Struct):
    """Which commit is undone: its timestamp, or the id of its request."""

    commit: str
    force: bool = False
    """Also where its documents were changed since."""


class UndoHandler(AdminHandler):
    """``POST /api/admin/undo``."""

    def initialize(self, site: Site, backend: History) -> None:  # type: ignore[override]
        """Take what handlers share."""
        super().initialize(site, backend)  # type: ignore[arg-type]
        self.past = backend

    async def post(self) -> None:
        """Undo a commit."""
        self.caller.require("deploy")
        body = self.body(UndoBody)
        done = await self.past.undo.undo(body.commit, self.author(), new_request_id(), force=body.force)
        self.site.logs.event("undone", author=self.author(), commit=done.undone, function=done.function, ts=done.ts)
        self.answer(done)


ROUTES: list[tuple[str, type[AdminHandler]]] = [
    (r"/api/admin/changes", ChangesHandler),
    (r"/api/admin/undo", UndoHandler),
]
