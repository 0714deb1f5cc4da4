"""What somebody meant who calls a method that queries do not have: the names that other databases use."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

_MEANT: Final = {
    "where": 'use .filter(lambda q: q.field("likes") > 3), or .with_index(name, lambda q: q.eq("author", a))',
    "sort": 'use .order("desc"), on an index of the field: .with_index(name)',
    "get": "use ctx.db.get(id)",
    "all": "use .collect()",
    "len": "use .count()",
    "one": "use .unique(), or .first()",
}
_KIN: Final = {
    "filter_by": "where", "find": "where", "order_by": "sort", "sort_by": "sort", "fetch": "all", "to_list": "all",
    "list": "all", "fetchall": "all", "find_one": "one", "length": "len", "size": "len",
}  # fmt: skip


def meant(name: str, query: type) -> str:
    """Return what to write instead of a method that there is not.

    Examples
    --------
    >>> meant("findOne", object)
    'use .unique(), or .first()'
    """
    if name.startswith("_"):
        return ""
    snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
    if snake in _MEANT or snake in _KIN:
        return _MEANT[_KIN.get(snake, snake)]
    methods = [each for each in dir(query) if not each.startswith("_") and each not in ("configured", "nearest_ids")]
    near = get_close_matches(snake, methods, 1)
    return f"did you mean .{near[0]}?" if near else f"it has {', '.join(methods)}"
