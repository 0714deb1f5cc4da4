"""Which way a statement goes: its rows or groups are maintained from changes, or it is run again, and why.

A plan is made from DuckDB's syntax tree: names are resolved to (table, column), aliases and positions are put in, and
aggregates are taken out, so that what is left are scalar expressions over one row, which DuckDB evaluates itself.
"""

# a tree of JSON has no types
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from nbreactive.columns.live.reasons import Rerun, check
from nbreactive.columns.live.scope import Scope, Source, outputs_of, sources_of
from nbreactive.columns.live.tree import Node, column, form, names, of_class, rewrite, walk

GROUP = "__group"
"""The relation of groups, over which outputs, HAVING and ORDER BY of an aggregation are evaluated: k0.., a0.."""

CONSTANTS = ("CONSTANT", "PARAMETER")
"""Classes of expressions that are the same in all rows."""

_KINDS = {"count": "count", "sum": "sum", "avg": "avg", "mean": "avg", "min": "min", "max": "max"}
_HOW = {"ORDER_DEFAULT": "ASC", "ASCENDING": "ASC", "DESCENDING": "DESC"}


class Order(NamedTuple):
    """One key of ORDER BY."""

    by: Node
    how: str


class Aggregate(NamedTuple):
    """An aggregate function over one argument; rows that do not pass the filter count as NULL."""

    kind: str
    argument: Node | None
    filter: Node | None
    call: Node


class Plan(NamedTuple):
    """How a statement is maintained.

    ``outputs``, ``having`` and ``order`` are over rows of the tables, or over groups where there are ``keys``.
    """

    sources: list[Source]
    relation: Node
    where: Node | None
    keys: list[Node] | None
    aggregates: list[Aggregate]
    outputs: list[Node]
    having: Node | None
    order: list[Order]
    limit: int | None
    offset: int


def make_plan(
    node: Node, layouts: Mapping[str, dict[str, str]], aggregates: frozenset[str], params: dict[str, Any]
) -> Plan:
    """Return how to maintain a statement.

    Parameters
    ----------
    node
        The statement, from :func:`~nbreactive.columns.live.tree.parse`.
    layouts
        Columns and types of the tables that it names, by their folded names.
    aggregates
        Names of all aggregate functions.
    params
        Values of its parameters.

    Raises
    ------
    Rerun
        It cannot be maintained, or running it again is as good.
    """
    check(node)
    using: list[str] = []
    sources = list(sources_of(node.get("from_table", {}), layouts, using))
    if len(names(source.alias for source in sources)) < len(sources) or len(
        names(source.table for source in sources)
    ) < len(sources):
        raise Rerun("a table joined with itself is not maintained")
    scope = Scope(sources, using)
    outputs, where = outputs_of(node, scope, bool(using)), node.get("where_clause")
    where = scope.resolve(where) if where else None

    order_by, limit, offset, distinct = _modifiers(node, params)
    all_columns = any(order.by.get("class") == "STAR" for order in order_by)
    if all_columns:
        order_by = [Order(output, order_by[0].how) for output in outputs]
    else:
        order_by = [
            Order(_positioned(order.by, outputs) or scope.resolve(order.by, alias_first=True), order.how)
            for order in order_by
        ]

    order_by = [order for order in order_by if order.by.get("class") not in CONSTANTS]  # which order nothing

    def is_aggregate(inner: Node) -> bool:
        return inner.get("class") == "FUNCTION" and str(inner["function_name"]).lower() in aggregates

    grouped = any(map(is_aggregate, walk([outputs, node.get("having"), [order.by for order in order_by]])))
    by_all = node.get("aggregate_handling") == "FORCE_AGGREGATES"
    expressions = node.get("group_expressions", [])
    if where and any(map(is_aggregate, walk(where))):
        raise Rerun("an aggregate in WHERE")
    if not (grouped or by_all or expressions or distinct or node.get("having")):
        return Plan(sources, node["from_table"], where, None, [], outputs, None, order_by, limit, offset)

    if by_all:
        keys = [output for output in outputs if not any(map(is_aggregate, walk(output)))]
    elif distinct:
        if grouped or expressions or node.get("having"):
            raise Rerun("DISTINCT over groups is not maintained")
        keys = outputs
    else:
        keys = [_positioned(key, outputs) or scope.resolve(key) for key in expressions]
    having = node.get("having")
    if having:
        if any(
            reference["column_names"][0].casefold() in scope.hidden() for reference in of_class(having, "COLUMN_REF")
        ):
            raise Rerun("HAVING names an output that has the name of a column")
        having = scope.resolve(having)
    groups = _Groups(keys, aggregates)
    outputs = [groups.over(output) for output in outputs]
    having = groups.over(having) if having else None
    order_by = [Order(groups.over(order.by), order.how) for order in order_by]
    return Plan(
        sources, node["from_table"], where, groups.keys, groups.aggregates, outputs, having, order_by, limit, offset
    )


class _Groups:
    """Takes keys and aggregates out of expressions: what is left is over a row of the relation of groups."""

    def __init__(self, keys: Sequence[Node], aggregates: frozenset[str]) -> None:
        self.keys: list[Node] = []
        self.aggregates: list[Aggregate] = []
        self._names = aggregates
        self._known: dict[str, Node] = {}
        for key in keys:
            if form(key) not in self._known:
                self._known[form(key)] = column(GROUP, f"k{len(self.keys)}")
                self.keys.append(key)

    def over(self, node: Node) -> Node:
        def change(inner: Node) -> Node | None:
            if "class" not in inner:
                return None
            known = self._known.get(form(inner))
            if known is not None:
                return known
            if inner["class"] == "FUNCTION" and str(inner["function_name"]).lower() in self._names:
                self._known[form(inner)] = known = column(GROUP, f"a{len(self.aggregates)}")
                self.aggregates.append(self._aggregate(inner))
                return known
            if inner["class"] == "COLUMN_REF":
                raise Rerun(f"{'.'.join(inner['column_names'])} is neither grouped nor aggregated")
            return None

        return rewrite(node, change)

    def _aggregate(self, node: Node) -> Aggregate:
        name = str(node["function_name"]).lower()
        arguments = [argument["expression"] for argument in node.get("arguments", [])]
        where = node.get("filter")
        if node.get("distinct"):
            raise Rerun(f"{name}(DISTINCT ..) is not maintained")
        if (node.get("order_bys") or {}).get("orders") or node.get("export_state"):
            raise Rerun(f"{name}(.. ORDER BY ..) is not maintained")
        if any(
            str(inner.get("function_name", "")).lower() in self._names
            for inner in of_class([arguments, where], "FUNCTION")
        ):
            raise Rerun("an aggregate of an aggregate")
        if name == "count_star" or (name == "count" and not arguments):
            return Aggregate("count", None, where, node)
        if name in _KINDS and len(arguments) == 1:
            return Aggregate(_KINDS[name], arguments[0], where, node)
        raise Rerun(f"{name}() is not maintained")


def _modifiers(node: Node, params: dict[str, Any]) -> tuple[list[Order], int | None, int, bool]:
    order: list[Order] = []
    limit, offset, distinct = None, 0, False
    for modifier in node.get("modifiers", []):
        kind = modifier["type"]
        if kind == "ORDER_MODIFIER":
            order = [_order(item) for item in modifier["orders"]]
        elif kind == "LIMIT_MODIFIER" and "limit_type" not in modifier:
            limit = _count(modifier.get("limit"), params)
            offset = _count(modifier.get("offset"), params) or 0
        elif kind == "DISTINCT_MODIFIER" and not modifier.get("distinct_on_targets"):
            distinct = True
        else:
            raise Rerun("DISTINCT ON and LIMIT .. % are not maintained")
    return order, limit, offset, distinct


def _order(item: Node) -> Order:
    nulls = {"NULLS FIRST": "NULLS FIRST", "ORDER_DEFAULT": "NULLS LAST", "NULLS LAST": "NULLS LAST"}.get(
        item["null_order"]
    )
    if nulls is None:
        raise Rerun(f"{item['null_order']} is not maintained")
    return Order(item["expression"], f"{_HOW[item['type']]} {nulls}")


def _count(node: Node | None, params: dict[str, Any]) -> int | None:
    if node is None:
        return None
    if node.get("class") == "PARAMETER":
        name = str(node["identifier"]).casefold()
        value = next((value for given, value in params.items() if given.casefold() == name), None)
    else:
        literal = node.get("literal", {})
        value = int(literal["text"]) if literal.get("kind") == "INTEGER" else None
    if type(value) is not int or value < 0:
        raise Rerun("LIMIT and OFFSET that are not plain numbers are not maintained")
    return value


def _positioned(node: Node, outputs: Sequence[Node]) -> Node | None:
    """Return the output that a number in ORDER BY or GROUP BY stands for; None for other expressions."""
    literal = node.get("literal", {}) if node.get("class") == "CONSTANT" else {}
    if literal.get("kind") != "INTEGER":
        return None
    position = int(literal["text"])
    if not 0 < position <= len(outputs):
        raise Rerun("a position that is none")
    return outputs[position - 1]
