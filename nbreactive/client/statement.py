"""The text of a SQL statement, and the arguments with which it is asked.

The backend knows a statement by its hash once somebody who may deploy has registered it; whoever only reads names the
hash. The parameters ``$name`` are found here, so that a notebook can say which variable is missing before it asks anybody.
"""

from __future__ import annotations

import datetime as dt
import decimal
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import traitlets

from nbreactive.client.arguments import Arguments, arguments_of, to_value
from nbreactive.errors import ArgumentError

SQL_LIVE = "_system/sql:live"
REGISTER = "_system/sql:register"
EXPLAIN = "_system/sql:explain"
_TOKENS = re.compile(
    r"""[eE]'(?:\\.|''|[^'\\])*' | '(?:''|[^'])*' | "(?:""|[^"])*" | --[^\n]* | /\*.*?\*/
    | \$(?P<tag>[A-Za-z_]*)\$.*?\$(?P=tag)\$ | \$(?P<name>[A-Za-z_][A-Za-z0-9_]*)""",
    re.VERBOSE | re.DOTALL,
)
_EXPLAIN_LIVE = re.compile(r"\A(?:\s+|--[^\n]*\n|/\*.*?\*/)*EXPLAIN\s+LIVE\s+", re.IGNORECASE | re.DOTALL)
_TITLE = 60


def hash_of(text: str) -> str:
    """Return the name of a statement: of its text as typed, without blanks around it."""
    return hashlib.sha256(text.strip().encode()).hexdigest()[:32]


def to_explain(text: str) -> str | None:
    """Return the statement behind ``EXPLAIN LIVE``; None if the text is no such one.

    Examples
    --------
    >>> to_explain("explain live SELECT 1"), to_explain("SELECT 1")
    ('SELECT 1', None)
    """
    found = _EXPLAIN_LIVE.match(text)
    return None if found is None else text[found.end() :]


def parameters_of(text: str) -> list[str]:
    r"""Return the parameters of a statement, in the order in which they come.

    Examples
    --------
    >>> parameters_of("SELECT '$no', $a -- $b\nFROM t WHERE x > $since AND y = $a")
    ['a', 'since']
    """
    return list(dict.fromkeys(name for found in _TOKENS.finditer(text) if (name := found["name"])))


def title_of(text: str) -> str:
    """Return a statement in one short line."""
    line = " ".join(re.sub(r"--[^\n]*", " ", text).split())
    return line if len(line) <= _TITLE else line[: _TITLE - 1] + "…"


def parameter(given: Any, name: str) -> Any:
    """Return a Python object as the value of a parameter; moments, days and decimals are texts that SQL reads.

    Examples
    --------
    >>> parameter(dt.date(2026, 11, 1), "since")
    '2026-11-01'
    """
    if isinstance(given, traitlets.HasTraits) and given.has_trait("value"):
        given = getattr(given, "value")  # noqa: B009 (a trait, which HasTraits does not declare)
    return to_value(_plain(given), name)


def _plain(value: Any) -> Any:
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in cast("Iterable[Any]", value)]
    return value


class StatementArguments:
    """A statement and its parameters, as what its live query is asked with."""

    def __init__(self, text: str, key: str, parameters: Arguments) -> None:
        self.text = text
        self.key = key
        """The hash."""
        self.parameters = parameters

    @classmethod
    def of(cls, text: str, key: str, given: Mapping[str, Any]) -> StatementArguments:
        """Take parameters from Python objects; widgets among them are followed."""
        wanted = parameters_of(text)
        if missing := [name for name in wanted if name not in given]:
            raise ArgumentError(
                f"The statement has the parameter ${missing[0]}, which was not given: sql(..., {missing[0]}=...)."
            )
        if unknown := [name for name in given if name not in wanted]:
            named = ", ".join(f"${name}" for name in wanted) or "none"
            raise ArgumentError(f"The statement has no parameter ${unknown[0]}; it has: {named}.")
        return cls(text, key, arguments_of(given, parameter))

    def current(self) -> dict[str, Any] | None:
        """Return the arguments as they are now, or None when the query is to pause."""
        values = self.parameters.current()
        return None if values is None else {"hash": self.key, "params": values}

    def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed()`` when a widget has moved."""
        self.parameters.watch(changed)

    def close(self) -> None:
        """Let go of the widgets."""
        self.parameters.close()

    def fresh(self) -> StatementArguments:
        """Return the same statement and parameters for another query."""
        return StatementArguments(self.text, self.key, self.parameters.fresh())

    def window(self, offset: int, limit: int) -> WindowArguments:
        """Return the same for a part of the rows."""
        return WindowArguments(self.fresh(), offset, limit)


class WindowArguments:
    """A statement of which a part of the rows is wanted."""

    def __init__(self, statement: StatementArguments, offset: int, limit: int) -> None:
        self._statement, self.offset, self.limit = statement, offset, limit
        self.watch, self.close = statement.watch, statement.close

    def current(self) -> dict[str, Any] | None:
        """Return the arguments as they are now, or None when the query is to pause."""
        args = self._statement.current()
        return None if args is None else {**args, "offset": self.offset, "limit": self.limit}

    def fresh(self) -> WindowArguments:
        """Return the same for another query."""
        return WindowArguments(self._statement.fresh(), self.offset, self.limit)
