"""What somebody may do here, by their scopes on the Hub."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

ROLES: Final = ("read", "write", "deploy", "admin")
"""Each has those before it."""


def roles_of(scopes: Collection[str], service: str, deployment: str) -> list[str]:
    """Return the roles at a deployment of a service.

    ``custom:nbreactive:write`` gives a role at all deployments, ``custom:nbreactive:write:staging`` at that one; either may be
    for one service only, as ``custom:nbreactive:write!service=team``.

    Examples
    --------
    >>> roles_of(["custom:nbreactive:write"], "nbreactive", "default")
    ['read', 'write']
    >>> roles_of(["custom:nbreactive:deploy:staging!service=team"], "team", "staging")
    ['read', 'write', 'deploy']
    >>> roles_of(["custom:nbreactive:deploy:staging!service=team"], "team", "default")
    []
    """
    for most in range(len(ROLES), 0, -1):
        scope = f"custom:nbreactive:{ROLES[most - 1]}"
        names = (scope, f"{scope}:{deployment}")
        if any(found in scopes for name in names for found in (name, f"{name}!service={service}")):
            return list(ROLES[:most])
    return []


def identity_of(user: dict[str, Any]) -> dict[str, Any]:
    """Describe a user, or a service, of the Hub in the words of the backend.

    Examples
    --------
    >>> identity_of({"kind": "user", "name": "alice", "groups": ["team"]})
    {'subject': 'alice', 'name': 'alice', 'issuer': 'jupyterhub', 'groups': ['team']}
    >>> identity_of({"kind": "service", "name": "alice"})["subject"]
    'services/alice'
    """
    name = user["name"]
    said = user.get("user_info") or {}
    # No name of a user has a slash in it: a service is never taken for one.
    subject = name if user.get("kind", "user") == "user" else f"services/{name}"
    identity = {
        "subject": subject,
        "name": said.get("display_name") or said.get("name") or name,
        "issuer": "jupyterhub",
    }
    return identity | ({"groups": sorted(user["groups"])} if user.get("groups") else {})
