from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbreactive import reciprocal_rank_fusion
from nbreactive.errors import InvalidValue

LISTS = st.lists(st.lists(st.sampled_from("abcdefgh"), unique=True), max_size=4)


def documents(ids: list[str]) -> list[dict[str, Any]]:
    return [{"_id": id} for id in ids]


@given(LISTS, st.integers(0, 100), st.none() | st.integers(0, 9))
def test_documents_are_ordered_by_the_sum_of_their_reciprocal_ranks(
    lists: list[list[str]], k: int, limit: int | None
) -> None:
    found = reciprocal_rank_fusion([documents(ids) for ids in lists], k=k, limit=limit)
    worth = {id: sum(1 / (k + ids.index(id) + 1) for ids in lists if id in ids) for ids in lists for id in ids}
    assert len(found) == (len(worth) if limit is None else min(limit, len(worth)))
    assert [document["_score"] for document in found] == pytest.approx(
        sorted(worth.values(), reverse=True)[: len(found)]
    )
    assert all(worth[document["_id"]] == pytest.approx(document["_score"]) for document in found)


def test_what_each_list_knows_of_a_document_is_kept() -> None:
    found = reciprocal_rank_fusion([[{"_id": "a", "title": "Tea", "_score": 9.0}], [{"_id": "a", "year": 1}]])
    assert found == [{"_id": "a", "title": "Tea", "year": 1, "_score": pytest.approx(2 / 61)}]


def test_one_list_that_names_a_document_twice_counts_once() -> None:
    found = reciprocal_rank_fusion([documents(["a", "a", "a"]), documents(["b"]), documents(["b"])])
    assert [document["_id"] for document in found] == ["b", "a"]


def test_a_negative_k_is_refused() -> None:
    with pytest.raises(InvalidValue, match="0 or more"):
        reciprocal_rank_fusion([], k=-1)
