"""Figures of drawings apart from those of cells.

pyplot has one list of open figures, and a current one, for all threads. A drawing is made on a thread of its own while cells
run: without this, a figure that is being drawn would be shown once more below whatever cell ends at that moment, and a
``plt.plot(...)`` of a cell could land in it.
"""

# matplotlib's types are partial, and what is wrapped here is its own
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportMissingTypeStubs=false
# pyright: reportUnknownArgumentType=false, reportMissingImports=false

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Iterator, MutableMapping
from contextlib import suppress
from typing import Any

from nbreactive.client import threads


class _Figures(MutableMapping[Any, Any]):
    """The open figures of whoever asks: of drawings, or of all others."""

    def __init__(self, others: OrderedDict[Any, Any]) -> None:
        self._others = others
        self._drawn: OrderedDict[Any, Any] = OrderedDict()

    @property
    def mine(self) -> OrderedDict[Any, Any]:
        """Those of this thread."""
        return self._drawn if threads.on_own_thread() else self._others

    def __getitem__(self, number: Any) -> Any:
        return self.mine[number]

    def __setitem__(self, number: Any, manager: Any) -> None:
        self.mine[number] = manager

    def __delitem__(self, number: Any) -> None:
        del self.mine[number]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.mine)

    def __len__(self) -> int:
        return len(self.mine)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.mine, name)

    def values(self) -> Any:
        """Views of an ordered dict can be reversed, other than those of a mapping."""
        return self.mine.values()

    def items(self) -> Any:
        """See :meth:`values`."""
        return self.mine.items()


def keep_apart() -> None:
    """Begin, if pyplot is there."""
    helpers = sys.modules.get("matplotlib._pylab_helpers")
    manager = getattr(helpers, "Gcf", None)
    figures = getattr(manager, "figs", None)
    if manager is not None and isinstance(figures, OrderedDict):
        manager.figs = _Figures(figures)


def close_drawn(shown: Any = None) -> None:
    """Close what a drawing has left open, or it would be kept for ever, or shown once more when a cell ends (nbreactive thread)."""
    helpers, pyplot = sys.modules.get("matplotlib._pylab_helpers"), sys.modules.get("matplotlib.pyplot")
    if helpers is None or pyplot is None:
        return
    if not isinstance(helpers.Gcf.figs, _Figures):  # the drawing itself has imported pyplot
        if isinstance(shown, pyplot.Figure):
            pyplot.close(shown)
        return
    figures = [manager.canvas.figure for manager in helpers.Gcf.figs.values()]
    pyplot.close("all")
    inline = sys.modules.get("matplotlib_inline.backend_inline")
    waiting: list[Any] = getattr(getattr(inline, "show", None), "_to_draw", [])
    for figure in figures:
        while figure in waiting:  # they are kept there until a cell ends
            with suppress(ValueError):
                waiting.remove(figure)
