"""``q.render(fn)``: anything that can be displayed, drawn again in place after every change.

A drawing runs on the nbreactive thread, the newest values only. Its result replaces the output of the same display id,
which works from any thread, in every page that shows the notebook, and is saved with it.
"""

from __future__ import annotations

import html
import itertools
import logging
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from nbreactive.client import threads
from nbreactive.client.live import LiveQuery
from nbreactive.errors import NBReactiveError
from nbreactive.notebook.cells import safe_text
from nbreactive.notebook.errors_view import frames_text
from nbreactive.notebook.lifecycle import cells

_log = logging.getLogger("nbreactive")
_keys = itertools.count()
FIRST_DRAWING = 20.0
"""Seconds a cell waits for its first drawing, so that Run All and nbconvert save it."""
_SHORTEST = 1 / 15
_open: set[RenderView] = set()

Bundle = tuple[dict[str, Any], dict[str, Any]]


class Rendering:
    """A drawing of live queries; every display of it is a view that follows them."""

    def __init__(self, draw: Callable[[], Any], queries: Sequence[LiveQuery]) -> None:
        self.draw = draw
        self.queries = list(queries)

    def _ipython_display_(self) -> None:
        RenderView(self).start()

    def __repr__(self) -> str:
        return f"<rendering of {', '.join(query.path for query in self.queries)}>"


class RenderView:
    """One display of a :class:`Rendering`."""

    def __init__(self, rendering: Rendering) -> None:
        self.rendering: Rendering | None = rendering
        self._id = uuid.uuid4().hex
        self._key = ("render", next(_keys))
        self._drawn = 0.0
        self._widget: Any = None
        self._first: Bundle | None = None
        self._ready = threading.Event()
        self._published = False

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
        _publish(first, self._id, update=False)
        for query in self._queries():
            query.watch(self._changed)

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

    def _queries(self) -> list[LiveQuery]:
        return [] if self.rendering is None else self.rendering.queries

    def _changed(self) -> None:
        wait = self._drawn + _SHORTEST - time.monotonic()
        if wait <= 0:
            self._draw_now()
        else:
            threads.callbacks().post_later(wait, self._key, self._draw_now)

    def _draw_now(self) -> None:
        rendering = self.rendering
        if rendering is None:
            return
        old = self._widget
        bundle = self._bundle(rendering)
        self._drawn = time.monotonic()
        if self._published:
            _publish(bundle, self._id, update=True)
        else:
            self._first = bundle
            self._ready.set()
        if old is not self._widget:
            _close_widget(old)

    def _bundle(self, rendering: Rendering) -> Bundle:
        waiting = [query for query in rendering.queries if query.value is None and query.status == "loading"]
        if waiting:
            return _text_bundle(f"waiting for {', '.join(query.path for query in waiting)} ...")
        failed = next((query.error for query in rendering.queries if query.error is not None), None)
        try:
            shown = rendering.draw()
            self._widget = shown if hasattr(shown, "model_id") else None
            bundle = _format(shown)
        except Exception as failure:  # noqa: BLE001 (whatever a user's function raises is shown)
            _log.info("a drawing failed", exc_info=True)
            return _error_bundle(failure)
        return bundle if failed is None else _with_note(bundle, failed)


def _format(shown: Any) -> Bundle:
    from IPython.core.getipython import get_ipython

    if shown is None:
        return _text_bundle("The function returned None: let it return what is to be shown (a figure, a table, HTML).")
    shell: Any = get_ipython()
    if shell is None:
        return {"text/plain": repr(shown)}, {}
    data, metadata = shell.display_formatter.format(shown)
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None and isinstance(shown, pyplot.Figure):
        pyplot.close(shown)  # or it would be shown once more when the cell ends, and kept for ever
    return data, metadata


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


def _with_note(bundle: Bundle, failure: NBReactiveError) -> Bundle:
    """Say above an old drawing why it is old."""
    data = dict(bundle[0])
    note = safe_text(f"not up to date: {type(failure).__name__}: {failure}", 2000)
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
