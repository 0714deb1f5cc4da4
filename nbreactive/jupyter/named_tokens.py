"""An identity provider for small teams, demonstrations and tests: each token is a person.

::

    c.ServerApp.identity_provider_class = "nbreactive.jupyter.named_tokens.NamedTokens"
    c.NamedTokens.people = {"a long random token": "Alice", "another one": "Bob"}

Everybody opens the server with their own ``?token=``. The token of the server itself is embedded in Jupyter's pages
and sent along by them, so it names nobody here, except for kernels, which act for the owner of the server.
"""

from __future__ import annotations

import hmac
from typing import Literal

from jupyter_server.auth.identity import IdentityProvider, User
from jupyter_server.base.handlers import JupyterHandler
from tornado import web
from traitlets import Dict, Unicode

from nbreactive.jupyter.identity import VIA_HEADER


class NamedTokens(IdentityProvider):
    """Tokens to people."""

    people = Dict(
        key_trait=Unicode(), value_trait=Unicode(), config=True, help="Token to the name of the person who holds it."
    )

    @property
    def auth_enabled(self) -> Literal[True]:
        """Always: without a known token or a cookie from one, nobody gets in."""
        return True

    async def get_user_token(self, handler: web.RequestHandler) -> User | None:
        """The person whose token this request bears, if any."""
        assert isinstance(handler, JupyterHandler)
        given = self.get_token(handler) or ""
        for token, name in self.people.items():
            if token and _same(given, token):
                return User(username=name.lower(), name=name, display_name=name)
        if self.token and _same(given, self.token) and handler.request.headers.get(VIA_HEADER) == "kernel":
            return User(username="owner", name="owner", display_name="Owner of this server")
        return None


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())
