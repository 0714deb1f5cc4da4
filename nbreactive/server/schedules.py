"""Scheduled functions and cron jobs over HTTP, for those who may deploy: look, cancel, run now."""

from __future__ import annotations

from typing import Final

import msgspec
from tornado.web import HTTPError

from nbreactive.functions.paths import canonical_path
from nbreactive.server.admin import AdminHandler, HistoryHandler

_STATES: Final = ("pending", "inProgress", "success", "failed", "canceled")


class ScheduledHandler(HistoryHandler):
    """``GET /api/admin/scheduled?state=&limit=``."""

    def get(self) -> None:
        """List scheduled functions without their arguments, those of one state in the order of their time."""
        self.caller.require("deploy")
        state = self.get_query_argument("state", None)
        if state is not None and state not in _STATES:
            raise HTTPError(400, f"state is one of {', '.join(_STATES)}")
        jobs = self.backend.background.scheduler.table.listing(state, self.number("limit", 100))
        self.answer({"scheduled": jobs})


class CancelBody(msgspec.Struct):
    """Which job; or all pending ones, perhaps those of one function only."""

    id: str | None = None
    all: bool = False
    function: str | None = None


class CancelHandler(AdminHandler):
    """``POST /api/admin/scheduled/cancel``."""

    async def post(self) -> None:
        """Cancel one job, or many."""
        self.caller.require("deploy")
        body, table = self.body(CancelBody), self.backend.background.scheduler.table
        if (body.id is None) == (not body.all):
            raise HTTPError(400, 'send {"id": ...} for one job, or {"all": true}, with "function" for those of one')
        if body.id is not None:
            canceled = int(await table.cancel(body.id))
        else:
            canceled = await table.cancel_all(canonical_path(body.function) if body.function else None)
        self.site.logs.event(
            "scheduled functions canceled", author=self.author(), canceled=canceled, function=body.function
        )
        self.answer({"canceled": canceled})


class RunBody(msgspec.Struct):
    """Which job, or which cron job."""

    id: str | None = None
    cron: str | None = None


class RunHandler(AdminHandler):
    """``POST /api/admin/scheduled/run``."""

    async def post(self) -> None:
        """Run a pending job, or a cron job, now instead of later."""
        self.caller.require("deploy")
        body, background = self.body(RunBody), self.backend.background
        if (body.id is None) == (body.cron is None):
            raise HTTPError(400, 'send {"id": ...} for a scheduled function, or {"cron": name} for a cron job')
        if body.cron is not None:
            await background.crons.run_now(body.cron)
            self.answer({"due": True})
        else:
            self.answer({"due": await background.scheduler.table.run_now(body.id or "")})


class CronsHandler(AdminHandler):
    """``GET /api/admin/crons``."""

    def get(self) -> None:
        """List cron jobs with their last results."""
        self.caller.require("deploy")
        self.answer({"crons": self.backend.background.crons.listing()})


ROUTES: list[tuple[str, type[AdminHandler]]] = [
    (r"/api/admin/scheduled", ScheduledHandler),
    (r"/api/admin/scheduled/cancel", CancelHandler),
    (r"/api/admin/scheduled/run", RunHandler),
    (r"/api/admin/crons", CronsHandler),
]
