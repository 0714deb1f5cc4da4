"""A paginated list as Convex's React hook keeps it, on a backend's own subscriptions: pages, splits, reconnects."""

from __future__ import annotations

from typing import Any

from nbreactive.engine.engine import Engine
from nbreactive.engine.requests import QuerySpec
from nbreactive.engine.subscriptions import Subscription
from nbreactive.values.json import decode_json
from nbreactive.values.packing import pack


class Page:
    """One live page: what it was asked with, and what it shows."""

    def __init__(self, opts: dict[str, Any]) -> None:
        self.opts = opts
        self.journal: str | None = None
        self.subscription: Subscription | None = None
        self.shown: dict[str, Any] | None = None
        self.error: Any = None
        self.first: dict[str, Any] | None = None
        """What it showed first."""


class Pager:
    """All pages of one list."""

    def __init__(self, engine: Engine, path: str, args: dict[str, Any], count: int, **opts: Any) -> None:
        self.engine = engine
        self.path = path
        self.args = args
        self.count = count
        self.options = opts
        self.pages: list[Page] = []
        self.ts = 0
        self._add(None, count)

    def invalidated(self) -> None:
        pass

    def _subscribe(self, page: Page) -> None:
        spec = QuerySpec(self.path, pack({**self.args, "paginationOpts": page.opts}), journal=page.journal)
        page.subscription = self.engine.subscriptions.add(self, spec)

    def _page(self, **opts: Any) -> Page:
        page = Page({**self.options, **opts})
        self._subscribe(page)
        return page

    def _add(self, cursor: str | None, count: int) -> None:
        self.pages.append(self._page(numItems=count, cursor=cursor))

    @property
    def done(self) -> bool:
        shown = self.pages[-1].shown
        return shown is not None and shown["isDone"]

    @property
    def items(self) -> list[Any]:
        return [item for page in self.pages if page.shown for item in page.shown["page"]]

    def load_more(self, count: int) -> bool:
        shown = self.pages[-1].shown
        if shown is None or shown["isDone"]:
            return False
        self._add(shown["continueCursor"], count)
        return True

    def reconnect(self) -> None:
        """Lose the connection and come back: every page is asked for again, with the journal that came last."""
        self.engine.subscriptions.close(self)
        for page in self.pages:
            self._subscribe(page)

    def close(self) -> None:
        self.engine.subscriptions.close(self)

    async def settle(self, at_least: int = 0) -> int:
        """Take updates and split what should be split until nothing is left to do; returns how many updates."""
        updates = 0
        while True:
            await self._update(self.pages, at_least)
            updates += 1
            assert updates < 100
            split = next((page for page in self.pages if self._should_split(page)), None)
            if split is None:
                return updates
            await self._split(split, at_least)

    async def _update(self, pages: list[Page], at_least: int) -> None:
        update = await self.engine.subscriptions.update(self, at_least=at_least)
        assert update.ts >= self.ts
        self.ts = update.ts
        for subscription, result in update.changes:
            page = next(page for page in pages if page.subscription is subscription)
            page.journal = result.journal
            page.error = result.failure
            if result.failure is None:
                page.shown = decode_json(result.value)
                page.first = page.first or page.shown

    def _should_split(self, page: Page) -> bool:
        shown = page.shown
        if page.error is not None or shown is None or not shown["splitCursor"]:
            return False
        return shown["pageStatus"] is not None or len(shown["page"]) > 2 * self.count

    async def _split(self, page: Page, at_least: int) -> None:
        assert page.shown is not None
        middle, end = page.shown["splitCursor"], page.shown["continueCursor"]
        halves = [self._page(**{**page.opts, "endCursor": middle})]
        halves.append(self._page(**{**page.opts, "cursor": middle, "endCursor": end}))
        await self._update([*self.pages, *halves], at_least)
        if any(half.error is not None for half in halves):  # try again when it has been mended
            for half in halves:
                assert half.subscription is not None
                self.engine.subscriptions.remove(half.subscription)
            return
        at = self.pages.index(page)
        self.pages[at : at + 1] = halves
        assert page.subscription is not None
        self.engine.subscriptions.remove(page.subscription)
