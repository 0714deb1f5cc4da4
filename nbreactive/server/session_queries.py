"""The live queries of one connection, by the ids that its client gave them."""

from __future__ import annotations

import asyncio

from nbreactive.engine.query_cache import QueryResult
from nbreactive.engine.requests import QuerySpec
from nbreactive.engine.subscriptions import Listener, Subscription
from nbreactive.errors import NBReactiveError, ProtocolError
from nbreactive.server import messages as wire
from nbreactive.server.answers import Modification, Speaker
from nbreactive.server.calls import Answer, Calls
from nbreactive.server.deltas import Deltas, Shown
from nbreactive.server.identity import Caller

_NOT_ALLOWED = ("Refused", "Unauthenticated")


class SessionQueries:
    """A query set.

    Parameters
    ----------
    listener
        Who is told that a query has to be looked at.
    most
        How many queries are answered; twice as many end the connection.

    Attributes
    ----------
    version
        Of the query set, as the client counts.
    ids
        The client's id of each subscription.
    pending
        What the next transition has to say besides results: removed queries, and those that cannot be.
    """

    def __init__(self, calls: Calls, listener: Listener, speaker: Speaker, most: int) -> None:
        self.version = 0
        self.ids: dict[Subscription, int] = {}
        self.pending: list[Modification] = []
        self.speaker = speaker
        self._calls = calls
        self._listener = listener
        self._most = most
        self._queries: dict[int, Subscription | None] = {}
        self._hidden: dict[int, wire.Add | QuerySpec] = {}
        """Queries that this caller may not ask; another one may."""
        self._earlier: dict[int, tuple[wire.Add, asyncio.Task[None]]] = {}
        """Queries as of earlier times."""
        self._deltas: Deltas | None = None
        self._shown: dict[int, Shown] = {}
        """What the client shows, where deltas may lead from there."""

    def take_deltas(self, deltas: Deltas) -> None:
        """Say new results by what is new in them, from now on."""
        self._deltas = deltas

    def modification(self, query_id: int, result: QueryResult) -> Modification:
        """What a query shows now, as its client is told."""
        if self._deltas is None:
            return self.speaker.modification(query_id, result)
        shown, delta = self._deltas.follow(self._shown.pop(query_id, None), result)
        if shown is not None:
            self._shown[query_id] = shown
        return self.speaker.modification(query_id, result, delta)

    def modify(self, message: wire.ModifyQuerySet, caller: Caller) -> None:
        """Add and remove queries."""
        if message.baseVersion != self.version or message.newVersion <= message.baseVersion:
            raise ProtocolError(
                f"BaseVersionMismatch: the query set is at version {self.version}, not {message.baseVersion}"
            )
        for change in message.modifications:
            if isinstance(change, wire.Add):
                self._add(change, caller)
            else:
                self._remove(change.queryId)
        self.version = message.newVersion

    def ask_again(self, caller: Caller) -> None:
        """Ask all queries in the name of another caller."""
        hidden, self._hidden = self._hidden, {}
        for query_id, handle in list(self._queries.items()):
            asked = handle.spec if handle is not None else hidden.get(query_id)
            asked = self._forget_earlier(query_id) or asked
            if handle is not None:
                del self.ids[handle]
                self._calls.subscriptions.remove(handle)
            if isinstance(asked, QuerySpec):
                self._subscribe(query_id, self._calls.for_caller(asked, caller), asked)
            elif asked is not None:
                del self._queries[query_id]
                self._add(asked, caller)

    def close(self) -> None:
        """End all subscriptions."""
        for query_id in list(self._earlier):
            self._forget_earlier(query_id)
        self._calls.subscriptions.close(self._listener)
        for query_id in list(self._shown):
            self._hide(query_id)
        self._hidden.clear()
        self.ids.clear()
        self._queries.clear()

    def _add(self, change: wire.Add, caller: Caller) -> None:
        if change.at is not None and not self.speaker.additions:
            raise ProtocolError("BadMessage: `at` is for clients that ask for the additions of nbreactive in Connect")
        if change.queryId in self._queries:
            raise ProtocolError(f"the query id {change.queryId} is in use")
        if len(self._queries) >= 2 * self._most:
            raise ProtocolError("TooManySubscriptions: this connection has far too many live queries")
        self._queries[change.queryId] = None
        if len(self._queries) > self._most:
            spec: QuerySpec | Answer = self._calls.failed(
                "LimitExceeded",
                f"more than {self._most} live queries on one connection; close those that nobody looks at",
            )
        elif change.at is not None:
            self._ask_earlier(change, change.at, caller)
            return
        else:
            spec = self._calls.live(caller, change.udfPath, change.args, change.journal, change.componentPath)
        self._subscribe(change.queryId, spec, change)

    def _subscribe(self, query_id: int, spec: QuerySpec | Answer, asked: wire.Add | QuerySpec) -> None:
        if isinstance(spec, Answer):
            self._queries[query_id] = None
            if spec.failure is not None and spec.failure.code in _NOT_ALLOWED:
                self._hidden[query_id] = asked
            self.pending.append(self.speaker.not_subscribed(query_id, asked.journal, spec))
            return
        handle = self._calls.subscriptions.add(self._listener, spec)
        self._queries[query_id] = handle
        self.ids[handle] = query_id

    def _ask_earlier(self, change: wire.Add, at: str, caller: Caller) -> None:
        """Have a query answered as of an earlier time: once, since that cannot change any more."""

        async def ask() -> None:
            try:
                found = await self._calls.earlier(caller, change.udfPath, change.args, change.componentPath, ts)
                self.pending.append(self.speaker.modification(change.queryId, found))
            except NBReactiveError as error:
                answer = self._calls.failed(error.code, error.message)
                self.pending.append(self.speaker.not_subscribed(change.queryId, None, answer))
            self._listener.invalidated()

        try:
            ts = wire.decode_ts(at)
        except ValueError as error:
            raise ProtocolError(f"BadMessage: at: {error}") from None
        self._earlier[change.queryId] = (change, asyncio.create_task(ask()))

    def _forget_earlier(self, query_id: int) -> wire.Add | None:
        change, asking = self._earlier.pop(query_id, (None, None))
        if asking is not None:
            asking.cancel()
        return change

    def _remove(self, query_id: int) -> None:
        if query_id not in self._queries:
            raise ProtocolError(f"there is no query with the id {query_id}")
        handle = self._queries.pop(query_id)
        self._forget_earlier(query_id)
        self._hidden.pop(query_id, None)
        self._hide(query_id)
        if handle is not None:
            del self.ids[handle]
            self._calls.subscriptions.remove(handle)
        self.pending.append(wire.QueryRemoved(queryId=query_id))

    def _hide(self, query_id: int) -> None:
        shown = self._shown.pop(query_id, None)
        if shown is not None and self._deltas is not None:
            self._deltas.leave(shown)
