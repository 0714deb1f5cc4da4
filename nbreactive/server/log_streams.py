"""Following the log over HTTP: long polls in Convex's form, which ``npx convex logs`` reads, and in our own.

A poll with a cursor is answered at once if there are calls after it, else with the next ones, or with none after a
while. Cursor 0 asks for what is kept, and is answered at once.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from typing import Any

from tornado.web import HTTPError

from nbreactive.server.admin import AdminHandler
from nbreactive.server.logs import CallRecord

_POLL_SECONDS = 60.0
_LONGEST = 60.0
_UDF_TYPES = {"query": "Query", "mutation": "Mutation", "action": "Action", "http_action": "HttpAction"}
_NOTHING_USED = dict.fromkeys(
    (
        "databaseReadBytes",
        "databaseWriteBytes",
        "databaseIoReadBytes",
        "databaseIoWriteBytes",
        "databaseReadDocuments",
        "databaseWriteDocuments",
        "databaseWriteIndexRows",
        "storageReadBytes",
        "storageWriteBytes",
        "vectorIndexReadBytes",
        "vectorIndexWriteBytes",
        "textIndexQueryBytes",
        "textIndexWriteQueryBytes",
        "vectorIndexReadQueryBytes",
        "vectorIndexWriteQueryBytes",
        "networkEgressBytes",
        "memoryUsedMb",
    ),
    0,
)
"""Convex bills by these; nothing is counted here."""


class _Stream(AdminHandler):
    _waiting: asyncio.Future[None] | None = None

    def number(self, name: str, default: float = 0.0) -> float:
        """A number in the URL."""
        text = self.get_query_argument(name, "")
        try:
            value = float(text) if text else default
        except ValueError:
            value = math.nan
        if not 0 <= value < 2**63:
            raise HTTPError(400, f"{name} is not a number")
        return value

    async def stay(self, work: Coroutine[Any, Any, None]) -> bool:
        """Wait for ``work``; False if the client has gone meanwhile.

        Raises
        ------
        Refused
            The caller may not be told any more what has come: the key was revoked, say.
        """
        self._waiting = asyncio.ensure_future(work)
        await asyncio.wait((self._waiting,))
        if self._waiting.cancelled():
            return False
        self.caller = await self.site.gate.admit(self.request.headers, self.request.remote_ip)
        self.caller.require("deploy")
        return True

    def on_connection_close(self) -> None:
        """Nobody waits any more."""
        if self._waiting is not None:
            self._waiting.cancel()

    def flag(self, name: str) -> bool:
        """Whether something is asked for in the URL."""
        return self.get_query_argument(name, "") in ("1", "true")


class FollowHandler(_Stream):
    """``GET /api/admin/logs?after=&function=&errors=&last=&wait=``."""

    async def get(self) -> None:
        """Give the kept calls after a number; with ``wait`` (seconds) stay until there are some."""
        self.caller.require("deploy")
        logs, after = self.site.logs, int(self.number("after"))
        last = int(self.number("last")) if self.get_query_argument("last", "") else None
        path, errors = self.get_query_argument("function", "") or None, self.flag("errors")

        def found() -> list[CallRecord]:
            return logs.since(after, path=path, errors=errors, last=last)

        calls = found()
        wait = min(self.number("wait"), _LONGEST)
        if not calls and wait:
            if not await self.stay(logs.follow(after, wait, wanted=lambda: bool(found()))):
                return
            calls = found()
        self.answer({"calls": calls, "next": logs.newest})


class FunctionLogsHandler(_Stream):
    """``GET /api/stream_function_logs?cursor=`` (lines as objects)."""

    structured = True

    async def get(self) -> None:
        """Give calls after a cursor."""
        self.caller.require("deploy")
        logs, cursor = self.site.logs, int(self.number("cursor"))
        if cursor and not await self.stay(logs.follow(cursor, _POLL_SECONDS)):
            return
        newest = logs.newest
        entries = [_entry(record, self.structured) for record in logs.since(cursor)]
        self.answer({"entries": entries, "newCursor": newest})


class ExecutionsHandler(FunctionLogsHandler):
    """``GET /api/stream_udf_execution?cursor=`` (lines as texts)."""

    structured = False


def _entry(record: CallRecord, structured: bool) -> dict[str, Any]:
    """One call as Convex describes it."""
    started = record.at - record.duration_ms / 1000
    lines: list[Any] = [f"[{line.level}] {line.text}" for line in record.lines]
    if structured:
        at = int(record.at * 1000)
        lines = [
            {"messages": [line.text], "isTruncated": False, "timestamp": at, "level": line.level}
            for line in record.lines
        ]
    failed = {"error": record.message or record.code} if record.code else {"success": None}
    return failed | {
        "kind": "Completion",
        "udfType": _UDF_TYPES.get(record.kind, "Query"),
        "componentPath": None,
        "identifier": record.path,
        "logLines": lines,
        "timestamp": record.at,
        "cachedResult": False,
        "caller": record.caller,
        "parentExecutionId": None,
        "executionTime": record.duration_ms / 1000,
        "userExecutionTime": None,
        "requestId": record.request_id,
        "executionId": f"{record.number:x}",
        "usageStats": _NOTHING_USED,
        "returnBytes": None,
        "occInfo": None,
        "willRetry": False,
        "executionTimestamp": started,
        "identityType": "user" if record.caller.startswith("user ") else record.caller.replace(" ", "_"),
        "environment": "python",
    }


ROUTES: list[tuple[str, type[AdminHandler]]] = [
    (r"/api/admin/logs", FollowHandler),
    (r"/api/stream_function_logs", FunctionLogsHandler),
    (r"/api/stream_udf_execution", ExecutionsHandler),
]
