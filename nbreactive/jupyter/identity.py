"""Who is asking, in the words of the backend.

Jupyter has authenticated the request already. What the backend hears is made of Jupyter's answer only: nothing that
the client says about itself is taken over, except that a holder of the token may say it is a kernel.

The rights follow Jupyter's authorizer, asked for the resource ``nbreactive``: ``read``, ``write`` and ``execute``
become the roles read, write and deploy (deployed functions are code that runs here), and ``execute`` on
``nbreactive:admin`` becomes admin. The default authorizer says yes to everybody who is signed in.
"""

from __future__ import annotations

import base64
import getpass
import json
import os
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from jupyter_core.utils import ensure_async

from nbreactive.jupyter.access import access_ends

if TYPE_CHECKING:  # takes a second and more
    from jupyter_server.base.handlers import JupyterHandler

RESOURCE = "nbreactive"
VIA_HEADER = "X-NBReactive-Via"

_ROLES = (
    ("read", "read", RESOURCE),
    ("write", "write", RESOURCE),
    ("deploy", "execute", RESOURCE),
    ("admin", "execute", f"{RESOURCE}:admin"),
)


async def identity_of(handler: JupyterHandler) -> dict[str, Any]:
    """Describe the user of an authenticated request.

    Returns
    -------
    dict
        ``subject``, ``name``, ``issuer``, ``roles``, ``ip``, ``groups`` on a Hub, and ``via`` for a kernel.
    """
    user = handler.current_user
    identity: dict[str, Any] = {
        "subject": user.username,
        "name": user.display_name or user.name or user.username,
        "issuer": "jupyterhub" if _on_hub() else "jupyter",
        "roles": [
            role
            for role, action, resource in _ROLES
            if await ensure_async(handler.authorizer.is_authorized(handler, user, action, resource))
        ],
    }
    groups = getattr(user, "hub_user", {}).get("groups")
    if groups:
        identity["groups"] = sorted(groups)
    if handler.request.remote_ip:
        identity["ip"] = handler.request.remote_ip
    if is_kernel(handler):
        identity["via"] = "kernel"
        if not _on_hub() and _uses_server_token(handler):
            # A token without a cookie is a new anonymous person on every request; behind a kernel stands whoever
            # started this server.
            identity |= {"subject": "owner", "name": _os_user()}
    return identity


def is_kernel(handler: JupyterHandler) -> bool:
    """Whether the request says that it comes from a kernel, and bears a token."""
    return handler.token_authenticated and handler.request.headers.get(VIA_HEADER) == "kernel"


def hub_access_ends(handler: JupyterHandler) -> Coroutine[None, None, None] | None:
    """Return what ends when the Hub says that the user of this request may no longer use this server.

    A server is shared on the Hub, and no longer shared, while it runs. None without a Hub: there, who is in is in.
    """
    auth = getattr(handler.identity_provider, "hub_auth", None)
    if auth is None:
        return None
    name = handler.current_user.username
    return access_ends(
        auth, handler, lambda user: user["name"] == name and bool(auth.check_scopes(auth.access_scopes, user))
    )


def encode_identity(identity: dict[str, Any]) -> str:
    """The value of the identity header: JSON in URL-safe base64."""
    return base64.urlsafe_b64encode(json.dumps(identity).encode()).decode("ascii")


def _uses_server_token(handler: JupyterHandler) -> bool:
    provider = handler.identity_provider
    return bool(provider.token) and provider.get_token(handler) == provider.token


def _on_hub() -> bool:
    return bool(os.environ.get("JUPYTERHUB_SERVICE_PREFIX"))


def _os_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without an entry for this user id
        return "owner"
