"""``LiveValue``: one number of a live query, large, with how it has changed."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from functools import cache
from typing import Any, Literal, TypeGuard

import traitlets

from nbreactive.client.live_value import LiveValue as Live
from nbreactive.errors import ArgumentError
from nbreactive.notebook.cells import safe_text
from nbreactive.notebook.followers import Follower
from nbreactive.notebook.front_end import widget_base
from nbreactive.notebook.table_widget import message_of

Format = str | Callable[[Any], str]
_MOST = 1000
_A_BIT = 0.01


@cache
def _widget_class() -> type[Any]:
    class LiveValueWidget(widget_base("live_value")):
        state = traitlets.Dict().tag(sync=True)
        value = traitlets.Any(None, allow_none=True)

    return LiveValueWidget


def LiveValue(  # noqa: N802 - a widget, made like one
    live: Live,
    label: str | None = None,
    *,
    of: Callable[[Any], Any] | None = None,
    format: Format = "",  # noqa: A002 - as Python's own
    period: float | None = 60.0,
    good: Literal["up", "down"] | None = None,
    points: int = 60,
) -> Any:
    """Show one number of a live query, and how it has changed.

    Parameters
    ----------
    live
        A live query.
    label
        What the number is called; the query's name if it is not given.
    of
        Makes the number of the query's value: ``lambda rows: sum(row["amount"] for row in rows)``.
    format
        How it is written: what Python's ``format()`` takes (``",.1f"``), a text with a place in it (``"{:,.1f} ms"``), or a
        function.
    period
        It is compared with what it was so many seconds ago, as far as that was seen; None: with the value before.
    good
        Which direction is good news, and green; the other one is red.
    points
        How many values the line beside it has.

    Returns
    -------
    widget
        Its ``value`` is the number.

    Examples
    --------
    >>> orders = api.shop.orders.live()       # doctest: +SKIP
    >>> nbreactive.LiveValue(orders, "Orders", of=len, good="up")       # doctest: +SKIP
    """
    if not isinstance(live, Live):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ArgumentError(f"LiveValue takes a live query such as api.shop.orders.live(), not {live!r:.60}")
    if not 2 <= points <= _MOST:
        raise ArgumentError(f"points is a number of values from 2 to {_MOST}, not {points!r:.40}")
    history = History(period, points)
    shown = _Shown(live.title if label is None else label, of, _formatter(format), good or "", history)
    widget = _widget_class()()

    def paint(live: Live) -> float | None:
        now = time.monotonic()
        shown.take(live, now)
        widget.state = shown.state(live, now)
        widget.value = shown.value
        return history.changes_in(now)

    widget.follower = Follower(widget, live, paint)
    return widget


class History:
    """The values of a number, with their times."""

    def __init__(self, period: float | None, points: int) -> None:
        self.period = period
        self._points = points
        self._values: deque[tuple[float, float]] = deque(maxlen=_MOST)

    def add(self, value: float, now: float) -> None:
        """Note a value, if it is another one."""
        if not self._values or self._values[-1][1] != value:
            self._values.append((now, value))

    @property
    def series(self) -> list[float]:
        """The last values."""
        return [value for _, value in self._values][-self._points :]

    def before(self, now: float) -> tuple[float, float] | None:
        """Return with what the value is compared, and how many seconds ago that was; None: there is nothing yet.

        Examples
        --------
        >>> history = History(60, 10)
        >>> history.add(1, 0); history.add(5, 50); history.add(6, 70)
        >>> history.before(80), history.before(115), history.before(200)
        ((1, 60), (5, 60), (6, 60))
        """
        values = self._values
        if self.period is None:
            return (values[-2][1], now - values[-2][0]) if len(values) > 1 else None
        then = now - self.period
        known = [value for at, value in values if at <= then]
        if known:
            return known[-1], self.period
        return (values[0][1], now - values[0][0]) if len(values) > 1 else None

    def changes_in(self, now: float) -> float | None:
        """Return after how many seconds it is compared with something else, though nothing happens."""
        if self.period is None:
            return None
        then = now - self.period
        until = min((at - then for at, _ in self._values if at > then), default=None)
        return None if until is None else until + _A_BIT


class _Shown:
    """What a page is told of a value."""

    def __init__(
        self, label: str, of: Callable[[Any], Any] | None, write: Callable[[Any], str], good: str, history: History
    ) -> None:
        self._label = safe_text(label)
        self._of = of
        self._write = write
        self._good = good
        self.history = history
        self.value: Any = None
        self._problem = ""

    def take(self, live: Live, now: float) -> None:
        """Look at the query's value."""
        try:
            value = live.value if self._of is None or live.value is None else self._of(live.value)
            self._write(value)  # raises here, if it does
            self._problem = ""
        except Exception as failure:  # noqa: BLE001 (whatever a user's function raises is shown)
            self._problem = f"{type(failure).__name__}: {failure}"
            return
        self.value = value
        if _is_number(value):
            self.history.add(value, now)

    def state(self, live: Live, now: float) -> dict[str, Any]:
        """Return what the page paints."""
        state: dict[str, Any] = {
            "label": self._label,
            "text": "–" if self.value is None else safe_text(self._write(self.value)),
            "series": self.history.series if _is_number(self.value) else [],
            "good": self._good,
            "status": "error" if self._problem else live.state,
            "message": safe_text(self._problem or message_of(live), 500),
        }
        value: Any = self.value
        before = self.history.before(now) if _is_number(value) else None
        if before is not None:
            old, ago = before
            difference = value - old
            percent = f" ({difference / abs(old):+.1%})" if old else ""
            state["direction"] = "up" if difference > 0 else "down" if difference < 0 else "flat"
            state["change"] = (
                safe_text(("+" if difference > 0 else "−") + self._write(abs(difference)) + percent)
                if difference
                else "unchanged"
            )
            state["since"] = "" if self.history.period is None else f"in {duration(self.history.period)}"
            if self.history.period is not None and ago < self.history.period:
                state["since"] = "since first seen"
        return state


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _formatter(form: Format) -> Callable[[Any], str]:
    """Return how values are written."""
    if callable(form):
        return lambda value: str(form(value))
    if "{" in form:
        return form.format
    if form:
        return lambda value: format(value, form)

    def plain(value: Any) -> str:
        if not _is_number(value):
            return str(value)
        return (
            f"{value:,}" if isinstance(value, int) or (value.is_integer() and abs(value) < 2**53) else f"{value:,.6g}"
        )

    return lambda value: plain(value).removesuffix(".0")


def duration(seconds: float) -> str:
    """Return a duration as one says it.

    Examples
    --------
    >>> duration(60), duration(5), duration(7200), duration(90), duration(86400)
    ('1 min', '5 s', '2 h', '1.5 min', '1 d')
    """
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
