"""The client's half of a sync session, as a plain state machine: no socket, no thread, no clock.

It keeps the set of live queries and the requests under way, says which messages to send now (:meth:`drain`) and what
a message of the server changes (:meth:`receive`). A session outlives its connections: after a reconnect it starts
from version zero, adds every query again and sends every unfinished request again, in order, under the same session
and request ids, so that the server runs each exactly once.

A mutation with an optimistic update that was sent on an earlier connection may have been applied meanwhile, so that new
results may have its effect beside the update. Until the server has answered it again, what is shown stays as it was; so
it does until there are results of all queries.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from nbreactive.client import protocol
from nbreactive.client.deltas import LastResult
from nbreactive.client.optimistic import Layer
from nbreactive.client.protocol import Outcome
from nbreactive.errors import NBReactiveError, NotConnected, ProtocolError, Unauthenticated

Done = Callable[[Outcome], None]


@dataclass
class LiveEntry:
    """One query in the set; ``changed`` is called with every new outcome."""

    query_id: int
    path: str
    args: str
    changed: Done
    journal: str | None = None
    at: int = 0
    """The earlier time as of which it is asked; 0: it is live."""
    last: LastResult | None = None
    """What row deltas are applied to: the last result that came on this connection."""


@dataclass
class PendingRequest:
    """A mutation or action whose caller waits."""

    request_id: int
    kind: Literal["Mutation", "Action"]
    text: str
    done: Done
    layer: Layer | None = None
    """Its optimistic update, which is shown until the server's results have the mutation."""
    sent: bool = False
    answer: Outcome | None = None
    """The server's answer, while it waits for the transition that shows it."""
    answer_ts: int = 0


@dataclass
class Effects:
    """What one message changed: to be carried out together, after the state is whole again."""

    changed: list[tuple[LiveEntry, Outcome]] = field(default_factory=list[tuple[LiveEntry, Outcome]])
    finished: list[tuple[PendingRequest, Outcome]] = field(default_factory=list[tuple[PendingRequest, Outcome]])
    progress: bool = False
    """The connection works: forget the backoff."""

    def carry_out(self) -> None:
        """Show the new outcomes first, then wake the callers whose mutations these outcomes contain."""
        for entry, outcome in self.changed:
            entry.changed(outcome)
        for request, outcome in self.finished:
            request.done(outcome)


class Session:
    """State of one client's conversation with the backend; used on the client thread only."""

    def __init__(self) -> None:
        self.queries: dict[int, LiveEntry] = {}
        self.requests: dict[int, PendingRequest] = {}
        self.observed = 0
        self._next_query = 0
        self.token: str | None = None
        """Of who speaks; None: whoever the connection itself is, or nobody."""
        self.nobody = False
        """Whether the session of who had signed in is over: then this is not at once whoever the connection is."""
        self.connections = 0
        self._deltas = True
        self.restart()

    def restart(self) -> None:
        """Become a new session (the server cannot go on with the old one); the live queries stay."""
        self.session_id = str(uuid.uuid4())
        self.ended = False
        self._next_request = 0
        self.observed = 0
        self.disconnected()

    # ---- connections ----

    def connected(self, reason: str | None, client_ms: int) -> list[str]:
        """Begin a connection: everything the server has to know, in the order it wants it."""
        messages = [
            protocol.connect(self.session_id, self.connections, reason, client_ms, self.observed, deltas=self._deltas)
        ]
        self.connections += 1
        self._open = True
        if self.token is not None or self.nobody:
            messages.append(protocol.authenticate(0, self.token, self.nobody))
            self._identity = 1
        self._modifications = [
            protocol.add_query(entry.query_id, entry.path, entry.args, entry.journal, entry.at)
            for entry in self.queries.values()
        ]
        messages += self._take_modifications()
        self._all_asked = self._query_set
        for request in self.requests.values():
            if request.sent and request.layer is not None:
                self._doubtful.add(request.request_id)
            request.sent, request.answer = True, None
            messages.append(request.text)
        self._outbox.clear()
        return messages

    def disconnected(self) -> Effects:
        """End a connection; actions under way are lost, for nobody knows how far they came."""
        self._open = False
        self._version: protocol.Version = protocol.Version()
        self._query_set = 0
        self._identity = 0
        self._first: list[str] = []
        self._modifications: list[str] = []
        self._outbox: list[str] = []
        self._chunks = protocol.Chunks()
        self._shown_ts = 0
        self._all_asked = 0
        self._doubtful: set[int] = set()
        self._held: dict[int, tuple[LiveEntry, Outcome]] = {}
        for entry in self.queries.values():
            entry.last = None
        effects = Effects()
        for request in [r for r in self.requests.values() if r.kind == "Action" and r.sent]:
            lost = NotConnected(
                "The connection was lost while the action ran. It may have had effects: check, then run it again."
            )
            effects.finished.append((self.requests.pop(request.request_id), Outcome(error=lost)))
        return effects

    def drain(self) -> list[str]:
        """Messages to send now; changes of the query set are folded into one."""
        if not self._open:
            return []
        messages, self._first = self._first, []
        messages += self._take_modifications()
        messages += self._outbox
        self._outbox = []
        return messages

    def sign_in(self, token: str | None, nobody: bool = False) -> None:
        """Speak for somebody else from now on; what was asked before is asked in the old name."""
        self.token, self.nobody = token, nobody
        if self._open:
            said = protocol.authenticate(self._identity, token, nobody)
            self._first += [*self._take_modifications(), *self._outbox, said]
            self._outbox = []
            self._identity += 1

    @property
    def confirmed(self) -> bool:
        """Whether the server has taken the token."""
        return self._open and self._version.identity == self._identity

    def _take_modifications(self) -> list[str]:
        if not self._modifications:
            return []
        message = protocol.modify_query_set(self._query_set, self._modifications)
        self._query_set += 1
        self._modifications = []
        return [message]

    # ---- what the user wants ----

    def add(self, path: str, args: str, changed: Done, at: int = 0) -> LiveEntry:
        """Make a query live, or have it answered once, as of the earlier time ``at``."""
        entry = LiveEntry(self._next_query, path, args, changed, at=at)
        self._next_query += 1
        self.queries[entry.query_id] = entry
        if self._open:
            self._modifications.append(protocol.add_query(entry.query_id, path, args, None, at))
        return entry

    def remove(self, entry: LiveEntry) -> None:
        """End a live query; removing it twice is fine."""
        if self.queries.pop(entry.query_id, None) is not None and self._open:
            self._modifications.append(protocol.remove_query(entry.query_id))

    def request(
        self, kind: Literal["Mutation", "Action"], path: str, args: str, done: Done, layer: Layer | None = None
    ) -> PendingRequest:
        """Start a mutation or an action."""
        number = self._next_request
        self._next_request += 1
        text = protocol.request(kind, number, path, args)
        pending = PendingRequest(number, kind, text, done, layer)
        self.requests[number] = pending
        if self._open:
            pending.sent = True
            self._outbox.append(text)
        return pending

    def withdraw(self, request: PendingRequest) -> bool:
        """Give a request up; True if the server cannot have seen it."""
        self.requests.pop(request.request_id, None)
        return not request.sent

    def fail_requests(self, error: NBReactiveError) -> Effects:
        """End every request under way with ``error``."""
        effects = Effects(finished=[(request, Outcome(error=error)) for request in self.requests.values()])
        self.requests.clear()
        return effects

    # ---- what the server says ----

    def receive(self, text: str | bytes) -> Effects:
        """Apply one message; raises ``ProtocolError`` when the connection cannot go on."""
        message: protocol.Incoming | None = protocol.parse(text)
        if isinstance(message, protocol.TransitionChunk):
            message = self._chunks.add(message)
        match message:
            case protocol.Transition():
                return self._transition(message)
            case protocol.MutationResponse():  # ActionResponse is a subclass
                return self._response(message)
            case protocol.AuthError():
                if message.base_version + 1 < self._identity:
                    return Effects()  # said of a token before the last one
                raise Unauthenticated(f"The server ended the session of who has signed in: {message.error}")
            case protocol.FatalError():
                self.ended = True
                raise ProtocolError(f"The server ended the session: {message.error}")
            case _:
                return Effects()

    def _transition(self, message: protocol.Transition) -> Effects:
        if message.start_version != self._version:
            raise ProtocolError(f"A transition starts at {message.start_version}, this client is at {self._version}")
        effects = Effects(progress=True)
        for modification in message.modifications:
            entry = self.queries.get(modification.query_id)
            if entry is None or isinstance(modification, protocol.QueryRemoved):
                continue  # removed here meanwhile; the server did not know yet
            entry.journal = modification.journal
            self._held[entry.query_id] = entry, self._outcome(entry, modification)
        self._version = message.end_version
        ts = protocol.decode_ts(message.end_version.ts)
        self.observed = max(self.observed, ts)
        self._show(ts, effects)
        return effects

    def _outcome(
        self, entry: LiveEntry, modification: protocol.QueryUpdated | protocol.QueryDelta | protocol.QueryFailed
    ) -> Outcome:
        match modification:
            case protocol.QueryUpdated():
                entry.last = LastResult(bytes(modification.value))
                value = entry.last.value()
            case protocol.QueryDelta():
                try:
                    if entry.last is None:
                        raise ProtocolError("A delta came for a query that has no result yet")
                    value = entry.last.apply(modification)
                except ProtocolError:
                    self._deltas = False  # on the next connection all results come whole
                    raise
            case _:
                return protocol.outcome_of(modification)
        return protocol.result_of(modification, value)

    def _show(self, ts: int, effects: Effects) -> None:
        """Let results be shown that are as of ``ts``, and mutations end that are in them, unless something is held back."""
        if self._doubtful or self._version.query_set < self._all_asked:
            return
        held, self._held = self._held, {}
        effects.changed = [(entry, outcome) for entry, outcome in held.values() if entry.query_id in self.queries]
        self._shown_ts = ts
        for request in list(self.requests.values()):
            if request.answer is not None and request.answer_ts <= ts:
                effects.finished.append((self.requests.pop(request.request_id), request.answer))

    def _response(self, message: protocol.MutationResponse) -> Effects:
        request = self.requests.get(message.request_id)
        if request is None:
            return Effects()
        outcome = protocol.outcome_of(message)
        ts = protocol.decode_ts(message.ts) if message.ts else 0
        self.observed = max(self.observed, ts)
        effects = Effects()
        if request.kind == "Mutation" and message.success and ts > self._shown_ts:
            request.answer, request.answer_ts = outcome, ts
        else:
            del self.requests[message.request_id]
            effects.finished.append((request, outcome))
        if message.request_id in self._doubtful:
            self._doubtful.discard(message.request_id)
            self._show(protocol.decode_ts(self._version.ts), effects)
        effects.progress = bool(effects.finished)
        return effects
