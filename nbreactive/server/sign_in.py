"""From the token of somebody who has signed in to who that is, by the providers that are deployed now.

Two kinds of tokens. A JSON Web Token is verified with its issuer's keys and is good until it ends. Any other text is the
token of a session that the deployment keeps itself: an internal query says who holds it, and as long as a connection lives,
it follows what that query says.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from nbreactive.engine.requests import QuerySpec, Result
from nbreactive.errors import MissingPackage, Unauthenticated
from nbreactive.functions.specs import ProviderSpec
from nbreactive.server.claims import identity_of_claims, storable
from nbreactive.server.issuers import Issuers
from nbreactive.server.key_sets import KeySet, Report
from nbreactive.server.tokens import check_claims, check_header, check_signature, take_apart
from nbreactive.values.json import decode_json
from nbreactive.values.packing import pack

_LONGEST_SESSION: Final = 500
Ask = Callable[[QuerySpec], Awaitable[Result]]
"""Run an internal query."""
ProviderKey = tuple[str, ...]


class Person(NamedTuple):
    """Somebody who has signed in."""

    identity: dict[str, Any]
    expires: float | None
    """When the token ends, in seconds since the epoch."""
    provider: ProviderKey
    follow: QuerySpec | None = None
    """What says who holds the token, for as long as it does."""


def key_of(provider: ProviderSpec) -> ProviderKey:
    """Return what is equal for providers that say yes to the same tokens, wherever they are written."""
    return (
        provider.type,
        provider.issuer,
        provider.application_id or "",
        provider.jwks,
        provider.function,
        *provider.algorithms,
    )


class SignIn:
    """Judges tokens.

    Parameters
    ----------
    providers
        Gives the providers that are deployed now.
    issuers
        Asks issuers.
    ask
        Runs the internal queries of providers that keep sessions.
    report
        Told what went wrong.
    """

    def __init__(
        self,
        providers: Callable[[], Sequence[ProviderSpec]] = tuple,
        issuers: Issuers | None = None,
        ask: Ask | None = None,
        report: Report = lambda *_, **__: None,
    ) -> None:
        self._providers = providers
        self._issuers = issuers or Issuers()
        self._ask = ask
        self._report = report
        self._key_sets: dict[ProviderKey, KeySet] = {}

    @property
    def possible(self) -> bool:
        """Whether anybody can sign in here."""
        return bool(self._providers())

    def still(self, provider: ProviderKey) -> bool:
        """Whether a provider is still deployed."""
        return any(key_of(one) == provider for one in self._providers())

    async def judge(self, text: str) -> Person:
        """Return who holds a token.

        Raises
        ------
        Unauthenticated
            Nobody does, as far as this deployment is concerned.
        """
        providers = self._providers()
        if not providers:
            raise Unauthenticated("the token is not accepted: no sign-in provider is configured here (auth_config)")
        if text.count(".") != 2:
            return await self._session(text, [one for one in providers if one.type == "session"])
        token = take_apart(text)
        issuer = token.claims.get("iss")
        known = [one for one in providers if isinstance(issuer, str) and _issues(one, issuer)]
        problem = Unauthenticated("the token is not accepted: its issuer (iss) is none that is configured here")
        for provider in known:
            try:
                algorithm = check_header(token, provider)
                ends = check_claims(token, provider, time.time())
            except Unauthenticated as error:
                problem = error
                continue
            key = await self._keys_of(provider).find(token.key_id, algorithm, str(issuer))
            check_signature(token, key)
            identity = identity_of_claims(token.claims, flat=provider.type == "customJwt")
            return Person(identity, ends, key_of(provider))
        raise problem

    def followed(self, provider: ProviderKey, answer: Mapping[str, Any] | None) -> Person:
        """Return who holds a token, now that the query of its provider says something else; raises Unauthenticated."""
        for one in self._providers():
            if key_of(one) == provider:
                return _holder(answer, one)
        raise Unauthenticated("who has judged the token is no provider of this deployment any more")

    async def close(self) -> None:
        """Ask nobody any more."""
        for keys in self._key_sets.values():
            await keys.close()
        self._key_sets.clear()

    async def _session(self, text: str, providers: Sequence[ProviderSpec]) -> Person:
        problem = Unauthenticated(
            "the token is not accepted: it is no JSON Web Token, and nothing else is expected here"
        )
        if not text or len(text) > _LONGEST_SESSION or not text.isascii() or self._ask is None:
            raise problem
        for provider in providers:
            spec = QuerySpec(path=provider.function, args=pack({"token": text}), identity=None, reach="internal")
            try:
                return _holder(answer_of(await self._ask(spec)), provider)._replace(follow=spec)
            except Unauthenticated as error:
                problem = error
        raise problem

    def _keys_of(self, provider: ProviderSpec) -> KeySet:
        key = key_of(provider)
        found = self._key_sets.get(key)
        if found is None:
            for old in [one for one in self._key_sets if not self.still(one)]:
                del self._key_sets[old]
            try:
                found = self._key_sets[key] = KeySet(provider, self._issuers, self._report)
            except MissingPackage as error:
                self._report("nobody can sign in", "error", reason=error.message)
                raise Unauthenticated("the token cannot be checked here; the log of the server says why") from None
        return found


def answer_of(result: Any) -> Mapping[str, Any] | None:
    """Return what the query of a provider says: an object, or nothing; Unauthenticated if it failed."""
    if result.failure is not None:
        raise Unauthenticated(f"the token cannot be checked now ({result.failure.code})")
    value = decode_json(result.value)
    return value if isinstance(value, dict) else None


def _holder(answer: Mapping[str, Any] | None, provider: ProviderSpec) -> Person:
    subject = answer.get("subject") if answer is not None else None
    if answer is None or not isinstance(subject, str) or not subject:
        raise Unauthenticated("the token is not accepted: there is no such session (any more)")
    ends = answer.get("expires_at")
    if ends is not None and not (isinstance(ends, (int, float)) and ends > time.time() * 1000):
        raise Unauthenticated("the token is not accepted: its session has ended")
    said = {name: value for name, value in answer.items() if name != "expires_at" and value is not None}
    issuer = provider.issuer
    identity = said | {"tokenIdentifier": f"{issuer}|{subject}", "subject": subject, "issuer": issuer}
    return Person(storable(identity), None if ends is None else ends / 1000, key_of(provider))


def _issues(provider: ProviderSpec, issuer: str) -> bool:
    if provider.type == "oidc":  # whether there is a slash at the end is the one thing that issuers disagree on
        return issuer in (provider.issuer, f"{provider.issuer}/")
    return provider.type == "customJwt" and issuer == provider.issuer
