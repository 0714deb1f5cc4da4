"""What backend and columns process say to each other about live statements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from nbreactive.engine.transactions import Condition


class RowChange(msgspec.Struct, frozen=True, array_like=True):
    """One document that is not what it was."""

    id: bytes
    old: bytes | None
    """Packed; None: there was none."""
    new: bytes | None
    """Packed; None: there is none any more."""


class TableChange(msgspec.Struct, frozen=True, array_like=True):
    """What has changed in one table: each document once, however often it was written."""

    table: int
    rows: Sequence[RowChange]


class Live(msgspec.Struct, frozen=True, tag=True):
    """Bring the result of a statement to a timestamp, and give a window of it. Answer: LiveResult, End."""

    text: str
    params: bytes
    """Packed: the values of ``$name``."""
    at: int
    """The timestamp that it sees. All commits up to it have been handed over."""
    limit: int
    """Rows at most."""
    offset: int = 0
    base: int | None = None
    """The timestamp of the result that the process has, if that is known."""
    changes: Sequence[TableChange] = ()
    """What is not as it was at ``base``; of each table at least what the statement's conditions let through."""
    seconds: float = 10.0
    """It is interrupted then."""


class LiveResult(msgspec.Struct, frozen=True, tag=True):
    """A window of a result."""

    value: bytes
    """Encoded JSON: columns, rows, total, offset, complete."""
    tables: Sequence[tuple[str, Sequence[Condition]]] | None = None
    """Each table that the statement names, with what is known to hold of the rows that can matter; a table may be there
    twice: either holds. None: as they were."""
    every: int = 0
    """It depends on the clock: to be looked at again after so many ms."""


class Explain(msgspec.Struct, frozen=True, tag=True):
    """Say how a statement is kept up to date. Answer: Explained, End."""

    text: str
    params: bytes
    at: int
    seconds: float = 10.0
    """It is interrupted then."""


class Explained(msgspec.Struct, frozen=True, tag=True):
    """How, and why so."""

    facts: dict[str, Any]
    tables: Sequence[tuple[str, Sequence[Condition]]]
