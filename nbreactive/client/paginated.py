"""A paginated query: a list that grows a page at a time, and whose pages are all live."""

# Rows come from anywhere, so their types are not known before.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import traitlets

from nbreactive.client import threads
from nbreactive.client.arguments import Arguments
from nbreactive.client.live_value import FIRST_VALUE, LiveValue, next_token
from nbreactive.client.local_store import same_value
from nbreactive.client.pages import Page, Pages
from nbreactive.client.protocol import Outcome, encode_args
from nbreactive.errors import ArgumentError, NBReactiveError, NotConnected

if TYPE_CHECKING:
    from nbreactive.client.client import Client

PAGE_SIZE = 20
_MORE = {"CanLoadMore": "more", "LoadingMore": "loading"}


class PaginatedQuery(LiveValue):
    """The rows of the pages that have been loaded so far, and of every change to them.

    Attributes
    ----------
    value
        The rows of all loaded pages; a fresh list after every change. ``results`` is the same, and ``[]`` before the
        first page is there.
    error
        Why a page failed, or None.
    status
        ``LoadingFirstPage``, ``CanLoadMore``, ``LoadingMore``, ``Exhausted``, or ``Error``.

    Examples
    --------
    >>> page = use_paginated_query(api.posts.list.options(page_size=20), author=a)       # doctest: +SKIP
    >>> page.load_more()       # doctest: +SKIP
    >>> page.results       # doctest: +SKIP
    """

    status = traitlets.Enum(
        ["LoadingFirstPage", "CanLoadMore", "LoadingMore", "Exhausted", "Error"], "LoadingFirstPage", read_only=True
    )

    def __init__(
        self,
        client: Client,
        path: str,
        arguments: Arguments,
        *,
        title: str = "",
        page_size: int = PAGE_SIZE,
        first: int = 0,
    ) -> None:
        super().__init__(client, path, arguments, title=title)
        self.page_size = page_size
        self._first_size = max(first, page_size)
        self._args: dict[str, Any] = {}
        self._pages: Pages | None = None  # None while paused; like all below it belongs to the client thread
        self._listeners: dict[Page, _PageListener] = {}
        self._link = "connecting"
        self._problem: NBReactiveError | None = None
        self._changed = False
        self._state = "loading"
        self._idle = threading.Event()
        """Set while no page is being loaded."""
        tokens: set[int] = set()
        self._tokens = tokens
        self._finalizer = weakref.finalize(self, _let_go, client, tokens, arguments)
        self._finalizer.atexit = False
        self._follow_arguments()

    @property
    def results(self) -> list[Any]:
        """The rows of all loaded pages."""
        return self.value or []

    @property
    def is_loading(self) -> bool:
        """Whether a page is being loaded."""
        return self.status in ("LoadingFirstPage", "LoadingMore")

    @property
    def state(self) -> str:
        """What views say of it: ``loading``, ``live``, ``reconnecting``, ``error`` or ``closed``."""
        return "closed" if self._closed else self._state

    @property
    def more(self) -> str:
        """Whether more rows can be loaded: ``""`` (there are no others), ``more``, or ``loading``."""
        return "" if self._closed else _MORE.get(self.status, "")

    def load_more(self, size: int | None = None, *, wait: bool = True, timeout: float = FIRST_VALUE) -> None:
        """Load another page, if there is one (the status is ``CanLoadMore``).

        Parameters
        ----------
        size
            How many rows; as many as the first page has, if it is not given.
        wait
            Whether to wait until they are there. Observers and renderers never wait.
        timeout
            Seconds to wait before ``NotConnected`` is raised.
        """
        wanted = checked_size(self.page_size if size is None else size)
        if self._closed:
            return
        if not wait or threads.on_own_thread():
            self._client.soon(self._load_more, wanted)
            return
        asked = threading.Event()

        def load() -> None:
            self._load_more(wanted)
            asked.set()

        self._client.soon(load)
        if not (asked.wait(timeout) and self._idle.wait(timeout)):
            raise NotConnected(
                f"The next page of {self.path} did not come within {timeout:g} s. {self.message} "
                "It is shown when it comes; load_more(wait=False) does not wait."
            )
        if self.error is not None:
            raise self.error

    def recipe(self) -> Callable[[], PaginatedQuery]:
        """Return how to get this query: itself as long as something else keeps it, otherwise one with as many rows."""
        this = weakref.ref(self)
        client, path, arguments, title, size = self._client, self.path, self._arguments, self.title, self.page_size
        rows = len(self.results)

        def again() -> PaginatedQuery:
            found = this()
            if found is not None and not found.closed:
                return found
            return PaginatedQuery(client, path, arguments.fresh(), title=title, page_size=size, first=rows)

        return again

    def __repr__(self) -> str:
        return f"<paginated {self.path} · {len(self.results):,} rows · {self.status}>"

    # ---- what it asks for ----

    def _ask(self, args: dict[str, Any]) -> None:
        if "paginationOpts" in args:
            raise ArgumentError(f"{self.path}: paginationOpts are given by the paginated query, page by page.")
        self._client.soon(self._begin, dict(args))

    def _pause(self) -> None:
        self._client.soon(self._begin, None)

    def _refused(self, failure: NBReactiveError) -> None:
        super()._refused(failure)
        self._put("status", "Error")
        self._state = "error"

    def _ended(self) -> None:
        self._idle.set()
        self._finalizer()

    # ---- client thread ----

    def _begin(self, args: dict[str, Any] | None) -> None:
        """Begin at the first page; the rows before stay, dimmed, until it is there."""
        if self._closed:
            return
        for page in self._pages.all() if self._pages is not None else ():
            self._close_page(page)
        if args is None:
            self._pages = None
            self._put("status", "LoadingFirstPage")
            self._idle.set()
            self.announce()
            return
        self._args = args
        self._pages = Pages(self.path, self._first_size)
        self._first_size = self.page_size
        self._open_page(self._pages.first)
        self._changed = True
        self.refresh()

    def _load_more(self, size: int) -> None:
        page = self._pages.load_more(size) if self._pages is not None and not self._closed else None
        if page is not None:
            self._open_page(page)
            self._changed = True
            self.refresh()

    def _open_page(self, page: Page) -> None:
        listener = self._listeners[page] = _PageListener(self, page)
        self._tokens.add(listener.token)
        key = (self.path, encode_args({**self._args, "paginationOpts": page.opts}))
        self._client.attach(listener.token, key, weakref.ref(listener))

    def _close_page(self, page: Page) -> None:
        listener = self._listeners.pop(page, None)
        if listener is not None:
            self._tokens.discard(listener.token)
            self._client.detach(listener.token)

    def hear(self, link: str, problem: NBReactiveError | None) -> None:
        """A page has heard something (client thread)."""
        self._link, self._problem = link, problem
        self._changed = True

    def refresh(self) -> None:
        """Put the pages together, once after all that changed together (client thread)."""
        if self._closed or self._pages is None or not self._changed:
            return
        self._changed = False
        look = self._pages.look()
        for page in look.closed:
            self._close_page(page)
        if look.restart:
            self._begin(self._args)
            return
        if look.rows is not None and (self.value is None or not same_value(look.rows, self.value)):
            self._put("value", look.rows)
        self._put("error", look.error)
        self._put("status", look.status)
        self._describe(look.status)
        for page in look.opened:
            self._open_page(page)
        self.announce()

    def _describe(self, status: str) -> None:
        outcomes = [page.outcome for page in self._listeners if page.outcome is not None]
        self.columns = next((outcome.columns for outcome in outcomes if outcome.error is None), self.columns)
        self.identity_read = any(outcome.identity_read for outcome in outcomes)
        loading = status == "LoadingFirstPage"
        if self._link == "open":
            self._state = "loading" if loading else "error" if status == "Error" else "live"
        else:
            self._state = "loading" if loading and self._link == "connecting" else "reconnecting"
        self.dimmed = loading and self._first.is_set()
        self.message = str(self._problem) if self._link != "open" and self._problem is not None else ""
        if not loading:
            self._answered()
        if status in ("LoadingFirstPage", "LoadingMore"):
            self._idle.clear()
        else:
            self._idle.set()


class _PageListener:
    """What one page hears; it does not keep its query alive."""

    def __init__(self, query: PaginatedQuery, page: Page) -> None:
        self.token = next_token()
        self._query = weakref.ref(query)
        self._page = page

    def receive(self, outcome: Outcome | None, link: str, problem: NBReactiveError | None) -> None:
        """Take the newest outcome and the state of the connection."""
        self._page.outcome = outcome
        query = self._query()
        if query is not None:
            query.hear(link, problem)

    def settle(self) -> None:
        """All pages have what changed together."""
        query = self._query()
        if query is not None:
            query.refresh()


def checked_size(size: Any) -> int:
    """Return the number of rows of a page."""
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ArgumentError(f"a page has a number of rows from 1 on, not {size!r}", "page_size")
    return size


def _let_go(client: Client, tokens: set[int], arguments: Arguments) -> None:
    """Unsubscribe what was dropped or closed; may run in any thread, at any moment."""
    with contextlib.suppress(Exception):
        arguments.close()
    for token in list(tokens):
        client.detach(token)
