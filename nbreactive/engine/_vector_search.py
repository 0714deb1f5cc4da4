"""The rows nearest to a vector, exactly.

All rows are multiplied by the vector in 32 bits, which is bound by memory; or, where few are visible, only those. That is
rough by less than :func:`margin`, so the rows that could be among the nearest are few, and their scores are computed
in 64 bits, in a way that gives equal vectors equal scores. Rows with equal scores are ordered by id.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final

from nbreactive.engine._numpy import np
from nbreactive.engine.vector_store import VectorView

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nbreactive.engine._vector_files import Rows

    Floats = NDArray[np.float32]

Near = tuple[float, bytes]
"""A score and the id of a document."""

_DIGITS: Final = 7
"""Of a score: beyond them are the roundings of what was stored."""
_FEW: Final = 8
"""Reading one row in so many by itself is faster than reading all."""
_BLOCK: Final = 4096


def margin(dimensions: int) -> float:
    """Return by how much a product in 32 bits is off at most."""
    return 1e-6 + dimensions * 6e-8


def nearest(
    view: VectorView,
    query: bytes,
    limit: int,
    ts: int,
    filters: Sequence[tuple[int, bytes]],
    hidden: Collection[bytes] = (),
) -> list[Near]:
    """Return the ``limit`` documents nearest to a vector at a timestamp, nearest first.

    Parameters
    ----------
    view
        The index.
    query
        32-bit floats, of length one.
    limit
        How many.
    ts
        The snapshot.
    filters
        (position, code) of which one must hold; none: all documents.
    hidden
        Ids of documents that are left out.
    """
    count = view.note.rows
    rows, vectors = view.map.rows[:count], view.map.vectors[:count]
    wanted = np.frombuffer(query, "<f4")
    visible = _visible(rows, ts, filters)
    numbers = np.flatnonzero(visible)
    if hidden and len(numbers):
        limit += len(hidden)
    if len(numbers) > limit:
        if len(numbers) * _FEW < count:
            rough: Floats = vectors[numbers] @ wanted
        else:
            rough = (vectors @ wanted)[numbers]
        least = np.partition(rough, len(rough) - limit)[len(rough) - limit]
        numbers = numbers[rough >= least - 2 * margin(view.note.dimensions)]
    found = _scored(rows, vectors, numbers, wanted)
    if hidden:
        found = [near for near in found if near[1] not in hidden]
        limit -= len(hidden)
    return best(found, limit)


def scores(data: Sequence[bytes], query: bytes) -> list[float]:
    """Return the scores of some vectors."""
    wanted = np.frombuffer(query, "<f4")
    vectors: Floats = np.frombuffer(b"".join(data), "<f4").reshape(len(data), len(wanted))
    return _exact(vectors, wanted)


def best(found: list[Near], limit: int) -> list[Near]:
    """Return the first ``limit``: the highest scores, and of equal ones the lowest ids."""
    found.sort(key=lambda near: (-near[0], near[1]))
    return found[:limit]


def _visible(rows: Rows, ts: int, filters: Sequence[tuple[int, bytes]]) -> NDArray[np.bool_]:
    at = np.uint64(ts)
    visible: NDArray[np.bool_] = (rows["from"] <= at) & (rows["until"] > at)
    if filters:
        codes = rows["codes"]
        matching = np.zeros(len(rows), np.bool_)
        for position, code in filters:
            matching |= codes[:, position] == np.frombuffer(code, "<u8", 1)[0]
        visible &= matching
    return visible


def _scored(rows: Rows, vectors: Floats, numbers: NDArray[np.int64], wanted: Floats) -> list[Near]:
    found: list[Near] = []
    for start in range(0, len(numbers), _BLOCK):
        chosen = numbers[start : start + _BLOCK]
        ids = [id.tobytes() for id in rows["id"][chosen]]
        found += zip(_exact(vectors[chosen], wanted), ids, strict=True)
    return found


def _exact(vectors: Floats, wanted: Floats) -> list[float]:
    products = vectors.astype(np.float64) * wanted.astype(np.float64)
    return [min(1.0, max(-1.0, round(score, _DIGITS))) for score in products.sum(axis=1).tolist()]
