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
        self._keep_looking()

    def take(self, message: wire.Authenticate) -> None:
        """Become who an ``Authenticate`` without a token of a provider says; raises Refused."""
        caller = self._gate.signed_out(self._door) if message.nobody else self._door
        if message.tokenType == "Admin":
            caller = self._gate.from_admin_key(message.value or "", message.impersonating or message.actingAs)
        self._become(caller)

    async def sign_in(self, token: str) -> None:
        """Become who holds a token of a provider; raises Refused."""
        person = await self._gate.sign_in.judge(token)
        self._become(self._gate.signed_in(person, self._door))

    def recheck(self) -> None:
        """Look whether keys and providers still say so."""
        gone = [who for who in (self._door, self.caller) if not self._gate.still(who)]
        if any(who.provider for who in gone):
            self._ended("who has judged the token is no provider of this deployment any more")
            return
        # Coming back with the same key would not help: it is told once, and can do nothing more.
        if self._door in gone:
            self._door = _revoked(self._door)
        if self.caller in gone:
            self._become(_revoked(self.caller))

    def close(self) -> None:
        """Look at nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._following is not None:
            self._following.close()
        self._timer = self._following = None

    def _become(self, caller: Caller) -> None:
        self.close()
        before, self.caller = self.caller, msgspec.structs.replace(caller, origin=self._door.origin)
        self._keep_looking()
        if not caller.same_as(before):
            self._changed(self.caller)

    def _keep_looking(self) -> None:
        if self.caller.follow is not None:
            self._following = _Following(self._subscriptions(), self.caller.follow, self._heard)
        self._arm()

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
        said = self._gate.signed_in(person, self._door)
        caller = msgspec.structs.replace(said, origin=self._door.origin, follow=self.caller.follow)
        before, self.caller = self.caller, caller
        if self._timer is not None:
            self._timer.cancel()
        self._arm()
        if not caller.same_as(before):
            self._changed(self.caller)


def _revoked(caller: Caller) -> Caller:
    return Caller(None, frozenset(), f"{caller.label} (revoked)", caller.origin)


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
