r"""Values as cells of a table: short, safe text; numbers stay numbers.

Whatever somebody stored is shown as text and as nothing else: markup is escaped where HTML is made, and characters
that would change how their surroundings look (control characters, terminal escapes, right-to-left overrides) are
written out as ``\u202e``.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

LONGEST = 500
_EXACT = 2**53
_LAST = ("_creationTime", "_id")
_MOMENTS = re.compile(r"_creationTime|(.*_)?(time|timestamp|at)|.*(At|Time|Timestamp)")
"""Names of fields whose numbers are moments, if they look like milliseconds since the epoch."""
_SINCE, _UNTIL = 978_307_200_000, 32_503_680_000_000  # 2001 to 3000
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def safe_text(text: str, longest: int = LONGEST) -> str:
    r"""Return text that shows as what it is.

    Examples
    --------
    >>> safe_text("a\x1b[31mred")
    'a\\u001b[31mred'
    """
    if len(text) > longest:
        text = text[:longest] + "…"
    return _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def cell(value: Any) -> Any:
    """Return a value as one cell: a JSON scalar, or text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return safe_text(value)
    if isinstance(value, int):
        return value if abs(value) <= _EXACT else str(int(value))
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    return safe_text(json.dumps(_plain(value), default=_scalar, ensure_ascii=False))


def _scalar(value: Any) -> str:
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else str(value)


def _plain(value: Any) -> Any:
    """Return a value with numbers as a page reads them from JSON, where 1.0 is 1."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) <= _EXACT else value
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_moments(name: str, values: Iterable[Any]) -> bool:
    """Whether a column is called like moments, and all its numbers look like milliseconds since the epoch."""
    return _MOMENTS.fullmatch(name) is not None and all(
        _SINCE <= value < _UNTIL for value in values if _is_number(value)
    )


def _time(value: float) -> Any:
    try:
        return f"{dt.datetime.fromtimestamp(value / 1000, dt.UTC).astimezone():%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):  # not in the years 1 to 9999
        return cell(value)


def cell_text(value: Any) -> str:
    """Return one cell as the text that a reader wants: 0.1 + 0.2 is 0.3."""
    if value is None:
        return ""
    return f"{value:.12g}" if isinstance(value, float) and not value.is_integer() else str(value)


def args_text(args: Mapping[str, Any]) -> str:
    """Return arguments as a note beside rows.

    Examples
    --------
    >>> args_text({"least": 5, "author": "Ada"})
    'least = 5, author = Ada'
    """
    return safe_text(", ".join(f"{name} = {value}" for name, value in args.items()), 80)


def table_of(
    value: Any,
    columns: Any = None,
    limit: int = 1000,
    total: int | None = None,
    moments: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """Return a result as ``{columns, rows, total}``, with at most ``limit`` rows; ``total`` if there are more rows.

    Numbers of the columns ``moments``, and of those that are called like moments and of which all look like such, are shown as times.

    A list of documents has a column per field, system fields last; a page of a paginated query shows its documents;
    one document shows its fields one under the other; anything else is one cell.

    Examples
    --------
    >>> table_of([{"a": 1, "_id": "x"}, {"b": True}])
    {'columns': ['a', 'b', '_id'], 'rows': [[1, None, 'x'], [None, True, None]], 'total': 2}
    """
    if isinstance(value, dict) and isinstance(value.get("page"), list):
        value = value["page"]
    if isinstance(value, dict):
        shown = list(value.items())[:limit]
        return {
            "columns": ["field", "value"],
            "rows": [[cell(k), _field(v, k in moments or _are_moments(k, [v]))] for k, v in shown],
            "total": len(value),
            "document": True,
        }
    if not isinstance(value, list):
        return {
            "columns": ["value"],
            "rows": [] if value is None else [[cell(value)]],
            "total": 0 if value is None else 1,
        }
    rows = value[:limit]
    if rows and not any(isinstance(row, dict) for row in rows):
        return {"columns": ["value"], "rows": [[cell(row)] for row in rows], "total": len(value)}
    names = column_names(rows, columns)
    documents = [row for row in rows if isinstance(row, dict)]
    timed = {name: name in moments or _are_moments(name, (row.get(name) for row in documents)) for name in names}
    table = [[_field(row.get(name), timed[name]) if isinstance(row, dict) else None for name in names] for row in rows]
    return {"columns": [safe_text(name) for name in names], "rows": table, "total": total or len(value)}


def _field(value: Any, moment: bool) -> Any:
    return _time(value) if moment and _is_number(value) else cell(value)


def column_names(rows: Sequence[Any], columns: Any = None) -> list[str]:
    """Return the columns of documents: the declared ones, then others as they come, system fields last.

    What comes from a backend has its fields in the order of their names; then numbers in names count as numbers.

    Examples
    --------
    >>> column_names([{"col1": 1, "col10": 1, "col2": 1}]), column_names([{"b": 1, "a10": 1, "a2": 1}])
    (['col1', 'col2', 'col10'], ['b', 'a10', 'a2'])
    """
    declared = [name for name in columns if isinstance(name, str)] if isinstance(columns, list | tuple | dict) else []
    names = dict.fromkeys(declared)
    for shape in dict.fromkeys(tuple(row) for row in rows if isinstance(row, dict)):
        names.update(dict.fromkeys(sorted(shape, key=_natural) if list(shape) == sorted(shape) else shape))
    return [name for name in names if name not in _LAST] + [name for name in _LAST if name in names]


def _natural(name: str) -> list[tuple[int, str]]:
    """Key to sort by: the runs of digits and of other characters in a name."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name) if part]
