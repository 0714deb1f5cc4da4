"""What a search index keeps of a document, and what a search of it depends on.

Postings are entries of the row index, so they have versions, snapshots and repair like every other entry:

    "t" term 00 | 255 - impact | inverted creation time | document id
    "f" number of the filter field | hash of its value | inverted creation time | document id

The postings of one term come with the highest impact first, and of the same impact the newest document first: that is
the order of results. Counters say how many documents have a term, a value of a filter field, or any text at all; only one
document in eight is counted, chosen by its id, for a counter costs a writer as much as a posting does.

What a search depends on are keys which nothing stores. A commit touches them, a search has them in its read set:

    00 scope term     a document has, or had, the term with another impact; the scope is a filter (its field and the hash of the value)
                      that the document fulfils, and for every document the one of no filter
    01 term           so many more or fewer documents have the term that it weighs more or less; no term: how many there are at all

So a search under a filter is left alone by documents that do not fulfil it, and every search by those without its terms.
Weights depend on numbers of binary digits only, so they hardly ever change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from nbreactive.engine._row_keys import INDEX_BYTES
from nbreactive.engine.catalog import CREATION_TIME, IndexInfo, SnapshotReader, count_key, field_of
from nbreactive.engine.text import impacts_of
from nbreactive.values.keys import encode_key

EVERYTHING: Final = b"\xff" + bytes(8)
"""The scope of a search without a filter."""
TAIL_BYTES: Final = 24
"""Creation time and id, at the end of every posting."""
UNFINISHED: Final = bytes(17)
"""An entry that stands in an index as long as it is made anew: it lacks documents."""
STATE_KEY: Final = b"\x02"
"""What is touched when it lacks none any more."""
SAMPLE = 8
"""One document in so many is counted."""
TELLING = 8
"""Fewer counted documents say nothing about how common a term is."""
_WEIGHS: Final = b"\x01"
_ALL: Final = (1 << 64) - 1


class Postings(NamedTuple):
    """One document in one search index."""

    terms: Mapping[str, int]
    """With their impacts; no terms: the index has nothing of the document."""
    scopes: tuple[bytes, ...]
    """The filters that it fulfils, one for each filter field."""
    tail: bytes
    """Of its keys."""

    def term_keys(self, terms: Iterable[str]) -> list[bytes]:
        """Return the keys of some of its terms."""
        impacts, tail = self.terms, self.tail
        return [b"t%b\x00%c%b" % (term.encode(), 255 - impacts[term], tail) for term in terms]

    def scope_keys(self, scopes: Iterable[bytes]) -> list[bytes]:
        """Return the keys of some of the filters that it fulfils."""
        return [b"f%b%b" % (scope, self.tail) for scope in scopes]


class Change(NamedTuple):
    """What a write changes in one search index."""

    puts: list[tuple[int, bytes]]
    dels: list[tuple[int, bytes]]
    counts: list[tuple[bytes, int]]
    touched: list[bytes]


_NOTHING: Final = Postings({}, (), b"")


def postings_of(index: IndexInfo, doc: Mapping[str, Any], id: bytes) -> Postings:
    """Return what a search index keeps of a document."""
    values = [field_of(doc, name) for name in index.filter_fields]
    return postings_from(field_of(doc, index.fields[0]), values, doc[CREATION_TIME], id)


def postings_from(text: Any, values: Iterable[Any], created: float, id: bytes) -> Postings:
    """Return the same from the values of the fields that matter."""
    terms = impacts_of(text) if isinstance(text, str) else None
    if not terms:
        return _NOTHING
    scopes = tuple(scope_of(number, value) for number, value in enumerate(values))
    return Postings(terms, scopes, inverted_time(created) + id)


def change_of(
    index: IndexInfo, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None, id: bytes
) -> Change | None:
    """Return what changes in a search index when a document ``new`` takes the place of ``old``, if anything does."""
    if old is not None and new is not None and not _differ(index, old, new):
        return None
    before = postings_of(index, old, id) if old is not None else _NOTHING
    after = postings_of(index, new, id) if new is not None else _NOTHING
    had, has, number = before.terms, after.terms, index.id
    put = [term for term, impact in has.items() if had.get(term) != impact]
    cut = [term for term, impact in had.items() if has.get(term) != impact]
    entered = [scope for scope in after.scopes if scope not in before.scopes]
    left = [scope for scope in before.scopes if scope not in after.scopes]
    counts: list[tuple[bytes, int]] = []
    if counted(id):
        counts += [(term_counter(number, term), 1) for term in put if term not in had]
        counts += [(term_counter(number, term), -1) for term in cut if term not in has]
        counts += [(scope_counter(number, scope), 1) for scope in entered]
        counts += [(scope_counter(number, scope), -1) for scope in left]
        if bool(had) != bool(has):
            counts.append((count_key(number), 1 if has else -1))
    changed = put if not cut else list(dict.fromkeys([*put, *cut]))
    touched = [touch_key(EVERYTHING, term) for term in changed]
    # A search with several filters depends on one of them, so a document that enters or leaves one is touched in all
    moved = bool(entered or left)
    for scope in before.scopes:
        touched += [touch_key(scope, term) for term in (had if moved else changed)]
    for scope in after.scopes if moved else ():
        touched += [touch_key(scope, term) for term in has]
    return Change(
        [(number, key) for key in (*after.term_keys(put), *after.scope_keys(entered))],
        [(number, key) for key in (*before.term_keys(cut), *before.scope_keys(left))],
        counts,
        touched,
    )


def add_change(
    change: Change,
    index: IndexInfo,
    puts: list[tuple[int, bytes]],
    dels: list[tuple[int, bytes]],
    counts: list[tuple[bytes, int]],
    touched: dict[int, list[bytes]],
    terms: dict[bytes, int],
) -> None:
    """Add what changes in one search index to what else a transaction does."""
    puts += change.puts
    dels += change.dels
    counts += change.counts
    if change.touched:
        touched.setdefault(index.id, []).extend(change.touched)
    for key, delta in change.counts:
        if key[INDEX_BYTES : INDEX_BYTES + 1] != b"f":
            terms[key] = terms.get(key, 0) + delta


def touch_weights(
    terms: Mapping[bytes, int], counter: Callable[[bytes], int] | None, touched: dict[int, list[bytes]]
) -> dict[bytes, int]:
    """Touch the terms that weigh something else when their counters change; returns what those are afterwards."""
    numbers: dict[bytes, int] = {}
    for key, delta in terms.items():
        if not delta:
            continue
        before = counter(key) if counter is not None else 0
        after = numbers[key] = before + delta
        if counter is None or _digits(before) != _digits(after):
            index = int.from_bytes(key[:INDEX_BYTES], "big")
            touched.setdefault(index, []).append(_WEIGHS + key[INDEX_BYTES + 1 :])
    return numbers


def counters_of(index: IndexInfo, postings: Postings) -> list[bytes]:
    """Return the counters that a document adds one to."""
    if not postings.terms or not counted(postings.tail):
        return []
    counts = [term_counter(index.id, term) for term in postings.terms]
    return [count_key(index.id), *counts, *(scope_counter(index.id, scope) for scope in postings.scopes)]


def unfinished(reader: SnapshotReader, index: int, ts: int) -> bool:
    """Whether a search index lacks documents at a timestamp, because it is being made anew."""
    return any(True for _ in reader.scan(index, UNFINISHED, UNFINISHED + b"\x00", ts))


def entries_of(index: IndexInfo, doc: Mapping[str, Any], id: bytes) -> tuple[list[tuple[int, bytes]], list[bytes]]:
    """Return what one document adds to a search index: entries, and the counters that it adds one to."""
    change = change_of(index, None, doc, id)
    return ([], []) if change is None else (change.puts, [key for key, _ in change.counts])


def counted(id: bytes) -> bool:
    """Whether the counters know of a document; ids, and so tails of keys, end in random bytes."""
    return id[-1] % SAMPLE == 0


def weight(documents: int, having: int) -> int:
    """Return what a term weighs that so many of all counted documents have: the rarer, the more.

    Examples
    --------
    >>> weight(1_000_000, 1_000_000), weight(1_000_000, 1000), weight(1_000_000, 1), weight(7, 1)
    (1, 11, 17, 1)
    """
    return 1 + max(0, _digits(documents) - _digits(having))


def _digits(count: int) -> int:
    return (count + TELLING).bit_length()


def scope_of(number: int, value: Any) -> bytes:
    """Return the scope of the filter field ``number`` with a value (UNSET: without the field)."""
    return number.to_bytes(1, "big") + filter_code(value)


def filter_code(value: Any) -> bytes:
    """Return 8 bytes that stand for a value in filters; another value hardly ever has the same."""
    return blake2b(encode_key(value), digest_size=8).digest()


def touch_key(scope: bytes, term: str) -> bytes:
    """Return what a write touches that changes a term of a document in a scope."""
    return b"\x00%b%b" % (scope, term.encode())


def weight_key(term: str = "") -> bytes:
    """Return what a write touches that changes what a term weighs; without a term, what all of them do."""
    return _WEIGHS + term.encode()


def term_counter(index: int, term: str) -> bytes:
    """Return the counter of the documents that have a term."""
    return count_key(index, b"t" + term.encode())


def scope_counter(index: int, scope: bytes) -> bytes:
    """Return the counter of the documents in a scope."""
    return count_key(index, b"f" + scope)


def inverted_time(created: float) -> bytes:
    """Return 8 bytes that sort the newest first."""
    return (_ALL ^ int.from_bytes(encode_key(created)[1:], "big")).to_bytes(8, "big")


def _differ(index: IndexInfo, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    if field_of(old, index.fields[0]) != field_of(new, index.fields[0]):
        return True
    # 1 == True, but as a filter it is something else
    return any(encode_key(field_of(old, name)) != encode_key(field_of(new, name)) for name in index.filter_fields)
