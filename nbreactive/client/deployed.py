"""Which functions are deployed, followed live: what completion and documentation of ``api`` speak of.

The first who asks subscribes to the list; from then on it is at hand, and every deploy renews it, whoever has deployed.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any

from nbreactive.client import threads
from nbreactive.client.live_value import next_token
from nbreactive.client.protocol import Outcome, encode_args

if TYPE_CHECKING:
    from nbreactive.client.client import Client
    from nbreactive.errors import NBReactiveError

LIST = "nbreactive/panel:functions"
PATIENCE = 0.5
"""Seconds that the first who asks waits for the list, at most."""


class Deployed:
    """The functions of one deployment, as far as its client may see them."""

    def __init__(self) -> None:
        self.functions: dict[str, dict[str, Any]] = {}
        """By path; kept while the connection is lost."""
        self.told = threading.Event()

    def receive(self, outcome: Outcome | None, link: str, problem: NBReactiveError | None) -> None:  # noqa: ARG002
        """Take a new list (client thread)."""
        if outcome is None:
            return
        if outcome.error is None:
            self.functions = {function["path"]: function for function in outcome.value}
        self.told.set()

    def settle(self) -> None:
        """Nothing to do: the list is whole by itself."""


_followed: weakref.WeakKeyDictionary[Client, Deployed] = weakref.WeakKeyDictionary()


def deployed(client: Client) -> dict[str, dict[str, Any]]:
    """Return the deployed functions by path; empty if the first list does not come at once."""
    found = _followed.get(client)
    if found is None:
        found = _followed[client] = Deployed()
        client.attach(next_token(), (LIST, encode_args({})), weakref.ref(found))
    if not threads.on_own_thread():
        found.told.wait(PATIENCE)
    return found.functions


def known(client: Client) -> dict[str, dict[str, Any]]:
    """Return the deployed functions by path, if somebody has asked for them before; waits for nothing."""
    found = _followed.get(client)
    return found.functions if found is not None else {}
