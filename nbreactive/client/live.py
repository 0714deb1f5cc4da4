"""A live query: a plain object whose ``value`` follows the database."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import traitlets

from nbreactive.client.arguments import Arguments
from nbreactive.client.live_value import LiveValue
from nbreactive.client.protocol import Outcome, encode_args
from nbreactive.errors import NBReactiveError
from nbreactive.values.instants import instant_of, moment

if TYPE_CHECKING:
    from nbreactive.client.client import Client
    from nbreactive.notebook.history import History


class LiveQuery(LiveValue):
    """The newest result of a query, and of every change to it.

    Attributes
    ----------
    value
        The last good result; a fresh object after every change.
    error
        Why the last run failed, or None.
    status
        ``loading``, ``live``, ``reconnecting``, ``error`` or ``closed``.

    Examples
    --------
    >>> messages = api.chat.list_messages.live(limit=20)       # doctest: +SKIP
    >>> messages.observe(lambda change: print(len(change.new)), "value")       # doctest: +SKIP
    """

    status = traitlets.Enum(["loading", "live", "reconnecting", "error", "closed"], "loading", read_only=True)

    def __init__(self, client: Client, path: str, arguments: Arguments, *, title: str = "", at: int = 0) -> None:
        super().__init__(client, path, arguments, title=title)
        self._plain_title: str = self.title
        self._set_time(at)
        self._finalizer = weakref.finalize(self, _let_go, client, self._token, arguments)
        self._finalizer.atexit = False
        self._follow_arguments()

    # ---- what the client thread does ----

    def receive(self, outcome: Outcome | None, link: str, problem: NBReactiveError | None) -> None:
        """Take a new outcome or a new state of the connection (client thread)."""
        if self._closed:
            return
        if outcome is not None:
            self.columns = outcome.columns if outcome.error is None else self.columns
            self.identity_read = outcome.identity_read
            self._put("error", outcome.error)
            if outcome.error is None:
                self._put("value", outcome.value)
        if link == "open":
            status = "loading" if outcome is None else "error" if outcome.error is not None else "live"
        else:
            status = "loading" if outcome is None and link == "connecting" else "reconnecting"
        self.dimmed = outcome is None and self._first.is_set()
        self.message = str(problem) if link != "open" and problem is not None else ""
        self._put("status", "closed" if self._closed else status)
        if outcome is not None:
            self._answered()
        self.announce()

    def settle(self) -> None:
        """Nothing to do when all that changed together is there: each live query is whole by itself."""

    # ---- earlier times ----

    def travel(self, at: Any = None) -> None:
        """Show what was at an earlier time, which stays as it is; None: what is, from now on.

        Parameters
        ----------
        at
            ISO text (UTC unless it says otherwise), an aware datetime, milliseconds, or the timestamp of a commit.
        """
        ts = 0 if at is None else instant_of(at)
        if ts != self.at:
            self._set_time(ts)
            self._args_text = ""
            self.ask_again()

    def history(self, *, limit: int = 200) -> History:
        """Return a slider over the last commits, with a view of what this query gave then; see :func:`nbreactive.history`.

        The view has a query of its own: this one stays as it is.
        """
        from nbreactive.notebook.history import History

        other = type(self)(self._client, self.path, self._arguments.fresh(), title=self._plain_title)
        self._client.keep(other)
        return History(other, limit=limit)

    def _set_time(self, at: int) -> None:
        self.at = at
        self.title = f"{self._plain_title} as of {moment(at)}" if at else self._plain_title

    # ---- what it asks for ----

    def _ask(self, args: dict[str, Any]) -> None:
        path = f"{self.path}@{self.at}" if self.at else self.path
        self._client.attach(self._token, (path, encode_args(args)), weakref.ref(self))

    def _pause(self) -> None:
        self._client.detach(self._token)

    def _refused(self, failure: NBReactiveError) -> None:
        super()._refused(failure)
        self._put("status", "error")

    def recipe(self) -> Callable[[], LiveQuery]:
        """Return how to get this query: itself as long as something else keeps it, otherwise one like it."""
        this = weakref.ref(self)
        kind, client, path, arguments = type(self), self._client, self.path, self._arguments
        title, at = self._plain_title, self.at

        def again() -> LiveQuery:
            found = this()
            return (
                found
                if found is not None and not found.closed
                else kind(client, path, arguments.fresh(), title=title, at=at)
            )

        return again

    def _ended(self) -> None:
        self._put("status", "closed")
        self._finalizer()


def _let_go(client: Client, token: int, arguments: Arguments) -> None:
    """Unsubscribe what was dropped or closed; may run in any thread, at any moment."""
    with contextlib.suppress(Exception):
        arguments.close()
    client.detach(token)
