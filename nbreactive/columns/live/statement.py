"""A live statement: its plan, its result at one snapshot, and the step from there to the next one."""

# pyarrow and duckdb have no stubs, or partial ones: what comes out of them is unknown to the checker
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import duckdb
import msgspec
import pyarrow as pa

from nbreactive.columns.live.canonical import canonical
from nbreactive.columns.live.evaluate import Scratch, pick, read
from nbreactive.columns.live.groups import MaintainedGroups, TooMany
from nbreactive.columns.live.maintained import At, MaintainedRows, Reload, TableChange
from nbreactive.columns.live.plan import Plan, make_plan
from nbreactive.columns.live.reasons import Rerun
from nbreactive.columns.live.rows import Astray, SortedRows
from nbreactive.columns.live.tree import Node, Unreadable, parameters, parse, walk
from nbreactive.columns.schema import quote
from nbreactive.errors import NBReactiveError

_DESCRIBE = "DESCRIBE "
_FAILURES = (duckdb.Error, pa.ArrowException, OverflowError, ValueError)
_TRIES, _TRIES_AGAIN = 3, 32
"""After so many changes in a row that end in running it as a whole, it is only run, until so many have come."""
Kind = Literal["rows", "top", "groups", "rerun"]

_HOW: dict[Kind, str] = {
    "rows": "Rows are kept in order; a change evaluates WHERE and the outputs for the changed rows only.",
    "top": "The first rows are kept, and some more; a change evaluates WHERE and ORDER BY for the changed rows only.",
    "groups": "Aggregates are kept for each group; a change evaluates the changed rows and their groups only.",
    "rerun": "It runs again when a row changes that can matter.",
}


class Explanation(msgspec.Struct, frozen=True):
    """What EXPLAIN LIVE says."""

    kind: Kind
    why: str
    tables: tuple[str, ...]
    period_ms: int | None = None
    """How often it is run again because it looks at the clock."""
    rows: int = 0
    memory: int = 0
    """Bytes, about."""
    reruns: int = 0
    """How often it was run as a whole since it is live."""
    because: str = ""
    """Why the last time, where it is maintained otherwise."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return msgspec.to_builtins(self)

    def __str__(self) -> str:
        lines = [f"live: {self.kind}", self.why, f"tables: {', '.join(self.tables) or 'none'}"]
        if self.period_ms is not None:
            lines.append(f"and every {self.period_ms / 1000:g} s, as it looks at the clock")
        lines.append(f"{self.rows:,} rows, {self.memory:,} bytes, run as a whole {self.reruns} times")
        if self.because:
            lines.append(f"last because {self.because}")
        return "\n".join(lines)


class Live:
    """A statement whose result follows the tables.

    Parameters
    ----------
    text
        A checked SELECT.
    params
        Values of its parameters.
    scratch
        Where expressions over changed rows are evaluated.
    folder
        Where files for large results go.

    Notes
    -----
    One thread at a time. Results always equal those of :func:`~nbreactive.columns.live.canonical.canonical` in plain
    DuckDB; sums of doubles are exact where DuckDB's own are rounded at each step.

    Examples
    --------
    >>> connection = duckdb.connect()
    >>> _ = connection.execute("CREATE TABLE notes (_id VARCHAR, _creationTime DOUBLE, n BIGINT)")
    >>> live = Live("SELECT count(*) AS many, sum(n) AS total FROM notes", {}, Scratch())
    >>> live.load(connection)
    >>> live.window().to_pylist(), live.explain().kind
    ([{'many': 0, 'total': None}], 'groups')
    >>> row = pa.table({"_id": ["a"], "_creationTime": [1.0], "n": [5]})
    >>> live.update({"notes": TableChange(row.slice(0, 0), row)}, lambda: connection)
    True
    >>> live.window().to_pylist()
    [{'many': 1, 'total': Decimal('5')}]
    """

    def __init__(self, text: str, params: Mapping[str, Any], scratch: Scratch, folder: Path | None = None) -> None:
        self._text = text
        self._params = dict(params)
        self._scratch = scratch
        self._folder = folder
        self._node: Node | None = None
        self._state: MaintainedRows | MaintainedGroups | None = None
        self._result: SortedRows | None = None
        self._kind: Kind = "rerun"
        self._why = "it has not run yet"
        self._period: int | None = None
        self._reruns = 0
        self._because = ""
        self._streak = 0
        """How many changes in a row ended in running it as a whole."""
        self.tables: frozenset[str] = frozenset()
        """Names of the base tables, folded."""
        self.schema: list[tuple[str, str]] = []
        """Names of the columns, and their DuckDB types."""
        self.canonical = text
        """What a run as a whole runs: the statement, with one order of its rows."""

    def load(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Run the statement as a whole, and keep what its changes need.

        Parameters
        ----------
        cursor
            Sees the tables at the snapshot at which the result is to be.
        """
        self.close()
        self._reruns += 1
        self._period = None
        given = pick(self._params, self._parameters(cursor))
        self.schema = self._describe(cursor, given)
        self.canonical = self._text
        failed: Exception | None = None
        try:
            if self._streak >= _TRIES:
                self._streak = (self._streak + 1) % _TRIES_AGAIN
                raise Rerun(f"it would be kept up to date, but {self._because}; that is tried again later")
            self._maintain(cursor)
        except TooMany as finding:
            self._streak, self._because = _TRIES, str(finding)
            self._run_again(str(finding))
        except (Rerun, Unreadable) as finding:
            self._run_again(str(finding), finding.period_ms if isinstance(finding, Rerun) else None)
        except (NBReactiveError, duckdb.InterruptException):
            raise
        except _FAILURES as error:
            # An error of the user's, which the statement as it is has, too; or values that Python does not have
            self._run_again(f"keeping it up to date failed ({_own(error)})")
            failed = error
        if self._state is None:
            try:
                if self._node is not None:
                    self.canonical = canonical(cursor, self._node, None, len(self.schema))
                self._result = SortedRows(read(cursor, self.canonical, given), folder=self._folder)
            except duckdb.InterruptException:
                raise
            except duckdb.Error as error:
                shown = failed if isinstance(failed, duckdb.Error) else error
                raise type(shown)(_own(shown)) from error

    def update(self, changes: Mapping[str, TableChange], at: At) -> bool:
        """Follow the tables to another snapshot.

        Parameters
        ----------
        changes
            By table, what became of its rows since the snapshot of now.
        at
            Gives a cursor that sees the tables at that snapshot; called only if one is needed.

        Returns
        -------
        bool
            Whether the result may be another one.
        """
        mine = {name.casefold(): change for name, change in changes.items() if name.casefold() in self.tables}
        if not mine and self._node is not None:
            return False
        if self._state is not None:
            try:
                changed = self._state.update(mine, at)
            except (Reload, Astray, *_FAILURES) as error:
                self.close()  # it may have been changed in part
                self._because = str(error)
                self._streak += 1
                if isinstance(error, duckdb.InterruptException):
                    raise
                # What the whole statement says is what counts, be it an error
            except BaseException:
                self.close()
                raise
            else:
                self._streak = 0
                return changed
        self.load(at())
        return True

    @property
    def total(self) -> int:
        """How many rows the whole result has."""
        return self._shown.total

    @property
    def memory(self) -> int:
        """Bytes, about, that are in memory."""
        shown = self._state or self._result
        return shown.memory if shown is not None else 0

    def window(self, offset: int = 0, limit: int | None = None) -> pa.Table:
        """Return rows of the result, with the names of its columns."""
        rows = self._shown.window(offset, limit)
        return pa.Table.from_arrays(rows.columns, names=[name for name, _ in self.schema])

    def explain(self) -> Explanation:
        """Return which way it goes, and why."""
        rows = self.total if self._state or self._result else 0
        tables = tuple(sorted(self.tables))
        return Explanation(self._kind, self._why, tables, self._period, rows, self.memory, self._reruns, self._because)

    def interrupt(self) -> None:
        """End what is being evaluated over changed rows; may be called from any thread."""
        if self._state is not None:
            self._state.interrupt()

    def close(self) -> None:
        """Forget the result, and give connections back."""
        if self._state is not None:
            self._state.close()
        self._state = self._result = None

    @property
    def _shown(self) -> MaintainedRows | MaintainedGroups | SortedRows:
        shown = self._state or self._result
        if shown is None:
            raise RuntimeError("the statement has no result: load() comes first, and after an error again")
        return shown

    def _maintain(self, cursor: duckdb.DuckDBPyConnection) -> None:
        plan = self._plan(cursor)
        assert self._node is not None
        self.canonical = canonical(cursor, self._node, plan, len(self.schema))
        state = MaintainedGroups if plan.keys is not None else MaintainedRows
        self._state = state(plan, self._params, self._scratch, cursor, self._folder)
        self._kind = "groups" if plan.keys is not None else "rows" if plan.limit is None else "top"
        self._why = _HOW[self._kind]

    def _run_again(self, why: str, period_ms: int | None = None) -> None:
        self._kind = "rerun"
        self._period = period_ms
        self._why = f"{_HOW['rerun']} Why: {why}."

    def _describe(self, cursor: duckdb.DuckDBPyConnection, given: dict[str, Any]) -> list[tuple[str, str]]:
        try:
            described = cursor.execute(f"{_DESCRIBE}{self._text}", given).fetchall()
        except duckdb.Error as error:  # as if DuckDB had been given the statement alone
            told = re.sub(rf"(LINE 1: ){_DESCRIBE}(.*\n){' ' * len(_DESCRIBE)}", r"\1\2", str(error))
            raise type(error)(told) from None
        return [(name, type_) for name, type_, *_ in described]

    def _parameters(self, cursor: duckdb.DuckDBPyConnection) -> frozenset[str]:
        if self._node is None:
            try:
                self._node = parse(cursor, self._text)
            except Unreadable:
                return frozenset(name.casefold() for name in self._params)
            defined = {str(entry["key"]).casefold() for entry in _map(self._node)}
            named = (node["table_name"].casefold() for node in walk(self._node) if node.get("type") == "BASE_TABLE")
            self.tables = frozenset(name for name in named if name not in defined)
        return parameters(self._node)

    def _plan(self, cursor: duckdb.DuckDBPyConnection) -> Plan:
        node = self._node if self._node is not None else parse(cursor, self._text)
        layouts: dict[str, dict[str, str]] = {}
        for table in self.tables:
            described = cursor.execute(f"DESCRIBE {quote(table)}").fetchall()
            layouts[table] = {name: type_ for name, type_, *_ in described}
        plan = make_plan(node, layouts, self._scratch.aggregates, self._params)
        if len(plan.outputs) != len(self.schema):
            raise Rerun("its columns are others than those that it names")
        return plan


def _own(error: Exception) -> str:
    """Return what an error says, without the line of a statement that is ours, not the user's."""
    return str(error).split("\n\nLINE ")[0]


def _map(node: Node) -> list[dict[str, Any]]:
    return [entry for inner in walk(node) for entry in (inner.get("cte_map") or {}).get("map", [])]
