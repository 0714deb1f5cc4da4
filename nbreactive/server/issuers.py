"""Asking issuers: small JSON documents over https, from addresses of the public Internet, in little time.

What an issuer's documents say is followed only that far: no redirects, no other schemes, no addresses of this machine's
own network, whatever name stands for them (they are looked at where the connection is made, so that a name cannot mean
one thing when it is checked and another when it is used). An issuer on this machine, named as such, is as good
(``http://127.0.0.1:...``); others are trusted by whoever runs the server (``--trust-issuer HOST``).
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
from collections.abc import Collection
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from tornado.httpclient import HTTPRequest
from tornado.netutil import DefaultLoopResolver
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from nbreactive.errors import InvalidValue, Unavailable
from nbreactive.functions.auth_config import check_url

SECONDS: Final = 5.0
LARGEST: Final = 256 << 10
_MAX_AGE: Final = re.compile(r"(?:^|[\s,])max-age=(\d{1,9})(?:$|[\s,])", re.IGNORECASE)
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


class Document(NamedTuple):
    """What an issuer has answered."""

    data: dict[str, Any]
    max_age: float | None
    """For how long it may be kept, seconds."""


class Issuers:
    """Fetches documents of issuers.

    Parameters
    ----------
    trusted
        Hosts, ``name`` or ``name:port``, which may be asked over http and at private addresses.
    """

    def __init__(self, trusted: Collection[str] = ()) -> None:
        self._trusted = frozenset(host.lower() for host in trusted)

    async def fetch(self, url: str, home: str) -> Document:
        """Fetch a document.

        Parameters
        ----------
        url
            Where it is.
        home
            The address in ``auth_config`` that it belongs to: what that one may, others at its host may as well.

        Raises
        ------
        Unavailable
            There is no answer that could be used; the message says why.
        """
        try:
            check_url(url, "its address")
        except InvalidValue as error:
            raise Unavailable(error.message) from None
        parts = urlsplit(url)
        private = self._may_be_private(url, home)
        if parts.scheme != "https" and not private:
            raise Unavailable(
                f"{url:.200} is not https; whoever runs this server can allow it: --trust-issuer {parts.netloc}"
            )
        client = SimpleAsyncHTTPClient(
            force_instance=True,
            resolver=DefaultLoopResolver() if private else _PublicResolver(),
            max_body_size=LARGEST,
            max_header_size=16 << 10,
        )
        request = HTTPRequest(
            url,
            headers={"Accept": "application/json"},
            follow_redirects=False,
            decompress_response=False,
            connect_timeout=SECONDS,
            request_timeout=SECONDS,
            user_agent="nbreactive",
        )
        try:
            async with asyncio.timeout(2 * SECONDS):
                answer = await client.fetch(request, raise_error=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise Unavailable(f"{url:.200} cannot be asked: {error}"[:500]) from None
        except Exception as error:  # noqa: BLE001 - tornado raises many kinds; each is the reason
            raise Unavailable(f"{url:.200} cannot be asked: {error!r}"[:500]) from None
        finally:
            client.close()
        if answer.code != 200:
            raise Unavailable(f"{url:.200} answers {answer.code} {answer.error or ''}".strip()[:500])
        try:
            data = json.loads(answer.body)
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict):
            raise Unavailable(f"{url:.200} answers with something else than a JSON object")
        age = _MAX_AGE.search(answer.headers.get("Cache-Control", ""))
        return Document(data, float(age[1]) if age else None)

    def _may_be_private(self, url: str, home: str) -> bool:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        if host in self._trusted or f"{host}:{port}" in self._trusted:
            return True
        # An issuer that is configured as one of this machine may name addresses of its own, and no others here.
        return is_loopback(host) and urlsplit(home).hostname == host


class _PublicResolver(DefaultLoopResolver):
    """Finds public addresses only."""

    async def resolve(self, host: str, port: int, family: Any = 0) -> list[tuple[int, Any]]:
        """Find the addresses of a host; OSError if any of them is private."""
        found = await super().resolve(host, port, family)
        for _, address in found:
            if not is_public(address[0]):
                raise OSError(f"it is at the private address {address[0]} (--trust-issuer {host} allows that)")
        return found


def is_public(address: str) -> bool:
    """Tell whether an address is one of the public Internet.

    Examples
    --------
    >>> [is_public(each) for each in ("1.1.1.1", "169.254.169.254", "10.0.0.1", "::1", "::ffff:127.0.0.1")]
    [True, False, False, False, False]
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = (
            ip.ipv4_mapped or ip.sixtofour or (ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None)
        )
        if inner is not None:
            ip = inner
    return ip.is_global and not ip.is_multicast


def is_loopback(host: str) -> bool:
    """Tell whether a host's name is one of this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
