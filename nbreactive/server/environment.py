"""Environment variables over HTTP, in the form in which Convex's command line sets them.

Only who may deploy sees or sets them. Names are written into the log, values never.
"""

from __future__ import annotations

import msgspec

from nbreactive.server.admin import AdminHandler
from nbreactive.services.env import VariableChange


class ChangesBody(msgspec.Struct):
    """What to set (a value) and what to remove (null)."""

    changes: list[VariableChange]


class UpdateHandler(AdminHandler):
    """``POST /api/update_environment_variables``."""

    async def post(self) -> None:
        """Set and remove variables, all or none."""
        self.caller.require("deploy")
        changes = self.body(ChangesBody).changes
        await self.backend.environment.update(changes)
        self.site.logs.event(
            "environment variables changed",
            author=self.author(),
            set=[change.name for change in changes if change.value is not None],
            removed=[change.name for change in changes if change.value is None],
        )
        self.answer({"changed": len(changes)})


class ListHandler(AdminHandler):
    """``GET /api/list_environment_variables``."""

    def get(self) -> None:
        """Give all variables that were set, with their values."""
        self.caller.require("deploy")
        self.answer({"environmentVariables": self.backend.environment.list()})


class SummaryHandler(UpdateHandler):
    """``/api/admin/environment``: for places where values must not be shown (``POST`` as above)."""

    def get(self) -> None:
        """Give names, and how long the values are."""
        self.caller.require("deploy")
        values = self.backend.environment.list()
        self.answer({"variables": [{"name": name, "length": len(value)} for name, value in values.items()]})


ROUTES: list[tuple[str, type[AdminHandler]]] = [
    (r"/api/(?:v1/)?update_environment_variables", UpdateHandler),
    (r"/api/(?:v1/)?list_environment_variables", ListHandler),
    (r"/api/admin/environment", SummaryHandler),
]
