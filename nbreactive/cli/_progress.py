"""One line that says how far a long command is, on a terminal only."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

_EVERY = 0.1


class Progress:
    """Counts something, and shows it on standard error if that is a terminal.

    Parameters
    ----------
    what
        What is done, e.g. ``backing up``.
    unit
        What is counted: ``B`` for bytes, or a word.
    total
        How many there will be, about; 0 if nobody knows.
    quiet
        Show nothing.
    """

    def __init__(self, what: str, unit: str = "B", total: int = 0, *, quiet: bool = False) -> None:
        self.done = 0
        self._what = what
        self._unit = unit
        self.total = total
        self._shown = 0.0
        self._on = not quiet and sys.stderr.isatty()

    def add(self, count: int) -> None:
        """Count some more."""
        self.done += count
        if self._on and time.monotonic() - self._shown > _EVERY:
            self._shown = time.monotonic()
            self._show()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if self._on:
            self._show()
            sys.stderr.write("\n")

    def _show(self) -> None:
        share = min(1.0, self.done / self.total) if self.total else 0.0
        bar = f" [{'#' * round(share * 20):20}] {share:4.0%}" if self.total else ""
        sys.stderr.write(f"\r{self._what}{bar} {amount(self.done, self._unit)}\033[K")
        sys.stderr.flush()


def amount(count: int, unit: str) -> str:
    """Write a count for people.

    Examples
    --------
    >>> amount(2_500_000, "B"), amount(12000, "documents")
    ('2.5 MB', '12,000 documents')
    """
    if unit != "B":
        return f"{count:,} {unit}"
    size = float(count)
    for name in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {name}"
        size /= 1000
    return f"{size:,.1f} GB"
