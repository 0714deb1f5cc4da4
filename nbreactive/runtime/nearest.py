"""The documents nearest to a vector: ``db.query("docs").nearest("by_embedding", vector, limit=10)``.

A search sees the snapshot of its call and, in a mutation, what that has written. What it read is told in two ways: as
keys of the index, which anything written under its filter touches (mutations are validated by them), and as an interest
(:mod:`nbreactive.engine.interests`), with which a live query runs again only if a new vector is as near as the last one
that it found. The documents found are read by their ids, as others are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from nbreactive.engine.catalog import IndexInfo
from nbreactive.engine.transactions import Nearest
from nbreactive.engine.vector_values import CODE_BYTES, filter_code, normalised, search_intervals, vector_row
from nbreactive.errors import InvalidValue, LimitExceeded, Unavailable
from nbreactive.runtime.tables import Table
from nbreactive.runtime.transaction import Transaction
from nbreactive.values.checks import check_value
from nbreactive.values.kinds import UNSET
from nbreactive.values.limits import VECTOR_FILTERS, VECTOR_RESULTS, over
from nbreactive.values.packing import unpack

if TYPE_CHECKING:
    from nbreactive.engine._vector_search import Near
    from nbreactive.engine.vector_store import VectorView

_ATTEMPTS: Final = 3


class Condition:
    """What ``q.eq`` and ``q.or_`` return: fields and values, one of which must hold."""

    __slots__ = ("parts",)

    def __init__(self, parts: tuple[tuple[str, Any], ...]) -> None:
        self.parts = parts

    def __bool__(self) -> bool:
        raise InvalidValue(
            "a condition of a vector search has no truth value: Python's `and` and `or` cannot be used on it; write"
            ' q.or_(q.eq("lang", "ko"), q.eq("lang", "ja"))'
        )


class VectorFilterBuilder:
    """The ``q`` of the filter of a vector search: ``eq`` on its filter fields, and ``or_`` of several."""

    __slots__ = ()

    def eq(self, field: str, value: Any) -> Condition:
        """Only documents whose ``field`` equals ``value`` (UNSET: documents without it)."""
        if not isinstance(field, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidValue(f'q.eq takes the name of a filter field, not {field!r:.60}; q.eq("lang", "ko")')
        return Condition(((field, UNSET if value is UNSET else check_value(value, f"vector search, field {field!r}")),))

    def or_(self, *conditions: Condition) -> Condition:
        """Documents for which any of the conditions holds."""
        if not conditions or not all(isinstance(condition, Condition) for condition in conditions):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidValue('q.or_ takes one condition or more: q.or_(q.eq("lang", "ko"), q.eq("lang", "ja"))')
        return Condition(tuple(part for condition in conditions for part in condition.parts))


Build = Callable[[VectorFilterBuilder], Any]


def read_condition(build: Build | Condition | None) -> list[tuple[str, Any]]:
    """Return what the filter of a search says: fields and values, one of which must hold; none: all documents."""
    if build is None:
        return []
    condition = build(VectorFilterBuilder()) if callable(build) else build
    if not isinstance(condition, Condition):
        raise InvalidValue(
            f'the filter of a vector search returns a condition: lambda q: q.eq("lang", "ko"), not {condition!r:.60}'
        )
    if len(condition.parts) > VECTOR_FILTERS:
        fix = "search several times, and merge what was found"
        raise LimitExceeded(
            over("conditions in the filter of a vector search", len(condition.parts), VECTOR_FILTERS, fix)
        )
    return list(condition.parts)


class VectorSearch:
    """A search of a vector index.

    Parameters
    ----------
    txn, table
        What is searched.
    name
        The index.
    vector
        What to be near to.
    condition
        What :func:`read_condition` returns.
    """

    def __init__(
        self, txn: Transaction, table: Table, name: str, vector: Any, condition: Sequence[tuple[str, Any]]
    ) -> None:
        self._txn = txn
        self._table = table
        self._index = _index_of(table, name)
        self._query = _query(self._index, vector)
        self._filters = [(_position(self._index, field), filter_code(value)) for field, value in condition]
        # If it breaks off, anything under its filter concerns it
        self._place = txn.note_interest(Nearest(self._index.id, self._filters, self._query))

    def find(self, count: int) -> list[Near]:
        """Return scores and ids of the ``count`` nearest documents, nearest first; all that is asked for last matters."""
        found = self._merged(self._view(), count)
        least = found[-1][0] if len(found) == count else -math.inf
        self._txn.note_interest(Nearest(self._index.id, self._filters, self._query, least), self._place)
        return found

    def _view(self) -> VectorView:
        from nbreactive.engine._vector_files import VectorFilesError

        txn, index, built = self._txn, self._index, ""
        for _ in range(_ATTEMPTS):
            try:
                view = txn.look_at_vectors(index.id, search_intervals(self._filters))
            except VectorFilesError:  # they were written anew since this process last looked
                txn.renew_now()
                continue
            if view is not None and view.note.since <= txn.snapshot:
                return view
            built = f", and has {view.note.rows:,} vectors so far" if view is not None else ""
            break
        raise Unavailable(f"vector index {index.name!r} is being built anew{built}; try again in a moment")

    def _merged(self, view: VectorView, count: int) -> list[Near]:
        from nbreactive.engine._vector_search import best, nearest, scores

        pending = self._txn.pending(self._table.info)
        found = nearest(view, self._query, count, self._txn.snapshot, self._filters, pending.keys())
        own: dict[bytes, bytes] = {}
        for id, written in pending.items():
            row = vector_row(self._index, unpack(written.packed)) if written.packed is not None else None
            if row is not None and self._holds(row.codes):
                own[id] = row.data
        if own:
            found = best([*found, *zip(scores(list(own.values()), self._query), own, strict=True)], count)
        return found

    def _holds(self, codes: bytes) -> bool:
        if not self._filters:
            return True
        size = CODE_BYTES
        return any(codes[size * position : size * (position + 1)] == code for position, code in self._filters)


def nearest_documents(
    search: VectorSearch, read: Callable[[bytes], dict[str, Any] | None], limit: int
) -> list[dict[str, Any]]:
    """Return the nearest documents with their scores; those that ``read`` gives None for do not count."""
    wanted = limit
    seen: dict[bytes, dict[str, Any] | None] = {}
    while True:
        found = search.find(wanted)
        documents: list[dict[str, Any]] = []
        for score, id in found:
            if id not in seen:
                seen[id] = read(id)
            document = seen[id]
            if document is not None:
                documents.append({**document, "_score": score})
                if len(documents) == limit:
                    break
        if len(documents) == limit or len(found) < wanted:
            return documents
        wanted *= 4


def checked_limit(limit: Any) -> int:
    """Return how many documents a search may find."""
    if isinstance(limit, float) and limit.is_integer():
        limit = int(limit)
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= VECTOR_RESULTS:
        raise InvalidValue(f"limit of a vector search is a whole number from 1 to {VECTOR_RESULTS}, not {limit!r:.60}")
    return limit


def _index_of(table: Table, name: str) -> IndexInfo:
    index = table.info.index(name)
    if index is None or index.kind != "vector":
        known = ", ".join(index.name for index in table.info.vector) or "none"
        raise InvalidValue(
            f"table {table.info.name!r} has no vector index {name!r}, only: {known}; add .vector_index({name!r},"
            ' vector_field="...", dimensions=...) to its define_table and deploy'
        )
    if index.state != "ready":
        raise Unavailable(f"vector index {name!r} of table {table.info.name!r} is being built; try again in a moment")
    return index


def _query(index: IndexInfo, vector: Any) -> bytes:
    plain = check_value(vector.tolist() if hasattr(vector, "tolist") else vector, "vector")
    query = normalised(plain, index.dimensions)
    if query is None:
        raise InvalidValue(
            f"vector index {index.name!r} is searched with a list of {index.dimensions} finite numbers, not all zero;"
            f" this is {_told(plain)}. The vectors of an index and those it is searched with come from the same model"
        )
    return query


def _told(value: Any) -> str:
    """What is wrong with a vector, in words."""
    if not isinstance(value, list):
        return type(value).__name__
    numbers = cast("list[Any]", value)
    text = f"a list of {len(numbers)}"
    if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers):
        return f"{text} in which not all are numbers"
    if not all(map(math.isfinite, numbers)):
        return f"{text} with NaN or infinity in it"
    return f"{text} numbers that are all zero: an empty text has such an embedding" if not any(numbers) else text


def _position(index: IndexInfo, field: str) -> int:
    if field not in index.filter_fields:
        known = ", ".join(index.filter_fields) or "none"
        raise InvalidValue(
            f"vector index {index.name!r} has no filter field {field!r}, only: {known}; add it to filter_fields in"
            " define_table and deploy"
        )
    return index.filter_fields.index(field)
