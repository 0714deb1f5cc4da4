"""Which rows of a table can matter to a statement: conditions that its WHERE clauses prove.

A conjunct ``field op constant`` at the top of a WHERE must hold of every row that goes further, so a document that fails
it, before and after a change, has changed nothing. That is so for a table that the statement names once, in a FROM that
only joins (an outer join also uses rows that fail its WHERE). Comparisons count where column and constant are of the
same simple type; whatever else there is proves nothing, which is always right.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from nbreactive.columns._frames import Condition
from nbreactive.values.limits import MAX_INTEGER

if TYPE_CHECKING:
    from nbreactive.columns.schema import Layout

Tree = dict[str, Any]
Scalar = str | bool | float

_OPERATORS: Final = {
    "COMPARE_EQUAL": "=",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
}
_TURNED: Final = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_DIGITS: Final = 15
"""Decimal numbers of so many characters are doubles without loss."""
_FAMILIES: Final[dict[str, tuple[type, ...]]] = {
    "boolean": (bool,),
    "integer": (int, float),
    "int64": (int, float),
    "number": (int, float),
    "string": (str,),
}


def conditions(tree: Tree, params: Mapping[str, Any], layouts: Mapping[str, Layout]) -> dict[int, list[Condition]]:
    """Return what is proven of the rows that can matter, by number of the table.

    Parameters
    ----------
    tree
        Of the statement.
    params
        Values of its parameters.
    layouts
        Its tables, by the case-folded names that SQL has for them.
    """
    counts = Counter(node["qualified_name"]["path"][0].casefold() for node in _all(tree, "BASE_TABLE"))
    bound = {name.casefold(): value for name, value in params.items()}
    found: dict[int, list[Condition]] = {}
    for select in _all(tree, "SELECT_NODE"):
        where = select.get("where_clause")
        sources = _sources(select.get("from_table"))
        if where is None or sources is None or "sample" in select:
            continue
        for alias, name in sources.items():
            layout = layouts.get(name)
            if layout is not None and counts[name] == 1:
                alone = len(sources) == 1
                proven = [c for part in _conjuncts(where) for c in _condition(part, alias, alone, layout, bound)]
                if proven:
                    found[layout.number] = proven
    return found


def _all(node: Any, kind: str) -> Iterator[Tree]:
    if isinstance(node, list):
        for child in cast("list[Any]", node):
            yield from _all(child, kind)
    elif isinstance(node, dict):
        tree = cast("Tree", node)
        if tree.get("type") == kind and "class" not in tree:
            yield tree
        for child in tree.values():
            yield from _all(child, kind)


def _sources(node: Tree | None) -> dict[str, str] | None:
    """Return the tables of a FROM that only joins, name by alias; None where it does more."""
    if node is None or "sample" in node:
        return None
    if node["type"] == "BASE_TABLE":
        if "column_name_alias" in node:
            return None
        name = node["qualified_name"]["path"][0].casefold()
        return {node.get("alias", name).casefold(): name}
    if node["type"] == "JOIN":
        if node.get("join_type", "INNER") != "INNER" or node.get("ref_type", "REGULAR") not in ("REGULAR", "CROSS"):
            return None
        left, right = _sources(node["left"]), _sources(node["right"])
        if left is None or right is None or left.keys() & right.keys():
            return None
        return left | right
    return None


def _conjuncts(node: Tree) -> Iterator[Tree]:
    if node.get("type") == "CONJUNCTION_AND":
        for child in node["children"]:
            yield from _conjuncts(child)
    else:
        yield node


def _condition(node: Tree, alias: str, alone: bool, layout: Layout, params: Mapping[str, Any]) -> Iterator[Condition]:
    kind = node.get("type", "")
    if kind in _OPERATORS:
        op, field, value = _OPERATORS[kind], node["left"], node["right"]
        if field.get("class") != "COLUMN_REF":
            op, field, value = _TURNED[op], value, field
        yield from _compared(op, field, [value], alias, alone, layout, params)
    elif kind == "COMPARE_BETWEEN":
        for op, bound in ((">=", "lower"), ("<=", "upper")):
            yield from _compared(op, node["input"], [node[bound]], alias, alone, layout, params)
    elif kind == "COMPARE_IN":
        yield from _compared("in", node["children"][0], node["children"][1:], alias, alone, layout, params)
    elif kind == "OPERATOR_IS_NOT_NULL":
        yield from _compared("not null", node["children"][0], [], alias, alone, layout, params)


def _compared(
    op: Any,
    field: Tree,
    values: list[Tree],
    alias: str,
    alone: bool,
    layout: Layout,
    params: Mapping[str, Any],
) -> Iterator[Condition]:
    if field.get("class") != "COLUMN_REF":
        return
    path = [str(name).casefold() for name in field["column_names"]]
    if not (len(path) == 1 and alone) and not (len(path) == 2 and path[0] == alias):
        return
    column = next((column for column in layout.columns if column.name.casefold() == path[-1]), None)
    if column is None or column.kind.name not in _FAMILIES:
        return
    constants = [_constant(value, params) for value in values]
    family = _FAMILIES[column.kind.name]
    known = [
        value for value in constants if isinstance(value, family) and isinstance(value, bool) == (family == (bool,))
    ]
    if len(known) == len(constants):
        yield Condition(column.field, op, cast("list[Scalar]", known))


def _constant(node: Tree, params: Mapping[str, Any]) -> Any:
    """Return the value of a constant; None where it is not a simple one."""
    if node.get("class") == "PARAMETER":
        value = params.get(node["identifier"].casefold())
        exact = not isinstance(value, int) or abs(value) <= MAX_INTEGER
        return value if exact and not (isinstance(value, float) and math.isnan(value)) else None
    literal = node.get("literal") if node.get("class") == "CONSTANT" else None
    if literal is None:
        return None
    text = literal.get("text", "")  # what is empty is left out
    if literal["kind"] == "STRING":
        return text
    if literal["kind"] == "INTEGER":
        value = int(text)
        return value if abs(value) <= MAX_INTEGER else None
    if literal["kind"] == "NUMERIC" and len(text) <= _DIGITS:
        return float(text)
    return text == "true" if literal["kind"] == "BOOLEAN" else None
