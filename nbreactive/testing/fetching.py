"""HTTP requests of tests, and what HTTP actions answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nbreactive.runtime.frames import RequestHead


@dataclass(frozen=True)
class Fetched:
    """The response of an HTTP action.

    Attributes
    ----------
    status, headers, body
        As they would be sent; the names of headers are in lower case.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8")

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Exchange:
    """Between one request, which is there as a whole, and the action that answers it."""

    def __init__(self, head: RequestHead, body: bytes) -> None:
        self.head = head
        self._request = body
        self._status = 200
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._took: Callable[[int], None] = lambda _size: None

    def opened(
        self,
        send: Callable[[bytes, bool], None],
        took: Callable[[int], None],
        stop: Callable[[], None],  # noqa: ARG002
    ) -> None:
        """Give the action its request."""
        self._took = took
        send(self._request, True)

    def received_head(self, status: int, headers: list[tuple[str, str]]) -> None:
        """Take the beginning of the response."""
        self._status = status
        for name, value in headers:
            key = name.lower()
            self._headers[key] = f"{self._headers[key]}, {value}" if key in self._headers else value

    def received(self, data: bytes, end: bool) -> None:  # noqa: ARG002 - all of it is there when the action has ended
        """Take a piece of the response."""
        self._body += data
        self._took(len(data))

    def taken(self, size: int) -> None:
        """The action has read so much; all of it is there already."""

    @property
    def fetched(self) -> Fetched:
        """The whole response."""
        return Fetched(self._status, self._headers, bytes(self._body))


def request_parts(
    path: str, method: str, body: str | bytes | None, json_body: Any, headers: Mapping[str, str]
) -> tuple[RequestHead, bytes]:
    """Return what a client would send."""
    fields = {name.lower(): value for name, value in headers.items()}
    if json_body is not None:
        body = json.dumps(json_body)
        fields.setdefault("content-type", "application/json")
    data = body.encode() if isinstance(body, str) else body or b""
    if data:
        fields.setdefault("content-length", str(len(data)))
    fields.setdefault("host", "test")
    head = RequestHead(method.upper(), f"http://test{path}", path.partition("?")[0], list(fields.items()))
    return head, data
