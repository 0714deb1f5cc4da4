from __future__ import annotations

import base64
import json

import pytest
from tornado.httputil import HTTPHeaders

from nbreactive.errors import Refused
from nbreactive.server.identity import ALL_ROLES, Gatekeeper


def vouch(secret: str = "s3cret", **who: object) -> HTTPHeaders:
    data = base64.urlsafe_b64encode(json.dumps(who).encode()).decode().rstrip("=")
    return HTTPHeaders({"X-NBReactive-Proxy": secret, "X-NBReactive-Identity": data})


GATE = Gatekeeper("key", "s3cret")


def test_the_extension_vouches_for_users() -> None:
    caller = GATE.from_headers(
        vouch(subject="ada", name="Ada", issuer="jupyter", via="kernel", roles=["read", "deploy"])
    )
    assert caller.identity == {
        "tokenIdentifier": "jupyter|ada",
        "subject": "ada",
        "name": "Ada",
        "issuer": "jupyter",
        "via": "kernel",
    }
    assert caller.reach == "system" and caller.label == "ada"
    caller.require("read")
    with pytest.raises(Refused, match="role 'write'"):
        caller.require("write")


@pytest.mark.parametrize(
    "headers",
    [
        vouch("wrong", subject="ada", roles=["admin"]),
        vouch("", subject="ada", roles=["admin"]),
        vouch("s3cret ", subject="ada", roles=["admin"]),
        vouch("\u00e9", subject="ada", roles=["admin"]),
        HTTPHeaders({"X-NBReactive-Identity": "e30"}),
        HTTPHeaders({"X-NBReactive-Proxy": "s3cret"}),
        HTTPHeaders({"X-NBReactive-Proxy": "s3cret", "X-NBReactive-Identity": "%%%"}),
        vouch(subject="", roles=["read"]),
        vouch(subject="ada"),
        vouch(subject="ada", roles=["root"]),
        vouch(subject=5, roles=["read"]),
    ],
)
def test_identities_that_nobody_vouches_for_are_refused(headers: HTTPHeaders) -> None:
    with pytest.raises(Refused):
        GATE.from_headers(headers)


def test_without_a_secret_no_header_vouches() -> None:
    with pytest.raises(Refused):
        Gatekeeper("key").from_headers(vouch("", subject="ada", roles=["admin"]))


def test_admin_key_and_anonymous() -> None:
    assert GATE.from_headers(HTTPHeaders({"Authorization": "Convex key"})).roles == ALL_ROLES
    assert GATE.from_headers(HTTPHeaders()).reach == "public"
    for wrong in ("Convex kez", "Convex ", "Convex key2", "Convex k\u00e9y"):
        with pytest.raises(Refused):
            GATE.from_headers(HTTPHeaders({"Authorization": wrong}))
    with pytest.raises(Refused):
        Gatekeeper(None).from_headers(HTTPHeaders({"Authorization": "Convex "}))


def test_whose_session_has_ended_is_nobody_with_the_roles_of_the_door_at_most() -> None:
    door = GATE.from_headers(vouch(subject="ada", roles=["read", "deploy"]))
    nobody = GATE.signed_out(door)
    assert (nobody.identity, nobody.roles, nobody.reach) == (None, {"read"}, "public")
    assert GATE.signed_out(GATE.from_admin_key("key")).roles == {"read", "write"}
    assert GATE.signed_out(GATE.nobody()) == GATE.nobody()


def test_requiring_credentials() -> None:
    gate = Gatekeeper("key", None, require_auth=True)
    with pytest.raises(Refused, match="--require-auth"):
        gate.from_headers(HTTPHeaders())
    assert gate.from_headers(HTTPHeaders({"Authorization": "Convex key"})).label == "admin key"
