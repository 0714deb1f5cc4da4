"""How much a transaction has read, written and scheduled, and may."""

from __future__ import annotations

from typing import Final, NoReturn

from nbreactive.errors import LimitExceeded
from nbreactive.values.limits import (
    SCHEDULED_ARGS_TOTAL,
    SCHEDULED_FUNCTIONS,
    SCHEDULED_OUTSTANDING,
    TransactionLimits,
    over,
)

_NARROW: Final = "narrow the query with an index range, or use take(n)"
_SPLIT: Final = "split the work over several mutations"


class Usage:
    """What one transaction has used; every method raises LimitExceeded once that is too much.

    Parameters
    ----------
    limits
        How much it may use.
    """

    __slots__ = (
        "bytes_read", "bytes_written", "documents_read", "documents_written", "functions_scheduled", "limits", "queries", "scheduled_bytes",
    )  # fmt: skip

    def __init__(self, limits: TransactionLimits) -> None:
        self.limits = limits
        self.documents_read = 0
        self.bytes_read = 0
        self.documents_written = 0
        self.bytes_written = 0
        self.queries = 0
        self.functions_scheduled = 0
        self.scheduled_bytes = 0

    def read(self, size: int) -> None:
        """Count a document that was read."""
        self.documents_read += 1
        self.bytes_read += size
        limits = self.limits
        if self.documents_read > limits.documents_read:
            _exceeded("documents read by one call", self.documents_read, limits.documents_read, _NARROW)
        if self.bytes_read > limits.bytes_read:
            _exceeded("bytes read by one call", self.bytes_read, limits.bytes_read, _NARROW)

    def write(self, size: int) -> None:
        """Count a document that was written, or deleted."""
        self.documents_written += 1
        self.bytes_written += size
        limits = self.limits
        if self.documents_written > limits.documents_written:
            _exceeded("documents written by one call", self.documents_written, limits.documents_written, _SPLIT)
        if self.bytes_written > limits.bytes_written:
            _exceeded("bytes written by one call", self.bytes_written, limits.bytes_written, _SPLIT)

    def schedule(self, args_bytes: int, outstanding: int) -> None:
        """Count a function that was scheduled while ``outstanding`` others wait."""
        self.functions_scheduled += 1
        self.scheduled_bytes += args_bytes
        if self.functions_scheduled > SCHEDULED_FUNCTIONS:
            fix = "let one of them schedule the others"
            _exceeded("functions scheduled by one call", self.functions_scheduled, SCHEDULED_FUNCTIONS, fix)
        if self.scheduled_bytes > SCHEDULED_ARGS_TOTAL:
            what, fix = "bytes of arguments scheduled by one call", "store them as documents, and pass their ids"
            _exceeded(what, self.scheduled_bytes, SCHEDULED_ARGS_TOTAL, fix)
        if outstanding >= SCHEDULED_OUTSTANDING:
            fix = "schedule the next ones when these have run"
            _exceeded("scheduled functions that have not run yet", outstanding + 1, SCHEDULED_OUTSTANDING, fix)


def _exceeded(what: str, found: int, allowed: int, fix: str) -> NoReturn:
    raise LimitExceeded(over(what, found, allowed, fix))
