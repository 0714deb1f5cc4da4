"""Randomness that is seeded by the call: :mod:`random`, :mod:`uuid`, :mod:`os`, numpy's global generator."""

from __future__ import annotations

import os
import random
import sys
import uuid
from collections.abc import Callable
from typing import Any, Final

from nbreactive.errors import NotAllowed
from nbreactive.runtime._instant import current

_SEEDED: Final = "_nbreactive_seeded"


def install_random() -> None:
    """Put the wrappers in place."""
    hidden: Any = random.random.__self__  # type: ignore[attr-defined]
    for name, real in list(vars(random).items()):
        # The functions of the module are methods of one hidden generator. `seed` and the like are among them: what a
        # function seeds itself must not be seeded over at its first use.
        if getattr(real, "__self__", None) is hidden:
            setattr(random, name, _seeded_first(real))

    real_seed = random.Random.seed

    def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        instant = current.instant
        if a is None and instant is not None and not isinstance(self, random.SystemRandom):
            a = instant.bytes(16)
        real_seed(self, a, version)

    random.Random.seed = seed  # type: ignore[method-assign]

    real_urandom = os.urandom

    def urandom(size: int, /) -> bytes:
        instant = current.instant
        if instant is not None and instant.kind == "query":
            raise NotAllowed(
                "a query must give the same answer every time, so it cannot use os.urandom, secrets or an unseeded"
                " numpy.random.default_rng(); use random (seeded per call), pass a seed, or do it in a mutation"
            )
        return real_urandom(size)

    os.urandom = urandom
    setattr(random, "_urandom", urandom)  # noqa: B010 - the name is private, and what SystemRandom uses

    for name in ("uuid1", "uuid4", "uuid6", "uuid7", "uuid8"):
        real = getattr(uuid, name, None)
        if real is not None:
            setattr(uuid, name, _seeded_uuid(real, int(name[4:])))


def _seeded_first(real: Any) -> Any:
    def function(*args: Any, **kwargs: Any) -> Any:
        instant = current.instant
        if instant is not None:
            instant.seed_random()
        return real(*args, **kwargs)

    function.__name__ = function.__qualname__ = real.__name__
    function.__doc__ = real.__doc__
    return function


def _seeded_uuid(real: Any, version: int) -> Any:
    def function(*args: Any, **kwargs: Any) -> uuid.UUID:
        instant = current.instant
        if instant is None or (version == 8 and args):
            return real(*args, **kwargs)
        value = int.from_bytes(instant.bytes(16), "big")
        if version == 1:
            # 100 ns intervals since 1582-10-15; node and clock sequence are random, with the multicast bit set.
            ticks = instant.ns // 100 + 0x01B21DD213814000
            head = (ticks & 0xFFFFFFFF) << 96 | (ticks >> 32 & 0xFFFF) << 80 | (ticks >> 48 & 0xFFF) << 64
            value = head | value & ((1 << 64) - 1) | 1 << 40
        elif version == 7:
            value = (instant.ns // 1_000_000) << 80 | value & ((1 << 80) - 1)
        value = value & ~(0xF << 76) | version << 76
        return uuid.UUID(int=value & ~(0x3 << 62) | 0x2 << 62)

    function.__name__ = function.__qualname__ = real.__name__
    function.__doc__ = real.__doc__
    return function


def install_numpy() -> None:
    """Seed numpy's global generator per call, if numpy was imported; called after imports."""
    module: Any = sys.modules.get("numpy.random")
    if module is None or hasattr(module, _SEEDED) or not hasattr(module, "seed"):
        return
    hidden = getattr(module.random, "__self__", None)
    real_seed = module.seed
    names: list[str] = dir(module)
    for name in names:
        real: Any = getattr(module, name)
        if hidden is not None and getattr(real, "__self__", None) is hidden:
            setattr(module, name, _numpy_first(real, real_seed))
    setattr(module, _SEEDED, True)


def _numpy_first(real: Any, seed: Callable[[Any], Any]) -> Any:
    def function(*args: Any, **kwargs: Any) -> Any:
        instant = current.instant
        if instant is not None:
            instant.seed_numpy(seed)
        return real(*args, **kwargs)

    function.__name__ = function.__qualname__ = getattr(real, "__name__", "function")
    function.__doc__ = real.__doc__
    return function
