"""In which order the columns of a result are shown: on the wire, fields of objects are in the order of their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

_SYSTEM: Final = ("_id", "_creationTime")
_LOOKED_AT: Final = 100
"""Rows that are looked at."""


def result_columns(result: Any, declared: Sequence[str] | None, stored: Sequence[str] | None) -> list[str] | None:
    """Return the columns of a list of objects, or of a page of them; None if nothing is known, or it is no such list.

    Parameters
    ----------
    result
        As the function returned it, its objects in their own order.
    declared
        The fields that the function says its objects have.
    stored
        The fields that the schema says documents of the table have which it read, if that was one table.

    Examples
    --------
    >>> result_columns([{"zeta": 1, "alpha": 2}], None, None)
    ['zeta', 'alpha']
    >>> result_columns([{"_id": "x", "age": 3, "name": "A"}], None, ["name", "city", "age"])
    ['_id', 'name', 'city', 'age']
    >>> result_columns([], None, ["name", "age"])
    ['_id', '_creationTime', 'name', 'age']
    """
    if isinstance(result, dict):
        result = cast("dict[str, Any]", result).get("page")
    if not isinstance(result, list | tuple):
        return None
    rows = cast("Sequence[Any]", result)
    if declared is not None:
        return list(declared)
    if not rows:
        return [*_SYSTEM, *stored] if stored is not None else None
    names: dict[str, None] = {}
    for row in rows[:_LOOKED_AT]:
        if not isinstance(row, Mapping):
            return None
        names.update(dict.fromkeys(cast("Mapping[str, Any]", row)))
    if stored is not None and names.keys() <= {*_SYSTEM, *stored}:
        whole = "_id" in names  # a document, which may lack what is optional; else the fields that somebody has chosen
        return [name for name in (*_SYSTEM, *stored) if name in names or (whole and name not in _SYSTEM)]
    return list(names)
