"""The Python types that the value model adds to Python's own: 64-bit integers and the absent value."""

from __future__ import annotations

from typing import Any, Final, NoReturn, Self, final

from nbreactive.errors import InvalidValue
from nbreactive.values.limits import MAX_INT64, MIN_INT64


class Int64(int):
    """A 64-bit integer, Convex's ``int64`` (a BigInt in JavaScript): a type of its own, not a number.

    Plain ints are numbers, exact up to 2**53; this is for identifiers and counters that need all 64 bits.
    Arithmetic with it gives plain ints.

    Examples
    --------
    >>> Int64(2**62)
    Int64(4611686018427387904)
    >>> Int64(1) + 1
    2
    """

    __slots__ = ()

    def __new__(cls, value: int = 0) -> Self:
        """Make one; anything but a whole number of 64 bits is refused."""
        if isinstance(value, (bool, float)) or not MIN_INT64 <= value <= MAX_INT64:
            raise InvalidValue("an Int64 is a whole number from -2**63 to 2**63 - 1; use str(x) for others")
        return super().__new__(cls, value)

    def __repr__(self) -> str:
        return f"Int64({int.__repr__(self)})"

    def __str__(self) -> str:
        return int.__repr__(self)


@final
class Unset:
    """The type of :data:`UNSET`."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "UNSET"

    def __copy__(self) -> Unset:
        return self

    def __deepcopy__(self, memo: object) -> Unset:
        return self

    def __reduce__(self) -> NoReturn:
        raise InvalidValue("UNSET means that a value is absent, so it cannot be stored or sent; leave the field out")


UNSET: Final[Any] = Unset()
"""Absent, which is not None: None is null. ``patch(id, {"f": UNSET})`` removes the field f.

To type checkers it is anything: ``title: str = UNSET`` says that an argument may be left out.
"""
