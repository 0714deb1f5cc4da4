"""Filter expressions: what ``lambda q: (q.field("likes") > 3) & (q.field("deleted_at") == UNSET)`` builds.

The lambda runs once and returns an :class:`Expression`, which is turned into a plain function of a document.
Comparisons follow the order of index keys across types, so a filter and an index range agree on what is smaller; equal
means the same type and value (``1 == 1.0`` is one type here, ``1 == True`` is not). Python's ``and``, ``or``, ``not``
cannot be overloaded: an expression refuses to be asked for its truth and names the operator to use.

Beside what it does, an expression knows its form, a nested list of names and literals: two filters of the same form are the
same filter, which cursors of pages depend on.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from typing import Any, Final, NamedTuple, NoReturn

from nbreactive.errors import InvalidValue, LimitExceeded
from nbreactive.values.checks import check_value
from nbreactive.values.keys import encode_key
from nbreactive.values.kinds import UNSET, Int64
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


_SIMPLE: Final = (str, bool, bytes, type(None))
_SYSTEM_FIELDS: Final = ("_id", "_creationTime")


class Expression:
    """A value that depends on the document; compare it, or combine it with ``& | ~`` and arithmetic."""

    __slots__ = ("compiled", "form", "size")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, compiled: Compiled, size: int, form: list[Any]) -> None:
        self.compiled = compiled
        self.size = size
        self.form = form

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
        return _unary("neg", lambda a: _arithmetic("neg", operator.sub, type(a)(0) if _number(a) else 0, a), self)

    def __add__(self, other: Any) -> Expression:
        return _binary("add", lambda a, b: _arithmetic("add", operator.add, a, b), self, other)

    def __radd__(self, other: Any) -> Expression:
        return _binary("add", lambda a, b: _arithmetic("add", operator.add, a, b), other, self)

    def __sub__(self, other: Any) -> Expression:
        return _binary("sub", lambda a, b: _arithmetic("sub", operator.sub, a, b), self, other)

    def __rsub__(self, other: Any) -> Expression:
        return _binary("sub", lambda a, b: _arithmetic("sub", operator.sub, a, b), other, self)

    def __mul__(self, other: Any) -> Expression:
        return _binary("mul", lambda a, b: _arithmetic("mul", operator.mul, a, b), self, other)

    def __rmul__(self, other: Any) -> Expression:
        return _binary("mul", lambda a, b: _arithmetic("mul", operator.mul, a, b), other, self)

    def __truediv__(self, other: Any) -> Expression:
        return _binary("div", lambda a, b: _arithmetic("div", _divide, a, b), self, other)

    def __rtruediv__(self, other: Any) -> Expression:
        return _binary("div", lambda a, b: _arithmetic("div", _divide, a, b), other, self)

    def __mod__(self, other: Any) -> Expression:
        return _binary("mod", lambda a, b: _arithmetic("mod", _modulo, a, b), self, other)

    def __rmod__(self, other: Any) -> Expression:
        return _binary("mod", lambda a, b: _arithmetic("mod", _modulo, a, b), other, self)


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

    def field(self, path: str) -> Expression:
        """The value at a dotted path; absent ones are UNSET."""
        if not isinstance(path, str) or not path:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidValue(f'q.field takes the name of a field, not {path!r}; q.field("likes")')
        if self._fields is not None:
            self._refuse_unknown(path)
        if "." not in path:
            return Expression(lambda doc: doc.get(path, UNSET), 1, ["field", path])
        names = path.split(".")

        def dig(doc: Mapping[str, Any]) -> Any:
            value: Any = doc
            for name in names:
                if not isinstance(value, dict):
                    return UNSET
                value = value.get(name, UNSET)  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
            return value  # pyright: ignore[reportUnknownVariableType]

        return Expression(dig, 1, ["field", path])

    def _refuse_unknown(self, path: str) -> None:
        """A misspelled field would be absent in every document, and the result wrong."""
        fields, name = self._fields or (), path.partition(".")[0]
        if name in fields or name in _SYSTEM_FIELDS:
            return
        near = get_close_matches(name[:100], fields, 1, 0.7)
        fix = f"did you mean {near[0]!r}?" if near else f"the fields are: {', '.join(fields) or 'none'}"
        raise InvalidValue(f"q.field({path!r}): documents of {self._table!r} have no field {name!r}; {fix}")

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


def compile_filter(build: Callable[[FilterBuilder], Any]) -> Predicate:
    """Run a filter's lambda once and return a predicate of documents."""
    return read_filter(build).holds


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
    compiled = built.compiled

    def holds(doc: Mapping[str, Any]) -> bool:
        return _true(compiled(doc))

    return Filter(holds, built.form)


def _expression(value: Any) -> Expression:
    if isinstance(value, Expression):
        return value
    literal = UNSET if value is UNSET else check_value(value, "filter")
    return Expression(lambda _doc: literal, 1, ["value", literal])


def _combine(name: str, compiled: Compiled, *parts: Expression) -> Expression:
    size = 1 + sum(part.size for part in parts)
    if size > 2 * FILTER_OPERATORS:
        fix = "use an index for part of it, or test in Python while iterating"
        raise LimitExceeded(over("operators and operands in a filter", size, 2 * FILTER_OPERATORS, fix))
    return Expression(compiled, size, [name, *(part.form for part in parts)])


def _binary(name: str, apply: Callable[[Any, Any], Any], left: Any, right: Any) -> Expression:
    a, b = _expression(left), _expression(right)
    first, second = a.compiled, b.compiled
    return _combine(name, lambda doc: apply(first(doc), second(doc)), a, b)


def _unary(name: str, apply: Callable[[Any], Any], value: Expression) -> Expression:
    compiled = value.compiled
    return _combine(name, lambda doc: apply(compiled(doc)), value)


def _logic(parts: tuple[Any, ...], *, all_of: bool) -> Expression:
    expressions = [_expression(part) for part in parts]
    compiled = [part.compiled for part in expressions]
    if all_of:
        return _combine("and", lambda doc: all(_true(part(doc)) for part in compiled), *expressions)
    return _combine("or", lambda doc: any(_true(part(doc)) for part in compiled), *expressions)


def _true(value: Any) -> bool:
    if value is True or value is False:
        return value
    return value is not None and value is not UNSET and value not in (0, "")


def _equal(a: Any, b: Any) -> bool:
    if type(a) is type(b) and type(a) in _SIMPLE:
        return a == b
    return encode_key(a) == encode_key(b)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _arithmetic(name: str, apply: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
    if not _number(a) or not _number(b) or isinstance(a, Int64) is not isinstance(b, Int64):
        raise InvalidValue(
            f"q.{name} needs two numbers of one type, not {_shown(a)} and {_shown(b)}; test for the field first:"
            ' q.and_(q.neq(q.field("f"), UNSET), ...)'
        )
    result = apply(a, b)
    return Int64(result) if isinstance(a, Int64) else result


def _shown(value: Any) -> str:
    return "an absent field" if value is UNSET else f"{type(value).__name__} {value!r:.40}"


def _divide(a: Any, b: Any) -> Any:
    if isinstance(a, Int64):
        if not b:
            raise InvalidValue("q.div: an int64 divided by zero; test for zero first")
        quotient = abs(a) // abs(b)
        return quotient if (a < 0) == (b < 0) else -quotient
    if b:
        return a / b
    return math.nan if not a or math.isnan(a) else math.copysign(math.inf, a) * math.copysign(1.0, b)


def _modulo(a: Any, b: Any) -> Any:
    if isinstance(a, Int64):
        if not b:
            raise InvalidValue("q.mod: an int64 divided by zero; test for zero first")
        return int(a) - int(b) * _divide(a, b)
    return math.fmod(a, b) if b and math.isfinite(a) else math.nan
