"""The admin API of keys: ``/api/admin/keys`` lists and makes them, ``/api/admin/keys/revoke`` revokes them."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from nbreactive.server._handler import SiteHandler
from nbreactive.server.keys import Keys
from nbreactive.server.site import Site


class KeyHolder(Protocol):
    """What these doors ask of the backend."""

    @property
    def keys(self) -> Keys:
        """The keys of the deployment."""
        ...


class NewKey(msgspec.Struct):
    """What a key is for, and what it may do."""

    name: str
    roles: list[str]


class RevokedKey(msgspec.Struct):
    """Which key, by its id or its name."""

    key: str


class KeyHandler(SiteHandler):
    """Base: a caller with the role ``admin``."""

    def initialize(self, site: Site, backend: KeyHolder) -> None:  # type: ignore[override]
        """Take what handlers share."""
        super().initialize(site)
        self.keys = backend.keys

    async def prepare(self) -> None:
        """Judge the request, and the caller."""
        await super().prepare()
        if self.request.method != "OPTIONS":
            self.caller.require("admin")

    def by(self) -> str:
        """Who is asking, for the list and the log."""
        identity = self.caller.identity or {}
        return str(identity.get("name") or identity.get("subject") or self.caller.label)


class KeysHandler(KeyHandler):
    """``/api/admin/keys``."""

    def get(self) -> None:
        """List keys, without what they are."""
        self.answer({"keys": [key.summary() for key in self.keys.list()]})

    def post(self) -> None:
        """Make one; this answer is the only place where it is shown."""
        body = self.body(NewKey)
        key, secret = self.keys.create(body.name, body.roles, self.by())
        self.site.logs.event("key created", id=key.id, key_name=key.name, roles=list(key.roles), author=self.by())
        self.answer(key.summary() | {"key": secret})


class RevokeHandler(KeyHandler):
    """``POST /api/admin/keys/revoke``."""

    def post(self) -> None:
        """Revoke one, also for connections that it has opened."""
        key = self.keys.revoke(self.body(RevokedKey).key)
        self.site.logs.event("key revoked", id=key.id, key_name=key.name, author=self.by())
        self.answer(key.summary())


ROUTES: list[tuple[str, Any]] = [
    (r"/api/admin/keys", KeysHandler),
    (r"/api/admin/keys/revoke", RevokeHandler),
]
