"""Where the tokens of a client come from, and when it is time for a new one."""

from __future__ import annotations

import asyncio
import base64
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from nbreactive.errors import ArgumentError

TokenSource = str | Callable[..., str | Awaitable[str | None] | None]
"""A token, or a function that gets one: ``fetch(force_refresh)``."""

_EARLY = 10.0
"""Seconds before the end of a token at which a new one is asked for."""
_LONGEST = 20 * 24 * 3600.0


class Credentials:
    """The tokens of one person.

    Parameters
    ----------
    source
        A token, or a function: called with ``force_refresh=True`` when the one that it has given is not good any more,
        if it takes that. It may block (it is called in a thread), or be asynchronous.
    """

    def __init__(self, source: TokenSource) -> None:
        if not (isinstance(source, str) and source) and not callable(source):
            raise ArgumentError(f"set_auth takes a token, or a function that gets one, not {source!r:.60}")
        self._source = source

    @property
    def renewable(self) -> bool:
        """Whether there can be another token."""
        return not isinstance(self._source, str)

    async def token(self, force: bool = False) -> str | None:
        """Get a token; None: nobody is signed in."""
        source = self._source
        if isinstance(source, str):
            return source
        options = {"force_refresh": force} if _takes_force(source) else {}
        if inspect.iscoroutinefunction(source):
            found: Any = await source(**options)
        else:
            found = await asyncio.to_thread(source, **options)
            if inspect.isawaitable(found):
                found = await found
        if found is not None and not isinstance(found, str):
            raise ArgumentError(f"the function given to set_auth returned {found!r:.60}; it returns a token, or None")
        return found or None


def _takes_force(function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
    return "force_refresh" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def seconds_left(token: str) -> float | None:
    """How long a token is good from now on, by what it says of itself, less a little; None: it does not say.

    Measured from when it was issued, so that the clock here need not be right.
    """
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims: Any = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        left = float(claims["exp"]) - float(claims["iat"])
    except (ValueError, TypeError, KeyError, msgspec.DecodeError):
        return None
    return min(max(left - min(_EARLY, left / 4), 0.5), _LONGEST) if left > 0 else None
