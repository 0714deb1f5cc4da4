"""``q.render(fn)``: anything that can be displayed, drawn again in place after every change.

A drawing runs on the nbreactive thread, the newest values only. Its result replaces the output of the same display id,
which works from any thread, in every page that shows the notebook, and is saved with it. Beside what was drawn the
bundle says how it stands (live, old because of an error, from which kernel): JupyterLab and Notebook show that, and put
a new drawing in the place of the old one only when it is complete, so that nothing flickers. A page that is loaded later
asks for the newest drawing through a widget that is never shown, the beacon.
"""

from __future__ import annotations

import html
import itertools
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

from nbreactive.client import threads
from nbreactive.client.live_value import LiveValue
from nbreactive.notebook import pyplot
from nbreactive.notebook.cells import safe_text
from nbreactive.notebook.errors_view import frames_text
from nbreactive.notebook.formats import Bundle, format_object, kernel_id
from nbreactive.notebook.lifecycle import cells

_log = logging.getLogger("nbreactive")
_keys = itertools.count()
_numbers = itertools.count(time.time_ns() // 1_000_000)  # drawings of another kernel have other numbers
FIRST_DRAWING = 20.0
"""Seconds a cell waits for its first drawing, so that Run All and nbconvert save it."""
_SHORTEST = 1 / 15
_PATIENCE = 0.2
"""Seconds after which a drawing whose new rows are awaited is dimmed: sooner would be flicker."""
DRAWING_MIME = "application/vnd.nbreactive.drawing.v1+json"
_open: set[RenderView] = set()


class Rendering:
    """A drawing of live queries; every display of it is a view that follows them."""

    def __init__(self, draw: Callable[[], Any], queries: Sequence[LiveValue]) -> None:
        self.draw = draw
        self.queries = list(queries)

    def _ipython_display_(self) -> None:
        view = RenderView(self)
        view.start()
        if not kernel_id():
            view.close()  # what a terminal has printed stays

    def _display_(self) -> Any:  # marimo asks so; it draws again when the cell runs again
        return self.draw()

    def __repr__(self) -> str:
        return f"<rendering of {', '.join(query.path for query in self.queries)}>"


class RenderView:
    """One display of a :class:`Rendering`."""

    def __init__(self, rendering: Rendering) -> None:
        self.rendering: Rendering | None = rendering
        self._id = uuid.uuid4().hex
        self._key = ("render", next(_keys))
        self._drawn = 0.0
        self._number = 0
        self._values: list[Any] | None = None
        self._bundle: Bundle = ({}, {})
        self._said: Any = None
        self._widget: Any = None
        self._first: Bundle | None = None
        self._ready = threading.Event()
        self._published = False
        self._latest: Bundle | None = None

    @property
    def id(self) -> str:
        """The display id of its output."""
        return self._id

    def start(self) -> None:
        """Draw for the first time, show it here, and follow the queries from now on."""
        _open.add(self)
        self._forget = cells.own(self.close)
        if threads.on_own_thread():
            self._draw_now()
        else:
            threads.callbacks().post(self._key, self._draw_now)
            self._ready.wait(FIRST_DRAWING)
        first = self._first or _text_bundle("drawing ...")
        self._published = True
        self._latest = first
        _publish(first, self._id, update=False)
        for query in self._queries():
            query.watch(self._changed)
        threads.callbacks().post(self._key, self._changed)  # what came before anybody watched

    def close(self) -> None:
        """Stop following; what was drawn last stays."""
        rendering, self.rendering = self.rendering, None
        if rendering is None:
            return
        for query in rendering.queries:
            query.unwatch(self._changed)
        threads.callbacks().forget(self._key)
        _open.discard(self)
        self._forget()
        _close_widget(self._widget)

    def _queries(self) -> list[LiveValue]:
        return [] if self.rendering is None else self.rendering.queries

    def _changed(self) -> None:
        """Draw now, or as soon as the last drawing is old enough (nbreactive thread)."""
        wait = self._drawn + _SHORTEST - time.monotonic()
        if self._values is not None and not self._is_new() and any(query.dimmed for query in self._queries()):
            wait = _PATIENCE
        if wait <= 0:
            self._draw_now()
        else:
            threads.callbacks().post_later(wait, self._key, self._draw_now, settles=True)

    def _is_new(self) -> bool:
        """Whether there is anything that was not drawn yet."""
        now = [query.value for query in self._queries()]
        before = self._values or []
        return len(now) != len(before) or any(new is not old for new, old in zip(now, before, strict=True))

    def _draw_now(self) -> None:
        rendering = self.rendering
        if rendering is None:
            return
        old = self._widget
        waiting = [query.path for query in rendering.queries if query.value is None and query.state == "loading"]
        if waiting:
            self._bundle = _text_bundle(f"waiting for {', '.join(waiting)} ...")
        elif self._values is None or self._is_new():
            self._values = [query.value for query in rendering.queries]
            self._bundle = self._draw(rendering)
            self._number = next(_numbers)
        self._drawn = time.monotonic()
        bundle = self._with_state(self._bundle, rendering.queries)
        if self._published:
            if bundle is not None:
                self._latest = bundle
                _publish(bundle, self._id, update=True)
        elif bundle is not None:
            self._first = bundle
            self._ready.set()
        if old is not self._widget:
            _close_widget(old)

    def show_again(self) -> None:
        """Publish the newest drawing for a page that was loaded since (nbreactive thread)."""
        if self._latest is not None and self.rendering is not None:
            _publish(self._latest, self._id, update=True)

    def _draw(self, rendering: Rendering) -> Bundle:
        pyplot.keep_apart()
        shown: Any = None
        try:
            shown = rendering.draw()
            self._widget = shown if hasattr(shown, "model_id") else None
            return format_object(shown)
        except Exception as failure:  # noqa: BLE001 (whatever a user's function raises is shown)
            _log.info("a drawing failed", exc_info=True)
            return _error_bundle(failure)
        finally:
            pyplot.close_drawn(shown)

    def _with_state(self, bundle: Bundle, queries: Sequence[LiveValue]) -> Bundle | None:
        """Return what was drawn and how it stands; None if both have been said already."""
        failed = next((query.error for query in queries if query.error is not None), None)
        message = f"{type(failed).__name__}: {failed}" if failed is not None else ""
        message = message or next((query.message for query in queries if query.message), "")
        state = {
            "status": _worst(query.state for query in queries),
            "message": safe_text(message, 2000),
            "dimmed": any(query.dimmed for query in queries),
            "number": self._number,
        }
        if self._said is not None and self._said == (state, id(bundle)):
            return None
        self._said = (state, id(bundle))
        if message:
            bundle = _with_note(bundle, message)
        kernel = kernel_id()
        if not kernel:
            return bundle
        noted = {"v": 1, "id": self._id, "kernel": kernel, "beacon": beacon().model_id}
        noted |= {"renderedAt": time.time() * 1000, **state}
        return {DRAWING_MIME: noted, **bundle[0]}, bundle[1]


@cache
def beacon() -> Any:
    """Return a widget that is never shown: by it pages know a kernel from the one it restarted to, and ask for drawings."""
    from ipywidgets import Widget

    made = Widget()
    made.on_msg(_asked)
    return made


def _asked(widget: Any, content: Any, _buffers: Any) -> None:
    """Hear a page that wants to see a drawing (any thread, so it only takes a note)."""
    if not isinstance(content, dict) or content.get("type") != "show":
        return
    wanted = content.get("id")
    view = next((view for view in open_renderings() if view.id == wanted), None)
    if view is None:
        widget.send({"type": "gone", "id": wanted})
    else:
        threads.callbacks().post(("show again", wanted), view.show_again)


def _worst(states: Iterable[str]) -> str:
    """Return the state of a drawing of several queries."""
    order = ("live", "loading", "closed", "reconnecting", "error")
    return max(states, key=order.index, default="live")


def _publish(bundle: Bundle, display_id: str, *, update: bool) -> None:
    from IPython.display import publish_display_data

    publish_display_data(bundle[0], bundle[1], transient={"display_id": display_id}, update=update)


def _text_bundle(text: str) -> Bundle:
    text = safe_text(text, 4000)
    return {"text/plain": text, "text/html": f"<p>{html.escape(text)}</p>"}, {}


def _error_bundle(failure: BaseException) -> Bundle:
    text = safe_text(f"{type(failure).__name__}: {failure}\n{frames_text(failure)}".rstrip(), 4000).replace(
        "\\u000a", "\n"
    )
    return {"text/plain": text, "text/html": f"<pre>{html.escape(text)}</pre>"}, {}


def _with_note(bundle: Bundle, message: str) -> Bundle:
    """Say above an old drawing why it is old."""
    data = dict(bundle[0])
    note = safe_text(f"not up to date: {message}", 2000)
    for kind, noted in (("text/html", f"<p>{html.escape(note)}</p>"), ("text/plain", f"{note}\n")):
        if isinstance(data.get(kind), str):
            data[kind] = noted + data[kind]
    return data, bundle[1]


def _close_widget(widget: Any) -> None:
    if widget is not None:
        widget.close()


def open_renderings() -> list[RenderView]:
    """Return the drawings that follow something."""
    return list(_open)
