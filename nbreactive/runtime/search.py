"""Full-text search: ``db.query("posts").with_search_index("by_title", lambda q: q.search("title", text).eq("status", "live"))``.

A document is found if it has any word of the search, and comes the earlier the more it has of the rarer ones and the
shorter its text is. The last word may be unfinished; whole, it counts twice as much. A word of a language without
spaces is found where all its pairs of characters are.

What a search depends on is what :mod:`nbreactive.engine.postings` says: its terms under one of its filters, what they
weigh, and each document that it has handed out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from nbreactive.engine._row_keys import ID_BYTES
from nbreactive.engine.catalog import IndexInfo, TableInfo
from nbreactive.engine.read_set import END
from nbreactive.errors import InvalidValue, LimitExceeded
from nbreactive.runtime.ranking import MOST_READ
from nbreactive.runtime.search_plan import Plan, Search
from nbreactive.runtime.tables import Table
from nbreactive.runtime.transaction import Transaction
from nbreactive.values.checks import check_value
from nbreactive.values.kinds import UNSET
from nbreactive.values.limits import SEARCH_FILTERS, SEARCH_RESULTS, over
from nbreactive.values.packing import unpack


class SearchFilter:
    """The ``q`` of ``with_search_index``: ``search`` once, then ``eq`` on filter fields of the index."""

    __slots__ = ("_index", "filters", "text")

    def __init__(self, index: IndexInfo) -> None:
        self._index = index
        self.text: str | None = None
        self.filters: dict[str, Any] = {}

    def search(self, field: str, text: str) -> SearchFilter:
        """Find documents by the words in ``text``."""
        where, own = f"search index {self._index.name!r}", self._index.fields[0]
        if self.text is not None:
            raise InvalidValue(f"{where}: search is called once; join the texts, or make two queries")
        if field != own:
            raise InvalidValue(f"{where} is of the field {own!r}, not {field!r}; write q.search({own!r}, text)")
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidValue(f"{where}: the text to search for is a string, not {text!r:.60}")
        self.text = text
        return self

    def eq(self, field: str, value: Any) -> SearchFilter:
        """Only documents whose ``field`` equals ``value`` (UNSET: documents without it)."""
        where, known = f"search index {self._index.name!r}", self._index.filter_fields
        if self.text is None:
            raise InvalidValue(f"{where}: search comes first: q.search({self._index.fields[0]!r}, text).eq(...)")
        if field not in known:
            raise InvalidValue(
                f"{where} cannot filter by {field!r}, only by {', '.join(known) or 'nothing'}; add it to its"
                " filter_fields and deploy, or use .filter(...) afterwards"
            )
        if field in self.filters:
            raise InvalidValue(f"{where}: {field!r} equals one value; remove an eq")
        if len(self.filters) >= SEARCH_FILTERS:
            raise LimitExceeded(over("filters in a search", len(self.filters) + 1, SEARCH_FILTERS, "use .filter(...)"))
        self.filters[field] = UNSET if value is UNSET else check_value(value, f"{where}, field {field!r}")
        return self


def find_search_index(table: TableInfo, name: str) -> IndexInfo:
    """Return the search index of a table with that name, if it can be used."""
    index = table.index(name)
    if index is None:
        known = ", ".join(each.name for each in table.text) or "none"
        raise InvalidValue(
            f"table {table.name!r} has no search index {name!r} (its search indexes: {known}); add"
            f' .search_index({name!r}, search_field="...") to its define_table and deploy'
        )
    if index.kind != "text":
        use = "with_index" if index.kind == "ordered" else "nearest"
        raise InvalidValue(f"{name!r} of table {table.name!r} is no search index; use {use}, or declare a search_index")
    if index.state != "ready":
        raise InvalidValue(f"index {name!r} of table {table.name!r} is still being built; try again in a moment")
    return index


def read_search(index: IndexInfo, build: Callable[[SearchFilter], Any]) -> Search:
    """Return what the function given to ``with_search_index`` says."""
    made = build(SearchFilter(index))
    if not isinstance(made, SearchFilter) or made.text is None:
        raise InvalidValue(
            f"with_search_index({index.name!r}): the function returns its q, with what to search for:"
            f" lambda q: q.search({index.fields[0]!r}, text)"
        )
    return Search(index, made.text, made.filters)


def at_most(documents: Iterator[dict[str, Any]], most: int = SEARCH_RESULTS) -> Iterator[dict[str, Any]]:
    """Yield what a search may be asked for without pages, and raise if there is more."""
    for number, document in enumerate(documents, start=1):
        if number > most:
            raise LimitExceeded(over("results of a search", f"more than {most}", most, "use take(n) or paginate"))
        yield document


class SearchScan:
    """One pass over the results of a search, the best first; it is used like a :class:`~nbreactive.runtime.scan.Scan`.

    Parameters
    ----------
    txn, table, search
        What to search, and for what.
    low, high
        Ranks between which the results are.
    """

    def __init__(
        self,
        txn: Transaction,
        table: Table,
        search: Search,
        low: bytes = b"",
        high: bytes = END,
    ) -> None:
        self._txn = txn
        self._table = table
        self._search = search
        self._low = low
        self._high = high
        self._last: tuple[bytes, bytes] = b"", b""
        self._plan = Plan(txn, table.info, search)

    def keys(self, expected: int | None = None) -> Iterator[tuple[bytes, bytes]]:  # noqa: ARG002 - as of a scan
        """Yield (rank, id) in order."""
        txn, plan, dropped = self._txn, self._plan, 0
        for rank in plan.ranks():
            txn.check_running()
            if rank >= self._high or dropped > MOST_READ:
                return
            if rank < self._low:
                continue
            id = rank[-ID_BYTES:]
            packed = plan.packed(id)
            if self._search.filters and not self._search.allows(unpack(packed)):
                dropped += 1
                continue
            txn.found(self._table.info, id, packed)
            self._last = id, packed
            yield rank, id

    def documents(self, expected: int | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Yield (id, packed document) in order."""
        yield from (self._last for _ in self.keys(expected))

    def document(self, id: bytes) -> bytes:
        """Return the packed document of the row that :meth:`keys` has yielded last."""
        assert self._last[0] == id
        return self._last[1]
