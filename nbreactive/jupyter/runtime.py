"""What the handlers of one Jupyter server share: its supervisor, its open connections, and who can see it all."""

from __future__ import annotations

import contextlib
import ipaddress
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from nbreactive.jupyter.named_tokens import NamedTokens
from nbreactive.jupyter.supervisor import Supervisor

RUNTIME_KEY = "nbreactive_runtime"


class Runtime:
    """The deployments of one Jupyter server; one backend has them all.

    Parameters
    ----------
    serverapp
        The Jupyter server.
    supervisor
        Keeps the backend.
    deployment
        The deployment that is meant where none is named.
    others
        Names of the others.
    """

    def __init__(self, serverapp: Any, supervisor: Supervisor, deployment: str, others: Iterable[str] = ()) -> None:
        self.supervisor = supervisor
        self.deployment = deployment
        self.deployments = (deployment, *others)
        self._serverapp = serverapp
        self._connections: set[object] = set()

    def base_of(self, name: str | None) -> str | None:
        """What addresses of a deployment begin with at the backend; None if there is no such deployment."""
        if name is None or name == self.deployment:
            return ""
        return f"{name}/" if name in self.deployments else None

    @property
    def connections(self) -> int:
        """How many live connections are open."""
        return len(self._connections)

    @contextlib.contextmanager
    def connected(self, connection: object) -> Iterator[None]:
        """Count ``connection`` as open."""
        self._connections.add(connection)
        try:
            yield
        finally:
            self._connections.discard(connection)

    def touch(self) -> None:
        """Something happened: a server in use is not to be culled."""
        times = self._serverapp.web_app.settings["last_activity_times"]
        times["nbreactive"] = datetime.now(UTC)

    def shared_with(self) -> str:
        """Who can see the deployment, in a few words for a status line."""
        provider = self._serverapp.identity_provider
        if os.environ.get("JUPYTERHUB_SERVICE_PREFIX"):
            who = "whom this server is shared with on the Hub"
        elif isinstance(provider, NamedTokens):
            who = ", ".join(sorted(provider.people.values())) or "nobody"
        elif not provider.auth_enabled:
            who = "everybody who can reach this server (it asks for no token)"
        elif _is_local(self._serverapp.ip):
            who = "nobody"
        else:
            who = "everybody who has the token of this server"
        if self.supervisor.state == "attached":
            who += "; another Jupyter server on the same data folder"
        return who


def _is_local(ip: str) -> bool:
    if ip == "localhost":
        return True
    try:
        return ipaddress.ip_address(ip).is_loopback
    except ValueError:
        return False
