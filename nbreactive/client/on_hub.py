"""The service of a JupyterHub, as kernels of its users reach it."""

from __future__ import annotations

import os
from urllib.parse import urlsplit


def hub_token(base: str) -> str | None:
    """Return this server's token of the Hub, if ``base`` is where the admin says that a service of the Hub is.

    The token opens this very server, so it goes nowhere else: only to what ``NBREACTIVE_URL`` says, below ``services/``.
    """
    said = os.environ.get("NBREACTIVE_URL", "").rstrip("/")
    services = f"{os.environ.get('JUPYTERHUB_BASE_URL', '/')}services/"
    if not said or not urlsplit(said).path.startswith(services) or base != said:
        return None
    return os.environ.get("JUPYTERHUB_API_TOKEN") or None


def refusal(base: str) -> str:
    """Say why the service at ``base`` refuses this server's token."""
    who = os.environ.get("JUPYTERHUB_USER", "you")
    return (
        f"The Hub's service at {base} does not answer {who}: ask whoever runs the Hub for access to it. What was given after"
        " this server was started holds when the server has been started anew (Hub Control Panel)."
    )
