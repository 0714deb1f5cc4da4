"""Several rankings of the same documents made one: what makes a search by words and one by meaning a hybrid search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nbreactive.errors import InvalidValue


def reciprocal_rank_fusion(
    lists: Sequence[Sequence[Mapping[str, Any]]], *, k: float = 60, limit: int | None = None
) -> list[dict[str, Any]]:
    """Merge lists of documents, each with the best first, into one.

    A document is worth ``1 / (k + rank)`` in each list that it is in, so what is found in several ways comes before what is
    found in one, and no list's scores need to be comparable with another's (reciprocal rank fusion).

    Parameters
    ----------
    lists
        Of documents, or of anything else with an ``_id``, such as what ``ctx.vector_search`` of actions returns.
    k
        The greater, the less the first ranks count more than those behind them.
    limit
        How many documents to return; all of them without it.

    Returns
    -------
    list[dict]
        The documents, each once, with what they are worth as ``_score``; of equal ones, in the order of the lists.

    Examples
    --------
    >>> words = [{"_id": "a", "title": "Tea"}, {"_id": "b", "title": "Teapot"}]
    >>> meaning = [{"_id": "c", "title": "Coffee"}, {"_id": "b", "title": "Teapot"}]
    >>> [document["title"] for document in reciprocal_rank_fusion([words, meaning])]
    ['Teapot', 'Tea', 'Coffee']
    """
    if k < 0:
        raise InvalidValue(f"k of reciprocal_rank_fusion is 0 or more, not {k!r}")
    documents: dict[Any, dict[str, Any]] = {}
    worth: dict[Any, float] = {}
    for documents_of_one in lists:
        seen: set[Any] = set()
        for rank, document in enumerate(documents_of_one, start=1):
            id = document["_id"]
            if id in seen:
                continue
            seen.add(id)
            documents.setdefault(id, {}).update(document)
            worth[id] = worth.get(id, 0.0) + 1 / (k + rank)
    ids = sorted(documents, key=lambda id: -worth[id])
    return [{**documents[id], "_score": worth[id]} for id in (ids if limit is None else ids[:limit])]
