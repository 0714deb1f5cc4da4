"""The keys of issuers: found, kept for a while, looked up again when a token names one that is new.

Whoever waits for the keys of one issuer waits for one request. Keys that have been kept for their time are used once more
while they are fetched anew; if that fails, they stay: an issuer that is down for an hour locks nobody out. Tokens with
names of keys that nobody knows cost one request now and then, however many there are.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from nbreactive.errors import Unauthenticated, Unavailable
from nbreactive.functions.auth_config import inline_keys
from nbreactive.functions.specs import ProviderSpec
from nbreactive.server.issuers import Issuers
from nbreactive.server.tokens import VerifyingKey, verifying_keys

KEPT: Final = 600.0
"""Seconds for which keys are kept if their issuer does not say."""
SHORTEST, LONGEST = 60.0, 24 * 3600.0
"""What it may say."""
OUTAGE: Final = 24 * 3600.0
"""Seconds for which the last good keys are used while their issuer does not answer."""
PAUSE: Final = 10.0
"""Seconds between requests that names of unknown keys, or an issuer that does not answer, can cause."""
_MOST_KEYS: Final = 100

Report = Callable[..., None]


class KeySet:
    """The keys of one provider.

    Parameters
    ----------
    provider
        Whose they are.
    issuers
        Fetches them.
    report
        Told what went wrong: ``report(event, level, **fields)``.
    """

    def __init__(self, provider: ProviderSpec, issuers: Issuers, report: Report) -> None:
        self._provider = provider
        self._issuers = issuers
        self._report = report
        self._keys: list[VerifyingKey] = []
        self._issuer = ""
        self._good = self._fresh = self._missed = self._failed = float("-inf")
        self._problem = ""
        self._fetching: asyncio.Task[None] | None = None
        if provider.jwks.startswith("data:"):
            self._keys = verifying_keys(inline_keys(provider.jwks, "jwks"), provider.algorithms)
            self._good = self._fresh = float("inf")

    async def find(self, key_id: str | None, algorithm: str, issuer: str) -> VerifyingKey:
        """Return the key that a token names.

        Raises
        ------
        Unauthenticated
            There is none, or the issuer cannot be asked and was not of late.
        """
        now = time.monotonic()
        if now > self._good + OUTAGE:
            await self._renewed()
        elif now > self._fresh and now > self._failed + PAUSE:
            self._fetch()
        if self._issuer and issuer != self._issuer:
            raise Unauthenticated("the token is not accepted: its issuer calls itself otherwise in its own description")
        found = self._named(key_id, algorithm)
        if found is None and self._fresh != float("inf") and now > self._missed + PAUSE and now > self._failed + PAUSE:
            self._missed = now
            await self._renewed()
            found = self._named(key_id, algorithm)
        if found is None:
            raise Unauthenticated("the token is not accepted: its issuer has no key of that name (kid)")
        return found

    async def close(self) -> None:
        """Wait for nothing any more."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])

    def _named(self, key_id: str | None, algorithm: str) -> VerifyingKey | None:
        suitable = [key for key in self._keys if key.algorithm == algorithm]
        if key_id is None:  # a name may be left out where there is only one
            return suitable[0] if len(suitable) == 1 else None
        return next((key for key in suitable if key.key_id == key_id), None)

    async def _renewed(self) -> None:
        if self._fetching is None and time.monotonic() > self._failed + PAUSE:
            self._fetch()
        if self._fetching is not None:
            await asyncio.wait([self._fetching])
        if time.monotonic() > self._good + OUTAGE:
            raise Unauthenticated(f"the token cannot be checked now: {self._problem}")

    def _fetch(self) -> None:
        if self._fetching is None:
            self._fetching = asyncio.ensure_future(self._fetch_once())
            self._fetching.add_done_callback(self._fetched)

    def _fetched(self, _task: asyncio.Task[None]) -> None:
        self._fetching = None

    async def _fetch_once(self) -> None:
        provider = self._provider
        try:
            url = provider.jwks or await self._discovered()
            found = await self._issuers.fetch(url, provider.jwks or provider.issuer)
            listed = found.data.get("keys")
            if not isinstance(listed, list):
                raise Unavailable(f"{url:.200} answers without a list of keys")
            keys = verifying_keys(listed[:_MOST_KEYS], provider.algorithms)
            if not keys:
                raise Unavailable(f"{url:.200} has no key for {' or '.join(provider.algorithms)}")
        except Unavailable as error:
            self._failed, self._problem = time.monotonic(), f"the keys of {provider.issuer} cannot be had"
            self._report("keys of an issuer cannot be had", "warning", issuer=provider.issuer, reason=error.message)
            return
        now = time.monotonic()
        age = KEPT if found.max_age is None else min(max(found.max_age, SHORTEST), LONGEST)
        self._keys, self._good, self._fresh = keys, now, now + age

    async def _discovered(self) -> str:
        """Ask an issuer of OpenID Connect where its keys are."""
        home = self._provider.issuer
        found: Mapping[str, Any] = (await self._issuers.fetch(f"{home}/.well-known/openid-configuration", home)).data
        issuer, url = found.get("issuer"), found.get("jwks_uri")
        if not isinstance(issuer, str) or issuer not in (home, f"{home}/"):
            raise Unavailable(f"{home} describes itself as {issuer!r:.200}")
        if not isinstance(url, str):
            raise Unavailable(f"{home} does not say where its keys are (jwks_uri)")
        self._issuer = issuer
        return url
