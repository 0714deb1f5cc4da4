"""JSON Web Tokens: taken apart, checked, and verified with a key; nothing here waits or asks anybody.

The token says nothing about how it is to be checked: the algorithms are those of its provider, the keys are the
provider's, and the header may only name one of them (``kid``). What costs grows with neither key sets nor claims, for a
token has a length that it may have, which is looked at first. PyJWT verifies the signatures; what a token has to say is
checked here, since it is stricter than the library is: no key twice, no claim of another type, nothing critical.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, NoReturn

from nbreactive.errors import MissingPackage, Unauthenticated
from nbreactive.functions.specs import ProviderSpec

LONGEST_TOKEN: Final = 16 << 10
SKEW: Final = 60.0
"""Seconds that the issuer's clock may be ahead of ours. That it is behind does not count: tokens are renewed early."""
_LONGEST_NAME: Final = 1000
_TYPES: Final = (None, "jwt", "at+jwt", "application/jwt", "application/at+jwt")
_BRINGS_A_KEY: Final = ("jku", "jwk", "x5u", "x5c")
_RSA_BITS: Final = range(2048, 8193)


class Token(NamedTuple):
    """A token that was taken apart; nothing of it is verified."""

    text: str
    header: Mapping[str, Any]
    claims: Mapping[str, Any]

    @property
    def key_id(self) -> str | None:
        """Which of its issuer's keys it says it was signed with."""
        return self.header.get("kid")


class VerifyingKey(NamedTuple):
    """A public key of an issuer, and what it is for."""

    key_id: str | None
    algorithm: str
    key: Any


def take_apart(text: str) -> Token:
    """Return the parts of a token.

    Raises
    ------
    Unauthenticated
        It is none.
    """
    if len(text) > LONGEST_TOKEN:
        _refuse(f"it has {len(text)} characters, and at most {LONGEST_TOKEN} are looked at")
    parts = text.split(".")
    if len(parts) != 3 or not text.isascii():
        _refuse("it is no JSON Web Token (three parts with dots between them)")
    header, claims = _object(parts[0], "header"), _object(parts[1], "payload")
    kid = header.get("kid")
    if kid is not None and (not isinstance(kid, str) or len(kid) > _LONGEST_NAME):
        _refuse("its kid is no name of a key")
    return Token(text, header, claims)


def check_header(token: Token, provider: ProviderSpec) -> str:
    """Return the algorithm, if the header has nothing that it must not have."""
    header = token.header
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in provider.algorithms:
        _refuse(f"it is signed with {algorithm!r:.40}, and its provider signs with {' or '.join(provider.algorithms)}")
    kind = header.get("typ")
    if (kind is not None and not isinstance(kind, str)) or (kind.lower() if kind else kind) not in _TYPES:
        _refuse(f"its typ is {kind!r:.40}; those of users are JWT or at+jwt")
    if "crit" in header or "b64" in header or "zip" in header:
        _refuse("its header demands something that is not known here (crit)")
    for name in _BRINGS_A_KEY:
        if name in header:
            _refuse(f"its header brings a key of its own ({name})")
    return algorithm


def check_claims(token: Token, provider: ProviderSpec, now: float) -> float:
    """Return when the token ends (seconds since the epoch), if it is for here and now."""
    claims = token.claims
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_NAME:
        _refuse("it names nobody (sub)")
    _check_audience(claims, provider.application_id)
    ends = _moment(claims, "exp")
    if ends is None:
        _refuse("it has no end (exp)")
    if ends <= now:
        _refuse("it has expired (exp): get a new one")
    for name in ("nbf", "iat"):
        begins = _moment(claims, name)
        if begins is not None and begins > now + SKEW:
            _refuse(f"it is not valid yet ({name}); if it is meant to be, compare the clocks")
    return ends


def check_signature(token: Token, key: VerifyingKey) -> None:
    """Raise :class:`Unauthenticated` if the token was not signed with that key."""
    from jwt import PyJWS
    from jwt.exceptions import PyJWTError

    try:
        PyJWS(algorithms=[key.algorithm]).decode(token.text, key.key, algorithms=[key.algorithm])
    except (PyJWTError, ValueError, TypeError):
        _refuse("its signature is not its issuer's")


def verifying_keys(listed: Sequence[Any], algorithms: Sequence[str]) -> list[VerifyingKey]:
    """Return those of an issuer's keys that can be used; what is garbage, too weak, or for something else is left out."""
    require_packages()
    found: list[VerifyingKey] = []
    for data in listed:
        if isinstance(data, dict):
            found += [key for name in algorithms if (key := _verifying_key(data, name)) is not None]
    return found


def require_packages() -> None:
    """Raise :class:`MissingPackage` if tokens cannot be verified here."""
    try:
        import cryptography  # noqa: F401
        import jwt  # noqa: F401
    except ImportError:
        raise MissingPackage(
            "auth_config with issuers needs PyJWT and cryptography where the backend runs: pip install nbreactive[auth]"
        ) from None


def _verifying_key(data: dict[str, Any], algorithm: str) -> VerifyingKey | None:
    from jwt import PyJWK
    from jwt.exceptions import PyJWTError

    kid = data.get("kid")
    operations = data.get("key_ops")
    if (
        data.get("kty") != ("RSA" if algorithm == "RS256" else "EC")
        or data.get("alg", algorithm) != algorithm
        or data.get("use", "sig") != "sig"
        or (operations is not None and "verify" not in operations)
        or not (kid is None or (isinstance(kid, str) and len(kid) <= _LONGEST_NAME))
        or "d" in data  # a private key that somebody has published proves nothing
        or (algorithm == "ES256" and data.get("crv") != "P-256")
    ):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            key: Any = PyJWK(data, algorithm).key
            if algorithm == "RS256" and (key.key_size not in _RSA_BITS or key.public_numbers().e > 1 << 32):
                return None
    except (PyJWTError, ValueError, TypeError, KeyError, OverflowError, AttributeError, binascii.Error):
        return None
    except Exception as error:  # what libraries for cryptography say of garbage has no common base
        if type(error).__module__.startswith("cryptography"):
            return None
        raise
    return VerifyingKey(kid, algorithm, key)


def _check_audience(claims: Mapping[str, Any], wanted: str | None) -> None:
    if wanted is None:
        return
    audience = claims.get("aud")
    audiences: list[Any] = audience if isinstance(audience, list) else [audience]
    if not all(isinstance(one, str) for one in audiences) or wanted not in audiences:
        _refuse("it is for another application (aud)")
    if len(audiences) > 1 and claims.get("azp", wanted) != wanted:
        _refuse("it was given to another application (azp)")


def _moment(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not 0 <= value < 1e12
        or not math.isfinite(value)
    ):
        _refuse(f"its {name} is no moment in seconds")
    return float(value)


def _object(part: str, what: str) -> dict[str, Any]:
    try:
        data = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
        if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != part:
            raise ValueError("another text for the same bytes")
        found = json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        _refuse(f"its {what} is no JSON object, or says something twice")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name twice")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(text)


def _refuse(why: str) -> NoReturn:
    raise Unauthenticated(f"the token is not accepted: {why}")
