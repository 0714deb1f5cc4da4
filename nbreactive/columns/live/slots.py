"""Which accumulators the aggregates of a statement need, and how they are loaded."""

# a tree of JSON has no types
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import duckdb

from nbreactive.columns.live.accumulators import KEPT, Count, Descending, Extremes, FloatSum, Sum, ascending
from nbreactive.columns.live.plain import bare
from nbreactive.columns.live.plan import Aggregate
from nbreactive.columns.live.reasons import Rerun
from nbreactive.columns.live.tree import parameters, write_expressions

_INTEGER = re.compile(r"(U?(TINY|SMALL|BIG)INT|U?INTEGER|HUGEINT|BOOLEAN)$")
_DECIMAL = re.compile(r"DECIMAL\(\d+,\s*(\d+)\)$")
SURVIVING = re.compile(
    r"(U?(TINY|SMALL|BIG)INT|U?INTEGER|HUGEINT|BOOLEAN|FLOAT|DOUBLE|DECIMAL\(.*\)|VARCHAR|JSON|BLOB|DATE|TIMESTAMP( WITH TIME ZONE)?)$"
)
"""Types whose values survive the way through Python, and are in the same order there."""

Accumulator = Count | Sum | FloatSum | Extremes


class Slot(NamedTuple):
    """One accumulator of each group: what it takes in, and what it is."""

    kind: str
    text: str
    type: str
    parameters: frozenset[str]
    """Their names, folded."""
    column: str | None
    """The column that it takes in as it is."""

    @property
    def scale(self) -> int:
        """Digits after the point of decimals."""
        found = _DECIMAL.match(self.type)
        return int(found[1]) if found else 0

    @property
    def floating(self) -> bool:
        """Whether it sums doubles."""
        return self.kind == "sum" and self.type in ("FLOAT", "DOUBLE")

    def loads(self) -> list[str]:
        """Return the expressions that load it."""
        if self.kind == "count" or self.floating:
            return [f"count({self.text})"]
        if self.kind == "sum":
            return [f"count({self.text})", f"sum({self.text})"]
        return [f"{self.kind}({self.text}, {KEPT})"]

    def make(self, loaded: Sequence[Any] = ()) -> Accumulator:
        """Return an accumulator of what was loaded, or an empty one."""
        if self.floating:
            return FloatSum()
        if self.kind == "count":
            return Count(*loaded)
        if self.kind == "sum":
            return Sum(*(loaded or (0, 0)), scale=self.scale)
        return Extremes(ascending if self.kind == "min" else Descending, loaded[0] or () if loaded else ())


def written(cursor: duckdb.DuckDBPyConnection, aggregates: Sequence[Aggregate], part: str) -> list[str]:
    """Return the text of a part of each aggregate, empty where it has none."""
    nodes = [getattr(aggregate, part) for aggregate in aggregates]
    texts = iter(write_expressions(cursor, [node for node in nodes if node is not None]))
    return ["" if node is None else next(texts) for node in nodes]


def argument_text(argument: str, where: str) -> str:
    """Return what an accumulator takes in of a row; NULL if nothing. Empty for count(*)."""
    return f"CASE WHEN {where} THEN {argument or '1'} END" if where else argument


def slots_of(
    aggregates: Sequence[Aggregate], texts: Sequence[str], types: Mapping[str, str]
) -> tuple[list[Slot], list[int | None]]:
    """Return the accumulators that aggregates need, and which one each has; None is the number of rows."""
    slots: list[Slot] = []
    places: list[int | None] = []
    for aggregate, text in zip(aggregates, texts, strict=True):
        if not text:
            places.append(None)
            continue
        kind = "sum" if aggregate.kind == "avg" else aggregate.kind
        slot = Slot(kind, text, types[text], parameters([aggregate.argument, aggregate.filter]), _column(aggregate))
        if kind == "sum" and not (slot.floating or _INTEGER.match(slot.type) or _DECIMAL.match(slot.type)):
            raise Rerun(f"sums of type {slot.type} are not maintained")
        if slot not in slots:
            slots.append(slot)
        places.append(slots.index(slot))
    return slots, places


def _column(aggregate: Aggregate) -> str | None:
    return None if aggregate.filter or aggregate.argument is None else bare(aggregate.argument)
