"""Which web pages may talk to the backend's own port.

Browsers let any page open a WebSocket to 127.0.0.1, and a name that an attacker controls may point there too (DNS
rebinding). So pages are admitted by their ``Origin``: those of this machine when the backend listens on a loopback address,
of its own host name otherwise, and whatever ``--allow-origin`` names. Programs, which send no ``Origin``, are not concerned.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from nbreactive.errors import Refused


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class OriginPolicy:
    """Decides by ``Origin``, ``Host`` and the fetch metadata of a request.

    Parameters
    ----------
    listens_on
        The host that the backend is bound to.
    allowed
        Further origins, compared as a whole (``https://app.example.com``); ``*`` admits every page.
    """

    def __init__(self, listens_on: str, allowed: Iterable[str] = ()) -> None:
        self._loopback = is_loopback(listens_on)
        self._allowed = {origin.rstrip("/").lower() for origin in allowed}
        self._allowed_hosts = {urlsplit(origin).hostname for origin in self._allowed}
        self._any = "*" in self._allowed

    def check(self, headers: Mapping[str, str], websocket: bool = False) -> None:
        """Raise :class:`Refused` for a page that may not talk to us."""
        if self._any:
            return
        host = _host_of(headers.get("Host", ""))
        if self._loopback and not (is_loopback(host) or host in self._allowed_hosts):
            raise Refused(f"requests for the host {host[:100]!r} are not answered on a loopback address; {_FIX}")
        origin = headers.get("Origin")
        if origin is None:
            if headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
                raise Refused(f"requests from other sites are not answered; {_FIX}")
            if websocket and headers.get("User-Agent", "").startswith("Mozilla/"):
                raise Refused("a browser's WebSocket always has an Origin; this one has none")
        elif not self.admits(origin, host):
            raise Refused(f"pages of {origin[:100]!r} may not use this server; {_FIX}")

    def admits(self, origin: str, host: str) -> bool:
        """Whether pages of ``origin`` may talk to us, who were called by the name ``host``."""
        if self._any or origin.lower() in self._allowed:
            return True
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return False
        return is_loopback(parts.hostname) if self._loopback else parts.hostname == host


_FIX = "start it with --allow-origin ORIGIN to admit that page"


def _host_of(header: str) -> str:
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""
