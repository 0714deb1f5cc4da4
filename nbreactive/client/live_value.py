"""What live queries of every kind are: a value that follows the database, who observes it, and how it shows itself.

Where the value comes from is said by the subclasses. The client thread puts what is new straight into the traits, so
that ``.value`` is up to date the moment a mutation returns; observers hear of it on the ``nbreactive`` thread, of the
newest value only. A live value can be dropped like any other object: it is subscribed as long as a name, a view or an
observer holds it.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
import weakref
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import traitlets
from traitlets.utils.bunch import Bunch

from nbreactive.client import files, threads
from nbreactive.client.arguments import Arguments
from nbreactive.client.protocol import encode_args
from nbreactive.client.rows import Rows
from nbreactive.errors import NBReactiveError, NotConnected

if TYPE_CHECKING:
    from nbreactive.client.client import Client
    from nbreactive.notebook.live_table import LiveTable

FIRST_VALUE = 5.0
ANSWER = 0.5
"""Seconds an answer is awaited before moving widgets ask anew: a dragged slider asks as often as it is answered."""
_log = logging.getLogger("nbreactive")
_tokens = itertools.count(1)
_observed: set[LiveValue] = set()
"""Live values with observers: these keep them alive, as the names of a notebook do."""


class _Meta(ABCMeta, traitlets.MetaHasTraits):
    """Of classes with traits that are abstract: neither metaclass knows of the other."""


class LiveValue(traitlets.HasTraits, Rows, metaclass=_Meta):
    """The newest result of a query, and of every change to it.

    Attributes
    ----------
    value
        The last good result; a fresh object after every change.
    error
        Why the last run failed, or None.
    status
        How it stands.
    """

    value = traitlets.Any(read_only=True)
    error = traitlets.Any(read_only=True)
    status = traitlets.Unicode("loading", read_only=True)

    at: int = 0
    """The earlier time that it shows, as the timestamp of a commit; 0: what is now."""

    on_observe: ClassVar[Callable[[Callable[[], None]], object] | None] = None
    """Set by the notebook extension: it takes an observer off again when its cell is run again."""

    def __init__(self, client: Client, path: str, arguments: Arguments, *, title: str = "") -> None:
        super().__init__()
        self.path = path
        self.title: str = title or path.replace("/", ".").replace(":", ".")
        self.columns: Any = None
        self.identity_read = False
        self.dimmed = False
        """True while the rows shown belong to arguments that have been changed meanwhile."""
        self.message = ""
        self._client = client
        self.deployment: str = client.target.health.get("deployment", "default")
        self.place = files.place_of(client.target)
        """Where a page finds stored files."""
        """The name of the deployment that it is of."""
        self._arguments = arguments
        self._token = next_token()
        self._args_text: str | None = ""  # None while paused
        self._asked = 0.0  # when an answer that is still to come was asked for; 0 if there is none
        self._moved = False  # whether arguments have changed since
        self._closed = False
        self._first = threading.Event()
        self._handlers: list[tuple[Callable[[Any], Any], frozenset[str]]] = []
        self._watchers: list[Callable[[], None]] = []
        self._told: dict[str, Any] = {"value": None, "error": None, "status": self.status}

    # ---- what subclasses say ----

    @property
    def number(self) -> int:
        """Live queries of a process are numbered as they are made."""
        return self._token

    @property
    def total(self) -> int | None:
        """How many rows there are, where that is known to be more than those in ``value``."""
        return None

    @property
    def state(self) -> str:
        """What views say of it: ``loading``, ``live``, ``reconnecting``, ``error`` or ``closed``."""
        return self.status

    @property
    def more(self) -> str:
        """Whether more rows can be loaded: ``""`` (there are no others), ``more``, or ``loading``."""
        return ""

    @property
    def args(self) -> dict[str, Any] | None:
        """The arguments as they are now; None while the query is paused."""
        return self._arguments.current()

    @property
    def bound(self) -> dict[str, Any]:
        """The arguments that widgets give, as they are now."""
        args = self.args or {}
        return {name: args[name] for name in getattr(self._arguments, "bound", ()) if name in args}

    @property
    def declared(self) -> Mapping[str, Any] | None:
        """The validator of its results, where one is known: it says what are moments."""
        return (self._client.describe(self.path) or {}).get("returns")

    @abstractmethod
    def recipe(self) -> Callable[[], LiveValue]:
        """Return how to get this query: itself as long as something else keeps it, otherwise one like it."""

    @abstractmethod
    def _ended(self) -> None:
        """It was closed just now: let go of the subscription."""

    @abstractmethod
    def _ask(self, args: dict[str, Any]) -> None:
        """Subscribe to these arguments, and no longer to those before."""

    @abstractmethod
    def _pause(self) -> None:
        """Subscribe to nothing."""

    def _refused(self, failure: NBReactiveError) -> None:
        """The arguments are no values."""
        self._put("error", failure)

    # ---- arguments ----

    def _follow_arguments(self) -> None:
        """Subscribe, and again whenever widgets among the arguments change."""
        self._arguments.watch(weakly(self))
        self._subscribe()

    def _subscribe(self) -> None:
        args = self._arguments.current()
        text = None if args is None else encode_args(args)
        if text == self._args_text:
            return
        self._args_text = text
        self._asked = 0.0
        if args is None:
            self.dimmed = self._first.is_set()
            self.message = "paused: an argument is SKIP"
            self._pause()
        else:
            self._asked = time.monotonic()
            self._ask(args)

    def ask_again(self) -> None:
        """Ask again with the new arguments, once the last ones are answered (nbreactive thread)."""
        if self._closed:
            return
        asked = self._asked
        if asked and (left := asked + ANSWER - time.monotonic()) > 0:
            self._moved = True
            threads.callbacks().post_later(left, ("asking", self._token), weakly(self))
            return
        self._moved = False
        try:
            self._subscribe()
        except NBReactiveError as failure:
            self._args_text = ""
            self._pause()
            self._refused(failure)
        self.announce()

    def _answered(self) -> None:
        """There is an outcome of the last arguments (client thread)."""
        self._first.set()
        self._asked = 0.0
        if self._moved:
            threads.callbacks().post(("asking", self._token), weakly(self))

    # ---- waiting ----

    def wait(self, timeout: float | None = FIRST_VALUE) -> Self:
        """Wait for the first result; raises its error, or ``NotConnected`` when none came in time."""
        self._client.check_thread("live(...) that waits")
        if self._closed or self._args_text is None:
            return self
        if not self._first.wait(timeout):
            why = f" {self.message}" if self.message else ""
            raise NotConnected(
                f"No first result of {self.path} within {timeout:g} s.{why} "
                "The backend may be busy or gone: see repr(client), in a notebook %reactive status, or use .options(wait=False)."
            )
        if self.error is not None and self.value is None:
            raise self.error
        return self

    # ---- what happens ----

    def _put(self, name: str, new: Any) -> None:
        self._trait_values[name] = new  # no notification here: observers never run on the client thread

    def announce(self) -> None:
        """Let observers and views look again, soon."""
        if self._handlers or self._watchers:
            threads.callbacks().post(("live", self._token), self._tell)

    # ---- observers ----

    def observe(
        self,
        handler: Callable[[Any], Any],
        names: str | list[str] | Any = traitlets.All,
        type: str | Any = "change",  # noqa: A002, ARG002 (the signature of traitlets)
    ) -> None:
        """Call ``handler(change)`` after changes, on the ``nbreactive`` thread, with the newest value only."""
        wanted = (
            {"value", "error", "status"}
            if names is traitlets.All
            else {names}
            if isinstance(names, str)
            else set(names)
        )
        if unknown := wanted - {"value", "error", "status"}:
            raise traitlets.TraitError(
                f"A live query has value, error and status, but not {', '.join(sorted(unknown))}."
            )
        if not self._handlers:
            self._told = {name: self._trait_values.get(name) for name in self._told}
        self._handlers.append((handler, frozenset(wanted)))
        _observed.add(self)
        if LiveValue.on_observe is not None:
            this, held = weakref.ref(self), handler

            def take_off() -> None:
                live = this()
                if live is not None:
                    live.unobserve(held)

            LiveValue.on_observe(take_off)

    def unobserve(
        self,
        handler: Callable[[Any], Any],
        names: str | list[str] | Any = traitlets.All,  # noqa: ARG002 (the signature of traitlets)
        type: str | Any = "change",  # noqa: A002, ARG002
    ) -> None:
        """Take an observer off; one that is not there is no error."""
        for at, (known, _) in enumerate(self._handlers):
            if known == handler:
                del self._handlers[at]
                break
        if not self._handlers:
            _observed.discard(self)

    def unobserve_all(self, name: str | Any = traitlets.All) -> None:  # noqa: ARG002 (the signature of traitlets)
        """Take all observers off."""
        self._handlers.clear()
        _observed.discard(self)

    def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed()`` after anything changed (views use it); on the ``nbreactive`` thread."""
        self._watchers.append(changed)

    def unwatch(self, changed: Callable[[], None]) -> None:
        """Undo :meth:`watch`."""
        if changed in self._watchers:
            self._watchers.remove(changed)

    def _tell(self) -> None:
        """Run observers and views (nbreactive thread)."""
        now = {name: self._trait_values.get(name) for name in ("error", "value", "status")}
        for name, new in now.items():
            old = self._told.get(name)
            if old is new:
                continue
            self._told[name] = new
            change = Bunch(name=name, old=old, new=new, owner=self, type="change")
            for handler, names in list(self._handlers):
                if name in names:
                    self._run(handler, change)
        for watcher in list(self._watchers):
            self._run(watcher)

    def _run(self, work: Callable[..., Any], *args: Any) -> None:
        try:
            work(*args)
        except Exception as failure:  # noqa: BLE001 (whatever an observer raises, the others hear too)
            _log.exception("an observer of %s failed", self.path)
            self.message = f"an observer failed: {type(failure).__name__}: {failure}"

    # ---- display ----

    def _ipython_display_(self) -> None:
        from nbreactive.notebook.display import show

        show(self)

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        from nbreactive.notebook.display import live_bundle

        return live_bundle(self)

    def table(self, **options: Any) -> LiveTable:
        """Return a table of it to work with: ``edit``, ``selection``, ``formats``, ``height``; see :class:`nbreactive.LiveTable`.

        Examples
        --------
        >>> api.posts.list.live().table(edit=api.posts.update, selection="many")       # doctest: +SKIP
        """
        from nbreactive.notebook.live_table import LiveTable

        return LiveTable(self, **options)

    def _display_(self) -> Any:  # marimo asks so
        from nbreactive.notebook.elsewhere import table_of

        return table_of(self)

    def render(self, draw: Callable[[Any], Any]) -> Any:
        """Show what ``draw(value)`` returns (a chart, a widget, HTML ...) and draw it again after every change."""
        from nbreactive.notebook.render import Rendering

        return Rendering(lambda: draw(self.value), [self])

    def __repr__(self) -> str:
        return f"<live {self.path} · {self.status}>"

    # ---- life ----

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def close(self) -> None:
        """Unsubscribe; the last value stays."""
        if self._closed:
            return
        self._closed = True
        self._ended()
        self.announce()
        self._first.set()
        _observed.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __bool__(self) -> bool:
        return True


def next_token() -> int:
    """Return a number that no subscription of this process has had yet."""
    return next(_tokens)


def weakly(live: LiveValue) -> Callable[[], None]:
    """Return a callback which does not keep ``live`` alive: widgets outlive the queries that they feed."""
    this = weakref.ref(live)

    def changed() -> None:
        found = this()
        if found is not None:
            found.ask_again()

    return changed
