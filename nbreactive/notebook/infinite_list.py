"""``InfiniteList``: the rows of a paginated query, more of which are loaded as one scrolls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import traitlets

from nbreactive.client.paginated import PaginatedQuery
from nbreactive.errors import ArgumentError
from nbreactive.notebook.cells import cell, cell_text, safe_text
from nbreactive.notebook.followers import Follower
from nbreactive.notebook.front_end import widget_base
from nbreactive.notebook.settings import settings
from nbreactive.notebook.table_widget import message_of

_PARTS = ("title", "text", "note")
_LONGEST = 2000


@cache
def _widget_class() -> type[Any]:
    class InfiniteListWidget(widget_base("infinite_list")):
        state = traitlets.Dict().tag(sync=True)
        status = traitlets.Unicode("LoadingFirstPage")

    return InfiniteListWidget


def InfiniteList(  # noqa: N802 - a widget, made like one
    pages: PaginatedQuery,
    item: Callable[[Any], str | Mapping[str, Any]] | None = None,
    *,
    label: str | None = None,
    height: int = 400,
) -> Any:
    """Show the rows of a paginated query as a list that loads more as one scrolls to its end.

    Parameters
    ----------
    pages
        What ``use_paginated_query`` has returned.
    item
        Says what is shown of a row: a text, or a dict of ``title``, ``text`` and ``note``. All fields, if it is not given.
    label
        What the list is called, for screen readers.
    height
        In pixels, at most.

    Returns
    -------
    widget
        Its ``status`` is that of the query: ``LoadingFirstPage``, ``CanLoadMore``, ``LoadingMore``, ``Exhausted``, ``Error``.

    Examples
    --------
    >>> posts = use_paginated_query(api.posts.list.options(page_size=20))       # doctest: +SKIP
    >>> nbreactive.InfiniteList(posts, lambda post: {"title": post["title"], "text": post["body"]})       # doctest: +SKIP
    """
    if not isinstance(pages, PaginatedQuery):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ArgumentError(f"InfiniteList takes use_paginated_query(...), not {pages!r:.60}")
    widget = _widget_class()()
    shown: list[Any] = []  # the rows that were painted last, and their items
    show = item or _fields

    def paint(pages: PaginatedQuery) -> None:
        rows = pages.results[: settings.view_rows]
        problem = message_of(pages)
        if not shown or shown[0] is not pages.value:
            try:
                shown[:] = [pages.value, [_item(row, show(row)) for row in rows]]
            except Exception as failure:  # noqa: BLE001 (whatever a user's function raises is shown)
                problem = f"{type(failure).__name__}: {failure}"
        full = len(rows) == settings.view_rows
        if full and not problem:
            problem = f"the first {len(rows):,} items; %config NBReactive.view_rows = {10 * len(rows)} shows more"
        widget.status = pages.status
        widget.state = {
            "label": safe_text(pages.title if label is None else label),
            "items": shown[1] if shown else [],
            "status": "Exhausted" if full else pages.status,  # a page that shows no more is not to ask for more
            "state": pages.state,
            "message": safe_text(problem, 500),
            "height": height,
        }

    def heard(pages: PaginatedQuery, content: dict[str, Any]) -> None:
        if content.get("type") == "more":
            pages.load_more(wait=False)

    widget.follower = Follower(widget, pages, paint, heard)
    return widget


def _item(row: Any, said: str | Mapping[str, Any]) -> dict[str, str]:
    parts = dict(said) if isinstance(said, Mapping) else {"text": said}
    if unknown := parts.keys() - set(_PARTS):
        raise ArgumentError(f"an item has {', '.join(_PARTS)}, and no {', '.join(map(str, unknown))}")
    key = row.get("_id") if isinstance(row, Mapping) else None
    texts = {name: "" if value is None else safe_text(str(value), _LONGEST) for name, value in parts.items()}
    return {"key": str(key) if key is not None else safe_text(str(row), 100), **texts}


def _fields(row: Any) -> str:
    if not isinstance(row, Mapping):
        return cell_text(cell(row))
    return "\n".join(f"{name}: {cell_text(cell(value))}" for name, value in row.items() if not name.startswith("_"))
