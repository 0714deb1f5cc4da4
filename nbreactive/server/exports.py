"""``POST /api/export``: all rows of a table, or of a SELECT, as a stream of Arrow, for those who may deploy."""

from __future__ import annotations

import asyncio

import msgspec
from tornado.http1connection import HTTP1Connection
from tornado.iostream import StreamClosedError

from nbreactive.errors import ProtocolError
from nbreactive.server.admin import no_table
from nbreactive.server.loads import ARROW
from nbreactive.server.sql import SqlHandler
from nbreactive.services.statements import pack_params
from nbreactive.values.instants import instant_of
from nbreactive.values.json import decode_json


class ExportBody(msgspec.Struct, forbid_unknown_fields=True):
    """What is exported: a table, or a SELECT with the values of its parameters; as of when."""

    table: str | None = None
    sql: str | None = None
    params: msgspec.Raw = msgspec.Raw(b"{}")
    at: str | int | float | None = None


class ExportHandler(SqlHandler):
    """``POST /api/export``."""

    async def post(self) -> None:
        """Send rows as fast as they are taken; whoever stops for long is left."""
        self.caller.require("deploy")
        body = self.body(ExportBody)
        if (body.table is None) == (body.sql is None):
            raise ProtocolError('send {"table": ...} or {"sql": ...}')
        parts = self.backend.parts
        if body.table is not None and (body.table.startswith("_") or parts.engine.catalog().table(body.table) is None):
            raise no_table(body.table)
        text = body.sql or f'SELECT * FROM "{body.table}"'  # noqa: S608 - the name of a table that there is
        at = parts.engine.durable if body.at is None else min(instant_of(body.at), parts.engine.durable)
        params = pack_params(decode_json(bytes(body.params), "params"))
        self.set_header("Content-Type", ARROW)
        self.set_header("Content-Disposition", "attachment")
        rows = parts.columns.stream(text.strip(), params, at=at)
        try:
            async for piece in rows:
                self.write(piece)
                async with asyncio.timeout(self.site.limits.send_timeout):
                    await self.flush()
        except TimeoutError:
            self._leave()
        except StreamClosedError:
            return
        except BaseException:
            if self._headers_written:  # it is too late to say why: what came is not whole
                self._leave()
                return
            raise
        finally:
            await rows.aclose()

    def _leave(self) -> None:
        connection = self.request.connection
        assert isinstance(connection, HTTP1Connection)
        connection.close()
        self.site.logs.event("an export was broken off", "warning", who=self.caller.label)


ROUTES = [(r"/api/export", ExportHandler)]
