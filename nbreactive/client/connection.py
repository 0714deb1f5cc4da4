"""Keeps one session connected: connects, resumes, tries again for ever, and says how it stands.

Runs on the client thread. A connection that breaks, or that is silent for too long, is replaced after a growing,
jittered pause; the session then says everything again that the server needs. Nothing ever ends quietly: while there
is no connection, ``state`` says so and ``problem`` says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import random
import time
from collections.abc import Callable
from typing import Any, Literal
from urllib.parse import urlsplit

from tornado.httpclient import HTTPRequest
from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError, websocket_connect

from nbreactive.client.credentials import Credentials, seconds_left
from nbreactive.client.session import Effects, Session
from nbreactive.client.target import Target, handshake_error
from nbreactive.errors import NBReactiveError, NotConnected, ProtocolError, Unauthenticated

State = Literal["connecting", "open", "reconnecting", "closed"]
_log = logging.getLogger("nbreactive")

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
LONGEST_PAUSE_HERE = 1.0
"""On this machine a server that was started again is found soon, and asking costs next to nothing."""
SILENCE = 45.0
"""Seconds without any message after which a connection is given up; the server says something every 15."""
GOODBYE = 1.0
LOST = "ConnectionLost"
"""Reason of a close without any word: the other side died, or the network did."""
CLOSE_PROTOCOL = 1002
_MAX_MESSAGE = 1 << 30
_RETRIES = 2
"""Tokens that are tried after one that was not accepted."""


class Connection:
    """A session and the socket that carries it at the moment."""

    def __init__(self, target: Target, *, silence: float = SILENCE, longest_pause: float | None = None) -> None:
        self.target = target
        self.session = Session()
        self.state: State = "connecting"
        self.problem: NBReactiveError | None = None
        self.person = ""
        """Who is signed in, if the server was asked."""
        self.on_state: Callable[[], None] = lambda: None
        self.carry_out: Callable[[Effects], None] = Effects.carry_out
        self._silence = silence
        if longest_pause is None:
            longest_pause = LONGEST_PAUSE_HERE if is_loopback(target.base) else LONGEST_PAUSE
        self._longest_pause = longest_pause
        self._failures = 0
        self._credentials: Credentials | None = None
        self._renew = False
        self._refused = 0
        self._renewal: asyncio.Task[None] | None = None
        self._confirmation: asyncio.Future[None] | None = None
        self._socket: WebSocketClientConnection | None = None
        self._flush_planned = False
        self._changed = asyncio.Event()
        self._close_reason = "InitialConnect"
        self._heard = 0.0
        self._task = asyncio.get_running_loop().create_task(self._keep_connected())

    # ---- what the client uses ----

    def flush(self) -> None:
        """Send what the session has to say, at the end of this turn of the loop (so that it is said together)."""
        if not self._flush_planned:
            self._flush_planned = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_planned = False
        if self._socket is None:
            return
        try:
            for message in self.session.drain():
                self._send(message)
        except (WebSocketClosedError, StreamClosedError):
            return  # the reader notices too, and the next connection says it again

    def _send(self, message: str) -> None:
        if self._socket is not None:
            self._socket.write_message(message).add_done_callback(_ignore_failure)

    async def opened(self, within: float) -> None:
        """Wait for an open connection; raises why there is none."""
        deadline = time.monotonic() + within
        while self.state != "open":
            if self.state == "closed":
                raise NotConnected("This client was disconnected: call nbreactive.connect() for a new one.")
            left = deadline - time.monotonic()
            if left <= 0:
                raise self.problem or NotConnected(f"No answer from {self.target.base} within {within:g} s.")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left)

    async def sign_in(self, credentials: Credentials | None, within: float = 0.0) -> None:
        """Speak for somebody else from now on (None: for whoever the connection is); wait for the server to agree.

        Raises
        ------
        Unauthenticated
            The server does not accept the token.
        NotConnected
            It has not said anything about it.
        """
        token = await credentials.token() if credentials is not None else None
        self._credentials, self._renew, self._refused, self.person = credentials, False, 0, ""
        self._use(token)
        if not within:
            return
        self._confirmation = confirmation = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait_for(confirmation, within)
        except TimeoutError:
            raise self.problem or NotConnected(f"No answer from {self.target.base} within {within:g} s.") from None

    @property
    def speaker(self) -> str:
        """Who speaks, in words; empty: whoever the connection itself is."""
        if self.session.nobody:
            return "nobody is signed in any more"
        if self.session.token is None:
            return ""
        return f"signed in as {self.person}" if self.person else "signed in"

    def _use(self, token: str | None) -> None:
        """Send a token, and plan to get the next one in time."""
        if self._renewal is not None and self._renewal is not asyncio.current_task():
            self._renewal.cancel()
        self._renewal = None
        self._for_requests(token)
        # who came to be signed in, and is not, is nobody: not suddenly the owner of a Jupyter server
        self.session.sign_in(token, nobody=token is None and self._credentials is not None)
        self.flush()
        left = seconds_left(token) if token and self._credentials is not None and self._credentials.renewable else None
        if left is not None:
            self._renewal = asyncio.get_running_loop().create_task(self._renew_in(left))

    def _for_requests(self, token: str | None) -> None:
        if self.target.kind != "jupyter":  # which has tokens of its own
            self.target.bearer = token or ""

    async def _renew_in(self, seconds: float) -> None:
        while self._credentials is not None:
            await asyncio.sleep(seconds)
            try:
                token = await self._credentials.token(force=True)
            except Exception as failure:  # noqa: BLE001 (the user's function; the old token may still do)
                _log.warning("no new token: %r", failure)
                seconds = 10.0
                continue
            self._use(token)
            return

    async def _token(self) -> None:
        """Get another token for the next connection, if the one before was refused."""
        if self._renew and self._credentials is not None:
            self._renew = False
            token = await self._credentials.token(force=True)
            self.session.token, self.session.nobody = token, token is None
            self._for_requests(token)

    def _not_accepted(self, problem: Unauthenticated) -> None:
        """Try again with another token a few times, then go on as nobody."""
        self._refused += 1
        if self._credentials is not None and self._credentials.renewable and self._refused <= _RETRIES:
            self._renew = True
            return
        _log.warning(
            "%s. This client goes on as nobody: client.set_auth(token) signs in again, client.clear_auth() makes it %s.",
            problem.message.rstrip("."),
            "the user of the Jupyter server" if self.target.kind == "jupyter" else "what it was before",
        )
        self._credentials = self.session.token = None
        self.session.nobody = True
        self._for_requests(None)
        # What was asked in somebody's name is not asked in nobody's.
        self._carry_out(self.session.fail_requests(problem))
        if self._confirmation is not None and not self._confirmation.done():
            self._confirmation.set_exception(problem)

    async def close(self) -> None:
        """End the connection for good."""
        if self._renewal is not None:
            self._renewal.cancel()
        self._set_state("closed", None)
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        gone = NotConnected("The client was disconnected while this call ran; its outcome is not known.")
        self.carry_out(self.session.disconnected())
        self.carry_out(self.session.fail_requests(gone))

    # ---- the socket ----

    async def _keep_connected(self) -> None:
        while True:
            try:
                await self._token()
                await self._one_connection()
            except Unauthenticated as failure:
                problem = failure
                self._not_accepted(failure)
            except (NBReactiveError, OSError) as failure:
                problem = failure if isinstance(failure, NBReactiveError) else NotConnected(str(failure))
            except Exception as failure:  # noqa: BLE001 (never stop trying, whatever a server sends)
                _log.exception("the connection to %s failed", self.target.base)
                problem = NotConnected(f"The connection failed: {failure!r}")
            else:
                why = f" ({self._close_reason})" if self._close_reason != LOST else ""
                problem = NotConnected(f"The connection to {self.target.base} was lost{why}: trying again.")
            await self._lost(problem)

    async def _lost(self, problem: NBReactiveError) -> None:
        effects = self.session.disconnected()
        if self.session.ended:
            effects.finished += self.session.fail_requests(problem).finished
            self.session.restart()
        self._set_state("connecting" if self.state == "connecting" else "reconnecting", problem)
        self._carry_out(effects)
        pause = min(FIRST_PAUSE * 2 ** min(self._failures, 16), self._longest_pause)
        self._failures += 1
        await asyncio.sleep(pause * random.uniform(0.5, 1.5))

    async def _one_connection(self) -> None:
        url = self.target.sync_url
        request = HTTPRequest(url, headers=self.target.request_headers(), connect_timeout=10.0, request_timeout=20.0)
        try:
            connecting = asyncio.ensure_future(
                websocket_connect(request, compression_options={}, max_message_size=_MAX_MESSAGE)
            )
            try:
                socket = await asyncio.shield(connecting)
            except asyncio.CancelledError:
                connecting.add_done_callback(_close_late)
                raise
        except Exception as failure:  # noqa: BLE001 (tornado raises many kinds; each is the reason we give)
            self._close_reason = "FailedToConnect"
            raise handshake_error(failure, url) from None
        self._socket = socket
        try:
            self.target.keep_cookies(getattr(socket, "headers"))  # noqa: B009 (set by tornado, not declared)
            for message in self.session.connected(self._close_reason, int(time.time() * 1000)):
                self._send(message)
            self._close_reason = ""
            self._set_state("open", None)
            await self._read(socket)
        finally:
            self._socket = None
            await _say_goodbye(socket)

    async def _read(self, socket: WebSocketClientConnection) -> None:
        self._heard = time.monotonic()
        watch = asyncio.get_running_loop().create_task(self._watch(socket))
        try:
            await self._read_on(socket)
        finally:
            watch.cancel()

    async def _watch(self, socket: WebSocketClientConnection) -> None:
        """Close a socket that has gone silent (one timer per connection, rather than one per message)."""
        while (left := self._heard + self._silence - time.monotonic()) > 0:  # noqa: ASYNC110 (silence is no event)
            await asyncio.sleep(left)
        self._close_reason = "InactiveServer"
        socket.close(reason="InactiveServer")

    async def _read_on(self, socket: WebSocketClientConnection) -> None:
        while True:
            text = await socket.read_message()
            self._heard = time.monotonic()
            if text is None:
                if self._close_reason == "InactiveServer":
                    raise NotConnected(f"{self.target.base} was silent for {self._silence:g} s.")
                self._close_reason = socket.close_reason or (
                    f"closed with {socket.close_code}" if socket.close_code else LOST
                )
                # said for a session with which this server cannot go on, e.g. after its data were reset
                self.session.ended = socket.close_code == CLOSE_PROTOCOL
                return
            try:
                effects = self.session.receive(text)
            except ProtocolError as failure:
                self._close_reason = failure.message
                raise
            if effects.progress:
                self._failures = 0
            if self._refused and self.session.confirmed:
                self._refused = 0
            if self._confirmation is not None and self.session.confirmed:
                if not self._confirmation.done():
                    self._confirmation.set_result(None)
                self._confirmation = None
            self._carry_out(effects)

    def _carry_out(self, effects: Effects) -> None:
        self.carry_out(effects)
        self.flush()

    def _set_state(self, state: State, problem: NBReactiveError | None) -> None:
        self.state, self.problem = state, problem
        self._changed.set()
        self._changed = asyncio.Event()
        self.on_state()


def is_loopback(url: str) -> bool:
    """Tell whether an address is one of this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _close_late(connecting: asyncio.Future[WebSocketClientConnection]) -> None:
    """Close a socket that nobody waits for any more."""
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().close()


async def _say_goodbye(socket: WebSocketClientConnection) -> None:
    """Close a socket: politely if the other side answers soon, otherwise anyway."""
    stream = socket.protocol.stream if socket.protocol is not None else None
    socket.close(1000)
    if stream is None or stream.closed():
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GOODBYE):
            while await socket.read_message() is not None:
                continue
    stream.close()


def _ignore_failure(write: asyncio.Future[Any]) -> None:
    if not write.cancelled():
        write.exception()
