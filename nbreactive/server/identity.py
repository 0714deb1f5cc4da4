"""Who is asking: anonymous, the holder of a key, a user who has signed in with a provider, or one for whom our Jupyter
extension vouches.

A client never names itself. The extension has authenticated its user already and proves that it is the extension by
the secret which it gave to this process when it started it. Secrets are compared in constant time. Tokens of providers
are judged in :mod:`nbreactive.server.sign_in`; they give the roles of the public and no others.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from typing import Any

import msgspec

from nbreactive.engine.requests import QuerySpec
from nbreactive.errors import Refused, Unauthenticated
from nbreactive.functions.specs import Visibility
from nbreactive.server.keys import PREFIX, Keys, Role
from nbreactive.server.sign_in import Person, ProviderKey, SignIn

ALL_ROLES: frozenset[Role] = frozenset(("read", "write", "deploy", "admin"))
_PUBLIC_ROLES: frozenset[Role] = frozenset(("read", "write"))

PROXY_HEADER = "X-NBReactive-Proxy"
IDENTITY_HEADER = "X-NBReactive-Identity"
_LONGEST_AGENT = 300


class Caller(msgspec.Struct, frozen=True):
    """One party at the door."""

    identity: dict[str, Any] | None
    """What functions see in ``ctx.auth``; None for nobody."""
    roles: frozenset[Role]
    label: str
    """For logs and limits: ``anonymous``, ``admin key``, or the subject."""
    origin: bytes = b""
    """Packed: address and program of the client, for ``ctx.meta``."""
    expires: float | None = None
    """When the token ends that says so, in seconds since the epoch."""
    key: str = ""
    """The id of the key that says so."""
    provider: ProviderKey = ()
    """What has judged the token that says so."""
    follow: QuerySpec | None = None
    """What says so as long as it does: the query of a provider that keeps sessions."""

    @property
    def reach(self) -> Visibility:
        """The most hidden function that the caller may call."""
        return "system" if "deploy" in self.roles else "public"

    def reach_to(self, path: str) -> Visibility:
        """With which reach the caller calls ``path``.

        Whoever may deploy may call what is internal, and look at everything. But as somebody: in functions of the
        deployment they are that person, to whom its row rules apply; only those who are nobody in particular, holders
        of keys, are above them (see :mod:`nbreactive.runtime.rules`).
        """
        if "deploy" not in self.roles:
            return "public"
        return "system" if self.identity is None or path.startswith("_system/") else "internal"

    def same_as(self, other: Caller) -> bool:
        """Whether queries give the same to both."""
        return self.identity == other.identity and self.roles == other.roles

    def require(self, role: Role) -> None:
        """Raise :class:`Refused` unless the caller has ``role``."""
        if not self.roles and not self.key and self.label == "anonymous":
            raise Unauthenticated("this server answers signed-in callers only (--require-auth): sign in first")
        if role not in self.roles:
            raise Refused(f"this needs the role {role!r}, which {self.label} does not have here; {_HOW[role]}")


_HOW: dict[Role, str] = {
    "read": "ask the owner of this server for access",
    "write": "ask the owner of this server for write access",
    "deploy": "deploying needs the admin key (Authorization: Convex KEY), another key with that role, or the right to execute code on this server",
    "admin": "only the holder of the admin key, or of a key with that role, may do this",
}


class _Vouched(msgspec.Struct):
    subject: str
    roles: list[Role]
    name: str | None = None
    issuer: str = "jupyter"
    email: str | None = None
    via: str | None = None
    groups: list[str] | None = None
    """On a JupyterHub."""
    ip: str | None = None
    """The client's; its identity does not have it."""


_vouched_decoder = msgspec.json.Decoder(_Vouched)


class Gatekeeper:
    """Turns credentials into a :class:`Caller`.

    Parameters
    ----------
    admin_key
        The deployment's admin key; None when there is none.
    proxy_secret
        Shared with the Jupyter extension that started this process.
    require_auth
        Refuse callers without credentials.
    sign_in
        Judges tokens.
    keys
        Judges keys other than the admin key.
    """

    def __init__(
        self,
        admin_key: str | None,
        proxy_secret: str | None = None,
        require_auth: bool = False,
        sign_in: SignIn | None = None,
        keys: Keys | None = None,
    ) -> None:
        self.sign_in = sign_in or SignIn()
        self.keys = keys or Keys()
        self._admin_key = admin_key.encode() if admin_key else None
        self._proxy_secret = proxy_secret.encode() if proxy_secret else None
        self.require_auth = require_auth

    def is_proxy(self, headers: Mapping[str, str]) -> bool:
        """Whether the request comes from our Jupyter extension."""
        given = headers.get(PROXY_HEADER)
        return given is not None and self._proxy_secret is not None and _same(given, self._proxy_secret)

    async def admit(self, headers: Mapping[str, str], ip: str | None = None, *, signs_in_later: bool = False) -> Caller:
        """The caller of an HTTP request or of a WebSocket upgrade that came from ``ip``.

        Parameters
        ----------
        signs_in_later
            The token comes in a message: browsers cannot send it with an upgrade. Until then nothing is answered
            where credentials are required.

        Raises
        ------
        Refused
            Credentials are wrong, or absent where they are required.
        """
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and PROXY_HEADER not in headers and IDENTITY_HEADER not in headers:
            return _from(self.signed_in(await self.sign_in.judge(token.strip())), headers, ip)
        if signs_in_later and self.require_auth and self.sign_in.possible and not _has_credentials(headers):
            return _from(Caller(None, frozenset(), "anonymous"), headers, ip)
        return self.from_headers(headers, ip)

    def from_headers(self, headers: Mapping[str, str], ip: str | None = None) -> Caller:
        """Do what :meth:`admit` does, for everybody but those who have signed in."""
        caller, vouched_ip = self._judged(headers)
        return _from(caller, headers, vouched_ip or ip)

    def signed_in(self, person: Person, door: Caller | None = None) -> Caller:
        """Somebody who has signed in; ``door`` is who the connection's own credentials say is asking."""
        roles = _PUBLIC_ROLES if door is None or door.identity is None else _PUBLIC_ROLES & door.roles
        subject = str(person.identity["subject"])
        return Caller(
            person.identity, roles, subject, b"", person.expires, provider=person.provider, follow=person.follow
        )

    def signed_out(self, door: Caller) -> Caller:
        """Nobody, at a connection whose own credentials say that ``door`` is asking: it was let in, as that."""
        return Caller(None, _PUBLIC_ROLES & door.roles, "anonymous")

    def still(self, caller: Caller) -> bool:
        """Whether what says who ``caller`` is would say so again."""
        return (not caller.key or self.keys.valid(caller.key)) and (
            not caller.provider or self.sign_in.still(caller.provider)
        )

    def _judged(self, headers: Mapping[str, str]) -> tuple[Caller, str | None]:
        if PROXY_HEADER in headers or IDENTITY_HEADER in headers:
            if not self.is_proxy(headers):
                raise Refused("the proxy headers of this request do not come from this server's Jupyter extension")
            return _vouched(headers.get(IDENTITY_HEADER, ""))  # our extension knows where its client is
        authorization = headers.get("Authorization")
        if authorization:
            scheme, _, credentials = authorization.partition(" ")
            if scheme.lower() != "convex":
                raise Unauthenticated(
                    f"nothing here understands {scheme[:20]!a} credentials; send 'Authorization: Bearer TOKEN' or"
                    " 'Authorization: Convex ADMIN_KEY'"
                )
            key, _, acting = credentials.strip().partition(":")
            return self.from_admin_key(key, _acting_as(acting) if acting else None), None
        return self.anonymous(), None

    def anonymous(self) -> Caller:
        """A caller without credentials."""
        if self.require_auth:
            raise Refused(
                "this server answers signed-in callers only (--require-auth); send 'Authorization: Bearer TOKEN' or"
                " 'Authorization: Convex ADMIN_KEY'"
            )
        return self.nobody()

    def nobody(self) -> Caller:
        """Whoever comes to a door that is open to all."""
        return Caller(None, _PUBLIC_ROLES, "anonymous")

    def from_admin_key(self, key: str, acting_as: dict[str, Any] | None = None) -> Caller:
        """The holder of the admin key (or of another one), on behalf of ``acting_as`` if given."""
        if key.startswith(PREFIX):
            return self._from_key(key, acting_as)
        if self._admin_key is None or not _same(key, self._admin_key):
            raise Refused(
                "the admin key is wrong; it is what 'nbreactive serve' was given as --admin-key, or admin.key in its data folder"
            )
        return Caller(_with_token_identifier(acting_as) if acting_as else None, ALL_ROLES, "admin key")

    def _from_key(self, secret: str, acting_as: dict[str, Any] | None) -> Caller:
        key = self.keys.find(secret)
        if key is None:
            raise Refused("this key opens nothing here: it was revoked, or it is the key of another deployment")
        if acting_as and "admin" not in key.roles:
            raise Refused(f"the key {key.name!a} may not act as somebody else: that needs the role 'admin'")
        identity = _with_token_identifier(acting_as) if acting_as else None
        return Caller(identity, frozenset(key.roles), f"key {key.name}", key=key.id)


def _from(caller: Caller, headers: Mapping[str, str], ip: str | None) -> Caller:
    said = {"ip": ip, "userAgent": headers.get("User-Agent", "")[:_LONGEST_AGENT] or None}
    return msgspec.structs.replace(caller, origin=msgspec.msgpack.encode(said))


def _has_credentials(headers: Mapping[str, str]) -> bool:
    return any(name in headers for name in ("Authorization", PROXY_HEADER, IDENTITY_HEADER))


def _same(given: str, wanted: bytes) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), wanted)


def _vouched(header: str) -> tuple[Caller, str | None]:
    try:
        who = _vouched_decoder.decode(_unbase64(header))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Refused(f"the header {IDENTITY_HEADER} is not what the Jupyter extension sends: {error}") from None
    if not who.subject:
        raise Refused(f"the header {IDENTITY_HEADER} names nobody")
    identity = {
        name: value
        for name, value in msgspec.to_builtins(who).items()
        if value is not None and name not in ("roles", "ip")
    }
    return Caller(_with_token_identifier(identity), frozenset(who.roles), who.subject), who.ip


def _acting_as(text: str) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(_unbase64(text))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Refused("what follows ':' in the admin key must be base64 of a JSON object with an identity")
    return found


def _unbase64(text: str) -> bytes:
    try:
        # Strictly: what is lenient reads the first of two headers that were joined, and overlooks the other
        padded = text.translate({43: 45, 47: 95}) + "=" * (-len(text) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def _with_token_identifier(identity: dict[str, Any]) -> dict[str, Any]:
    issuer, subject = str(identity.get("issuer", "")), str(identity.get("subject", ""))
    return {"tokenIdentifier": f"{issuer}|{subject}"} | identity
