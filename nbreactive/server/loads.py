"""``/api/load/<table>``: rows in bulk, for those who may deploy."""

from __future__ import annotations

from typing import Protocol

from tornado.web import HTTPError

from nbreactive.server._handler import SiteHandler
from nbreactive.server.site import Site
from nbreactive.services.loads import Loads

ARROW = "application/vnd.apache.arrow.stream"
_RUN = 32


class Loading(Protocol):
    """What this door asks of the backend."""

    @property
    def loads(self) -> Loads:
        """The bulk loads."""
        ...


class LoadHandler(SiteHandler):
    """``GET`` and ``POST /api/load/<table>?load=<id>&row=<number of the first row>[&run=<name of the call>][&state=1]``.

    With ``state`` it answers a ``POST`` as it does a ``GET`` after it.
    """

    def initialize(self, site: Site, backend: Loading) -> None:  # type: ignore[override]
        """Take what handlers share."""
        super().initialize(site)
        self.backend = backend

    def get(self, table: str) -> None:
        """Tell how far a load is, and which ids its rows have."""
        self.caller.require("deploy")
        self.answer(self.backend.loads.state(table, self.get_query_argument("load"), self.caller.identity))

    async def post(self, table: str) -> None:
        """Add rows: an Arrow IPC stream, or packed documents."""
        self.caller.require("deploy")
        row = self.get_query_argument("row", "0")
        if not (row.isascii() and row.isdigit() and len(row) < 15):
            raise HTTPError(400, "row is not a number")
        arrow = self.request.headers.get("Content-Type", "") == ARROW
        load = self.get_query_argument("load")
        run = self.get_query_argument("run", "")[:_RUN]
        who = str((self.caller.identity or {}).get("name") or self.caller.label)
        done = await self.backend.loads.add(
            table, load, int(row), self.request.body, self.caller.identity, arrow=arrow, who=who, run=run
        )
        if self.get_query_argument("state", ""):
            self.answer(self.backend.loads.state(table, load, self.caller.identity))
        else:
            self.answer({"rows": done})


ROUTES = [(r"/api/load/([A-Za-z][A-Za-z0-9_]{0,63})", LoadHandler)]
