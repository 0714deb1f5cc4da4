"""Keeping a widget up to date with a live query, as long as a page shows it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from nbreactive.client import threads
from nbreactive.client.live_value import LiveValue
from nbreactive.notebook.lifecycle import cells
from nbreactive.notebook.settings import settings
from nbreactive.notebook.table_widget import UNSEEN

Live = TypeVar("Live", bound=LiveValue)


class Follower(Generic[Live]):
    """Paints a widget after every change of a live query; ends with the widget, or when its cell runs again.

    Parameters
    ----------
    widget
        The widget; its front end sends ``{type: "views", count}``.
    live
        The query, which is let go of while no page shows the widget.
    paint
        Sets what the widget shows; may return after how many seconds it is to be called again.
    heard
        Takes other messages of the front end, on whichever thread they come.
    """

    def __init__(
        self,
        widget: Any,
        live: Live,
        paint: Callable[[Live], float | None],
        heard: Callable[[Live, dict[str, Any]], object] | None = None,
    ) -> None:
        self._live: Live | None = live
        self._asleep: Callable[[], Any] | None = None
        self._paint_it = paint
        self._heard_it = heard
        self._painted = 0.0
        self._lock = threading.Lock()
        widget.on_msg(self._heard)
        live.watch(self._changed)
        self._paint()
        self._forget = cells.own(widget.close)

    def close(self) -> None:
        """Let go of the query."""
        live, self._live, self._asleep = self._live, None, None
        if live is not None:
            live.unwatch(self._changed)
        for key in ("follower", "follower later", "follower unseen", "follower seen"):
            threads.callbacks().forget((key, id(self)))
        self._forget()

    def _changed(self) -> None:
        """Paint now, or as soon as the last painting is old enough (nbreactive thread)."""
        wait = self._painted + 1 / settings.updates_per_second - time.monotonic()
        if wait <= 0:
            self._paint()
        else:
            threads.callbacks().post_later(wait, ("follower", id(self)), self._paint, settles=True)

    def _paint(self) -> None:
        live = self._live
        if live is None:
            return
        with self._lock:
            self._painted = time.monotonic()
            later = self._paint_it(live)
        if later is not None:
            threads.callbacks().post_later(later, ("follower later", id(self)), self._paint)

    def _heard(self, _widget: Any, content: Any, _buffers: Any) -> None:
        """The page says on how many places it is, or something else; any thread, so it only takes notes."""
        if not isinstance(content, dict):
            return
        live = self._live
        if content.get("type") != "views":
            if self._heard_it is not None and live is not None:
                self._heard_it(live, content)
            return
        callbacks = threads.callbacks()
        if content.get("count") == 0:
            callbacks.post_later(UNSEEN, ("follower unseen", id(self)), self._sleep)
        else:
            callbacks.forget(("follower unseen", id(self)))
            callbacks.post(("follower seen", id(self)), self._wake)

    def _sleep(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.unwatch(self._changed)
            self._asleep = live.recipe()

    def _wake(self) -> None:
        again, self._asleep = self._asleep, None
        if again is not None:
            self._live = live = again()
            live.watch(self._changed)
            self._changed()
