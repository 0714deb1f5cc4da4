"""What goes into one execution of a function and what comes out of it.

These structs are the wire between the backend and its function workers too (msgpack), so they hold plain data only.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Sequence
from typing import Any, Literal, Protocol

import msgspec

from nbreactive.functions.specs import Kind, Visibility

Interval = tuple[bytes, bytes]
"""A half-open range ``[low, high)`` of index keys (document id included)."""

Reads = dict[int, list[Interval]]
"""A read set: index id -> disjoint sorted intervals. Index ids are those of :mod:`nbreactive.engine.catalog`."""


class Call(msgspec.Struct, frozen=True, omit_defaults=True):
    """One call of a query or mutation at a snapshot."""

    path: str
    args: bytes
    """The arguments, a packed object (see :mod:`nbreactive.values.packing`)."""
    kind: Kind | None = None
    """The kind that the caller expects; None takes any."""
    reach: Visibility = "public"
    """The most hidden function that the caller may see: public < internal < system. Calls with the reach ``system`` are
    above the row rules (:mod:`nbreactive.runtime.rules`)."""
    identity: dict[str, Any] | None = None
    request_id: str = ""
    snapshot: int = 0
    """The timestamp (ns) that every read sees."""
    now: int = 0
    """What ``ctx.now()`` says, ms."""
    seed: bytes = b""
    """16 bytes: feeds random numbers and document ids."""
    journal: str | None = None
    job: str = ""
    """The id of the scheduled function or cron job on whose behalf this runs."""
    origin: bytes = b""
    """Packed: address and program of the client; empty where the backend itself calls."""
    index: str = ""
    """The folder of the row index that everything is read from, as of an earlier time; empty: that of now."""
    past: dict[int, str] = {}
    """Such folders by timestamp, for what ``ctx.db.at`` asks for besides."""


class Write(msgspec.Struct, frozen=True, array_like=True):
    """One changed document; ``doc`` is packed, None deletes it."""

    table: int
    id: bytes
    """The 16 internal bytes of the document's id."""
    doc: bytes | None
    previous: int = 0
    """The timestamp of the version that it replaces; 0 for a new document."""


class Nearest(msgspec.Struct, frozen=True, array_like=True, tag="nearest"):
    """An interest: only vectors that are as near as the last one found concern who read the index (its keys are read, too).

    See :mod:`nbreactive.engine.interests`.
    """

    index: int
    filters: Sequence[tuple[int, bytes]]
    """Position and code of a filter field, one of which must hold; none: all documents."""
    vector: bytes
    score: float = -math.inf
    """Of the last one found; fewer than wanted were found: minus infinity."""


class Condition(msgspec.Struct, frozen=True, array_like=True):
    """What SQL asks of one field of a document, top-level conjunct of a WHERE; a document without the field fails it."""

    field: str
    """As the document spells it."""
    op: Literal["=", "<", "<=", ">", ">=", "in", "not null"]
    values: Sequence[str | bool | float] = ()
    """One, except for ``in``; what a document has instead is compared if it is of the same type."""


class SqlInterest(msgspec.Struct, frozen=True, array_like=True, tag="sql"):
    """An interest: only documents that fulfil the conditions concern a statement that reads their table."""

    index: int
    """``by_id`` of the table."""
    conditions: Sequence[Condition]
    """All of which must hold; none: every document."""


class NewFile(msgspec.Struct, frozen=True, array_like=True):
    """The content of a file that a mutation stores; its document is among the writes."""

    sha256: str
    data: bytes


class LogLine(msgspec.Struct, frozen=True, array_like=True):
    """One line that a function printed or logged."""

    level: Literal["DEBUG", "LOG", "INFO", "WARN", "ERROR"]
    text: str


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a call failed."""

    code: str
    """Of the error tree, e.g. ``ArgumentValidationError``, ``AppError``, ``FunctionFailed``."""
    message: str
    data: bytes | None = None
    """AppError only: its data, as encoded JSON."""
    trace: str = ""
    """The user's own frames."""
    detail: str = ""
    """Production: the whole text, for the log alone."""


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one execution did; nothing of it is visible before ``release`` of its snapshot."""

    value: bytes = b"null"
    """The result as encoded JSON: encoded once, in the worker, whoever and however many receive it."""
    failure: Failure | None = None
    reads: Reads = {}
    interests: Sequence[Nearest | SqlInterest] = ()
    """Which writes to the indexes that they name concern a live query, more exactly than ``reads`` say."""
    writes: Sequence[Write] = ()
    logs: Sequence[LogLine] = ()
    identity_read: bool = False
    every: int = 0
    """``ctx.now(every=...)``: run again after so many ms while subscribed; 0 never."""
    journal: str | None = None
    columns: list[str] | None = None
    """The columns of an empty list, where they are known."""
    kind: Kind = "query"
    duration_us: int = 0
    files: Sequence[NewFile] = ()
    """What is to be kept before the writes are committed."""
    needs: int = 0
    """The call failed for want of this timestamp in ``Call.past``."""


class Executor(Protocol):
    """Runs calls; the worker pool in production, plain functions in the simulator."""

    def run(self, call: Call, *, urgent: bool = False) -> Awaitable[Outcome]:
        """Run ``call`` at ``call.snapshot``; ``urgent`` goes to the head of the queue.

        Where a future is returned, the call has been started already.

        Failures of the function, its time-out and its crash are in ``Outcome.failure``, never raised.
        """
        ...
