"""Convex's HTTP API: single calls without a connection."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from nbreactive.errors import ProtocolError
from nbreactive.server import messages as wire
from nbreactive.server._handler import SiteHandler
from nbreactive.server.calls import Answer
from nbreactive.server.clients import identify
from nbreactive.server.failures import failure_text, log_texts
from nbreactive.values.json import decode_json, encode_clean

_NO_ARGS = Raw(b"{}")
_BATCH = 100
SPOKEN_VERSION = "1.48.0"
"""The version of Convex's protocol that ``/version`` names; official clients compare it with theirs."""


# ruff: noqa: N815


class CallBody(msgspec.Struct):
    """What is called."""

    path: str
    args: Raw = _NO_ARGS
    format: str | None = None
    ts: str | None = None
    componentPath: str | None = None
    at: str | int | float | None = None
    """As of which earlier time a query is answered: text, milliseconds, or a commit; an addition of nbreactive's."""


class RunBody(msgspec.Struct):
    """Arguments of ``/api/run/<path>``."""

    args: Raw = _NO_ARGS
    format: str | None = None


class BatchBody(msgspec.Struct):
    """Queries to be answered at one timestamp."""

    queries: list[CallBody]


class _Function(SiteHandler):
    def outcome(self, answer: Answer, wanted: str | None) -> dict[str, Any]:
        mode = self.site.calls.mode
        lines = log_texts(answer.logs, mode)
        failure = answer.failure
        result: dict[str, Any]
        if failure is None:
            result = {"status": "success", "value": self._formatted(answer.value, wanted)}
        else:
            result = {"status": "error", "errorMessage": failure_text(failure, answer.request_id, mode)}
            if failure.data is not None:
                result["errorData"] = self._formatted(failure.data, wanted)
        return result | ({"logLines": lines} if lines else {})

    def _formatted(self, value: bytes, wanted: str | None) -> Raw:
        if wanted is None:
            client = identify(None, self.request.headers.get("Convex-Client"))
            wanted = "convex_encoded_json" if client.wants_encoded_json else "json"
        if wanted in ("convex_encoded_json", "convex_json"):
            return Raw(value)
        if wanted in ("json", "convex_clean_json"):
            return Raw(encode_clean(decode_json(value)))
        raise ProtocolError(f"there is no format {wanted[:40]!a}; there are json and convex_encoded_json")


class QueryHandler(_Function):
    """``/api/query``."""

    async def get(self) -> None:
        """Call with ``path``, ``args``, ``format`` and ``at`` in the URL."""
        args, at = Raw(self.get_query_argument("args", "{}").encode()), self.get_query_argument("at", None)
        given = self.get_query_argument("format", None)
        await self._call(CallBody(self.get_query_argument("path"), args, given, at=at))

    async def post(self) -> None:
        """Call with a body."""
        await self._call(self.body(CallBody))

    async def _call(self, body: CallBody) -> None:
        calls = self.site.calls
        if body.at is not None:
            answer = await calls.query_earlier(self.caller, body.path, body.args, body.componentPath, body.at)
        else:
            answer = await calls.query(self.caller, body.path, body.args, body.componentPath)
        self.answer(self.outcome(answer, body.format))


class MutationHandler(_Function):
    """``/api/mutation``."""

    async def post(self) -> None:
        """Call with a body."""
        body = self.body(CallBody)
        self.answer(
            self.outcome(
                await self.site.calls.mutate(self.caller, body.path, body.args, body.componentPath), body.format
            )
        )


class ActionHandler(_Function):
    """``/api/action``."""

    async def post(self) -> None:
        """Call with a body."""
        body = self.body(CallBody)
        answer = await self.site.calls.act(self.caller, body.path, body.args, body.componentPath)
        self.answer(self.outcome(answer, body.format))


class FunctionHandler(_Function):
    """``/api/function``: a function of any kind."""

    async def post(self) -> None:
        """Call with a body."""
        body = self.body(CallBody)
        self.answer(
            self.outcome(
                await self.site.calls.any_kind(self.caller, body.path, body.args, body.componentPath), body.format
            )
        )


class RunHandler(_Function):
    """``/api/run/<directory>/<file>/<function>``."""

    async def post(self, address: str) -> None:
        """Call with the arguments as the body."""
        module, _, name = address.rpartition("/")
        body = self.body(RunBody) if self.request.body else RunBody()
        path = f"{module}:{name}" if module and ":" not in address else address
        self.answer(self.outcome(await self.site.calls.any_kind(self.caller, path, body.args), body.format or "json"))


class QueryTsHandler(SiteHandler):
    """``/api/query_ts``: a timestamp for queries that should agree with each other."""

    def post(self) -> None:
        """Give the newest timestamp."""
        self.caller.require("read")
        self.answer({"ts": wire.encode_ts(self.site.calls.durable_ts)})


class QueryAtTsHandler(_Function):
    """``/api/query_at_ts``."""

    async def post(self) -> None:
        """Call with a body that holds ``ts``."""
        body = self.body(CallBody)
        try:
            at = wire.decode_ts(body.ts or "")
        except ValueError as error:
            raise ProtocolError(f"ts: {error}") from None
        calls = self.site.calls
        if at > calls.durable_ts:
            raise ProtocolError("ts: this timestamp is in the future; take one from /api/query_ts")
        ask = calls.query_earlier if "deploy" in self.caller.roles and at < calls.oldest_ts else calls.query
        answer = await ask(self.caller, body.path, body.args, body.componentPath, at)
        self.answer(self.outcome(answer, body.format))


class QueryBatchHandler(_Function):
    """``/api/query_batch``."""

    async def post(self) -> None:
        """Answer all queries at one timestamp."""
        queries = self.body(BatchBody).queries
        if len(queries) > _BATCH:
            raise ProtocolError(f"{len(queries)} queries in one batch, at most {_BATCH} are allowed")
        at = self.site.calls.durable_ts
        results: list[dict[str, Any]] = []
        for query in queries:
            answer = await self.site.calls.query(self.caller, query.path, query.args, query.componentPath, at)
            results.append(self.outcome(answer, query.format))
        self.answer({"results": results})


class TextHandler(SiteHandler):
    """A line of plain text."""

    def initialize(self, site: Any, text: str) -> None:  # type: ignore[override]
        """Take the text."""
        super().initialize(site)
        self._text = text

    def get(self) -> None:
        """Give it."""
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(self._text)
