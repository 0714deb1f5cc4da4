"""Reading one page of a query: ``.paginate(opts)``.

A page covers an interval of index keys, behind the cursor that it begins with and up to the place where it ended, and
its read set is that interval: a write in another page does not concern it. Where a page ended is noted in the journal
of the query, which comes back when a subscription runs again, and from a client that reconnects. Then the page
covers what it covered before, however many documents that are by now; so pages that continue each other never overlap and never
leave a gap, while each grows and shrinks by itself. One that has grown too long says where to split it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, Protocol

from nbreactive.engine.catalog import IndexInfo
from nbreactive.errors import (
    InvalidValue,
    MultiplePaginatedDatabaseQueries,
    NoDocumentsForPagination,
    PageSizeTooLarge,
)
from nbreactive.functions.pagination import PageStatus, PaginationOpts, PaginationResult, pagination_opts_validator
from nbreactive.runtime.cursors import CURSOR, FINGERPRINT_BYTES, THE_END
from nbreactive.runtime.filters import Filter
from nbreactive.runtime.search import SearchScan
from nbreactive.runtime.search_plan import Search
from nbreactive.runtime.tables import Table
from nbreactive.runtime.transaction import Transaction
from nbreactive.values.keys import encode_key
from nbreactive.values.limits import DOCUMENT_SIZE, LONG_PAGE, PAGE_ITEMS, over

Document = dict[str, Any]

_SPLITTABLE: Final = 3
"""Rows that a page has at least if it can be split."""


class Opener(Protocol):
    """Turns a stored document into what the function sees."""

    def __call__(self, table: Table, id: bytes, packed: bytes, /) -> Document:
        """Unpack it and add ``_id``."""
        ...


@dataclass(frozen=True, slots=True)
class Source:
    """What the pages are pages of: one query, whose rows have an order."""

    name: str
    table: Table | None
    """None: it does not exist yet."""
    index: IndexInfo | None
    """None: the order of creation."""
    low: bytes
    high: bytes
    descending: bool
    filters: tuple[Filter, ...]
    open_document: Opener
    search: Search | None = None
    """Its results are what is paged through; ``low`` and ``high`` are ranks."""

    def fingerprint(self) -> bytes:
        """Return 16 bytes that are different for every other query; its cursors fit no other one."""
        index = self.index
        named = ["by_creation_time"] if index is None else [index.name, *index.fields]
        if self.search is not None:
            named = [named, self.search.form()]
        what = [self.name, named, self.low, self.high, self.descending, [each.flat() for each in self.filters]]
        return hashlib.blake2b(encode_key(what), digest_size=FINGERPRINT_BYTES).digest()

    def cut(self, start: bytes | None, end: bytes | None) -> Source:
        """Return the part behind ``start`` and up to and with ``end``."""
        low, high = self.low, self.high
        if start == THE_END:
            return replace(self, low=high)
        if self.descending:
            high = min(high, start) if start else high
            low = max(low, end) if end else low
        else:
            low = max(low, start + b"\0") if start else low
            high = min(high, end + b"\0") if end else high
        return replace(self, low=low, high=max(low, high))


class _Found(NamedTuple):
    """What was read for a page."""

    documents: list[Document]
    rows: list[bytes]
    """The keys of all rows that were read, also of those that a filter dropped."""
    read: int
    """Bytes."""
    cut_short: bool
    """A limit came first."""
    exhausted: bool
    """There are no further rows."""

    def middle(self) -> bytes | None:
        """Return the key after which to split; also of two rows, if there were more, for clients wait for that."""
        if len(self.rows) >= _SPLITTABLE:
            return self.rows[len(self.rows) // 2]
        return self.rows[0] if self.cut_short and len(self.rows) > 1 else None


class _Limits(NamedTuple):
    rows: int
    bytes: int

    def reached(self, rows: int, read: int) -> bool:
        return rows >= self.rows or read >= self.bytes

    def near(self, rows: int, read: int) -> bool:
        return 4 * rows > 3 * self.rows or 4 * read > 3 * self.bytes


def read_page(txn: Transaction, source: Source, opts: Any) -> PaginationResult[Document]:
    """Read one page.

    Parameters
    ----------
    txn
        The call's transaction.
    source
        The query.
    opts
        Of the page: :class:`~nbreactive.functions.pagination.PaginationOpts`, or a dict of the same keys.
    """
    txn.check_running()
    pages, wanted = txn.pages, _checked(opts)
    if pages.paginated:
        raise MultiplePaginatedDatabaseQueries(
            "this function has read a page already; a query or mutation reads one page at most: use take(n) for the other"
            " one, or move it into a function of its own (ctx.run_query)"
        )
    fingerprint = source.fingerprint()
    start = None if wanted.cursor is None else pages.place(wanted.cursor, fingerprint)
    if wanted.end_cursor is None:
        end = pages.end_before(fingerprint, start)
    else:
        end = pages.place(wanted.end_cursor, fingerprint)
    limits = _limits(txn, wanted)
    found = _read(txn, source.cut(start, end), wanted.num_items if end is None else None, limits)
    if end is None:
        end = THE_END if found.exhausted else found.rows[-1]
    middle = found.middle()
    status: PageStatus | None = None
    if found.cut_short and middle is not None:
        status = "SplitRequired"
    elif found.cut_short or len(found.documents) > LONG_PAGE or limits.near(len(found.rows), found.read):
        # What is one row cannot be split: it is all that a page can be here, and no client shows one that has to be.
        status = "SplitRecommended"
    pages.paginated = True
    pages.note_end(fingerprint, start, end)
    return PaginationResult(
        page=found.documents,
        isDone=end == THE_END,
        continueCursor=pages.seal.close(CURSOR, fingerprint, end),
        splitCursor=None if middle is None else pages.seal.close(CURSOR, fingerprint, middle),
        pageStatus=status,
    )


def _read(txn: Transaction, source: Source, count: int | None, limits: _Limits) -> _Found:
    """Read ``count`` documents, or (None) all."""
    table, filters, open_document = source.table, source.filters, source.open_document
    documents: list[Document] = []
    rows: list[bytes] = []
    if table is None:
        return _Found(documents, rows, 0, cut_short=False, exhausted=True)
    index = source.index if source.index is not None else table.info.indexes[1]
    if source.search is not None:
        scan = SearchScan(txn, table, source.search, source.low, source.high)
    else:
        scan = txn.scan(table.info, index.id, source.low, source.high, source.descending, lazy=False)
    keys: Iterator[tuple[bytes, bytes]] = scan.keys(None if filters else count)
    before, least = txn.used.bytes_read, 1 if count is not None else _SPLITTABLE
    cut_short = exhausted = False
    while count is None or len(documents) < count:
        if len(rows) >= least and limits.reached(len(rows), txn.used.bytes_read - before):
            # A new page just ends here. One whose end is given is only cut short if there is more up to that end.
            cut_short = count is not None or next(keys, None) is not None
            exhausted = not cut_short
            break
        row = next(keys, None)
        if row is None:
            exhausted = True
            break
        rows.append(row[0])
        document = open_document(table, row[1], scan.document(row[1]))
        if all(each.holds(document) for each in filters):
            documents.append(document)
    return _Found(documents, rows, txn.used.bytes_read - before, cut_short, exhausted)


def _checked(opts: Any) -> PaginationOpts:
    if not isinstance(opts, Mapping):
        raise InvalidValue(
            f"paginate takes the options that the client sent, not {opts!r:.60}: hint a parameter as PaginationOpts and"
            " pass it on, or write PaginationOpts(20)"
        )
    wanted: PaginationOpts = pagination_opts_validator.load(pagination_opts_validator.check(opts, "paginate"))
    if wanted.num_items < 1:
        raise NoDocumentsForPagination("paginate: a page has at least one document; ask for numItems of 1 or more")
    if wanted.num_items > PAGE_ITEMS:
        raise PageSizeTooLarge(over("documents in a page", wanted.num_items, PAGE_ITEMS, "load several pages"))
    return wanted


def _limits(txn: Transaction, wanted: PaginationOpts) -> _Limits:
    """How much may be read for the page: what it asks for, and no more than the transaction has left."""
    rows = txn.limits.documents_read - txn.used.documents_read
    # The last document is read before it is weighed
    left = txn.limits.bytes_read - txn.used.bytes_read - 2 * DOCUMENT_SIZE
    if wanted.maximum_rows_read is not None:
        rows = min(rows, wanted.maximum_rows_read)
    if wanted.maximum_bytes_read is not None:
        left = min(left, wanted.maximum_bytes_read)
    return _Limits(max(rows, 1), max(left, 1))
