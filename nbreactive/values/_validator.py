"""What all validators have in common, and the validators that have no parts. See :mod:`.validators`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime
from typing import Any, ClassVar, Literal, Self

from nbreactive.errors import InvalidValue
from nbreactive.values import _checkers as checkers
from nbreactive.values._checkers import Check, TableOf
from nbreactive.values._paths import Mismatch
from nbreactive.values.checks import Bounds
from nbreactive.values.ids import Id
from nbreactive.values.kinds import Int64
from nbreactive.values.limits import ARRAY_ITEMS, VALUE_NESTING
from nbreactive.values.moments import from_milliseconds

Load = Callable[[Any], Any]
Json = dict[str, Any]
PLAIN_TYPES = frozenset({type(None), bool, int, float, Int64, str, Id, bytes, list, dict})


class Validator(ABC):
    """What all validators have in common.

    Attributes
    ----------
    kind
        ``"string"``, ``"object"`` and so on: Convex's names, and ``"integer"`` and ``"datetime"``.
    is_optional
        Whether the field, or argument, that has this validator may be absent.
    """

    __slots__ = ("_compiled", "_load", "is_optional")

    kind: ClassVar[str]
    types: ClassVar[frozenset[type]] = PLAIN_TYPES
    """The exact types of which a value may be right."""

    def __init__(self) -> None:
        self.is_optional = False
        self._compiled: dict[tuple[int, int, bool], Check] = {}
        self._load: Load | Literal[False] | None = False

    def check(
        self,
        value: Any,
        where: str = "",
        *,
        error: type[InvalidValue] = InvalidValue,
        table_of: TableOf = None,
        max_nesting: int = VALUE_NESTING,
        max_items: int = ARRAY_ITEMS,
        datetimes: bool = False,
    ) -> Any:
        """Return the plain value, or raise ``error`` with the path to what is wrong.

        Parameters
        ----------
        value
            Anything.
        where
            How messages call it, e.g. ``args``.
        error
            The class to raise. What is over a limit raises LimitExceeded.
        table_of
            Tells the table of an id. Without it ids of every table are taken for each other.
        max_nesting
            How many containers may be inside each other.
        max_items
            How many items an array may have.
        datetimes
            Turn aware datetimes into numbers where anything may be, as results need it.

        Examples
        --------
        >>> from nbreactive import v
        >>> v.array(v.object({"price": v.number()})).check([{"price": 3}, {"price": "3"}], "args.items")
        Traceback (most recent call last):
        nbreactive.errors.InvalidValue: args.items[1].price: expected a number, got the string '3'; use float(x)
        """
        try:
            return self.compile(max_nesting, max_items, datetimes)(value, table_of)
        except Mismatch as mismatch:
            raise mismatch.under(where, error) from None

    def compile(self, max_nesting: int = VALUE_NESTING, max_items: int = ARRAY_ITEMS, datetimes: bool = False) -> Check:
        """Return the compiled check; it raises the private ``Mismatch``, without the path so far."""
        compiled = self._compiled.get((max_nesting, max_items, datetimes))
        if compiled is None:
            compiled = self.compile_at(Bounds(max_nesting, max_items, datetimes), 0)
            self._compiled[max_nesting, max_items, datetimes] = compiled
        return compiled

    @property
    def loads(self) -> bool:
        """Whether the Python form differs from the plain one."""
        if self._load is False:
            self._load = self.loader()
        return self._load is not None

    def load(self, value: Any) -> Any:
        """Return the Python form of a plain value that this validator has checked.

        Examples
        --------
        >>> from nbreactive import v
        >>> v.object({"at": v.datetime()}).load({"at": 0})
        {'at': datetime.datetime(1970, 1, 1, 0, 0, tzinfo=datetime.timezone.utc)}
        """
        return self._load(value) if self.loads and self._load else value

    def optional(self) -> Self:
        """Return the same validator for a field that may be absent."""
        twin = self._copy()
        twin.is_optional = True
        return twin

    def required(self) -> Self:
        """Return the same validator for a field that must be there."""
        twin = self._copy()
        twin.is_optional = False
        return twin

    def columns(self) -> list[str] | None:
        """Return the names of the fields of an object, or of all objects of a union; None for other validators."""
        return None

    def to_json(self) -> Json:
        """Return Convex's JSON form."""
        return {"type": self.kind}

    @property
    @abstractmethod
    def label(self) -> str:
        """What messages say is expected."""

    def nesting(self) -> int:
        """Return how many containers are inside each other in what it describes."""
        return 0

    def _copy(self) -> Self:
        twin = object.__new__(type(self))
        for cls in type(self).__mro__:
            for name in getattr(cls, "__slots__", ()):
                setattr(twin, name, getattr(self, name))
        return twin

    @abstractmethod
    def compile_at(self, bounds: Bounds, depth: int, /) -> Check:
        """Return the check of a value that ``depth`` containers are around."""

    def loader(self) -> Load | None:
        """Return what :meth:`load` does; None when it does nothing."""
        return None

    def may_be(self, value: Any, /) -> bool:
        """Return whether a plain value is worth a check; unions ask it."""
        return type(value) in self.types

    def arguments(self) -> str:
        """Return the arguments that ``repr`` shows."""
        return ""

    def __repr__(self) -> str:
        text = f"v.{_METHODS.get(self.kind, self.kind)}({self.arguments()})"
        return f"v.optional({text})" if self.is_optional else text

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Validator):
            return NotImplemented
        return self.is_optional == other.is_optional and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash((self.kind, self.is_optional))


_METHODS = {"float64": "number"}


class _Leaf(Validator):
    """A validator without parts: its check is one function."""

    __slots__ = ()

    expected: ClassVar[str]
    leaf: ClassVar[Check]
    json: ClassVar[Json]

    @property
    def label(self) -> str:
        return self.expected

    def to_json(self) -> Json:
        return dict(self.json)

    def compile_at(self, _bounds: Bounds, _depth: int, /) -> Check:
        return type(self).leaf


class NullValidator(_Leaf):
    """``v.null()``."""

    __slots__ = ()
    kind = "null"
    types = frozenset({type(None)})
    expected = "null"
    leaf = staticmethod(checkers.null_check)
    json: ClassVar[Json] = {"type": "null"}


class BooleanValidator(_Leaf):
    """``v.boolean()``."""

    __slots__ = ()
    kind = "boolean"
    types = frozenset({bool})
    expected = "a boolean"
    leaf = staticmethod(checkers.boolean_check)
    json: ClassVar[Json] = {"type": "boolean"}


class NumberValidator(_Leaf):
    """``v.number()``."""

    __slots__ = ()
    kind = "float64"
    types = frozenset({float, int})
    expected = "a number"
    leaf = staticmethod(checkers.number_check)
    json: ClassVar[Json] = {"type": "number"}


class IntegerValidator(_Leaf):
    """``v.integer()``."""

    __slots__ = ()
    kind = "integer"
    types = frozenset({int, float})
    expected = "a whole number"
    leaf = staticmethod(checkers.integer_check)
    json: ClassVar[Json] = {"type": "number", "nbreactive": "integer"}


class Int64Validator(_Leaf):
    """``v.int64()``."""

    __slots__ = ()
    kind = "int64"
    types = frozenset({Int64, int})
    expected = "a 64-bit integer"
    leaf = staticmethod(checkers.int64_check)
    json: ClassVar[Json] = {"type": "bigint"}


class DatetimeValidator(_Leaf):
    """``v.datetime()``."""

    __slots__ = ()
    kind = "datetime"
    types = frozenset({int, float})
    expected = "a datetime"
    leaf = staticmethod(checkers.datetime_check)
    json: ClassVar[Json] = {"type": "number", "nbreactive": "datetime"}

    def loader(self) -> Load:
        return from_milliseconds

    def may_be(self, value: Any, /) -> bool:
        return type(value) in self.types or isinstance(value, datetime)


class StringValidator(_Leaf):
    """``v.string()``."""

    __slots__ = ()
    kind = "string"
    types = frozenset({str, Id})
    expected = "a string"
    leaf = staticmethod(checkers.string_check)
    json: ClassVar[Json] = {"type": "string"}


class BytesValidator(_Leaf):
    """``v.bytes()``."""

    __slots__ = ()
    kind = "bytes"
    types = frozenset({bytes})
    expected = "bytes"
    leaf = staticmethod(checkers.bytes_check)
    json: ClassVar[Json] = {"type": "bytes"}
