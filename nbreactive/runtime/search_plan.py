"""How a full-text search is done: what its words weigh, where it begins, what it depends on.

Usually the streams of its words are ranked (see :mod:`nbreactive.runtime.ranking`). Under a filter that few documents
fulfil, those are looked at one by one; under one that more do, their ids are read first, and others left out of the streams.
The result is the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

from nbreactive.engine.catalog import IndexInfo, TableInfo, count_key, field_of
from nbreactive.engine.postings import (
    EVERYTHING,
    SAMPLE,
    STATE_KEY,
    TAIL_BYTES,
    Postings,
    counters_of,
    postings_of,
    scope_counter,
    scope_of,
    term_counter,
    touch_key,
    unfinished,
    weight,
    weight_key,
)
from nbreactive.engine.read_set import point
from nbreactive.engine.text import LARGEST_IMPACT, Word, impacts_of, words_of
from nbreactive.engine.transactions import Interval
from nbreactive.errors import InvalidValue
from nbreactive.runtime.ranking import Posting, Stream, rank_of, ranked
from nbreactive.runtime.transaction import Transaction
from nbreactive.values.keys import encode_key, successor
from nbreactive.values.packing import unpack

PREFIX_TERMS: Final = 512
"""Terms that an unfinished word may stand for: the first ones by their characters."""
_LAST: Final = b"\xff"
"""Behind all characters."""
_FEW: Final = 256
"""When a filter leaves so few documents, each is looked at."""
_POSTINGS_PER_LOOK: Final = 20
_WANTED: Final = 64
"""Documents of a filter that a search may have to look for."""
_FIRST_CHUNK: Final = 32
_LARGEST_CHUNK: Final = 1024

_Row = tuple[bytes, bytes]


@dataclass(frozen=True)
class Search:
    """What is searched for."""

    index: IndexInfo
    text: str
    filters: Mapping[str, Any]

    @cached_property
    def words(self) -> list[Word]:
        """The words of the text."""
        return words_of(self.text)

    @cached_property
    def scopes(self) -> list[bytes]:
        """The scopes of its filters."""
        fields = self.index.filter_fields
        return [scope_of(fields.index(name), value) for name, value in self.filters.items()]

    def form(self) -> list[Any]:
        """Return what makes it another search."""
        flat = [[name, encode_key(value)] for name, value in self.filters.items()]
        return [self.index.name, *self.index.fields, self.text, flat]

    def reads(self, scope: bytes) -> Iterator[Interval]:
        """Yield what its result depends on, beside the documents that it has."""
        if self.words:
            yield point(weight_key())
        for word in self.words:
            for term in word.terms:
                for key in (touch_key(scope, term), weight_key(term)):
                    yield (key, key + _LAST) if word.prefix else point(key)

    def allows(self, doc: Mapping[str, Any]) -> bool:
        """Whether a document fulfils the filters."""
        return all(encode_key(field_of(doc, name)) == encode_key(value) for name, value in self.filters.items())


class _Weighed(NamedTuple):
    """A word with what it weighs in this search."""

    word: Word
    points: dict[str, int]
    """For each point of impact of a term; of a word of several terms, for the least of their impacts."""
    postings: int
    """So many of counted documents."""
    first: dict[str, _Row]
    """The first stored postings of the terms that begin with it."""


class Plan:
    """One search in one transaction."""

    def __init__(self, txn: Transaction, table: TableInfo, search: Search) -> None:
        self._txn = txn
        self._table = table
        self._search = search
        self._index = index = search.index
        self._reader, self._own = txn.search(table)
        if unfinished(self._reader, index.id, txn.snapshot):
            txn.depend(index.id, [point(STATE_KEY)])
            raise InvalidValue(
                f"index {index.name!r} of table {table.name!r} is being made anew; try again in a moment"
            )
        self._deltas: Counter[bytes] = Counter()
        self._mine: dict[bytes, Postings] = {}
        for id, pending in self._own.items():
            for packed, by in ((pending.packed, 1), (pending.base, -1)):
                if packed is not None:
                    postings = postings_of(index, unpack(packed), id)
                    for counter in counters_of(index, postings):
                        self._deltas[counter] += by
                    if by > 0 and postings.terms:
                        self._mine[id] = postings
        counts = [(self._count(scope_counter(index.id, scope)), scope) for scope in search.scopes]
        self._few, self._scope = min(counts, default=(0, EVERYTHING))
        txn.depend(index.id, search.reads(self._scope))
        self._documents = self._count(count_key(index.id))
        self._words = [self._weigh(word) for word in search.words]

    def ranks(self) -> Iterator[bytes]:
        """Yield the ranks of what may be found, the best first; whether the filters hold is not looked at yet."""
        known: list[bytes] = []
        for postings in self._mine.values():
            points = self._points(postings.terms)
            if points:
                known.append(rank_of(points, postings.tail))
        if self._scope == EVERYTHING:
            return ranked([self._stream(word) for word in self._words], known, self._points_of)
        if self._few * SAMPLE <= _FEW:
            for key, id in self._all(b"f" + self._scope):
                points = self._points_of(id)
                if points:
                    known.append(rank_of(points, key[-TAIL_BYTES:]))
            return iter(sorted(known))
        postings = sum(weighed.postings for weighed in self._words)
        looks = min(SAMPLE * postings, _WANTED * self._documents // max(self._few, 1))
        read_first = SAMPLE * self._few < _POSTINGS_PER_LOOK * looks
        among = {id for _, id in self._all(b"f" + self._scope)} if read_first else None
        streams = [self._stream(word) for word in self._words]
        return ranked(streams, known, self._points_of, among)

    def packed(self, id: bytes) -> bytes:
        """Return a document that was found."""
        own = self._own.get(id)
        if own is not None and own.packed is not None:
            return own.packed
        found = self._reader.document(self._table.number, id, self._txn.snapshot)
        if found is None:
            raise LookupError(f"the row index has a posting without a document ({self._table.number}, {id.hex()})")
        return found[0]

    # ---- weights -----------------------------------------------------------------------------------------

    def _weigh(self, word: Word) -> _Weighed:
        first: dict[str, _Row] = self._beginning_with(word.terms[0]) if word.prefix else {}
        terms: Sequence[str] = word.terms
        if word.prefix:
            mine = {term for postings in self._mine.values() for term in postings.terms if term.startswith(terms[0])}
            terms = sorted({*first, *mine}, key=str.encode)[:PREFIX_TERMS]
        having = {term: self._count(term_counter(self._index.id, term)) for term in terms}
        weights = {term: weight(self._documents, having[term]) for term in terms}
        if word.prefix:
            points = {term: weights[term] * (2 if term == word.terms[0] else 1) for term in terms}
            return _Weighed(word, points, sum(having.values()), first)
        rarest = min(word.terms, key=having.__getitem__)
        return _Weighed(word, {rarest: 2 * weights[rarest]}, having[rarest], first)

    def _beginning_with(self, prefix: str) -> dict[str, _Row]:
        found: dict[str, _Row] = {}
        low = b"t" + prefix.encode()
        high = low + _LAST
        while len(found) < PREFIX_TERMS:
            rows = self._txn.fetch(self._index.id, low, high, False, 1)
            if not rows:
                break
            term = rows[0][0][1 : -TAIL_BYTES - 2]
            found[term.decode()] = rows[0]
            low = b"t%b\x01" % term
        return found

    def _count(self, counter: bytes) -> int:
        return self._reader.count(counter, self._txn.snapshot) + self._deltas[counter]

    # ---- points ------------------------------------------------------------------------------------------

    def _points(self, impacts: Mapping[str, int]) -> int:
        """Return the points of a document with these terms."""
        total = 0
        for word, points, _, _ in self._words:
            if word.prefix:
                total += max([impacts[term] * points[term] for term in impacts if term in points], default=0)
            elif all(term in impacts for term in word.terms):
                (each,) = points.values()
                total += each * min(impacts[term] for term in word.terms)
        return total

    def _points_of(self, id: bytes) -> int:
        """Return the points of a stored document, none if the filters do not hold."""
        if id in self._own:
            return 0
        doc: dict[str, Any] = unpack(self.packed(id))
        if self._search.filters and not self._search.allows(doc):
            return 0
        text = field_of(doc, self._index.fields[0])
        return self._points(impacts_of(text)) if isinstance(text, str) else 0

    # ---- postings ----------------------------------------------------------------------------------------

    def _stream(self, weighed: _Weighed) -> Stream:
        lists = [
            self._postings(term, points, weighed.first.get(term))
            for term, points in weighed.points.items()
            if term in weighed.first or not weighed.word.prefix
        ]
        most = LARGEST_IMPACT * max(weighed.points.values(), default=0)
        return Stream(lists, most, exact=len(weighed.word.terms) == 1)

    def _postings(self, term: str, points: int, first: _Row | None) -> Iterator[Posting]:
        prefix = b"t%b\x00" % term.encode()
        at, own = len(prefix), self._own
        for key, id in self._all(prefix, first):
            if id not in own:
                yield (key[at] - 255) * points, key[at + 1 :]

    def _all(self, prefix: bytes, first: _Row | None = None) -> Iterator[_Row]:
        """Yield the stored postings that begin with ``prefix``; the first one may be known."""
        low, high, size = prefix, successor(prefix), _FIRST_CHUNK
        if first is not None:
            yield first
            low = first[0] + b"\x00"
        while True:
            rows = self._txn.fetch(self._index.id, low, high, False, size)
            yield from rows
            if len(rows) < size:
                return
            low, size = rows[-1][0] + b"\x00", min(2 * size, _LARGEST_CHUNK)
