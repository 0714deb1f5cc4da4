"""Results of SQL for front ends: values as they are with the types of their columns, and as text for pages without us."""

from __future__ import annotations

import datetime as dt
from typing import Any

from nbreactive.client.live_frame import LiveFrame
from nbreactive.client.statement import SQL_LIVE
from nbreactive.notebook.cells import args_text, cell, safe_text
from nbreactive.values.json import to_jsonable

FIRST_ROWS = 200
"""Rows that a view is given of a result which is larger than views are; the others are fetched as they are looked at."""


def frame_of(frame: LiveFrame, limit: int) -> dict[str, Any]:
    """Return the first rows of a result as the front end takes them: it knows what the types are."""
    result = frame.result
    return {
        "columns": [
            {"name": name, "type": kind} for name, kind in zip(result.names, result.types, strict=True)
        ],
        "rows": to_jsonable(result.rows[:limit]),
        "offset": 0,
        "total": result.total,
    }  # fmt: skip


def source_of(frame: LiveFrame, shown: int) -> dict[str, Any]:
    """Return where a page finds the other rows; nothing if there are none, or if pages are told only what is now."""
    args = frame.args
    if args is None or frame.closed or frame.at or frame.result.total <= shown:
        return {}
    return {"path": SQL_LIVE, "args": to_jsonable(args)}


def params_text(frame: LiveFrame) -> str:
    """Say with which parameters a result is saved: the widgets that they come from may have moved since.

    Examples
    --------
    >>> params_text(nbreactive.sql("SELECT $least", least=5))       # doctest: +SKIP
    'least = 5'
    """
    params: dict[str, Any] = (frame.args or {}).get("params", {})
    return args_text(params)


def view_rows(frame: LiveFrame, most: int) -> int:
    """Return how many rows a view is given: all, or a beginning."""
    whole = frame.result.total <= min(most, len(frame.result.rows))
    return most if whole or frame.closed or frame.at else min(most, FIRST_ROWS)


def text_table(frame: LiveFrame, limit: int) -> dict[str, Any]:
    """Return the first rows as ``{columns, rows, total}``, with moments as people write them."""
    result = frame.result
    return {
        "columns": [safe_text(name) for name in result.names],
        "rows": [
            [_shown(value, kind) for value, kind in zip(row, result.types, strict=True)]
            for row in result.rows[:limit]
        ],
        "total": result.total,
    }  # fmt: skip


def _shown(value: Any, kind: str) -> Any:
    if kind.startswith("TIMESTAMP") and isinstance(value, int | float):
        try:
            moment = dt.datetime.fromtimestamp(value / 1000, dt.UTC)
        except (ValueError, OverflowError, OSError):  # infinite, or not in the years 1 to 9999
            return cell(value)
        shown = moment.astimezone() if "TIME ZONE" in kind or kind == "TIMESTAMPTZ" else moment
        return f"{shown:%Y-%m-%d %H:%M:%S}" + (f".{shown.microsecond:06}".rstrip("0") if shown.microsecond else "")
    return cell(value)
