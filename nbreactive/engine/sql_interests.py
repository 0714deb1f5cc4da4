"""Which live statements a commit concerns: those of which a changed document, old or new, fulfils the conditions.

A statement's conditions are necessary ones: a row that fails them is in no way part of its result. They are judged here
without SQL, so in doubt they hold: numbers are compared as floats and never strictly, a value of another type than the
constant may be cast to it by DuckDB.

Statements that ask for a value of a field are found by that value, however many there are.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

from nbreactive.engine._row_keys import SLOT_BITS
from nbreactive.engine.applied import AppliedState
from nbreactive.engine.recent_documents import Changed
from nbreactive.engine.transactions import Condition, SqlInterest
from nbreactive.values.ids import encode_id
from nbreactive.values.packing import unpack

Owner = TypeVar("Owner")

Document = Mapping[str, Any]
Holds = Callable[[Any], bool]
"""Whether a value may fulfil a condition; it is not None."""

_ID: Final = "_id"
_ENOUGH: Final = 20_000
"""Documents times statements that are judged one by one; beyond that everybody is told of the commit."""


class Filter:
    """All conditions of one statement.

    Examples
    --------
    >>> cheap = Filter([Condition("price", "<", [10]), Condition("color", "=", ["red"])])
    >>> cheap({"price": 5, "color": "red"}), cheap({"price": 5, "color": "blue"}), cheap({"color": "red"})
    (True, False, False)
    """

    __slots__ = ("_tests",)

    def __init__(self, conditions: Sequence[Condition]) -> None:
        self._tests = [(one.field, holds(one)) for one in conditions]

    def __call__(self, document: Document) -> bool:
        """Whether a document may fulfil them."""
        for field, test in self._tests:
            value = document.get(field)
            if value is None or not test(value):
                return False
        return True


class _Entry(NamedTuple):
    """One statement that watches the table."""

    lets: Filter
    owner: Any


class _Values:
    """Those who ask for one of some values of a field."""

    __slots__ = ("by_kind", "many")

    def __init__(self) -> None:
        self.by_kind: dict[str, dict[Any, dict[int, _Entry]]] = {}
        self.many = 0

    def candidates(self, value: Any) -> Iterable[dict[int, _Entry]]:
        """Those for whom a document with that value may matter."""
        kind, key = _kind(value)
        for asked, by_value in self.by_kind.items():
            if asked != kind:
                yield from by_value.values()
            elif key in by_value:
                yield by_value[key]


class SqlJudge(Generic[Owner]):
    """The live statements over one table.

    Parameters
    ----------
    state
        Keeps what commits change in the table, as long as there are any.
    index
        ``by_id`` of the table.
    """

    def __init__(self, state: AppliedState, index: int) -> None:
        self._state = state
        self._table = index >> SLOT_BITS
        self._entries: dict[tuple[int, Owner], list[_Entry]] = {}
        self._fields: dict[str, _Values] = {}
        self._rest: dict[int, _Entry] = {}
        self._many = 0

    def __len__(self) -> int:
        return self._many

    def add(self, interest: SqlInterest, owner: Owner) -> None:
        """Let ``owner`` be found by what concerns its statement."""
        if not self._many:
            self._state.documents.watch(self._table, self._state.applied)
        self._many += 1
        entry = _Entry(Filter(interest.conditions), owner)
        self._entries.setdefault((id(interest), owner), []).append(entry)
        key = _key_of(interest.conditions)
        if key is None:
            self._rest[id(entry)] = entry
            return
        values = self._fields.setdefault(key.field, _Values())
        values.many += 1
        for value in key.values:
            kind, plain = _kind(value)
            values.by_kind.setdefault(kind, {}).setdefault(plain, {})[id(entry)] = entry

    def remove(self, interest: SqlInterest, owner: Owner) -> None:
        """Undo :meth:`add`."""
        entries = self._entries.get((id(interest), owner))
        if not entries:
            return
        entry = entries.pop()
        if not entries:
            del self._entries[id(interest), owner]
        key = _key_of(interest.conditions)
        if key is None:
            del self._rest[id(entry)]
        else:
            self._remove(self._fields[key.field], key, entry)
        self._many -= 1
        if not self._many:
            self._state.documents.unwatch(self._table)

    def _remove(self, values: _Values, key: Condition, entry: _Entry) -> None:
        values.many -= 1
        if not values.many:
            del self._fields[key.field]
            return
        for value in key.values:
            kind, plain = _kind(value)
            found = values.by_kind[kind].get(plain)
            if found is not None:
                found.pop(id(entry), None)
                if not found:
                    del values.by_kind[kind][plain]

    def concerned(self, ts: int, keys: Sequence[bytes]) -> Iterable[Owner]:
        """Whom a commit concerns."""
        changes = self._state.documents.between(self._table, ts - 1, ts)
        if changes is None or len(changes) < len(set(keys)):
            return [owner for _, owner in self._entries]
        found: dict[Owner, None] = {}
        if len(changes) * len(self._rest) > _ENOUGH:
            found.update((entry.owner, None) for entry in self._rest.values())
        for change in changes:
            for document in _documents(change):
                for entry in self._candidates(document):
                    if entry.owner not in found and entry.lets(document):
                        found[entry.owner] = None
                if len(found) == self._many:
                    return found
        return found

    def untouched(self, interest: SqlInterest, low: int, high: int) -> bool | None:
        """Whether commits do not concern a statement."""
        changes = self._state.documents.between(self._table, low, high)
        if changes is None:
            return None
        lets = Filter(interest.conditions)
        return not any(lets(document) for change in changes for document in _documents(change))

    def _candidates(self, document: Document) -> Iterable[_Entry]:
        for field, values in self._fields.items():
            value = document.get(field)
            if value is not None:
                for entries in values.candidates(value):
                    yield from entries.values()
        yield from self._rest.values()


def holds(condition: Condition) -> Holds:
    """Return the test of one condition.

    Examples
    --------
    >>> below = holds(Condition("price", "<", [10]))
    >>> below(9.5), below(10.5), below("9")
    (True, False, True)
    """
    if condition.op == "not null":
        return lambda _: True
    kinds = [_kind(value) for value in condition.values]
    if condition.op in ("=", "in"):
        wanted = set(kinds)
        known = {kind for kind, _ in kinds}
        several = len(known) != 1 or "" in known

        def equal(value: Any) -> bool:
            found = _kind(value)
            return several or found[0] not in known or found in wanted

        return equal
    kind, limit = kinds[0]
    if not kind:
        return lambda _: True
    compare = _COMPARISONS[condition.op]

    def compared(value: Any) -> bool:
        found, plain = _kind(value)
        return found != kind or compare(plain, limit)

    return compared


_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    # Not strictly: what differs may be the same as a float, and the other way round
    "<": operator.le,
    "<=": operator.le,
    ">": operator.ge,
    ">=": operator.ge,
}


def _kind(value: Any) -> tuple[str, Any]:
    """Return what a value is compared as; an empty kind is compared with nothing."""
    if isinstance(value, str):
        return "string", value
    if isinstance(value, bool):
        return "boolean", value
    if isinstance(value, int | float):
        number = float(value)
        return ("", None) if math.isnan(number) else ("number", number)
    return "", None


def _key_of(conditions: Sequence[Condition]) -> Condition | None:
    """Return the condition by which a statement is found, if one asks for values."""
    for one in conditions:
        if one.op in ("=", "in") and one.values and all(_kind(value)[0] for value in one.values):
            return one
    return None


def document_of(table: int, id: bytes, packed: bytes) -> Document:
    """Return a document with its id, as conditions see it."""
    document: dict[str, Any] = unpack(packed)
    document[_ID] = encode_id(table, id)
    return document


def _documents(change: Changed) -> Iterable[Document]:
    for packed in (change.old, change.new):
        if packed is not None:
            yield document_of(change.table, change.id, packed)
