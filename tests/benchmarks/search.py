"""Full-text search over 1,000,000 documents of 20 words: how soon it answers, what it costs writers, whom a write concerns."""

from __future__ import annotations

import random
from statistics import median

from .backend import BenchBackend
from .figures import Figure
from .floors import percentile
from .searching import Args, answers, fill, inserts, live

_CHUNK = 2000
_QUERIES = 300
_WRITES = 400
_LIVE = 1000
_HELD = 5
"""Of the live searches' terms that each insert has."""
_ROUNDS = 20
_FUNCTIONS = '''
import itertools
import random

from nbreactive import define_schema, define_table, mutation, query, v

fields = {"text": v.string(), "lang": v.string()}
schema = define_schema({
    "notes": define_table(fields).search_index("words", search_field="text", filter_fields=["lang"]),
    "plain": define_table(fields),
})


def vocabulary(many=100_000):
    """Words that can be spoken, the shorter ones first, as in languages."""
    choose = random.Random(1)
    words = {}
    while len(words) < many:
        syllables = 1 + min(len(words) // 20, 1) + choose.choice((0, 0, 1, 1, 2)) * (len(words) > 2000)
        words["".join(choose.choice("bdfgklmnprstvz") + choose.choice("aeiou") + choose.choice(("", "", "n", "r", "s"))
                      for _ in range(syllables))] = None
    return list(words)


VOCABULARY = vocabulary()
WEIGHTS = list(itertools.accumulate(1 / (rank + 2) for rank in range(len(VOCABULARY))))


def text(number):
    choose = random.Random(number)
    return " ".join(choose.choices(VOCABULARY, cum_weights=WEIGHTS, k=choose.randint(14, 26)))


@mutation
def fill(ctx, table: str, first: int, many: int):
    for number in range(first, first + many):
        ctx.db.insert(table, {"text": text(number), "lang": ("ko", "en", "de", "fr")[number % 4] if number % 50 else "la"})


@mutation
def add(ctx, table: str, text: str):
    ctx.db.insert(table, {"text": text, "lang": "en"})


@query
def total(ctx, table: str):
    return ctx.db.query(table).count()


@query
def find(ctx, text: str, lang: str = ""):
    def build(q):
        q = q.search("text", text)
        return q.eq("lang", lang) if lang else q

    return [doc["text"] for doc in ctx.db.query("notes").with_search_index("words", build).take(10)]


@query
def some_words(ctx, first: int, many: int):
    return VOCABULARY[first:first + many]
'''


def prepare(backend: BenchBackend) -> None:
    """Add the functions; before the start."""
    (backend.functions / "search.py").write_text(_FUNCTIONS)


def _searches(words: list[str]) -> list[Args]:
    """What people search for: one to three words that are neither the most common nor unheard of, the last one often unfinished."""
    choose = random.Random(2)
    found: list[Args] = []
    for number in range(_QUERIES):
        chosen = [words[int(len(words) ** choose.uniform(0.25, 1)) - 1] for _ in range(choose.choice((1, 1, 2, 2, 3)))]
        if choose.random() < 0.5 and len(chosen[-1]) > 3:
            chosen[-1] = chosen[-1][: choose.randint(3, len(chosen[-1]))]
        text = f"{' ' * (number % 7)}{' '.join(chosen)}"
        found.append({"text": text, "lang": choose.choice(("", "", "en", "la"))})
    return found


def _documents(words: list[str]) -> list[Args]:
    """Texts of 20 words."""
    choose = random.Random(3)
    return [
        {"text": " ".join(words[int(len(words) ** choose.random()) - 1] for _ in range(20))} for _ in range(_WRITES)
    ]


async def _live(backend: BenchBackend, words: list[str]) -> tuple[float, list[float]]:
    """Inserts that have five of the live searches' terms each."""
    ordered = sorted(words)
    whole = {a for a, b in zip(ordered, [*ordered[1:], ""], strict=True) if not b.startswith(a)}
    terms = [word for word in words if word in whole][2000 : 2000 + _LIVE]
    assert len(terms) == _LIVE
    others = [word for word in words[:2000] if word not in terms]
    choose = random.Random(4)
    texts = [" ".join([*choose.sample(terms, _HELD), *choose.sample(others, 3)]) for _ in range(_ROUNDS)]
    documents = [{"table": "notes", "text": text} for text in texts]
    searches = [("search:find", {"text": term}) for term in terms]
    return await live(backend, searches, "search:add", documents, _HELD)


async def search(backend: BenchBackend, documents: int) -> list[Figure]:
    """The bars of full-text search (at 100,000 documents with ``--quick``)."""
    await fill(backend, "search", ("notes", "plain"), documents, _CHUNK)
    words: list[str] = backend.query("search:some_words", first=0, many=20_000)
    queries = await answers(backend, "search:find", _searches(words))
    with_index, without = await inserts(backend, "search:add", _documents(words), ("notes", "plain"))
    runs, seen = await _live(backend, words)
    assert runs >= _HELD, "a live search was not run again that an insert concerns"
    ms = 1000.0
    return [
        Figure("search", f"query p50, {documents:,} documents", median(queries) * ms, "ms", 20),
        Figure("search", "query p95", percentile(queries, 0.95) * ms, "ms", 200),
        Figure(
            "search", "insert, with the index against without", median(with_index) * ms, "ms", 2, median(without) * ms
        ),
        Figure("search", f"{_LIVE} live searches, runs for {_HELD} terms", runs, "", 1, _HELD),
        Figure("search", f"{_LIVE} live searches, the last one seen", median(seen) * ms, "ms", 20),
    ]
