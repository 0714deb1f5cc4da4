"""Who a session of the sync protocol speaks for, from one ``Authenticate`` to the next, and for how long.

What was true when a token was judged does not stay so: tokens end, sessions are signed out, keys are revoked, a deploy
brings other providers. A session hears of each at once: of another identity it asks its queries again, of none it tells
its client, which gets a new token (npm's does so by itself) or goes on without.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from nbreactive.engine.query_cache import is_transient
from nbreactive.engine.requests import QuerySpec
from nbreactive.engine.subscriptions import Subscriptions
from nbreactive.errors import NBReactiveError, Unauthenticated
from nbreactive.server import messages as wire
from nbreactive.server.identity import Caller, Gatekeeper
from nbreactive.server.sign_in import answer_of

_LOOK: Final = 60.0
"""Seconds after which the clock on the wall is looked at again: it may have been set."""


class SessionIdentity:
    """The caller of a session.

    Parameters
    ----------
    gate
        Judges credentials.
    door
        Who the connection's own credentials say is asking.
    subscriptions
        Gives the live queries.
    changed
        Called with the caller from now on, if queries may give something else to them.
    ended
        Called with the reason when a token is good no longer.
    """

    def __init__(
        self,
        gate: Gatekeeper,
        door: Caller,
        subscriptions: Callable[[], Subscriptions],
        changed: Callable[[Caller], None],
        ended: Callable[[str], None],
    ) -> None:
        self.caller = door
        self._gate = gate
        self._door = door
        self._subscriptions = subscriptions
        self._changed = changed
        self._ended = ended
        self._timer: asyncio.TimerHandle | None = None
        self._following: _Following | None = None
        self._arm()

    def take(self, message: wire.Authenticate) -> None:
        """Become who an ``Authenticate`` without a token of a provider says; raises Refused."""
        caller = self._door
        if message.tokenType == "Admin":
            caller = self._gate.from_admin_key(message.value or "", message.impersonating or message.actingAs)
        self._become(caller, None)

    async def sign_in(self, token: str) -> None:
        """Become who holds a token of a provider; raises Refused."""
        person = await self._gate.sign_in.judge(token)
        self._become(self._gate.signed_in(person, self._door), person.follow)

    def recheck(self) -> None:
        """Look whether keys and providers still say so."""
        if self._gate.still(self.caller):
            return
        if self.caller.provider:
            self._ended("who has judged the token is no provider of this deployment any more")
        else:  # coming back with the same key would not help: it is told once, and can do nothing more
            self._become(Caller(None, frozenset(), f"{self.caller.label} (revoked)"), None)

    def close(self) -> None:
        """Look at nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._following is not None:
            self._following.close()
        self._timer = self._following = None

    def _become(self, caller: Caller, follow: QuerySpec | None) -> None:
        self.close()
        before, self.caller = self.caller, msgspec.structs.replace(caller, origin=self._door.origin)
        if follow is not None:
            self._following = _Following(self._subscriptions(), follow, self._heard)
        self._arm()
        if not caller.same_as(before):
            self._changed(self.caller)

    def _arm(self) -> None:
        if self.caller.expires is not None:
            left = min(max(self.caller.expires - time.time(), 0.0), _LOOK)
            self._timer = asyncio.get_running_loop().call_later(left, self._look_at_the_clock)

    def _look_at_the_clock(self) -> None:
        if self.caller.expires is not None and time.time() >= self.caller.expires:
            self._ended("the token has expired")
        else:
            self._arm()

    def _heard(self, result: Any) -> None:
        """What says who holds the token says something else than before."""
        try:
            person = self._gate.sign_in.followed(self.caller.provider, answer_of(result))
        except Unauthenticated as error:
            self._ended(error.message)
            return
        caller = self._gate.signed_in(person, self._door)
        before, self.caller = self.caller, msgspec.structs.replace(caller, origin=self._door.origin)
        if self._timer is not None:
            self._timer.cancel()
        self._arm()
        if not caller.same_as(before):
            self._changed(self.caller)


class _Following:
    """A live query of the backend's own: it says who holds a token."""

    def __init__(self, subscriptions: Subscriptions, spec: QuerySpec, heard: Callable[[Any], None]) -> None:
        self._subscriptions = subscriptions
        self._heard = heard
        self._wake = asyncio.Event()
        subscriptions.add(self, spec)
        self._task = asyncio.ensure_future(self._follow())

    def invalidated(self) -> None:
        """Something that it has read was touched."""
        self._wake.set()

    def close(self) -> None:
        """Follow no more."""
        self._subscriptions.close(self)
        self._task.cancel()

    async def _follow(self) -> None:
        while True:
            try:
                update = await self._subscriptions.update(self)
            except NBReactiveError:
                return  # the backend is closing, and the session with it
            for _, result in update.changes:
                if not is_transient(result):
                    self._heard(result)
            await self._wake.wait()
            self._wake.clear()
