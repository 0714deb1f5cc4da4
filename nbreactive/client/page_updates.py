"""Optimistic updates of paginated queries: an item more, at its place, or items changed, in whatever pages are loaded.

They work on every live page of the function, also on the two halves of a page that is being split, so that an item is
there before and after one replaces the other. ``args`` says which queries are meant, if the function is paginated with
several arguments: those which have these arguments, whatever others they have.
"""

# Rows come from anywhere, so their types are not known before.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from nbreactive.client.arguments import to_value
from nbreactive.client.local_store import LocalStore
from nbreactive.client.protocol import encode_args
from nbreactive.errors import ArgumentError
from nbreactive.values.keys import encode_key
from nbreactive.values.kinds import UNSET

OPTS = "paginationOpts"


@dataclass
class _LoadedPage:
    args: dict[str, Any]
    value: dict[str, Any]

    @property
    def opts(self) -> dict[str, Any]:
        return self.args[OPTS]

    @property
    def items(self) -> list[Any]:
        return self.value["page"]

    @property
    def list(self) -> str:
        """What tells the paginated queries apart that it may belong to."""
        return encode_args({**self.args, OPTS: self.opts.get("id")})


def insert_at_top(store: LocalStore, ref: Any, item: Any, args: Mapping[str, Any] | None = None) -> None:
    """Insert ``item`` before all others, in optimistic updates of paginated queries.

    Parameters
    ----------
    store
        The store of the update.
    ref
        The paginated query.
    item
        The new row.
    args
        Arguments that the paginated queries must have; all of the function's if not given.

    Examples
    --------
    >>> def sent(store, args):
    ...     insert_at_top(store, api.messages.list, {"_id": "new", "body": args["body"]}, {"room": args["room"]})
    >>> send = use_mutation(api.messages.send).with_optimistic_update(sent)       # doctest: +SKIP
    """
    for page in _pages(store, ref, args):
        if page.opts.get("cursor") is None:
            page.items.insert(0, item)
            store.set_query(ref, page.args, page.value)


def insert_at_bottom_if_loaded(store: LocalStore, ref: Any, item: Any, args: Mapping[str, Any] | None = None) -> None:
    """Insert ``item`` after all others, where the last page is loaded; elsewhere its place is not known yet.

    Takes what :func:`insert_at_top` takes.
    """
    for page in _pages(store, ref, args):
        if page.value.get("isDone"):
            page.items.append(item)
            store.set_query(ref, page.args, page.value)


def insert_at_position(
    store: LocalStore,
    ref: Any,
    item: Any,
    *,
    key: Callable[[Any], Any],
    order: Literal["asc", "desc"],
    args: Mapping[str, Any] | None = None,
) -> None:
    """Insert ``item`` where the order of the query puts it; nowhere, if that is in a page that is not loaded.

    Parameters
    ----------
    store, ref, item, args
        As for :func:`insert_at_top`.
    key
        Returns what the query sorts by, a value or a list of values: the fields of its index, ``_creationTime`` last.
    order
        As in the query: ``"asc"`` or ``"desc"``.

    Examples
    --------
    >>> def added(store, args):
    ...     task = {**args, "_id": "new", "_creationTime": time.time() * 1000}
    ...     by = lambda task: [task["priority"], task["_creationTime"]]
    ...     insert_at_position(store, api.tasks.list, task, key=by, order="asc")
    >>> add = use_mutation(api.tasks.add).with_optimistic_update(added)       # doctest: +SKIP
    """
    if order not in ("asc", "desc"):
        raise ArgumentError(f"order is 'asc' or 'desc', as in the query, not {order!r}")

    def before(one: Any, other: Any) -> bool:
        mine, its = _sort_key(key(one)), _sort_key(key(other))
        return mine < its if order == "asc" else mine > its

    lists: dict[str, list[_LoadedPage]] = {}
    for page in _pages(store, ref, args):
        lists.setdefault(page.list, []).append(page)
    for pages in lists.values():
        following = _Following(pages)
        for page in pages:
            if _is_the_place(page, item, following, before):
                at = next((at for at, each in enumerate(page.items) if not before(each, item)), len(page.items))
                page.items.insert(at, item)
                store.set_query(ref, page.args, page.value)


def update_in_page(
    store: LocalStore, ref: Any, change: Callable[[Any], Any], args: Mapping[str, Any] | None = None
) -> None:
    """Replace every loaded row of the paginated queries by what ``change(row)`` returns for it; UNSET takes it out.

    Takes else what :func:`insert_at_top` takes.

    Examples
    --------
    >>> def liked(store, args):
    ...     update_in_page(
    ...         store,
    ...         api.posts.list,
    ...         lambda post: {**post, "likes": post["likes"] + 1} if post["_id"] == args["post_id"] else post,
    ...     )
    >>> like = use_mutation(api.posts.like).with_optimistic_update(liked)       # doctest: +SKIP
    """
    for page in _pages(store, ref, args):
        changed = [change(row) for row in page.items]
        page.value["page"] = [row for row in changed if row is not UNSET]
        store.set_query(ref, page.args, page.value)


def _pages(store: LocalStore, ref: Any, args: Mapping[str, Any] | None) -> list[_LoadedPage]:
    """Return the loaded pages of a function, of the queries that have ``args``."""
    wanted = {name: to_value(value, name) for name, value in (args or {}).items()}
    if OPTS in wanted:
        raise ArgumentError("args are those of the function without paginationOpts: updates are for all loaded pages")
    pages = [
        _LoadedPage(query.args, query.value)
        for query in store.get_all_queries(ref)
        if isinstance(query.value, dict)
        and isinstance(query.value.get("page"), list)
        and isinstance(query.args.get(OPTS), dict)
    ]
    return [page for page in pages if all(_has(page.args, name, value) for name, value in wanted.items())]


def _has(args: dict[str, Any], name: str, value: Any) -> bool:
    return name in args and encode_key(args[name]) == encode_key(value)


def _sort_key(value: Any) -> bytes:
    return encode_key(list(value) if isinstance(value, tuple) else value)


class _Following:
    """What comes after a page: pages begin where others end."""

    def __init__(self, pages: list[_LoadedPage]) -> None:
        self._by_cursor = {page.opts["cursor"]: page for page in pages if page.opts.get("cursor") is not None}

    def first_item(self, page: _LoadedPage) -> tuple[bool, Any]:
        """Return whether anything is known of what follows, and the first item there (UNSET: there is none)."""
        seen: set[str] = set()
        while not page.value.get("isDone"):
            cursor = page.value.get("continueCursor")
            after = self._by_cursor.get(cursor) if isinstance(cursor, str) and cursor not in seen else None
            if after is None:
                return False, UNSET
            if after.items:
                return True, after.items[0]
            seen.add(str(cursor))
            page = after
        return True, UNSET


def _is_the_place(page: _LoadedPage, item: Any, following: _Following, before: Callable[[Any, Any], bool]) -> bool:
    """Whether an item belongs into this page: behind where it begins, and before what comes after it."""
    if page.opts.get("cursor") is not None and (not page.items or before(item, page.items[0])):
        return False
    known, after = following.first_item(page)
    if known:
        return after is UNSET or before(item, after)
    return bool(page.items) and not before(page.items[-1], item)
