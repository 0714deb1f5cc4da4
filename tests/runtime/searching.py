"""What a search must find: every document is looked at, with nothing but the analysis of text in common with the real one."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any

from nbreactive.engine.postings import counted, weight
from nbreactive.engine.text import impacts_of, words_of
from nbreactive.values.ids import decode_id
from nbreactive.values.keys import encode_key
from nbreactive.values.kinds import UNSET

WORDS = [
    *("live", "query", "queries", "queue", "quick", "brown", "fox", "fixes", "résumé", "resume", "CAFÉ", "cafe"),
    *("straße", "strasse", "über", "데이터", "데이터베이스", "검색", "검색엔진", "엔진을", "東京", "東京都", "京都"),
    *("検索エンジン", "搜索", "搜索引擎", "ガギ", "x", "y", "3"),
]


def brute_force(documents: Iterable[Mapping[str, Any]], text: str, **filters: Any) -> list[str]:
    """Ids of what a search of the field ``text`` finds, in order."""
    found = [(doc, impacts_of(doc["text"])) for doc in documents if isinstance(doc.get("text"), str)]
    found = [(doc, impacts) for doc, impacts in found if impacts]
    sample = [impacts for doc, impacts in found if counted(decode_id(doc["_id"])[1])]
    ranks: list[tuple[int, float, str]] = []

    def weighs(term: str) -> int:
        return weight(len(sample), sum(term in impacts for impacts in sample))

    for doc, impacts in found:
        if any(encode_key(doc.get(name, UNSET)) != encode_key(value) for name, value in filters.items()):
            continue
        points = 0
        for word in words_of(text):
            if word.prefix:
                (start,) = word.terms
                having = [term for term in impacts if term.startswith(start)]
                points += max([impacts[t] * weighs(t) * (2 if t == start else 1) for t in having], default=0)
            elif all(term in impacts for term in word.terms):
                points += min(impacts[t] for t in word.terms) * 2 * max(weighs(t) for t in word.terms)
        if points:
            ranks.append((-points, -doc["_creationTime"], doc["_id"]))
    return [id for _, _, id in sorted(ranks)]


def some_text(rng: random.Random, longest: int = 8) -> str:
    """Some words, common ones more often."""
    return " ".join(WORDS[min(int(rng.expovariate(0.12)), len(WORDS) - 1)] for _ in range(rng.randint(0, longest)))
