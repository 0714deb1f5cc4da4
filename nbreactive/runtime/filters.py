"""Filter expressions: what ``lambda q: (q.field("likes") > 3) & (q.field("deleted_at") == UNSET)`` builds.

The lambda runs once and returns an :class:`Expression`, which is turned into a plain function of a document.
Comparisons follow the order of index keys across types, so a filter and an index range agree on what is smaller; equal
means the same type and value (``1 == 1.0`` is one type here, ``1 == True`` is not). Python's ``and``, ``or``, ``not``
cannot be overloaded: an expression refuses to be asked for its truth and names the operator to use.

A field that the schema lacks is absent in every document, so some comparisons with it can never be true: those are
refused, for the name is most likely misspelled. ``q.field("old") == UNSET`` and the like are not.

Beside what it does, an expression knows its form, a nested list of names and literals: two filters of the same form are the
same filter, which cursors of pages depend on.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from nbreactive.errors import InvalidValue, LimitExceeded
from nbreactive.runtime.filter_arithmetic import arithmetic, divide, is_number, modulo
from nbreactive.values.checks import check_value
from nbreactive.values.keys import encode_key
from nbreactive.values.kinds import UNSET
from nbreactive.values.limits import FILTER_OPERATORS, over

Compiled = Callable[[Mapping[str, Any]], Any]
Predicate = Callable[[Mapping[str, Any]], bool]


class Filter(NamedTuple):
    """What ``.filter(...)`` was given."""

    holds: Predicate
    form: list[Any]
    """``["and", ["lt", ["field", "likes"], ["value", 3]], ...]``."""

    def flat(self) -> list[Any]:
        """Return the form without nesting, in prefix notation: operators nest more deeply than Python can recurse."""
        flat: list[Any] = []
        left = [self.form]
        while left:
            name, *parts = left.pop()
            if name in ("field", "value"):
                flat += (name, parts[0])
            else:
                flat += (name, len(parts))
                left += reversed(parts)
        return flat


_COMPARISONS: Final = ("eq", "neq", "lt", "lte", "gt", "gte")
_SIMPLE: Final = (str, bool, bytes, type(None))
_SYSTEM_FIELDS: Final = ("_id", "_creationTime")


class Expression:
    """A value that depends on the document; compare it, or combine it with ``& | ~`` and arithmetic."""

    __slots__ = ("always", "compiled", "form", "never", "size")
    __hash__ = None  # type: ignore[assignment]

    def __init__(
        self, compiled: Compiled, size: int, form: list[Any], never: str | None = None, always: str | None = None
    ) -> None:
        self.compiled = compiled
        self.size = size
        self.form = form
        self.never = never
        """Why it cannot be true for any document: of a field that none has."""
        self.always = always
        """Why it cannot but be true."""

    def __bool__(self) -> NoReturn:
        raise InvalidValue(
            "a filter expression has no truth value yet: Python's `and`, `or`, `not`, `in` and chained comparisons cannot"
            " be used on it; write & for and, | for or, ~ for not, with parentheses around each comparison:"
            ' (q.field("likes") > 3) & ~(q.field("hidden") == True)'
        )

    def __iter__(self) -> NoReturn:
        raise InvalidValue('a filter expression cannot be iterated; name what is inside it: q.field("address.city")')

    def __eq__(self, other: object) -> Expression:  # type: ignore[override]
        return _binary("eq", _equal, self, other)

    def __ne__(self, other: object) -> Expression:  # type: ignore[override]
        return _binary("neq", lambda a, b: not _equal(a, b), self, other)

    def __lt__(self, other: Any) -> Expression:
        return _binary("lt", lambda a, b: encode_key(a) < encode_key(b), self, other)

    def __le__(self, other: Any) -> Expression:
        return _binary("lte", lambda a, b: encode_key(a) <= encode_key(b), self, other)

    def __gt__(self, other: Any) -> Expression:
        return _binary("gt", lambda a, b: encode_key(a) > encode_key(b), self, other)

    def __ge__(self, other: Any) -> Expression:
        return _binary("gte", lambda a, b: encode_key(a) >= encode_key(b), self, other)

    def __and__(self, other: Any) -> Expression:
        return _logic((self, other), all_of=True)

    def __rand__(self, other: Any) -> Expression:
        return _logic((other, self), all_of=True)

    def __or__(self, other: Any) -> Expression:
        return _logic((self, other), all_of=False)

    def __ror__(self, other: Any) -> Expression:
        return _logic((other, self), all_of=False)

    def __invert__(self) -> Expression:
        return _unary("not", lambda a: not _true(a), self)

    def __neg__(self) -> Expression:
        return _unary("neg", lambda a: arithmetic("neg", operator.sub, type(a)(0) if is_number(a) else 0, a), self)

    def __add__(self, other: Any) -> Expression:
        return _binary("add", lambda a, b: arithmetic("add", operator.add, a, b), self, other)

    def __radd__(self, other: Any) -> Expression:
        return _binary("add", lambda a, b: arithmetic("add", operator.add, a, b), other, self)

    def __sub__(self, other: Any) -> Expression:
        return _binary("sub", lambda a, b: arithmetic("sub", operator.sub, a, b), self, other)

    def __rsub__(self, other: Any) -> Expression:
        return _binary("sub", lambda a, b: arithmetic("sub", operator.sub, a, b), other, self)

    def __mul__(self, other: Any) -> Expression:
        return _binary("mul", lambda a, b: arithmetic("mul", operator.mul, a, b), self, other)

    def __rmul__(self, other: Any) -> Expression:
        return _binary("mul", lambda a, b: arithmetic("mul", operator.mul, a, b), other, self)

    def __truediv__(self, other: Any) -> Expression:
        return _binary("div", lambda a, b: arithmetic("div", divide, a, b), self, other)

    def __rtruediv__(self, other: Any) -> Expression:
        return _binary("div", lambda a, b: arithmetic("div", divide, a, b), other, self)

    def __mod__(self, other: Any) -> Expression:
        return _binary("mod", lambda a, b: arithmetic("mod", modulo, a, b), self, other)

    def __rmod__(self, other: Any) -> Expression:
        return _binary("mod", lambda a, b: arithmetic("mod", modulo, a, b), other, self)


class FilterBuilder:
    """The ``q`` of ``filter(lambda q: ...)``: fields, and every operator as a method, as in Convex.

    Parameters
    ----------
    table, fields
        The fields that documents of a table can have, if its schema says so.
    """

    __slots__ = ("_fields", "_table")

    def __init__(self, table: str = "", fields: Collection[str] | None = None) -> None:
        self._table = table
        self._fields = fields

    def __getitem__(self, name: object) -> NoReturn:
        raise InvalidValue(
            f"a filter's function gets q, not a document: write q.field({name!r}), as in lambda q: q.field({name!r}) == x;"
            " or test documents in Python while iterating over the query"
        )

    if not TYPE_CHECKING:  # a type checker finds what is not there

        def __getattr__(self, name: str) -> NoReturn:
            hint = "" if name.startswith("_") else f"; the field of a document is q.field({name!r})"
            raise AttributeError(f"the q of a filter has no {name!r}{hint}")

    def field(self, path: str) -> Expression:
        """The value at a dotted path; absent ones are UNSET."""
        if not isinstance(path, str) or not path:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidValue(f'q.field takes the name of a field, not {path!r}; q.field("likes")')
        never = self._unknown(path) if self._fields is not None else None
        if "." not in path:
            return Expression(lambda doc: doc.get(path, UNSET), 1, ["field", path], never)
        names = path.split(".")

        def dig(doc: Mapping[str, Any]) -> Any:
            value: Any = doc
            for name in names:
                if not isinstance(value, dict):
                    return UNSET
                value = value.get(name, UNSET)  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
            return value  # pyright: ignore[reportUnknownVariableType]

        return Expression(dig, 1, ["field", path], never)

    def _unknown(self, path: str) -> str | None:
        """Say what is wrong if no document can have the field."""
        fields, name = self._fields or (), path.partition(".")[0]
        if name in fields or name in _SYSTEM_FIELDS:
            return None
        near = get_close_matches(name[:100], fields, 1, 0.7)
        fix = f"did you mean {near[0]!r}?" if near else f"the fields are: {', '.join(fields) or 'none'}"
        return (
            f"q.field({path!r}): documents of {self._table!r} have no field {name!r}, so this is never true; {fix}"
            " (for documents without a field: == UNSET)"
        )

    def eq(self, a: Any, b: Any) -> Expression:
        """``a == b``."""
        return _expression(a) == b

    def neq(self, a: Any, b: Any) -> Expression:
        """``a != b``."""
        return _expression(a) != b

    def lt(self, a: Any, b: Any) -> Expression:
        """``a < b``."""
        return _expression(a) < b

    def lte(self, a: Any, b: Any) -> Expression:
        """``a <= b``."""
        return _expression(a) <= b

    def gt(self, a: Any, b: Any) -> Expression:
        """``a > b``."""
        return _expression(a) > b

    def gte(self, a: Any, b: Any) -> Expression:
        """``a >= b``."""
        return _expression(a) >= b

    def add(self, a: Any, b: Any) -> Expression:
        """``a + b``."""
        return _expression(a) + b

    def sub(self, a: Any, b: Any) -> Expression:
        """``a - b``."""
        return _expression(a) - b

    def mul(self, a: Any, b: Any) -> Expression:
        """``a * b``."""
        return _expression(a) * b

    def div(self, a: Any, b: Any) -> Expression:
        """``a / b``."""
        return _expression(a) / b

    def mod(self, a: Any, b: Any) -> Expression:
        """Remainder of ``a / b``, with the sign of ``a``."""
        return _expression(a) % b

    def neg(self, a: Any) -> Expression:
        """``-a``."""
        return -_expression(a)

    def and_(self, *parts: Any) -> Expression:
        """Whether all are true."""
        return _logic(parts, all_of=True)

    def or_(self, *parts: Any) -> Expression:
        """Whether any is true."""
        return _logic(parts, all_of=False)

    def not_(self, a: Any) -> Expression:
        """Whether it is not true."""
        return ~_expression(a)


def read_filter(
    build: Callable[[FilterBuilder], Any], table: str = "", fields: Collection[str] | None = None
) -> Filter:
    """Run a filter's lambda once and return what it says; ``fields`` are those that documents of ``table`` can have."""
    if not callable(build):
        raise InvalidValue(f'filter takes a function of q, not {build!r}; .filter(lambda q: q.field("likes") > 3)')
    built = build(FilterBuilder(table, fields))
    if isinstance(built, bool):
        built = _expression(built)
    if not isinstance(built, Expression):
        raise InvalidValue(f'a filter returns an expression of q, not {built!r}; lambda q: q.field("likes") > 3')
    if built.never is not None:
        raise InvalidValue(built.never)
    compiled = built.compiled

    def holds(doc: Mapping[str, Any]) -> bool:
        return _true(compiled(doc))

    return Filter(holds, built.form)


def _expression(value: Any) -> Expression:
    if isinstance(value, Expression):
        return value
    literal = UNSET if value is UNSET else check_value(value, "filter")
    return Expression(lambda _doc: literal, 1, ["value", literal])


def _combine(
    name: str, compiled: Compiled, *parts: Expression, never: str | None = None, always: str | None = None
) -> Expression:
    size = 1 + sum(part.size for part in parts)
    if size > 2 * FILTER_OPERATORS:
        fix = "use an index for part of it, or test in Python while iterating"
        raise LimitExceeded(over("operators and operands in a filter", size, 2 * FILTER_OPERATORS, fix))
    return Expression(compiled, size, [name, *(part.form for part in parts)], never, always)


def _binary(name: str, apply: Callable[[Any, Any], Any], left: Any, right: Any) -> Expression:
    a, b = _expression(left), _expression(right)
    first, second = a.compiled, b.compiled
    never = always = None
    unknown = _unknown_field(a) or _unknown_field(b)
    if unknown is not None and name not in _COMPARISONS:
        raise InvalidValue(unknown)
    if unknown is not None and _is_constant(a) and _is_constant(b):
        never, always = (None, unknown) if apply(first({}), second({})) else (unknown, None)
    return _combine(name, lambda doc: apply(first(doc), second(doc)), a, b, never=never, always=always)


def _unary(name: str, apply: Callable[[Any], Any], value: Expression) -> Expression:
    compiled = value.compiled
    if name == "neg" and (unknown := _unknown_field(value)) is not None:
        raise InvalidValue(unknown)
    return _combine(name, lambda doc: apply(compiled(doc)), value, never=value.always, always=value.never)


def _logic(parts: tuple[Any, ...], *, all_of: bool) -> Expression:
    expressions = [_expression(part) for part in parts]
    compiled = [part.compiled for part in expressions]
    # An alternative that can never be true is a mistake, whatever the others are.
    never = next((part.never for part in expressions if part.never), None)
    name, combine = ("and", all) if all_of else ("or", any)
    reasons = [part.always for part in expressions]
    always = next(filter(None, reasons), None) if combine(reasons) else None
    holds: Compiled = lambda doc: combine(_true(part(doc)) for part in compiled)  # noqa: E731
    return _combine(name, holds, *expressions, never=never, always=always)


def _unknown_field(part: Expression) -> str | None:
    return part.never if part.form[0] == "field" else None


def _is_constant(part: Expression) -> bool:
    return part.form[0] == "value" or _unknown_field(part) is not None


def _true(value: Any) -> bool:
    if value is True or value is False:
        return value
    return value is not None and value is not UNSET and value not in (0, "")


def _equal(a: Any, b: Any) -> bool:
    if type(a) is type(b) and type(a) in _SIMPLE:
        return a == b
    return encode_key(a) == encode_key(b)
