"""``nbreactive.sql(...)``: a live result of SQL in one call."""

from __future__ import annotations

from typing import Any

from nbreactive.client import current
from nbreactive.client.live_frame import LiveFrame
from nbreactive.client.statement import to_explain
from nbreactive.errors import ArgumentError, NBReactiveError


def sql(text: str, /, *values: Any, **params: Any) -> LiveFrame:
    """Ask a SELECT over the tables of the connected deployment, and keep its result live.

    Parameters
    ----------
    text
        One statement; ``$name`` stands for a parameter.
    **params
        Values, widgets or live queries: the result follows those that move. Moments and days are what ``datetime`` and
        ``date`` say.

    Examples
    --------
    >>> busy = nbreactive.sql("SELECT station, count(*) AS n FROM trips GROUP BY ALL")       # doctest: +SKIP
    >>> long = nbreactive.sql("SELECT * FROM trips WHERE minutes > $least", least=slider)       # doctest: +SKIP
    >>> long.df()       # doctest: +SKIP
    """
    if values:
        raise ArgumentError("parameters are named: write $least in the statement, and pass sql(..., least=...).")
    if to_explain(text) is not None:
        raise ArgumentError("EXPLAIN LIVE is for cells of SQL; here it is sql(...).explain(), of the statement alone.")
    try:
        return LiveFrame.open(current(), text, params)
    except NBReactiveError as error:
        raise error.with_traceback(None) from None  # the user's lines, and not our own
