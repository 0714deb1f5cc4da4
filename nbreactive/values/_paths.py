"""How a check says where a value is wrong.

Checks carry no path on their way down, since nearly all values are right: what is wrong raises :class:`Mismatch`, and
each container on the way up adds its step.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

from nbreactive.errors import InvalidValue, LimitExceeded, SchemaError

_LONGEST_PATH = 16
_MOST_UNKNOWN = 3
_LIKE = 0.7
"""How alike (:mod:`difflib`) two names are if one is a slip of the other; "extra" and "text" are 0.67."""


class Mismatch(Exception):  # noqa: N818 (never leaves this package)
    """A value is not what it should be; ``steps`` lead to it, innermost first."""

    def __init__(self, message: str, *, limit: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.limit = limit
        self.steps: list[str | int] = []

    def at(self, step: str | int) -> Mismatch:
        """Add the step of the container that is being left."""
        self.steps.append(step)
        return self

    def under(self, where: str, error: type[InvalidValue]) -> InvalidValue:
        """Return the error to raise, with the whole path below ``where``."""
        path = where
        for step in self.steps[::-1][:_LONGEST_PATH]:
            if isinstance(step, int):
                path += f"[{step}]"
            elif step.isidentifier():
                path += f".{step}" if path else step
            else:
                path += f"[{show(step)}]"
        if len(self.steps) > _LONGEST_PATH:
            path += "..."
        return (LimitExceeded if self.limit else error)(self.message, path)


class WrongFields(Mismatch):
    """An object has not the fields that it should have; those of all arguments are called arguments.

    Parameters
    ----------
    said
        What is wrong before anything about names, maybe nothing.
    unknown
        Names that are there and should not be; the sentences about them come last.
    known
        Names that may be there.
    """

    def __init__(self, said: str, unknown: Sequence[str], known: Sequence[str]) -> None:
        super().__init__(said)
        self._unknown, self._known = unknown, known
        self._depth = 1 if said else 0  # what is missing is a step by itself

    def under(self, where: str, error: type[InvalidValue]) -> InvalidValue:
        """Return the error to raise."""
        arguments = where == "args" and error is not SchemaError and len(self.steps) == self._depth
        noun = "argument" if arguments else "field"
        said = [self._sentence(noun, name) for name in self._unknown[:_MOST_UNKNOWN]]
        if self._depth:
            said = [self.message, *(sentence[0].upper() + sentence[1:] for sentence in said)]
        self.message = ". ".join(said).replace("?. ", "? ")
        return super().under(where, error)

    def _sentence(self, noun: str, name: str) -> str:
        close = near(name, self._known)
        fix = f"did you mean {close}?" if close else f"the {noun}s are: {', '.join(self._known) or 'none'}"
        return f"there is no {noun} {show(name)}; {fix}"


def near(name: str, known: Iterable[str]) -> str | None:
    """Return the name that was probably meant; names that merely share some letters are none.

    Examples
    --------
    >>> near("auhtor", ["text", "author"]), near("extra", ["text", "author"])
    ('author', None)
    """
    found = get_close_matches(name[:100], list(known), 1, _LIKE)
    return found[0] if found else None


class Malformed:
    """Stands where a decoder found something wrong, so that the check which follows names its path."""

    __slots__ = ("message",)

    def __init__(self, message: str) -> None:
        self.message = message


def show(value: Any) -> str:
    """Return a value as it appears in a message: short, on one line, with nothing that a terminal would obey.

    Examples
    --------
    >>> show("x" * 100)
    "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...'"
    >>> show([1] * 99)
    'an array of 99 items'
    """
    if isinstance(value, (list, tuple)):
        return f"an array of {len(value)} items"  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, str):
        return ascii(value if len(value) <= 40 else value[:37] + "...")
    if isinstance(value, (bytes, bytearray)):
        return f"{len(value)} bytes"
    if isinstance(value, int) and not -(10**20) < value < 10**20:
        return "an integer of more than 20 digits"
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)
    return with_article(type(value).__name__)


def describe(value: Any) -> str:
    """Return a value with its type, as in "got the string 'a'".

    Examples
    --------
    >>> describe(None), describe("a"), describe(True), describe(2)
    ('null', "the string 'a'", 'the boolean True', 'the number 2')
    """
    if value is None:
        return "null"
    shown = show(value)
    if isinstance(value, bool):
        return f"the boolean {shown}"
    if isinstance(value, str):
        return f"the string {shown}"
    if type(value) in (int, float):
        return f"the number {shown}"
    return shown


def with_article(noun: str) -> str:
    """Put "a" or "an" before a noun, which mostly is the name of a class.

    Examples
    --------
    >>> with_article("object"), with_article("set"), with_article("Unknown"), with_article("uint8")
    ('an object', 'a set', 'an Unknown', 'a uint8')
    """
    low = noun.lower()
    vowel = low.startswith(("a", "e", "i", "o")) or (low.startswith("un") and not low.startswith("uni"))
    return f"an {noun}" if vowel else f"a {noun}"
