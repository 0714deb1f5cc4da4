"""``FROM orders AT ('2026-11-01 12:00')``: a table as it was, in a statement that sees the others as they are.

DuckDB's parser knows ``AT (TIMESTAMP => ...)``; ours is the same with less to type, and is made into that, token by token, before
it is parsed. In the tree that comes of it each such table gets a name of its own, which is that of a view made for this
one statement. What is over cannot change: such a table is in no read set.
"""

# pyarrow and duckdb have no stubs, or partial ones: what comes out of them is unknown to the checker
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from nbreactive.columns.past import horizon
from nbreactive.columns.snapshots import Snapshot
from nbreactive.errors import HistoryGone, InvalidValue, SqlError
from nbreactive.values.instants import instant_of, moment

if TYPE_CHECKING:
    import duckdb

_PLACES: Final = frozenset({"from", "join", ",", "(", "lateral"})
"""What stands before the name of a table."""
_WORD: Final = re.compile(r"\bat\b", re.IGNORECASE)
_UNIT: Final = re.compile(r"\s*(TIMESTAMP|VERSION)\s*=>", re.IGNORECASE)
_PARAMETER: Final = re.compile(r"\$\w+")


class Earlier(msgspec.Struct, frozen=True):
    """A table as of an earlier time."""

    table: str
    """As the statement spells it."""
    view: str
    """What it is called in the text that runs."""
    at: str | int = ""
    parameter: str = ""
    """The parameter that says the time, if one does."""

    def instant(self, params: Mapping[str, Any]) -> int:
        """Return the time, in nanoseconds."""
        if not self.parameter:
            return instant_of(self.at, "AT")
        given = {name.casefold(): value for name, value in params.items()}
        return instant_of(given[self.parameter.casefold()], f"AT ${self.parameter}")


def spelled_out(text: str) -> str:
    """Return a statement with every ``AT (...)`` and ``AT $when`` behind a table as DuckDB spells it.

    Examples
    --------
    >>> spelled_out("SELECT * FROM orders AT ('2026-11-01') JOIN orders o AT $when USING (_id)")
    "SELECT * FROM orders AT (TIMESTAMP => '2026-11-01') JOIN orders o AT (TIMESTAMP => $when) USING (_id)"
    >>> spelled_out("SELECT at('x'), _creationTime AT TIME ZONE 'UTC' FROM t -- t AT ('y')")
    "SELECT at('x'), _creationTime AT TIME ZONE 'UTC' FROM t -- t AT ('y')"
    """
    if _WORD.search(text) is None:
        return text
    import duckdb

    data = text.encode()  # the places of tokens are those of bytes
    places = [(start, kind) for start, kind in duckdb.tokenize(text) if kind != duckdb.token_type.comment]
    ends = [start for start, _ in duckdb.tokenize(text)]
    after = dict(zip(ends, [*ends[1:], len(data)], strict=True))
    words = [data[start : after[start]].decode().strip() for start, _ in places]
    made: list[bytes] = []
    done = 0
    for number, word in enumerate(words):
        if word.lower() != "at" or number + 1 >= len(words) or not _is_table(words, number):
            continue
        begin = places[number][0] + len(b"AT")
        rest = data[begin:].decode()
        if (found := _PARAMETER.match(rest.lstrip())) is not None:
            made += [data[done:begin], f" (TIMESTAMP => {found.group()})".encode()]
            done = begin + len(rest.encode()) - len(rest.lstrip().encode()) + len(found.group())
        elif words[number + 1].startswith("("):
            opened = places[number + 1][0] + 1
            if _UNIT.match(data[opened:].decode()) is None:
                made += [data[done:opened], b"TIMESTAMP => "]
                done = opened
    return b"".join([*made, data[done:]]).decode()


def _is_table(words: list[str], number: int) -> bool:
    """Whether what stands before a word is a table, perhaps with another name: ``FROM orders``, ``JOIN orders AS o``."""
    before = [word.lower() for word in reversed(words[max(0, number - 4) : number])]
    if not before or before[0] == "as":
        return False
    return any(word in _PLACES for word in before[1 : 4 if before[1:2] == ["as"] else 3])


def take_out(node: dict[str, Any], number: int) -> Earlier:
    """Give a table of a tree that is as of an earlier time a name of its own, and return what is meant."""
    clause, (table,) = node.pop("at_clause"), node["qualified_name"]["path"]
    view = f"{table} at {number}"
    node["qualified_name"]["path"], node["table_name"] = [view], view
    node.setdefault("alias", table)
    expression = clause["expr"]
    while expression.get("class") == "CAST":  # TIMESTAMP '2026-11-01'
        expression = expression["child"]
    if clause["unit"].upper() != "TIMESTAMP":
        raise SqlError(f"AT takes a time, not a {clause['unit'].lower()}: {table} AT ('2026-11-01 12:00')")
    if expression.get("class") == "PARAMETER":
        return Earlier(table, view, parameter=expression["identifier"])
    literal = expression.get("literal", {})
    if expression.get("class") != "CONSTANT" or "text" not in literal:
        raise SqlError(
            f"AT takes a time that is written there, or a parameter: {table} AT ('2026-11-01 12:00'), {table} AT $when"
        )
    return Earlier(table, view, str(literal["text"]))


def show(
    cursor: duckdb.DuckDBPyConnection,
    wanted: tuple[Earlier, ...],
    params: Mapping[str, Any],
    seen: int,
    check: Callable[[], None],
) -> None:
    """Make the views of a statement's tables as of earlier times, in a transaction that sees the others as of ``seen``."""
    for one in wanted:
        try:
            at = one.instant(params)
        except InvalidValue as error:
            raise SqlError(error.message) from None
        now = time.time_ns()
        if at > max(now, seen):
            raise SqlError(f"{moment(at)} has not come yet: it is {moment(now)} here")
        known = horizon(cursor)
        if at < known:
            raise HistoryGone(f"{moment(at)} is before {moment(known)}, from when on history is kept here", "AT")
        snapshot = Snapshot(cursor, min(at, seen), (), check)
        layout = snapshot.tables.get(one.table.casefold()) or Snapshot(cursor, seen, (), check).tables.get(
            one.table.casefold()
        )
        if layout is None:
            raise SqlError(f"there is no table {one.table!r} in SQL, and there was none at {moment(at)}")
        snapshot.use(layout, one.view)
