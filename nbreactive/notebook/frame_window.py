"""A window of a large result, by way of the kernel: for pages which cannot ask the backend themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nbreactive.client.live_frame import LiveFrame
from nbreactive.values.json import to_jsonable

MOST = 1000
"""Rows of a window."""


class FrameWindow:
    """Some rows of a live result, told to a page whenever they change."""

    def __init__(self, frame: LiveFrame, offset: int, limit: int, tell: Callable[[dict[str, Any]], None]) -> None:
        self._offset, self._limit, self._tell = offset, limit, tell
        self._told: Any = None
        self._live = frame.window(offset, limit)
        self._live.watch(self._changed)
        self._changed()

    @classmethod
    def of(cls, frame: LiveFrame, wish: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> FrameWindow | None:
        """Return the window that a page asked for; None if what it said makes no sense."""
        offset, limit = wish.get("offset"), wish.get("limit")
        if type(offset) is not int or type(limit) is not int or offset < 0 or not 0 < limit <= MOST or frame.closed:
            return None
        return cls(frame, offset, limit, tell)

    def close(self) -> None:
        """Follow these rows no longer."""
        self._live.unwatch(self._changed)
        self._live.close()

    def _changed(self) -> None:
        """Tell what is new (nbreactive thread)."""
        value = self._live.value
        if value is None or value is self._told:
            return
        self._told = value
        self._tell({**to_jsonable(value), "offset": self._offset, "limit": self._limit})
