"""How much one engine takes on."""

from __future__ import annotations

import msgspec

from nbreactive.values.limits import TransactionLimits


class EngineLimits(msgspec.Struct, frozen=True):
    """How much the engine takes on."""

    mutations: int = 4096
    """Mutations under way; more are refused."""
    queries: int = 4096
    """Queries asked once, under way; more are refused."""
    losses: int = 4
    """Lost validations after which a mutation gets the exclusive slot."""
    crowd: int = 12
    """Mutations whose functions run, from which on commits wait for each other."""
    cache_bytes: int = 64 << 20
    """Encoded results that are kept."""
    changes_bytes: int = 64 << 20
    """Keys in the change list."""
    keep_seconds: float = 60.0
    """For how long every version of a document is kept in the row index."""
    request_seconds: float = 86_400.0
    """For how long a request that is sent again is recognised."""
    transaction: TransactionLimits = TransactionLimits()
    """What one transaction may do; the workers enforce most of it."""
