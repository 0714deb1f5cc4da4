"""From the claims of a verified token to what functions see in ``ctx.auth``, under Convex's names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from nbreactive.errors import Unauthenticated

_NAMES: Final = {
    "name": "name",
    "given_name": "givenName",
    "family_name": "familyName",
    "nickname": "nickname",
    "preferred_username": "preferredUsername",
    "profile": "profileUrl",
    "picture": "pictureUrl",
    "website": "websiteUrl",
    "email": "email",
    "email_verified": "emailVerified",
    "gender": "gender",
    "birthdate": "birthday",
    "zoneinfo": "timezone",
    "locale": "language",
    "phone_number": "phoneNumber",
    "phone_number_verified": "phoneNumberVerified",
    "address": "address",
    "updated_at": "updatedAt",
}
_DROPPED: Final = frozenset({"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "fva"})
_OURS: Final = frozenset({"tokenIdentifier", "subject", "issuer", "via"})
"""What no claim can say."""


def identity_of_claims(claims: Mapping[str, Any], *, flat: bool = False) -> dict[str, Any]:
    """Return who a token names.

    Parameters
    ----------
    claims
        Of a token that was verified.
    flat
        Claims that are objects become several, with dots in their names.

    Examples
    --------
    >>> identity_of_claims({"iss": "https://i", "sub": "ada", "given_name": "Ada", "org": {"id": 7}}, flat=True)
    {'tokenIdentifier': 'https://i|ada', 'subject': 'ada', 'issuer': 'https://i', 'givenName': 'Ada', 'org.id': 7}
    """
    issuer, subject = claims["iss"], claims["sub"]
    identity: dict[str, Any] = {"tokenIdentifier": f"{issuer}|{subject}", "subject": subject, "issuer": issuer}
    for name, value in claims.items():
        if name in _DROPPED or value is None:
            continue
        known = _NAMES.get(name)
        if known == "address" and isinstance(value, dict):
            value = value.get("formatted")  # noqa: PLW2901 - the text of it
        elif known == "updatedAt":
            value = str(value)  # noqa: PLW2901 - a text in Convex
        if known is not None and value is not None:
            identity[known] = value
        elif known is None:
            for path, part in _flattened(name, value) if flat else ((name, value),):
                if path not in _OURS:
                    identity.setdefault(path, part)
    return storable(identity)


def storable(identity: dict[str, Any]) -> dict[str, Any]:
    """Refuse what could not be handed to functions: lone surrogates, numbers beyond 64 bits."""
    try:
        msgspec.msgpack.encode(identity)
    except (UnicodeError, OverflowError, msgspec.MsgspecError, RecursionError, TypeError):
        raise Unauthenticated("the token is not accepted: its claims have values that are no values here") from None
    return identity


def _flattened(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flattened(f"{name}.{key}", inner)
    else:
        yield name, value
