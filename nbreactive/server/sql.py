"""SQL over HTTP: registering a statement, and whole results as Arrow.

Live results are queries like any other (``_system/sql:live``). Whoever may read names a statement by its hash, here as there; text
is for those who may deploy.
"""

from __future__ import annotations

from typing import Any

import msgspec

from nbreactive.errors import NBReactiveError, ProtocolError, from_wire
from nbreactive.functions.paths import canonical_path
from nbreactive.runtime.system_sql import REGISTER
from nbreactive.server._handler import SiteHandler
from nbreactive.server.site import Site
from nbreactive.server.storage import Storage
from nbreactive.services.statements import pack_params
from nbreactive.values.instants import instant_of
from nbreactive.values.json import decode_json, encode_json
from nbreactive.values.limits import SQL_ARROW_BYTES

ARROW = "application/vnd.apache.arrow.stream"


class SqlHandler(SiteHandler):
    """Base of both doors."""

    def initialize(self, site: Site, backend: Storage) -> None:  # type: ignore[override]
        """Take what handlers share."""
        super().initialize(site)
        self.backend = backend


class RegisterBody(msgspec.Struct, forbid_unknown_fields=True):
    """The text of a statement."""

    sql: str


class RegisterHandler(SqlHandler):
    """``POST /api/sql/register``."""

    async def post(self) -> None:
        """Keep a statement; its hash is what viewers name."""
        self.caller.require("deploy")
        body = self.body(RegisterBody)
        answer = await self.site.calls.mutate(self.caller, canonical_path(REGISTER), encode_json({"sql": body.sql}))
        if answer.failure is not None:
            raise from_wire(answer.failure.code, answer.failure.message)
        self.answer({"hash": decode_json(answer.value)})


class ArrowBody(msgspec.Struct, forbid_unknown_fields=True):
    """Which statement, with which values of its parameters, as of when."""

    hash: str | None = None
    sql: str | None = None
    params: msgspec.Raw = msgspec.Raw(b"{}")
    at: str | int | float | None = None


class ArrowHandler(SqlHandler):
    """``POST /api/sql/arrow``."""

    async def post(self) -> None:
        """Give a whole result as an Arrow IPC stream."""
        body = self.body(ArrowBody)
        if (body.hash is None) == (body.sql is None):
            raise ProtocolError('send {"hash": ...} of a registered statement, or its text as {"sql": ...}')
        self.caller.require("read" if body.sql is None else "deploy")
        parts = self.backend.parts
        reach: Any = self.caller.reach_to(REGISTER)
        params = pack_params(decode_json(bytes(body.params), "params"))
        at = parts.engine.durable if body.at is None else instant_of(body.at)
        text = body.sql.strip() if body.sql is not None else parts.statements.text_of(body.hash or "")
        try:
            found = await parts.statements.whole(text, params, min(at, parts.engine.durable), reach, SQL_ARROW_BYTES)
        except NBReactiveError as error:
            reason = str(error.__cause__ or error)
            self.site.logs.event("sql failed", "warning", who=self.caller.label, reason=reason)
            raise
        self.set_header("Content-Type", ARROW)
        self.set_header("Content-Disposition", "attachment")
        self.finish(found)


ROUTES: list[tuple[str, type[SqlHandler]]] = [
    (r"/api/sql/register", RegisterHandler),
    (r"/api/sql/arrow", ArrowHandler),
]
