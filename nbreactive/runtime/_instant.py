"""The instant that the running call of this thread sees; None while none runs."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable
from typing import Any, Final


class Instant:
    """What one call sees of time and chance.

    Parameters
    ----------
    kind
        ``query`` or ``mutation``.
    now_ms
        The instant, in milliseconds since the epoch.
    seed
        16 bytes; equal seeds give equal random numbers.
    """

    __slots__ = ("_counter", "_numpy", "_random", "imports", "kind", "ns", "opened", "seconds", "seed")

    def __init__(self, kind: str, now_ms: int, seed: bytes) -> None:
        self.kind = kind
        self.seconds = now_ms / 1000
        self.ns = now_ms * 1_000_000
        self.seed = seed
        self._random = False
        self._numpy = False
        self._counter = 0
        self.opened = False
        """Whether a file was opened, which may have been left open."""
        self.imports = 0
        """How many imports the call has begun itself."""

    def bytes(self, size: int) -> bytes:
        """Next ``size`` bytes of the call's own stream."""
        self._counter += 1
        return hashlib.shake_128(self.seed + self._counter.to_bytes(8, "big")).digest(size)

    def seed_random(self) -> None:
        """Seed the global generator of :mod:`random` at its first use: seeding takes longer than most calls."""
        if not self._random:
            self._random = True
            random.seed(int.from_bytes(self.seed, "big"))

    def seed_numpy(self, seed: Callable[[Any], Any]) -> None:
        """Seed numpy's global generator at its first use."""
        if not self._numpy:
            self._numpy = True
            seed([int.from_bytes(self.seed[i : i + 4], "big") for i in (0, 4, 8, 12)])


class _Current(threading.local):
    instant: Instant | None = None


current: Final = _Current()
"""Per thread, so that a call that runs inline freezes nobody else's clock."""


class frozen:  # noqa: N801 - used like a function
    """Context manager: what runs inside sees ``instant`` (None: the real world again)."""

    __slots__ = ("_before", "_instant")

    def __init__(self, instant: Instant | None) -> None:
        self._instant = instant

    def __enter__(self) -> None:
        self._before = current.instant
        current.instant = self._instant

    def __exit__(self, *exc: object) -> None:
        current.instant = self._before
