"""How much is too much: every limit of the value model and of one transaction, by name.

The numbers are Convex's, so that what fits here fits there, except where a comment says otherwise.
"""

from __future__ import annotations

from typing import Final, NoReturn

import msgspec

from nbreactive.errors import LimitExceeded

KIB: Final = 1024
MIB: Final = 1024 * KIB

# values
MAX_INTEGER: Final = 2**53
"""Beyond it a double skips integers, so a JSON number could come back as its neighbour."""
MIN_INT64: Final = -(2**63)
MAX_INT64: Final = 2**63 - 1
VALUE_NESTING: Final = 64
ARRAY_ITEMS: Final = 8192
OBJECT_FIELDS: Final = 1024
FIELD_NAME: Final = 1024
"""Characters in a key of an object; fields of documents are identifiers and shorter."""

# documents
DOCUMENT_NESTING: Final = 16
DOCUMENT_SIZE: Final = 1 * MIB

# schemas
IDENTIFIER: Final = 64
TABLES: Final = 10_000
INDEXES_PER_TABLE: Final = 64
FIELDS_PER_INDEX: Final = 16
SEARCH_INDEXES_PER_TABLE: Final = 4
VECTOR_INDEXES_PER_TABLE: Final = 4
FILTER_FIELDS: Final = 16
"""Of one search index or vector index."""
VECTOR_DIMENSIONS: Final = (2, 4096)
"""The fewest and the most."""
VECTOR_RESULTS: Final = 256
"""Of one vector search."""
VECTOR_FILTERS: Final = 64
"""Conditions in the filter of one vector search."""

# one transaction
READ_DOCUMENTS: Final = 32_000
READ_BYTES: Final = 16 * MIB
READ_INTERVALS: Final = 4096
WRITTEN_DOCUMENTS: Final = 16_000
WRITTEN_BYTES: Final = 16 * MIB
FILTER_OPERATORS: Final = 256
CALL_DEPTH: Final = 8

SEARCH_FILTERS: Final = 8
"""In one full-text search."""
SEARCH_RESULTS: Final = 1024
"""That one search may be asked for; pages go on beyond."""

# one SQL statement
SQL_TEXT: Final = 100_000
"""Characters."""
SQL_SECONDS: Final = 10.0
SQL_BYTES: Final = 32 * MIB
"""In the result of a statement inside a function, as Arrow."""
SQL_ARROW_BYTES: Final = 256 * MIB
"""In a result that is fetched whole, as Arrow."""
SQL_PARAMS: Final = MIB
"""Bytes of the parameters of a live statement."""
SQL_STATEMENTS: Final = 100
"""In one query or mutation."""
SQL_ROWS: Final = 10_000
"""In the value of a live statement that names no window; larger results are Arrow, or windows."""

# one page
PAGE_ITEMS: Final = READ_DOCUMENTS
LONG_PAGE: Final = ARRAY_ITEMS * 3 // 4
"""Documents beyond which a page should be split."""

# one call
ARGS_SIZE: Final = 16 * MIB
RESULT_SIZE: Final = 16 * MIB
RESULT_ITEMS: Final = READ_DOCUMENTS
"""Items in an array of a result: as many as one transaction may read, since notebooks ask for whole tables."""
USER_SECONDS: Final = 1.0
ACTION_SECONDS: Final = 600.0
CONCURRENT_OPERATIONS: Final = 1000
"""Calls of ``ctx.run_*`` and the like that one action has under way at once."""
HTTP_REQUEST: Final = 20 * MIB
HTTP_RESPONSE: Final = 20 * MIB
"""Bytes in the body of a response of an HTTP action."""
LOG_LINES: Final = 256
LOG_LINE: Final = 4 * KIB

# files
FILE_BYTES: Final = 5 * 1024 * MIB
"""In one file (``serve --limit file_bytes=...``); Convex has no limit but time."""
STORED_BYTES: Final = 16 * MIB
"""In all files that one mutation stores, which travel in its transaction; actions and uploads stream theirs."""

# scheduled functions
SCHEDULED_FUNCTIONS: Final = 1000
"""By one mutation."""
SCHEDULED_ARGS: Final = 4 * MIB
"""Arguments of one of them."""
SCHEDULED_ARGS_TOTAL: Final = 16 * MIB
"""Arguments of all that one mutation schedules."""
SCHEDULED_OUTSTANDING: Final = 1_000_000
"""Pending at a time."""
SCHEDULED_TEXT: Final = 1000
"""Characters of an error or result that are kept of a job."""
SCHEDULED_KEPT_SECONDS: Final = 7 * 86_400
"""For how long finished jobs are kept."""
CRONS: Final = 1000
CRON_NAME: Final = 200
"""Characters."""
CRON_LOGS: Final = 5
"""Results that are kept of each cron job."""

# the log of a deployment
LOG_CALLS: Final = 1000
LOG_BYTES: Final = 16 * MIB
"""Of what the kept calls printed, and of their errors."""

# one connection
MESSAGE_BYTES: Final = 32 * MIB
"""One WebSocket message or HTTP body: 16 MiB of arguments may be about 30 MB of JSON."""
QUERIES_PER_CONNECTION: Final = 4096
PENDING_MUTATIONS: Final = 1000
PENDING_ACTIONS: Final = 1000

# one deployment's environment variables
ENVIRONMENT_VARIABLES: Final = 512
ENVIRONMENT_BYTES: Final = 512 * KIB
"""All names and values together."""
ENVIRONMENT_VALUE: Final = 8 * KIB


class TransactionLimits(msgspec.Struct, frozen=True):
    """What one query or mutation may do; a deployment may set it otherwise (``serve --limit documents_read=64000``)."""

    documents_read: int = READ_DOCUMENTS
    bytes_read: int = READ_BYTES
    ranges_read: int = READ_INTERVALS
    """Separate ranges of indexes; ``ctx.db.get`` counts as one."""
    documents_written: int = WRITTEN_DOCUMENTS
    bytes_written: int = WRITTEN_BYTES
    seconds: float = USER_SECONDS


def exceed(what: str, found: int | str, allowed: int | str, fix: str, where: str = "") -> NoReturn:
    """Raise :class:`~nbreactive.errors.LimitExceeded` in the one wording that every limit uses.

    Examples
    --------
    >>> exceed("items in an array", 9000, ARRAY_ITEMS, "store them as documents of a table", "args.items")
    Traceback (most recent call last):
    nbreactive.errors.LimitExceeded: args.items: 9000 items in an array, at most 8192 are allowed; store them as \
documents of a table
    """
    raise LimitExceeded(over(what, found, allowed, fix), where)


def over(what: str, found: int | str, allowed: int | str, fix: str) -> str:
    """Return the wording of :func:`exceed`."""
    return f"{found} {what}, at most {allowed} are allowed; {fix}"
