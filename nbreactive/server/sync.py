"""One session of the Convex sync protocol, independent of the socket that carries it.

Two things run per session. Mutations go to the engine in the order in which they came, a window of them at a time. The
*updater* builds at most one transition at a time: it takes what has piled up (answers of mutations, versions of the query set and of
the identity, invalidated queries), has all its queries brought to one timestamp, writes answers and transition
together, and waits until the socket has taken them. What happens meanwhile coalesces into the next transition,
so a slow reader holds one transition, never a queue of them.

After every answer of a mutation a transition follows whose timestamp is not before the mutation's, even if nothing
else changed: the official clients resolve a mutation only then.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import deque
from collections.abc import Awaitable

import msgspec

from nbreactive.engine.subscriptions import Update
from nbreactive.errors import NBReactiveError, Overloaded, ProtocolError, Refused
from nbreactive.server import messages as wire
from nbreactive.server.answers import Modification, Response, Speaker
from nbreactive.server.calls import Answer, Calls
from nbreactive.server.chunks import encode_transition
from nbreactive.server.clients import ClientProgram
from nbreactive.server.identity import Caller, Gatekeeper
from nbreactive.server.limits import ServerLimits
from nbreactive.server.session_calls import SessionActions, SessionMutations
from nbreactive.server.session_identity import SessionIdentity
from nbreactive.server.session_queries import SessionQueries
from nbreactive.server.transport import CLOSE_INTERNAL, CLOSE_POLICY, CLOSE_PROTOCOL, CLOSE_TRY_LATER, Transport


class Session:
    """State of one connection.

    Parameters
    ----------
    calls
        The door to functions.
    gate
        Judges the tokens of ``Authenticate``.
    transport
        The socket.
    caller
        Who the connection's own credentials say is asking.
    client
        The program at the other end.
    limits
        How much it may ask for.
    """

    def __init__(
        self,
        calls: Calls,
        gate: Gatekeeper,
        transport: Transport,
        caller: Caller,
        client: ClientProgram,
        limits: ServerLimits,
    ) -> None:
        self._calls = calls
        self._transport = transport
        self._who = SessionIdentity(gate, caller, lambda: calls.subscriptions, self._ask_again, self._signed_out)
        self._client = client
        self._limits = limits
        self._session: bytes | None = None
        self._clock_skew: int | None = None
        self._speaker = Speaker(calls.mode)
        self._identity = 0
        self._sent = wire.StateVersion(0, 0, wire.encode_ts(0))
        self._sent_ts = 0
        self._queries = SessionQueries(calls, self, self._speaker, limits.queries_per_socket)
        self._judging: asyncio.Task[None] | None = None
        self._held: deque[str] = deque()
        """What has come while a token is being judged: it is said in the name of whoever that is."""
        self._held_size = 0
        self._responses: list[Response] = []
        self._at_least = 0
        self._mutations = SessionMutations(calls, limits.pending_mutations, self._answered, self._lost)
        self._actions = SessionActions(calls, limits.pending_actions, self._acted)
        self._leaving = False
        self._wake = asyncio.Event()
        self._updating = False
        self._unsent: Awaitable[None] | None = None
        self._closed = False
        self._updater = asyncio.create_task(self._run_updates())

    # ---- from the socket ---------------------------------------------------------------------------------

    def receive(self, data: str) -> None:
        """Take one message of the client."""
        if self._closed:
            return
        if self._judging is not None:
            self._hold(data)
            return
        try:
            message = wire.decode(data)
            self._handle(message)
        except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
            self._end_for(ProtocolError(f"BadMessage: {error}"))
        except ProtocolError as error:
            self._end_for(error)
        except Overloaded as error:
            self.end(CLOSE_TRY_LATER, f"TooManyConcurrentRequests: {error.message}")

    def _hold(self, data: str) -> None:
        self._held.append(data)
        self._held_size += len(data) + 100
        if self._held_size > self._limits.message_bytes:
            self.end(CLOSE_TRY_LATER, "TooManyConcurrentRequests: too much has come while a token is being judged")

    def recheck(self) -> None:
        """Look whether the caller may still be who they are: keys were revoked, or providers have changed."""
        if not self._closed:
            self._who.recheck()

    def closed(self) -> None:
        """The connection is gone: end subscriptions, forget mutations that have not started."""
        self._closed = True
        self._who.close()
        if self._judging is not None:
            self._judging.cancel()
        self._held.clear()
        self._mutations.forget()
        self._mutations.ended()
        self._updater.cancel()
        self._queries.close()

    def end(self, code: int, reason: str) -> None:
        """Close the connection from our side."""
        if not self._closed:
            self.closed()
            self._transport.close(code, reason)

    @property
    def busy(self) -> bool:
        """Whether a mutation is running or its answer has not left yet."""
        return not self._closed and self._mutations.in_flight > 0

    def refuse_new_work(self) -> None:
        """Before a shutdown: mutations that have not started are left to the client's next connection.

        Those that arrive from now on too: started, they would overtake the ones that are left.
        """
        self._leaving = True
        self._mutations.forget()

    def invalidated(self) -> None:
        """Something that a query of this session read has changed (called by the subscriptions)."""
        self._wake.set()

    # ---- messages ----------------------------------------------------------------------------------------

    def _handle(self, message: wire.ClientMessage) -> None:
        if isinstance(message, wire.Connect):
            self._connect(message)
        elif self._session is None:
            raise ProtocolError(f"{type(message).__name__} before Connect")
        elif isinstance(message, wire.Mutation):
            if not self._leaving:
                self._mutations.take(message, self._who.caller, self._session)
        elif isinstance(message, wire.ModifyQuerySet):
            self._queries.modify(message, self._who.caller)
            self._wake.set()
        elif isinstance(message, wire.Authenticate):
            self._authenticate(message)
        elif isinstance(message, wire.Action) and not self._leaving:
            self._actions.take(message, self._who.caller)

    def _connect(self, message: wire.Connect) -> None:
        if self._session is not None:
            raise ProtocolError("Connect twice on one connection")
        try:
            session = uuid.UUID(message.sessionId).bytes
            observed = wire.decode_ts(message.maxObservedTimestamp) if message.maxObservedTimestamp else 0
        except ValueError as error:
            raise ProtocolError(f"BadMessage: {error}") from None
        if observed > max(self._calls.now_ns(), self._calls.durable_ts):
            raise ProtocolError("maxObservedTimestamp is in the future of this server; reload to start again")
        self._session = session
        if 0 < message.clientTs < 1 << 53:
            self._clock_skew = message.clientTs - self._calls.now_ns() // 1_000_000
        self._speaker = self._queries.speaker = Speaker(self._calls.mode, additions=message.nbreactive is not None)
        if message.nbreactive is not None and message.nbreactive.deltas:
            self._queries.take_deltas(self._calls.deltas)

    def _authenticate(self, message: wire.Authenticate) -> None:
        if message.baseVersion != self._identity:
            raise ProtocolError(
                f"BaseVersionMismatch: the identity is at version {self._identity}, not {message.baseVersion}"
            )
        if message.tokenType == "User":
            self._judging = asyncio.create_task(self._sign_in(message.value or ""))
            return
        try:
            self._who.take(message)
        except Refused as error:
            self._refuse(error)
            return
        self._identity += 1
        self._wake.set()

    async def _sign_in(self, token: str) -> None:
        """Judge a token, then take what has come meanwhile."""
        try:
            await self._who.sign_in(token)
        except Refused as error:
            self._refuse(error)
            return
        except Exception as error:  # noqa: BLE001 - the connection ends, the client starts anew
            self._failed(error)
            return
        self._judging = None
        self._identity += 1
        self._wake.set()
        held, self._held, self._held_size = self._held, deque(), 0
        while held:
            self.receive(held.popleft())

    def _refuse(self, error: Refused) -> None:
        self._calls.logs.event("refused", "warning", door="sync", reason=error.message)
        self._write_now(wire.AuthError(error=error.message, baseVersion=self._identity, authUpdateAttempted=True))
        self.end(CLOSE_POLICY, "AuthError")

    def _signed_out(self, reason: str) -> None:
        """The token is good no longer: the client may get another one."""
        self._write_now(wire.AuthError(error=reason, baseVersion=self._identity, authUpdateAttempted=False))
        self.end(CLOSE_POLICY, "AuthError")

    def _ask_again(self, caller: Caller) -> None:
        self._mutations.ended(at_once=True)
        self._queries.ask_again(caller)
        self._wake.set()

    # ---- answers -----------------------------------------------------------------------------------------

    def _answered(self, message: wire.Mutation, answer: Answer) -> None:
        self._responses.append(self._speaker.response(message, answer))
        self._at_least = max(self._at_least, answer.ts)
        if not self._answer_now():
            self._wake.set()

    def _lost(self, error: Exception) -> None:
        if isinstance(error, Overloaded):
            self.end(CLOSE_TRY_LATER, f"TooManyConcurrentRequests: {error.message}")
        else:  # the client finds out by asking again
            self._calls.logs.event("internal error", "error", where="mutation", error=repr(error))
            self.end(CLOSE_INTERNAL, "InternalServerError: what became of a mutation is unknown; reconnect to find out")

    def _acted(self, message: wire.Action, answer: Answer) -> None:
        if not self._closed:
            self._responses.append(self._speaker.response(message, answer))
            # What its mutations wrote is shown with the answer, not after it.
            self._at_least = max(self._at_least, answer.ts)
            self._wake.set()

    # ---- transitions -------------------------------------------------------------------------------------

    async def _run_updates(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                self._updating = True
                await self._update()
                self._updating = False
        except Exception as error:  # noqa: BLE001 - the connection ends, the client starts anew
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        if isinstance(error, ConnectionError):
            self.closed()
        elif isinstance(error, TimeoutError):
            self.end(CLOSE_TRY_LATER, "SlowConsumer: this client does not read what it is sent")
        elif isinstance(error, NBReactiveError):
            self.end(CLOSE_TRY_LATER, f"{error.code}: {error.message}")
        else:
            self._calls.logs.event("internal error", "error", where="transition", error=repr(error))
            self.end(CLOSE_INTERNAL, "InternalServerError: building a transition failed")

    def _answer_now(self) -> bool:
        """Answer the last mutation under way without the updater, if no query has to be looked at; tell if so."""
        if self._closed or self._mutations.running or self._updating or self._queries.pending or self._wake.is_set():
            return False
        update = self._calls.subscriptions.at_rest(self, max(self._at_least, self._sent_ts))
        if update is None:
            return False
        try:
            self._unsent = self._transition(update, [], self._queries.version, self._identity)
        except Exception as error:  # noqa: BLE001 - as in the updater
            self._failed(error)
        return self._unsent is None

    async def _update(self) -> None:
        if self._unsent is not None:
            await self._take(self._unsent)
        pending, self._queries.pending = self._queries.pending, []
        query_set, identity = self._queries.version, self._identity
        update = await self._calls.subscriptions.update(self, at_least=max(self._at_least, self._sent_ts))
        if self._mutations.running:
            # A mutation that became durable together with this update is answered within this turn of the loop.
            await asyncio.sleep(0)
        written = self._transition(update, pending, query_set, identity)
        del pending, update
        if written is not None:
            await self._take(written)

    async def _take(self, written: Awaitable[None]) -> None:
        async with asyncio.timeout(self._limits.send_timeout):
            await written
        self._unsent = None

    def _transition(
        self, update: Update, pending: list[Modification], query_set: int, identity: int
    ) -> Awaitable[None] | None:
        """Write the answers and one transition."""
        responses, self._responses = self._responses, []
        modifications = pending
        for handle, result in update.changes:
            query_id = self._queries.ids.get(handle)
            if query_id is not None:
                modifications.append(self._queries.modification(query_id, result))
        behind = self._sent_ts < self._at_least
        same = query_set == self._sent.querySet and identity == self._sent.identity
        if same and not (responses or modifications or behind):
            return None
        end = wire.StateVersion(query_set, identity, wire.encode_ts(update.ts))
        transition = wire.Transition(startVersion=self._sent, endVersion=end, modifications=modifications)
        if self._clock_skew is not None:
            transition.clientClockSkew, transition.serverTs = self._clock_skew, self._calls.now_ns()
        self._sent, self._sent_ts = end, update.ts
        messages = [wire.encode(response) for response in responses]
        messages += encode_transition(transition, self._limits.chunk_bytes if self._client.takes_chunks else None)
        written = self._transport.write(messages)
        self._mutations.in_flight -= sum(isinstance(response, wire.MutationResponse) for response in responses)
        return written

    # ---- the end -----------------------------------------------------------------------------------------

    def _end_for(self, error: ProtocolError) -> None:
        if self._client.takes_fatal_error:
            self._write_now(wire.FatalError(error=error.message))
        self.end(CLOSE_PROTOCOL, error.message)

    def _write_now(self, message: wire.ServerMessage) -> None:
        with contextlib.suppress(ConnectionError):
            self._transport.send([wire.encode(message)])
