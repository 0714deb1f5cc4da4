"""Telling somebody how something ended, in the moment in which that is certain."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TypeVar

End = TypeVar("End")

_log = logging.getLogger("nbreactive.engine")


def tell(told: Callable[[End], object], end: End) -> None:
    """Call ``told``; what goes wrong with one answer must keep nobody from the others, nor the teller from its work."""
    try:
        told(end)
    except Exception:  # noqa: BLE001 - whatever it is, the others are told
        _log.exception("an answer could not be given")


def end_of(future: asyncio.Future[End]) -> Callable[[End | BaseException], None]:
    """Return what gives a future the end of something: a result, or an error that is raised where it is awaited."""

    def ended(end: End | BaseException) -> None:
        if future.done():  # Whoever asked may be gone.
            return
        if isinstance(end, asyncio.CancelledError):
            future.cancel()
        elif isinstance(end, BaseException):
            future.set_exception(end)
        else:
            future.set_result(end)

    return ended
