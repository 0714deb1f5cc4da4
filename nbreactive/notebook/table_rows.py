"""The rows of a table for its front end: all of them once, then only what has changed.

A page that shows 100,000 rows is never sent them again because one of them is new: a change is runs of rows that it has, and
the rows that come after each.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Mapping, Sequence
from typing import Any

from nbreactive.notebook.cells import column_names, safe_text, table_of
from nbreactive.notebook.field_kinds import kinds_of
from nbreactive.values.json import to_jsonable
from nbreactive.values.kinds import Int64

LONGEST = 10_000
"""Characters of a text that can be edited in its cell; of longer ones a page is sent the beginning."""
_EXACT = 2**53
_LONE = re.compile("[\ud800-\udfff]")
_NOTHING: Any = object()
_SCALARS = (bool, type(None))
Run = list[Any]


def wire_cell(value: Any) -> Any:
    """Return a value as a page is sent it: as on the wire, or the beginning of what is too long for a cell.

    Examples
    --------
    >>> wire_cell("a"), wire_cell(b"abc"), len(wire_cell("x" * 1_000_000)["$cut"])
    ('a', {'$cut': '<3 bytes>'}, 501)
    """
    kind = type(value)
    if kind is str:
        if len(value) <= LONGEST and (value.isascii() or _LONE.search(value) is None):
            return value
        return {"$cut": safe_text(value)}
    if kind in _SCALARS or (kind is int and abs(value) <= _EXACT) or (kind is float and math.isfinite(value)):
        return value
    if kind is bytes:
        return {"$cut": f"<{len(value)} bytes>"}
    if kind is dict or kind is list:
        text = json.dumps(value, default=str, ensure_ascii=False)
        if len(text) > LONGEST or _LONE.search(text) is not None:
            return {"$cut": safe_text(text)}
    if kind in (dict, list, float, Int64):
        return to_jsonable(value)
    return str(value) if isinstance(value, int) else {"$cut": safe_text(str(value))}


class TableRows:
    """What a page has been told of a result, and what it has to be told next."""

    def __init__(self) -> None:
        self.version = 0
        self._documents: Any = _NOTHING
        self._names: list[str] = []
        self._kinds: list[str] = []
        self._shapes: set[tuple[str, ...]] = set()
        self._columns: Any = None
        self._declared: Any = None
        self._cells: list[list[Any]] = []
        self._total = 0

    @property
    def table(self) -> dict[str, Any]:
        """All of it, as a page without it has to be told."""
        return {
            "columns": [safe_text(name) for name in self._names],
            "kinds": self._kinds,
            "rows": self._cells,
            "total": self._total,
            "version": self.version,
        }

    def take(
        self, value: Any, columns: Any, limit: int, total: int | None, declared: Mapping[str, Any] | None
    ) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        """Take a new result; return the whole table, if it has to be told anew, or else what has changed."""
        documents = _documents_of(value)
        self.version += 1
        if documents is None:
            self._documents = _NOTHING
            return table_of(value, columns, limit, total) | {"version": self.version}, None
        found = total or len(documents)
        documents = documents[:limit]
        runs = self._runs(documents, columns, declared)
        self._total = found
        if runs is None:
            self._whole(documents, columns, declared)
            return self.table, None
        self._documents = documents
        self._cells = [row for start, count, new in runs for row in (*self._cells[start : start + count], *new)]
        return None, {"version": self.version, "total": found, "runs": runs}

    def _whole(self, documents: list[dict[str, Any]], columns: Any, declared: Any) -> None:
        self._documents, self._columns, self._declared = documents, columns, declared
        self._shapes = {tuple(row) for row in documents}
        self._names = column_names(documents, columns)
        self._kinds = kinds_of(self._names, documents, declared)
        self._cells = [self._row(row) for row in documents]

    def _row(self, document: dict[str, Any]) -> list[Any]:
        return [wire_cell(document.get(name)) for name in self._names]

    def _runs(self, new: list[dict[str, Any]], columns: Any, declared: Any) -> list[Run] | None:
        """Return what has changed; None if all of it is to be told."""
        old = self._documents
        if old is _NOTHING or not old or columns != self._columns or declared is not self._declared:
            return None
        runs = _compare(old, new)
        fresh = [new[at] for _, _, places in runs for at in places]
        if len(fresh) * 2 > len(new) or any(tuple(row) not in self._shapes for row in fresh):
            return None
        if "datetime" in self._kinds and kinds_of(self._names, fresh, declared) != self._kinds and fresh:
            return None  # what looked like moments does so no longer, perhaps
        return [[start, count, [self._row(new[at]) for at in places]] for start, count, places in runs]


def _documents_of(value: Any) -> list[dict[str, Any]] | None:
    """Return a list of documents, or the page of one; None for other results."""
    if isinstance(value, dict) and isinstance(value.get("page"), list):
        value = value["page"]
    if not isinstance(value, list) or not all(type(row) is dict for row in value):
        return None
    return value


def _compare(old: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]]) -> list[tuple[int, int, list[int]]]:
    """Return runs of old rows as (start, count), and the places of the new rows that come after each."""
    if len(old) == len(new):
        changed = [at for at, same in enumerate(map(operator.eq, old, new)) if not same]
        if len(changed) * 4 <= len(new):
            return _in_place(changed, len(new))
    start, least = 0, min(len(old), len(new))
    while start < least and old[start] == new[start]:
        start += 1
    end = 0
    while end < least - start and old[-1 - end] == new[-1 - end]:
        end += 1
    places = {row.get("_id"): at for at, row in enumerate(old[start : len(old) - end], start)}
    runs: list[tuple[int, int, list[int]]] = []
    first, count, fresh = 0, start, list[int]()
    for at in range(start, len(new) - end):
        place = places.get(new[at].get("_id"))
        if place is None or place < first + count or old[place] != new[at]:
            fresh.append(at)
        elif place == first + count and not fresh:
            count += 1
        else:
            runs.append((first, count, fresh))
            first, count, fresh = place, 1, []
    if fresh or (end and first + count != len(old) - end):
        runs.append((first, count, fresh))
        return [*runs, (len(old) - end, end, [])] if end else runs
    return [*runs, (first, count + end, [])]


def _in_place(changed: list[int], total: int) -> list[tuple[int, int, list[int]]]:
    """Return the runs where rows have changed, and none has moved."""
    runs: list[tuple[int, int, list[int]]] = []
    start = 0
    for at in changed:
        if runs and at == start:
            runs[-1][2].append(at)
        else:
            runs.append((start, at - start, [at]))
        start = at + 1
    return [*runs, (start, total - start, [])]
