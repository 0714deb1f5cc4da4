"""The live table: an anywidget that shows what a live query has now, and how it stands.

Python sends whole tables as traits (at most 30 a second, always the newest); the front end paints them as text. One
widget is made per display; it holds the query while it is on a page.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from nbreactive.client import threads
from nbreactive.client.live_frame import LiveFrame
from nbreactive.client.live_value import LiveValue
from nbreactive.client.paginated import PaginatedQuery
from nbreactive.errors import NBReactiveError
from nbreactive.notebook.cells import safe_text, table_of
from nbreactive.notebook.frame_table import frame_of, source_of, view_rows
from nbreactive.notebook.frame_window import FrameWindow
from nbreactive.notebook.lifecycle import cells
from nbreactive.notebook.settings import settings

STATIC = Path(__file__).parent.parent / "static"
UNSEEN = 30.0
"""Seconds after which a view that is on no page any more lets go of its query."""
_open: set[TableView] = set()


class FrontEndMissingError(NBReactiveError):
    """The front end was not built."""

    code = "FrontEndMissing"


@cache
def _widget_class(static: Path) -> type[Any]:
    """Make the widget's class; it needs the built front end, so it is made at the first display."""
    script, style = static / "live_table.js", static / "live_table.css"
    if not script.is_file():
        raise FrontEndMissingError(
            f"The live table's front end is missing: {script} does not exist. In a checkout run `./dev build`; "
            "an installed package should contain it: reinstall nbreactive."
        )

    class LiveTable(anywidget.AnyWidget):
        # texts, not paths: anywidget watches files, and what watches a file is never collected
        _esm = traitlets.Unicode(script.read_text(encoding="utf-8")).tag(sync=True)
        _css = traitlets.Unicode(style.read_text(encoding="utf-8") if style.is_file() else "").tag(sync=True)
        table = traitlets.Dict({"columns": [], "rows": [], "total": 0}).tag(sync=True)
        status = traitlets.Unicode("loading").tag(sync=True)
        message = traitlets.Unicode("").tag(sync=True)
        title = traitlets.Unicode("").tag(sync=True)
        badge = traitlets.Unicode("").tag(sync=True)
        dimmed = traitlets.Bool(False).tag(sync=True)
        more = traitlets.Unicode("").tag(sync=True)
        files = traitlets.Dict({"mount": "", "url": ""}).tag(sync=True)
        updated = traitlets.Float(0.0).tag(sync=True)
        frame = traitlets.Dict().tag(sync=True)
        source = traitlets.Dict().tag(sync=True)
        window = traitlets.Dict().tag(sync=True)

    return LiveTable


class TableView:
    """One display of a live query."""

    def __init__(self, live: LiveValue) -> None:
        self.live: LiveValue | None = live
        self._asleep: Callable[[], LiveValue] | None = None
        self._shown: Any = _NOTHING
        self._total: int | None = None
        self._window: FrameWindow | None = None
        self._painted = 0.0
        self.display_id = ""
        """Of the output that it was shown in."""
        self.saved: Any = None
        """The value that this output has been saved with."""
        self.seen = False
        """Whether a page has ever shown it."""
        self._lock = threading.Lock()
        self.widget: Any = _widget_class(STATIC)(**self._state(live), files=live.place)
        self.widget.on_msg(self._heard)
        live.watch(self._changed)
        threads.callbacks().post(("first", id(self)), self._changed)  # what came before anybody watched
        _open.add(self)
        self._forget = cells.own(self.close)

    @property
    def closed(self) -> bool:
        """Whether the view has ended."""
        return self.live is None and self._asleep is None

    def close(self) -> None:
        """End the view: it keeps its last rows and says that it is closed."""
        if self.closed:
            return
        live, self.live, self._asleep = self.live, None, None
        if live is not None:
            live.unwatch(self._changed)
        self._close_window()
        for key in ("first", "view", "unseen", "seen", "window"):
            threads.callbacks().forget((key, id(self)))
        _open.discard(self)
        self._forget()
        with self._lock:
            self.widget.status = "closed"
            self.widget.more = ""
            self.widget.close()

    def _state(self, live: LiveValue) -> dict[str, Any]:
        state: dict[str, Any] = {
            "status": live.state,
            "message": safe_text(message_of(live), 2000),
            "title": safe_text(live.title),
            "badge": badge_of(live),
            "dimmed": live.dimmed,
            "more": live.more,
        }
        value, total = live.value, live.total
        frame = live if isinstance(live, LiveFrame) else None
        rows = view_rows(frame, settings.view_rows) if frame is not None else settings.view_rows
        if value is not self._shown or total != self._total:
            self._shown, self._total = value, total
            if frame is not None:
                state["frame"] = frame_of(frame, rows)
            else:
                state["table"] = table_of(value, live.columns, rows, total, live.moments)
            state["updated"] = time.time() * 1000
        if frame is not None:
            state["source"] = source_of(frame, min(rows, len(frame.result.rows)))
        return state

    def _changed(self) -> None:
        """Paint now, or as soon as the last painting is old enough (nbreactive thread)."""
        wait = self._painted + 1 / settings.updates_per_second - time.monotonic()
        if wait <= 0:
            self._paint()
        else:
            threads.callbacks().post_later(wait, ("view", id(self)), self._paint, settles=True)

    def _paint(self) -> None:
        live = self.live
        if live is None:
            return
        with self._lock:
            self._painted = time.monotonic()
            state = self._state(live)
            with self.widget.hold_sync():
                for name, value in state.items():
                    setattr(self.widget, name, value)
        if live.closed:
            live.unwatch(self._changed)
            _open.discard(self)

    def _heard(self, _widget: Any, content: Any, _buffers: Any) -> None:
        """The front end says on how many places the view is, or wants more rows; runs on any thread, so it only takes notes."""
        if not isinstance(content, dict):
            return
        live = self.live
        if content.get("type") == "more" and isinstance(live, PaginatedQuery):
            live.load_more(wait=False)
        if content.get("type") == "window" and isinstance(live, LiveFrame):
            threads.callbacks().post(("window", id(self)), lambda: self._look_at(live, content))
        if content.get("type") != "views":
            return
        self.seen = True
        callbacks = threads.callbacks()
        if content.get("count") == 0:
            callbacks.post_later(UNSEEN, ("unseen", id(self)), self._sleep)
        else:
            callbacks.forget(("unseen", id(self)))
            callbacks.post(("seen", id(self)), self._wake)

    def _look_at(self, live: LiveFrame, wish: dict[str, Any]) -> None:
        """A page that cannot ask by itself wants other rows of a large result (nbreactive thread)."""
        before = self._window
        if not self.closed:
            self._window = FrameWindow.of(live, wish, self._send_window)
        if before is not None:
            before.close()

    def _send_window(self, window: dict[str, Any]) -> None:
        with self._lock:
            self.widget.window = window

    def _close_window(self) -> None:
        window, self._window = self._window, None
        if window is not None:
            window.close()

    def _sleep(self) -> None:
        """Let go of the query: its output was cleared, or its notebook closed (nbreactive thread)."""
        live, self.live = self.live, None
        self._close_window()
        if live is not None:
            live.unwatch(self._changed)
            self._asleep = live.recipe()
            self.widget.status = "loading"

    def _wake(self) -> None:
        """Somebody looks again (nbreactive thread)."""
        again, self._asleep = self._asleep, None
        if again is not None:
            self.live = live = again()
            live.watch(self._changed)
            self._changed()


_NOTHING = object()


def open_views() -> list[TableView]:
    """Return the views that are on a page."""
    return list(_open)


def message_of(live: LiveValue) -> str:
    """Return what is wrong with a live query, in words."""
    if live.error is not None:
        return f"{type(live.error).__name__}: {live.error}"
    return live.message


def badge_of(live: LiveValue) -> str:
    """Return the note about whose rows these are."""
    return "only what you may see" if live.identity_read else ""
