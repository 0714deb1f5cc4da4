"""The query builder: ``db.query("posts").with_index(...).order("desc").filter(...).take(10)``.

Each step returns a new query and uses up the one before; the last step reads. Reading is lazy: only the rows that were
consumed enter the read set, so ``first()`` of a long range is not disturbed by a write at its other end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn

from nbreactive.engine.catalog import IndexInfo, count_key
from nbreactive.engine.read_set import END
from nbreactive.errors import InvalidValue, NotAllowed
from nbreactive.functions.pagination import PaginationResult
from nbreactive.runtime.filters import Filter, FilterBuilder, read_filter
from nbreactive.runtime.nearest import (
    Build,
    Condition,
    VectorSearch,
    checked_limit,
    nearest_documents,
    read_condition,
)
from nbreactive.runtime.pagination import Document, Opener, Source, read_page
from nbreactive.runtime.query_hints import meant
from nbreactive.runtime.search import SearchFilter, SearchScan, at_most, find_search_index, read_search
from nbreactive.runtime.search_plan import Search
from nbreactive.runtime.tables import Table
from nbreactive.runtime.transaction import Transaction
from nbreactive.values.checks import check_value
from nbreactive.values.ids import encode_id
from nbreactive.values.keys import encode_key, successor
from nbreactive.values.kinds import UNSET


class IndexRange:
    """The ``q`` of ``with_index``: ``eq`` in field order, then bounds on the next field."""

    __slots__ = ("_bounded", "_fields", "_high", "_index", "_low", "prefix")

    def __init__(self, index: IndexInfo) -> None:
        self._index = index.name
        self._fields = ("_id",) if index.name == "by_id" else (*index.fields, "_creationTime")
        self.prefix = b""
        self._low: bytes | None = None
        self._high: bytes | None = None
        self._bounded = ""

    def eq(self, field: str, value: Any) -> IndexRange:
        """Only documents whose ``field`` equals ``value`` (UNSET: documents without it)."""
        if self._bounded:
            raise InvalidValue(f"{self._where(field)}: eq comes before gt, gte, lt and lte; put it first")
        self._next(field)
        self.prefix += self._key(field, value)
        self._fields = self._fields[1:]
        return self

    def gt(self, field: str, value: Any) -> IndexRange:
        """Only documents whose ``field`` is greater."""
        self._lower(field, successor(self.prefix + self._key(field, value)))
        return self

    def gte(self, field: str, value: Any) -> IndexRange:
        """Only documents whose ``field`` is greater or equal."""
        self._lower(field, self.prefix + self._key(field, value))
        return self

    def lt(self, field: str, value: Any) -> IndexRange:
        """Only documents whose ``field`` is smaller."""
        self._upper(field, self.prefix + self._key(field, value))
        return self

    def lte(self, field: str, value: Any) -> IndexRange:
        """Only documents whose ``field`` is smaller or equal."""
        self._upper(field, successor(self.prefix + self._key(field, value)))
        return self

    @property
    def has_counter(self) -> bool:
        """Whether the range is an equality prefix of declared fields, which have counters (``_creationTime`` has none)."""
        return not self._bounded and bool(self._fields)

    def interval(self) -> tuple[bytes, bytes]:
        """The half-open range of keys."""
        low = self._low if self._low is not None else self.prefix
        high = self._high if self._high is not None else successor(self.prefix) if self.prefix else END
        return low, max(low, high)

    def _next(self, field: str) -> None:
        if not self._fields or field != self._fields[0]:
            expected = f"the next field is {self._fields[0]!r}" if self._fields else "all its fields are used already"
            raise InvalidValue(f"{self._where(field)}: fields are used in the order of the index, and {expected}")

    def _bound(self, field: str, same: bytes | None) -> None:
        if same is not None:
            raise InvalidValue(f"{self._where(field)}: one lower and one upper bound at most; remove one")
        if self._bounded and field != self._bounded:
            raise InvalidValue(f"{self._where(field)}: both bounds are on one field, here {self._bounded!r}")
        self._next(field)
        self._bounded = field

    def _lower(self, field: str, low: bytes) -> None:
        self._bound(field, self._low)
        self._low = low

    def _upper(self, field: str, high: bytes) -> None:
        self._bound(field, self._high)
        self._high = high

    def _key(self, field: str, value: Any) -> bytes:
        if self._index == "by_id":
            raise InvalidValue("the index 'by_id' has no ranges; use ctx.db.get(id)")
        return encode_key(UNSET if value is UNSET else check_value(value, self._where(field)))

    def _where(self, field: str) -> str:
        return f"index {self._index!r}, field {field!r}"


class Query:
    """A query that has not read anything yet; see :meth:`nbreactive.runtime.database.DatabaseReader.query`."""

    __slots__ = (
        "_descending", "_filters", "_index", "_limit", "_name", "_open", "_range", "_search", "_table", "_txn", "_used"
    )  # fmt: skip

    def __init__(self, txn: Transaction, name: str, table: Table | None, open_document: Opener) -> None:
        self._txn = txn
        self._name = name
        self._table = table
        self._open = open_document
        self._index: IndexInfo | None = None
        self._search: Search | None = None
        self._range: IndexRange | None = None
        self._descending: bool | None = None
        self._filters: tuple[Filter, ...] = ()
        self._limit: int | None = None
        self._used = False

    # ---- steps -------------------------------------------------------------------------------------------

    def full_table_scan(self) -> Query:
        """Read the whole table in the order of creation, which is also the default."""
        return self._step()

    def with_index(self, name: str, build: Callable[[IndexRange], IndexRange] | None = None) -> Query:
        """Read a range of an index.

        Parameters
        ----------
        name
            A declared index, or ``by_creation_time``, or ``by_id``.
        build
            ``lambda q: q.eq("author", a).gt("created_at", t)``; without it the whole index, in its order.
        """
        if self._index is not None:
            raise InvalidValue(f"query({self._name!r}) has an index already ({self._index.name!r}); use one with_index")
        query = self._step()
        if self._table is None:
            if name in ("by_creation_time", "by_id"):
                return query
            raise InvalidValue(f"there is no table {self._name!r}, so it has no index {name!r}; declare it in a schema")
        index = self._table.info.index(name)
        if index is None:
            known = ", ".join(index.name for index in self._table.info.indexes if index.kind == "ordered")
            raise InvalidValue(
                f"table {self._name!r} has no index {name!r}, only {known}; add"
                f" .index({name!r}, [...fields]) to its define_table and deploy"
            )
        if index.kind != "ordered":
            raise InvalidValue(f"{name!r} of table {self._name!r} is a {index.kind} index; use {_USE[index.kind]}")
        if index.state != "ready":
            raise InvalidValue(f"index {name!r} of table {self._name!r} is still being built; try again in a moment")
        range_: object = build(IndexRange(index)) if build is not None else None
        if build is not None and not isinstance(range_, IndexRange):
            raise InvalidValue(f'with_index({name!r}): the function returns its q: lambda q: q.eq("author", a)')
        return query.configured(_index=index, _range=range_)

    def with_search_index(self, name: str, build: Callable[[SearchFilter], SearchFilter]) -> Query:
        """Find documents by words, those that fit best first.

        Parameters
        ----------
        name
            A declared search index.
        build
            ``lambda q: q.search("title", text).eq("status", "live")``
        """
        if self._index is not None or self._descending is not None:
            raise InvalidValue(
                f"query({self._name!r}): a search has an index and an order of its own; remove the other"
            )
        query = self._step()
        if self._table is None:
            raise InvalidValue(f"there is no table {self._name!r}, so it has no index {name!r}; declare it in a schema")
        index = find_search_index(self._table.info, name)
        return query.configured(_index=index, _search=read_search(index, build))

    def order(self, direction: Literal["asc", "desc"]) -> Query:
        """Set the direction; once."""
        if direction not in ("asc", "desc"):
            raise InvalidValue(f'order takes "asc" or "desc", not {direction!r}')
        if self._descending is not None:
            raise InvalidValue(f"query({self._name!r}) has an order already; use order once")
        if self._search is not None:
            raise InvalidValue(f"query({self._name!r}): what a search finds comes best first; remove order")
        return self._step().configured(_descending=direction == "desc")

    def filter(self, build: Callable[[FilterBuilder], Any]) -> Query:
        """Keep the documents for which an expression holds: ``lambda q: q.field("likes") > 3``."""
        validator = self._table.validator if self._table is not None else None
        added = read_filter(build, self._name, validator.columns() if validator is not None else None)
        return self._step().configured(_filters=(*self._filters, added))

    def limit(self, count: int) -> Query:
        """At most ``count`` documents."""
        count = _count(count, "limit")
        return self._step().configured(_limit=min(count, self._limit) if self._limit is not None else count)

    # ---- reading -----------------------------------------------------------------------------------------

    def collect(self) -> list[Document]:
        """All documents, as a list."""
        return list(self._documents(self._limit))

    def take(self, count: int) -> list[Document]:
        """The first ``count`` documents."""
        count = _count(count, "take")
        return list(self._documents(count if self._limit is None else min(count, self._limit)))

    def first(self) -> Document | None:
        """The first document, or None."""
        return next(iter(self.take(1)), None)

    def unique(self) -> Document | None:
        """The one document, or None; raises when there are several."""
        found = self.take(2)
        if len(found) > 1:
            ids = ", ".join(document["_id"] for document in found)
            raise InvalidValue(f"unique() query returned more than one result from table {self._name}:\n [{ids}, ...]")
        return found[0] if found else None

    def count(self) -> int:
        """How many documents; O(1) for whole tables and full-equality prefixes, else the range's keys are read."""
        if self._filters or self._search is not None:
            return sum(1 for _ in self._documents(self._limit))
        table = self._use()
        if table is None:
            return 0
        index, low, high = self._bounds(table)
        prefix = self._range.prefix if self._range is not None else b""
        if self._range is None or self._range.has_counter:
            by_id = table.info.indexes[0].id
            found = self._txn.count(table.info, count_key(index.id, prefix) if prefix else count_key(by_id))
        else:
            scan = self._txn.scan(table.info, index.id, low, high, bool(self._descending), lazy=False)
            found = sum(1 for _ in scan.keys(1024))
        return found if self._limit is None else min(found, self._limit)

    def paginate(self, opts: Mapping[str, Any]) -> PaginationResult[Document]:
        """Read one page; ``.page`` has its documents, ``.continue_cursor`` is the ``cursor`` of the next one.

        A live page stays where it is: what is inserted between its first and its last document makes it longer, what
        is deleted makes it shorter, so pages never overlap and never leave a gap.

        Parameters
        ----------
        opts
            What the client has sent, a parameter hinted :class:`~nbreactive.functions.pagination.PaginationOpts`.
        """
        if self._limit is not None:
            raise InvalidValue("limit and paginate do not go together: numItems is the limit of a page; remove limit")
        table = self._use()
        low, high = self._range.interval() if self._range is not None else (b"", END)
        source = Source(
            self._name, table, self._index, low, high, bool(self._descending), self._filters, self._open, self._search
        )
        return read_page(self._txn, source, opts)

    def nearest(
        self,
        name: str,
        vector: Sequence[float],
        *,
        limit: int = 10,
        filter: Build | None = None,  # noqa: A002 - as it is called everywhere
    ) -> list[Document]:
        """The documents whose vectors are nearest to ``vector`` by their angle, the nearest first.

        Each has its ``_score``, the cosine of the angle: 1.0 for the same direction, -1.0 for the opposite one. Of what
        ``.filter(...)`` leaves out others take the place.

        Parameters
        ----------
        name
            A declared vector index.
        vector
            As long as the vectors of the index, and from the same model.
        limit
            How many documents, from 1 to 256.
        filter
            ``lambda q: q.eq("lang", "ko")``, or ``q.or_(q.eq(...), q.eq(...))``, on filter fields of the index.
        """
        table, txn, filters = self._searched(name), self._txn, [each.holds for each in self._filters]
        most = checked_limit(limit)
        search = VectorSearch(txn, table, name, vector, read_condition(filter))

        def read(id: bytes) -> Document | None:
            found = txn.document(table.info, id)
            document = self._open(table, id, found.packed) if found is not None else None
            return document if document is not None and all(keep(document) for keep in filters) else None

        return nearest_documents(search, read, most)

    def nearest_ids(self, name: str, vector: Any, limit: Any, condition: Condition | None) -> list[Document]:
        """Ids and scores of the documents that :meth:`nearest` finds; for ``ctx.vector_search`` of actions."""
        if self._filters:  # row rules, say: then it takes the documents to know
            raise NotAllowed("ids are found without looking at documents; use nearest")
        table = self._searched(name)
        found = VectorSearch(self._txn, table, name, vector, read_condition(condition)).find(checked_limit(limit))
        return [{"_id": encode_id(table.info.number, id), "_score": score} for score, id in found]

    def _searched(self, name: str) -> Table:
        if self._index is not None or self._descending is not None or self._limit is not None:
            raise InvalidValue(
                f"query({self._name!r}): nearest has an index, an order and a limit of its own; remove the others"
            )
        table = self._use()
        if table is None:
            raise InvalidValue(f"there is no table {self._name!r}, so it has no index {name!r}; declare it in a schema")
        return table

    def __iter__(self) -> Iterator[Document]:
        """Read lazily; the loop sees the state of its beginning, whatever it writes meanwhile."""
        return self._documents(self._limit, lazy=True)

    def __bool__(self) -> bool:
        raise InvalidValue("a query has no truth value; ask .first() is not None, or .count() > 0")

    def __getitem__(self, item: object) -> Document:
        raise InvalidValue("a query cannot be indexed; use .first(), .take(n) or .collect()")

    if not TYPE_CHECKING:  # a type checker finds what is not there

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(f"a query has no {name!r}" + (f"; {fix}" if (fix := meant(name, type(self))) else ""))

    def _documents(self, limit: int | None, *, lazy: bool = False) -> Iterator[Document]:
        table = self._use()
        if table is None or limit == 0:
            return iter(())
        if self._search is not None:
            return at_most(self._rows(table, SearchScan(self._txn, table, self._search).documents(), limit))
        index, low, high = self._bounds(table)
        scan = self._txn.scan(table.info, index.id, low, high, bool(self._descending), lazy)
        return self._rows(table, scan.documents(None if self._filters else limit), limit)

    def _rows(self, table: Table, rows: Iterator[tuple[bytes, bytes]], limit: int | None) -> Iterator[Document]:
        open_document, filters = self._open, [each.holds for each in self._filters]
        left = limit if limit is not None else -1
        for id, packed in rows:
            document = open_document(table, id, packed)
            if filters and not all(keep(document) for keep in filters):
                continue
            yield document
            left -= 1
            if not left:
                return

    def _bounds(self, table: Table) -> tuple[IndexInfo, bytes, bytes]:
        index = self._index if self._index is not None else table.info.indexes[1]
        low, high = self._range.interval() if self._range is not None else (b"", END)
        return index, low, high

    def _step(self) -> Query:
        self._once()
        query = Query(self._txn, self._name, self._table, self._open)
        return query.configured(
            _index=self._index,
            _search=self._search,
            _range=self._range,
            _descending=self._descending,
            _filters=self._filters,
            _limit=self._limit,
        )

    def configured(self, **settings: Any) -> Query:
        """Set what the steps have found out; for this class's own use."""
        for name, value in settings.items():
            setattr(self, name, value)
        return self

    def _use(self) -> Table | None:
        self._once()
        return self._table

    def _once(self) -> None:
        if self._used:
            raise InvalidValue(
                f"this query of {self._name!r} was used already: a query can be read or extended once;"
                f" call ctx.db.query({self._name!r}) again, or keep the list that collect() returned"
            )
        self._used = True


_USE: Final = {
    "text": 'with_search_index(name, lambda q: q.search("title", text))',
    "vector": "nearest(name, vector, limit=10)",
}


def _count(value: Any, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        if isinstance(value, float) and value.is_integer() and value >= 0:
            return int(value)
        raise InvalidValue(f"{what} takes a number of documents (0, 1, 2, ...), not {value!r}")
    return value
