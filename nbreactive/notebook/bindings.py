"""Widgets as arguments of live queries: when a widget changes, the query is asked again with its new value.

Changes of a moving slider are gathered for 50 ms. The widgets are held, the query is not: a slider that lives in
another cell must not keep alive every query that was ever bound to it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import traitlets

from nbreactive.client import threads
from nbreactive.client.arguments import SKIP, to_value

DEBOUNCE = 0.05
_keys = itertools.count()


class WidgetArguments:
    """Arguments of which some are widgets (or live queries, or anything else with a ``value`` trait)."""

    def __init__(self, given: Mapping[str, Any], convert: Callable[[Any, str], Any] = to_value) -> None:
        self._given = dict(given)
        self._convert = convert
        self._key = ("bound", next(_keys))
        self._changed: Callable[[], None] = _nothing
        self.current()  # complains now about what is no value

    @property
    def bound(self) -> list[str]:
        """The names of the arguments that are widgets."""
        return [name for name, value in self._given.items() if isinstance(value, traitlets.HasTraits)]

    def current(self) -> dict[str, Any] | None:
        """Return the arguments as the widgets stand now; None when one of them is SKIP."""
        args = {name: self._convert(value, name) for name, value in self._given.items()}
        return None if any(value is SKIP for value in args.values()) else args

    def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed()`` on the nbreactive thread, a moment after a widget moved."""
        self._changed = changed
        for widget in self._widgets():
            widget.observe(self._moved, names="value")

    def close(self) -> None:
        """Let go of the widgets."""
        self._changed = _nothing
        for widget in self._widgets():
            try:
                widget.unobserve(self._moved, names="value")
            except ValueError:
                continue  # the widget was closed: it has no observers any more

    def fresh(self) -> WidgetArguments:
        """Return the same widgets for another query."""
        return WidgetArguments(self._given, self._convert)

    def _widgets(self) -> list[traitlets.HasTraits]:
        return [value for value in self._given.values() if isinstance(value, traitlets.HasTraits)]

    def _moved(self, _change: Any) -> None:
        threads.callbacks().post_later(DEBOUNCE, self._key, self._changed)


def _nothing() -> None:
    return
