"""Results as they are shown: the server's, with the optimistic updates of mutations under way on top.

Whenever the server says something new, the updates are run again on it, in the order of their mutations; the update of
a mutation whose effect the server's results have is dropped in that same step, so it is never shown twice and never
missing in between. :class:`OptimisticResults` is a plain state; :class:`Layers` lets it work on the ``nbreactive``
thread, where all code of users runs, and shows what came of it on the client thread.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import inspect
import itertools
import logging
import threading
from collections import ChainMap, deque
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from nbreactive.client import threads
from nbreactive.client.local_store import Key, LocalStore, Results, copy_value, same_value
from nbreactive.errors import ArgumentError, NBReactiveError

Update = Callable[[LocalStore, dict[str, Any]], object]
_log = logging.getLogger("nbreactive")
_numbers = itertools.count(1)


class Layer:
    """The update of one mutation under way."""

    def __init__(self, path: str, update: Update, args: Mapping[str, Any]) -> None:
        self.path = path
        self.sent = False
        """Whether the session has the mutation: from then on it says when the layer is dropped."""
        self.posted = threading.Event()
        self.begun: concurrent.futures.Future[None] = concurrent.futures.Future()
        """Done when the update is shown, or has raised."""
        self.unseen: list[str] = []
        """The queries that it sets and of which none is live here: they may be misspelt."""
        self._update = update
        self._args = dict(args)

    def apply(self, shown: Mapping[Key, Any]) -> Results:
        """Run the update and return what it sets; raises what it raises."""
        store = LocalStore(shown)
        try:
            returned = self._update(store, copy_value(self._args))
        finally:
            store.close()
        if inspect.isawaitable(returned):
            if inspect.iscoroutine(returned):
                returned.close()
            raise ArgumentError(
                f"The optimistic update of {self.path} is asynchronous; it has to be done when it returns: "
                "use def instead of async def, without await."
            )
        live = {key[0] for key in shown}
        self.unseen = [key[0] for key in store.changes if key[0] not in live]
        return store.changes


class OptimisticResults:
    """The server's results and what is shown instead of them."""

    def __init__(self, server: Mapping[Key, Any]) -> None:
        self._server: Results = dict(server)
        self._shown: Results = dict(server)
        self._layers: list[Layer] = []
        self.overlay: Results = {}
        """What is shown of queries that updates have set."""

    def start(self, layer: Layer) -> Results:
        """Put a layer on top; returns what is shown anew. If its update raises, nothing has changed."""
        changes = layer.apply(ChainMap(self.overlay, self._server))
        self._layers.append(layer)
        return self._show({**self.overlay, **changes}, ())

    def ingest(self, fresh: Results, gone: Collection[Key], dropped: Collection[Layer]) -> Results:
        """Take what the server says now; returns what is shown anew."""
        for key in gone:
            self._server.pop(key, None)
            self._shown.pop(key, None)
        self._server |= fresh
        self._layers = [layer for layer in self._layers if layer not in dropped]
        overlay: Results = {}
        for layer in self._layers:
            try:
                overlay |= layer.apply(ChainMap(overlay, self._server))
            except Exception:  # noqa: BLE001 (its caller has its result to come; the other layers stand)
                _log.exception(
                    "the optimistic update of %s failed on newer results; it is left out of them", layer.path
                )
        return self._show(overlay, fresh)

    def _show(self, overlay: Results, fresh: Collection[Key]) -> Results:
        changed: Results = {}
        for key in {**self.overlay, **overlay, **dict.fromkeys(fresh)}:
            before = self._shown.get(key)
            now = overlay[key] if key in overlay else self._server.get(key)
            if now is before:
                continue
            if now is not None and before is not None and now.error is None and before.error is None:
                # Equal results stay the object that they were: nobody is told of a change that is none.
                if same_value(now.value, before.value):
                    now = dataclasses.replace(now, value=before.value)
                if key in overlay:
                    overlay[key] = now = before if now == before else now
                if now is before:
                    continue
            self._shown[key] = changed[key] = now
        self.overlay = overlay
        return changed


@dataclasses.dataclass
class _Job:
    then: Callable[[Exception | None], None]
    layer: Layer | None = None
    server: Results | None = None
    """What the server has said so far, where this job is the first one of a stretch."""
    fresh: Results = dataclasses.field(default_factory=dict[Any, Any])
    gone: Collection[Key] = ()
    dropped: Collection[Layer] = ()


class Layers:
    """The layers of one client; all but :meth:`work` and :meth:`wait` belong to the client thread.

    Parameters
    ----------
    show
        Takes what is shown anew (client thread).
    server
        Returns what the server has said of every live query.
    ahead, back
        How work gets to the ``nbreactive`` thread, and from there to the client thread.
    """

    def __init__(
        self,
        show: Callable[[Results], None],
        server: Callable[[], Results],
        ahead: Callable[[Callable[[], None]], object] | None = None,
        back: Callable[..., object] | None = None,
    ) -> None:
        key = ("optimistic", next(_numbers))
        self._show = show
        self._server = server
        self._ahead = ahead or partial(threads.callbacks().post, key)
        self._back = back or threads.loop_thread().call
        self._jobs: deque[_Job] = deque()
        self._under_way = 0
        self._alive: set[Layer] = set()
        self._applying = False
        self._results = OptimisticResults({})
        self.overlay: Results = {}
        """What updates show, for queries that become live meanwhile."""

    @property
    def active(self) -> bool:
        """Whether results have to come through here before they are shown."""
        return bool(self._alive or self._under_way)

    def begin(self, layer: Layer) -> asyncio.Future[None]:
        """Show a layer; done when that has happened, with what the update raised, if it did."""
        begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        server = None if self.active else self._server()
        self._alive.add(layer)

        def then(failure: Exception | None) -> None:
            if failure is not None:
                self._alive.discard(layer)
            if begun.done():
                return
            if failure is None:
                begun.set_result(None)
            else:
                begun.set_exception(failure)

        self._post(_Job(then, layer=layer, server=server))
        layer.posted.set()
        return begun

    def ingest(
        self,
        fresh: Results,
        then: Callable[[], None],
        *,
        gone: Collection[Key] = (),
        dropped: Collection[Layer] = (),
    ) -> None:
        """Show what the server says now, without the layers that are dropped; ``then()`` is called when it is shown."""

        def shown(failure: Exception | None) -> None:
            self._alive.difference_update(dropped)
            then()
            if failure is not None:
                _log.error("results could not be shown", exc_info=failure)

        self._post(_Job(shown, fresh=fresh, gone=gone, dropped=dropped))

    async def drop(self, layer: Layer) -> None:
        """Take a layer off whose mutation was never sent."""
        if layer in self._alive:
            dropped = asyncio.get_running_loop().create_future()
            self.ingest({}, lambda: dropped.set_result(None), dropped=[layer])
            await dropped

    def _post(self, job: _Job) -> None:
        self._under_way += 1
        self._jobs.append(job)
        self._ahead(self.work)

    def _done(self, job: _Job, changed: Results, overlay: Results, failure: Exception | None) -> None:
        self._under_way -= 1
        self.overlay = overlay
        self._show(changed)
        job.then(failure)
        if not self.active:
            self.overlay, self._results = {}, OptimisticResults({})

    # ---- nbreactive thread ----

    def work(self) -> None:
        """Do what waits, in order."""
        while self._jobs:
            job = self._jobs.popleft()
            failure: Exception | None = None
            changed: Results = {}
            self._applying = True
            try:
                changed = self._do(job)
            except Exception as raised:  # noqa: BLE001 (goes to whoever started the mutation)
                failure = raised
            finally:
                self._applying = False
            self._back(self._done, job, changed, dict(self._results.overlay), failure)

    def _do(self, job: _Job) -> Results:
        if job.server is not None:
            self._results = OptimisticResults(job.server)
        if job.layer is not None:
            return self._results.start(job.layer)
        return self._results.ingest(job.fresh, job.gone, job.dropped)

    # ---- the thread of whoever calls ----

    def check(self, path: str) -> None:
        """Raise where an update itself starts a mutation."""
        if self._applying and threads.callbacks().is_current:
            raise NBReactiveError(
                f"{path} was called inside an optimistic update: updates only change what is shown (store.set_query), "
                "since they are run again and again. Call it from a cell, a button or an observer."
            )

    def wait(self, layer: Layer) -> None:
        """Wait until a layer is shown; raises what its update raised."""
        if threads.callbacks().is_current:  # an observer starts a mutation: nobody else would do the work
            layer.posted.wait()
            self.work()
        layer.begun.result()
