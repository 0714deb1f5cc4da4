"""A slider over what was committed: a live query shows what it gave then, and at the right end what it gives now.

The view is a live table like any other. Dragging asks for one time after the other, never for more than the backend
answers; what was dragged past is not asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nbreactive.client import threads
from nbreactive.errors import NBReactiveError
from nbreactive.notebook.cells import safe_text
from nbreactive.notebook.commits import counts_of, listed
from nbreactive.notebook.table_widget import TableView

if TYPE_CHECKING:
    from nbreactive.client.live import LiveQuery

_PAUSE = 0.1
"""Seconds between two times that are asked for while the slider moves."""
NOW = 0


class History:
    """A slider and the view that follows it; see :func:`nbreactive.history`.

    Parameters
    ----------
    live
        What is shown; it is this object's own from now on.
    table
        Only commits that changed it are stopped at; None: all.
    limit
        How many commits to stop at, from the last one back.

    Attributes
    ----------
    live
        The live query that the slider moves through time.
    slider
        The widget; its value is the timestamp of a commit, or 0 for now.
    """

    def __init__(self, live: LiveQuery, *, table: str | None = None, limit: int = 200) -> None:
        from ipywidgets import HTML, Button, HBox, Layout, SelectionSlider, VBox

        self.live = live
        self._table = table
        self._limit = limit
        self._changes: dict[int, dict[str, Any]] = {}
        self._view: TableView | None = None
        self._refreshing = False
        wide = Layout(width="70%")
        self.slider: Any = SelectionSlider(options=[("now", NOW)], value=NOW, continuous_update=True, layout=wide)
        self._again: Any = Button(description="↻", tooltip="Look for newer commits", layout=Layout(width="3em"))
        self._said: Any = HTML()
        self._box: Any = VBox([HBox([self.slider, self._again]), self._said])
        self.refresh()
        self.slider.observe(self._moved, "value")
        self._again.on_click(lambda _: self.refresh())

    def refresh(self) -> None:
        """Look for newer commits; the slider stays at its time."""
        client = self.live._client  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - a part of it
        found = listed(
            lambda address, body: client.admin("GET" if body is None else "POST", address, body),
            self._table,
            None,
            self._limit,
        )
        at = self.slider.value
        self._changes = {int(change["ts"]): change for change in reversed(found)}
        stops = [(change["at"], ts) for ts, change in self._changes.items()]
        if at and at not in self._changes:
            stops = sorted([*stops, ("...", at)], key=lambda stop: stop[1])
        self._refreshing = True  # new options put the slider at the first of them
        self.slider.options = [*stops, ("now", NOW)]
        self.slider.value = at
        self._refreshing = False
        self._say()

    def travel(self, at: int = NOW) -> None:
        """Move the slider to a commit; 0: to now."""
        self.slider.value = at

    def close(self) -> None:
        """End the view and the query."""
        threads.callbacks().forget(("history", id(self)))
        if self._view is not None:
            self._view.close()
        self._box.close()
        self.live.close()

    def _moved(self, _: Any) -> None:
        if self._refreshing:
            return
        self._say()
        threads.callbacks().post_later(_PAUSE, ("history", id(self)), self._follow, settles=True)

    def _follow(self) -> None:
        """Ask for the time that the slider shows (nbreactive thread)."""
        at = self.slider.value
        try:
            self.live.travel(at or None)
        except NBReactiveError as error:
            self._said.value = safe_html(str(error))

    def _say(self) -> None:
        change = self._changes.get(self.slider.value)
        if change is None:
            text = "now" if self.slider.value == NOW else ""
        else:
            who = f" by {change['who']}" if change["who"] else ""
            text = f"after {change['function'] or 'the backend'}{who}: {counts_of(change)} · {change['ts']}"
        self._said.value = safe_html(text)

    def _ipython_display_(self) -> None:
        from IPython.display import display

        if self._view is None or self._view.closed:
            self._view = TableView(self.live)
            self._box.children = [*self._box.children[:2], self._view.widget]
        display(self._box)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]

    def __repr__(self) -> str:
        return f"<history of {self.live.title}>"


def safe_html(text: str) -> str:
    """Return text of users as HTML that shows it."""
    import html

    return f"<small>{html.escape(safe_text(text, 300))}</small>"
