"""Typed stubs: ``reactive/_generated/``, from which type checkers know every function and every document.

Written from descriptions only (:mod:`nbreactive.functions.specs`), so from whatever has them: the deployer of this
process, or the function list of a backend elsewhere.
"""

from __future__ import annotations

from nbreactive.services.stubs.writer import generate, write_stubs

__all__ = ["generate", "write_stubs"]
