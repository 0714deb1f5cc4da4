"""Front ends that are no Jupyter: marimo, which asks objects for ``_display_()``.

It shows anywidgets, and takes what threads put into their traits, so a live view there is the same widget as anywhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nbreactive.errors import NBReactiveError

if TYPE_CHECKING:
    from nbreactive.client.live_value import LiveValue


def table_of(live: LiveValue) -> Any:
    """Return the widget that shows a live query; as text, if the front end is missing."""
    from nbreactive.notebook import display
    from nbreactive.notebook.table_widget import TableView

    try:
        return TableView(live).widget
    except NBReactiveError as failure:
        return f"{display.plain(live, display.snapshot(live))}\n{failure}"
