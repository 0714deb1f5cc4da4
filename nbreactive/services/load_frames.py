"""What the backend and the process that prepares a bulk load say to each other, and which ids the rows of a load get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from nbreactive.engine.bulk import Bulk, Plan


class Prepare(msgspec.Struct, frozen=True, array_like=True):
    """Prepare some rows of a load."""

    data: bytes
    """An Arrow IPC stream, or packed documents."""
    arrow: bool
    row: int
    """The number of the first row, for messages."""
    skip: int
    """Rows at the beginning that are committed already."""
    rows: int
    """In one commit."""
    first: bytes
    """The internal id of the first row that is not skipped."""
    created: float
    """Creation times come after it."""
    plan: Plan | None
    """Which index keys to compute; None: none."""
    validator: dict[str, Any] | None
    tables: Mapping[int, str]
    """Names of the tables by number, which ids of documents are of."""
    folder: str = ""
    """Where a file of columns goes; empty: documents are made."""


class DocumentsDone(msgspec.Struct, frozen=True, array_like=True, tag="documents"):
    """One commit without index keys: internal ids and packed documents."""

    documents: Sequence[tuple[bytes, bytes]]
    last: bool
    """Whether it is the last one of its request."""


class BulkDone(msgspec.Struct, frozen=True, array_like=True, tag="bulk"):
    """One commit."""

    bulk: Bulk
    last: bool
    """Whether it is the last one of its request."""


class ColumnsDone(msgspec.Struct, frozen=True, array_like=True, tag="columns"):
    """All rows of a request, as columns."""

    last: ClassVar[bool] = True
    rows: int
    size: int
    hash: str
    """Names a file, which is durable; empty: there is none."""
    data: bytes
    """The rows, if there is no file: they are few."""


class Wrong(msgspec.Struct, frozen=True, array_like=True, tag="wrong"):
    """Something is wrong with the rows; none of them is to be committed."""

    last: ClassVar[bool] = True
    code: str
    message: str


Reply = DocumentsDone | BulkDone | ColumnsDone | Wrong


def ids_from(first: bytes, count: int) -> list[bytes]:
    """Return the internal ids of rows that follow each other.

    Examples
    --------
    >>> [id.hex() for id in ids_from(bytes.fromhex("018bcfe56800000172616e646f6d6c79"), 2)]
    ['018bcfe56800000172616e646f6d6c79', '018bcfe56800000272616e646f6d6c79']
    """
    begin, tail = int.from_bytes(first[:8], "big"), first[8:]
    return [number.to_bytes(8, "big") + tail for number in range(begin, begin + count)]
