"""The rows of a statement without groups, kept up to date: filter, projection, ORDER BY, LIMIT; over a table or a join."""

# pyarrow and duckdb have no stubs, or partial ones: what comes out of them is unknown to the checker
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa

from nbreactive.columns.live.evaluate import CHANGED, Evaluator, Scratch, pick, read, sort_key
from nbreactive.columns.live.plain import Comparison, bare, comparisons, passes, sort_key_of
from nbreactive.columns.live.plan import Plan
from nbreactive.columns.live.rows import KEY, SortedRows
from nbreactive.columns.live.scope import Source
from nbreactive.columns.live.tree import (
    Node,
    column,
    names,
    of_class,
    parameters,
    rewrite,
    walk,
    write_expressions,
    write_relation,
)

SIGN = "__sign"
_MOST_CHANGES = 5_000
"""Changed rows above which running the statement again is faster."""
_SLACK = 100
"""Rows that are kept beyond LIMIT, so that some may go before the table is asked again."""

At = Callable[[], duckdb.DuckDBPyConnection]


class Reload(Exception):  # noqa: N818 - a state
    """What is known does not suffice: begin anew with what the tables have."""


class TableChange(NamedTuple):
    """What became of the rows of a table, net: one version before and one after of each row that changed."""

    old: pa.Table
    """Rows as they were, those that there were; all columns of the table."""
    new: pa.Table
    """Rows as they are, those that there are."""


class Changed:
    """The rows that a change makes in FROM and WHERE: expressions over them, with their sign.

    Parameters
    ----------
    plan, params, scratch
        The statement, and where expressions are evaluated.
    cursor
        Sees the tables.
    texts
        The expressions, as SQL.
    """

    def __init__(
        self, plan: Plan, params: dict[str, Any], scratch: Scratch, cursor: duckdb.DuckDBPyConnection, texts: list[str]
    ) -> None:
        self._joined = len(plan.sources) > 1
        (self.where,) = write_expressions(cursor, [plan.where]) if plan.where else ("",)
        self.condition = f" WHERE {self.where}" if self.where else ""
        used = names(part for node in of_class(_all(plan), "COLUMN_REF") for part in node["column_names"])
        for join in walk(plan.relation):
            used |= names(join.get("using_columns", []))
        given = pick(params, parameters(_all(plan)))
        self._evaluators: dict[str, Evaluator] = {}
        self._schemas: dict[str, pa.Schema] = {}
        for source in plan.sources:
            columns = {name: type_ for name, type_ in source.columns.items() if name.casefold() in used | {"_id"}}
            relation = write_relation(cursor, _instead(plan.relation, source))
            outputs = ", ".join([SIGN, *(f"{text} AS e{number}" for number, text in enumerate(texts))])
            select = f"SELECT {outputs} FROM {relation}{self.condition}"  # noqa: S608 - a checked statement's own parts
            scope = None if self._joined else scratch.cursor()
            folded = source.table.casefold()
            if not source.outer:
                self._evaluators[folded] = Evaluator(scope, {**columns, SIGN: "TINYINT"}, select, given)
            nothing = f"SELECT * FROM {write_relation(cursor, source.leaf)} LIMIT 0"  # noqa: S608
            self._schemas[folded] = read(cursor, nothing, {}).schema

    def rows(self, changes: Mapping[str, TableChange], at: At) -> pa.Table | None:
        """Return the changed rows: sign, e0..; None if there are none."""
        found = self._one(changes)
        if found is None:
            return None
        table, change = found
        evaluator = self._evaluators.get(table)
        if evaluator is None:
            raise Reload("the outer side of a join changed")
        signed = pa.concat_tables(
            _signed(rows, sign, evaluator.columns, self._schemas[table])
            for rows, sign in ((change.old, -1), (change.new, 1))
            if rows.num_rows
        )
        return evaluator.run(signed, at() if self._joined else None)

    def plain(
        self, changes: Mapping[str, TableChange], columns: list[str], conditions: Sequence[Comparison]
    ) -> list[tuple[int, pa.Table, list[dict[str, Any]]]]:
        """Return the changed rows that fulfil plain conditions, without asking DuckDB: sign, rows, and the same as values."""
        found = self._one(changes)
        if found is None:
            return []
        table, change = found
        passing: list[tuple[int, pa.Table, list[dict[str, Any]]]] = []
        for rows, sign in ((change.old, -1), (change.new, 1)):
            if rows.num_rows:
                rows = _known(rows, columns, self._schemas[table])  # noqa: PLW2901
                values = rows.to_pylist()
                wanted = [passes(row, conditions) for row in values]
                passing.append((sign, rows.filter(pa.array(wanted)), list(compress(values, wanted))))
        return passing

    def _one(self, changes: Mapping[str, TableChange]) -> tuple[str, TableChange] | None:
        """Return the table that changed, and how."""
        changed = [(table, change) for table, change in changes.items() if change.old.num_rows or change.new.num_rows]
        if len(changed) > 1:
            raise Reload("more than one table of the join changed")
        if changed and changed[0][1].old.num_rows + changed[0][1].new.num_rows > _MOST_CHANGES:
            raise Reload("much has changed at once")
        return changed[0] if changed else None

    def interrupt(self) -> None:
        """End what is being evaluated."""
        for evaluator in self._evaluators.values():
            evaluator.interrupt()

    def close(self) -> None:
        """Give connections back."""
        for evaluator in self._evaluators.values():
            evaluator.close()


class _Direct(NamedTuple):
    """A statement that needs no DuckDB to follow a change."""

    conditions: list[Comparison]
    columns: list[str]
    outputs: list[str]
    order: list[str]
    key: Callable[[Sequence[Any]], bytes]


def _direct(plan: Plan, params: Mapping[str, Any]) -> _Direct | None:
    if len(plan.sources) > 1:
        return None
    types = plan.sources[0].columns
    conditions = comparisons(plan.where, types, params)
    outputs, order = [bare(output) for output in plan.outputs], [bare(order.by) for order in plan.order]
    if conditions is None or None in outputs or None in order:
        return None
    order = [*(name for name in order if name), "_creationTime", "_id"]
    hows = [*(order.how for order in plan.order), "ASC NULLS LAST", "ASC NULLS LAST"]
    key = sort_key_of([types[name] for name in order], hows)
    if key is None:
        return None
    shown = [name for name in outputs if name]
    used = dict.fromkeys([*shown, *order, *(condition[0] for condition in conditions)])
    return _Direct(conditions, list(used), shown, order, key)


class MaintainedRows:
    """The state of a statement whose rows are rows of a table, or of a join."""

    def __init__(
        self,
        plan: Plan,
        params: dict[str, Any],
        scratch: Scratch,
        cursor: duckdb.DuckDBPyConnection,
        folder: Path | None,
    ) -> None:
        self._wanted = None if plan.limit is None else plan.offset + plan.limit
        self._limits = plan.offset, plan.limit
        outputs = write_expressions(cursor, plan.outputs)
        order = [
            *zip(
                write_expressions(cursor, [order.by for order in plan.order]),
                (order.how for order in plan.order),
                strict=True,
            ),
            *((text, "ASC NULLS LAST") for text in write_expressions(cursor, row_ids(plan.sources))),
        ]
        key = sort_key(order)
        self._changed = Changed(plan, params, scratch, cursor, [key, *outputs])
        load = (
            f"SELECT {', '.join([f'{key} AS {KEY}', *(f'{text} AS e{n}' for n, text in enumerate(outputs, 1))])}"  # noqa: S608
            f" FROM {write_relation(cursor, plan.relation)}{self._changed.condition}"
            f" ORDER BY {', '.join(f'{text} {how}' for text, how in order)}"
        )
        most = None if self._wanted is None else self._wanted + _SLACK + self._wanted // 4
        if most is not None:
            load += f" LIMIT {most}"
        rows = read(cursor, load, pick(params, parameters(_all(plan))))
        self._schema = rows.schema
        self._direct = _direct(plan, params)
        self._rows = SortedRows(rows, whole=most is None or rows.num_rows < most, folder=folder)

    @property
    def total(self) -> int:
        """How many rows the result has."""
        offset, limit = self._limits
        there = max(self._rows.total - offset, 0)
        return there if limit is None else min(there, limit)

    @property
    def memory(self) -> int:
        """Bytes, about."""
        return self._rows.memory

    def window(self, offset: int, limit: int | None) -> pa.Table:
        """Return rows of the result."""
        left = max(self.total - offset, 0)
        return self._rows.window(self._limits[0] + offset, left if limit is None else min(limit, left))

    def update(self, changes: Mapping[str, TableChange], at: At) -> bool:
        """Take changes in; tell whether the result may be another one."""
        if self._direct is None:
            rows = self._changed.rows(changes, at)
            if rows is None or not rows.num_rows:
                return False
            gone, added = _split(rows)
            self._rows.change(gone["e0"].to_pylist(), added.rename_columns(self._schema.names))
        else:
            gone, added = self._directly(changes, self._direct)
            if not gone and added is None:
                return False
            self._rows.change(gone, added)
        if not self._rows.whole and self._wanted is not None and self._rows.total < self._wanted:
            raise Reload("rows that are not known come into the result")
        return True

    def _directly(self, changes: Mapping[str, TableChange], direct: _Direct) -> tuple[list[bytes], pa.Table | None]:
        gone: list[bytes] = []
        added: pa.Table | None = None
        for sign, rows, values in self._changed.plain(changes, direct.columns, direct.conditions):
            keys = [direct.key([row[name] for name in direct.order]) for row in values]
            if sign < 0:
                gone = keys
            elif keys:
                columns = [pa.chunked_array([pa.array(keys, pa.binary())]), *(rows[name] for name in direct.outputs)]
                added = pa.Table.from_arrays(columns, names=self._schema.names).cast(self._schema)
        return gone, added

    def interrupt(self) -> None:
        """End what is being evaluated."""
        self._changed.interrupt()

    def close(self) -> None:
        """Give connections back."""
        self._changed.close()


def _split(rows: pa.Table) -> tuple[pa.Table, ...]:
    """Return the rows that went and those that came."""
    signs = rows[SIGN].to_pylist()
    rows = rows.drop_columns([SIGN])
    return tuple(rows.filter(pa.array([sign == wanted for sign in signs])) for wanted in (-1, 1))


def row_ids(sources: list[Source]) -> list[Node]:
    """Return what tells rows of a join apart, and in which order rows come that ORDER BY does not order."""
    return [column(source.alias, name) for source in sources for name in ("_creationTime", "_id")]


def _signed(rows: pa.Table, sign: int, columns: list[str], schema: pa.Schema) -> pa.Table:
    rows = _known(rows, [name for name in columns if name != SIGN], schema)
    return rows.append_column(SIGN, pa.array([sign] * rows.num_rows, pa.int8()))


def _known(rows: pa.Table, columns: list[str], schema: pa.Schema) -> pa.Table:
    """Return columns of rows, which must be of the table as it was."""
    if names(rows.column_names) != names(schema.names):
        raise Reload("the table has other columns now")
    for name in columns:
        if _plain(rows.schema.field(name).type) != _plain(schema.field(name).type):
            raise Reload("a column has another type now")
    return rows.select(columns)


def _plain(type_: pa.DataType) -> str:
    """Return a type without what DuckDB and Arrow say differently of the same one."""
    text = str(type_).replace("large_", "").replace("extension<arrow.json>", "string")
    return text.replace("<l: ", "<item: ").replace("<child: ", "<item: ").replace("<element: ", "<item: ")


def _instead(relation: Node, source: Source) -> Node:
    """Return FROM with the changed rows in place of a table."""
    leaf = {"type": "BASE_TABLE", "alias": source.alias, "table_name": CHANGED}
    return rewrite(relation, lambda node: leaf if node == source.leaf else None)


def _all(plan: Plan) -> list[Any]:
    aggregates = [[aggregate.argument, aggregate.filter] for aggregate in plan.aggregates]
    rows = [plan.outputs, [order.by for order in plan.order], row_ids(plan.sources)] if plan.keys is None else []
    return [plan.relation, plan.where, plan.keys, aggregates, rows]
