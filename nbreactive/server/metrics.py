"""How often each function was called since the start, how often it failed, and how long its last runs took."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

_LAST: Final = 512
"""Runs of which the duration is kept, of each function."""
_FUNCTIONS: Final = 2000
"""Names that are counted: they are what callers say."""
_UNKNOWN: Final = "FunctionNotFound"


class _Measured:
    __slots__ = ("calls", "errors", "kind", "seconds")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.calls = 0
        self.errors = 0
        self.seconds: deque[float] = deque(maxlen=_LAST)


class Metrics:
    """Measurements of all functions.

    Examples
    --------
    >>> metrics = Metrics()
    >>> for ms in range(1, 101):
    ...     metrics.add("chat:send", "mutation", ms / 1000, "AppError" if ms == 7 else "")
    >>> metrics.table({})
    [{'path': 'chat:send', 'kind': 'mutation', 'calls': 100, 'errors': 1, 'hits': 0, 'p50': 50.0, 'p99': 99.0}]
    """

    def __init__(self) -> None:
        self._functions: dict[str, _Measured] = {}

    def add(self, path: str, kind: str, seconds: float, code: str) -> None:
        """Count one call."""
        found = self._functions.get(path)
        if found is None:
            if code == _UNKNOWN or len(self._functions) >= _FUNCTIONS:
                return
            found = self._functions[path] = _Measured(kind)
        found.calls += 1
        found.errors += bool(code)
        found.seconds.append(seconds)

    def table(self, hits: Mapping[str, int]) -> list[dict[str, Any]]:
        """Return a row for each function, by name; ``hits`` are answers that needed no run, times in ms."""
        rows: list[dict[str, Any]] = []
        for path, found in sorted(self._functions.items()):
            ordered = sorted(found.seconds)
            row = {"path": path, "kind": found.kind, "calls": found.calls, "errors": found.errors}
            times = {"p50": _percentile(ordered, 50), "p99": _percentile(ordered, 99)}
            rows.append(row | {"hits": hits.get(path, 0), **times})
        return rows


def _percentile(ordered: Sequence[float], percent: int) -> float:
    """Return the smallest value that so many percent do not exceed, in ms."""
    at = max(-(-len(ordered) * percent // 100) - 1, 0)
    return round(ordered[at] * 1000, 3)
