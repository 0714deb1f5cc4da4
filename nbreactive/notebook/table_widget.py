"""The live table: an anywidget that shows what a live query has now, and how it stands.

Python sends a table once, as a trait, and then what has changed (at most 30 times a second, and of very many rows less often);
the front end paints it as text. One widget is made per display; it holds the query while it is on a page.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from nbreactive.client import threads
from nbreactive.client.live_frame import LiveFrame
from nbreactive.client.live_value import LiveValue
from nbreactive.client.paginated import PaginatedQuery
from nbreactive.errors import NBReactiveError
from nbreactive.notebook.cells import safe_text
from nbreactive.notebook.frame_table import frame_of, source_of, view_rows
from nbreactive.notebook.frame_window import FrameWindow
from nbreactive.notebook.lifecycle import cells
from nbreactive.notebook.settings import settings
from nbreactive.notebook.table_rows import TableRows
from nbreactive.values.json import from_jsonable

if TYPE_CHECKING:
    from nbreactive.notebook.live_table import LiveTable

STATIC = Path(__file__).parent.parent / "static"
UNSEEN = 30.0
"""Seconds after which a view that is on no page any more lets go of its query."""
_FRAME = 1000
"""Rows of a result of SQL that a page is given whole; of larger ones it asks for those that are looked at."""
_REST = 3
"""How much longer than painting the time between two paintings is: a view never takes more than a quarter of a core."""
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
        options = traitlets.Dict().tag(sync=True)
        selected = traitlets.List().tag(sync=True)

    return LiveTable


class TableView:
    """One display of a live query."""

    def __init__(self, live: LiveValue, table: LiveTable | None = None) -> None:
        self.live: LiveValue | None = live
        self._table = table
        self._rows = TableRows()
        self._change: dict[str, Any] | None = None
        self._cost = 0.0
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
        given = {"options": table.options(), "selected": table.selected} if table is not None else {}
        self.widget: Any = _widget_class(STATIC)(**self._state(live), **given, files=live.place)
        self.widget.on_msg(self._heard)
        if table is not None:
            table.attach(self)
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
        if self._table is not None:
            self._table.detach(self)
        for key in ("first", "view", "unseen", "seen", "window", "again"):
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
        rows = settings.table_rows
        if frame is not None:
            rows = view_rows(frame, rows if frame.closed or frame.at else min(rows, _FRAME))
        if value is not self._shown or total != self._total:
            self._shown, self._total = value, total
            if frame is not None:
                state["frame"] = frame_of(frame, rows)
            else:
                whole, self._change = self._rows.take(value, live.columns, rows, total, live.declared)
                if whole is not None:
                    state["table"] = whole
            state["updated"] = time.time() * 1000
        if frame is not None:
            state["source"] = source_of(frame, min(rows, len(frame.result.rows)))
        return state

    def _changed(self) -> None:
        """Paint now, or as soon as the last painting is old enough (nbreactive thread)."""
        wait = self._painted + max(1 / settings.updates_per_second, _REST * self._cost) - time.monotonic()
        if wait <= 0:
            self._paint()
        else:
            threads.callbacks().post_later(wait, ("view", id(self)), self._paint, settles=True)

    def _paint(self) -> None:
        live = self.live
        if live is None:
            return
        with self._lock:
            begun = time.monotonic()
            state = self._state(live)
            with self.widget.hold_sync():
                for name, value in state.items():
                    setattr(self.widget, name, value)
            change, self._change = self._change, None
            if change is not None:
                # whoever asks for the state gets all rows, but nobody is sent them who has the others
                self.widget._trait_values["table"] = self._rows.table  # noqa: SLF001
                self.widget.send({"type": "rows", **change})
            self._painted = time.monotonic()
            self._cost = self._painted - begun
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
        if content.get("type") == "call" and live is not None:
            self._edit(live, content)
        if content.get("type") == "again":
            threads.callbacks().post(("again", id(self)), lambda: self._again(None))
        if content.get("type") != "views":
            return
        if "version" in content:
            threads.callbacks().post(("again", id(self)), lambda: self._again(content["version"]))
        self.seen = True
        callbacks = threads.callbacks()
        if content.get("count") == 0:
            callbacks.post_later(UNSEEN, ("unseen", id(self)), self._sleep)
        else:
            callbacks.forget(("unseen", id(self)))
            callbacks.post(("seen", id(self)), self._wake)

    def _again(self, version: Any) -> None:
        """A page says which rows it has: it may have missed a change while it was loaded (nbreactive thread)."""
        with self._lock:
            known = self.widget.table.get("version")
            if not self.closed and known is not None and version != known:
                self.widget.send_state("table")

    def select(self, keys: list[Any]) -> None:
        """Show these rows as selected."""
        with self._lock:
            if self.widget.selected != keys:
                self.widget.selected = keys

    def _edit(self, live: LiveValue, wish: dict[str, Any]) -> None:
        """Edit a cell for a page that has no way to the backend (any thread)."""
        from nbreactive.notebook.front_end import call_for_page
        from nbreactive.notebook.table_edit import run_for_page

        edit = self._table.editing if self._table is not None else None
        number, document, field = wish.get("id"), wish.get("document"), wish.get("field")
        if edit is None or not isinstance(number, str) or not isinstance(document, str) or not isinstance(field, str):
            return
        if field not in edit.fields and "*" not in edit.fields:
            return
        args, work = edit.args(document, field, wish.get("value")), edit.work
        if work is None:
            client = live._client  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            call_for_page(self.widget, client, edit.path, args, number)
        else:
            run_for_page(self.widget, work, from_jsonable(args), number)

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
