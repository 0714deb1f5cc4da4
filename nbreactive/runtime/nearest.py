"""The documents nearest to a vector: ``db.query("docs").nearest("by_embedding", vector, limit=10)``.

A search sees the snapshot of its call and, in a mutation, what that has written. What it read is told in two ways: as
keys of the index, which anything written under its filter touches (mutations are validated by them), and as an interest
(:mod:`nbreactive.engine.interests`), with which a live query runs again only if a new vector is as near as the last one
that it found. The documents found are read by their ids, as others are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

from nbreactive.engine.catalog import IndexInfo
from nbreactive.engine.transactions import Nearest
from nbreactive.engine.vector_values import filter_code, normalised, search_intervals, vector_row
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
    """What ``q.eq`` and ``q.or_`` return: field and code pairs, one of which must hold."""

    __slots__ = ("parts",)

    def __init__(self, parts: tuple[tuple[int, bytes], ...]) -> None:
        self.parts = parts

    def __bool__(self) -> bool:
        raise InvalidValue(
            "a condition of a vector search has no truth value: Python's `and` and `or` cannot be used on it; write"
            ' q.or_(q.eq("lang", "ko"), q.eq("lang", "ja"))'
        )


class VectorFilterBuilder:
    """The ``q`` of the filter of a vector search: ``eq`` on its filter fields, and ``or_`` of several."""

    __slots__ = ("_fields", "_index")

    def __init__(self, index: IndexInfo) -> None:
        self._index = index.name
        self._fields = index.filter_fields

    def eq(self, field: str, value: Any) -> Condition:
        """Only documents whose ``field`` equals ``value`` (UNSET: documents without it)."""
        if field not in self._fields:
            known = ", ".join(self._fields) or "none"
            raise InvalidValue(
                f"vector index {self._index!r} has no filter field {field!r}, only: {known}; add it to filter_fields in"
                " define_table and deploy"
            )
        where = f"vector index {self._index!r}, field {field!r}"
        plain = UNSET if value is UNSET else check_value(value, where)
        return Condition(((self._fields.index(field), filter_code(plain)),))

    def or_(self, *conditions: Condition) -> Condition:
        """Documents for which any of the conditions holds."""
        if not conditions or not all(isinstance(condition, Condition) for condition in conditions):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidValue('q.or_ takes one condition or more: q.or_(q.eq("lang", "ko"), q.eq("lang", "ja"))')
        parts = tuple(dict.fromkeys(part for condition in conditions for part in condition.parts))
        if len(parts) > VECTOR_FILTERS:
            fix = "search several times, and merge what was found"
            raise LimitExceeded(over("conditions in the filter of a vector search", len(parts), VECTOR_FILTERS, fix))
        return Condition(parts)


Build = Callable[[VectorFilterBuilder], Any]


def find_nearest(
    txn: Transaction, table: Table, name: str, vector: Any, limit: Any, build: Build | None
) -> list[tuple[float, bytes]]:
    """Return scores and ids of the documents nearest to ``vector``, nearest first."""
    index = _index_of(table, name)
    query = _query(index, vector)
    if isinstance(limit, float) and limit.is_integer():
        limit = int(limit)
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= VECTOR_RESULTS:
        raise InvalidValue(f"limit of a vector search is a whole number from 1 to {VECTOR_RESULTS}, not {limit!r:.60}")
    filters = list(_condition(index, build).parts) if build is not None else []
    interest = Nearest(index.id, filters, query)
    # If it breaks off, anything under its filter concerns it
    place = txn.note_interest(interest)
    view = _view(txn, index, filters)
    found = _search(txn, table, index, view, query, limit, filters)
    least = found[limit - 1][0] if len(found) == limit else -math.inf
    txn.note_interest(Nearest(index.id, filters, query, least), place)
    return found


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
        size = f"a list of {len(cast('list[Any]', plain))}" if isinstance(plain, list) else type(plain).__name__
        raise InvalidValue(
            f"vector index {index.name!r} is searched with a list of {index.dimensions} finite numbers, not all zero;"
            f" this is {size}. The vectors of an index and those it is searched with come from the same model"
        )
    return query


def _condition(index: IndexInfo, build: Build) -> Condition:
    condition = build(VectorFilterBuilder(index))
    if not isinstance(condition, Condition):
        raise InvalidValue(
            f'the filter of a vector search returns a condition: lambda q: q.eq("lang", "ko"), not {condition!r:.60}'
        )
    return condition


def _view(txn: Transaction, index: IndexInfo, filters: list[tuple[int, bytes]]) -> VectorView:
    from nbreactive.engine._vector_files import VectorFilesError

    for _ in range(_ATTEMPTS):
        try:
            view = txn.look_at_vectors(index.id, search_intervals(filters))
        except VectorFilesError:  # they were written anew since this process last looked
            txn.renew_now()
            continue
        if view is not None and view.note.since <= txn.snapshot:
            return view
        break
    raise Unavailable(f"vector index {index.name!r} is being built anew; try again in a moment")


def _search(
    txn: Transaction,
    table: Table,
    index: IndexInfo,
    view: VectorView,
    query: bytes,
    limit: int,
    filters: list[tuple[int, bytes]],
) -> list[Near]:
    from nbreactive.engine._vector_search import best, nearest, scores

    pending = txn.pending(table.info)
    found = nearest(view, query, limit, txn.snapshot, filters, pending.keys())
    own: dict[bytes, bytes] = {}
    for id, written in pending.items():
        row = vector_row(index, unpack(written.packed)) if written.packed is not None else None
        if row is not None and _holds(row.codes, filters):
            own[id] = row.data
    if own:
        found = best([*found, *zip(scores(list(own.values()), query), own, strict=True)], limit)
    return found


def _holds(codes: bytes, filters: list[tuple[int, bytes]]) -> bool:
    return not filters or any(codes[8 * position : 8 * position + 8] == code for position, code in filters)
