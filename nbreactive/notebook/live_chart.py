"""``LiveChart``: an Altair chart of a live query, whose rows change in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nbreactive.client.live_value import LiveValue
from nbreactive.errors import ArgumentError
from nbreactive.notebook.render import Rendering


def LiveChart(live: LiveValue, draw: Callable[[Any], Any]) -> Rendering:  # noqa: N802 - a view, made like one
    """Show an Altair chart of a live query.

    In JupyterLab and Notebook 7 the chart is drawn by Jupyter's own Vega, and where nothing but its rows has changed it takes
    the new ones: it is not drawn anew, so nothing flickers, and zooms and selections stay. Altair's ``JupyterChart`` is not
    used, as it loads Vega from a server on the internet and embeds the whole chart again for new rows.

    Parameters
    ----------
    live
        A live query.
    draw
        Makes the chart of the rows as a DataFrame (pandas).

    Examples
    --------
    >>> def bars(orders):
    ...     return alt.Chart(orders).mark_bar().encode(x="city:N", y="sum(amount):Q")
    >>> nbreactive.LiveChart(api.shop.orders.live(), bars)       # doctest: +SKIP
    """
    if not isinstance(live, LiveValue):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ArgumentError(f"LiveChart takes a live query such as api.shop.orders.live(), not {live!r:.60}")
    if not callable(draw):
        raise ArgumentError(f"LiveChart takes a function that makes a chart of a DataFrame, not {draw!r:.60}")
    return Rendering(lambda: draw(live.df()), [live])
