"""Where a backend is and how to speak to it: address, credentials, cookies."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from http.cookies import CookieError, SimpleCookie
from typing import Any, Literal
from urllib.parse import quote

import msgspec
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.httputil import HTTPHeaders

from nbreactive.errors import NBReactiveError, NotConnected, Refused, from_wire

Kind = Literal["jupyter", "backend", "standalone"]
_MAX_BODY = 1 << 30


@dataclass
class Target:
    """One deployment, as this process reaches it.

    ``base`` is what every path is appended to (no slash at its end). The cookies a server sets are kept, for a
    Jupyter server makes a new anonymous user of every request that brings none.
    """

    base: str
    kind: Kind = "backend"
    headers: dict[str, str] = field(default_factory=dict[str, str])
    label: str = ""
    data: str = ""
    cookies: dict[str, str] = field(default_factory=dict[str, str])
    bearer: str = ""
    """The token of who has signed in, for requests that bring no other credentials; the connection says it itself."""
    health: dict[str, Any] = field(default_factory=dict[str, Any])

    async def named(self, deployment: str | None, health: str, within: float) -> Target:
        """Return the deployment of that name at the same place (None: this one); ``health`` says whether it is well.

        Raises
        ------
        NotConnected
            There is none of that name.
        """
        mine = self.health.get("deployment", "default")
        if not deployment or deployment == mine:
            return self
        known = self.health.get("deployments", [mine])
        if deployment not in known:
            raise NotConnected(
                f"{self.label or self.base} has no deployment {deployment!r}; it has: {', '.join(known)}. Others are begun"
                " where the server is started: NBReactiveApp.deployments in Jupyter, --also with nbreactive serve."
            )
        data = f"{self.data}-{deployment}" if self.data else ""
        found = replace(self, base=f"{self.base}/{quote(deployment, safe='')}", data=data)
        found.health = await found.fetch_json("GET", health, within=within)
        return found

    @property
    def sync_url(self) -> str:
        """Address of the WebSocket."""
        return "ws" + self.base.removeprefix("http") + "/api/sync"

    def http_url(self, path: str) -> str:
        """Return the address of an HTTP action.

        Examples
        --------
        >>> Target("http://h/user/al/nbreactive", "jupyter").http_url("/hook")
        'http://h/user/al/nbreactive/http/hook'
        """
        return f"{self.base}/http/{path.removeprefix('/')}"

    def http_headers(self) -> dict[str, str]:
        """Return the headers without which a server before the backend lets nobody through to an HTTP action.

        A backend's admin key is none of them: what reaches a backend itself reaches the action.
        """
        token = self.headers.get("Authorization") if self.kind == "jupyter" else None
        return {"Authorization": token} if token else {}

    def request_headers(self) -> HTTPHeaders:
        """Headers of a request or of a WebSocket handshake."""
        headers = HTTPHeaders(self.headers)
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return headers

    def keep_cookies(self, headers: HTTPHeaders) -> None:
        """Remember the cookies of an answer."""
        for line in headers.get_list("Set-Cookie"):
            jar: SimpleCookie = SimpleCookie()
            try:
                jar.load(line)
            except CookieError:
                continue
            for name, morsel in jar.items():
                self.cookies[name] = morsel.coded_value

    async def fetch(
        self, method: str, path: str, body: Any = None, *, within: float = 60.0, base: str | None = None
    ) -> bytes:
        """Send one HTTP request; errors of the backend come back as the exceptions they are."""
        headers = self.request_headers()
        if self.bearer and "Authorization" not in headers:
            headers["Authorization"] = f"Bearer {self.bearer}"
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = msgspec.json.encode(body)
        elif method == "POST":
            content = b""
        url = (self.base if base is None else base) + path
        request = HTTPRequest(
            url,
            method,
            headers,
            content,
            request_timeout=within,
            connect_timeout=min(within, 10.0),
            follow_redirects=False,
        )
        http = AsyncHTTPClient(force_instance=True, max_body_size=_MAX_BODY)
        try:
            answer = await http.fetch(request, raise_error=False)
        except OSError as failure:
            raise NotConnected(f"Nothing answers at {url}: {failure}") from None
        finally:
            http.close()
        self.keep_cookies(answer.headers)
        if answer.code == 599:
            raise NotConnected(f"No answer from {url}: {answer.error}")
        if answer.code >= 300:
            raise http_error(answer.code, answer.body, url)
        return answer.body

    async def fetch_json(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """Send one HTTP request and decode the answer."""
        answer = await self.fetch(method, path, body, **options)
        try:
            return msgspec.json.decode(answer)
        except msgspec.DecodeError:
            raise NotConnected(f"{self.base}{path} answered with something else than JSON: is it a backend?") from None


def http_error(status: int, body: bytes, url: str) -> NBReactiveError:
    """Return the error which an HTTP answer stands for."""
    try:
        said = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, msgspec.ValidationError):
        said = {}
    text = str(said.pop("message", ""))
    code = said.pop("code", None)
    if isinstance(code, str) and text:
        error = from_wire(code, text, **said)
        if type(error) is not NBReactiveError or status not in (401, 403):
            return error
    if status in (401, 403):
        return Refused(f"{url} refused this request ({status}{': ' if text else ''}{text}). Is the token right?")
    return NotConnected(f"{url} answered {status} {text}".rstrip())


def handshake_error(failure: Exception, url: str) -> NBReactiveError:
    """Return the error which a failed WebSocket handshake stands for."""
    if isinstance(failure, HTTPClientError) and failure.code in (401, 403):
        return Refused(f"{url} refused the connection ({failure.code}). Is the token right?")
    if isinstance(failure, RuntimeError) and "after" in str(failure) and "shutdown" in str(failure):
        # names are looked up in threads, and a process that ends starts none any more
        return NotConnected(f"The connection to {url} has ended, and this kernel is shutting down.")
    return NotConnected(f"No connection to {url}: {failure}")
