"""Exact vector search in plain Python, over every version of every document."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from nbreactive.values.keys import encode_key


class Row(NamedTuple):
    id: Any
    vector: Sequence[float] | None
    filters: dict[str, Any]


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


def exact(rows: Iterable[Row], query: Sequence[float], limit: int, **wanted: Any) -> list[tuple[float, Any]]:
    """The nearest rows for which one of ``wanted`` holds (all, if there is none)."""
    scored = [
        (cosine(row.vector, query), row.id)
        for row in rows
        if row.vector is not None
        and len(row.vector) == len(query)
        and any(row.vector)
        and (
            not wanted or any(encode_key(row.filters.get(name)) == encode_key(value) for name, value in wanted.items())
        )
    ]
    return sorted(scored, key=lambda near: (-round(near[0], 6), near[1]))[:limit]


def agree(
    found: Sequence[tuple[float, Any]], rows: Iterable[Row], query: Sequence[float], limit: int, **wanted: Any
) -> bool:
    """Whether a search has found the nearest; of rows that are equally near, any."""
    rows = list(rows)
    expected = exact(rows, query, limit, **wanted)
    scores = {id: score for score, id in exact(rows, query, len(rows), **wanted)}
    return (
        len({id for _, id in found}) == len(found) == len(expected)
        and all(abs(a - b) < 1e-5 for (a, _), (b, _) in zip(found, expected, strict=True))
        and all(id in scores and abs(scores[id] - score) < 1e-5 for score, id in found)
    )
