"""From what the engine says to what a client is told: the modifications and responses of the sync protocol."""

from __future__ import annotations

from msgspec import UNSET, Raw, UnsetType

from nbreactive.engine.query_cache import QueryResult
from nbreactive.server import messages as wire
from nbreactive.server.calls import Answer
from nbreactive.server.deltas import Delta
from nbreactive.server.failures import Mode, failure_text, log_texts

Response = wire.MutationResponse | wire.ActionResponse
Modification = wire.QueryUpdated | wire.QueryDelta | wire.QueryFailed | wire.QueryRemoved


class Speaker:
    """Says things the way that one client understands them.

    Parameters
    ----------
    mode
        Of the deployment.
    additions
        Whether the client asked for what nbreactive adds to the protocol.
    """

    def __init__(self, mode: Mode, additions: bool = False) -> None:
        self._mode: Mode = mode
        self.additions = additions

    def response(self, message: wire.Mutation | wire.Action, answer: Answer) -> Response:
        """How a mutation or action ended."""
        failure = answer.failure
        lines = log_texts(answer.logs, self._mode)
        if failure is None:
            value = Raw(answer.value)
            if isinstance(message, wire.Action):
                return wire.ActionResponse(requestId=message.requestId, success=True, result=value, logLines=lines)
            ts = wire.encode_ts(answer.ts)
            return wire.MutationResponse(requestId=message.requestId, success=True, result=value, ts=ts, logLines=lines)
        text = failure_text(failure, answer.request_id, self._mode)
        data = Raw(failure.data) if failure.data is not None else UNSET
        code = failure.code if self.additions else UNSET
        trace = self._trace(failure.trace)
        if isinstance(message, wire.Action):
            return wire.ActionResponse(
                requestId=message.requestId,
                success=False,
                result=text,
                logLines=lines,
                errorData=data,
                errorCode=code,
                trace=trace,
            )
        return wire.MutationResponse(
            requestId=message.requestId,
            success=False,
            result=text,
            ts=None,
            logLines=lines,
            errorData=data,
            errorCode=code,
            trace=trace,
        )

    def modification(self, query_id: int, result: QueryResult, delta: Delta | None = None) -> Modification:
        """What a live query shows now; with ``delta``, how that comes from what it showed before."""
        lines = log_texts(result.logs, self._mode)
        failure = result.failure
        extra = self.additions
        if failure is None:
            columns = result.columns if extra and result.columns is not None else UNSET
            identity_read = True if extra and result.identity_read else UNSET
            request_id = result.request_id if extra else UNSET
            if delta is not None:
                return wire.QueryDelta(
                    queryId=query_id,
                    path=delta.path,
                    runs=delta.runs,
                    rest=delta.rest if delta.rest is not None else UNSET,
                    check=delta.check,
                    logLines=lines,
                    journal=result.journal,
                    columns=columns,
                    identityRead=identity_read,
                    requestId=request_id,
                )
            return wire.QueryUpdated(
                queryId=query_id,
                value=Raw(result.value),
                logLines=lines,
                journal=result.journal,
                columns=columns,
                identityRead=identity_read,
                requestId=request_id,
            )
        return wire.QueryFailed(
            queryId=query_id,
            errorMessage=failure_text(failure, result.request_id, self._mode),
            logLines=lines,
            journal=result.journal,
            errorData=Raw(failure.data) if failure.data is not None else UNSET,
            errorCode=failure.code if extra else UNSET,
            trace=self._trace(failure.trace),
            requestId=result.request_id if extra else UNSET,
        )

    def not_subscribed(self, query_id: int, journal: str | None, answer: Answer) -> wire.QueryFailed:
        """Why a query was not even subscribed to."""
        failure = answer.failure
        assert failure is not None
        return wire.QueryFailed(
            queryId=query_id,
            errorMessage=failure_text(failure, answer.request_id, self._mode),
            logLines=[],
            journal=journal,
            errorCode=failure.code if self.additions else UNSET,
        )

    def _trace(self, trace: str) -> str | UnsetType:
        return (trace if self._mode == "dev" else "") if self.additions else UNSET
