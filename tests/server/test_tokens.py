"""Tokens of issuers, against an issuer in a process of its own: cases 37 and 38 of the attack list."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from nbreactive.errors import Unauthenticated
from nbreactive.functions.auth_config import read_auth_config
from nbreactive.server import issuers, key_sets
from nbreactive.server.issuers import Issuers
from nbreactive.server.sign_in import Person, SignIn
from nbreactive.server.tokens import LONGEST_TOKEN
from tests.issuer import WEAK, Issuer


@pytest.fixture(scope="module")
def shared() -> Iterator[Issuer]:
    with Issuer() as issuer:
        yield issuer


@pytest.fixture
def own() -> Iterator[Issuer]:
    with Issuer() as issuer:
        yield issuer


@asynccontextmanager
async def signing_in(*providers: dict[str, Any], trusted: tuple[str, ...] = ()) -> Any:
    specs = read_auth_config({"providers": list(providers)})
    said: list[dict[str, Any]] = []
    sign_in = SignIn(lambda: specs, Issuers(trusted), report=lambda event, level, **fields: said.append(fields))
    sign_in.said = said  # type: ignore[attr-defined]
    try:
        yield sign_in
    finally:
        await sign_in.close()


def judge(token: str, *providers: dict[str, Any], **options: Any) -> Person:
    async def main() -> Person:
        async with signing_in(*providers, **options) as sign_in:
            return await sign_in.judge(token)

    return asyncio.run(main())


async def refused(sign_in: SignIn, token: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await sign_in.judge(token)
    return caught.value.message


def part(value: Any) -> str:
    text = value if isinstance(value, (str, bytes)) else json.dumps(value)
    data = text.encode() if isinstance(text, str) else text
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def hs256(header: dict[str, Any], claims: dict[str, Any], key: bytes) -> str:
    signed = f"{part(header)}.{part(claims)}"
    return f"{signed}.{part(hmac.new(key, signed.encode(), hashlib.sha256).digest())}"


def raw(secrets: dict[str, Any], header: str, claims: str) -> str:
    """A token of any texts, well signed."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding

    signed = f"{part(header)}.{part(claims)}"
    key: Any = serialization.load_pem_private_key(secrets["RS256"].encode(), None)
    return f"{signed}.{part(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


# ---- who is let in -------------------------------------------------------------------------------------------


def test_the_claims_of_a_token_become_convex_s_fields(shared: Issuer) -> None:
    token = shared.token(
        given_name="Ada",
        email="ada@example.org",
        email_verified=True,
        birthdate="1815-12-10",
        updated_at=1700000000,
        address={"formatted": "12 St James's Square"},
        jti="1",
        fva=[1, 2],
        org={"id": 7, "roles": ["a"]},
        tokenIdentifier="forged",
        via="forged",
    )
    person = judge(token, shared.provider())
    assert person.identity == {
        "tokenIdentifier": f"{shared.url}|ada",
        "subject": "ada",
        "issuer": shared.url,
        "givenName": "Ada",
        "email": "ada@example.org",
        "emailVerified": True,
        "birthday": "1815-12-10",
        "updatedAt": "1700000000",
        "address": "12 St James's Square",
        "org": {"id": 7, "roles": ["a"]},
    }
    assert person.expires is not None and 500 < person.expires - time.time() < 700
    flat = judge(shared.token(org={"id": 7, "deep": {"er": 1}}), shared.provider("customJwt", algorithm="RS256"))
    assert flat.identity["org.id"] == 7 and flat.identity["org.deep.er"] == 1 and "org" not in flat.identity


GOOD: dict[str, Callable[[Issuer], tuple[str, dict[str, Any]]]] = {
    "ES256": lambda i: (i.sign({"iss": i.url, "sub": "ada", "exp": time.time() + 60}, alg="ES256"), i.provider("customJwt")),
    "audiences": lambda i: (i.token(aud=["other", "app"]), i.provider()),
    "audiences, ours": lambda i: (i.token(aud=["other", "app"], azp="app"), i.provider()),
    "no audience asked": lambda i: (i.token(aud="any"), i.provider("customJwt", algorithm="RS256")),
    "access token": lambda i: (i.sign({"iss": i.url, "sub": "a", "aud": "app", "exp": time.time() + 60}, typ="at+jwt"), i.provider()),
    "slightly ahead": lambda i: (i.token(iat=int(time.time()) + 30, nbf=int(time.time()) + 30), i.provider()),
    "slash": lambda i: (i.token(), i.provider(domain=f"{i.url}/")),
    "Convex's spelling": lambda i: (i.token(), {"domain": i.url, "applicationID": "app"}),
    "keys inline": lambda i: (i.token(), {
        "type": "customJwt", "issuer": i.url, "algorithm": "RS256", "applicationID": "app",
        "jwks": "data:application/json;base64," + base64.b64encode(json.dumps({"keys": [i.keys()["jwk"]]}).encode()).decode(),
    }),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_tokens_that_are_as_they_should_be(shared: Issuer, name: str) -> None:
    token, provider = GOOD[name](shared)
    assert judge(token, provider).identity["issuer"] == shared.url


def claims(issuer: Issuer, **changed: Any) -> dict[str, Any]:
    now = int(time.time())
    return {"iss": issuer.url, "sub": "ada", "aud": "app", "iat": now, "exp": now + 600, **changed}


def foreign(issuer: Issuer, **header: Any) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return jwt.encode(claims(issuer), key, "RS256", {"kid": "RS256-1", **header})


BAD: dict[str, Callable[[Issuer], str]] = {
    "alg none": lambda i: f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims(i))}.",
    "alg None": lambda i: f"{part({'alg': 'nOnE', 'typ': 'JWT'})}.{part(claims(i))}.",
    "alg null": lambda i: f"{part({'alg': None})}.{part(claims(i))}.{part('x')}",
    "no alg": lambda i: f"{part({'typ': 'JWT'})}.{part(claims(i))}.{part('x')}",
    "HS256 with the public key": lambda i: hs256(
        {"alg": "HS256", "kid": "RS256-1"}, claims(i), i.keys()["public"].encode()
    ),
    "HS256 with the JWK": lambda i: hs256(
        {"alg": "HS256", "kid": "RS256-1"}, claims(i), json.dumps(i.keys()["jwk"]).encode()
    ),
    "RS512": lambda i: jwt.encode(claims(i), i.keys()["RS256"], "RS512", {"kid": "RS256-1"}),
    "PS256": lambda i: jwt.encode(claims(i), i.keys()["RS256"], "PS256", {"kid": "RS256-1"}),
    "ES256 with the RSA key's name": lambda i: jwt.encode(claims(i), i.keys()["ES256"], "ES256", {"kid": "RS256-1"}),
    "another's signature": lambda i: foreign(i),
    "another's, jku": lambda i: foreign(i, jku=f"{i.url}/jwks"),
    "jku": lambda i: i.sign(claims(i), jku=f"{i.url}/jwks"),
    "x5u": lambda i: i.sign(claims(i), x5u=f"{i.url}/jwks"),
    "jwk": lambda i: i.sign(claims(i), jwk=i.keys()["jwk"]),
    "crit": lambda i: i.sign(claims(i), crit=["exp"]),
    "crit, unknown": lambda i: i.sign(claims(i), crit=["x"], x=1),
    "b64": lambda i: raw(i.keys(), '{"alg":"RS256","b64":false,"crit":["b64"]}', json.dumps(claims(i))),
    "kid traversal": lambda i: i.sign(claims(i), kid="../../../dev/null"),
    "kid SQL": lambda i: i.sign(claims(i), kid="' OR 1=1 --"),
    "kid of another kind": lambda i: raw(i.keys(), '{"alg":"RS256","kid":7}', json.dumps(claims(i))),
    "kid missing": lambda i: raw(i.keys(), '{"alg":"RS256"}', json.dumps(claims(i) | {"sub": "x"})) + "A",
    "typ logout": lambda i: i.sign(claims(i), typ="logout+jwt"),
    "typ of another kind": lambda i: raw(i.keys(), '{"alg":"RS256","kid":"RS256-1","typ":5}', json.dumps(claims(i))),
    "iss missing": lambda i: i.token(iss=None),
    "iss prefix": lambda i: i.token(iss=f"{i.url}.evil.example"),
    "iss below": lambda i: i.token(iss=f"{i.url}/evil"),
    "iss shorter": lambda i: i.token(iss=i.url[:-1]),
    "iss slashes": lambda i: i.token(iss=f"{i.url}//"),
    "iss list": lambda i: raw(i.keys(), '{"alg":"RS256","kid":"RS256-1"}', json.dumps(claims(i, iss=[i.url]))),
    "aud missing": lambda i: i.token(aud=None),
    "aud other": lambda i: i.token(aud="other"),
    "aud prefix": lambda i: i.token(aud="app2"),
    "aud list": lambda i: i.token(aud=["other", "another"]),
    "aud empty": lambda i: i.token(aud=[]),
    "aud of numbers": lambda i: raw(i.keys(), '{"alg":"RS256","kid":"RS256-1"}', json.dumps(claims(i, aud=["app", 5]))),
    "azp other": lambda i: i.token(aud=["app", "other"], azp="other"),
    "sub missing": lambda i: i.token(sub=None),
    "sub empty": lambda i: i.token(sub=""),
    "sub number": lambda i: raw(i.keys(), '{"alg":"RS256","kid":"RS256-1"}', json.dumps(claims(i, sub=5))),
    "exp missing": lambda i: i.token(exp=None),
    "exp past": lambda i: i.token(seconds=-1),
    "exp text": lambda i: raw(i.keys(), '{"alg":"RS256","kid":"RS256-1"}', json.dumps(claims(i, exp="9999999999"))),
    "exp true": lambda i: raw(i.keys(), '{"alg":"RS256","kid":"RS256-1"}', json.dumps(claims(i, exp=True))),
    "exp NaN": lambda i: raw(i.keys(), '{"alg":"RS256","kid":"RS256-1"}', json.dumps(claims(i, exp=float("nan")))),
    "exp huge": lambda i: raw(i.keys(), '{"alg":"RS256","kid":"RS256-1"}', json.dumps(claims(i))[:-1] + ',"x":' + "9" * 10_000 + "}"),
    "exp 1e999": lambda i: raw(i.keys(), '{"alg":"RS256","kid":"RS256-1"}', json.dumps(claims(i, exp=0)).replace('"exp": 0', '"exp": 1e999')),
    "nbf future": lambda i: i.token(nbf=int(time.time()) + 3600),
    "iat future": lambda i: i.token(iat=int(time.time()) + 3600),
    "claims twice": lambda i: raw(i.keys(), '{"alg":"RS256","kid":"RS256-1"}', json.dumps(claims(i))[:-1] + ',"sub":"eve"}'),
    "header twice": lambda i: raw(i.keys(), '{"alg":"RS256","kid":"RS256-1","alg":"RS256"}', json.dumps(claims(i))),
    "claims list": lambda i: raw(i.keys(), '{"alg":"RS256","kid":"RS256-1"}', "[]"),
    "claims deep": lambda i: raw(i.keys(), '{"alg":"RS256","kid":"RS256-1"}', '{"a":' + "[" * 5000 + "]" * 5000 + "}"),
    "lone surrogate": lambda i: raw(i.keys(), '{"alg":"RS256","kid":"RS256-1"}', json.dumps(claims(i))[:-1] + ',"name":"\\ud800"}'),
    "not UTF-8": lambda i: f"{part({'alg': 'RS256'})}.{part(bytes([0xFF, 0xFE]))}.{part('x')}",
    "1 MB": lambda i: i.token()[:-10] + "A" * (1 << 20),
    "long kid": lambda i: i.sign(claims(i), kid="k" * 5000),
    "padding": lambda i: i.token().replace(".", "=.", 1),
    "spaces": lambda i: i.token().replace(".", " .", 1),
    "four parts": lambda i: i.token() + ".x",
    "five parts": lambda i: "a.b.c.d.e",
    "empty": lambda i: "",
    "dots": lambda i: "..",
    "not a token": lambda i: "hello",
    "not ASCII": lambda i: "é.é.é",
    "signature of another": lambda i: i.token().rpartition(".")[0] + "." + i.token("eve").rpartition(".")[2],
    "no signature": lambda i: i.token().rpartition(".")[0] + ".",
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_tokens_that_are_not_case_37(shared: Issuer, name: str) -> None:
    token = BAD[name](shared)
    with pytest.raises(Unauthenticated) as caught:
        judge(token, shared.provider())
    assert token[:40] not in caught.value.message or len(token) < 40
    assert len(caught.value.message) < 300


def test_the_kind_of_a_key_is_the_algorithm_s(shared: Issuer) -> None:
    """A provider of ES256 takes no RSA key, whatever the header says."""
    for token in (shared.token(), shared.sign(claims(shared), alg="ES256", kid="RS256-1")):
        with pytest.raises(Unauthenticated):
            judge(token, shared.provider("customJwt"))
    with pytest.raises(Unauthenticated, match="signed with 'ES256'"):
        judge(shared.sign(claims(shared), alg="ES256"), shared.provider("customJwt", algorithm="RS256"))


def test_what_is_too_long_is_not_looked_at(shared: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json, "loads", lambda *_, **__: pytest.fail("it was looked at"))
    with pytest.raises(Unauthenticated, match="at most"):
        judge("a.b." + "c" * LONGEST_TOKEN, shared.provider())


def test_tokens_of_strangers_ask_nobody(shared: Issuer) -> None:
    before = shared.hits()
    for changed in ({"iss": "https://stranger.example"}, {"aud": "other"}, {"exp": 1}, {"sub": ""}):
        with pytest.raises(Unauthenticated):
            judge(shared.sign(claims(shared, **changed)), shared.provider())
    after = shared.hits()
    assert after.get("jwks", 0) == before.get("jwks", 0)


# ---- issuers that misbehave ----------------------------------------------------------------------------------


def test_a_new_key_is_found_and_unknown_ones_ask_once_in_a_while_case_38(own: Issuer) -> None:
    async def main() -> None:
        async with signing_in(own.provider()) as sign_in:
            await asyncio.gather(*(sign_in.judge(own.token(str(n))) for n in range(5)))
            assert own.hits()["jwks"] == 1  # who waits, waits for one
            old = own.token()
            own.control(rotate=True)
            new = own.token()
            assert (await sign_in.judge(new)).identity["subject"] == "ada"
            assert own.hits()["jwks"] == 2
            await refused(sign_in, old)
            for n in range(50):
                assert "kid" in await refused(sign_in, own.sign(claims(own), kid=f"unknown {n}"))
            assert own.hits()["jwks"] == 2
            await sign_in.judge(new)

    asyncio.run(main())


@pytest.mark.parametrize("mode", ["down", "slow", "giant", "redirect"])
def test_the_last_good_keys_are_kept_in_an_outage_case_38(
    own: Issuer, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuers, "SECONDS", 0.5)
    monkeypatch.setattr(key_sets, "SHORTEST", 0.0)
    monkeypatch.setattr(key_sets, "PAUSE", 0.0)
    own.control(max_age=0)

    async def main() -> None:
        async with signing_in(own.provider()) as sign_in:
            token = own.token()
            await sign_in.judge(token)
            own.control(mode=mode, target="file:///etc/passwd")
            for _ in range(3):
                await sign_in.judge(token)
                assert "kid" in await refused(sign_in, own.sign(claims(own), kid="unknown"))
            assert {said["issuer"] for said in sign_in.said} == {own.url}
            own.control(mode="ok", rotate=True)
            new = own.token()
            await sign_in.judge(new)
            await refused(sign_in, token)

    asyncio.run(main())


@pytest.mark.parametrize("mode", ["down", "slow", "giant", "redirect", "another"])
def test_an_issuer_that_never_answered_lets_nobody_in_case_38(
    own: Issuer, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuers, "SECONDS", 0.5)
    own.control(mode=mode, target="http://169.254.169.254/latest/meta-data")

    async def main() -> None:
        async with signing_in(own.provider()) as sign_in:
            for _ in range(20):
                assert "cannot be checked now" in await refused(sign_in, own.token())
            assert sum(own.hits().get(name, 0) for name in ("openid-configuration", "jwks")) <= 2
            assert len(sign_in.said) == 1

    asyncio.run(main())


def test_garbage_among_the_keys_is_left_out_case_38(own: Issuer) -> None:
    own.control(mode="garbage")

    async def main() -> None:
        async with signing_in(own.provider()) as sign_in:
            await sign_in.judge(own.token())
            await sign_in.judge(own.sign(claims(own), alg="ES256"))
            await refused(sign_in, own.sign(claims(own), kid=WEAK))

    asyncio.run(main())


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://169.254.169.254/keys",
        "https://10.0.0.1/keys",
        "https://[::1]/keys",
        "https://[::ffff:127.0.0.1]/keys",
        "https://localhost/keys",
        "https://2130706433/keys",
        "file:///etc/passwd",
        "ftp://example.org/keys",
        "gopher://127.0.0.1:6379/_x",
        "https://user:pw@example.org/keys",
        "https://example.org/keys#x",
        "//example.org/keys",
        "",
    ],
)
def test_descriptions_lead_nowhere_private_case_38(own: Issuer, target: str) -> None:
    own.control(mode="elsewhere", target=target)

    async def main() -> None:
        async with signing_in(own.provider()) as sign_in:
            await refused(sign_in, own.token())
            assert len(sign_in.said) == 1
            said = sign_in.said[0]["reason"]
            assert "private" in said or "not https" in said or "is no address" in said

    asyncio.run(main())


def test_who_runs_the_server_can_trust_a_private_issuer(own: Issuer) -> None:
    host = own.url.removeprefix("http://")
    named = own.url.replace("127.0.0.1", "127.0.0.2")
    provider = {"type": "customJwt", "issuer": "me", "jwks": f"{own.url}/jwks", "algorithm": "RS256"}
    # An issuer elsewhere that names an address of this machine, with and without leave.
    own.control(mode="elsewhere", target=f"{named}/jwks")

    async def main() -> None:
        async with signing_in(own.provider(), trusted=(host.replace("127.0.0.1", "127.0.0.2"),)) as sign_in:
            await refused(sign_in, own.token())
            assert "not https" not in sign_in.said[0]["reason"]  # it may be asked; nothing answers there
        own.control(mode="ok")
        async with signing_in(provider) as sign_in:
            assert (await sign_in.judge(own.token(iss="me"))).identity["tokenIdentifier"] == "me|ada"

    asyncio.run(main())
