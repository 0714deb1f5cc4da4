"""Which pages a paginated query has, as a plain state: no subscription, no thread.

Each page is a live query of its own, from its ``cursor`` to where it ended when it was loaded, so pages that lie side by
side neither overlap nor leave a gap, whatever happens in between. A page that has become large is replaced by two halves
once both are there; a cursor that the server knows no more means to begin again at the first page.
"""

# What a function returns may be anything.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from nbreactive.client.protocol import Outcome
from nbreactive.errors import AppError, ArgumentError, NBReactiveError

INVALID_CURSOR = "InvalidCursor"
_SPLITS = ("SplitRecommended", "SplitRequired")
_ids = itertools.count(1)


@dataclass(eq=False)
class Page:
    """One page: what is asked for, and what came."""

    opts: dict[str, Any]
    outcome: Outcome | None = None
    loaded: bool = False
    """Whether it ever had a result."""
    shown: bool = False
    """Whether its rows are among those that are shown."""
    halves: tuple[Page, Page] | None = None
    """The pages that will replace it, when both have a result."""


@dataclass
class Look:
    """How the pages stand together."""

    status: str
    rows: list[Any] | None = None
    """All rows; None when a page that was shown is being replaced, and the rows stay as they were."""
    error: NBReactiveError | None = None
    opened: list[Page] = field(default_factory=list[Page])
    """Pages to subscribe to."""
    closed: list[Page] = field(default_factory=list[Page])
    """Pages that are not needed any more."""
    restart: bool = False
    """Whether to begin again at the first page."""


class Pages:
    """The pages of one paginated query, from the first on; every beginning has an id that the server has not seen."""

    def __init__(self, path: str, size: int) -> None:
        self._path = path
        self._id = next(_ids)
        self.first = Page({"numItems": size, "cursor": None, "id": self._id})
        self._pages = [self.first]

    def all(self) -> list[Page]:
        """Return every page that is subscribed to."""
        return [each for page in self._pages for each in (page, *(page.halves or ()))]

    def load_more(self, size: int) -> Page | None:
        """Add the next page, if there is one and all before it are there."""
        last = self._pages[-1].outcome
        if last is None or self.look().status != "CanLoadMore":
            return None
        page = Page({"numItems": size, "cursor": last.value["continueCursor"], "id": self._id})
        self._pages.append(page)
        return page

    def look(self) -> Look:
        """Put the pages together; begins and ends splits."""
        look = Look("Exhausted")
        self._split(look)
        rows: list[Any] = []
        for at, page in enumerate(self._pages):
            page.loaded = page.loaded or page.outcome is not None
            error = self._error_of(page)
            if error is not None:
                look.restart = _is_invalid_cursor(error) and (at > 0 or page.shown or "endCursor" in page.opts)
                look.status, look.error = "Error", error
                return look
            if page.outcome is None or page.outcome.value.get("pageStatus") == "SplitRequired":
                look.status = "LoadingMore" if at or page.loaded else "LoadingFirstPage"
                if at and not any(rest.shown for rest in self._pages[at:]):
                    look.rows = self._shown(rows, at)
                return look
            rows += page.outcome.value["page"]
            look.status = "Exhausted" if page.outcome.value["isDone"] else "CanLoadMore"
        look.rows = self._shown(rows, len(self._pages))
        return look

    def _shown(self, rows: list[Any], pages: int) -> list[Any]:
        for page in self._pages[:pages]:
            page.shown = True
        return rows

    def _split(self, look: Look) -> None:
        pages: list[Page] = []
        for page in self._pages:
            if page.halves is not None and all(half.outcome is not None for half in page.halves):
                for half in page.halves:
                    half.loaded, half.shown = True, page.shown
                pages += page.halves
                look.closed.append(page)
            else:
                pages.append(page)
        self._pages = pages
        for page in pages:
            if page.halves is None and (middle := self._middle(page)) is not None:
                end = page.outcome.value["continueCursor"] if page.outcome is not None else None
                page.halves = (
                    Page({**page.opts, "endCursor": middle}),
                    Page({**page.opts, "cursor": middle, "endCursor": end}),
                )
                look.opened += page.halves

    def _middle(self, page: Page) -> str | None:
        """Return where to split a page, if that is to be done."""
        if page.outcome is None or self._error_of(page) is not None:
            return None
        value = page.outcome.value
        large = value.get("pageStatus") in _SPLITS or len(value["page"]) > 2 * page.opts["numItems"]
        return (value.get("splitCursor") or None) if large else None

    def _error_of(self, page: Page) -> NBReactiveError | None:
        outcome = page.outcome
        if outcome is None or outcome.error is not None:
            return None if outcome is None else outcome.error
        value = outcome.value
        if isinstance(value, dict) and isinstance(value.get("page"), list) and "isDone" in value:
            return None
        return ArgumentError(
            f"{self._path} does not return a page: it has to return what .paginate(opts) gives, e.g. "
            'ctx.db.query("posts").paginate(opts) with a parameter opts: PaginationOpts.'
        )


def _is_invalid_cursor(error: NBReactiveError) -> bool:
    if isinstance(error, AppError) and isinstance(error.data, dict) and error.data.get("isConvexSystemError") is True:
        return error.data.get("paginationError") == INVALID_CURSOR
    return error.code == INVALID_CURSOR or INVALID_CURSOR in error.message
