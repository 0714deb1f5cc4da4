"""The groups of an aggregation, kept up to date: GROUP BY, HAVING, and ORDER BY and LIMIT over the groups.

Changed rows change accumulators; the outputs of the groups so changed are evaluated by DuckDB again, and take their places
among the rows of the result. What a change costs does not depend on how many groups or rows there are.
"""

# pyarrow and duckdb have no stubs, or partial ones: what comes out of them is unknown to the checker
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from nbreactive.columns.live.accumulators import (
    Count,
    Exhausted,
    Extremes,
    FloatSum,
    Sum,
)
from nbreactive.columns.live.evaluate import CHANGED, Evaluator, Scratch, pick, read, sort_key
from nbreactive.columns.live.maintained import At, Changed, Reload, TableChange
from nbreactive.columns.live.plain import Comparison, bare, comparisons, sort_key_of
from nbreactive.columns.live.plan import CONSTANTS, GROUP, Aggregate, Plan
from nbreactive.columns.live.reasons import Rerun
from nbreactive.columns.live.rows import KEY, Astray, SortedRows
from nbreactive.columns.live.slots import SURVIVING, Accumulator, Slot, argument_text, slots_of, written
from nbreactive.columns.live.tree import parameters, write_expressions, write_relation

MOST_GROUPS = 100_000
_MOST_ASKED = 4
"""Groups of which one change may ask the table for new extremes, before everything is asked."""


class TooMany(Exception):  # noqa: N818 - a finding about a result
    """There are more groups than are kept."""


class _Group:
    __slots__ = ("accumulators", "key", "order", "rows", "values")

    def __init__(self, key: bytes, values: tuple[Any, ...], rows: int, accumulators: list[Accumulator]) -> None:
        self.key = key
        self.values = values
        self.rows = rows
        self.accumulators = accumulators
        self.order: bytes | None = None
        """Its place in the result; None while it has none."""


class MaintainedGroups:
    """The state of an aggregation."""

    def __init__(
        self,
        plan: Plan,
        params: dict[str, Any],
        scratch: Scratch,
        cursor: duckdb.DuckDBPyConnection,
        folder: Path | None,
    ) -> None:
        assert plan.keys is not None
        if any(key.get("class") in CONSTANTS for key in plan.keys):
            raise Rerun("a constant in GROUP BY is not maintained")
        self._plan, self._params = plan, params
        self._relation = write_relation(cursor, plan.relation)
        self._keys = write_expressions(cursor, plan.keys)
        arguments, filters = written(cursor, plan.aggregates, "argument"), written(cursor, plan.aggregates, "filter")
        texts = [argument_text(argument, where) for argument, where in zip(arguments, filters, strict=True)]
        scalars = self._keys + [text for text in texts if text]
        self._rows_given = [plan.relation, plan.where, plan.keys]
        types = dict(zip(scalars, self._types(cursor, scalars, [plan.keys, plan.aggregates]), strict=True))
        self._key_types = [types[text] for text in self._keys]
        calls = [aggregate.call for aggregate in plan.aggregates]
        self._results = self._types(cursor, write_expressions(cursor, calls), calls)
        self._slots, self._places = slots_of(plan.aggregates, texts, types)
        for type_ in [*self._key_types, *(slot.type for slot in self._slots if slot.kind in ("min", "max"))]:
            if not SURVIVING.match(type_):
                raise Rerun(f"groups and extremes of type {type_} are not maintained")

        key = sort_key([(text, "ASC NULLS LAST") for text in self._keys])
        self._changed = Changed(plan, params, scratch, cursor, [key, *self._keys, *(slot.text for slot in self._slots)])
        self._direct = self._directly(plan)
        self._groups: dict[bytes, _Group] = {}
        self._outputs = self._evaluator(plan, scratch, cursor)
        self._plain = self._plainly(plan)
        self._load(cursor)
        self._rows = SortedRows(self._evaluate(list(self._groups.values())).sort_by(KEY), folder=folder)

    @property
    def total(self) -> int:
        """How many rows the result has."""
        there = max(self._rows.total - self._plan.offset, 0)
        return there if self._plan.limit is None else min(there, self._plan.limit)

    @property
    def memory(self) -> int:
        """Bytes, about."""
        return self._rows.memory + len(self._groups) * (400 + 300 * len(self._slots) + 80 * len(self._keys))

    def window(self, offset: int, limit: int | None) -> pa.Table:
        """Return rows of the result."""
        left = max(self.total - offset, 0)
        return self._rows.window(self._plan.offset + offset, left if limit is None else min(limit, left))

    def update(self, changes: Mapping[str, TableChange], at: At) -> bool:
        """Take changes in; tell whether the result may be another one."""
        changed: dict[bytes, _Group] = {}
        width = len(self._keys)
        # What comes before what goes: an extreme that only moves is not looked for
        for sign, key, *values in sorted(self._rows_of(changes, at), key=lambda row: -row[0]):
            group = changed[key] = self._groups.get(key) or self._new(key, tuple(values[:width]), sign)
            group.rows += sign
            for accumulator, value in zip(group.accumulators, values[width:], strict=True):
                accumulator.add(value, sign)
        if not changed:
            return False
        gone = [group.order for group in changed.values() if group.order is not None]
        for group in changed.values():
            group.order = None
            if not group.rows and self._keys:
                del self._groups[group.key]
        if len(self._groups) > MOST_GROUPS:
            raise Reload(f"it has more than {MOST_GROUPS:,} groups")
        self._rows.change(gone, self._evaluate([group for group in changed.values() if group.key in self._groups], at))
        return True

    def interrupt(self) -> None:
        """End what is being evaluated."""
        self._changed.interrupt()
        self._outputs.interrupt()

    def close(self) -> None:
        """Give connections back."""
        self._changed.close()
        self._outputs.close()

    # ---- loading -----------------------------------------------------------------------------------------------------

    def _types(self, cursor: duckdb.DuckDBPyConnection, texts: list[str], nodes: Any) -> list[str]:
        """Return the types of expressions over the tables."""
        if not texts:
            return []
        given = pick(self._params, parameters([self._plan.relation, nodes]))
        described = cursor.execute(f"DESCRIBE SELECT {', '.join(texts)} FROM {self._relation}", given)  # noqa: S608
        return [row[1] for row in described.fetchall()]

    def _load(self, cursor: duckdb.DuckDBPyConnection) -> None:
        names = [f"k{number}" for number in range(len(self._keys))]
        loads = [load for slot in self._slots for load in slot.loads()]
        selected = [*map(" AS ".join, zip(self._keys, names, strict=True)), "count(*)", *loads]
        by = f" GROUP BY {', '.join(self._keys)}" if names else ""
        rows = read(
            cursor,
            f"SELECT {sort_key([(name, 'ASC NULLS LAST') for name in names])} AS {KEY}, * FROM"  # noqa: S608
            f" (SELECT {', '.join(selected)} FROM {self._relation}{self._changed.condition}{by} LIMIT {MOST_GROUPS + 1})",
            pick(self._params, parameters([self._rows_given, self._plan.aggregates])),
        )
        if rows.num_rows > MOST_GROUPS:
            raise TooMany(f"it has more than {MOST_GROUPS:,} groups")
        width = len(names)
        self._arrow = {name: rows.schema.field(name).type for name in names}
        places = self._loaded_at(width + 2)
        extremes = {
            number: rows.schema.field(place).type.value_type
            for number, (slot, (place, _)) in enumerate(zip(self._slots, places, strict=True))
            if slot.kind in ("min", "max")
        }
        for number, place in enumerate(self._places):
            self._arrow[f"a{number}"] = (
                extremes.get(place or 0)
                if self._plan.aggregates[number].kind in ("min", "max")
                else self._arrow_type(number, place)
            )
        for row in zip(*(column.to_pylist() for column in rows.columns), strict=True):
            made = [slot.make(row[start:stop]) for slot, (start, stop) in zip(self._slots, places, strict=True)]
            self._groups[row[0]] = _Group(row[0], row[1 : 1 + width], row[1 + width], made)
        for number, slot in enumerate(self._slots):
            if slot.floating:
                self._load_doubles(cursor, number, slot)

    def _directly(
        self, plan: Plan
    ) -> tuple[list[Comparison], list[str], list[str], Callable[[Sequence[Any]], bytes]] | None:
        """Return conditions, columns and keys where changed rows need no DuckDB."""
        if len(plan.sources) > 1 or plan.keys is None:
            return None
        conditions = comparisons(plan.where, plan.sources[0].columns, self._params)
        columns = [*map(bare, plan.keys), *(slot.column for slot in self._slots)]
        key = sort_key_of(self._key_types, ["ASC NULLS LAST"] * len(plan.keys))
        if conditions is None or None in columns or key is None:
            return None
        named = [name for name in columns if name]
        return (
            conditions,
            named,
            list(dict.fromkeys([*named, *(condition[0] for condition in conditions)] or ["_id"])),
            key,
        )

    def _loaded_at(self, start: int) -> list[tuple[int, int]]:
        places: list[tuple[int, int]] = []
        for slot in self._slots:
            places.append((start, start + len(slot.loads())))
            start = places[-1][1]
        return places

    def _load_doubles(self, cursor: duckdb.DuckDBPyConnection, number: int, slot: Slot) -> None:
        """Sum doubles exactly: of each exponent the mantissas, which are integers."""
        names = [f"k{place}" for place in range(len(self._keys))]
        keys = "".join(f"{name}, " for name in names)
        rows = read(
            cursor,
            f"""WITH bits AS (
                SELECT {"".join(f"{text} AS {name}, " for text, name in zip(self._keys, names, strict=True))}
                    ({slot.text})::DOUBLE::BIT::BIGINT AS b FROM {self._relation}{self._changed.condition}),
            parts AS (SELECT {keys} (b >> 52) & 4095 AS top, b & {(1 << 52) - 1} AS m FROM bits WHERE b IS NOT NULL),
            sums AS (SELECT {keys} top, sum(m) AS total, count(*) AS many FROM parts
                GROUP BY {keys} top, top & 2047 = 2047 AND m = 0)
            SELECT {sort_key([(name, "ASC NULLS LAST") for name in names])}, top, total, many FROM sums""",  # noqa: S608
            pick(self._params, parameters(self._rows_given) | slot.parameters),
        )
        for key_, top, mantissas, count in zip(*(column.to_pylist() for column in rows.columns), strict=True):
            accumulator = self._groups[key_].accumulators[number]
            assert isinstance(accumulator, FloatSum)
            negative = top > 2047
            accumulator.add_bits(top & 2047, -int(mantissas) if negative else int(mantissas), count, negative)

    # ---- changing ----------------------------------------------------------------------------------------------------

    def _rows_of(self, changes: Mapping[str, TableChange], at: At) -> Iterable[tuple[Any, ...]]:
        """Return of changed rows their sign, group, keys and what accumulators take in."""
        if self._direct is None:
            rows = self._changed.rows(changes, at)
            return () if rows is None else zip(*(column.to_pylist() for column in rows.columns), strict=True)
        conditions, columns, used, key = self._direct
        width = len(self._keys)
        return [
            (sign, key([row[name] for name in columns[:width]]), *(row[name] for name in columns))
            for sign, _, values in self._changed.plain(changes, used, conditions)
            for row in values
        ]

    def _new(self, key: bytes, values: tuple[Any, ...], sign: int) -> _Group:
        if sign < 0:
            raise Astray("a row went from a group that was not known")
        group = self._groups[key] = _Group(key, values, 0, [slot.make() for slot in self._slots])
        return group

    def _plainly(self, plan: Plan) -> tuple[list[str], list[str], Callable[[Sequence[Any]], bytes] | None] | None:
        """Return outputs, order and keys where outputs are keys and aggregates as they are."""
        outputs, by = [bare(output) for output in plan.outputs], [bare(order.by) for order in plan.order]
        if plan.having or None in outputs or None in by:
            return None
        types = {f"k{number}": type_ for number, type_ in enumerate(self._key_types)}
        order = [*(name for name in by if name), *types]
        types |= {f"a{number}": type_ for number, type_ in enumerate(self._results)}
        hows = [*(order.how for order in plan.order), *["ASC NULLS LAST"] * len(self._keys)]
        key = sort_key_of([types[name] for name in order], hows) if by else None
        return None if by and key is None else ([name for name in outputs if name], order, key)

    def _evaluator(self, plan: Plan, scratch: Scratch, cursor: duckdb.DuckDBPyConnection) -> Evaluator:
        keys = {f"k{number}": type_ for number, type_ in enumerate(self._key_types)}
        columns = {KEY: "BLOB"} | keys | {f"a{number}": type_ for number, type_ in enumerate(self._results)}
        outputs = write_expressions(cursor, plan.outputs)
        by = [
            *zip(
                write_expressions(cursor, [order.by for order in plan.order]),
                (order.how for order in plan.order),
                strict=True,
            )
        ]
        order = sort_key([*by, *((f"{GROUP}.{name}", "ASC NULLS LAST") for name in keys)])
        (having,) = write_expressions(cursor, [plan.having]) if plan.having else ("",)
        selected = [
            f"{KEY} AS __group_key",
            f"{order} AS {KEY}",
            *(f"{text} AS e{n}" for n, text in enumerate(outputs, 1)),
        ]
        select = f"SELECT {', '.join(selected)} FROM {CHANGED} AS {GROUP}{' WHERE ' + having if having else ''}"  # noqa: S608
        given = pick(self._params, parameters([plan.outputs, plan.having, [order.by for order in plan.order]]))
        return Evaluator(scratch.cursor(), columns, select, given)

    def _evaluate(self, groups: Sequence[_Group], at: At | None = None) -> pa.Table:
        """Return the rows of groups that are in the result, and note their places."""
        lists: dict[str, list[Any]] = {f"k{n}": [group.values[n] for group in groups] for n in range(len(self._keys))}
        for number in range(len(self._plan.aggregates)):
            lists[f"a{number}"] = self._values(number, groups, at)
        columns = {name: pa.array(values, self._arrow[name]) for name, values in lists.items()}
        if self._plain is not None:
            outputs, by, key = self._plain
            orders = [group.key for group in groups]
            if key is not None:
                orders = [key(row) for row in zip(*(lists[name] for name in by), strict=True)]
            for group, order in zip(groups, orders, strict=True):
                group.order = order
            shown = [pa.array(orders, pa.binary()), *(columns[name] for name in outputs)]
            return pa.Table.from_arrays(shown, names=[KEY, *(f"e{n}" for n in range(1, len(shown)))])
        rows = self._outputs.run(pa.table({KEY: pa.array([group.key for group in groups], pa.binary()), **columns}))
        for group_key, order in zip(rows["__group_key"].to_pylist(), rows[KEY].to_pylist(), strict=True):
            self._groups[group_key].order = order
        return rows.drop_columns(["__group_key"])

    def _values(self, number: int, groups: Sequence[_Group], at: At | None) -> list[Any]:
        """Return what an aggregate is in groups."""
        aggregate, place = self._plan.aggregates[number], self._places[number]
        values: list[Any] = []
        asked = 0
        for group in groups:
            try:
                values.append(self._value(aggregate, group, place))
            except Exhausted:
                asked += 1
                if at is None or asked > _MOST_ASKED or len(self._plan.sources) > 1:
                    raise Reload("the extremes of many groups have to be looked for") from None
                self._ask(at(), group, place or 0)
                values.append(self._value(aggregate, group, place))
        return values

    def _value(self, aggregate: Aggregate, group: _Group, place: int | None) -> Any:
        if place is None:
            return group.rows
        accumulator = group.accumulators[place]
        if isinstance(accumulator, Count):
            return accumulator.count
        if isinstance(accumulator, Extremes):
            return accumulator.value()
        if aggregate.kind == "avg":
            return accumulator.avg()
        if isinstance(accumulator, Sum) and abs(accumulator.total) >= 10**38:
            raise Reload("a sum is beyond what its type holds")
        return accumulator.sum()

    def _arrow_type(self, number: int, place: int | None) -> pa.DataType:
        """Return the type of a count, a sum or a mean."""
        if self._plan.aggregates[number].kind == "count":
            return pa.int64()
        return pa.float64() if self._results[number] == "DOUBLE" else pa.decimal128(38, self._slots[place or 0].scale)

    def _ask(self, cursor: duckdb.DuckDBPyConnection, group: _Group, place: int) -> None:
        """Look for the extremes of one group in the table, as it is now."""
        slot = self._slots[place]
        keys = [
            f"{text} IS NOT DISTINCT FROM CAST($__k{number} AS {type_})"
            for number, (text, type_) in enumerate(zip(self._keys, self._key_types, strict=True))
        ]
        where = " AND ".join([f"({self._changed.where})"] * bool(self._changed.where) + keys)
        given = {f"__k{number}": value for number, value in enumerate(group.values)}
        text = f"SELECT {slot.loads()[0]} FROM {self._relation}{' WHERE ' + where if where else ''}"  # noqa: S608
        found = read(cursor, text, given | pick(self._params, parameters(self._rows_given) | slot.parameters))
        group.accumulators[place] = slot.make([found.column(0)[0].as_py()])
