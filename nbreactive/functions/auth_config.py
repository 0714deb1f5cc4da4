"""``auth_config``: whose tokens a deployment believes.

A plain dict of that name in any module, in Convex's form. Each provider is one of

* OpenID Connect: ``{"domain": "https://issuer", "application_id": "audience"}``; the keys are found by discovery;
* a token of somebody's own: ``{"type": "customJwt", "issuer": ..., "jwks": ..., "algorithm": "RS256"}``, whose keys are at
  a URL, or in a ``data:`` URI;
* sessions that the deployment keeps itself: ``{"type": "session", "issuer": "accounts", "function": "accounts:session"}``;
  an internal query says who holds a token, and the connection follows what it says.

Convex's spelling (``applicationID``) is taken as well.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final, cast
from urllib.parse import unquote_to_bytes, urlsplit

from nbreactive.errors import InvalidValue
from nbreactive.functions.references import canonical_path
from nbreactive.functions.specs import Algorithm, ProviderSpec

ALGORITHMS: Final[tuple[Algorithm, ...]] = ("RS256", "ES256")
_MOST: Final = 20
_SPELLINGS: Final = {"applicationID": "application_id", "applicationId": "application_id"}
_FIELDS: Final[Mapping[str, tuple[frozenset[str], frozenset[str]]]] = {
    "oidc": (frozenset({"domain", "application_id"}), frozenset({"type"})),
    "customJwt": (frozenset({"issuer", "jwks", "algorithm"}), frozenset({"type", "application_id"})),
    "session": (frozenset({"issuer", "function"}), frozenset({"type"})),
}
"""What a provider of each type has, and may have."""


def read_auth_config(config: Any, where: str = "auth_config") -> tuple[ProviderSpec, ...]:
    """Return the providers of an ``auth_config``.

    Raises
    ------
    InvalidValue
        Something in it is not as it should be; the message names it.

    Examples
    --------
    >>> read_auth_config({"providers": [{"domain": "https://issuer", "application_id": "my app"}]})[0].issuer
    'https://issuer'
    """
    if not isinstance(config, Mapping):
        raise InvalidValue(f"it is a dict with a list of providers, not {config!r:.60}", where)
    given = cast("Mapping[Any, Any]", config)
    providers = given.get("providers")
    if not isinstance(providers, (list, tuple)) or set(given) - {"providers"}:
        raise InvalidValue('it is a dict with the key "providers", a list of dicts, and no other', where)
    listed = list(cast("Iterable[Any]", providers))
    if len(listed) > _MOST:
        raise InvalidValue(f"it has {len(listed)} providers; at most {_MOST} are allowed", where)
    found = [_provider(provider, f"{where}, provider {number}") for number, provider in enumerate(listed, 1)]
    for number, one in enumerate(found):
        for other in found[:number]:
            if (one.issuer, one.application_id) == (other.issuer, other.application_id):
                raise InvalidValue(
                    f"two providers have the issuer {one.issuer!r} and one application; remove one", where
                )
    return tuple(found)


def _provider(given: Any, where: str) -> ProviderSpec:
    if not isinstance(given, Mapping):
        raise InvalidValue(f'it is a dict like {{"domain": ..., "application_id": ...}}, not {given!r:.60}', where)
    fields = {_SPELLINGS.get(name, name): value for name, value in cast("Mapping[str, Any]", given).items()}
    kind = fields.get("type", "oidc")
    if kind not in _FIELDS:
        raise InvalidValue(f"the type is oidc, customJwt or session, not {kind!r:.60}", where)
    wanted, possible = _FIELDS[kind]
    for name in fields:
        if name not in wanted | possible:
            near = get_close_matches(str(name), wanted | possible, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(sorted(wanted | possible))}"
            raise InvalidValue(f"a provider of the type {kind} has no field {name!r:.60}{hint}", where)
    for name in sorted(wanted | possible):
        if (name in fields or name in wanted) and not (isinstance(fields.get(name), str) and fields[name]):
            raise InvalidValue(f"{name!r} is missing or no text; a provider of the type {kind} needs it", where)
    if kind == "oidc":
        domain = fields["domain"]
        issuer = (domain if "://" in domain else f"https://{domain}").rstrip("/")
        check_url(issuer, f"{where}, domain")
        return ProviderSpec("oidc", issuer, application_id=fields["application_id"], algorithms=ALGORITHMS)
    if kind == "session":
        if fields["issuer"].startswith(("http://", "https://")):
            raise InvalidValue(f"the issuer of sessions is a name like 'accounts', not {fields['issuer']!r:.80}", where)
        return ProviderSpec("session", fields["issuer"], function=canonical_path(fields["function"]))
    if fields["algorithm"] not in ALGORITHMS:
        raise InvalidValue(f"the algorithm is RS256 or ES256, not {fields['algorithm']!r:.60}", where)
    if fields["jwks"].startswith("data:"):
        inline_keys(fields["jwks"], f"{where}, jwks")
    else:
        check_url(fields["jwks"], f"{where}, jwks")
    return ProviderSpec(
        "customJwt",
        fields["issuer"],
        application_id=fields.get("application_id"),
        jwks=fields["jwks"],
        algorithms=(fields["algorithm"],),
    )


def check_url(url: str, where: str) -> None:
    """Refuse what is no plain http(s) address."""
    try:
        parts = urlsplit(url)
        plain = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc and parts.port != 0
        plain = plain and not parts.fragment
    except ValueError:
        plain = False
    if not plain or any(not "!" <= each <= "~" for each in url):
        raise InvalidValue(f"{url!r:.120} is no address like https://issuer.example", where)


def inline_keys(uri: str, where: str) -> list[Any]:
    """Return the keys of a ``data:`` URI, as they are written there.

    Examples
    --------
    >>> inline_keys('data:application/json,{"keys": [{"kty": "EC"}]}', "jwks")
    [{'kty': 'EC'}]
    """
    head, comma, text = uri.partition(",")
    try:
        data = (
            base64.b64decode(unquote_to_bytes(text), validate=True)
            if head.endswith(";base64")
            else unquote_to_bytes(text)
        )
        keys: Any = json.loads(data)["keys"] if comma else None
    except (binascii.Error, ValueError, KeyError, TypeError, RecursionError):
        keys = None
    if not isinstance(keys, list) or not keys:
        raise InvalidValue('it is no data: URI of JSON like {"keys": [...]}', where)
    return cast("list[Any]", keys)
