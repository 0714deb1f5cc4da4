"""What is known about the program at the other end, and how it wants to be spoken to."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

Family = Literal["npm", "python", "other"]

_VERSION = re.compile(r"(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?")


class ClientProgram(msgspec.Struct, frozen=True):
    """Family and version, from the URL (browsers cannot set headers) or from ``Convex-Client``."""

    family: Family
    version: tuple[int, int, int] = (0, 0, 0)

    @property
    def takes_fatal_error(self) -> bool:
        """Clients from npm stop for good on FatalError; the others reconnect for ever."""
        return self.family == "npm"

    @property
    def takes_chunks(self) -> bool:
        """Clients from npm, since version 1.28, put TransitionChunks together; to others they are a protocol error."""
        return self.family == "npm" and self.version >= (1, 28, 0)

    @property
    def wants_encoded_json(self) -> bool:
        """Very old clients expect ``convex_encoded_json`` without asking for it."""
        return (self.family == "npm" and self.version <= (1, 4, 1)) or (
            self.family == "python" and self.version <= (0, 5, 0)
        )


def identify(url_version: str | None, header: str | None) -> ClientProgram:
    """Recognise a client.

    Examples
    --------
    >>> identify("1.48.0", None).takes_chunks
    True
    >>> identify(None, "python-0.8.1").family
    'python'
    """
    if url_version:
        return ClientProgram("npm", _version(url_version))
    family, _, version = (header or "").partition("-")
    if version and family in ("npm", "python"):
        return ClientProgram("npm" if family == "npm" else "python", _version(version))
    return ClientProgram("other")


def _version(text: str) -> tuple[int, int, int]:
    found = _VERSION.match(text)
    if not found:
        return (0, 0, 0)
    major, minor, patch = found.groups("0")
    return int(major), int(minor), int(patch)
