"""How long functions usually take: who may wait in a worker behind whom.

Under load a worker that has its next call already does not fall asleep in between, which on some machines costs more
than a short function itself. But a call that waits in a worker cannot go anywhere else, so only functions known to
take less than half a millisecond wait there, or are waited for.
"""

from __future__ import annotations

from typing import Final

SHORT_US: Final = 500
"""What counts as short, in microseconds."""
_WEIGHT: Final = 4


class Durations:
    """Typical durations by path.

    Examples
    --------
    >>> durations = Durations()
    >>> durations.short("chat:send")
    False
    >>> durations.note("chat:send", 90)
    >>> durations.short("chat:send")
    True
    >>> durations.note("chat:send", 20_000)
    >>> durations.short("chat:send")
    False
    """

    def __init__(self) -> None:
        self._usual: dict[str, float] = {}

    def note(self, path: str, microseconds: int) -> None:
        """Note how long a call took."""
        usual = self._usual.get(path, microseconds)
        self._usual[path] = usual + (microseconds - usual) / _WEIGHT

    def short(self, path: str) -> bool:
        """Whether calls of this function are known to be short."""
        return self._usual.get(path, SHORT_US) < SHORT_US
