"""A mutation that was started without waiting for its result."""

from __future__ import annotations

import concurrent.futures
import logging
from collections.abc import Callable
from typing import TypeVar

from nbreactive.client import threads
from nbreactive.client.protocol import Outcome
from nbreactive.errors import NBReactiveError

R = TypeVar("R")

_log = logging.getLogger("nbreactive.functions")


class PendingCall(concurrent.futures.Future[R]):
    """What a started mutation will return; a failure that nobody asks for is written into the log.

    Parameters
    ----------
    path
        The function.
    running
        How it ends.
    on_logs
        Takes what it printed.

    Examples
    --------
    >>> started = like.start(post_id=post)       # doctest: +SKIP
    >>> started.result()       # waits, and raises what the mutation raised  # doctest: +SKIP
    """

    def __init__(
        self,
        path: str,
        running: concurrent.futures.Future[Outcome],
        on_logs: Callable[[tuple[str, ...]], None],
    ) -> None:
        super().__init__()
        self._path = path
        self._on_logs = on_logs
        self._asked = False
        running.add_done_callback(self._ended)

    def _ended(self, running: concurrent.futures.Future[Outcome]) -> None:
        failure = None if running.cancelled() else running.exception()
        if running.cancelled():
            self.cancel()
        elif failure is not None:
            self.set_exception(failure)
        else:
            outcome = running.result()
            if outcome.logs:
                threads.callbacks().post(object(), lambda: self._on_logs(outcome.logs))
            if outcome.error is not None:
                self.set_exception(outcome.error)
            else:
                self.set_result(outcome.value)

    def result(self, timeout: float | None = None) -> R:
        """Wait for the mutation and return its result; raises its error."""
        self._ask()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the mutation and return its error, or None."""
        self._ask()
        return super().exception(timeout)

    def _ask(self) -> None:
        if not self.done() and threads.on_own_thread():
            raise NBReactiveError(
                f"An observer or renderer waits for {self._path}, on the thread that runs all of them: waiting there would "
                "hold every view back. Use add_done_callback, or wait in a cell or a thread of your own."
            )
        self._asked = True

    def __del__(self) -> None:
        if not self._asked and self.done() and not self.cancelled():
            failure = super().exception()
            if failure is not None:
                _log.error("%s failed: %s: %s", self._path, type(failure).__name__, failure)
