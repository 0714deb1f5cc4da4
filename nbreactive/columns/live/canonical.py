"""The one order in which rows of a statement come, whoever runs it.

ORDER BY says how rows are ordered as far as it goes. Among rows that it leaves equal, and without it: rows of tables by
``_creationTime`` and ``_id`` (of each table of a join, in the order of FROM), groups by their keys, and whatever else by
all of its columns, so that rows which are not the same in all of them have one order.
"""

# duckdb has no stubs for what is used here, and a tree of JSON has no types
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb

from nbreactive.columns.live.maintained import row_ids
from nbreactive.columns.live.plan import Plan
from nbreactive.columns.live.tree import Node, integer, write


def canonical(cursor: duckdb.DuckDBPyConnection, node: Node, plan: Plan | None, columns: int) -> str:
    """Return the text of a statement whose rows have one order.

    Parameters
    ----------
    cursor
        Any connection: DuckDB writes the text.
    node
        The statement's tree.
    plan
        How it is maintained; None if it is run again.
    columns
        How many columns its result has.
    """
    distinct = any(modifier["type"] == "DISTINCT_MODIFIER" for modifier in node.get("modifiers", []))
    if plan is None or distinct:
        extra: Sequence[Node] = [integer(position) for position in range(1, columns + 1)]
    else:
        extra = row_ids(plan.sources) if plan.keys is None else plan.keys
    if not extra:
        return write(cursor, [node])[0]
    modifiers = [dict(modifier) for modifier in node.get("modifiers", [])]
    order = next((modifier for modifier in modifiers if modifier["type"] == "ORDER_MODIFIER"), None)
    if order is None:
        order = {"type": "ORDER_MODIFIER", "orders": []}
        before = [number for number, modifier in enumerate(modifiers) if modifier["type"].startswith("LIMIT")]
        modifiers.insert(before[0] if before else len(modifiers), order)
    elif any(item["expression"].get("columns") for item in order["orders"]):
        if plan is None or plan.keys is not None:
            return write(cursor, [node])[0]  # ORDER BY ALL says it all
        # ORDER BY ALL must stand alone: here are its columns
        (all_,) = order["orders"]
        order["orders"] = [{**all_, "expression": integer(position)} for position in range(1, columns + 1)]
    order["orders"] = [*order["orders"], *map(_ordered, extra)]
    return write(cursor, [{**node, "modifiers": modifiers}])[0]


def _ordered(expression: Node) -> dict[str, Any]:
    return {"type": "ORDER_DEFAULT", "null_order": "ORDER_DEFAULT", "expression": expression}
